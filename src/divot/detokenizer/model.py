"""The de-tokenizer: tokens to sixteen frames, by de-noising latents under the tokens.

Letters: B batch of clips, F frames, C channels, H W pixels (h w latents), N tokens, L context tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from divot.config.models import DetokenizerConfig, SamplerConfig
from divot.detokenizer.refinement import refined
from divot.detokenizer.sampler import Predictor, guided, sample
from divot.detokenizer.schedule import NoiseSchedule
from divot.detokenizer.unet import VideoUNet
from divot.detokenizer.vae import build_autoencoder, decode_frames, encode_frames
from divot.layers.component import Component
from divot.layers.embeddings import grid_positions, spread_points
from divot.layers.resampler import PerceiverResampler

OnStep = Callable[[int, Tensor, Tensor], None]
"""Called with (steps done, latents, predicted clean latents)."""


class VideoDetokenizer(Component):
    """Token projector, video U-Net, autoencoder, noise schedule and sampler.

    `null_tokens` is the tokenizer's output for an all-zero clip: the unconditional condition of guidance, worked out
    once and saved with the weights.

    Source: Divot (arXiv 2412.04432), section 3.1 and appendix A.1.
    """

    config_class = DetokenizerConfig

    def __init__(self, config: DetokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.projector = self._new_projector()
        self.unet = VideoUNet(config.unet)
        self.vae = build_autoencoder(config.autoencoder)
        self.null_tokens: Tensor
        self.register_buffer("null_tokens", torch.zeros(config.num_tokens, config.token_width))
        self.schedule = NoiseSchedule(config.schedule)

    def _new_projector(self) -> PerceiverResampler:
        config, projector = self.config, self.config.projector
        return PerceiverResampler(
            config.token_width,
            projector.width,
            projector.depth,
            projector.num_heads,
            projector.head_width,
            projector.num_queries,
            config.unet.context_width,
            places_ND=self._places(projector.num_queries) if projector.has_positions else None,
            input_places_MD=self._places(config.num_tokens) if projector.has_positions else None,
        )

    def take_new_projector(self, config: DetokenizerConfig) -> None:
        """Read tokens of other sizes from now on, by a projector of new weights; `config` differs in nothing else."""
        self.config = config
        self.projector = self._new_projector()
        self.null_tokens = torch.zeros(config.num_tokens, config.token_width)

    def _places(self, count: int) -> Tensor:
        """Places [count, projector width] of so many tokens in the clip, in the positions of the U-Net."""
        config = self.config
        side = config.frame_size // config.autoencoder.downsampling // config.unet.patch_size
        grid = (config.num_frames, side, side)
        return grid_positions(grid, config.projector.width, spread_points(count, grid))

    def restore_buffers(self) -> None:
        """Make the schedule again: it is worked out, not saved."""
        with torch.device("cpu"):
            self.schedule = NoiseSchedule(self.config.schedule)

    def encode_frames(self, frames_BFCHW: Tensor) -> Tensor:
        """Frames [B, F, 3, H, W] in [-1, 1] to scaled latents [B, C, F, h, w]; no gradients."""
        return encode_frames(self.vae, frames_BFCHW, self.config.autoencoder.scaling_factor)

    def decode_latents(self, latents_BCFHW: Tensor) -> Tensor:
        """Scaled latents [B, C, F, h, w] to frames [B, F, 3, H, W], about [-1, 1], not clamped; no gradients."""
        return decode_frames(self.vae, latents_BCFHW, self.config.autoencoder.scaling_factor)

    def predict(self, latents_BCFHW: Tensor, times_B: Tensor, tokens_BND: Tensor) -> Tensor:
        """v [B, C, F, h, w] of noisy latents under tokens [B, N, D]."""
        return self.unet(latents_BCFHW, times_B, self.projector(tokens_BND))

    def _predictor(self, context_BLD: Tensor | None, stride_B: Tensor | None) -> Predictor:
        return lambda x, times: self.unet(x.to(self.dtype), times, context_BLD, stride_B).to(x.dtype)

    @torch.no_grad()
    def sample_latents(
        self,
        tokens_BND: Tensor,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
        frame_stride: int | None = None,
        on_step: OnStep | None = None,
        held_latents: Tensor | None = None,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """De-noise latents under the tokens.

        A U-Net shows less than it is told: details come out softer than the tokens say. A correction encodes what was
        drawn, adds to the tokens what its own tokens lack, and draws once more from the same noise.

        Args:
            tokens_BND: [B, N, D].
            seed: clip b of the batch starts from the noise of seed + b, whatever the size of the batch.
            sampler: settings; None takes those of the model.
            frame_stride: told to a U-Net that knows it; None takes the configured default.
            on_step: called after each step, those of corrections counted on.
            held_latents: [B, C, k, h, w], what the first k frames are to be; the others go on from them. It takes
                several steps: in a single one the others do not see them yet.
            encode: frames [1, F, 3, H, W] in [-1, 1] to tokens [1, N, D], for the sampler's corrections; without it
                there are none.

        Returns:
            Scaled latents [B, C, F, h, w].

        Raises:
            ValueError: if the tokens or the held latents are not of this model's shape.
        """
        config, settings = self.config, sampler or self.config.sampler
        if tokens_BND.ndim != 3 or tokens_BND.shape[-1] != config.token_width:
            raise ValueError(
                f"tokens have shape {tuple(tokens_BND.shape)}, wanted [B, N, {config.token_width}]"
            )
        batch, device = tokens_BND.shape[0], self.device
        side = config.frame_size // config.autoencoder.downsampling
        shape = (config.unet.in_channels, config.num_frames, side, side)
        held = None if held_latents is None else self._checked(held_latents, (batch, *shape))
        tokens_BND = tokens_BND.to(device, self.dtype)
        null = None
        if settings.guidance_scale != 1.0:
            null = self.projector(self.null_tokens[None].to(device, self.dtype))
        stride = None if frame_stride is None else torch.full((1,), frame_stride, device=device)
        unconditional = self._predictor(null, stride)

        def draw(index: int, tokens_1ND: Tensor, on_step: OnStep | None) -> Tensor:
            generator = torch.Generator().manual_seed(seed + index)
            # Latents stay float32 between the steps, whatever type the weights have.
            noise = torch.randn(1, *shape, generator=generator).to(device)
            conditional = self._predictor(self.projector(tokens_1ND), stride)
            return sample(
                guided(conditional, unconditional, settings.guidance_scale, settings.guidance_rescale),
                self.schedule,
                noise,
                settings,
                generator,
                config.official_quirks,
                on_step=on_step,
                held=None if held is None else held[index : index + 1],
            )

        # One clip at a time: its noise, and so its frames, do not depend on its neighbours.
        clips = []
        for index in range(batch):
            wanted, told = tokens_BND[index : index + 1], _counted(on_step)
            asked, latents = wanted, draw(index, wanted, told)
            if encode is not None:
                for _ in range(settings.num_corrections):
                    shown = self.decode_latents(latents).clamp(-1, 1)
                    asked = asked + wanted - encode(shown).to(wanted)
                    latents = draw(index, asked, told)
            clips.append(latents)
        return torch.cat(clips)

    def refine(
        self,
        tokens_BND: Tensor,
        frames_BFCHW: Tensor,
        seen: Sequence[int],
        steps: int,
        seed: int = 0,
        sampler: SamplerConfig | None = None,
        on_step: Callable[[int], None] | None = None,
    ) -> Tensor:
        """Tokens [B, N, D], float32, moved until what is drawn of them is nearer to the clips; the weights stay.

        Args:
            tokens_BND: those that the tokenizer gives.
            frames_BFCHW: the clips, all frames, in [-1, 1].
            seen: numbers of the frames that count: those that the tokenizer sees, so that no others are told.
            steps: see `divot.detokenizer.refinement`.
            seed: clip b has the noises of seed + b, whatever the size of the batch.
            sampler: at its times v is to be right; None takes the model's.
            on_step: called with the number of a clip's steps done after each.
        """
        settings = sampler or self.config.sampler
        times = self.schedule.timesteps(settings.num_steps, settings.spacing, self.config.official_quirks)
        latents = self.encode_frames(frames_BFCHW.to(self.device, self.dtype)).float()

        def predict(x: Tensor, times_B: Tensor, tokens: Tensor) -> Tensor:
            return self.predict(x.to(self.dtype), times_B, tokens.to(self.dtype))

        clips = []
        for index, tokens_ND in enumerate(tokens_BND.to(self.device, torch.float32)):
            generator, latents_1 = torch.Generator().manual_seed(seed + index), latents[index][None]
            clips.append(
                refined(
                    predict,
                    self.schedule,
                    tokens_ND[None],
                    latents_1,
                    seen,
                    steps,
                    times.tolist(),
                    generator,
                    on_step,
                )
            )
        return torch.cat(clips)

    def _checked(self, held_BCFHW: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The held latents, where they can be the first frames of latents of that shape."""
        batch, channels, num_frames, *sides = shape
        fits = held_BCFHW.ndim == 5 and 1 <= held_BCFHW.shape[2] <= num_frames
        if not fits or held_BCFHW.shape != (batch, channels, held_BCFHW.shape[2], *sides):
            wanted = f"[{batch}, {channels}, 1 to {num_frames}, {sides[0]}, {sides[1]}]"
            raise ValueError(f"held_latents have shape {tuple(held_BCFHW.shape)}, wanted {wanted}")
        return held_BCFHW.to(self.device, torch.float32)

    def decode(self, tokens_BND: Tensor, seed: int = 0, **settings: Any) -> Tensor:
        """Tokens [B, N, D] to frames [B, F, 3, H, W] clamped to [-1, 1]; arguments as `sample_latents`."""
        return self.decode_latents(self.sample_latents(tokens_BND, seed, **settings)).clamp(-1, 1)


def _counted(on_step: OnStep | None) -> OnStep | None:
    """The same, told the steps from the first draw of a clip on."""
    if on_step is None:
        return None
    steps = count(1)
    return lambda _done, x, x0: on_step(next(steps), x, x0)
