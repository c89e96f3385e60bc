"""Training of the critic that reads shapes in latents, from Sprite World, where what is where is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from divot.config.models import CriticConfig
from divot.config.training import TrainConfig
from divot.data.clips import to_batch
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.critic import ShapeCritic, some_frames
from divot.train.stage import Stage
from divot.video.transform import signed, to_uint8
from divot.weights.store import ModelFolder, add_critic, changed_copy
from divot.world import clip, render_labels
from divot.world.vocabulary import NUM_FRAMES, SHAPES

# Clips of a batch of which a frame is shown.
NUM_SHOWN = 8
# Most noise on the latents, as a share of their deviation: what is drawn is never as clean as what is encoded.
MOST_NOISE = 0.3
# What a position of the background counts; it covers most of a frame.
BACKGROUND_WEIGHT = 0.1


@dataclass(frozen=True)
class LabelledBatch:
    """Clips uint8 [B, F, 3, S, S], and the classes of their latent positions, uint8 [B, F, H, W]."""

    clips: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return replace(self, clips=self.clips.to(device), labels=self.labels.to(device))


class LabelledWorld:
    """Sprite World clip number n of the training split with its labels; a torch map-style dataset."""

    def __init__(self, seed: int, size_px: int, side: int, length: int) -> None:
        self.seed, self.size_px, self.side, self.length = seed, size_px, side, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames uint8 [F, S, S, 3] and labels uint8 [F, H, W]."""
        made = clip(self.seed, number, "train", self.size_px)
        return made.frames, render_labels(made.scene, self.side, self.size_px)


def to_labelled_batch(samples: list[tuple[np.ndarray, np.ndarray]]) -> LabelledBatch:
    """Join samples."""
    frames, labels = zip(*samples, strict=True)
    return LabelledBatch(to_batch(list(frames)), torch.from_numpy(np.stack(labels)))


class CriticModule(nn.Module):
    """The critic over a frozen autoencoder."""

    def __init__(self, critic: ShapeCritic, detokenizer: VideoDetokenizer) -> None:
        super().__init__()
        self.critic, self.detokenizer = critic, detokenizer.requires_grad_(False)

    def train(self, mode: bool = True) -> CriticModule:
        """The autoencoder stays in evaluation mode."""
        super().train(mode)
        self.detokenizer.eval()
        return self

    def forward(
        self, batch: LabelledBatch, chances: list[torch.Generator]
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of some frames of each clip, and the share of positions inside sprites that are right."""
        frames_BF = some_frames(NUM_FRAMES, chances).to(batch.clips.device)
        rows_B1 = torch.arange(len(frames_BF), device=frames_BF.device)[:, None]
        latents = self.detokenizer.encode_frames(signed(batch.clips[rows_B1, frames_BF])).float()
        labels_BFHW = batch.labels[rows_B1, frames_BF].long()
        if self.training:
            noise = [
                MOST_NOISE * torch.rand(1, generator=chance) * torch.randn(latents[0].shape, generator=chance)
                for chance in chances
            ]
            latents = latents + torch.stack(noise).to(latents)
        scores = self.critic(latents.transpose(1, 2).flatten(0, 1)).float().unflatten(0, frames_BF.shape)
        losses = functional.cross_entropy(scores.transpose(1, 2), labels_BFHW, reduction="none")
        is_sprite = labels_BFHW > 0
        weights = torch.where(is_sprite, 1.0, BACKGROUND_WEIGHT)
        # A mean over each clip: the same in whatever batch it comes.
        dims = (1, 2, 3)
        loss = ((losses * weights).sum(dim=dims) / weights.sum(dim=dims)).mean()
        is_right = scores.detach().argmax(dim=2) == labels_BFHW
        return loss, {"right": float(is_right[is_sprite].float().mean())}


def new_critic(detokenizer: VideoDetokenizer) -> ShapeCritic:
    """A critic of Sprite World's shapes in the latents of a de-tokenizer, with random weights."""
    channels = detokenizer.config.autoencoder.latent_channels
    return ShapeCritic(CriticConfig(latent_channels=channels, classes=SHAPES))


class CriticStage(Stage):
    """Trains a critic of the latents of a model's autoencoder."""

    module: CriticModule

    def __init__(self, config: TrainConfig) -> None:
        assert config.init_model is not None
        self.config = config
        self.folder = ModelFolder.open(config.init_model)
        detokenizer = self.folder.detokenizer("reconstruct")
        self.size_px = detokenizer.config.frame_size
        self.side = self.size_px // detokenizer.config.autoencoder.downsampling
        self.module = CriticModule(new_critic(detokenizer), detokenizer)

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """Sprite World at the size of the de-tokenizer's frames, with labels."""
        return LabelledWorld(self.config.data.world_seed, self.size_px, self.side, length), to_labelled_batch

    @torch.no_grad()
    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """A contact sheet: frames, where and what their sprites are, and what the critic takes them for."""
        assert isinstance(module, CriticModule)
        from divot.video.sheets import contact_sheet

        frames, labels = batch.clips[:NUM_SHOWN, :1], batch.labels[:NUM_SHOWN, 0]
        read = module.critic(module.detokenizer.encode_frames(signed(frames)).float()[:, :, 0]).argmax(dim=1)
        scale = self.size_px // self.side
        maps = [_painted(one.cpu().numpy()).repeat(scale, 1).repeat(scale, 2) for one in (labels, read)]
        contact_sheet([to_uint8(signed(frames[:, 0])), *maps], path.with_suffix(".png"))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a model folder: that of init_model with this critic, float16 on disk."""
        assert isinstance(module, CriticModule)
        with changed_copy(self.folder, folder) as beside:
            add_critic(beside, module.critic)


def _painted(labels: np.ndarray) -> np.ndarray:
    """Labels [N, H, W] as pictures uint8 [N, H, W, 3], a colour a shape."""
    colours = np.random.default_rng(3).integers(60, 256, (1 + len(SHAPES), 3), dtype=np.uint8)
    colours[0] = 0
    return colours[labels]
