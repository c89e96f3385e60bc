"""The spatial-temporal transformer: all pooled patches of all frames look at each other.

Letters: B batch, F frames, P patches of a frame, N = F * P, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from divot.layers.attention import TransformerBlock
from divot.layers.embeddings import grid_positions


class SpatioTemporalTransformer(nn.Module):
    """Learned positions for the place in the frame and for the frame, then full attention.

    Source: Divot (arXiv 2412.04432), appendix A.1.
    """

    def __init__(self, width: int, depth: int, num_heads: int, pool_size: int, num_frames: int) -> None:
        super().__init__()
        self.spatial_positions = nn.Parameter(grid_positions((1, pool_size, pool_size), width))
        self.temporal_positions = nn.Parameter(grid_positions((num_frames, 1, 1), width))
        self.blocks = nn.ModuleList(TransformerBlock(width, num_heads, nn.GELU(), 1e-6) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B, F * P, D], frames slowest, to the same shape."""
        positions = self.temporal_positions[:, None] + self.spatial_positions[None]
        x_BND = x_BND + positions.flatten(0, 1)
        for block in self.blocks:
            x_BND = block(x_BND)
        return self.norm(x_BND)
