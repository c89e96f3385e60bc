"""The special tokens that hold places for images and video, once for the whole project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from divot.config.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE_START, IMAGE_END = "<img>", "</img>"
VIDEO_START, VIDEO_END = "<vid>", "</vid>"
FRAME_START, FRAME_END = "<frame>", "</frame>"
NUM_PLACES = 256
PLACES: tuple[str, ...] = tuple(f"<frame_{index:05d}>" for index in range(NUM_PLACES))
"""Each holds the place of one token of a clip; those of a clip that is written are the learnable queries."""
SPECIAL_TOKENS: tuple[str, ...] = (
    IMAGE_START,
    IMAGE_END,
    VIDEO_START,
    VIDEO_END,
    FRAME_START,
    FRAME_END,
    *PLACES,
)


@dataclass(frozen=True)
class VideoVocab:
    """Ids of the special tokens in one tokenizer."""

    image_start: int
    image_end: int
    video_start: int
    video_end: int
    frame_start: int
    frame_end: int
    places: tuple[int, ...]
    bos: int | None
    eos: int
    pad: int

    @property
    def special(self) -> tuple[int, ...]:
        """All 262 ids, in the order of `SPECIAL_TOKENS`."""
        ends = (self.image_start, self.image_end, self.video_start, self.video_end)
        return (*ends, self.frame_start, self.frame_end, *self.places)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> VideoVocab:
        """The ids that a tokenizer has for them.

        Raises:
            CheckpointError: if it lacks one, or has no end-of-sequence token.
        """
        known = tokenizer.get_vocab()
        if missing := [token for token in SPECIAL_TOKENS if token not in known]:
            raise CheckpointError(
                tokenizer.name_or_path or "tokenizer",
                f"has no token {missing[0]!r} ({len(missing)} missing)",
                "Add them with divot.text.add_video_tokens",
            )
        if tokenizer.eos_token_id is None:
            raise CheckpointError(
                tokenizer.name_or_path or "tokenizer", "has no end-of-sequence token", "Set its eos_token"
            )
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        ids = [known[token] for token in SPECIAL_TOKENS]
        return cls(
            image_start=ids[0],
            image_end=ids[1],
            video_start=ids[2],
            video_end=ids[3],
            frame_start=ids[4],
            frame_end=ids[5],
            places=tuple(ids[6:]),
            bos=tokenizer.bos_token_id,
            eos=tokenizer.eos_token_id,
            pad=pad,
        )


def special_names(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """What the tokenizer takes for a special token wherever it stands in a text; the longest first."""
    names = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted((name for name in names if len(name) > 1), key=len, reverse=True))


def plain_letters(text: str, names: Iterable[str]) -> str:
    """The same text with a space inside each of the names of special tokens, which are none then."""
    for name in names:
        if name in text:
            text = text.replace(name, f"{name[0]} {name[1:]}")
    return text


def add_video_tokens(tokenizer: PreTrainedTokenizerBase) -> VideoVocab:
    """Add the 262 special tokens to any Hugging Face tokenizer; those that it has already keep their ids.

    Raises:
        CheckpointError: if it has no end-of-sequence token.
    """
    known = tokenizer.get_vocab()
    new = [token for token in SPECIAL_TOKENS if token not in known]
    if new:
        tokenizer.add_tokens(new, special_tokens=True)
    return VideoVocab.of(tokenizer)
