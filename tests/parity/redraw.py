"""Recorded weights that are not stored: drawn again from their seed, and checked by their hash."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor

WEIGHT = "weight/"


def drawn_weights(meta: dict[str, Any]) -> dict[str, Tensor]:
    """The float16 weights of a golden: parameters sorted by name, one generator, a scale for each sort."""
    generator = torch.Generator().manual_seed(meta["config"]["seed"])
    names = [k.removeprefix(WEIGHT) for k in meta["tensors"] if k.startswith(WEIGHT)]
    weights = {}
    for name in sorted(names):
        shape = meta["tensors"][WEIGHT + name]["shape"]
        # Whole-schedule buffers stand at the top level, and are stored.
        if "." in name or shape != [1000]:
            weights[name] = _scaled(name, torch.randn(shape, generator=generator)).half()
    return weights


def _scaled(name: str, x: Tensor) -> Tensor:
    leaf = name.rsplit(".", 1)[-1]
    if leaf in ("bias", "in_proj_bias", "logit_scale"):
        return 0.05 * x
    if leaf == "alpha":
        return 0.5 * x
    if "embed" in leaf or leaf == "latents":
        return 0.4 * x
    return 1 + 0.1 * x if x.ndim == 1 else x / math.sqrt(x[0].numel())


def weights_hash(weights: dict[str, Tensor]) -> str:
    """sha256 over the values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
