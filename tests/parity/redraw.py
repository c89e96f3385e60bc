"""Recorded weights that are not stored: drawn again from their seed, and checked by their hash.

The recording drew them with torch on one machine. torch's normal numbers are its Mersenne Twister's uniform ones (the
same everywhere) through logarithms and cosines that differ in the last bit between processors; so the numbers are made
here, every step rounded as it should be, and the few weights that the recording rounded otherwise are listed beside
it. No golden depends on the machine or on the version of torch.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

WEIGHT = "weight/"
CORRECTIONS = "weights_rounded_otherwise"
"""In meta.json: name -> [position, float16 bits] of each weight that the rounding here does not give."""


class NormalNumbers:
    """What `torch.randn` draws on a CPU, shape after shape."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.RandomState(seed & 0xFFFFFFFF)
        self._spare: float | None = None

    def draw(self, shape: list[int]) -> Tensor:
        """float32 of that shape."""
        count = math.prod(shape)
        values = self._many(count) if count >= 16 else np.array([self._one() for _ in range(count)])
        return torch.from_numpy(values.astype(np.float32)).reshape(shape)

    def _words(self, count: int) -> np.ndarray:
        return self._bits.randint(0, 2**32, count, dtype=np.uint32)

    def _many(self, count: int) -> np.ndarray:
        # Blocks of 16; the last 16 are drawn anew where the count is no multiple of 16.
        uniform = self._uniform(count)
        values = np.empty(count, np.float32)
        whole = count // 16 * 16
        values[:whole] = _box_muller(uniform[:whole])
        if whole != count:
            values[-16:] = _box_muller(self._uniform(16))
        return values

    def _uniform(self, count: int) -> np.ndarray:
        return (self._words(count) & 0xFFFFFF).astype(np.float32) * np.float32(2.0**-24)

    def _one(self) -> float:
        # In double precision, two at a time: the second waits for the next call.
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value
        first, second = (self._double() for _ in range(2))
        radius, angle = math.sqrt(-2.0 * math.log1p(-second)), 2.0 * math.pi * first
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _double(self) -> float:
        high, low = (int(word) for word in self._words(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    first, second = np.split(uniform.reshape(-1, 2, 8), 2, axis=1)
    logarithm = np.log(np.float32(1.0) - first, dtype=np.float64).astype(np.float32)
    radius = np.sqrt(np.float32(-2.0) * logarithm)
    angle = (np.float32(2.0 * math.pi) * second).astype(np.float64)
    parts = [radius * f(angle).astype(np.float32) for f in (np.cos, np.sin)]
    return np.concatenate(parts, axis=1).reshape(-1)


def drawn_weights(meta: dict[str, Any]) -> dict[str, Tensor]:
    """The float16 weights of a golden: parameters sorted by name, one generator, a scale for each sort."""
    numbers = NormalNumbers(meta["config"]["seed"])
    names = [k.removeprefix(WEIGHT) for k in meta["tensors"] if k.startswith(WEIGHT)]
    weights = {}
    for name in sorted(names):
        shape = meta["tensors"][WEIGHT + name]["shape"]
        # Whole-schedule buffers stand at the top level, and are stored.
        if "." in name or shape != [1000]:
            weights[name] = _scaled(name, numbers.draw(shape)).half()
    for name, corrections in meta.get(CORRECTIONS, {}).items():
        bits = weights[name].view(torch.int16).view(-1)
        for position, value in corrections:
            bits[position] = value
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
