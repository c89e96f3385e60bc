"""Attention blocks of the video U-Net: within a frame (with the context of tokens), and along the frames.

Letters: B batch of clips, F frames, C channels, H W rows and columns, N positions, L context tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from divot.detokenizer.resblocks import join_frames, split_frames, zeroed
from divot.layers.attention import attend


class Context(NamedTuple):
    """What the U-Net is conditioned on."""

    first: Tensor
    """[B, L, D], for all frames of a clip."""
    second: Tensor | None = None
    """What goes through the second cross-attention: [B, L, D] for all frames of a clip, or [B * F, L, D] a frame."""


class Attention(nn.Module):
    """Multi-head attention; keys and values come from the input itself or from a context."""

    def __init__(self, width: int, num_heads: int, head_width: int, context_width: int | None = None) -> None:
        super().__init__()
        inner = num_heads * head_width
        self.num_heads = num_heads
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(context_width or width, inner, bias=False)
        self.value = nn.Linear(context_width or width, inner, bias=False)
        self.out = nn.Linear(inner, width)

    def forward(self, x_BND: Tensor, context: Context | None = None) -> Tensor:
        """[B, N, D] to [B, N, D]; the context is only for cross-attention."""
        source = x_BND if context is None else context.first
        return self.out(self._read(self.query(x_BND), self.key(source), self.value(source)))

    def _read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # A context of the whole clip is read by all its frames at once: nothing is repeated a frame.
        rows = query.reshape(key.shape[0], -1, query.shape[-1])
        return attend(rows, key, value, self.num_heads).reshape(query.shape)


class SplitCrossAttention(Attention):
    """Cross-attention to a context in two parts, each with keys and values of its own and a softmax of its own.

    DynamiCrafter's text and image parts; Divot's tokens fill the first 77 places, then the second part.
    """

    def __init__(self, width: int, num_heads: int, head_width: int, context_width: int) -> None:
        super().__init__(width, num_heads, head_width, context_width)
        inner = num_heads * head_width
        self.second_key = nn.Linear(context_width, inner, bias=False)
        self.second_value = nn.Linear(context_width, inner, bias=False)
        # Of one axis: a scalar cannot be sharded.
        self.second_weight = nn.Parameter(torch.zeros(1))

    def forward(self, x_BND: Tensor, context: Context | None = None) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        assert context is not None
        query = self.query(x_BND)
        read = self._read(query, self.key(context.first), self.value(context.first))
        if context.second is not None:
            second = self._read(query, self.second_key(context.second), self.second_value(context.second))
            read = read + second * (self.second_weight.tanh() + 1)
        return self.out(read)


class GatedFeedForward(nn.Module):
    """GEGLU: half of the first layer gates the other half."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(width, 8 * width)
        self.proj_out = nn.Linear(4 * width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        value, gate = self.proj_in(x_BND).chunk(2, dim=-1)
        return self.proj_out(value * F.gelu(gate))


class AttentionBlock(nn.Module):
    """Self-attention, a second attention (to the context if there is one), feed-forward; each with a residual."""

    def __init__(self, width: int, num_heads: int, head_width: int, second: Attention) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention1 = Attention(width, num_heads, head_width)
        self.norm2 = nn.LayerNorm(width)
        self.attention2 = second
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = GatedFeedForward(width)

    def forward(self, x_BND: Tensor, context: Context | None = None) -> Tensor:
        """[B, N, D] to [B, N, D]."""
        x_BND = x_BND + self.attention1(self.norm1(x_BND))
        x_BND = x_BND + self.attention2(self.norm2(x_BND), context)
        return x_BND + self.feed_forward(self.norm3(x_BND))


class SpatialTransformer(nn.Module):
    """The positions of a frame look at each other, then at the context."""

    def __init__(
        self, channels: int, head_width: int, context_width: int, is_split: bool, norm_groups: int
    ) -> None:
        super().__init__()
        heads = channels // head_width
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        cross = SplitCrossAttention if is_split else Attention
        self.block = AttentionBlock(
            channels, heads, head_width, cross(channels, heads, head_width, context_width)
        )
        self.proj_out = nn.Linear(channels, channels)
        zeroed(self.proj_out)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[B * F, C, H, W] to the same shape."""
        hidden = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        hidden = self.proj_out(self.block(hidden, context))
        return x + hidden.transpose(1, 2).unflatten(2, x.shape[2:])


class TemporalTransformer(nn.Module):
    """Each position looks along the frames, twice; no mask and no positions.

    Args:
        channels: C.
        num_heads: heads of each attention.
        head_width: width of a head; heads times head width is the inner width.
        norm_groups: groups of the norm.
    """

    def __init__(self, channels: int, num_heads: int, head_width: int, norm_groups: int) -> None:
        super().__init__()
        inner = num_heads * head_width
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, inner)
        self.block = AttentionBlock(inner, num_heads, head_width, Attention(inner, num_heads, head_width))
        self.proj_out = zeroed(nn.Linear(inner, channels))

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """[B * F, C, H, W] to the same shape."""
        clip = split_frames(x, num_frames)
        batch, _, frames, rows, columns = clip.shape
        # One row of the batch a position: [B * H * W, F, C].
        hidden = self.norm(clip).permute(0, 3, 4, 2, 1).flatten(0, 2)
        hidden = self.proj_out(self.block(self.proj_in(hidden)))
        hidden = hidden.view(batch, rows, columns, frames, -1).permute(0, 4, 3, 1, 2)
        return join_frames(clip + hidden)
