"""A small model of the official structure, and files laid out as the released ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from divot.config.models import (
    AutoencoderConfig,
    DetokenizerConfig,
    HeadConfig,
    LanguageModelConfig,
    ModelConfig,
    ProjectorConfig,
    TokenizerConfig,
    UNetConfig,
    ViTConfig,
)
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.schedule import NoiseSchedule
from divot.lm.model import DivotLM
from divot.tokenizer import VideoTokenizer
from divot.weights.names import to_theirs
from divot.weights.official_files import DETOKENIZER_FILES, FOLDER, TOKENIZER_FILE
from divot.weights.official_names import CLIP_REST, TOKENIZER_COPY, detokenizer_names, tokenizer_names
from divot.weights.official_schedule import schedule_buffers

Tensors = dict[str, Tensor]
SMALL_BACKBONE = {
    "model_type": "mistral",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "sliding_window": None,
}


def small_config() -> ModelConfig:
    # Heads as wide as the paper's (80 in the image tower, 64 in the projector): sizes can be read off.
    vit = ViTConfig(image_size=28, width=80, num_layers=2, num_heads=1, mlp_width=96)
    tokenizer = TokenizerConfig(
        vit=vit,
        temporal_width=24,
        temporal_depth=1,
        hidden_width=16,
        pool_size=2,
        spatiotemporal_depth=1,
        resampler_depth=1,
        num_tokens=6,
        token_width=8,
    )
    detokenizer = DetokenizerConfig(
        num_tokens=6,
        token_width=8,
        projector=ProjectorConfig(width=16, depth=2, num_heads=2, head_width=64, num_queries=80),
        unet=UNetConfig(
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(2,),
            num_head_channels=8,
            context_width=12,
        ),
        autoencoder=AutoencoderConfig(block_channels=(32, 64), layers_per_block=1),
    )
    return ModelConfig(tokenizer, detokenizer)


def official_tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensors, dict[str, Tensors]]:
    """The tokenizer's tensors, and each de-tokenizer's, under the official names."""
    torch.manual_seed(0)
    config = small_config()
    tokenizer = to_theirs(
        tokenizer_names(config.tokenizer), VideoTokenizer(config.tokenizer).state_dict()
    ).tensors
    rest = {
        "positional_embedding": (7, 5),
        "text_projection": (5, 4),
        "logit_scale": (),
        "visual.proj": (80, 4),
    }
    tokenizer |= {f"{CLIP_REST}.{name}": torch.randn(shape) for name, shape in rest.items()}
    detokenizers = {}
    for name in DETOKENIZER_FILES:
        model = VideoDetokenizer(config.detokenizer)
        state = to_theirs(detokenizer_names(config.detokenizer), model.state_dict()).tensors
        state = {k: torch.randn(v.shape) * 0.05 for k, v in state.items()}
        state |= {TOKENIZER_COPY + k: v for k, v in tokenizer.items()}
        detokenizers[name] = {k: v.to(dtype) for k, v in state.items()}
        detokenizers[name] |= schedule_buffers(NoiseSchedule(config.detokenizer.schedule))
    return {k: v.to(dtype) for k, v in tokenizer.items()}, detokenizers


def write_released(root: Path, tokenizer: Tensors, detokenizers: dict[str, Tensors]) -> Path:
    """Save them as the released files; gives `root`."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    torch.save({k: v.clone() for k, v in tokenizer.items()}, folder / TOKENIZER_FILE)
    for name, state in detokenizers.items():
        torch.save({k: v.clone() for k, v in state.items()}, folder / DETOKENIZER_FILES[name])
    return root


def read_released(root: Path) -> dict[str, Tensors]:
    """File name -> its tensors."""
    return {path.name: torch.load(path, weights_only=True) for path in sorted((root / FOLDER).iterdir())}


def assert_same_files(one: Path, other: Path) -> None:
    """Same files, same names, same bits."""
    ours, theirs = read_released(one), read_released(other)
    assert ours.keys() == theirs.keys()
    for file, tensors in theirs.items():
        assert ours[file].keys() == tensors.keys(), file
        for name, tensor in tensors.items():
            assert ours[file][name].dtype == tensor.dtype, name
            assert torch.equal(ours[file][name], tensor), name


def with_vit(config: ModelConfig, **changes: object) -> ModelConfig:
    vit = dataclasses.replace(config.tokenizer.vit, **changes)  # type: ignore[arg-type]
    return ModelConfig(dataclasses.replace(config.tokenizer, vit=vit), config.detokenizer)


def small_language_model(seed: int = 0) -> DivotLM:
    """Two layers over few words, for the tokens of `small_config`."""
    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "a": 2, "cat": 3}, unk_token="</s>"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    config = LanguageModelConfig(
        token_width=8, num_tokens=6, head=HeadConfig(num_components=2), backbone=SMALL_BACKBONE
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DivotLM.new(config, tokenizer).eval()
