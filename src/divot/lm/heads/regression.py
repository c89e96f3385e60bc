"""The regression head: one value a token, the mean of all that could follow.

Letters: B batch of clips, N tokens, D width of a token, H width of the hidden states.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from divot.lm.chance import Chance


class RegressionHead(nn.Module):
    """Two fully connected layers from hidden states to tokens, under the mean squared error.

    Args:
        hidden_width: H.
        token_width: D.
        cosine_weight: weight of 1 - cosine similarity beside the squared error.

    Source: the baseline of Divot's ablation (arXiv 2412.04432, table 8).
    """

    def __init__(self, hidden_width: int, token_width: int, cosine_weight: float = 0.0) -> None:
        super().__init__()
        self.cosine_weight = cosine_weight
        self.layers = nn.Sequential(
            nn.Linear(hidden_width, hidden_width), nn.GELU(), nn.Linear(hidden_width, token_width)
        )

    def loss(self, hidden_BNH: Tensor, tokens_BND: Tensor) -> Tensor:
        """Scalar: error of hidden states [B, N, H] against tokens [B, N, D], in float32."""
        predicted, wanted = self.mean(hidden_BNH), tokens_BND.float()
        loss = F.mse_loss(predicted, wanted)
        if self.cosine_weight:
            loss = loss + self.cosine_weight * (1 - F.cosine_similarity(predicted, wanted, dim=-1)).mean()
        return loss

    def mean(self, hidden_BNH: Tensor) -> Tensor:
        """Hidden states [B, N, H] to tokens, float32 [B, N, D]."""
        return self.layers(hidden_BNH).float()

    def sample(self, hidden_BNH: Tensor, generator: Chance = None) -> Tensor:
        """As `mean`: there is no chance in a regression."""
        return self.mean(hidden_BNH)
