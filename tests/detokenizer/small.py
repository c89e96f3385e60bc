"""Small models whose zeroed layers are not zero, and a predictor that knows the answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from divot.config.models import (
    AutoencoderConfig,
    DetokenizerConfig,
    ProjectorConfig,
    SamplerConfig,
    UNetConfig,
)
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.schedule import NoiseSchedule
from divot.detokenizer.unet import VideoUNet

UNET = {
    "model_channels": 16,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (2,),
    "num_head_channels": 8,
    "norm_groups": 4,
    "context_width": 12,
    "context_split": None,
    "has_initial_attention": False,
    "default_frame_stride": None,
    "dropout": 0.0,
}


def small_unet(is_fresh: bool = False, **changes: object) -> VideoUNet:
    """In evaluation mode; its zeroed layers are random unless `is_fresh`."""
    torch.manual_seed(0)
    unet = VideoUNet(UNetConfig(**(UNET | changes)))  # type: ignore[arg-type]
    return (unet if is_fresh else awake(unet)).eval()


@torch.no_grad()
def awake(module: nn.Module) -> nn.Module:
    """Give every parameter that is all zeros small random values."""
    for parameter in module.parameters():
        if not parameter.any():
            parameter.normal_(std=0.2)
    return module


def small_detokenizer(**changes: object) -> VideoDetokenizer:
    """4 frames of 16 x 16 pixels from 3 tokens of width 5."""
    torch.manual_seed(0)
    settings = {
        "num_frames": 4,
        "frame_size": 16,
        "num_tokens": 3,
        "token_width": 5,
        "projector": ProjectorConfig(width=8, depth=1, num_heads=2, head_width=4, num_queries=6),
        "unet": UNetConfig(**UNET),  # type: ignore[arg-type]
        "autoencoder": AutoencoderConfig(block_channels=(8, 8), layers_per_block=1, norm_groups=4),
        "sampler": SamplerConfig(num_steps=3),
    }
    model = VideoDetokenizer(DetokenizerConfig(**(settings | changes)))  # type: ignore[arg-type]
    awake(model.unet)
    model.null_tokens.normal_()
    return model.eval()


class Oracle:
    """Predicts v as if it could see the clean latents `x0` in the noise."""

    def __init__(self, schedule: NoiseSchedule, x0: Tensor) -> None:
        self.schedule, self.x0 = schedule, x0
        self.times: list[int] = []

    def __call__(self, x_t: Tensor, times_B: Tensor) -> Tensor:
        self.times.append(int(times_B[0]))
        cumulative = torch.from_numpy((1.0 - self.schedule.betas).cumprod())[times_B]
        signal, rest = (a.sqrt().view(-1, *[1] * (x_t.ndim - 1)) for a in (cumulative, 1 - cumulative))
        noise = (x_t.double() - signal * self.x0) / rest
        return (signal * noise - rest * self.x0).to(x_t.dtype)
