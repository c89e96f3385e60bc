"""What a training stage is: what it trains, its data, its loss, what it shows and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from divot.config.training import TrainConfig


class Stage(Protocol):
    """One stage of training, as the loop sees it."""

    module: nn.Module
    """Holds every parameter that is trained; its forward gives loss and measures of (batch, chances).

    `chances` has a generator for each sample, so that what is drawn for it is the same in any batch.
    """

    def prepare(self) -> None:
        """What is made once for a run, before the first step and before weights are sharded; all processes call it."""
        return None

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """A map-style dataset of so many samples, and what makes a batch (with `.to(device)`) of some of them.

        Args:
            length: samples of the whole run.
            rejects_file: jsonl file that takes a line for each file that cannot be read.
        """
        ...

    def begin_step(self, batches: Sequence[Any]) -> None:
        """Look at all batches of a step of this process before they go through the module one after the other.

        For a loss that is a mean over something else than samples: where it is one over samples there is nothing to do,
        all parts of a step have as many. All processes call it at the same time.
        """
        return None

    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """Write something to look at, made from a training batch, to `path` with a suffix of its own."""
        ...

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the trained weights in the form that the commands read."""
        ...


def build_stage(config: TrainConfig) -> Stage:
    """The stage that the settings name."""
    from divot.train.diffusion_stage import DiffusionStage
    from divot.train.vae_stage import VaeStage

    if config.stage == "lm":
        from divot.train.lm_stage import LanguageStage

        return LanguageStage(config)
    if config.stage == "adapt":
        from divot.train.adapt_stage import AdaptationStage

        return AdaptationStage(config)
    if config.stage == "critic":
        from divot.train.critic_stage import CriticStage

        return CriticStage(config)
    if config.stage == "distill":
        from divot.train.distill_stage import DistillationStage

        return DistillationStage(config)
    return VaeStage(config) if config.stage == "vae" else DiffusionStage(config)
