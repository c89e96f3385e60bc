"""Distillation of tokens: a new resampler and a new projector, that tell the U-Net what it was told before.

The U-Net hears of a clip through the context alone, which the projector makes of the tokens. So another number or width
of tokens, or tokens that bear noise, need not be learned through the U-Net: new ones are learned whose context is that
of the tokens that were there, with nothing but the resampler and the projector to train. The tokenizer stage goes on
from there, end to end.

Letters: B clips, F frames, S pixels, L context tokens, D width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from divot.config.training import DistillationConfig, TrainConfig
from divot.detokenizer import VideoDetokenizer
from divot.tokenizer import VideoTokenizer
from divot.train.diffusion_stage import DiffusionModule, DiffusionStage, noisy
from divot.video.clips import SEEN_FRAMES
from divot.video.transform import signed


class DistillationModule(DiffusionModule):
    """The resampler and projector of a new model, and beside them those of the model that teaches.

    Args:
        tokenizer: whose resampler teaches, and gives its place to a new one.
        detokenizer: whose projector does.
        config: of the run.
    """

    def __init__(self, tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer, config: TrainConfig) -> None:
        old = tokenizer.resampler, detokenizer.projector
        _take_new_tokens(tokenizer, detokenizer, config.distillation)
        super().__init__(tokenizer, detokenizer, config)
        self.old_resampler, self.old_projector = old
        self.requires_grad_(False)
        for part in (self.tokenizer.resampler, self.detokenizer.projector):
            part.requires_grad_(True)

    def forward(self, clips_BFCHW: Tensor, chances: list[torch.Generator]) -> tuple[Tensor, dict[str, float]]:
        """Mean square of what the U-Net is told of the clips, less what it was told before; no further measures.

        Args:
            clips_BFCHW: [B, F, 3, S, S], bytes, or in [-1, 1].
            chances: of each clip: its noise.
        """
        with torch.no_grad():
            features = self.tokenizer.features(signed(clips_BFCHW)[:, list(SEEN_FRAMES)])
            wanted_BLD = self.old_projector(self.old_resampler(features))
        tokens = self.tokenizer.resampler(features)
        if self.config.token_noise > 0:
            tokens = noisy(tokens, self.config.token_noise, chances)
        return F.mse_loss(self.detokenizer.projector(tokens).float(), wanted_BLD.float()), {}


class DistillationStage(DiffusionStage):
    """Trains tokens of other sizes for the U-Net of a model."""

    module: DistillationModule

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        # Tokens of other sizes are those of no preset.
        self.preset = None

    def _module(self, tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer) -> DistillationModule:
        return DistillationModule(tokenizer, detokenizer, self.config)


def _take_new_tokens(
    tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer, sizes: DistillationConfig
) -> None:
    """Put a new resampler and a new projector, for tokens of these sizes, in the place of those that are there."""
    writing, reading, old = tokenizer.config, detokenizer.config, detokenizer.projector
    tokens = {
        "num_tokens": sizes.num_tokens or writing.num_tokens,
        "token_width": sizes.token_width or writing.token_width,
    }
    depth = sizes.projector_depth or reading.projector.depth
    tokenizer.take_new_resampler(
        replace(writing, **tokens, resampler_depth=sizes.resampler_depth or writing.resampler_depth)
    )
    # Not in places, as those of a new tokenizer are: few tokens are to hold whole clips, and not each its own part.
    nn.init.normal_(tokenizer.resampler.latents, std=writing.hidden_width**-0.5)
    detokenizer.take_new_projector(
        replace(reading, **tokens, projector=replace(reading.projector, depth=depth))
    )
    # What the U-Net is told is in the teacher's numbers from the first step.
    detokenizer.projector.proj_out.load_state_dict(old.proj_out.state_dict())
    detokenizer.projector.norm_out.load_state_dict(old.norm_out.state_dict())
