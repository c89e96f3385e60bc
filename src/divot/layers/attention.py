"""Attention over torch's scaled_dot_product_attention, and the pre-norm transformer block.

Letters: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Batch of one call: CUDA's fast kernels refuse more (pytorch issue 146704).
MAX_ROWS = 65_535


def attend(
    query_BND: Tensor, key_BND: Tensor, value_BND: Tensor, num_heads: int, mask: Tensor | None = None
) -> Tensor:
    """Multi-head softmax attention; the width is split evenly over the heads.

    Args:
        query_BND: [B, N, D].
        key_BND: [B, M, D].
        value_BND: [B, M, D].
        num_heads: divides D.
        mask: bool, [B, 1 or num_heads, 1 or N, M]: what may be looked at; None: everything.

    Returns:
        [B, N, D].
    """
    query, key, value = (
        x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query_BND, key_BND, value_BND)
    )
    if len(query_BND) <= MAX_ROWS:
        # Not as a split into one part: on the way back that would be a copy of each.
        read = F.scaled_dot_product_attention(query, key, value, mask)
    else:
        parts = [x.split(MAX_ROWS) for x in (query, key, value)]
        masks = [None] * len(parts[0]) if mask is None else mask.split(MAX_ROWS)
        read = torch.cat([F.scaled_dot_product_attention(*part) for part in zip(*parts, masks, strict=True)])
    return read.transpose(1, 2).flatten(2)


@torch.no_grad()
def start_alike(query: Tensor, key: Tensor) -> None:
    """Set the projection of keys to that of queries, a scaled rotation, so that at first like attends to like.

    With places among what is projected, attention is local from the first step; from random weights a small model takes
    thousands of steps to find out what is where.

    Args:
        query: weight [inner, D], set in place.
        key: weight whose first `inner` rows are set.
    """
    if not query.is_meta:
        # 1.5 makes the weight of the best match a few times that of its neighbours.
        nn.init.orthogonal_(query, gain=1.5)
        key[: query.shape[0]] = query


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return x * (1.702 * x).sigmoid()


class SelfAttention(nn.Module):
    """Multi-head self-attention with biases, queries, keys and values from one projection."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        query, key, value = self.qkv(x_BND).chunk(3, dim=-1)
        return self.out(attend(query, key, value, self.num_heads))


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and a four times wider MLP, each with a residual."""

    def __init__(self, width: int, num_heads: int, activation: nn.Module, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), activation, nn.Linear(4 * width, width))

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        x_BND = x_BND + self.attention(self.norm1(x_BND))
        return x_BND + self.mlp(self.norm2(x_BND))
