"""The vision transformer in front: each seen frame alone, as patches.

Letters: B batch of frames, C channels, H W pixels, P patches, D width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from divot.config.models import ViTConfig
from divot.layers.embeddings import grid_positions

# Parts of Hugging Face vision transformers that come after the patch features. SigLIP's last norm is not among them.
UNUSED_PARTS = ("pooler", "head", "embeddings.mask_token")
UNUSED_OF = {"clip_vision_model": ("post_layernorm",)}


def _blur_kernel(factor: float) -> Tensor:
    """Gaussian taps that go before a reduction by `factor` along one axis, as in kornia."""
    sigma = max((factor - 1.0) / 2.0, 0.001)
    # As wide as four sigma, at least 3 taps, odd.
    size = int(max(4.0 * sigma, 3))
    size += 1 - size % 2
    offsets = torch.arange(size, dtype=torch.float32) - size // 2
    taps = torch.exp(-offsets.pow(2) / (2 * sigma**2))
    return taps / taps.sum()


def resize_frames(frames_BCHW: Tensor, size: int) -> Tensor:
    """Stretch frames to size x size as the official code does: Gaussian blur if an axis shrinks, then bicubic.

    Args:
        frames_BCHW: [B, C, H, W]; the values are not clamped, so bicubic may leave their range a little.
        size: pixels along each side.

    Returns:
        [B, C, size, size].
    """
    height, width = frames_BCHW.shape[-2:]
    if (height, width) == (size, size):
        return frames_BCHW
    if max(height, width) > size:
        channels = frames_BCHW.shape[1]
        rows, columns = (_blur_kernel(n / size).to(frames_BCHW) for n in (height, width))
        padding = (len(columns) // 2, len(columns) // 2, len(rows) // 2, len(rows) // 2)
        frames_BCHW = F.pad(frames_BCHW, padding, mode="reflect")
        frames_BCHW = F.conv2d(
            frames_BCHW, rows.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels
        )
        frames_BCHW = F.conv2d(
            frames_BCHW, columns.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels
        )
    return F.interpolate(frames_BCHW, size=(size, size), mode="bicubic", align_corners=True)


class FrameEncoder(nn.Module):
    """Frames in [-1, 1] to patch features, by any Hugging Face vision transformer.

    CLIP's `last_hidden_state` is what leaves its last block, before the final norm, as the paper's features are; types
    whose own `last_hidden_state` is normalised (SigLIP, DINOv2) give it normalised.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        settings = AutoConfig.for_model(
            config.model_type,
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_size=config.width,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.mlp_width,
            hidden_act=config.activation,
            attn_implementation="sdpa",
            **config.extra,
        )
        self.backbone = AutoModel.from_config(settings)
        self._start_from_positions()
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def restore_buffers(self) -> None:
        """Make the constants again after the module was built without memory."""
        device = next(self.parameters()).device
        self.mean = torch.tensor(self.config.mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(self.config.std, device=device).view(1, 3, 1, 1)
        for module in self.backbone.modules():
            if "position_ids" in module._buffers:
                count = module.position_ids.shape[-1]
                module.position_ids = torch.arange(count, device=device).expand(1, -1)

    @torch.no_grad()
    def _start_from_positions(self) -> None:
        # Learned positions that start as sine and cosine make a small model learn several times sooner.
        for name, parameter in self.backbone.named_parameters():
            if name.endswith("position_embedding.weight") and not parameter.is_meta:
                grid = grid_positions((self.config.grid, self.config.grid), self.config.width)
                parameter[-len(grid) :] = grid * math.sqrt(0.1)

    def freeze_unused(self) -> None:
        """Freeze what only makes the pooled output, which is not used: it would never get a gradient."""
        unused = UNUSED_PARTS + UNUSED_OF.get(self.config.model_type, ())
        for name, parameter in self.backbone.named_parameters():
            if name.startswith(unused):
                parameter.requires_grad_(False)

    def preprocess(self, frames_BCHW: Tensor) -> Tensor:
        """Frames in [-1, 1] of any size to the transformer's own size and normalisation."""
        frames_BCHW = resize_frames(frames_BCHW, self.config.image_size)
        return ((frames_BCHW + 1) / 2 - self.mean.to(frames_BCHW)) / self.std.to(frames_BCHW)

    def forward(self, frames_BCHW: Tensor) -> Tensor:
        """Frames [B, 3, H, W] in [-1, 1] to patch features [B, P, D], rows before columns."""
        hidden = self.backbone(pixel_values=self.preprocess(frames_BCHW)).last_hidden_state
        return hidden[:, self.config.num_prefix_tokens :]
