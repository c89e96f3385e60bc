"""Tokens that a language model draws once, for de-tokenizer adaptation to go over again and again.

Letters: M samples of the cache, B clips, N tokens a clip, D width of a token.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import Self

from divot.config.errors import CheckpointError
from divot.config.files import written_whole
from divot.text.sequence import Sequence
from divot.train.adapt_batch import AdaptationBatch, AdaptationDataset, to_adaptation_batch

_DRAWN_AT_ONCE = 32
_REMEDY = "Give another file, or remove it"


@dataclass(frozen=True)
class TokenCache:
    """Tokens that were drawn once for the first samples of a run.

    Attributes:
        file: where they are kept.
        tokens: [M, N, D] of M samples.
        marks: int64 [M], of the words they were drawn for.
    """

    file: Path
    tokens: Tensor
    marks: Tensor

    @classmethod
    def read(cls, file: Path, label: dict[str, str]) -> Self:
        """What an earlier run has kept.

        Args:
            file: to read.
            label: what decides the tokens.

        Raises:
            CheckpointError: if it cannot be read, or has another label.
        """
        try:
            with safe_open(file, "pt") as stored:
                if stored.metadata() != label:
                    raise CheckpointError(file, "holds tokens of another model or run", _REMEDY)
                return cls(file, stored.get_tensor("tokens"), stored.get_tensor("marks"))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(file, f"cannot be read ({error})", _REMEDY) from error

    @classmethod
    def draw(
        cls,
        file: Path,
        label: dict[str, str],
        dataset: AdaptationDataset,
        shape: tuple[int, int],
        draw: Callable[[AdaptationBatch], Tensor],
    ) -> Self:
        """Draw the tokens of all samples, each process its share, and write them.

        Args:
            file: to write.
            label: what decides the tokens.
            dataset: as many samples as are to be kept.
            shape: N and D.
            draw: gives tokens [B, N, D] of a batch on the device of the process.
        """
        processes = PartialState()
        tokens = torch.zeros(len(dataset), *shape, device=processes.device)
        marks = torch.zeros(len(dataset), dtype=torch.int64, device=processes.device)
        firsts = range(0, len(dataset), _DRAWN_AT_ONCE)
        for first in firsts[processes.process_index :: processes.num_processes]:
            numbers = list(range(first, min(first + _DRAWN_AT_ONCE, len(dataset))))
            batch = to_adaptation_batch([dataset[number] for number in numbers]).to(processes.device)
            tokens[numbers] = draw(batch)
            marks[numbers] = torch.tensor(list(map(_mark, batch.sequences)), device=processes.device)
        # What other processes drew is 0 here.
        tokens, marks = (cast(Tensor, reduce(values, "sum")).cpu() for values in (tokens, marks))
        if processes.is_main_process:
            with written_whole(file) as beside:
                save_file({"tokens": tokens, "marks": marks}, beside, metadata=label)
        return cls(file, tokens, marks)

    def tokens_of(self, batch: AdaptationBatch) -> Tensor:
        """Tokens [B, N, D] of a batch.

        Raises:
            CheckpointError: if a sample is of other words than when its tokens were drawn: which clip it is depends on
                the files that can be read.
        """
        for number, sequence in zip(batch.numbers, batch.sequences, strict=True):
            if _mark(sequence) != int(self.marks[number]):
                cause = f"holds for sample {number} tokens of another clip: other files could be read when it was made"
                raise CheckpointError(self.file, cause, _REMEDY)
        return self.tokens[list(batch.numbers)]


def _mark(sequence: Sequence) -> int:
    """What tells a sample's words from those of others."""
    return zlib.crc32(repr(sequence.ids).encode())
