"""What is installed: versions, devices, presets, and the weights in the package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import divot.weights
from divot.config.presets import PRESET_NAMES, preset
from divot.config.versions import versions


def describe_installation() -> dict[str, Any]:
    """Versions, devices, presets and bundled weights, as one mapping."""
    return {
        "versions": versions(),
        "devices": _devices(),
        "cores": os.cpu_count(),
        "presets": {name: _preset(name) for name in PRESET_NAMES},
    }


def _devices() -> list[str]:
    import torch

    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    found = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in gpus]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def _preset(name: str) -> dict[str, Any]:
    config = preset(name)
    return {
        "tokens": [config.tokenizer.num_tokens, config.tokenizer.token_width],
        "frame_size": config.detokenizer.frame_size,
        "weights": _bundled(name),
    }


def _bundled(name: str) -> dict[str, Any] | None:
    """Place, size and number of parameters of the weights in the package; None if there are none."""
    from safetensors import safe_open

    folder = Path(divot.weights.__file__).parent / name
    files = sorted(folder.rglob("*.safetensors"))
    if not files or not (folder / "model.json").is_file():
        return None
    parameters: dict[str, int] = {}
    for path in files:
        with safe_open(path, "np") as file:
            counts = [_product(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
        parameters[path.parent.relative_to(folder).as_posix()] = sum(counts)
    contents = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    size_bytes = sum(path.stat().st_size for path in files)
    return {
        "folder": str(folder),
        "size_bytes": size_bytes,
        "parameters": parameters,
        "detokenizers": sorted(contents["detokenizers"]),
    }


def _product(shape: list[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count
