"""The released language models, read and checked: every tensor is accounted for, nothing is written yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from divot.config.errors import CheckpointError, RecipeError
from divot.config.models import HeadConfig, LanguageModelConfig, TokenizerConfig
from divot.config.presets import preset
from divot.layers.component import CONFIG_FILE
from divot.lm.backbone import new_backbone
from divot.lm.model import DivotLM
from divot.weights.names import to_ours
from divot.weights.official_files import fetched
from divot.weights.official_llm import LanguageModelConversion
from divot.weights.official_llm_files import (
    EMBEDDING,
    ReleasedLanguageModel,
    find_language_models,
    is_same,
    read_adapter,
    read_pieces,
)
from divot.weights.official_llm_lora import ADAPTER_CONFIG, LoRA, adapter_alpha, is_lora, read_lora
from divot.weights.official_llm_names import AGENT_LLM, agent_names
from divot.weights.official_llm_tokenizer import read_tokenizer
from divot.weights.official_sizes import Shapes
from divot.weights.report import ConversionReport, FileReport, refuse_unfitting
from divot.weights.tensor_files import read_tensors

_OUTPUT = "lm_head.weight"


def read_language_models(
    root: Path, tokens: TokenizerConfig, backbone: str | Path | None, report: ConversionReport
) -> dict[str, LanguageModelConversion]:
    """Read and check the released language models of a folder, by our names; none where there are none.

    Args:
        root: the released folder.
        tokens: configuration of the tokenizer whose tokens they read and write.
        backbone: the language model under a LoRA: folder or hub id.
        report: gets what becomes of every tensor.

    Raises:
        CheckpointError: if a file is missing, damaged, unsafe, or does not fit.
    """
    found = find_language_models(root)
    tokenizers = {
        folder: read_tokenizer(folder) for folder in {source.tokenizer for source in found.values()}
    }
    base = _base_folder(backbone) if found and backbone is not None else None
    return {
        name: _Reading(source, tokenizers[source.tokenizer], base, report).conversion(tokens)
        for name, source in found.items()
    }


class _Reading:
    """One run over one language model."""

    def __init__(
        self,
        source: ReleasedLanguageModel,
        tokenizer: PreTrainedTokenizerBase,
        base: Path | None,
        report: ConversionReport,
    ) -> None:
        self._source, self._tokenizer, self._base, self._report = source, tokenizer, base, report
        self._agent = read_tensors(source.agent)
        self._in_agent = {
            name.removeprefix(AGENT_LLM): tensor
            for name, tensor in self._agent.tensors.items()
            if name.startswith(AGENT_LLM)
        }
        self._lora: LoRA | None = None
        self._files: list[tuple[str, set[str], int]] = []
        """Weight file of the backbone, its plain names, and how many parts of a LoRA it has beside them."""

    def conversion(self, tokens: TokenizerConfig) -> LanguageModelConversion:
        weights = self._weights()
        settings, config = self._settings(weights), self._config(tokens)
        shapes = _shapes(config, settings, self._tokenizer, self._source.folder)
        wanted = {k.removeprefix("backbone."): v for k, v in shapes.items() if k.startswith("backbone.")}
        if settings.get("tie_word_embeddings") and _OUTPUT not in weights:
            del wanted[_OUTPUT]
        misshapen = [
            f"{name} {list(weights[name].shape)}, wanted {list(shape)}"
            for name, shape in wanted.items()
            if name in weights and weights[name].shape != shape
        ]
        misshapen += self._lora.misfits(wanted) if self._lora else []
        place = self._source.llm or self._agent.path
        refuse_unfitting(place, [name for name in wanted if name not in weights], misshapen)
        renamed = to_ours(agent_names(), self._agent.tensors, shapes)
        refuse_unfitting(self._agent.path, renamed.missing, renamed.misshapen)

        width = tokens.token_width
        found = LanguageModelConversion(
            config=config,
            settings=settings,
            own=renamed.tensors | {"token_mean": torch.zeros(width), "token_axes": torch.eye(width)},
            backbone={name: weights[name] for name in wanted},
            lora=self._lora,
            tokenizer=self._tokenizer,
            source=self._source,
        )
        self._account_backbone(found, weights)
        self._account_agent(found, renamed.unexpected)
        return found

    def _weights(self) -> dict[str, Tensor]:
        """The backbone's, under plain names; of a LoRA those under it."""
        llm, place = self._source.llm, f"{self._source.folder.name}/llm"
        if llm is not None and (llm / ADAPTER_CONFIG).is_file():
            file = read_adapter(llm)
            self._lora = read_lora(file.path, file.tensors, adapter_alpha(llm))
            return self._with_base(f"{place}/{file.path.name}", len(file.tensors))
        if llm is not None:
            return self._whole(llm, place)
        if not self._in_agent:
            cause = "has no llm/, and its agent file holds no language model"
            raise CheckpointError(self._source.folder, cause, "Give the whole released folder")
        if is_lora(self._in_agent):
            self._lora = read_lora(self._agent.path, self._in_agent)
            return self._with_base(self._agent_name, len(self._in_agent))
        return self._in_agent

    @property
    def _agent_name(self) -> str:
        return f"{self._source.folder.name}/agent/{self._agent.path.name}"

    def _with_base(self, place: str, count: int) -> dict[str, Tensor]:
        assert self._lora is not None
        note = (
            f"{place}: a LoRA was merged ({len(self._lora.low)} weights); the way back gives merged weights"
        )
        self._report.notes.append(note)
        self._files.append((place, set(self._lora.whole), count - len(self._lora.whole)))
        base: dict[str, Tensor] = {}
        if lacking := sorted(name for name in self._lora.low if name not in self._lora.whole):
            if self._base is None:
                cause = f"is a LoRA without the weights under it ({lacking[0]})"
                raise CheckpointError(
                    self._lora.source, cause, "Give Mistral-7B-Instruct-v0.1 with --backbone"
                )
            base = self._whole(self._base, self._base.name, self._lora.whole)
        return base | self._lora.whole

    def _whole(
        self, folder: Path, place: str, replaced: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for file in read_pieces(folder):
            tensors |= file.tensors
            self._files.append(
                (f"{place}/{file.path.name}", file.tensors.keys() - (replaced or {}).keys(), 0)
            )
        return tensors

    def _settings(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Of the backbone: beside its weights, else the base's, else the paper's."""
        folders = [folder for folder in (self._source.llm, self._base) if folder is not None]
        path = next((f / CONFIG_FILE for f in folders if (f / CONFIG_FILE).is_file()), None)
        settings = preset("paper").lm.backbone if path is None else _read_mapping(path)
        rows = Shapes(self._source.folder, weights)[EMBEDDING][0]
        if rows < len(self._tokenizer):
            cause = f"has embeddings for {rows} tokens, its tokenizer knows {len(self._tokenizer)}"
            raise CheckpointError(self._source.folder, cause, "Give the weights that were trained with it")
        return settings | {"vocab_size": rows}

    def _config(self, tokens: TokenizerConfig) -> LanguageModelConfig:
        shapes = Shapes(self._agent.path, self._agent.tensors)
        width, size = shapes["input_resampler.proj.0.weight"][1], shapes["output_resampler.proj.2.weight"][0]
        count, rest = divmod(size, 2 * tokens.token_width + 1)
        if width != tokens.token_width or rest or not count:
            cause = f"is not for tokens of width {tokens.token_width}, those of the tokenizer beside it"
            raise CheckpointError(self._agent.path, cause, "Take all files from the same release")
        head = HeadConfig("gmm", num_components=count)
        return LanguageModelConfig(
            token_width=width, num_tokens=tokens.num_tokens, head=head, official_prompts=True
        )

    def _account_backbone(self, found: LanguageModelConversion, weights: Mapping[str, Tensor]) -> None:
        for place, names, parts in self._files:
            left = sorted(names - found.backbone.keys())
            found.extras |= {f"llm/{name}": weights[name] for name in left}
            about = FileReport(place, len(names) - len(left) + parts, unexpected=left)
            self._report.files.append(about)

    def _account_agent(self, found: LanguageModelConversion, beside: list[str]) -> None:
        """What the agent's file holds beside the projections."""
        llm = {name for name in beside if name.startswith(AGENT_LLM)}
        theirs = {AGENT_LLM + name: tensor for name, tensor in found.backbone.items()}
        is_source = self._source.llm is None
        # A LoRA is taken apart, and the way back has its sum.
        gone = llm if is_source and self._lora else set()
        same = {n for n in llm - gone if n in theirs and not self._lora}
        if not is_source:
            same = {name for name in same if is_same(self._agent.tensors[name], theirs[name])}
        kept = [name for name in beside if name not in gone and name not in same]
        found.extras |= {f"agent/{name}": self._agent.tensors[name] for name in kept}
        found.layout = {
            "wrapper": self._agent.wrapper,
            "prefix": self._agent.prefix,
            "copied": sorted(same),
        }
        used = len(agent_names()) + (len(same) if is_source else 0)
        about = FileReport(self._agent_name, used, copied=0 if is_source else len(same))
        about.kept = [name for name in kept if name in llm and not is_source]
        about.unexpected = [name for name in kept if name not in about.kept]
        self._report.files.append(about)
        if self._agent.beside:
            note = f"{self._agent_name}: not read, and not in the way back: {', '.join(self._agent.beside)}"
            self._report.notes.append(note)


def _base_folder(backbone: str | Path) -> Path:
    folder = Path(backbone)
    return folder if folder.is_dir() else fetched(str(backbone), ["*.json", "*.safetensors"])


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(path, "is not a JSON mapping", "Copy it again") from error


def _shapes(
    config: LanguageModelConfig, settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase, source: Path
) -> dict[str, torch.Size]:
    """Of every tensor that our model has."""
    try:
        with torch.device("meta"):
            model = DivotLM(config, new_backbone(settings), tokenizer)
    except RecipeError as error:
        raise CheckpointError(source, f"{error.source} {error.cause}", error.remedy) from error
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
