"""Our modules from a recorded official configuration, with the recorded official weights, loaded strictly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from divot.config.models import (
    AutoencoderConfig,
    DetokenizerConfig,
    ProjectorConfig,
    SamplerConfig,
    TokenizerConfig,
    UNetConfig,
    ViTConfig,
)
from divot.detokenizer import VideoDetokenizer
from divot.tokenizer import VideoTokenizer
from divot.weights.names import Entry, to_ours
from divot.weights.official_names import CLIP_REST, CLIP_REST_NAMES, detokenizer_names, tokenizer_names

CLIP_LEFT_OVERS = {f"{CLIP_REST}.{name}" for name in CLIP_REST_NAMES}


def tokenizer_config(vit: dict[str, Any], tokenizer: dict[str, Any]) -> TokenizerConfig:
    """From the settings of open_clip and of the official tokenizer."""
    width = vit["width"]
    config = ViTConfig(
        image_size=vit["image_size"],
        patch_size=vit["patch_size"],
        width=width,
        num_layers=vit["layers"],
        num_heads=width // vit["head_width"],
        mlp_width=4 * width,
    )
    assert tokenizer["input_dim"] == width
    assert tokenizer["use_norm"]
    return TokenizerConfig(
        vit=config,
        num_frames=tokenizer["num_frames"],
        temporal_width=tokenizer["width"],
        temporal_depth=tokenizer["temporal_depth"],
        hidden_width=tokenizer["hidden_size"],
        pool_size=tokenizer["pool_size"],
        spatiotemporal_depth=tokenizer["transformer_depth"],
        resampler_depth=tokenizer["resampler_depth"],
        num_tokens=tokenizer["down_num_tokens"],
        token_width=tokenizer["resampler_dim"],
    )


def unet_config(unet: dict[str, Any]) -> UNetConfig:
    """From the settings of the official U-Net; those that our U-Net cannot follow are refused."""
    fixed = {
        "transformer_depth": 1,
        "use_linear": True,
        "temporal_conv": True,
        "temporal_attention": True,
        "use_relative_position": False,
        "use_causal_attention": False,
    }
    for key, value in fixed.items():
        assert unet.get(key, value) == value, f"{key} is {unet[key]}"
    return UNetConfig(
        in_channels=unet["in_channels"],
        out_channels=unet["out_channels"],
        model_channels=unet["model_channels"],
        channel_mult=tuple(unet["channel_mult"]),
        num_res_blocks=unet["num_res_blocks"],
        attention_resolutions=tuple(unet["attention_resolutions"]),
        num_head_channels=unet["num_head_channels"],
        has_initial_attention=unet["addition_attention"],
        context_width=unet["context_dim"],
        context_split=77 if unet["image_cross_attention"] else None,
        default_frame_stride=unet["default_fs"] if unet["fs_condition"] else None,
        dropout=unet["dropout"],
    )


def autoencoder_config(vae: dict[str, Any]) -> AutoencoderConfig:
    """From the settings of the official autoencoder."""
    settings = vae["ddconfig"]
    assert not settings["attn_resolutions"]
    assert vae["embed_dim"] == settings["z_channels"]
    return AutoencoderConfig(
        latent_channels=settings["z_channels"],
        block_channels=tuple(settings["ch"] * mult for mult in settings["ch_mult"]),
        layers_per_block=settings["num_res_blocks"],
    )


def detokenizer_config(recorded: dict[str, Any], num_frames: int, num_tokens: int) -> DetokenizerConfig:
    """From the settings of the official DynamiCrafter as Divot builds it."""
    projector = recorded["image_proj_model"]
    return DetokenizerConfig(
        num_frames=num_frames,
        frame_size=recorded["detokenizer"]["image_size"],
        num_tokens=num_tokens,
        token_width=projector["embedding_dim"],
        projector=ProjectorConfig(
            width=projector["dim"],
            depth=projector["depth"],
            num_heads=projector["heads"],
            head_width=projector["dim_head"],
            num_queries=projector["num_queries"],
        ),
        unet=unet_config(recorded["diffusion_model"]),
        autoencoder=autoencoder_config(recorded["first_stage_model"]),
        sampler=SamplerConfig(spacing="uniform", eta=1.0, guidance_scale=7.5, guidance_rescale=0.7),
        official_quirks=True,
    )


def load(
    module: nn.Module, entries: list[Entry], weights: dict[str, Tensor], ignored: set[str] | None = None
) -> None:
    """Give `module` the official weights; every weight and every parameter must be used."""
    expected = {k: v.shape for k, v in module.state_dict().items() if k != "null_tokens"}
    renamed = to_ours(entries, weights, expected)
    assert not renamed.missing, renamed.missing
    assert not renamed.misshapen, renamed.misshapen
    assert set(renamed.unexpected) <= (ignored or set()), renamed.unexpected
    assert renamed.tensors.keys() == expected.keys()
    module.load_state_dict(renamed.tensors, strict="null_tokens" not in module.state_dict())
    module.eval()


def rebuild_tokenizer(config: TokenizerConfig, weights: dict[str, Tensor]) -> VideoTokenizer:
    tokenizer = VideoTokenizer(config)
    load(tokenizer, tokenizer_names(config), weights, CLIP_LEFT_OVERS)
    return tokenizer


def rebuild_detokenizer(config: DetokenizerConfig, weights: dict[str, Tensor]) -> VideoDetokenizer:
    detokenizer = VideoDetokenizer(config)
    load(detokenizer, detokenizer_names(config), weights)
    return detokenizer


def strided(x: Tensor, count: int, axis: int, usual: int) -> Tensor:
    """Every k-th element along an axis: the usual k, or the smallest that leaves `count` of them."""
    length = x.shape[axis]
    stride = next(k for k in (usual, *range(1, length + 1)) if len(range(0, length, k)) == count)
    return x.index_select(axis, torch.arange(0, length, stride))
