"""The sizes of the project: `paper`, as the released checkpoints, and `tiny`, shipped and trained on a CPU."""

from __future__ import annotations

from divot.config.errors import RecipeError
from divot.config.models import (
    AutoencoderConfig,
    ConnectorConfig,
    DetokenizerConfig,
    HeadConfig,
    LanguageModelConfig,
    ModelConfig,
    ProjectorConfig,
    SamplerConfig,
    TokenizerConfig,
    UNetConfig,
    ViTConfig,
)


def _paper() -> ModelConfig:
    # The official sampler: 50 uniform DDIM steps, eta 1, guidance 7.5 rescaled by 0.7.
    sampler = SamplerConfig(spacing="uniform", eta=1.0, guidance_scale=7.5, guidance_rescale=0.7)
    # Mistral-7B-Instruct-v0.1 with the 262 places for video; its window of 4096 is kept.
    lm = LanguageModelConfig(
        official_prompts=True,
        backbone={
            "model_type": "mistral",
            "vocab_size": 32262,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
        },
    )
    return ModelConfig(TokenizerConfig(), DetokenizerConfig(sampler=sampler), lm)


def _tiny() -> ModelConfig:
    vit = ViTConfig(image_size=64, patch_size=8, width=128, num_layers=2, num_heads=4, mlp_width=512)
    tokenizer = TokenizerConfig(
        vit=vit,
        frame_size=64,
        temporal_width=128,
        temporal_depth=1,
        temporal_heads=4,
        hidden_width=128,
        # As many cells as patches: nothing is averaged away, a sprite is only a few patches wide.
        pool_size=8,
        spatiotemporal_depth=1,
        spatiotemporal_heads=4,
        resampler_depth=2,
        resampler_heads=4,
        resampler_head_width=32,
        token_width=32,
    )
    detokenizer = DetokenizerConfig(
        frame_size=64,
        token_width=32,
        projector=ProjectorConfig(
            width=96, depth=1, num_heads=3, head_width=32, num_queries=64, has_positions=True
        ),
        unet=UNetConfig(
            in_channels=8,
            out_channels=8,
            patch_size=2,
            model_channels=96,
            channel_mult=(1, 1),
            num_res_blocks=1,
            attention_resolutions=(1, 2),
            num_head_channels=32,
            norm_groups=8,
            context_width=96,
            context_split=None,
            default_frame_stride=None,
            has_initial_attention=False,
            has_positions=True,
            has_input_skip=True,
            dropout=0.0,
        ),
        autoencoder=AutoencoderConfig(
            latent_channels=8,
            block_channels=(8, 24, 48),
            layers_per_block=1,
            # With as many groups as channels the norm would take a frame's brightness away.
            norm_groups=1,
            has_mid_attention=False,
            scaling_factor=1.0,
        ),
        # One step, the mean of what the tokens allow: more steps add detail only once the U-Net has learned some.
        # That mean is soft; a correction brings back shapes.
        sampler=SamplerConfig(num_steps=1, num_corrections=1),
    )
    lm = LanguageModelConfig(
        token_width=32,
        # Without the added variance nearly all of the gradient is about the smallest differences between tokens.
        head=HeadConfig(num_components=8, added_variance=1.0, width=256, depth=2, num_steps=20),
        connector=ConnectorConfig(depth=4, words_depth=2, width=192, num_heads=6),
        # What may differ from one clip to the next is in its plan: the tokens are the likeliest ones for that.
        plans=True,
        temperature=0.0,
        component_temperature=0.0,
        candidates=8,
        views=3,
        has_token_statistics=True,
        keeps_places=True,
        backbone={
            "model_type": "mistral",
            "hidden_size": 256,
            "intermediate_size": 704,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 4096,
            # 1 / sqrt(width): with the usual 0.02 attention begins uniform, and a small model long sees but an average.
            "initializer_range": 0.0625,
            "sliding_window": None,
            "tie_word_embeddings": True,
        },
    )
    return ModelConfig(tokenizer, detokenizer, lm)


_PRESETS = {"paper": _paper, "tiny": _tiny}
PRESET_NAMES = tuple(_PRESETS)


def preset(name: str) -> ModelConfig:
    """The configuration of that name.

    Raises:
        RecipeError: if there is no preset of that name.
    """
    if name not in _PRESETS:
        raise RecipeError(name, "is not a preset", f"Choose one of {', '.join(PRESET_NAMES)}")
    return _PRESETS[name]()
