"""A language model in LoRA form: peft's names read back to the plain ones, and the weights they add up to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from divot.config.errors import CheckpointError

OFFICIAL_ALPHA = 32.0
"""Of the official training, which writes it into its recipe only; its rank, 32 too, shows in the shapes."""
ADAPTER_CONFIG = "adapter_config.json"
_WRAPPER = "base_model.model."
_PART = re.compile(r"(.+)\.lora_(A|B)(?:\.default)?\.weight")
# What peft can keep under a module's name: the last of these that is there counts.
_HOLDERS = (".original_module.", ".base_layer.", ".modules_to_save.default.", ".modules_to_save.")
# Forms of LoRA that are added up otherwise.
_FOREIGN = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias")


@dataclass
class LoRA:
    """Low-rank changes of some weights, and whole tensors that come with them; names are plain."""

    source: Path
    alpha: float
    whole: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that replace those of the base, or are part of it."""
    low: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Name of a weight -> its A [rank, in] and B [out, rank]."""

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """W + B A * alpha / rank, added up in float32, in the type of W."""
        if name not in self.low:
            return weight
        down, up = self.low[name]["A"].float(), self.low[name]["B"].float()
        return torch.addmm(weight.float(), up, down, alpha=self.alpha / down.shape[0]).to(weight.dtype)

    def misfits(self, shapes: Mapping[str, torch.Size]) -> list[str]:
        """What cannot be merged into weights of these shapes, in words."""
        wrong = []
        for name, parts in self.low.items():
            got = tuple(parts["B"].shape[:1] + parts["A"].shape[1:])
            ranks = {parts["A"].shape[0], parts["B"].shape[-1]}
            if name not in shapes or got != tuple(shapes[name]) or len(ranks) > 1:
                wrong.append(f"LoRA of {name} {list(got)}, wanted {list(shapes.get(name, ()))}")
        return wrong


def is_lora(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors bear peft's names."""
    return any(_PART.fullmatch(name) for name in tensors)


def read_lora(source: Path, tensors: Mapping[str, Tensor], alpha: float = OFFICIAL_ALPHA) -> LoRA:
    """Take the tensors of a LoRA apart.

    Args:
        source: their file, for messages.
        tensors: under peft's names.
        alpha: scale, in ranks.

    Raises:
        CheckpointError: if one half of a LoRA is missing, or it is of a form that is not known here.
    """
    lora, held = LoRA(source, alpha), dict[str, int]()
    for name, tensor in tensors.items():
        plain = name.removeprefix(_WRAPPER)
        if part := _PART.fullmatch(plain):
            lora.low.setdefault(f"{part[1]}.weight", {})[part[2]] = tensor
            continue
        if "lora_" in plain:
            raise CheckpointError(
                source, f"holds {name}, which no plain LoRA has", "Merge it with peft first"
            )
        rank = next((i for i, holder in enumerate(_HOLDERS) if holder in plain), 1)
        plain = plain.replace(_HOLDERS[rank], ".")
        if rank >= held.get(plain, -1):
            lora.whole[plain], held[plain] = tensor, rank
    if halves := sorted(name for name, parts in lora.low.items() if len(parts) < 2):
        raise CheckpointError(source, f"has one half only of the LoRA of {halves[0]}", "Copy the file again")
    return lora


def adapter_alpha(folder: Path) -> float:
    """The scale that a peft adapter's adapter_config.json names.

    Raises:
        CheckpointError: if it is damaged, or the adapter is no plain LoRA.
    """
    path = folder / ADAPTER_CONFIG
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        alpha, kind = float(settings["lora_alpha"]), settings.get("peft_type", "LORA")
        foreign = [key for key in _FOREIGN if settings.get(key)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, "is no description of a LoRA", "Copy the folder again") from error
    if kind != "LORA" or foreign:
        cause = f"describes no plain LoRA ({', '.join(foreign) or kind})"
        raise CheckpointError(path, cause, "Merge it with peft first")
    return alpha
