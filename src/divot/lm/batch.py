"""Sequences of different lengths to one batch of tensors.

Letters: B batch, L length, R clips read, W clips written, N tokens a clip, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self

from divot.text.sequence import IGNORED, NO_BLOCK, Sequence

NO_ID = -1
"""Padding of ids that are looked up by themselves."""


@dataclass(frozen=True)
class LanguageBatch:
    """What the language model reads in one forward pass."""

    ids: Tensor
    """[B, L]."""
    labels: Tensor
    """[B, L]: the id where the text loss counts, else -100."""
    is_present: Tensor
    """bool [B, L]: False for padding."""
    reads: Tensor
    """bool [B, L]: places of tokens that are read."""
    writes: Tensor
    """bool [B, L]: places of tokens that are written."""
    positions: Tensor
    """[B, L]: position ids, from 0 for each sequence that is packed into a row."""
    blocks: Tensor
    """[B, L]: number of the written clip that a query belongs to, -1 elsewhere."""
    bare: Tensor
    """bool [B, L]: places of written tokens that do not hold the token before them."""
    said: Tensor
    """[W, M]: ids of the words said right before each written clip, `NO_ID` behind."""
    read_tokens: Tensor
    """[R, N, D]: tokens of the clips that are read, row after row of the batch."""
    written_tokens: Tensor
    """[W, N, D]: tokens of the clips that are written, row after row; without them (inference) W is 0."""
    noise: Tensor | None = None
    """[W, N, D]: in units of the model, on the written tokens where the places after them hold them, in training."""
    is_packed: bool = False
    """Whether a row has several sequences, of which none sees another."""

    @property
    def num_words(self) -> int:
        """Positions that the text loss counts: their ids are said after another."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        values = [(f.name, getattr(self, f.name)) for f in fields(self)]
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in values if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def padded_ids(rows: Many[Many[int]]) -> Tensor:
    """Lists of ids to one tensor, `NO_ID` behind the shorter ones."""
    if not rows:
        return torch.zeros(0, 0, dtype=torch.long)
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=NO_ID)


def collate(
    sequences: Many[Sequence],
    read: Many[Tensor],
    written: Many[Tensor],
    pad_id: int,
    token_shape: tuple[int, int],
    pads_left: bool = False,
) -> LanguageBatch:
    """Pad sequences to one length.

    Args:
        sequences: B of them.
        read: the clips' tokens [N, D] that are read, over all rows in order.
        written: those that are written.
        pad_id: id of the padding.
        token_shape: N and D.
        pads_left: padding in front, so that all rows end together (for generation).

    Raises:
        ValueError: if the sequences have another number of clips than are given.
    """
    length = max(len(sequence) for sequence in sequences)

    def rows(name: str, fill: int | bool) -> Tensor:
        values = []
        for sequence in sequences:
            row = list(getattr(sequence, name))
            padding = [fill] * (length - len(row))
            values.append(padding + row if pads_left else row + padding)
        return torch.tensor(values)

    num_read = sum(len(sequence.clips_read) for sequence in sequences)
    num_written = sum(sequence.clips_written for sequence in sequences)
    if num_read != len(read) or (written and num_written != len(written)):
        raise ValueError(
            f"clips: got {len(read)} to read and {len(written)} to write, wanted {num_read} and {num_written}"
        )
    lengths = torch.tensor([len(sequence) for sequence in sequences])[:, None]
    places = torch.arange(length)
    return LanguageBatch(
        ids=rows("ids", pad_id),
        labels=rows("labels", IGNORED),
        is_present=places >= length - lengths if pads_left else places < lengths,
        reads=rows("reads", False),
        writes=rows("writes", False),
        positions=rows("positions", 0),
        blocks=rows("blocks", NO_BLOCK),
        bare=rows("bare", False),
        read_tokens=torch.stack(list(read)) if read else torch.zeros(0, *token_shape),
        written_tokens=torch.stack(list(written)) if written else torch.zeros(0, *token_shape),
        said=padded_ids([ids for sequence in sequences for ids in sequence.said]),
        is_packed=any(len(sequence.starts) > 1 for sequence in sequences),
    )
