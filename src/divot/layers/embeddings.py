"""Fixed sine-cosine embeddings of positions and of diffusion time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(values: Tensor, width: int, max_period: float = 10000.0) -> Tensor:
    """Cosines then sines of each value at `width // 2` geometric frequencies, in float32.

    Args:
        values: [B], any real or integer type.
        width: even number.
        max_period: longest wavelength over 2 pi.

    Returns:
        float32 [B, width].
    """
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=values.device) / half
    angles = values[:, None].float() * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def grid_positions(sizes: tuple[int, ...], width: int, points: Tensor | None = None) -> Tensor:
    """Sine-cosine positions in a grid, each axis in its own share of the width.

    The wavelengths of an axis run from 2 cells to twice its length, so neighbours differ and no two places are alike;
    an axis of one cell has none.

    Args:
        sizes: cells along each axis, such as (frames, rows, columns).
        width: at least four times the number of axes; what they cannot share evenly is zero.
        points: places [N, axes] in cells, fractions allowed; None takes every cell, the last axis running fastest.

    Returns:
        float32 [N, width].
    """
    half = width // len(sizes) // 2
    if points is None:
        points = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).view(-1, len(sizes))
    parts = []
    for axis, size in enumerate(sizes):
        steps = torch.arange(half, dtype=torch.float32) / max(1, half - 1)
        angles = points[:, axis, None].float() * math.pi * size**-steps
        parts.append(torch.cat([angles.cos(), angles.sin()], dim=-1) * (size > 1))
    positions = torch.cat(parts, dim=-1)
    return torch.nn.functional.pad(positions, (0, width - positions.shape[-1]))


def spread_points(count: int, sizes: tuple[int, int, int]) -> Tensor:
    """Middles of `count` equal boxes that fill a grid of (frames, rows, columns): [count, 3], in cells.

    As many boxes along rows as along columns, and about as many along frames; where the number does not divide, the
    last ones are at the middle of the grid.
    """
    side = max(1, round(count ** (1 / 3)))
    counts = (max(1, count // side**2), side, side)
    axes = [(torch.arange(n) + 0.5) * size / n - 0.5 for n, size in zip(counts, sizes, strict=True)]
    points = torch.cartesian_prod(*axes)[:count]
    middle = torch.tensor([[(size - 1) / 2 for size in sizes]])
    return torch.cat([points, middle.expand(count - len(points), 3)])
