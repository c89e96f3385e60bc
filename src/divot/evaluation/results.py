"""What was measured, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from divot.evaluation.intervals import Interval


@dataclass(frozen=True)
class Example:
    """One clip to look at: its place by PSNR (`best`, `median`, `worst`), its true and its decoded frames."""

    place: str
    name: str
    psnr: float
    original: np.ndarray
    reconstruction: np.ndarray


@dataclass(frozen=True)
class ReconstructionResult:
    """What was measured.

    Attributes:
        measures: name -> mean and interval; the names are those of `divot.evaluation.measures.DEFINITIONS`.
        run: settings, seed, versions, hardware, model, sampler, clips and date; goes to JSON as it is.
        examples: the best, the median and the worst clip, fewer for fewer clips.
    """

    measures: dict[str, Interval]
    run: dict[str, Any]
    examples: tuple[Example, ...]

    def to_json(self) -> dict[str, Any]:
        """One key a measure, and `run`."""
        return {**{name: value.to_json() for name, value in self.measures.items()}, "run": self.run}
