"""Which of several clips that a language model wrote for the same words shows what they name.

What is written and what is drawn of it are two things: a small star may be said well and drawn as a blob. Each clip is
drawn, and a critic, which has learned to tell shapes in latents, reads how much of what it sees there was asked for.

Letters: M clips, N tokens a clip, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from divot.detokenizer.critic import named, named_share

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot

WEIGHT = 40.0
"""Of the logarithm of that share, beside the log-likelihood of the words in nats. Chosen on 80 prompts of the training
split, see docs/results/experiments.md."""


class CriticJudge:
    """Draws clips as the model's own settings say, and has them read by its critic.

    Args:
        divot: with a critic.
        task: chooses the de-tokenizer.

    Raises:
        CheckpointError: if the model has no de-tokenizer for the task.
    """

    def __init__(self, divot: Divot, task: str) -> None:
        assert divot.critic is not None
        self.critic, self.detokenizer = divot.critic, divot.detokenizer(task)
        self.settings = self.detokenizer.config.sampler
        self.encode = divot.encoder_of(self.settings)

    @torch.no_grad()
    def __call__(self, tokens_MND: Tensor, words: Sequence[str], plans: Sequence[str]) -> Tensor:
        """Float32 [M], more for a clip that shows more of what its words name, or its plan where they name nothing;
        0 where both name nothing."""
        scores = torch.zeros(len(tokens_MND))
        for row, texts in enumerate(zip(words, plans, strict=True)):
            wanted = next((found for text in texts if any(found := named(self.critic, text))), None)
            if wanted is not None:
                latents = self.detokenizer.sample_latents(
                    tokens_MND[row][None], sampler=self.settings, encode=self.encode
                )
                scores[row] = float(named_share(self.critic, latents.to(self.critic.dtype), [wanted]))
        return WEIGHT * scores
