"""What a training stage is: what it trains, its loss, what it shows and what it leaves.

Letters: B batch, F frames, H W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from divot.config.training import TrainConfig


class Stage(Protocol):
    """One stage of training, as the loop sees it."""

    @property
    def module(self) -> nn.Module:
        """Holds every parameter that is trained; its forward gives loss and measures of (clips, generator)."""
        ...

    def size_px(self) -> int:
        """Side of the clips it wants."""
        ...

    def samples(self, module: nn.Module, clips: Tensor) -> list[np.ndarray]:
        """Rows of frames uint8 [F, H, W, 3] to look at, original and result in turn, for clips [B, F, 3, H, W]."""
        ...

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the trained weights in the form that the commands read."""
        ...


def build_stage(config: TrainConfig) -> Stage:
    """The stage that the settings name."""
    from divot.train.diffusion_stage import DiffusionStage
    from divot.train.vae_stage import VaeStage

    return VaeStage(config) if config.stage == "vae" else DiffusionStage(config)
