"""The units that a language model reads and writes tokens in: along their principal axes."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the mean variance along the tokens' axes: one with less is not blown up to 1.
_LEAST_VARIANCE = 0.01


def principal_units(tokens_SD: Tensor, known_SD: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and axes of sample tokens: less the mean, times the axes, they have mean 0 and deviation 1 along each axis;
    one along which they hardly differ stays below that.

    Args:
        tokens_SD: S samples, in double precision.
        known_SD: the same samples in units that something knows already: the axes are turned to come near to them.

    Returns:
        [D] and [D, D].
    """
    mean = tokens_SD.mean(dim=0)
    variances, axes = torch.linalg.eigh(tokens_SD.T.cov())
    axes = axes / variances.clamp(min=_LEAST_VARIANCE * float(variances.mean())).sqrt()
    if known_SD is not None:
        # The rotation under which the same tokens come nearest to what they were (orthogonal Procrustes).
        left, _, right = torch.linalg.svd(((tokens_SD - mean) @ axes).T @ known_SD)
        axes = axes @ left @ right
    return mean, axes
