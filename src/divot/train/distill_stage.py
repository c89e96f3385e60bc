"""Distillation of tokens: a new resampler and a new projector, that tell the U-Net what it was told before.

The U-Net hears of a clip through the context alone, which the projector makes of the tokens. So another number or width
of tokens, or tokens that bear noise, need not be learned through the U-Net: new ones are learned whose context is that
of the tokens that were there, with nothing but the resampler and the projector to train. The tokenizer stage goes on
from there, end to end.

Letters: B clips, F frames, N tokens, L context tokens, D width.
"""

from __future__ import annotations

import copy
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
        tokenizer: of the teacher.
        detokenizer: of the teacher.
        config: of the run.
    """

    def __init__(self, tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer, config: TrainConfig) -> None:
        super().__init__(*_students(tokenizer, detokenizer, config.distillation), config)
        self.old_resampler, self.old_projector = tokenizer.resampler, detokenizer.projector
        self.requires_grad_(False)
        for part in (self.tokenizer.resampler, self.detokenizer.projector):
            part.requires_grad_(True)

    def forward(self, clips_BFCHW: Tensor, chances: list[torch.Generator]) -> tuple[Tensor, dict[str, float]]:
        """Mean square of what the U-Net is told of the clips, less what it was told before."""
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

    def _module(self, tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer) -> DistillationModule:
        return DistillationModule(tokenizer, detokenizer, self.config)


def _students(
    tokenizer: VideoTokenizer, detokenizer: VideoDetokenizer, sizes: DistillationConfig
) -> tuple[VideoTokenizer, VideoDetokenizer]:
    """Both with a new resampler and projector, the rest copied."""
    old, decoding = tokenizer.config, detokenizer.config
    tokens = {
        "num_tokens": sizes.num_tokens or old.num_tokens,
        "token_width": sizes.token_width or old.token_width,
    }
    depth = sizes.resampler_depth or old.resampler_depth
    new = VideoTokenizer(replace(old, **tokens, resampler_depth=depth))
    _copy(tokenizer, new, "resampler")
    # Not in places, as those of a new tokenizer are: few tokens are to hold whole clips, and not each its own part.
    nn.init.normal_(new.resampler.latents, std=old.hidden_width**-0.5)
    projector = replace(decoding.projector, depth=sizes.projector_depth or decoding.projector.depth)
    reading = VideoDetokenizer(replace(decoding, **tokens, projector=projector))
    _copy(detokenizer, reading, "projector")
    # What the U-Net is told is in the teacher's numbers from the first step.
    for name in ("proj_out", "norm_out"):
        getattr(reading.projector, name).load_state_dict(getattr(detokenizer.projector, name).state_dict())
    return new, reading


def _copy(old: nn.Module, new: nn.Module, without: str) -> None:
    """Take over all parts but one."""
    for name, part in old.named_children():
        if name != without:
            setattr(new, name, copy.deepcopy(part))
