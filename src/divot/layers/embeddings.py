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


def grid_positions(sizes: tuple[int, ...], width: int) -> Tensor:
    """Sine-cosine positions of every cell of a grid, each axis in its own share of the width.

    Args:
        sizes: cells along each axis, such as (frames, rows, columns).
        width: at least twice the number of axes.

    Returns:
        float32 [cells, width], the last axis of the grid running fastest. Wavelengths reach 100 cells; what the axes
        cannot share evenly is zero.
    """
    share = width // len(sizes) // 2 * 2
    axes = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
    parts = [sinusoid(axis.flatten(), share, max_period=100.0 / (2 * math.pi)) for axis in axes]
    positions = torch.cat(parts, dim=-1)
    return torch.nn.functional.pad(positions, (0, width - positions.shape[-1]))
