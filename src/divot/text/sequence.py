"""One sequence builder for training and inference: words, clips to read and clips to write, to ids and their roles.

How a clip stands in a sequence:

    <vid> <frame> <frame_00000> ... <frame_00063> </frame> </vid>

Several clips that are read in a row share one <vid> ... </vid>; an image stands in <img> ... </img> instead.

Letters: L length, N tokens of a clip.
"""

from __future__ import annotations

import random
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from divot.config.errors import RecipeError
from divot.text.vocab import NUM_PLACES, VideoVocab, plain_letters, special_names

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""Label of a position that the text loss leaves out."""
NO_BLOCK = -1
"""Block id of a position that is not a query."""


@dataclass(frozen=True)
class Words:
    """A piece of text; `is_learned` for what the model shall say, `has_marks` where names of special tokens in it mean
    these, as in a chat template; elsewhere they are plain letters."""

    text: str
    is_learned: bool = False
    has_marks: bool = False


@dataclass(frozen=True)
class ReadClips:
    """So many clips in a row that are read, or one image (a still clip)."""

    count: int = 1
    is_image: bool = False


@dataclass(frozen=True)
class WriteClip:
    """A clip, or an image, that the model writes: its places are queries."""

    is_image: bool = False


@dataclass(frozen=True)
class End:
    """The end of what the model says; learned."""


Segment = Words | ReadClips | WriteClip | End


@dataclass
class Sequence:
    """Ids with the role of each position; all lists have length L."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    """The id itself where the text loss counts, else `IGNORED`."""
    reads: list[bool] = field(default_factory=list)
    """Places of tokens that are read, N a clip, in the order of the clips."""
    writes: list[bool] = field(default_factory=list)
    """Places of tokens that are written, N a clip."""
    blocks: list[int] = field(default_factory=list)
    """Number of the written clip that a query belongs to, else `NO_BLOCK`."""
    bare: list[bool] = field(default_factory=list)
    """Places of tokens that are written one by one which do not hold the token before them, see `draw_bare`."""
    clips_read: list[int] = field(default_factory=list)
    """Which of the clips to read, counted over all segments, are in it."""
    clips_written: int = 0
    said: list[list[int]] = field(default_factory=list)
    """Of each written clip, the ids that the model says right before it, up to its `<vid>` or `<img>`."""
    left_out: list[str] = field(default_factory=list)
    """What did not fit, in words."""
    starts: list[int] = field(default_factory=lambda: [0])
    """Where a sequence begins: several, where they are packed into one row."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positions(self) -> list[int]:
        """Position ids, from 0 at each start."""
        ends = [*self.starts[1:], len(self)]
        return [place for begin, end in zip(self.starts, ends, strict=True) for place in range(end - begin)]

    def add(
        self, ids: Many[int], is_learned: bool = False, reads: bool = False, block: int = NO_BLOCK
    ) -> None:
        """Append positions of one role."""
        self.ids.extend(ids)
        self.labels.extend(ids if is_learned else [IGNORED] * len(ids))
        self.reads.extend([reads] * len(ids))
        self.writes.extend([block != NO_BLOCK] * len(ids))
        self.blocks.extend([block] * len(ids))
        self.bare.extend([False] * len(ids))

    def draw_bare(self, share: float, rng: random.Random) -> None:
        """Keep from the places of `share` of the written clips some of the tokens before them, in training.

        In each of those clips every part, from none to all, is as likely: what is written then follows the words, and
        not only what was written before. `share` is the setting `language.unseen_share`.
        """
        rates = [rng.random() if rng.random() < share else 0.0 for _ in range(self.clips_written)]
        self.bare = [block != NO_BLOCK and rng.random() < rates[block] for block in self.blocks]


def said_last(labels: Many[int]) -> list[int]:
    """The ids at the end of some labels, without a gap, that the model says."""
    return [*takewhile(lambda label: label != IGNORED, reversed(labels))][::-1]


def packed(sequences: Many[Sequence]) -> Sequence:
    """Sequences one behind the other in one row; the clips of each keep their own numbers."""
    row = Sequence(starts=[])
    for sequence in sequences:
        row.starts += [len(row) + start for start in sequence.starts]
        row.ids += sequence.ids
        row.labels += sequence.labels
        row.reads += sequence.reads
        row.writes += sequence.writes
        row.bare += sequence.bare
        # A block's number is its own in the row.
        row.blocks += [b if b == NO_BLOCK else b + row.clips_written for b in sequence.blocks]
        row.clips_read += sequence.clips_read
        row.clips_written += sequence.clips_written
        row.said += sequence.said
        row.left_out += sequence.left_out
    return row


