"""What is needed of a model that is measured: nothing of how it is made.

Letters: B batch of clips, F frames, C channels, H W pixels (h w latents), N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Tokenizer(Protocol):
    """What is needed of a tokenizer; `divot.tokenizer.VideoTokenizer` has it."""

    config: Any

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights."""

    def __call__(self, frames_BFCHW: Tensor) -> Tensor:
        """Seen frames [B, F, 3, H, W] in [-1, 1] to tokens [B, N, D]."""


class Detokenizer(Protocol):
    """What is needed of a de-tokenizer; `divot.detokenizer.VideoDetokenizer` has it."""

    config: Any

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights."""

    def decode(self, tokens_BND: Tensor, seed: int = 0, **settings: Any) -> Tensor:
        """Tokens to frames [B, F, 3, H, W] in [-1, 1]; clip b starts from the noise of seed + b."""

    def refine(
        self,
        tokens_BND: Tensor,
        frames_BFCHW: Tensor,
        seen: Sequence[int],
        steps: int,
        seed: int = 0,
        sampler: Any = None,
    ) -> Tensor:
        """Tokens that show the frames [B, F, 3, H, W] in [-1, 1] better."""

    def encode_frames(self, frames_BFCHW: Tensor) -> Tensor:
        """Frames [B, F, 3, H, W] to latents [B, C, F, h, w]."""

    def decode_latents(self, latents_BCFHW: Tensor) -> Tensor:
        """Latents to frames."""


class Model(Protocol):
    """What is needed of a whole model: its parts.

    Its `source`, and the names and hashes of the de-tokenizers in its `folder`, go into the report if it has them.
    """

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""

    def detokenizer(self, task: str, name: str | None = None) -> Any:
        """The de-tokenizer of that name, or else of that task."""
