"""What a run would take, worked out without running it: parameters and the memory of its state.

The models are built on the meta device, where tensors have sizes but no memory: the paper's size is counted in seconds,
and no weights are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from divot.config.merge import from_mapping
from divot.config.models import LanguageModelConfig
from divot.config.presets import preset
from divot.config.training import TrainConfig
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.critic import ShapeCritic
from divot.layers.component import CONFIG_FILE, Component, read_component_config
from divot.lm.backbone import load_words, new_backbone
from divot.lm.folder import BACKBONE_FOLDER
from divot.lm.model import DivotLM
from divot.text.pieces import learn_pieces
from divot.text.vocab import SPECIAL_TOKENS
from divot.tokenizer import VideoTokenizer
from divot.train.adapt_stage import TASK, AdaptationModule
from divot.train.critic_stage import CriticModule, new_critic
from divot.train.diffusion_stage import DiffusionModule, critic_folder
from divot.train.distill_stage import DistillationModule
from divot.train.lm_stage import LanguageModule
from divot.train.lm_start import begins_anew, first_language_model, wanted_connector
from divot.train.muon import Muon
from divot.train.optimizers import build_optimizers
from divot.train.stage import build_stage
from divot.weights.store import ModelFolder

GPU_SIZES_GB = (24, 40, 48, 80, 141)
GPU_COUNTS = (1, 8)
# Share of a GPU that the state may fill; the rest is for activations and buffers.
STATE_SHARE = 0.8
GB = 1e9
C = TypeVar("C", bound=Component)


@dataclass(frozen=True)
class Estimate:
    """Parameters of a run, and the bytes of its state in one whole copy; activations are not counted."""

    trainable_parameters: int
    frozen_parameters: int
    weights_bytes: int
    """With buffers."""
    gradients_bytes: int
    optimizer_bytes: int
    average_bytes: int
    """The moving average: a second copy of the trained weights, and of buffers."""

    @property
    def total_bytes(self) -> int:
        """Of the whole state."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.average_bytes

    def record(self) -> dict[str, int]:
        """All numbers, for JSON."""
        return {**asdict(self), "total_bytes": self.total_bytes}


@dataclass(frozen=True)
class Place:
    """Whether the state of a run fits on so many GPUs of a size, with `STATE_SHARE` of each for it."""

    gpu_gb: int
    num_gpus: int
    copies_gb: float
    """On each GPU, where each has the whole state (DDP): what `divot train` does by itself."""
    copies_fit: bool
    sharded_gb: float
    """On each GPU, where they share all of the state out (FSDP): what it does with `sharded`."""
    sharded_fits: bool


def estimate(config: TrainConfig) -> Estimate:
    """Count what a run of these settings keeps in memory.

    Raises:
        CheckpointError: if `init_model` is no model folder.
    """
    module = _module(config)
    parameters, buffers = list(module.parameters()), list(module.buffers())
    trained = [p for p in parameters if p.requires_grad]
    # AdamW keeps two means of each gradient, Muon one.
    optimizer_bytes = sum(
        (1 if isinstance(optimizer, Muon) else 2) * _bytes(group["params"])
        for optimizer in build_optimizers(module, config.optimizer)
        for group in optimizer.param_groups
    )
    weights = _bytes([*parameters, *buffers])
    num_trained = sum(p.numel() for p in trained)
    return Estimate(
        trainable_parameters=num_trained,
        frozen_parameters=sum(p.numel() for p in parameters) - num_trained,
        weights_bytes=weights,
        gradients_bytes=_bytes(trained),
        optimizer_bytes=optimizer_bytes,
        average_bytes=_bytes([*trained, *buffers]) if config.optimizer.ema_decay > 0 else 0,
    )


