"""A critic of what is drawn: it reads in latents what is where, and sees to it that drawn ones say what true ones do.

The mean squared error asks for the mean of all that may be meant; where tokens leave open how a star is turned, that
is a blob, which differs from each star by little. To a network that has learned to tell shapes it is another shape.

Letters: B batch of clips, C channels, F frames, H W latents, K classes and the background, N images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from divot.config.models import CriticConfig
from divot.layers.component import Component

# Of each clip, frames that a critic looks at.
_NUM_FRAMES = 4
# How sure the critic must be that there is something in a true latent, for it to count.
_LEAST_SURE = 0.5
_LEAST_SHARE = 1e-6


class ShapeCritic(Component):
    """Residual convolutions at the latents' own resolution, and the class of each position."""

    config_class = CriticConfig
    config: CriticConfig

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        width, groups = config.width, config.norm_groups
        self.conv_in = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(part for _ in range(2) for part in _convolution(width, groups)))
            for _ in range(config.depth)
        )
        self.norm = nn.GroupNorm(groups, width)
        self.conv_out = nn.Conv2d(width, 1 + len(config.classes), 1)

    def forward(self, latents_NCHW: Tensor) -> Tensor:
        """Scores [N, K, H, W] of the classes at each position."""
        x = self.conv_in(latents_NCHW)
        for block in self.blocks:
            x = x + block(x)
        scores: Tensor = self.conv_out(functional.silu(self.norm(x)))
        return scores


def _convolution(width: int, groups: int) -> tuple[nn.Module, ...]:
    return nn.GroupNorm(groups, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)


def some_frames(num_frames: int, chances: list[torch.Generator]) -> Tensor:
    """Frames that a critic looks at, int64 [B, 4], drawn of so many for each clip by its own chance."""
    return torch.stack([torch.randperm(num_frames, generator=chance)[:_NUM_FRAMES] for chance in chances])


def verdict(critic: ShapeCritic, drawn_BCFHW: Tensor, true_BCFHW: Tensor, frames_BF: Tensor) -> Tensor:
    """How far what the critic reads in drawn latents is from what it reads in true ones, where those show something.

    Args:
        critic: takes latents of these channels.
        drawn_BCFHW: clean latents as a de-tokenizer implies them.
        true_BCFHW: those of the clip.
        frames_BF: int64, the frames of each clip that are looked at.

    Returns:
        float32 [B], cross-entropy in nats a position; 0 for a clip in which nothing is seen.
    """
    rows_B1 = torch.arange(len(frames_BF), device=frames_BF.device)[:, None]

    def scores(latents_BCFHW: Tensor) -> Tensor:
        images = latents_BCFHW.transpose(1, 2)[rows_B1, frames_BF].flatten(0, 1)
        return critic(images).float()

    with torch.no_grad():
        wanted = scores(true_BCFHW).softmax(dim=1)
        counts = (wanted[:, 0] < 1 - _LEAST_SURE).float()
    losses = -(wanted * scores(drawn_BCFHW).log_softmax(dim=1)).sum(dim=1) * counts
    total, number = (x.unflatten(0, frames_BF.shape).sum(dim=(1, 2, 3)) for x in (losses, counts))
    return total / number.clamp(min=1)


def named(critic: ShapeCritic, text: str) -> list[bool]:
    """Of each class whether a text names it, as one or as several ("stars")."""
    words = {*re.findall(r"\w+", text.lower())}
    return [not words.isdisjoint((name, f"{name}s")) for name in critic.config.classes]


def named_share(critic: ShapeCritic, drawn_BCFHW: Tensor, named_BK: Sequence[Sequence[bool]]) -> Tensor:
    """How much of what the critic sees in drawn latents is of classes that were named.

    Args:
        critic: takes latents of these channels.
        drawn_BCFHW: latents of B clips.
        named_BK: of each clip and each class but the background.

    Returns:
        float32 [B], the logarithm of the share; 0 for a clip of which nothing was named.
    """
    scores = critic(drawn_BCFHW.transpose(1, 2).flatten(0, 1)).float()
    seen_NK = scores.softmax(dim=1)[:, 1:].sum(dim=(2, 3))
    seen_BK = seen_NK.unflatten(0, (len(drawn_BCFHW), -1)).sum(dim=1)
    wanted_BK = torch.tensor(named_BK, device=seen_BK.device)
    share = (seen_BK * wanted_BK).sum(dim=1) / seen_BK.sum(dim=1)
    return torch.where(wanted_BK.any(dim=1), share.clamp(min=_LEAST_SHARE).log(), 0.0)
