"""Which source a sample of a run is of, and how many samples a step has: both drawn from the run's seed alone.

The samples of step n are numbered from n x `batch_size` on, whatever the step's own size: the place in the data is the
step.
"""

from __future__ import annotations

import random

from divot.config.training import TrainConfig


def is_by_step(config: TrainConfig) -> bool:
    """Whether all samples of a step are of one source: where a source has a batch size of its own."""
    return any(source.batch_size is not None for source in config.sources)


def source_of_step(config: TrainConfig, step: int) -> int | None:
    """Number of the source that all samples of a step are of, where `is_by_step`; None for Sprite World."""
    return draw_source(config, random.Random(f"{config.seed} step {step}"))


def draw_source(config: TrainConfig, rng: random.Random) -> int | None:
    """Number of a source, each as often as its share, or None for Sprite World."""
    if rng.random() < config.data.world_share:
        return None
    return rng.choices(range(len(config.sources)), [source.share for source in config.sources])[0]


def step_size(config: TrainConfig, step: int) -> int:
    """Samples of a step, over all processes."""
    number = source_of_step(config, step) if is_by_step(config) else None
    own = None if number is None else config.sources[number].batch_size
    return config.batch_size if own is None else own
