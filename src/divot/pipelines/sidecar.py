"""The record beside each output: all that is needed to make it again. Its form is in docs/formats.md."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from divot.config.files import write_json
from divot.config.models import SamplerConfig

if TYPE_CHECKING:
    # `divot info` asks for versions only: that needs no model.
    from divot.pipelines.divot import Divot

PACKAGES = ("divot-video", "torch", "diffusers", "transformers", "safetensors", "av", "numpy", "pillow")
FORMAT = 1


def sidecar_path(output: str | Path) -> Path:
    """Where the record of an output stands: its name with `.json` behind it."""
    output = Path(output)
    return output.with_name(output.name + ".json")


def package_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that have a say in the result; None for one that is absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def describe_model(divot: Divot) -> dict[str, Any]:
    """Whose weights these are, where they run and in which type."""
    return {
        "source": divot.source,
        "preset": divot.folder.preset,
        "tokenizer_hash": divot.folder.tokenizer_hash,
        "device": str(divot.device),
        "dtype": str(divot.dtype).removeprefix("torch."),
    }


def describe_detokenizer(name: str, task: str, sampler: SamplerConfig) -> dict[str, Any]:
    """Which de-tokenizer made the frames, for which task, and how."""
    return {"name": name, "task": task, "sampler": dataclasses.asdict(sampler)}


def write_sidecar(output: str | Path, command: str, divot: Divot, **facts: Any) -> dict[str, Any]:
    """Write the record of an output beside it.

    Args:
        output: the file it is about.
        command: what made it, such as `reconstruct`.
        divot: the model.
        facts: what else there is to say.

    Returns:
        The record.
    """
    record = {
        "format": FORMAT,
        "command": command,
        "output": str(output),
        "model": describe_model(divot),
        **facts,
        "versions": package_versions(),
    }
    write_json(sidecar_path(output), record)
    return record