class SequenceBuilder:
    """Segments to a `Sequence`.

    Args:
        tokenizer: with the special tokens in it, see `add_video_tokens`.
        num_tokens: N.
        max_length: longest sequence; None: no limit.

    Raises:
        CheckpointError: if the tokenizer lacks the special tokens.
        RecipeError: if N or max_length are out of range.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, num_tokens: int = 64, max_length: int | None = None
    ) -> None:
        if not 1 <= num_tokens <= NUM_PLACES:
            raise RecipeError("num_tokens", f"is {num_tokens}", f"A clip has 1 to {NUM_PLACES} tokens")
        if max_length is not None and max_length < 1:
            raise RecipeError("max_length", f"is {max_length}", "Give 1 or more, or nothing")
        self.tokenizer, self.num_tokens, self.max_length = tokenizer, num_tokens, max_length
        self.vocab = VideoVocab.of(tokenizer)
        self._special_names = special_names(tokenizer)

    @property
    def places(self) -> tuple[int, ...]:
        """Ids of the N places of a clip."""
        return self.vocab.places[: self.num_tokens]

    def build(self, segments: Many[Segment]) -> Sequence:
        """The sequence of these segments, with the begin-of-sequence token where the tokenizer has one.

        Where it would be longer than `max_length`, clips that are read are thinned first (the kept ones evenly spread
        over the row, at least one), then what stands at the end is left out: words one by one, a clip as a whole.
        `left_out` tells what.
        """
        sequence = Sequence()
        if self.vocab.bos is not None:
            sequence.add([self.vocab.bos])
        kept = self._thinned(segments, sequence)
        first = 0
        for place, segment in enumerate(segments):
            room = None if self.max_length is None else self.max_length - len(sequence)
            if isinstance(segment, Words):
                ids = self.words(segment)
                if room is not None and len(ids) > room:
                    sequence.left_out.append(f"the last {len(ids) - room} of {len(ids)} word pieces")
                sequence.add(ids if room is None else ids[:room], is_learned=segment.is_learned)
                is_cut = room is not None and len(ids) > room
            elif isinstance(segment, ReadClips):
                indices = [first + index for index in kept.pop(0)]
                first += segment.count
                is_cut = room is not None and self._size(len(indices)) > room
                if not is_cut:
                    self._add_read(sequence, indices, segment.is_image)
            elif isinstance(segment, WriteClip):
                is_cut = room is not None and self._size(1) > room
                if not is_cut:
                    self._add_written(sequence, segment.is_image)
            else:
                is_cut = room is not None and room < 1
                if not is_cut:
                    sequence.add([self.vocab.eos], is_learned=True)
            if is_cut:
                # Of words that were cut, the beginning is in it.
                rest = segments[place + isinstance(segment, Words) :]
                sequence.left_out += [f"all from {type(one).__name__} on" for one in rest[:1]]
                break
        return sequence

    def continuation(self, ids: Many[int], segments: Many[Segment]) -> Sequence:
        """What follows in a sequence that is begun: ids that were said, then segments; their clips count from 0."""
        sequence = Sequence()
        sequence.add(ids, is_learned=True)
        for segment in segments:
            if isinstance(segment, Words):
                sequence.add(self.words(segment), is_learned=segment.is_learned)
            elif isinstance(segment, End):
                sequence.add([self.vocab.eos], is_learned=True)
            elif isinstance(segment, ReadClips):
                self._add_read(sequence, list(range(segment.count)), segment.is_image)
            else:
                self._add_written(sequence, segment.is_image)
        return sequence

    def words(self, words: Words) -> list[int]:
        """Ids of a piece of text, without begin and end tokens."""
        # A lone half of a surrogate pair is no text.
        text = words.text.encode("utf-8", "replace").decode("utf-8")
        if not words.has_marks:
            text = plain_letters(text, self._special_names)
        return list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []

    def opening(self, is_image: bool = False) -> list[int]:
        """Ids before the places of a clip that is written."""
        return [self.vocab.image_start if is_image else self.vocab.video_start, self.vocab.frame_start]

    def closing(self, is_image: bool = False) -> list[int]:
        """Ids after the places of a clip."""
        return [self.vocab.frame_end, self.vocab.image_end if is_image else self.vocab.video_end]

    def _size(self, count: int) -> int:
        return 2 + count * (self.num_tokens + 2)

    def _thinned(self, segments: Many[Segment], sequence: Sequence) -> list[list[int]]:
        """Which clips of each row are kept."""
        rows = [segment.count for segment in segments if isinstance(segment, ReadClips)]
        counts = list(rows)
        if self.max_length is not None:
            over = len(sequence) + self._length_of(segments) - self.max_length
            while over > 0 and max(counts, default=0) > 1:
                counts[counts.index(max(counts))] -= 1
                over -= self.num_tokens + 2
        for row, count in zip(rows, counts, strict=True):
            if count < row:
                sequence.left_out.append(f"{row - count} of {row} clips")
        return [
            [index * row // count for index in range(count)] for row, count in zip(rows, counts, strict=True)
        ]

    def _length_of(self, segments: Many[Segment]) -> int:
        sizes = {Words: 0, End: 1, WriteClip: self._size(1)}
        total = sum(sizes.get(type(segment), 0) for segment in segments)
        for segment in segments:
            if isinstance(segment, Words):
                total += len(self.words(segment))
            elif isinstance(segment, ReadClips):
                total += self._size(segment.count)
        return total

    def _add_read(self, sequence: Sequence, indices: list[int], is_image: bool) -> None:
        start, end = self.opening(is_image)[0], self.closing(is_image)[1]
        sequence.add([start])
        for index in indices:
            sequence.add([self.vocab.frame_start])
            sequence.add(self.places, reads=True)
            sequence.add([self.vocab.frame_end])
            sequence.clips_read.append(index)
        sequence.add([end])

    def _add_written(self, sequence: Sequence, is_image: bool) -> None:
        opening, closing = self.opening(is_image), self.closing(is_image)
        sequence.said.append([*said_last(sequence.labels), opening[0]])
        # The model says that a clip comes; inside, there is nothing to choose.
        sequence.add(opening[:1], is_learned=True)
        sequence.add(opening[1:])
        sequence.add(self.places, block=sequence.clips_written)
        sequence.add(closing[:1])
        sequence.add(closing[1:], is_learned=True)
        sequence.clips_written += 1
