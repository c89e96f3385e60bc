"""What de-tokenizer adaptation is trained on: clips with the sequences that write them.

Letters: B clips, F frames, S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from divot.data.clips import to_batch
from divot.data.tasks import LanguageDataset, task_turns
from divot.text import conversation
from divot.text.sequence import Sequence, SequenceBuilder


@dataclass(frozen=True)
class AdaptationSample:
    """A clip uint8 [F, S, S, 3], the sequence in which it is written, and its number in the run."""

    frames: np.ndarray
    sequence: Sequence
    number: int


@dataclass(frozen=True)
class AdaptationBatch:
    """Clips with the sequences that write them."""

    clips: Tensor
    """uint8 [B, F, 3, S, S]."""
    sequences: tuple[Sequence, ...]
    """B of them."""
    numbers: tuple[int, ...]
    """B of them: of the samples in the run."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return replace(self, clips=self.clips.to(device))


class AdaptationDataset:
    """Clips with captions, as the lm stage's task `generation` draws them; with `period` they come again and again."""

    def __init__(self, language: LanguageDataset, builder: SequenceBuilder, period: int | None) -> None:
        self.language, self.builder, self.period = language, builder, period

    def __len__(self) -> int:
        return len(self.language)

    def __getitem__(self, number: int) -> AdaptationSample:
        """Sample `number`."""
        number = number % self.period if self.period else number
        record, task, rng = self.language.draw(number)
        is_official = self.language.is_official
        turns = task_turns(record, task, rng, max_questions=1, is_official=is_official)
        sequence = self.builder.build(conversation(turns, self.language.chat_tokenizer, is_official))
        return AdaptationSample(record.clips[0], sequence, number)


def to_adaptation_batch(samples: list[AdaptationSample]) -> AdaptationBatch:
    """Join samples."""
    clips = to_batch([sample.frames for sample in samples])
    sequences, numbers = (
        tuple(getattr(sample, name) for sample in samples) for name in ("sequence", "number")
    )
    return AdaptationBatch(clips, sequences, numbers)
