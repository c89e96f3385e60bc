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
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

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
    from divot.lm.model import DivotLM

BACKBONE_FOLDER, ADAPTER_FOLDER = "backbone", "adapter"


def save_model(model: DivotLM, folder: Path, dtype: torch.dtype | None) -> None:
    """As `DivotLM.save_pretrained`."""
    refuse_other_folder(folder)
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    with written_whole(folder) as beside:
        beside.mkdir()
        config = dataclasses.replace(model.config, backbone={})
        write_json(beside / CONFIG_FILE, {"component": "DivotLM", **dataclasses.asdict(config)})
        # The units of the tokens stay exact.
        units = {name: own.pop(name).detach().cpu() for name in ("token_mean", "token_axes")}
        save_file(_stored(own, dtype) | units, beside / WEIGHTS_FILE, metadata={"format": "pt"})
        backbone, state = model.backbone, None
        if model.adapted:
            cast(Any, model.adapted[0]).save_pretrained(beside / ADAPTER_FOLDER)
            state = _without_lora(backbone.state_dict())
        backbone.save_pretrained(
            beside / BACKBONE_FOLDER, state_dict=_stored(state or backbone.state_dict(), dtype)
        )
        if dtype is not None:
            _note_dtype(beside / BACKBONE_FOLDER / CONFIG_FILE, dtype)
        model.tokenizer.save_pretrained(beside / BACKBONE_FOLDER)


def load_model(
    model_class: type[DivotLM], folder: Path, dtype: torch.dtype | None, attention: str
) -> DivotLM:
    """As `DivotLM.from_pretrained`, of a folder that is there."""
    settings = read_component_config(folder)
    if settings.pop("component", "DivotLM") != "DivotLM":
        raise CheckpointError(folder, "does not hold a DivotLM", "See `divot inspect` for what it is")
    try:
        config = from_mapping(LanguageModelConfig, settings, folder / CONFIG_FILE)
    except RecipeError as error:
        raise CheckpointError(error.source, error.cause, error.remedy) from error
    backbone = load_backbone(folder / BACKBONE_FOLDER, dtype, attention)
    model = model_class(config, backbone, load_words(folder / BACKBONE_FOLDER))
    state = read_weights(folder / WEIGHTS_FILE)
    expected = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    if {k: v.shape for k, v in state.items()} != expected:
        raise CheckpointError(
            folder / WEIGHTS_FILE, "does not fit its config", "Take all files from the same save"
        )
    model.load_state_dict(state, strict=False)
    for part in (model.input_projection, model.connector, model.head):
        if part is not None:
            part.to(backbone.dtype)
    if (folder / ADAPTER_FOLDER).is_dir():
        _put_on(model, folder / ADAPTER_FOLDER)
    return model.eval()


def _put_on(model: DivotLM, folder: Path) -> None:
    from peft import PeftModel

    try:
        model.adapted = [PeftModel.from_pretrained(model.backbone, folder)]
    except Exception as error:
        raise CheckpointError(folder, f"is no adapter of this backbone ({error})", "Copy it again") from error


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
