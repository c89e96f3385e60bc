"""Convolution blocks of the video U-Net: residual block with temporal convolutions, down- and up-sampling.

Letters: B batch of clips, F frames, C channels, H W rows and columns of latents, E width of the time embedding.
Frames lie in the batch axis, a clip's frames together: [B * F, C, H, W].
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def zeroed(module: nn.Module) -> nn.Module:
    """Set all parameters of a block's last layer to zero, so that the block begins as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def split_frames(x: Tensor, num_frames: int) -> Tensor:
    """[B * F, C, H, W] to [B, C, F, H, W]."""
    return x.unflatten(0, (-1, num_frames)).transpose(1, 2)


def join_frames(x_BCFHW: Tensor) -> Tensor:
    """[B, C, F, H, W] to [B * F, C, H, W]."""
    return x_BCFHW.transpose(1, 2).flatten(0, 1)


class TemporalConvolutions(nn.Module):
    """Four convolutions over three frames each, with one residual around them all."""

    def __init__(self, channels: int, dropout: float, norm_groups: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for index in range(4):
            # Over (frames, positions): a Conv3d of (3, 1, 1) that is a plain, faster Conv2d.
            convolution = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
            self.layers.append(
                nn.Sequential(
                    nn.GroupNorm(norm_groups, channels),
                    nn.SiLU(),
                    nn.Dropout(dropout if index else 0.0),
                    zeroed(convolution) if index == 3 else convolution,
                )
            )

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """[B * F, C, H, W] to the same shape."""
        hidden = split_frames(x, num_frames).flatten(3)
        for layer in self.layers:
            hidden = layer(hidden)
        return x + join_frames(hidden.unflatten(3, x.shape[2:]))


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the time embedding added between, then the temporal convolutions."""

    def __init__(
        self, in_channels: int, out_channels: int, embedding_width: int, dropout: float, norm_groups: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_proj = nn.Linear(embedding_width, out_channels)
        self.norm2 = nn.GroupNorm(norm_groups, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.temporal_convolutions = TemporalConvolutions(out_channels, dropout, norm_groups)

    def forward(self, x: Tensor, embedding_BE: Tensor, num_frames: int) -> Tensor:
        """[B * F, C_in, H, W] and [B, E] to [B * F, C_out, H, W]."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        time = self.time_proj(F.silu(embedding_BE)).repeat_interleave(num_frames, dim=0)
        hidden = hidden + time[:, :, None, None]
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden))))
        return self.temporal_convolutions(self.skip(x) + hidden, num_frames)


class Downsample(nn.Module):
    """Half as many rows and columns, by a convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B * F, C, H, W] to [B * F, C, H / 2, W / 2]."""
        return self.conv(x)


class Upsample(nn.Module):
    """Twice as many rows and columns: each value repeated, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B * F, C, H, W] to [B * F, C, 2 H, 2 W]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
