"""Sampling: from noise to latents along the schedule, guided by the context.

Our variables -> symbols of DDIM (arXiv 2010.02502): x -> x_t, x0 -> predicted x_0, noise -> epsilon_theta,
previous -> alpha-bar at the next, smaller time, sigma -> sigma_t.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from divot.config.models import SamplerConfig
from divot.detokenizer.schedule import NoiseSchedule

Predictor = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B, C, F, H, W], times [B]) -> v of the same shape as x_t."""
SOLVERS = ("ddim", "dpm++", "euler", "unipc")


def guided(conditional: Predictor, unconditional: Predictor, scale: float, rescale: float) -> Predictor:
    """Classifier-free guidance on v, with the standard deviation of the result pulled back to the conditional one.

    Args:
        conditional: v under the tokens.
        unconditional: v under the null tokens; never called when `scale` is 1.
        scale: 1 is no guidance.
        rescale: share of the rescaled result, 0 to 1 (arXiv 2305.08891, section 3.4).
    """
    if scale == 1.0:
        return conditional

    def predict(x: Tensor, times: Tensor) -> Tensor:
        with_tokens, without = conditional(x, times), unconditional(x, times)
        mixed = without + scale * (with_tokens - without)
        if rescale == 0.0:
            return mixed
        axes = tuple(range(1, mixed.ndim))
        ratio = with_tokens.std(dim=axes, keepdim=True) / mixed.std(dim=axes, keepdim=True)
        return rescale * (mixed * ratio) + (1 - rescale) * mixed

    return predict


def holding(predict: Predictor, schedule: NoiseSchedule, held: Tensor) -> Predictor:
    """A predictor that knows the first frames: there it gives the v that leads to `held`, elsewhere that of `predict`.

    In a sampler without fresh noise the first frames of x_t are then `held` with the noise of that time in each step,
    so that the others are de-noised beside them (in-painting along time).

    Args:
        predict: gives v.
        schedule: the noise schedule of the sampler.
        held: clean latents [B, C, k, H, W] of the first k frames.
    """
    num_held = held.shape[2]

    def predict_rest(x: Tensor, times: Tensor) -> Tensor:
        noise = schedule.noise_from_clean(x[:, :, :num_held], held, times)
        return torch.cat([schedule.velocity(held, noise, times), predict(x, times)[:, :, num_held:]], dim=2)

    return predict_rest


@torch.no_grad()
def sample_ddim(
    predict: Predictor,
    schedule: NoiseSchedule,
    x: Tensor,
    settings: SamplerConfig,
    generator: torch.Generator | None = None,
    official_quirks: bool = False,
    noises: Tensor | None = None,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """De-noise x_T to x_0 by DDIM.

    Args:
        predict: gives v.
        schedule: the noise schedule the model was trained with.
        x: noise [B, C, F, H, W].
        settings: steps, spacing and eta.
        generator: source of the noise of each step.
        official_quirks: see `DetokenizerConfig.official_quirks`.
        noises: [steps, *x.shape], used instead of drawing.
        on_step: called with (steps done, x, predicted x_0) after each step.

    Returns:
        Latents of the shape of `x`.
    """
    times = schedule.timesteps(settings.num_steps, settings.spacing, official_quirks)
    _, previous, sigmas = schedule.ddim_coefficients(times, settings.eta, official_quirks)
    for done, index in enumerate(reversed(range(len(times)))):
        times_B = torch.full((x.shape[0],), int(times[index]), device=x.device, dtype=torch.long)
        v = predict(x, times_B)
        x0 = schedule.x0_from_velocity(x, v, times_B)
        noise = schedule.noise_from_velocity(x, v, times_B)
        # float32, as the official sampler's full-size tensors are.
        before, sigma = torch.tensor([previous[index], sigmas[index]], dtype=torch.float32, device=x.device)
        # Rounding can take 1 - alpha-bar - sigma^2 just below nothing.
        direction = (1.0 - before - sigma**2).clamp(min=0).sqrt() * noise
        x = before.sqrt() * x0 + direction
        if index == 0 and not official_quirks:
            # What alpha-bar_0 leaves of the noise is not part of the picture.
            x = x0
        elif settings.eta > 0 or official_quirks:
            # The official sampler draws noise even where sigma is 0: what comes after it depends on that.
            fresh = noises[done] if noises is not None else _randn_like(x, generator)
            x = x + sigma * fresh
        if on_step is not None:
            on_step(done + 1, x, x0)
    return x


@torch.no_grad()
def sample_with_diffusers(
    predict: Predictor,
    schedule: NoiseSchedule,
    x: Tensor,
    settings: SamplerConfig,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """De-noise x_T to x_0 by a scheduler of diffusers built from the same betas; arguments as `sample_ddim`."""
    scheduler = _diffusers_scheduler(schedule, settings)
    scheduler.set_timesteps(settings.num_steps, device=x.device)
    x = x * scheduler.init_noise_sigma
    for done, time in enumerate(scheduler.timesteps):
        times_B = torch.full((x.shape[0],), int(time), device=x.device, dtype=torch.long)
        scaled = scheduler.scale_model_input(x, time)
        v = predict(scaled, times_B)
        x = scheduler.step(v, time, x, return_dict=False)[0]
        if on_step is not None:
            on_step(done + 1, x, schedule.x0_from_velocity(scaled, v, times_B))
    return x


def _diffusers_scheduler(schedule: NoiseSchedule, settings: SamplerConfig) -> Any:
    import diffusers

    classes = {
        "dpm++": diffusers.DPMSolverMultistepScheduler,
        "euler": diffusers.EulerDiscreteScheduler,
        "unipc": diffusers.UniPCMultistepScheduler,
    }
    if settings.solver not in classes:
        raise ValueError(f"solver is {settings.solver!r}, wanted one of {', '.join(SOLVERS)}")
    if settings.spacing == "uniform":
        raise ValueError(
            f"spacing 'uniform' is for the ddim solver; take trailing or leading with {settings.solver}"
        )
    config = schedule.config
    return classes[settings.solver](
        num_train_timesteps=config.num_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=config.has_zero_terminal_snr,
        timestep_spacing=settings.spacing,
        steps_offset=1 if settings.spacing == "leading" else 0,
    )


def sample(
    predict: Predictor,
    schedule: NoiseSchedule,
    x: Tensor,
    settings: SamplerConfig,
    generator: torch.Generator | None = None,
    official_quirks: bool = False,
    on_step: Callable[[int, Tensor, Tensor], None] | None = None,
    held: Tensor | None = None,
) -> Tensor:
    """De-noise by the solver that `settings` names.

    Args:
        predict: gives v; this and the others as in `sample_ddim`.
        schedule: the noise schedule.
        x: noise [B, C, F, H, W].
        settings: solver, steps, spacing and eta.
        generator: source of the noise of each step.
        official_quirks: see `DetokenizerConfig.official_quirks`.
        on_step: called after each step.
        held: clean latents [B, C, k, H, W] that the first k frames are to be; None holds none.

    Raises:
        ValueError: if there is no such solver, or it does not know the spacing.
    """
    if held is not None:
        predict = holding(predict, schedule, held)
    if settings.solver == "ddim":
        x = sample_ddim(predict, schedule, x, settings, generator, official_quirks, on_step=on_step)
    else:
        x = sample_with_diffusers(predict, schedule, x, settings, on_step)
    # The solvers come near the held frames, up to their rounding.
    return x if held is None else torch.cat([held, x[:, :, held.shape[2] :]], dim=2)


def _randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    # Drawn on the CPU: the same seed gives the same clip on any device.
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
