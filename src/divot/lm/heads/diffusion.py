"""The diffusion head: a small network de-noises each token by itself, told of the hidden state of its query.

Letters: B batch of clips, N tokens, D width of a token, H width of the hidden states, W width of the network.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from torch import Tensor, nn

from divot.layers.embeddings import sinusoid
from divot.lm.chance import Chance, normals

Prediction = Literal["epsilon", "v_prediction"]
NUM_TIMES = 1000


class _Block(nn.Module):
    """A residual MLP whose norm is shifted, scaled and gated by the condition; begins as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(F.silu(condition)).chunk(3, dim=-1)
        return x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)


class DiffusionHead(nn.Module):
    """An MLP that de-noises each token given its hidden state, over diffusers' schedule.

    Args:
        hidden_width: H.
        token_width: D.
        width: W.
        depth: residual blocks.
        prediction: what the network gives: the noise, or v.
        num_steps: de-noising steps of a sample.

    Source: the baseline of Divot's ablation (arXiv 2412.04432, table 8); the head of MAR (arXiv 2406.11838).
    """

    def __init__(
        self,
        hidden_width: int,
        token_width: int,
        width: int = 1024,
        depth: int = 3,
        prediction: Prediction = "v_prediction",
        num_steps: int = 50,
    ) -> None:
        super().__init__()
        self.token_width, self.width, self.num_steps = token_width, width, num_steps
        # The schedule of the de-tokenizer. Without any signal clean tokens cannot be worked out from the noise: zero
        # terminal SNR is for v alone.
        self.scheduler = DDIMScheduler(
            num_train_timesteps=NUM_TIMES,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=prediction,
            rescale_betas_zero_snr=prediction == "v_prediction",
            timestep_spacing="trailing",
            clip_sample=False,
        )
        self.proj_in = nn.Linear(token_width, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(hidden_width, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, token_width)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, noisy: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
        """Noisy tokens [R, D] at times [R] under hidden states [R, H] to the prediction [R, D]."""
        condition = self.condition(hidden) + self.time(sinusoid(times, self.width).to(noisy))
        x = self.proj_in(noisy)
        for block in self.blocks:
            x = block(x, condition)
        return self.proj_out(self.norm_out(x))

    def loss(
        self, hidden_BNH: Tensor, tokens_BND: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Scalar: squared error of the prediction at a random time of each token, in float32.

        Args:
            hidden_BNH: [B, N, H].
            tokens_BND: [B, N, D].
            generator: chance of the times and of the noise, on the CPU; None takes torch's own.
        """
        tokens, hidden = tokens_BND.float().flatten(0, 1), hidden_BNH.flatten(0, 1)
        times = torch.randint(0, NUM_TIMES, tokens.shape[:1], generator=generator).to(tokens.device)
        noise = torch.randn(tokens.shape, generator=generator).to(tokens)
        noisy = self.scheduler.add_noise(tokens, noise, times)
        is_noise = self.scheduler.config["prediction_type"] == "epsilon"
        wanted = noise if is_noise else self.scheduler.get_velocity(tokens, noise, times)
        return F.mse_loss(self(noisy.to(hidden.dtype), times, hidden).float(), wanted)

    @torch.no_grad()
    def sample(self, hidden_BNH: Tensor, generator: Chance = None) -> Tensor:
        """One draw, float32 [B, N, D], from hidden states [B, N, H]; DDIM without added noise."""
        hidden = hidden_BNH.flatten(0, 1)
        batch, num_tokens = hidden_BNH.shape[:2]
        noise_BND = normals(batch, (num_tokens, self.token_width), generator)
        x = noise_BND.flatten(0, 1).to(hidden.device)
        self.scheduler.set_timesteps(self.num_steps)
        for time in self.scheduler.timesteps:
            times = time.expand(len(x)).to(x.device)
            x = self.scheduler.step(self(x.to(hidden.dtype), times, hidden).float(), time, x).prev_sample
        return x.unflatten(0, (batch, num_tokens))

    def mean(self, hidden_BNH: Tensor, num_draws: int = 16) -> Tensor:
        """Average of draws from seeds 0, 1, ..., float32 [B, N, D]: a diffusion model has no mean to read off."""
        draws = [self.sample(hidden_BNH, torch.Generator().manual_seed(seed)) for seed in range(num_draws)]
        return torch.stack(draws).mean(dim=0)
