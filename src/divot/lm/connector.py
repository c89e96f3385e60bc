"""The connector: between the backbone and the head, the places of a clip that is written look at each other and at the
words that were said for it.

Letters: W clips written, N tokens a clip, M words said, K keys, H width of the backbone, D width of the connector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from divot.config.models import ConnectorConfig
from divot.layers.attention import attend
from divot.layers.embeddings import grid_positions, sinusoid, spread_points

# Cells along frames, rows and columns, over which the places of a clip are spread; and how loud they are beside tokens
# and words.
_PLACE_GRID, _PLACE_SCALE = (8, 8, 8), 0.5


def places(count: int, width: int) -> Tensor:
    """Sines [count, width] of where the tokenizer's queries begin to look.

    Learned places take a small model thousands of steps to tell apart, and until then it sees what is there, but not
    where.
    """
    return _PLACE_SCALE * grid_positions(_PLACE_GRID, width, spread_points(count, _PLACE_GRID))


class _Reading(nn.Module):
    """Attention to other positions, or to those of one's own, added to what was there."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x_WND: Tensor, read_WKD: Tensor | None, is_there_WK: Tensor | None) -> Tensor:
        """[W, N, D] to [W, N, D]; None reads x itself."""
        normed = self.norm(x_WND)
        read = normed if read_WKD is None else read_WKD
        mask = None if is_there_WK is None else is_there_WK[:, None, None]
        return x_WND + self.out(
            attend(self.query(normed), self.key(read), self.value(read), self.num_heads, mask)
        )


class _Gated(nn.Module):
    """A feed-forward network with gates: how far a place is from a sprite is in products of the sines of both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # With the third matrix as many weights as in a network four times as wide without gates.
        inner = 8 * width // 3
        self.norm = nn.LayerNorm(width)
        self.gate, self.value = nn.Linear(width, inner), nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x_WND: Tensor) -> Tensor:
        """[W, N, D] to [W, N, D]."""
        normed = self.norm(x_WND)
        return x_WND + self.out(F.silu(self.gate(normed)) * self.value(normed))


class _WordsLayer(nn.Module):
    """Words look at each other."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = _Reading(width, num_heads)
        self.feed_forward = _Gated(width)

    def forward(self, words_WMD: Tensor, is_word_WM: Tensor) -> Tensor:
        """[W, M, D] to [W, M, D]."""
        read: Tensor = self.attention(words_WMD, None, is_word_WM)
        out: Tensor = self.feed_forward(read)
        return out


class _PlacesLayer(nn.Module):
    """Places look at the words, then at each other."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.to_words = _Reading(width, num_heads)
        self.attention = _Reading(width, num_heads)
        self.feed_forward = _Gated(width)

    def forward(self, places_WND: Tensor, words_WMD: Tensor, is_word_WM: Tensor) -> Tensor:
        """[W, N, D] to [W, N, D]."""
        read = self.to_words(places_WND, words_WMD, is_word_WM)
        out: Tensor = self.feed_forward(self.attention(read, None, None))
        return out


class Connector(nn.Module):
    """Words are read in both directions, and drawn from place by place.

    What a causal backbone of a few layers knows of its words is what may be said next; where the sprites of a plan
    stand, and when, it has to find out at the queries, beside everything else that it does. Here a transformer has this
    task alone, and leaves what the backbone reads and says as it is.

    Args:
        config: sizes; its depth is 1 or more.
        hidden_width: H.
        num_tokens: N.

    Source: our own; a connector behind learnable queries as of MetaQueries (arXiv 2504.06256), with the words beside.
    """

    def __init__(self, config: ConnectorConfig, hidden_width: int, num_tokens: int) -> None:
        super().__init__()
        width, heads = config.width, config.num_heads
        self.positions = nn.Parameter(places(num_tokens, width))
        # Embeddings of words are small beside the sines of their order.
        self.norm_words_in = nn.LayerNorm(hidden_width)
        self.words_in = nn.Linear(hidden_width, width)
        self.states_in = nn.Linear(hidden_width, width)
        # It begins with the words alone.
        nn.init.zeros_(self.states_in.weight)
        nn.init.zeros_(self.states_in.bias)
        self.readers = nn.ModuleList(_WordsLayer(width, heads) for _ in range(config.words_depth))
        self.norm_words = nn.LayerNorm(width)
        self.writers = nn.ModuleList(_PlacesLayer(width, heads) for _ in range(config.depth))
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, hidden_width)

    def forward(self, states_WNH: Tensor, words_WMH: Tensor, is_word_WM: Tensor) -> Tensor:
        """What the head is given, [W, N, H].

        Args:
            states_WNH: last hidden states of the places.
            words_WMH: embeddings of the words, padded behind.
            is_word_WM: bool; False for padding. Each row has a word.
        """
        words = self.words_in(self.norm_words_in(words_WMH))
        order = sinusoid(torch.arange(words.shape[1], device=words.device), words.shape[2])
        words = words + _PLACE_SCALE * order.to(words)
        for reader in self.readers:
            words = reader(words, is_word_WM)
        words = self.norm_words(words)
        drawn = self.positions + self.states_in(states_WNH)
        for writer in self.writers:
            drawn = writer(drawn, words, is_word_WM)
        out: Tensor = self.out(self.norm_out(drawn))
        return out
