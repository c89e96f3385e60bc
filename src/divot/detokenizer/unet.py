"""The video diffusion U-Net: a noisy clip of latents, a time and a context of tokens in; a prediction of v out.

Letters: B batch of clips, F frames, C channels, H W rows and columns of latents, L context tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from divot.config.models import UNetConfig
from divot.detokenizer.attention import Context, SpatialTransformer, TemporalTransformer
from divot.detokenizer.resblocks import Downsample, ResBlock, Upsample, join_frames, split_frames, zeroed
from divot.layers.attention import start_alike
from divot.layers.embeddings import grid_positions, sinusoid

# DynamiCrafter's first temporal transformer has 8 heads whatever the width.
INITIAL_HEADS = 8


class UNetStage(nn.Module):
    """A residual block and, where the resolution has attention, a spatial and a temporal transformer; then a resize."""

    def __init__(
        self,
        config: UNetConfig,
        in_channels: int,
        out_channels: int,
        has_attention: bool,
        resize: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resblock = ResBlock(
            in_channels, out_channels, 4 * config.model_channels, config.dropout, config.norm_groups
        )
        self.spatial: SpatialTransformer | None = None
        self.temporal: TemporalTransformer | None = None
        if has_attention:
            head = config.num_head_channels
            is_split = config.context_split is not None
            self.spatial = SpatialTransformer(
                out_channels, head, config.context_width, is_split, config.norm_groups
            )
            self.temporal = TemporalTransformer(out_channels, out_channels // head, head, config.norm_groups)
        self.resize = resize

    def forward(self, x: Tensor, embedding: Tensor, context: Context, num_frames: int) -> Tensor:
        """[B * F, C_in, H, W] to [B * F, C_out, H', W']."""
        x = self.resblock(x, embedding, num_frames)
        if self.spatial is not None and self.temporal is not None:
            x = self.temporal(self.spatial(x, context), num_frames)
        return x if self.resize is None else self.resize(x)


class VideoUNet(nn.Module):
    """DynamiCrafter's U-Net without the concatenated image, as Divot conditions it.

    Source: Divot (arXiv 2412.04432), section 3.1; DynamiCrafter (arXiv 2310.12190).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        base = config.model_channels
        if config.channel_mult[0] != 1:
            raise ValueError(f"channel_mult begins with {config.channel_mult[0]}, wanted 1")
        self.time_embedding = nn.Sequential(
            nn.Linear(base, 4 * base), nn.SiLU(), nn.Linear(4 * base, 4 * base)
        )
        self.stride_embedding: nn.Sequential | None = None
        if config.default_frame_stride is not None:
            self.stride_embedding = nn.Sequential(
                nn.Linear(base, 4 * base), nn.SiLU(), zeroed(nn.Linear(4 * base, 4 * base))
            )
        patch_area = config.patch_size**2
        self.conv_in = nn.Conv2d(patch_area * config.in_channels, base, 3, padding=1)
        self.initial_temporal: TemporalTransformer | None = None
        if config.has_initial_attention:
            self.initial_temporal = TemporalTransformer(
                base, INITIAL_HEADS, config.num_head_channels, config.norm_groups
            )

        self.encoder = nn.ModuleList()
        channels, widths, factor = base, [base], 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                has_attention = factor in config.attention_resolutions
                self.encoder.append(UNetStage(config, channels, mult * base, has_attention))
                channels = mult * base
                widths.append(channels)
            if level < len(config.channel_mult) - 1:
                self.encoder.append(Downsample(channels))
                widths.append(channels)
                factor *= 2
        self.middle = UNetStage(config, channels, channels, has_attention=True)
        self.middle_resblock = ResBlock(channels, channels, 4 * base, config.dropout, config.norm_groups)
        self.decoder = nn.ModuleList()
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for index in range(config.num_res_blocks + 1):
                is_last = level > 0 and index == config.num_res_blocks
                has_attention = factor in config.attention_resolutions
                resize = Upsample(mult * base) if is_last else None
                self.decoder.append(
                    UNetStage(config, channels + widths.pop(), mult * base, has_attention, resize)
                )
                channels = mult * base
                factor = factor // 2 if is_last else factor
        self.norm_out = nn.GroupNorm(config.norm_groups, channels)
        self.conv_out = zeroed(nn.Conv2d(channels, patch_area * config.out_channels, 3, padding=1))
        self.input_gain = zeroed(nn.Linear(4 * base, config.out_channels)) if config.has_input_skip else None
        if config.has_positions:
            self._start_from_places()

    @torch.no_grad()
    def _start_from_places(self) -> None:
        """Let positions reach every cross-attention unchanged, and match those of the context there."""
        if self.conv_in.weight.is_meta:
            return
        # Quiet noise: what is asked for at a position depends on the position first.
        self.conv_in.weight.mul_(0.25)
        for stage in (*self.encoder, self.middle, *self.decoder):
            if not isinstance(stage, UNetStage):
                continue
            skip = stage.resblock.skip
            if isinstance(skip, nn.Conv2d) and skip.in_channels == 2 * skip.out_channels:
                # Two inputs of equal width, of the level below and of the encoder: their mean.
                halves = torch.eye(skip.out_channels).repeat(1, 2) / 2**0.5
                skip.weight.copy_(halves[..., None, None])
            if stage.spatial is not None:
                nn.init.eye_(stage.spatial.proj_in.weight)
                nn.init.eye_(stage.spatial.proj_out.weight)
                cross = stage.spatial.block.attention2
                if cross.key.weight.shape == cross.query.weight.shape:
                    start_alike(cross.query.weight, cross.key.weight)

    def embed(self, timesteps_B: Tensor, frame_stride_B: Tensor | None = None) -> Tensor:
        """Embedding [B, 4 * model_channels] of the diffusion time and, where the model knows it, of the frame stride.

        Args:
            timesteps_B: [B], 0 to 999.
            frame_stride_B: [B]; None takes the configured default.
        """
        base, weight = self.config.model_channels, self.conv_in.weight
        embedding = self.time_embedding(sinusoid(timesteps_B, base).to(weight))
        if self.stride_embedding is not None:
            if frame_stride_B is None:
                frame_stride_B = timesteps_B.new_full(
                    timesteps_B.shape, self.config.default_frame_stride or 0
                )
            embedding = embedding + self.stride_embedding(sinusoid(frame_stride_B, base).to(weight))
        return embedding

    def _split(self, context_BLD: Tensor, num_frames: int) -> Context:
        split = self.config.context_split
        if split is None:
            return Context(context_BLD)
        first, second = context_BLD[:, :split], context_BLD[:, split:]
        if second.shape[1] == 0:
            return Context(first)
        # DynamiCrafter's image tokens: 16 for each frame. Any other number belongs to the whole clip.
        if second.shape[1] == 16 * num_frames:
            second = second.unflatten(1, (num_frames, -1)).flatten(0, 1)
        return Context(first, second)

    def forward(
        self,
        latents_BCFHW: Tensor,
        timesteps_B: Tensor,
        context_BLD: Tensor,
        frame_stride_B: Tensor | None = None,
    ) -> Tensor:
        """Predict v.

        Args:
            latents_BCFHW: noisy latents [B, C, F, H, W]; H and W are multiples of patch_size * 2 ** (levels - 1).
            timesteps_B: diffusion times [B].
            context_BLD: projected tokens [B, L, D].
            frame_stride_B: [B], for models that know it; None takes the configured default.

        Returns:
            v [B, C, F, H, W].
        """
        num_frames = latents_BCFHW.shape[2]
        context = self._split(context_BLD, num_frames)
        embedding = self.embed(timesteps_B, frame_stride_B)
        x = nn.functional.pixel_unshuffle(join_frames(latents_BCFHW), self.config.patch_size)
        x = self.conv_in(x)
        if self.config.has_positions:
            positions = grid_positions((num_frames, *x.shape[2:]), x.shape[1]).to(x)
            positions = positions.view(num_frames, *x.shape[2:], -1).permute(0, 3, 1, 2)
            x = x + positions.repeat(latents_BCFHW.shape[0], 1, 1, 1)
        if self.initial_temporal is not None:
            x = self.initial_temporal(x, num_frames)
        skips = [x]
        for stage in self.encoder:
            x = stage(x) if isinstance(stage, Downsample) else stage(x, embedding, context, num_frames)
            skips.append(x)
        x = self.middle_resblock(self.middle(x, embedding, context, num_frames), embedding, num_frames)
        for stage in self.decoder:
            x = stage(torch.cat([x, skips.pop()], dim=1), embedding, context, num_frames)
        x = self.conv_out(nn.functional.silu(self.norm_out(x)))
        v_BCFHW = split_frames(nn.functional.pixel_shuffle(x, self.config.patch_size), num_frames)
        if self.input_gain is not None:
            gain_BC = self.input_gain(nn.functional.silu(embedding))
            v_BCFHW = v_BCFHW + gain_BC[:, :, None, None, None] * latents_BCFHW
        return v_BCFHW
