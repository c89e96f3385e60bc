"""Frames to latents and back, one frame at a time, by diffusers' AutoencoderKL.

Letters: B batch of clips, F frames, C latent channels, H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.models import AutoencoderConfig

# Frames decoded at once: keeps the memory of a long batch of full-size frames bounded.
FRAMES_AT_ONCE = 64


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """An AutoencoderKL of these sizes, freshly initialised."""
    count = len(config.block_channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * count,
        up_block_types=("UpDecoderBlock2D",) * count,
        block_out_channels=config.block_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        mid_block_add_attention=config.has_mid_attention,
        scaling_factor=config.scaling_factor,
    )
    if vae.device.type != "meta":
        with torch.no_grad():
            # A narrow posterior at first (standard deviation 0.05): else the latents drown in their own noise.
            vae.quant_conv.weight[config.latent_channels :] = 0.0
            vae.quant_conv.bias[config.latent_channels :] = -6.0
    return vae


def load_autoencoder(folder: str | Path) -> AutoencoderKL:
    """An AutoencoderKL in diffusers' form, from its own folder or the `vae` in it.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    folder = Path(folder)
    place = folder / "vae" if (folder / "vae").is_dir() else folder
    if not (place / "config.json").is_file():
        raise CheckpointError(
            folder, "holds no autoencoder", "Give the folder of an AutoencoderKL, or the one above"
        )
    try:
        return AutoencoderKL.from_pretrained(place, use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(place, f"is no AutoencoderKL ({reason})", "Copy the folder again") from error


@torch.no_grad()
def encode_frames(vae: AutoencoderKL, frames_BFCHW: Tensor, scaling_factor: float) -> Tensor:
    """Frames [B, F, 3, H, W] in [-1, 1] to scaled latents [B, C, F, h, w], the mean of the posterior."""
    batch = frames_BFCHW.shape[0]
    parts = [vae.encode(part).latent_dist.mean for part in frames_BFCHW.flatten(0, 1).split(FRAMES_AT_ONCE)]
    return torch.cat(parts).unflatten(0, (batch, -1)).transpose(1, 2) * scaling_factor


@torch.no_grad()
def decode_frames(vae: AutoencoderKL, latents_BCFHW: Tensor, scaling_factor: float) -> Tensor:
    """Scaled latents [B, C, F, h, w] to frames [B, F, 3, H, W], about [-1, 1], not clamped."""
    batch = latents_BCFHW.shape[0]
    latents = (latents_BCFHW / scaling_factor).transpose(1, 2).flatten(0, 1).to(vae.dtype)
    frames = torch.cat([vae.decode(part).sample for part in latents.split(FRAMES_AT_ONCE)])
    return frames.unflatten(0, (batch, -1))
