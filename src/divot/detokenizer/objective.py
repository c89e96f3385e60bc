"""The training objective: predict v at a random time of the schedule.

Letters: B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from divot.detokenizer.sampler import Predictor
from divot.detokenizer.schedule import NoiseSchedule


def draw_timesteps(count: int, num_timesteps: int, last_share: float, generator: torch.Generator) -> Tensor:
    """Times [count], uniform, but a share of them exactly the last one.

    At the last time of a zero-terminal-SNR schedule the input is noise alone, so everything must come from the tokens:
    a small model learns to use them several times sooner when it sees that time often.
    """
    times = torch.randint(0, num_timesteps, (count,), generator=generator)
    is_last = torch.rand(count, generator=generator) < last_share
    return torch.where(is_last, num_timesteps - 1, times)


def velocity_loss(
    predict: Predictor, schedule: NoiseSchedule, x0: Tensor, noise: Tensor, times_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean squared error of v, a value a sample, and the clean latents that the predicted v implies.

    Args:
        predict: gives v for (x_t, times).
        schedule: the noise schedule.
        x0: clean latents [B, ...].
        noise: standard normal of the same shape.
        times_B: [B].

    Returns:
        float32 [B], and float32 [B, ...].

    Source: Divot (arXiv 2412.04432), appendix A.1 (v-prediction in end-to-end training).
    """
    x_t = schedule.add_noise(x0, noise, times_B)
    v = predict(x_t, times_B).float()
    error = v - schedule.velocity(x0, noise, times_B).float()
    return error.pow(2).flatten(1).mean(dim=1), schedule.x0_from_velocity(x_t.float(), v, times_B)
