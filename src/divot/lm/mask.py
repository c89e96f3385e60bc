"""The mask values of the official code, as the block ids that our own sequences have.

Letters: B batch, Q positions that look, K positions that are looked at (those in the cache first, then the Q).
"""

from __future__ import annotations

import torch
from torch import Tensor

from divot.text.sequence import NO_BLOCK

OFFICIAL_BLOCK = 64
"""Positions in one block of the official code, whatever its settings say."""


def official_block_ids(mask_BK: Tensor, num_rows: int) -> Tensor:
    """Block ids of the official code's mask values: 0 padding, 1 text, -1 queries.

    Every 64th -1 of a row begins a block of 64 positions in a line, whatever stands there; a block that would run past
    the end is left out. Its places are counted from the first row that looks, so a cache shifts them: what the official
    code computes is kept, for its numbers; sequences of our own name their blocks themselves.

    Args:
        mask_BK: int.
        num_rows: Q.

    Returns:
        int64 [B, K]; all of a block see each other, and what was before it.
    """
    cached = mask_BK.shape[1] - num_rows
    block_ids_BK = torch.full(mask_BK.shape, NO_BLOCK, device=mask_BK.device)
    for ids_K, mask_K in zip(block_ids_BK, mask_BK, strict=True):
        starts = (mask_K == -1).nonzero().flatten()[::OFFICIAL_BLOCK].tolist()
        for number, start in enumerate(starts):
            if start + OFFICIAL_BLOCK <= num_rows:
                ids_K[cached + start : cached + start + OFFICIAL_BLOCK] = number
    return block_ids_BK
