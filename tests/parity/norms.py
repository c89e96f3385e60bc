"""Norm layers one by one, on inputs of small variance: a wrong eps, invisible elsewhere, shows here.

The recording names each layer by its official path but not the sizes of the model it was in, so our layer is
looked up in models that have every layer there can be, and given the recorded width.
"""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from divot.config.models import AutoencoderConfig, TokenizerConfig, UNetConfig, ViTConfig
from divot.config.presets import preset
from divot.detokenizer.unet import VideoUNet
from divot.detokenizer.vae import build_autoencoder
from divot.lm.backbone import new_backbone
from divot.tokenizer import VideoTokenizer
from divot.weights.latent_names import autoencoder_names, unet_names
from divot.weights.names import Entry
from divot.weights.official_names import tokenizer_names
from parity.golden import Golden, Row

LEVELS = 4


@functools.cache
def _model(part: str, blocks: int) -> tuple[nn.Module, list[Entry]] | None:
    with torch.device("meta"):
        if part == "unet":
            unet = UNetConfig(
                model_channels=32,
                channel_mult=(1,) * LEVELS,
                num_res_blocks=blocks,
                attention_resolutions=tuple(2**level for level in range(LEVELS)),
                num_head_channels=8,
                context_width=8,
            )
            return VideoUNet(unet), unet_names(unet)
        if part == "vae":
            vae = AutoencoderConfig(block_channels=(32,) * (LEVELS + 2), layers_per_block=blocks)
            return build_autoencoder(vae), autoencoder_names(vae)
        if part == "tokenizer" and blocks == 1:
            vit = ViTConfig(width=32, num_heads=2, mlp_width=32)
            tokenizer = TokenizerConfig(vit, temporal_width=24, hidden_width=16, temporal_depth=12)
            return VideoTokenizer(tokenizer), tokenizer_names(tokenizer)
        if part == "llm" and blocks == 1:
            backbone = new_backbone(preset("paper").lm.backbone | {"num_hidden_layers": 2})
            return backbone, [Entry(f"llm.{name}", (name,)) for name in backbone.state_dict()]
    return None


def _our_layer(part: str, path: str) -> nn.Module | None:
    # Positions in the official U-Net depend on the number of blocks a level.
    for blocks in range(1, 5):
        found = _model(part, blocks)
        for entry in found[1] if found else []:
            if found and entry.theirs == f"{path}.weight":
                return found[0].get_submodule(entry.ours[0].removesuffix(".weight"))
    return None


def check_norm_eps(golden: Golden) -> list[Row]:
    inputs, weights, rows = golden.inputs(), golden.weights(), []
    for layer in golden.meta["layers"]:
        part, path = layer.split("/", 1)
        ours = _our_layer(part, path)
        if ours is None:
            # A layer we should have: counts as beyond any tolerance.
            rows.append(Row(golden.name, layer, float("inf")))
            continue
        norm = copy.deepcopy(ours)
        norm.weight = nn.Parameter(weights[f"{layer}/weight"])
        if (bias := weights.get(f"{layer}/bias")) is not None:
            norm.bias = nn.Parameter(bias)
        if isinstance(norm, nn.LayerNorm):
            norm.normalized_shape = tuple(norm.weight.shape)
        elif isinstance(norm, nn.GroupNorm):
            norm.num_channels = norm.weight.shape[0]
        with torch.no_grad():
            rows.append(golden.compare(layer, norm(inputs[layer])))
    return rows
