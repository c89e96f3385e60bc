"""The sizes of a model, read off the shapes of its released tensors.

What shapes do not tell (heads of the image tower, frames of a clip, pixels of a frame) is the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.models import (
    AutoencoderConfig,
    DetokenizerConfig,
    ProjectorConfig,
    TokenizerConfig,
    UNetConfig,
    ViTConfig,
)


class Shapes:
    """Shapes of named tensors below a prefix; a missing one is the user's error."""

    def __init__(self, source: str | Path, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        self._source, self._tensors, self._prefix = source, tensors, prefix

    def under(self, prefix: str) -> Shapes:
        """The tensors of a part."""
        return Shapes(self._source, self._tensors, f"{self._prefix}{prefix}.")

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self:
            raise CheckpointError(self._source, f"has no {self._prefix}{name}", "Give the released files")
        return tuple(self._tensors[self._prefix + name].shape)

    def counted(self, pattern: str) -> int:
        """How many of the names `pattern.format(0)`, `pattern.format(1)`, ... there are."""
        return next(i for i in count() if pattern.format(i) not in self)

    def heads(self, width: int, head_width: int, what: str) -> int:
        """Heads of that width.

        Raises:
            CheckpointError: if the width is no multiple of it.
        """
        if width % head_width:
            cause = f"has {what} of width {width}, not a multiple of the paper's {head_width} a head"
            raise CheckpointError(self._source, cause, "Give the model's configuration")
        return width // head_width


def vit_config(shapes: Shapes, is_open_clip: bool, base: ViTConfig) -> ViTConfig:
    """Sizes of CLIP's image tower."""
    if is_open_clip:
        names = ("conv1.weight", "positional_embedding", "transformer.resblocks.{}.ln_1.weight", "mlp.c_fc")
        first = "transformer.resblocks.0"
    else:
        names = (
            "embeddings.patch_embedding.weight",
            "embeddings.position_embedding.weight",
            "encoder.layers.{}.layer_norm1.weight",
            "mlp.fc1",
        )
        first = "encoder.layers.0"
    width, _, patch, _ = shapes[names[0]]
    grid = round((shapes[names[1]][0] - base.num_prefix_tokens) ** 0.5)
    head_width = base.width // base.num_heads
    return replace(
        base,
        image_size=grid * patch,
        patch_size=patch,
        width=width,
        num_layers=shapes.counted(names[2]),
        num_heads=shapes.heads(width, head_width, "an image tower"),
        mlp_width=shapes[f"{first}.{names[3]}.weight"][0],
    )


def tokenizer_config(shapes: Shapes, vit: ViTConfig, base: TokenizerConfig) -> TokenizerConfig:
    """Sizes of the tokenizer; its heads are fixed in the official code."""
    temporal, spatial = shapes.under("temporal_encoder"), shapes.under("image_proj_model")
    num_frames, temporal_width = temporal["positional_embedding"]
    patches, hidden_width = spatial["pos_embed_spatial"]
    resampler = spatial.under("down_sampler")
    return replace(
        base,
        vit=vit,
        num_frames=num_frames,
        temporal_width=temporal_width,
        temporal_depth=temporal.counted("transformer.resblocks.{}.ln_1.weight"),
        hidden_width=hidden_width,
        pool_size=round(patches**0.5),
        spatiotemporal_depth=spatial.counted("blocks.{}.norm1.weight"),
        resampler_depth=resampler.counted("layers.{}.0.to_q.weight"),
        num_tokens=resampler["latents"][1],
        token_width=resampler["norm_out.weight"][0],
    )


def detokenizer_config(shapes: Shapes, num_tokens: int, base: DetokenizerConfig) -> DetokenizerConfig:
    """Sizes of the de-tokenizer."""
    projector = shapes.under("image_proj_model")
    inner = projector["layers.0.0.to_q.weight"][0]
    _, num_queries, width = projector["latents"]
    return replace(
        base,
        num_tokens=num_tokens,
        token_width=projector["proj_in.weight"][1],
        projector=ProjectorConfig(
            width=width,
            depth=projector.counted("layers.{}.0.to_q.weight"),
            num_heads=projector.heads(inner, base.projector.head_width, "a token projector"),
            head_width=base.projector.head_width,
            num_queries=num_queries,
        ),
        unet=unet_config(shapes.under("diffusion_model"), base.unet),
        autoencoder=autoencoder_config(shapes.under("first_stage_model"), base.autoencoder),
    )


def unet_config(shapes: Shapes, base: UNetConfig) -> UNetConfig:
    """Sizes of the U-Net: its blocks are walked as they are numbered."""
    channels, in_channels = shapes["input_blocks.0.0.weight"][:2]
    blocks, resolutions = [0], set()
    mults: list[int] = []
    for index in count(1):
        block = shapes.under(f"input_blocks.{index}")
        if "0.op.weight" in block:
            blocks.append(0)
        elif "0.out_layers.3.weight" in block:
            blocks[-1] += 1
            if len(mults) < len(blocks):
                mults.append(block["0.out_layers.3.weight"][0] // channels)
            if "1.norm.weight" in block:
                resolutions.add(2 ** (len(blocks) - 1))
        else:
            break
    has_initial = "init_attn.0.norm.weight" in shapes
    middle = shapes.under("middle_block.1.transformer_blocks.0.attn2")
    return replace(
        base,
        in_channels=in_channels,
        out_channels=shapes["out.2.weight"][0],
        model_channels=channels,
        channel_mult=tuple(mults),
        num_res_blocks=blocks[0],
        attention_resolutions=tuple(sorted(resolutions, reverse=True)),
        # The first temporal transformer has 8 heads whatever its width.
        num_head_channels=shapes["init_attn.0.proj_in.weight"][0] // 8
        if has_initial
        else base.num_head_channels,
        has_initial_attention=has_initial,
        context_width=middle["to_k.weight"][1],
        context_split=base.context_split if "to_k_ip.weight" in middle else None,
        default_frame_stride=base.default_frame_stride if "fps_embedding.0.weight" in shapes else None,
    )


def autoencoder_config(shapes: Shapes, base: AutoencoderConfig) -> AutoencoderConfig:
    """Sizes of the autoencoder."""
    levels = shapes.counted("encoder.down.{}.block.0.conv1.weight")
    return replace(
        base,
        latent_channels=shapes["post_quant_conv.weight"][0],
        block_channels=tuple(shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] for i in range(levels)),
        layers_per_block=shapes.counted("encoder.down.0.block.{}.conv1.weight"),
        has_mid_attention="encoder.mid.attn_1.norm.weight" in shapes,
    )
