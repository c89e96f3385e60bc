"""The training objective: predict v at a random time of the schedule.

Letters: B batch, F frames, S side of a frame in pixels, s side of its latents.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def edge_weights(frames_BFCHW: Tensor, latent_side: int, weight: float) -> Tensor:
    """What the error of each latent position counts, [B, 1, F, s, s] with mean 1 in each clip.

    A small thing is a few positions among many: in the mean error it is the last to be learned. Its outline is where
    the levels of pixels differ most, and there a position counts up to 1 + `weight` times as much as on an even ground.

    Args:
        frames_BFCHW: [B, F, 3, S, S] in [-1, 1].
        latent_side: s.
        weight: of full contrast, which is half of the range of levels.
    """
    factor = frames_BFCHW.shape[-1] // latent_side
    # With a pixel of the neighbours all around, so that an edge between two positions counts for both.
    frames = F.pad(frames_BFCHW.float().flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    highest, lowest = (sign * F.max_pool2d(sign * frames, factor + 2, factor) for sign in (1, -1))
    contrast = (highest - lowest).amax(dim=1).clamp(max=1)
    weights = 1 + weight * contrast.unflatten(0, frames_BFCHW.shape[:2])[:, None]
    return weights / weights.flatten(1).mean(dim=1).view(-1, 1, 1, 1, 1)


def velocity_loss(
    predict: Predictor,
    schedule: NoiseSchedule,
    x0: Tensor,
    noise: Tensor,
    times_B: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean squared error of v, a value a sample.

    Args:
        predict: gives v for (x_t, times).
        schedule: the noise schedule.
        x0: clean latents [B, ...].
        noise: standard normal of the same shape.
        times_B: [B].
        weights: of the errors, as `edge_weights` gives them for latents; None counts all alike.

    Returns:
        float32 [B].

    Source: Divot (arXiv 2412.04432), appendix A.1 (v-prediction in end-to-end training).
    """
    v = predict(schedule.add_noise(x0, noise, times_B), times_B)
    error = v.float() - schedule.velocity(x0, noise, times_B).float()
    squares = error.pow(2) if weights is None else error.pow(2) * weights
    return squares.flatten(1).mean(dim=1)
