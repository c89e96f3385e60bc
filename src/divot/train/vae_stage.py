"""Training of the small frame autoencoder that the tiny preset brings along; the paper's is taken ready-made.

Letters: B batch of clips, F frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from divot.config.files import written_whole
from divot.config.presets import preset
from divot.config.training import TrainConfig
from divot.data.clips import ClipDataset, to_batch
from divot.detokenizer.vae import build_autoencoder, load_autoencoder
from divot.train.stage import Stage
from divot.train.vae_start import start_from_patches
from divot.video.clips import CLIP_FRAMES
from divot.video.transform import from_uint8, signed, to_uint8

# Frames whose patches the principal components are taken from.
NUM_START_FRAMES = 400
# Clips of a batch that are shown.
NUM_SHOWN = 4


class VaeModule(nn.Module):
    """Squared and absolute error of a frame of each clip, and a small KL term."""

    def __init__(self, vae: AutoencoderKL, kl_weight: float) -> None:
        super().__init__()
        self.vae, self.kl_weight = vae, kl_weight
        # Running mean square of the latents: what the scaling factor is made of when the run is saved.
        self.latent_power: Tensor
        self.register_buffer("latent_power", torch.ones(()))

    def forward(self, clips_BFCHW: Tensor, chances: list[torch.Generator]) -> tuple[Tensor, dict[str, float]]:
        """Loss of one random frame of each clip; clips as bytes or in [-1, 1]."""
        batch, frames = clips_BFCHW.shape[:2]
        picked = torch.cat([torch.randint(0, frames, (1,), generator=chance) for chance in chances])
        images = signed(clips_BFCHW[torch.arange(batch), picked.to(clips_BFCHW.device)])
        posterior = self.vae.encode(images).latent_dist
        shape = posterior.mean.shape[1:]
        noise = torch.stack([torch.randn(shape, generator=chance) for chance in chances]).to(images)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample
        error = decoded.float() - images
        squared = error.pow(2).mean()
        kl = posterior.kl().mean() / posterior.mean[0, 0].numel()
        if self.training:
            self.latent_power.lerp_(posterior.mean.detach().float().pow(2).mean(), 0.02)
        loss = squared + 0.3 * error.abs().mean() + self.kl_weight * kl
        return loss, {"psnr": float(10 * torch.log10(4 / squared.detach())), "kl": float(kl.detach())}


class VaeStage(Stage):
    """Trains the autoencoder on single frames."""

    module: VaeModule

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.settings = config, preset(config.preset).detokenizer
        if config.init_vae is not None:
            vae = load_autoencoder(config.init_vae)
        else:
            vae = build_autoencoder(self.settings.autoencoder)
        if not config.train_vae_encoder:
            vae.encoder.requires_grad_(False)
            if vae.quant_conv is not None:
                vae.quant_conv.requires_grad_(False)
        # Latents that do not change keep their scale.
        self.keeps_scale = config.init_vae is not None and not config.train_vae_encoder
        if config.start_from_patches and config.init_vae is None:
            dataset = ClipDataset(config.data, config.seed + 1, self.settings.frame_size, NUM_START_FRAMES)
            frames = np.stack([dataset[n][n % CLIP_FRAMES] for n in range(NUM_START_FRAMES)])
            start_from_patches(vae, from_uint8(frames).permute(0, 2, 3, 1).numpy())
        self.module = VaeModule(vae, config.kl_weight)

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """Clips at the size of the de-tokenizer's frames."""
        size_px = self.settings.frame_size
        return ClipDataset(self.config.data, self.config.seed, size_px, length, rejects_file), to_batch

    @torch.no_grad()
    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """A contact sheet of originals and decoded clips in turn."""
        assert isinstance(module, VaeModule)
        from divot.video.sheets import contact_sheet

        rows = []
        for clip in signed(batch[:NUM_SHOWN]):
            decoded = module.vae.decode(module.vae.encode(clip).latent_dist.mean).sample
            rows += [to_uint8(clip), to_uint8(decoded.clamp(-1, 1))]
        contact_sheet(rows, path.with_suffix(".png"))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the autoencoder in diffusers' form, with the scaling factor that makes its latents unit-sized."""
        assert isinstance(module, VaeModule)
        if not self.keeps_scale:
            module.vae.register_to_config(scaling_factor=float(module.latent_power.rsqrt()))
        with written_whole(folder) as beside:
            module.vae.save_pretrained(beside)
