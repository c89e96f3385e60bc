"""Who may look at whom: text is causal, the queries of one written clip see each other in both directions.

Letters: B batch, Q positions that look, K positions that are looked at (those in the cache first, then the Q).
"""

from __future__ import annotations

import torch
from torch import Tensor

CAUSAL = -1
"""Block id of a position that belongs to no block of queries."""
OFFICIAL_BLOCK = 64
"""Positions in one block of the official code, whatever its settings say."""


def may_attend(
    block_ids_BK: Tensor, is_present_BK: Tensor, num_rows: int, sliding_window: int | None = None
) -> Tensor:
    """The attention mask, True where a position may look.

    Args:
        block_ids_BK: int, `CAUSAL` or the number of the block that a position belongs to; all of a block see each
            other, and what was before it.
        is_present_BK: bool, False for padding.
        num_rows: Q; the last so many positions are those that look.
        sliding_window: how many positions back a position sees, itself included; None: all.

    Returns:
        bool [B, Q, K].

    Raises:
        ValueError: if the shapes differ or there are more rows than positions.
    """
    if block_ids_BK.shape != is_present_BK.shape:
        raise ValueError(
            f"block_ids and is_present have shapes {tuple(block_ids_BK.shape)} and {tuple(is_present_BK.shape)}, "
            "wanted the same"
        )
    total = block_ids_BK.shape[1]
    if not 0 < num_rows <= total:
        raise ValueError(f"num_rows: got {num_rows}, wanted 1 to {total}")
    keys = torch.arange(total, device=block_ids_BK.device)
    rows = keys[total - num_rows :, None]
    row_blocks = block_ids_BK[:, total - num_rows :, None]
    is_same_block = (row_blocks == block_ids_BK[:, None]) & (row_blocks != CAUSAL)
    allowed = (keys <= rows) | is_same_block
    if sliding_window is not None:
        allowed = allowed & (keys > rows - sliding_window)
    return allowed & is_present_BK[:, None]


def with_open_rows(mask_BQK: Tensor) -> Tensor:
    """The mask with rows that may look nowhere (left padding) open to everything: their softmax stays finite."""
    return mask_BQK | ~mask_BQK.any(dim=-1, keepdim=True)


def official_block_ids(mask_BK: Tensor, num_rows: int) -> Tensor:
    """Block ids of the official code's mask values: 0 padding, 1 text, -1 queries.

    Every 64th -1 of a row begins a block of 64 positions in a line, whatever stands there; a block that would run past
    the end is left out. Its places are counted from the first row that looks, so a cache shifts them: what the official
    code computes is kept, for its numbers; sequences of our own name their blocks themselves.

    Args:
        mask_BK: int.
        num_rows: Q.

    Returns:
        int64 [B, K] for `may_attend`.
    """
    cached = mask_BK.shape[1] - num_rows
    block_ids_BK = torch.full(mask_BK.shape, CAUSAL, device=mask_BK.device)
    for ids_K, mask_K in zip(block_ids_BK, mask_BK, strict=True):
        starts = (mask_K == -1).nonzero().flatten()[::OFFICIAL_BLOCK].tolist()
        for number, start in enumerate(starts):
            if start + OFFICIAL_BLOCK <= num_rows:
                ids_K[cached + start : cached + start + OFFICIAL_BLOCK] = number
    return block_ids_BK
