"""The one noise schedule, for training and sampling alike.

Symbols: alpha-bar_t is `alphas_cumprod[t]`; x_t = sqrt(alpha-bar_t) x_0 + sqrt(1 - alpha-bar_t) noise;
v = sqrt(alpha-bar_t) noise - sqrt(1 - alpha-bar_t) x_0 (Salimans and Ho, arXiv 2202.00512).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from divot.config.models import ScheduleConfig

SPACINGS = ("trailing", "leading", "uniform")


def zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """Shift and scale sqrt(alpha-bar) so that its last value is 0 and its first stays.

    Source: Lin et al., arXiv 2305.08891, algorithm 1.
    """
    roots = np.sqrt(np.cumprod(1.0 - betas))
    first, last = roots[0], roots[-1]
    roots = (roots - last) * first / (first - last)
    cumulative = roots**2
    alphas = np.concatenate([cumulative[:1], cumulative[1:] / cumulative[:-1]])
    return 1.0 - alphas


class NoiseSchedule:
    """Scaled-linear betas, worked out in float64 and kept in float32, as the official buffers are."""

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        betas = (
            np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_timesteps, dtype=np.float64)
            ** 2
        )
        if config.has_zero_terminal_snr:
            betas = zero_terminal_snr(betas)
        self.betas = betas
        cumulative = np.cumprod(1.0 - betas)
        self.alphas_cumprod = torch.from_numpy(cumulative).float()
        self.sqrt_alphas_cumprod = torch.from_numpy(np.sqrt(cumulative)).float()
        self.sqrt_one_minus_alphas_cumprod = torch.from_numpy(np.sqrt(1.0 - cumulative)).float()

    def _at(self, values: Tensor, timesteps_B: Tensor, like: Tensor) -> Tensor:
        # Shape [B, 1, 1, ...]: one factor a sample.
        picked = values.to(like.device)[timesteps_B].to(like.dtype)
        return picked.view(-1, *[1] * (like.ndim - 1))

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps_B: Tensor) -> Tensor:
        """x_t of the clean latents at each sample's time; all [B, ...]."""
        signal = self._at(self.sqrt_alphas_cumprod, timesteps_B, x0)
        return signal * x0 + self._at(self.sqrt_one_minus_alphas_cumprod, timesteps_B, x0) * noise

    def velocity(self, x0: Tensor, noise: Tensor, timesteps_B: Tensor) -> Tensor:
        """The v that the U-Net has to predict; all [B, ...]."""
        signal = self._at(self.sqrt_alphas_cumprod, timesteps_B, x0)
        return signal * noise - self._at(self.sqrt_one_minus_alphas_cumprod, timesteps_B, x0) * x0

    def x0_from_velocity(self, x_t: Tensor, v: Tensor, timesteps_B: Tensor) -> Tensor:
        """The clean latents that x_t and v imply; all [B, ...]."""
        signal = self._at(self.sqrt_alphas_cumprod, timesteps_B, x_t)
        return signal * x_t - self._at(self.sqrt_one_minus_alphas_cumprod, timesteps_B, x_t) * v

    def noise_from_velocity(self, x_t: Tensor, v: Tensor, timesteps_B: Tensor) -> Tensor:
        """The noise that x_t and v imply; all [B, ...]."""
        signal = self._at(self.sqrt_alphas_cumprod, timesteps_B, x_t)
        return signal * v + self._at(self.sqrt_one_minus_alphas_cumprod, timesteps_B, x_t) * x_t

    def noise_from_clean(self, x_t: Tensor, x0: Tensor, timesteps_B: Tensor) -> Tensor:
        """The noise that makes x_t of the clean latents; all [B, ...]."""
        signal = self._at(self.sqrt_alphas_cumprod, timesteps_B, x_t)
        return (x_t - signal * x0) / self._at(self.sqrt_one_minus_alphas_cumprod, timesteps_B, x_t)

    def timesteps(self, num_steps: int, spacing: str, official_quirks: bool = False) -> np.ndarray:
        """Diffusion times of a sampling run, ascending.

        `trailing` ends at the last time, where the signal is nothing, as training does; `leading` begins at 1 and ends
        before it; `uniform` is the official code's leading, whose stride is a whole number.

        Args:
            num_steps: steps wanted.
            spacing: one of `SPACINGS`.
            official_quirks: `uniform` takes every stride that fits, which can be more than `num_steps`; without them it
                is `leading`, for whole strides of a number of steps that is no divisor end far from the last time.

        Returns:
            int64 [num_steps] (more with the quirk).

        Raises:
            ValueError: for an unknown spacing, or a number of steps that the spacing cannot take.
        """
        total = self.config.num_timesteps
        if spacing not in SPACINGS:
            raise ValueError(f"spacing is {spacing!r}, wanted one of {', '.join(SPACINGS)}")
        if not 1 <= num_steps <= total:
            raise ValueError(f"num_steps is {num_steps}, wanted 1 to {total}")
        if spacing == "trailing":
            times = np.round(np.arange(total, 0, -total / num_steps)).astype(np.int64) - 1
            times = times[:num_steps] if official_quirks else np.clip(times[:num_steps], 0, total - 1)
            times = times[::-1].copy()
        elif spacing == "leading" or not official_quirks:
            times = np.arange(num_steps, dtype=np.int64) * total // num_steps + 1
        else:
            times = np.arange(0, total, total // num_steps, dtype=np.int64) + 1
        if times.min() < 0 or times.max() >= total:
            raise ValueError(
                f"{spacing} spacing with {num_steps} steps leaves the schedule ({times.min()} to {times.max()} of "
                f"0 to {total - 1}); take another number of steps"
            )
        return times

    def ddim_coefficients(
        self, timesteps: np.ndarray, eta: float, official_quirks: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """alpha-bar at each time, alpha-bar at the time before it, and sigma (arXiv 2010.02502, equation 16).

        Args:
            timesteps: ascending.
            eta: 0 for the deterministic sampler, 1 for as much noise as DDPM.
            official_quirks: round alpha-bar, 1 - alpha-bar and its reciprocal to float16 as the official sampler does.

        Returns:
            Three float64 arrays as long as `timesteps`.
        """
        if official_quirks:
            half = self.alphas_cumprod.numpy().astype(np.float16)
            alphas = half[timesteps].astype(np.float64)
            previous = np.concatenate([half[:1], half[timesteps[:-1]]]).astype(np.float64)
            rest = (np.float16(1.0) - half[timesteps]).astype(np.float16)
            reciprocal = (np.float16(1.0) / rest).astype(np.float16).astype(np.float64)
        else:
            cumulative = np.cumprod(1.0 - self.betas)
            alphas = cumulative[timesteps]
            previous = np.concatenate([cumulative[:1], cumulative[timesteps[:-1]]])
            reciprocal = 1.0 / (1.0 - alphas)
        sigmas = eta * np.sqrt(np.maximum(reciprocal * (1.0 - previous) * (1.0 - alphas / previous), 0.0))
        return alphas, previous, sigmas
