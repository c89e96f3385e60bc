"""A mean over clips, and between which values it would fall for other clips of the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

NUM_RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
_PLACES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval.

    Attributes:
        mean: None where no clip has the measure.
        low: lower end; None below two clips, which tell nothing about others.
        high: upper end; None where `low` is.
        n: clips behind the mean.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """As a mapping for a JSON file."""
        return asdict(self)

    def text(self, digits: int = 3, unit: str = "") -> str:
        """In a few characters, such as `24.10 dB [23.80, 24.40]`."""
        if self.mean is None:
            return "none"
        told = f"{self.mean:.{digits}f} {unit}".rstrip()
        return told if self.low is None else f"{told} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def bootstrap_interval(
    values: Sequence[float], seed: int = 0, clips: Sequence[int] | None = None
) -> Interval:
    """Mean and 95% interval by the percentile bootstrap: the means of sets of clips drawn with replacement.

    Args:
        values: finite numbers.
        seed: of the draws; for one seed and one number of clips the draws are the same.
        clips: which clip each of them is about: those of one clip are drawn together. None: each of another one.

    Raises:
        ValueError: if a value is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"values: got {numbers[~np.isfinite(numbers)][0]}, wanted finite numbers")
    if len(numbers) == 0:
        return Interval(None, None, None, 0)
    mean = float(numbers.mean())
    # Of each clip the sum of its values, and how many they are.
    _, places = np.unique(np.arange(len(numbers)) if clips is None else clips, return_inverse=True)
    sums, sizes = np.bincount(places, numbers), np.bincount(places)
    count = len(sums)
    if count == 1:
        return Interval(mean, None, None, 1)
    rng = np.random.default_rng(seed)
    # So many draws at a time that memory stays small for many clips.
    step = max(1, _PLACES_AT_ONCE // count)
    means = []
    for first in range(0, NUM_RESAMPLES, step):
        drawn = rng.integers(count, size=(min(step, NUM_RESAMPLES - first), count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), PERCENTILES)
    return Interval(mean, float(low), float(high), count)
