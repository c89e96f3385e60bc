"""Samples of the lm stage to rows of a batch: sequences of about the same length together, or packed.

Letters: B sequences, C clips with frames, G clips with tokens, F frames that the tokenizer sees, N tokens a clip,
D width of a token, S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, pairwise

import torch
from torch import Tensor
from typing_extensions import Self

from divot.config.language import LanguageConfig
from divot.data.clips import to_batch
from divot.data.tasks import LanguageSample
from divot.lm.batch import LanguageBatch, collate
from divot.text.sequence import packed

# Questions, captions and stories differ in length by these many kinds.
MAX_GROUPS = 3


@dataclass(frozen=True)
class SequenceGroup:
    """Sequences of about the same length, whose clips are still frames."""

    language: LanguageBatch
    """Without tokens."""
    read: Tensor
    """Numbers of the clips that are read, row after row."""
    written: Tensor
    """Those that are written."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return type(self)(self.language.to(device), self.read.to(device), self.written.to(device))

    def with_tokens(self, tokens_CND: Tensor) -> LanguageBatch:
        """The sequences with the tokens of their clips."""
        return replace(
            self.language, read_tokens=tokens_CND[self.read], written_tokens=tokens_CND[self.written]
        )


@dataclass(frozen=True)
class TrainingBatch:
    """Sequences with the frames of their clips, or the tokens where they are there already."""

    groups: tuple[SequenceGroup, ...]
    seen: Tensor
    """uint8 [C, F, 3, S, S]: the first C clips, which have to be encoded."""
    given: Tensor
    """[G, N, D]: the tokens of the clips after them."""
    left_out: tuple[str, ...]
    """Of each sequence that was longer than `language.max_length`, its task and what it lacks."""

    @property
    def counts(self) -> tuple[int, int]:
        """Words that the text loss counts, and clips that are written."""
        rows = [group.language for group in self.groups]
        return sum(row.num_words for row in rows), sum(len(group.written) for group in self.groups)

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        groups = tuple(group.to(device) for group in self.groups)
        return replace(self, groups=groups, seen=self.seen.to(device), given=self.given.to(device))


def to_training_batch(
    pad_id: int,
    token_shape: tuple[int, int],
    language: LanguageConfig,
    max_groups: int,
    samples: list[LanguageSample],
) -> TrainingBatch:
    """Join the clips, and lay the sequences in rows.

    Args:
        pad_id: id of the padding.
        token_shape: N and D.
        language: its `packed_length`, or else each sequence has its own row, padded in groups of about the same length,
            which saves most of the padding as well; and its `token_noise`.
        max_groups: most of these groups.
        samples: of the batch.
    """
    ordered = sorted(samples, key=lambda sample: len(sample.sequence))
    frames = [clip for sample in ordered for clip in sample.seen]
    tokens = [clip for sample in ordered if sample.tokens is not None for clip in sample.tokens.float()]
    seen = to_batch(frames) if frames else torch.empty(0)
    given = torch.stack(tokens) if tokens else torch.empty(0, *token_shape)
    # Number of each sample's first clip: those with frames count from 0, those with tokens from behind them.
    placed, next_seen, next_given = [], 0, len(frames)
    for sample in ordered:
        if sample.tokens is None:
            placed.append(_Placed(sample, next_seen))
            next_seen += len(sample.seen)
        else:
            placed.append(_Placed(sample, next_given))
            next_given += len(sample.tokens)
    if language.packed_length:
        groups = [_packed_rows(placed, language.packed_length)]
    else:
        borders = _borders([len(sample.sequence) for sample in ordered], max_groups)
        parts = [placed[begin:end] for begin, end in pairwise([0, *borders, len(placed)])]
        groups = [[[one] for one in part] for part in parts if part]
    left_out = (f"{one.task}: {what}" for one in ordered for what in one.sequence.left_out[:1])
    laid = tuple(_group(rows, pad_id, token_shape, language.token_noise) for rows in groups)
    return TrainingBatch(laid, seen, given, tuple(left_out))


@dataclass(frozen=True)
class _Placed:
    """A sample, and the number of its first clip in the batch."""

    sample: LanguageSample
    first: int

    def __len__(self) -> int:
        return len(self.sample.sequence)


def _borders(lengths: list[int], max_groups: int) -> tuple[int, ...]:
    """Where to part rows of rising length into groups, so that all groups, padded, are the least positions."""
    count = len(lengths)

    def padded(borders: tuple[int, ...]) -> int:
        return sum(
            (end - begin) * lengths[end - 1] for begin, end in pairwise([0, *borders, count]) if end > begin
        )

    return min(combinations_with_replacement(range(count + 1), max_groups - 1), key=padded)


def _packed_rows(placed: list[_Placed], length: int) -> list[list[_Placed]]:
    """The longest first, each into the first row that has room; one that is longer than a row has its own."""
    rows: list[list[_Placed]] = []
    for one in reversed(placed):
        roomy = (row for row in rows if sum(map(len, row)) + len(one) <= length)
        row = next(roomy, None)
        if row is None:
            rows.append([one])
        else:
            row.append(one)
    return rows


def _group(
    rows: list[list[_Placed]], pad_id: int, token_shape: tuple[int, int], token_noise: float
) -> SequenceGroup:
    in_order = [one for row in rows for one in row]
    read = [one.first + index for one in in_order for index in one.sample.read]
    written = [one.first + index for one in in_order for index in one.sample.written]
    sequences = [packed([one.sample.sequence for one in row]) for row in rows]
    language = collate(sequences, [torch.zeros(token_shape)] * len(read), (), pad_id, token_shape)
    if token_noise > 0:
        noise = torch.cat([_noise(one.sample, token_shape, token_noise) for one in in_order])
        language = replace(language, noise=noise)
    numbers = [torch.tensor(indices, dtype=torch.long) for indices in (read, written)]
    return SequenceGroup(language, *numbers)


def _noise(sample: LanguageSample, token_shape: tuple[int, int], most: float) -> Tensor:
    """Noise [W, N, D] of a variance from 0 to `most` for each written clip of a sample."""
    chance, count = torch.Generator().manual_seed(sample.noise_seed), len(sample.written)
    variances = most * torch.rand(count, 1, 1, generator=chance)
    return variances.sqrt() * torch.randn(count, *token_shape, generator=chance)
