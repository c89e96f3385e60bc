"""The temporal transformer: each patch position looks along the frames.

Letters: B batch of patch positions, F frames, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from divot.layers.attention import QuickGELU, TransformerBlock
from divot.layers.embeddings import grid_positions


class TemporalTransformer(nn.Module):
    """One patch position of all frames at a time; no mask, no residual around the whole.

    Source: Divot (arXiv 2412.04432), appendix A.1.
    """

    def __init__(
        self, input_width: int, width: int, output_width: int, depth: int, num_heads: int, num_frames: int
    ) -> None:
        super().__init__()
        self.proj_in = nn.Linear(input_width, width)
        self.positions = nn.Parameter(grid_positions((num_frames,), width) * 0.1)
        # eps 1e-6 here and 1e-5 in the ViT: as in the official modules.
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, QuickGELU(), 1e-6) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.proj_out = nn.Linear(width, output_width)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """[B, F, input_width] to [B, F, output_width]."""
        x_BFD = self.proj_in(x_BFD) + self.positions
        for block in self.blocks:
            x_BFD = block(x_BFD)
        return self.proj_out(self.norm(x_BFD))


def pool_patches(x_BPD: Tensor, grid: int, pool_size: int) -> Tensor:
    """Average a square grid of patches down to pool_size x pool_size; windows overlap where the sizes do not divide.

    Args:
        x_BPD: [B, grid * grid, D].
        grid: patches along one side.
        pool_size: cells along one side afterwards.

    Returns:
        [B, pool_size * pool_size, D].
    """
    x = x_BPD.transpose(1, 2).unflatten(2, (grid, grid))
    return torch.nn.functional.adaptive_avg_pool2d(x, pool_size).flatten(2).transpose(1, 2)
