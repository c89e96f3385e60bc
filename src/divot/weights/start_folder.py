"""A folder of parts that a training starts from: each part in its own folder, and conversion.json."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.files import write_json
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE
from divot.weights.report import REPORT_FILE


def refuse_used_folder(out: Path, parts: tuple[str, ...]) -> None:
    """Stop before something else than an earlier conversion to these parts is replaced.

    Raises:
        CheckpointError: if `out` is a file, or a folder with other things in it.
    """
    if not out.exists():
        return
    if not out.is_dir() or {path.name for path in out.iterdir()} - {REPORT_FILE, *parts}:
        raise CheckpointError(out, "exists", "Give a new or an empty folder to write to")


def write_part(folder: Path, component: str, config: Any, state: dict[str, Tensor]) -> None:
    """Write config.json and model.safetensors of one part."""
    folder.mkdir()
    write_json(folder / CONFIG_FILE, {"component": component, **dataclasses.asdict(config)})
    # Cloned one by one: parts of one tensor would share its memory.
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
