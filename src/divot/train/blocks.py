"""The blocks that a model repeats: the grain in which activations are recomputed, code compiled and weights sharded."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from divot.detokenizer.unet import UNetStage
from divot.layers.attention import TransformerBlock
from divot.layers.resampler import PerceiverLayer

# The last are the layers of any language model of transformers.
_KINDS = (TransformerBlock, PerceiverLayer, UNetStage, GradientCheckpointingLayer)


def repeated_blocks(module: nn.Module) -> list[nn.Module]:
    """The repeated blocks of tokenizer, U-Net and language model, in the order of the module."""
    return [part for part in module.modules() if isinstance(part, _KINDS)]


def recompute_activations(module: nn.Module) -> None:
    """Keep of each block its input alone, and run it again on the way back: less memory, a third more time."""
    for block in repeated_blocks(module):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_blocks(module: nn.Module) -> None:
    """Compile each block by itself: blocks of one kind share what is compiled."""
    for block in repeated_blocks(module):
        block.compile()


def shard(module: nn.Module, device: torch.device) -> None:
    """Spread a module's parameters over all processes, in place: each block is gathered while it runs (FSDP2)."""
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in repeated_blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def gathered(module: nn.Module) -> dict[str, Any]:
    """All tensors of a sharded module on the CPU of the first process, by name; empty on the others.

    Every process has to call it.
    """
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
