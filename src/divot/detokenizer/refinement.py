"""Refinement: tokens of a clip, moved by the gradient until the de-tokenizer draws the clip better.

A tokenizer that makes its tokens in one go says less in them than they can hold, and than the U-Net can draw: it has
learned what is best for clips in general (the amortisation gap of Cremer et al., arXiv 1801.03558). Here the training
objective goes on, for the tokens of one clip alone, all weights as they are.

Letters: N tokens, D width, C F H W latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from divot.detokenizer.schedule import NoiseSchedule

# Of Adam's first step, beside the tokens' root mean square; the last one is nearly nothing.
_RATE = 0.05


def refined(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    tokens_1ND: Tensor,
    latents_1CFHW: Tensor,
    seen: Sequence[int],
    steps: int,
    times: Sequence[int],
    generator: torch.Generator,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Tokens [1, N, D] of one clip that show it better.

    Args:
        predict: v for (x_t, times, tokens).
        schedule: the noise schedule.
        tokens_1ND: those of the tokenizer, float32.
        latents_1CFHW: of the whole clip, float32.
        seen: numbers of the frames that count.
        steps: of Adam, each at one time and one noise.
        times: one of them is drawn for each step.
        generator: of times and noises.
        on_step: called with the number of steps done after each.
    """
    tokens = tokens_1ND.detach().clone().requires_grad_(True)
    adam = torch.optim.Adam([tokens], lr=_RATE * float(tokens_1ND.square().mean().sqrt()))
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda done: 1 - done / steps)
    for done in range(1, steps + 1):
        noise = torch.randn(latents_1CFHW.shape, generator=generator).to(latents_1CFHW)
        drawn = times[int(torch.randint(len(times), (1,), generator=generator))]
        time_1 = torch.tensor([drawn], device=latents_1CFHW.device)
        with torch.enable_grad():
            v = predict(schedule.add_noise(latents_1CFHW, noise, time_1), time_1, tokens)
            error = v.float() - schedule.velocity(latents_1CFHW, noise, time_1)
            # The weights want no gradient of their own.
            (tokens.grad,) = torch.autograd.grad(error[:, :, list(seen)].square().mean(), tokens)
        adam.step()
        falling.step()
        if on_step is not None:
            on_step(done)
    return tokens.detach()
