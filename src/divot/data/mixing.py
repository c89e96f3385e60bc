"""Which source a sample of a run is of, and how many samples a step has: both drawn from the run's seed alone.

The samples of step n are numbered from n x `batch_size` on, whatever the step's own size: the place in the data is the
step.
"""

from __future__ import annotations

import random

from divot.config.training import TrainConfig


def source_of_sample(config: TrainConfig, number: int, rng: random.Random) -> int | None:
    """Number of the source that sample `number` is of; None for Sprite World.

    Args:
        config: of the run.
        number: of the sample.
        rng: draws the source of a sample by itself; left alone where all samples of a step are of one source.
    """
    return source_of_step(config, number // config.batch_size) if _is_by_step(config) else _draw(config, rng)


def source_of_step(config: TrainConfig, step: int) -> int | None:
    """Number of the source of all samples of a step, where a source has a batch size; None for Sprite World."""
    return _draw(config, random.Random(f"{config.seed} step {step}"))


def step_size(config: TrainConfig, step: int) -> int:
    """Samples of a step, over all processes."""
    number = source_of_step(config, step) if _is_by_step(config) else None
    own = None if number is None else config.sources[number].batch_size
    return config.batch_size if own is None else own


def _is_by_step(config: TrainConfig) -> bool:
    return any(source.batch_size is not None for source in config.sources)


def _draw(config: TrainConfig, rng: random.Random) -> int | None:
    """A source, each as often as its share."""
    if rng.random() < config.data.world_share:
        return None
    return rng.choices(range(len(config.sources)), [source.share for source in config.sources])[0]
