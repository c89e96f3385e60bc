"""Chance of draws: one for all rows of a batch, or one a row, which then draws what it would draw alone.

All is drawn on the CPU, so that a seed gives the same on every device.

Letters: B batch, K draws, M choices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Chance = torch.Generator | Sequence[torch.Generator] | None
"""Of all rows, of each row in turn, or (None) torch's own."""


def normals(batch: int, shape: tuple[int, ...], chance: Chance) -> Tensor:
    """Standard normal numbers [B, *shape]."""
    if isinstance(chance, Sequence):
        return torch.stack([torch.randn(shape, generator=own) for own in _of_rows(chance, batch)])
    return torch.randn(batch, *shape, generator=chance)


def choices(weights: Tensor, count: int, chance: Chance) -> Tensor:
    """From weights [B, ..., M] on the CPU, which need not sum to 1, indices [B, ..., K]: K draws of each."""
    if isinstance(chance, Sequence):
        rows = zip(weights, _of_rows(chance, len(weights)), strict=True)
        return torch.stack([choices(row[None], count, own)[0] for row, own in rows])
    drawn = torch.multinomial(weights.flatten(0, -2), count, replacement=True, generator=chance)
    return drawn.view(*weights.shape[:-1], count)


def spawned(chance: Chance, batch: int, count: int) -> list[torch.Generator]:
    """In the place of each row `count` rows, each with a chance of its own that the row's decides."""
    owners = _of_rows(chance, batch) if isinstance(chance, Sequence) else [chance] * batch
    seeds = [seed for own in owners for seed in torch.randint(2**62, (count,), generator=own).tolist()]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _of_rows(chance: Sequence[torch.Generator], batch: int) -> Sequence[torch.Generator]:
    if len(chance) != batch:
        raise ValueError(f"chance: got {len(chance)} generators, wanted one for each of {batch} rows")
    return chance
