"""Weight files of others, opened without ever running code that a file may carry."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from divot.config.errors import CheckpointError

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
SAFETENSORS = ".safetensors"
WRAPPERS = ("state_dict", "module", "model")
"""Names under which training programs put the tensors of a model."""
PREFIXES = ("_forward_module.", "module.")
"""What training programs put in front of every name (Lightning with DeepSpeed; data parallel)."""
# What torch lets through from bytes that are not what they should be.
_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    KeyError,
    IndexError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class TensorFile:
    """The tensors of one file, memory-mapped where the format allows."""

    path: Path
    tensors: dict[str, Tensor]
    wrapper: str | None = None
    """Name the tensors were kept under; None: at the top."""
    prefix: str = ""
    """Taken off every name."""
    beside: list[str] = field(default_factory=list)
    """What the file holds besides the tensors of the model, by name; not read."""


def read_tensors(path: str | Path) -> TensorFile:
    """Open a safetensors file or a PyTorch pickle of tensors.

    Raises:
        CheckpointError: if the file is missing, damaged, holds no tensors, or holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(path, "is missing", "Give the path of a weight file")
    if path.suffix == SAFETENSORS:
        return TensorFile(path, _read_safetensors(path))
    values = _read_pickle(path)
    wrapper, beside = None, []
    if isinstance(values, Mapping):
        for name in WRAPPERS:
            if isinstance(values.get(name), Mapping):
                beside = sorted(str(key) for key in values if key != name)
                wrapper, values = name, values[name]
                break
    if not isinstance(values, Mapping) or not any(isinstance(v, Tensor) for v in values.values()):
        raise CheckpointError(path, "holds no named tensors", "Give a file of model weights")
    beside += sorted(str(k) for k, v in values.items() if not isinstance(v, Tensor))
    tensors = {str(k): v for k, v in values.items() if isinstance(v, Tensor)}
    prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), "")
    return TensorFile(path, {k[len(prefix) :]: v for k, v in tensors.items()}, wrapper, prefix, beside)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"is damaged ({error})", "Copy the file again") from error


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Memory-mapping needs the zip format; older files are read as a whole.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # Bytes that are no pickle at all end here too.
        if zipfile.is_zipfile(path) or "global" in str(error).lower():
            raise CheckpointError(
                path,
                f"holds more than tensors and was not opened: it could run code ({_reason(error)})",
                "Take the file from its authors, or have it saved again as plain tensors",
            ) from error
        raise CheckpointError(path, "is no weight file, or damaged", "Copy the file again") from error
    except _DAMAGE as error:
        raise CheckpointError(path, "is no weight file, or damaged", "Copy the file again") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line]
    return (lines or str(error).splitlines() or [type(error).__name__])[0][:120]
