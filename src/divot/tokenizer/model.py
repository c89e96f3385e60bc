"""The video tokenizer: five frames of a clip to a few continuous tokens.

Letters: B batch of clips, F seen frames, C channels, H W pixels, P patches, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from divot.config.models import TokenizerConfig
from divot.layers.component import Component
from divot.layers.embeddings import grid_positions, spread_points
from divot.layers.resampler import PerceiverResampler
from divot.tokenizer.spatiotemporal import SpatioTemporalTransformer
from divot.tokenizer.temporal import TemporalTransformer, pool_patches
from divot.tokenizer.vit import FrameEncoder


class VideoTokenizer(Component):
    """ViT -> temporal transformer -> pooling -> spatial-temporal transformer -> Perceiver Resampler.

    Source: Divot (arXiv 2412.04432), section 3.1 and appendix A.1.
    """

    config_class = TokenizerConfig

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = FrameEncoder(config.vit)
        self.temporal = TemporalTransformer(
            config.vit.width,
            config.temporal_width,
            config.hidden_width,
            config.temporal_depth,
            config.temporal_heads,
            config.num_frames,
        )
        self.norm = nn.LayerNorm(config.hidden_width, eps=1e-6)
        self.spatiotemporal = SpatioTemporalTransformer(
            config.hidden_width,
            config.spatiotemporal_depth,
            config.spatiotemporal_heads,
            config.pool_size,
            config.num_frames,
        )
        self.resampler = self._new_resampler()

    def _new_resampler(self) -> PerceiverResampler:
        config = self.config
        grid = (config.num_frames, config.pool_size, config.pool_size)
        return PerceiverResampler(
            config.hidden_width,
            config.hidden_width,
            config.resampler_depth,
            config.resampler_heads,
            config.resampler_head_width,
            config.num_tokens,
            config.token_width,
            places_ND=grid_positions(grid, config.hidden_width, spread_points(config.num_tokens, grid)),
        )

    def take_new_resampler(self, config: TokenizerConfig) -> None:
        """Write tokens of other sizes from now on, by a resampler of new weights; `config` differs in nothing else."""
        self.config = config
        self.resampler = self._new_resampler()

    def forward(self, frames_BFCHW: Tensor) -> Tensor:
        """Seen frames to tokens.

        Args:
            frames_BFCHW: [B, F, 3, H, W] in [-1, 1]; F frames of a clip as `divot.video.clips` picks them. Any H and W:
                frames are stretched to the ViT's own size.

        Returns:
            [B, N, D].

        Raises:
            ValueError: if the number of frames is not the configured one.
        """
        return self.resampler(self.features(frames_BFCHW))

    def features(self, frames_BFCHW: Tensor) -> Tensor:
        """What the resampler reads of the frames: one vector a cell of each frame, [B, F * cells, hidden width].

        Raises:
            ValueError: as of `forward`.
        """
        batch, frames = frames_BFCHW.shape[:2]
        if frames_BFCHW.ndim != 5 or frames != self.config.num_frames:
            raise ValueError(
                f"frames have shape {tuple(frames_BFCHW.shape)}, wanted [B, {self.config.num_frames}, 3, H, W]"
            )
        patches = self.vit(frames_BFCHW.flatten(0, 1))
        # Along the frames, one patch position at a time.
        patches = patches.unflatten(0, (batch, frames)).transpose(1, 2).flatten(0, 1)
        patches = self.temporal(patches)
        patches = patches.unflatten(0, (batch, -1)).transpose(1, 2).flatten(0, 1)
        pooled = pool_patches(patches, self.config.vit.grid, self.config.pool_size)
        pooled = self.norm(pooled.unflatten(0, (batch, frames)).flatten(1, 2))
        features: Tensor = self.spatiotemporal(pooled)
        return features

    @torch.no_grad()
    def null_tokens(self) -> Tensor:
        """Tokens [1, N, D] of an all-zero clip: the unconditional condition of the de-tokenizer."""
        size = self.config.vit.image_size
        zeros = torch.zeros(1, self.config.num_frames, 3, size, size, device=self.device, dtype=self.dtype)
        return self(zeros)