def places(state: Estimate) -> list[Place]:
    """Whether the state fits on common GPUs."""
    found = []
    for gpu_gb in GPU_SIZES_GB:
        for count in GPU_COUNTS:
            whole = state.total_bytes / GB
            shard = whole / count
            room = STATE_SHARE * gpu_gb
            found.append(Place(gpu_gb, count, round(whole, 1), whole <= room, round(shard, 1), shard <= room))
    return found


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _module(config: TrainConfig) -> nn.Module:
    """The module that the stage would train, in the sizes of `init_model`, else of the preset."""
    with torch.device("meta"):
        if config.stage == "vae":
            return build_stage(replace(config, init_vae=None, start_from_patches=False)).module
        folder = None if config.init_model is None else ModelFolder.open(config.init_model)
        sizes = preset(config.preset)
        if folder is None:
            tokenizer = VideoTokenizer(sizes.tokenizer)
        else:
            tokenizer = _sized(VideoTokenizer, folder.path / folder.contents.tokenizer)
        if config.stage == "lm":
            lm = _language_model(config, folder, tokenizer)
            if config.language.lora.rank:
                lm.add_lora(config.language.lora)
            return LanguageModule(tokenizer, lm, config.language)
        if folder is None:
            detokenizer = VideoDetokenizer(sizes.detokenizer)
        else:
            name = folder.detokenizer_name(TASK if config.stage == "adapt" else "reconstruct")
            detokenizer = _sized(VideoDetokenizer, folder.path / folder.contents.detokenizers[name])
        if config.stage == "critic":
            return CriticModule(new_critic(detokenizer), detokenizer)
        critic = None if config.critic is None else _sized(ShapeCritic, critic_folder(config.critic))
        if config.stage == "adapt":
            lm = _language_model(config, folder, tokenizer)
            return AdaptationModule(tokenizer, lm, detokenizer, config, critic)
        if config.stage == "distill":
            return DistillationModule(tokenizer, detokenizer, config)
        return DiffusionModule(tokenizer, detokenizer, config, critic)


def _sized(kind: type[C], folder: Path) -> C:
    return kind(_settings(kind.config_class, folder))


def _settings(kind: type[Any], folder: Path) -> Any:
    values = read_component_config(folder)
    values.pop("component", None)
    return from_mapping(kind, values, folder / CONFIG_FILE)


def _language_model(config: TrainConfig, folder: ModelFolder | None, tokenizer: VideoTokenizer) -> DivotLM:
    """The language model that the stage begins with; of a new one the words are as many as it may learn."""
    language, sizes = config.language, preset(config.preset).lm
    head = replace(sizes.head, kind=language.head or sizes.head.kind)
    if config.init_lm is not None:
        folder = ModelFolder.open(config.init_lm)
    if folder is not None and folder.contents.language_models and not begins_anew(config):
        is_adapted = config.stage == "adapt"
        name = folder.language_model_name(TASK) if is_adapted else first_language_model(config, folder)
        place = folder.path / folder.contents.language_models[name]
        lm = _of_backbone(_settings(LanguageModelConfig, place), place / BACKBONE_FOLDER)
        if config.init_lm is not None:
            lm.take_new_tokens(tokenizer.config.num_tokens, tokenizer.config.token_width)
        if language.head is not None:
            lm.take_new_head(head)
        lm.take_writing(language.queries, wanted_connector(config))
        return lm
    settings = replace(
        sizes,
        token_width=tokenizer.config.token_width,
        num_tokens=tokenizer.config.num_tokens,
        head=head,
        connector=wanted_connector(config) or sizes.connector,
        queries=language.queries or sizes.queries,
    )
    if language.backbone is not None:
        return _of_backbone(settings, language.backbone)
    rows = {"vocab_size": language.vocab_size + len(SPECIAL_TOKENS)}
    words = learn_pieces([], language.vocab_size)
    return DivotLM(settings, new_backbone(rows | settings.backbone), words)


def _of_backbone(settings: LanguageModelConfig, source: str | Path) -> DivotLM:
    words = load_words(source)
    return DivotLM(settings, new_backbone(AutoConfig.from_pretrained(source).to_dict()), words)
