"""Where, when and with what a measure was taken."""

from __future__ import annotations

import hashlib
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import nn

from divot.config.versions import versions

__all__ = ["hardware", "now", "versions", "weights_sha256"]


def now() -> str:
    """Date and time, UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor, how many cores and threads, and the device that the models ran on."""
    is_gpu = device.type == "cuda"
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if is_gpu else None,
    }


def weights_sha256(model: Any) -> str | None:
    """sha256 (hex) over names, types, shapes and values of a model's weights, as they are in memory.

    Returns:
        None for what is not a torch module.
    """
    if not isinstance(model, nn.Module):
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
