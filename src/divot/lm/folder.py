"""A DivotLM as a folder:

lm/
  config.json          sizes and head
  model.safetensors    input projection, connector, head, statistics of the tokens
  backbone/            the language model and its tokenizer in Hugging Face form
  adapter/             a LoRA on the backbone in peft's form, if it has not been merged
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from divot.config.errors import CheckpointError, RecipeError
from divot.config.files import write_json, written_whole
from divot.config.merge import from_mapping
from divot.config.models import LanguageModelConfig
from divot.layers.component import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    read_component_config,
    read_weights,
    refuse_other_folder,
)
from divot.lm.backbone import load_backbone, load_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BACKBONE_FOLDER, ADAPTER_FOLDER = "backbone", "adapter"


class StoredModel(NamedTuple):
    """What such a folder holds."""

    config: LanguageModelConfig
    backbone: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    state: dict[str, Tensor]
    """Of all but the backbone."""


def write_folder(
    folder: Path, model: StoredModel, adapted: nn.Module | None, dtype: torch.dtype | None
) -> None:
    """As `DivotLM.save_pretrained`; `adapted` is the backbone as peft wraps it, where a LoRA lies on it."""
    refuse_other_folder(folder)
    own = dict(model.state)
    with written_whole(folder) as beside:
        beside.mkdir()
        config = dataclasses.replace(model.config, backbone={})
        write_json(beside / CONFIG_FILE, {"component": "DivotLM", **dataclasses.asdict(config)})
        # The units of the tokens stay exact.
        units = {name: own.pop(name).detach().cpu() for name in ("token_mean", "token_axes")}
        save_file(_stored(own, dtype) | units, beside / WEIGHTS_FILE, metadata={"format": "pt"})
        state = model.backbone.state_dict()
        if adapted is not None:
            cast(Any, adapted).save_pretrained(beside / ADAPTER_FOLDER)
            state = _without_lora(state)
        model.backbone.save_pretrained(beside / BACKBONE_FOLDER, state_dict=_stored(state, dtype))
        if dtype is not None:
            _note_dtype(beside / BACKBONE_FOLDER / CONFIG_FILE, dtype)
        model.tokenizer.save_pretrained(beside / BACKBONE_FOLDER)


def read_folder(folder: Path, dtype: torch.dtype | None, attention: str) -> StoredModel:
    """What a folder holds; errors as of `DivotLM.from_pretrained`."""
    settings = read_component_config(folder)
    if settings.pop("component", "DivotLM") != "DivotLM":
        raise CheckpointError(folder, "does not hold a DivotLM", "See `divot inspect` for what it is")
    try:
        config = from_mapping(LanguageModelConfig, settings, folder / CONFIG_FILE)
    except RecipeError as error:
        raise CheckpointError(error.source, error.cause, error.remedy) from error
    backbone = load_backbone(folder / BACKBONE_FOLDER, dtype, attention)
    tokenizer = load_words(folder / BACKBONE_FOLDER)
    return StoredModel(config, backbone, tokenizer, read_weights(folder / WEIGHTS_FILE))


def read_adapter(folder: Path, backbone: PreTrainedModel) -> nn.Module | None:
    """The backbone of a model's folder with the LoRA that lies beside it on it; None where there is none."""
    if not (folder / ADAPTER_FOLDER).is_dir():
        return None
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(backbone, folder / ADAPTER_FOLDER)
    except Exception as error:
        raise CheckpointError(
            folder / ADAPTER_FOLDER, f"is no adapter of this backbone ({error})", "Copy it again"
        ) from error


def _note_dtype(config_file: Path, dtype: torch.dtype) -> None:
    # transformers writes the type in memory.
    settings = json.loads(config_file.read_text(encoding="utf-8"))
    write_json(config_file, {**settings, "dtype": str(dtype).removeprefix("torch.")})


def _stored(state: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        k: v.detach().to(dtype=dtype if v.is_floating_point() else None, device="cpu").contiguous()
        for k, v in state.items()
    }


def _without_lora(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's own tensors under their own names, of a backbone that peft has wrapped."""
    plain = {}
    for name, tensor in state.items():
        if "lora_" in name or "modules_to_save." in name or "token_adapter.trainable" in name:
            continue
        for wrapper in (".base_layer", ".original_module", ".token_adapter"):
            name = name.replace(wrapper, "")
        plain[name] = tensor
    return plain
