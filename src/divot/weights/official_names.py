"""Our names of parameters beside those of the released tokenizer, token projector and CLIP image tower.

The tables of the U-Net and the autoencoder, which DynamiCrafter shares, are in `latent_names`.
"""

from __future__ import annotations

from divot.config.models import DetokenizerConfig, ProjectorConfig, TokenizerConfig, ViTConfig
from divot.weights.latent_names import autoencoder_names, unet_names
from divot.weights.names import Entry, Pair, under

TOKENIZER_VIT = "vit_model.model.visual"
"""Where the released tokenizer has its image tower, in open_clip's naming."""
TOKENIZER_COPY = "video_tokenizer."
"""Prefix of the second copy of the tokenizer that a released de-tokenizer carries."""
CLIP_REST = "vit_model.model"
"""Where the released tokenizer keeps what is left of CLIP's text tower."""
CLIP_REST_NAMES = (
    "positional_embedding",
    "text_projection",
    "logit_scale",
    "token_embedding.weight",
    "ln_final.weight",
    "ln_final.bias",
    "visual.proj",
)
"""Parameters beside the image tower that no part of Divot uses."""
SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
"""The noise schedule as buffers of the released de-tokenizer: ours is worked out, not stored."""


def tokenizer_names(config: TokenizerConfig, has_vit: bool = True) -> list[Entry]:
    """The whole tokenizer; `has_vit` False leaves the image tower out, as a released file may."""
    pair = Pair("", "")
    temporal = pair.of("temporal_encoder", "temporal")
    spatial = pair.of("image_proj_model", "spatiotemporal")
    entries = under(open_clip_names(config.vit), TOKENIZER_VIT, "vit.backbone") if has_vit else []
    entries += [
        temporal.of("positional_embedding", "positions").entry(),
        *temporal.of("input_proj", "proj_in").both(),
        *temporal.of("ln_final", "norm").both(),
        *temporal.of("output_proj", "proj_out").both(),
        *pair.of("norm").both(),
        spatial.of("pos_embed_spatial", "spatial_positions").entry(),
        spatial.of("pos_embed_temporal", "temporal_positions").entry(),
        *spatial.of("norm").both(),
    ]
    for index in range(config.temporal_depth):
        block = temporal.of(f"transformer.resblocks.{index}", f"blocks.{index}")
        attention = block.of("attn", "attention")
        entries += [
            *block.of("ln_1", "norm1").both(),
            attention.of("in_proj_weight", "qkv.weight").entry(),
            attention.of("in_proj_bias", "qkv.bias").entry(),
            *attention.of("out_proj", "out").both(),
            *block.of("ln_2", "norm2").both(),
            *block.of("mlp.c_fc", "mlp.0").both(),
            *block.of("mlp.c_proj", "mlp.2").both(),
        ]
    for index in range(config.spatiotemporal_depth):
        block = spatial.of(f"blocks.{index}")
        entries += [
            *block.of("norm1").both(),
            *block.of("attn.qkv", "attention.qkv").both(),
            *block.of("attn.proj", "attention.out").both(),
            *block.of("norm2").both(),
            *block.of("mlp.fc1", "mlp.0").both(),
            *block.of("mlp.fc2", "mlp.2").both(),
        ]
    return entries + under(
        resampler_names(config.resampler_depth), "image_proj_model.down_sampler", "resampler"
    )


def resampler_names(depth: int) -> list[Entry]:
    """A Perceiver Resampler of so many layers."""
    pair = Pair("", "")
    entries = [
        pair.of("latents").entry(leading=1),
        *pair.of("proj_in").both(),
        *pair.of("proj_out").both(),
        *pair.of("norm_out").both(),
    ]
    for index in range(depth):
        attention = pair.of(f"layers.{index}.0", f"layers.{index}.attention")
        feed_forward = pair.of(f"layers.{index}.1", f"layers.{index}.feed_forward")
        entries += [
            *attention.of("norm1", "norm_input").both(),
            *attention.of("norm2", "norm_latents").both(),
            *attention.of("to_q", "query").weight(),
            *attention.of("to_kv", "key_value").weight(),
            *attention.of("to_out", "out").weight(),
            *feed_forward.of("0").both(),
            *feed_forward.of("1").weight(),
            *feed_forward.of("3").weight(),
        ]
    return entries


def projector_names(config: ProjectorConfig) -> list[Entry]:
    """The token projector of the de-tokenizer."""
    return resampler_names(config.depth)


def detokenizer_names(config: DetokenizerConfig) -> list[Entry]:
    """The whole de-tokenizer but `null_tokens`, which the released files do not have."""
    return [
        *under(projector_names(config.projector), "image_proj_model", "projector"),
        *under(unet_names(config.unet), "diffusion_model", "unet"),
        *under(autoencoder_names(config.autoencoder), "first_stage_model", "vae"),
    ]


def open_clip_names(config: ViTConfig) -> list[Entry]:
    """CLIP's image tower as open_clip names it, beside our `vit.backbone`."""
    pair = Pair("", "")
    entries = [
        pair.of("class_embedding", "embeddings.class_embedding").entry(),
        pair.of("positional_embedding", "embeddings.position_embedding.weight").entry(),
        *pair.of("conv1", "embeddings.patch_embedding").weight(),
        *pair.of("ln_pre", "pre_layrnorm").both(),
        *pair.of("ln_post", "post_layernorm").both(),
    ]
    for index in range(config.num_layers):
        block = pair.of(f"transformer.resblocks.{index}", f"encoder.layers.{index}")
        entries += [
            *block.of("ln_1", "layer_norm1").both(),
            *(_fused(block, end) for end in ("weight", "bias")),
            *block.of("attn.out_proj", "self_attn.out_proj").both(),
            *block.of("ln_2", "layer_norm2").both(),
            *block.of("mlp.c_fc", "mlp.fc1").both(),
            *block.of("mlp.c_proj", "mlp.fc2").both(),
        ]
    return entries


def _fused(block: Pair, end: str) -> Entry:
    ours = tuple(f"{block.ours}.self_attn.{part}_proj.{end}" for part in "qkv")
    return Entry(f"{block.theirs}.attn.in_proj_{end}", ours)


def transformers_clip_names(config: ViTConfig) -> list[Entry]:
    """CLIP's image tower as transformers' checkpoints name it, under `vision_model`."""
    ours = [name for entry in open_clip_names(config) for name in entry.ours]
    return [Entry(name, (name,)) for name in ours]
