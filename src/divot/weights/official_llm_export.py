"""A language model of ours written as a released one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.merge import from_mapping
from divot.config.models import LanguageModelConfig
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE, read_component_config, read_weights
from divot.weights.names import to_theirs
from divot.weights.official_llm_files import (
    AGENT_FILE,
    AGENT_FOLDER,
    EXTRA_FILE,
    GENERATION_CONFIG,
    LANGUAGE_FOLDERS,
    LLM_FOLDER,
    read_pieces,
    write_pieces,
)
from divot.weights.official_llm_names import AGENT_LLM, agent_names
from divot.weights.report import ConversionReport, FileReport, refuse_unfitting
from divot.weights.store import ModelFolder
from divot.weights.tensor_files import read_tensors


@dataclass
class LanguageModelFiles:
    """The tensors of one released language model, memory-mapped."""

    backbone_folder: Path
    agent: dict[str, Tensor]
    llm: dict[str, Tensor]
    layout: dict[str, Any]

    def write(self, folder: Path, place: str, report: ConversionReport, has_tokenizer_beside: bool) -> None:
        """Write `llm/` and `agent/`.

        Args:
            folder: new.
            place: what it will be called.
            report: gets the files.
            has_tokenizer_beside: the tokenizer is kept as it was released; else `llm/` gets ours.
        """
        (folder / AGENT_FOLDER).mkdir(parents=True)
        (folder / LLM_FOLDER).mkdir()
        for path in sorted(self.backbone_folder.iterdir()):
            is_settings = path.name in (CONFIG_FILE, GENERATION_CONFIG)
            if is_settings or ("token" in path.name and not has_tokenizer_beside):
                shutil.copyfile(path, folder / LLM_FOLDER / path.name)
        write_pieces(folder / LLM_FOLDER, self.llm, self.llm.__getitem__)
        report.files.append(FileReport(f"{place}/{LLM_FOLDER}", len(self.llm)))
        save_official(self.agent, folder / AGENT_FOLDER / AGENT_FILE, self.layout, report, place)


def read_ours(folder: ModelFolder, layouts: Mapping[str, Any]) -> dict[str, LanguageModelFiles]:
    """The language models of a model folder as released tensors, by the released folder names.

    Args:
        folder: ours.
        layouts: what is known of the released files, by their folder names.

    Raises:
        CheckpointError: if one has parts or settings that the official code does not know.
    """
    names = folder.contents.language_models
    if unknown := sorted(names.keys() - LANGUAGE_FOLDERS.keys()):
        known = ", ".join(LANGUAGE_FOLDERS)
        cause = f"has the language model {unknown[0]!r}"
        raise CheckpointError(folder.source, cause, f"The official files have: {known}")
    places = {LANGUAGE_FOLDERS[name]: folder.path / subfolder for name, subfolder in names.items()}
    return {place: _read(path, layouts.get(place, {})) for place, path in places.items()}


def _read(folder: Path, layout: dict[str, Any]) -> LanguageModelFiles:
    settings = read_component_config(folder)
    settings.pop("component", None)
    config = from_mapping(LanguageModelConfig, settings, folder)
    own = read_weights(folder / WEIGHTS_FILE)
    foreign = [f"a head {config.head.kind!r}"] * (config.head.kind != "gmm")
    foreign += ["an added variance"] * (config.head.added_variance > 0)
    foreign += ["a connector"] * (config.connector.depth > 0)
    foreign += [f"{config.queries} queries"] * (config.queries != "bidirectional")
    foreign += ["a LoRA that is not merged"] * (folder / "adapter").is_dir()
    foreign += ["a chat template"] * config.uses_chat_template
    foreign += ["plans"] * config.plans
    axes = own["token_axes"]
    foreign += ["token statistics"] * (
        bool(own["token_mean"].any()) or not torch.equal(axes, torch.eye(len(axes)))
    )
    if foreign:
        cause = f"has {foreign[0]}, which the official code does not know"
        raise CheckpointError(folder, cause, "Only models of the official structure can be written so")
    renamed = to_theirs(agent_names(), own)
    refuse_unfitting(folder / WEIGHTS_FILE, renamed.missing, [])

    llm: dict[str, Tensor] = {}
    for file in read_pieces(folder / "backbone"):
        llm |= file.tensors
    copies = {name: llm[name.removeprefix(AGENT_LLM)] for name in layout.get("copied", [])}
    extras = read_tensors(folder / EXTRA_FILE).tensors if (folder / EXTRA_FILE).is_file() else {}
    agent = renamed.tensors | copies | part_of(extras, "agent")
    return LanguageModelFiles(folder / "backbone", agent, llm | part_of(extras, "llm"), layout)


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those of the tensors set aside that belong to one file."""
    prefix = f"{part}/"
    return {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}


def save_official(
    state: dict[str, Tensor], path: Path, layout: Mapping[str, Any], report: ConversionReport, place: str = ""
) -> None:
    """Write a released file: a pickle of tensors.

    Args:
        state: tensors under the released names.
        path: new file.
        layout: wrapper and prefix of the names, as they were released.
        report: gets the file.
        place: folder to name in front of the file's.
    """
    prefix, wrapper = layout.get("prefix") or "", layout.get("wrapper")
    values: dict[str, Any] = {prefix + name: _alone(tensor) for name, tensor in state.items()}
    torch.save({wrapper: values} if wrapper else values, path)
    report.files.append(FileReport(f"{place}/agent/{path.name}" if place else path.name, len(state)))


def _alone(tensor: Tensor) -> Tensor:
    # A view would take its whole storage into the file.
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
