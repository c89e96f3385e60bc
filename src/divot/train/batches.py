"""The samples of a run to the parts of its steps: each process gets its own, by their numbers alone.

So a run that goes on, or goes on in another number of processes, sees each sample once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, Sampler

from divot.config.errors import DivotError, RecipeError
from divot.config.training import TrainConfig
from divot.data.mixing import step_size
from divot.train.stage import Stage


@dataclass(frozen=True)
class Part:
    """Samples of a step that go through the model at once, in this process."""

    batch: Any
    chances: list[torch.Generator]
    """One for each sample, told by its number: noise is the same however a batch is shared out."""


def steps(
    config: TrainConfig, stage: Stage, first_step: int, rejects_file: Path, accelerator: Accelerator
) -> Iterator[list[Part]]:
    """The parts of each step that is left, in this process.

    Args:
        config: of the run.
        stage: whose data it is.
        first_step: number of the step to begin with, from 0.
        rejects_file: takes a line for each file that cannot be read.
        accelerator: knows the processes.

    Raises:
        DataError: if the data cannot be used; whatever the stage's data raise, from a data worker too.
        RecipeError: if the samples of a step do not divide over processes and parts.
    """
    for size in config.batch_sizes:
        if size % (accelerator.num_processes * config.grad_accumulation):
            raise RecipeError(
                "batch_size",
                f"{size} clips do not divide over {accelerator.num_processes} processes"
                + (f" of {config.grad_accumulation} parts" if config.grad_accumulation > 1 else ""),
                "Change it",
            )
    dataset, collate = stage.data(config.num_steps * config.batch_size, rejects_file)
    # A loader over the numbers that are left: the data position is where the sampler begins.
    batches = Batches(config, first_step, accelerator)
    loader: DataLoader[Any] = DataLoader(
        _WithErrors(dataset),
        batch_sampler=batches,
        num_workers=config.data.num_workers,
        collate_fn=partial(_collated, collate),
        worker_init_fn=_outlive_stop,
    )
    parts: list[Part] = []
    for batch, numbers in zip(loader, batches, strict=True):
        if isinstance(batch, DivotError):
            raise batch
        parts.append(Part(batch, [sample_chance(config.seed, number) for number in numbers]))
        if len(parts) == config.grad_accumulation:
            yield parts
            parts = []


def _outlive_stop(_: int) -> None:
    """In a data worker: a SIGTERM to all processes of a run is for the one that trains, which stops after its step."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _WithErrors(Dataset[Any]):
    """A dataset whose errors are given as samples: what a worker raises, torch would rebuild from its message alone."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, number: int) -> Any:
        try:
            return self.dataset[number]
        except DivotError as error:
            return error


def _collated(collate: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
    """The batch, or the first error among the samples."""
    errors = (sample for sample in samples if isinstance(sample, DivotError))
    return next(errors, None) or collate(samples)


def sample_chance(seed: int, number: int) -> torch.Generator:
    """The chance of all that is drawn for a sample of a run."""
    state = np.random.SeedSequence([seed, number]).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


class Batches(Sampler[list[int]]):
    """This process's clip numbers, part after part of each step: all processes together see each number once."""

    def __init__(self, config: TrainConfig, first_step: int, accelerator: Accelerator) -> None:
        self.config, self.steps = config, range(first_step, config.num_steps)
        self.num_processes, self.process = accelerator.num_processes, accelerator.process_index

    def __len__(self) -> int:
        return len(self.steps) * self.config.grad_accumulation

    def __iter__(self) -> Iterator[list[int]]:
        num_parts = self.config.grad_accumulation
        for step in self.steps:
            size = step_size(self.config, step) // (self.num_processes * num_parts)
            first = step * self.config.batch_size + self.process * num_parts * size
            for part in range(num_parts):
                yield list(range(first + part * size, first + (part + 1) * size))
