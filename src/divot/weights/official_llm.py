"""A language model of the released files, checked: written as ours without ever being in memory as a whole."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from divot.config.files import write_json
from divot.config.models import LanguageModelConfig
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE
from divot.lm.folder import BACKBONE_FOLDER
from divot.weights.official_llm_files import (
    EMBEDDING,
    EXTRA_FILE,
    GENERATION_CONFIG,
    ReleasedLanguageModel,
    write_pieces,
)
from divot.weights.official_llm_lora import LoRA


@dataclass
class LanguageModelConversion:
    """One language model, checked and ready to be written."""

    config: LanguageModelConfig
    settings: dict[str, Any]
    """Of the backbone."""
    own: dict[str, Tensor]
    """The parts around the backbone."""
    backbone: dict[str, Tensor]
    """Under Hugging Face's names, memory-mapped."""
    lora: LoRA | None
    """To be merged into the backbone."""
    tokenizer: PreTrainedTokenizerBase
    source: ReleasedLanguageModel
    extras: dict[str, Tensor] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)
    """What the way back has to know about the agent's file."""

    def write(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        """Write the folder of a `DivotLM`.

        Args:
            folder: new.
            dtype: type of the weights on disk; None keeps the released one.
        """
        backbone = folder / BACKBONE_FOLDER
        backbone.mkdir(parents=True)
        write_json(folder / CONFIG_FILE, {"component": "DivotLM", **asdict(self.config)})
        own = {k: v.to(dtype or v.dtype).contiguous().clone() for k, v in self.own.items()}
        save_file(own, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        settings = {k: v for k, v in self.settings.items() if k not in ("dtype", "torch_dtype")}
        stored = dtype or self.backbone[EMBEDDING].dtype
        write_json(backbone / CONFIG_FILE, settings | {"torch_dtype": str(stored).removeprefix("torch.")})
        write_pieces(backbone, self.backbone, self._merged, dtype)
        if self.source.llm and (self.source.llm / GENERATION_CONFIG).is_file():
            shutil.copyfile(self.source.llm / GENERATION_CONFIG, backbone / GENERATION_CONFIG)
        self.tokenizer.save_pretrained(backbone)
        if self.extras:
            save_file({k: v.contiguous().clone() for k, v in self.extras.items()}, folder / EXTRA_FILE)

    def _merged(self, name: str) -> Tensor:
        return self.lora.merged(name, self.backbone[name]) if self.lora else self.backbone[name]
