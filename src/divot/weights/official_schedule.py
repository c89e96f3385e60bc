"""The noise schedule as the released de-tokenizer stores it: twelve buffers that ours can work out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from divot.detokenizer.schedule import NoiseSchedule


def schedule_buffers(schedule: NoiseSchedule) -> dict[str, Tensor]:
    """The official names and float32 values.

    Source: the posterior of DDPM (arXiv 2006.11239, equations 6 and 7).
    """
    betas = schedule.betas
    alphas = 1.0 - betas
    cumulative = np.cumprod(alphas)
    previous = np.append(1.0, cumulative[:-1])
    rest = 1.0 - cumulative
    variance = betas * (1.0 - previous) / rest
    values = {
        "betas": betas,
        "alphas_cumprod": cumulative,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": np.sqrt(cumulative),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(rest),
        "log_one_minus_alphas_cumprod": np.log(rest),
        # Not used with v-prediction (the last would be infinite): the official code leaves them at zero.
        "sqrt_recip_alphas_cumprod": np.zeros_like(cumulative),
        "sqrt_recipm1_alphas_cumprod": np.zeros_like(cumulative),
        "posterior_variance": variance,
        # The first variance is 0: its logarithm is clipped.
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(previous) / rest,
        "posterior_mean_coef2": (1.0 - previous) * np.sqrt(alphas) / rest,
    }
    return {name: torch.from_numpy(value).float() for name, value in values.items()}
