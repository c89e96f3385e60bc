"""A model folder written as the released files."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.files import written_whole
from divot.config.merge import from_mapping
from divot.config.models import DetokenizerConfig, TokenizerConfig
from divot.detokenizer.schedule import NoiseSchedule
from divot.layers.component import WEIGHTS_FILE, read_component_config, read_weights
from divot.weights.names import Entry, to_theirs
from divot.weights.official_files import DETOKENIZER_FILES, FOLDER, TOKENIZER_FILE
from divot.weights.official_llm_export import part_of, read_ours, save_official
from divot.weights.official_llm_files import TOKENIZER_FOLDER
from divot.weights.official_names import TOKENIZER_COPY, detokenizer_names, tokenizer_names
from divot.weights.official_schedule import schedule_buffers
from divot.weights.report import ConversionReport, refuse_unfitting
from divot.weights.store import ModelFolder
from divot.weights.tensor_files import read_tensors

EXTRA_TENSORS = "official_extra.safetensors"
"""Tensors of the released files that our model has no place for."""
EXTRA_JSON = "official_extra.json"
"""How the released files were laid out, and which tensors they held twice."""


def convert_to_official(model: str | Path, out: str | Path) -> ConversionReport:
    """Write a model folder as files that the official code loads.

    A folder made by `convert_official` (without a change of type) gives back what it was made of: the same
    names, the same bits. Any other model is written whole, with the noise schedule as buffers.

    Args:
        model: model folder, preset name or hub id.
        out: folder to write; gets `Divot_tokenizer_detokenizer/`, and a folder a language model, with the released
            file names.

    Raises:
        CheckpointError: if the model has parts that the official code does not know.
    """
    folder = ModelFolder.open(model)
    extra, tensors = _extras(folder.path)
    report = ConversionReport(folder.source, str(out), folder.preset)
    languages = read_ours(folder, extra)
    target = Path(out) / FOLDER
    kept = folder.path / TOKENIZER_FOLDER if (folder.path / TOKENIZER_FOLDER).is_dir() else None
    places = [
        target,
        *(Path(out) / place for place in languages),
        *([Path(out) / TOKENIZER_FOLDER] if kept else []),
    ]
    if existing := [place for place in places if place.exists()]:
        raise CheckpointError(existing[0], "exists", "Give another folder to write to")
    names = folder.contents.detokenizers
    if unknown := sorted(names.keys() - DETOKENIZER_FILES.keys()):
        known = ", ".join(DETOKENIZER_FILES)
        raise CheckpointError(
            model, f"has the de-tokenizer {unknown[0]!r}", f"The official files have: {known}"
        )

    about = extra.get("tokenizer", {})
    config = _config(folder.path / folder.contents.tokenizer, TokenizerConfig)
    if config.vit.model_type != "clip_vision_model":
        raise CheckpointError(
            model, f"has an image tower of type {config.vit.model_type}", "It has to be CLIP's"
        )
    whole = _official(folder.path / folder.contents.tokenizer, tokenizer_names(config), optional=set())
    entries = tokenizer_names(config, about.get("has_vit", True))
    written = {entry.theirs: whole[entry.theirs] for entry in entries} | part_of(tensors, "tokenizer")
    whole |= written
    with ExitStack() as stack:
        # All folders are renamed at the end: there is everything, or nothing.
        beside = stack.enter_context(written_whole(target))
        beside.mkdir()
        for place, language in languages.items():
            language.write(stack.enter_context(written_whole(Path(out) / place)), place, report, bool(kept))
        if kept:
            shutil.copytree(kept, stack.enter_context(written_whole(Path(out) / TOKENIZER_FOLDER)))
        save_official(written, beside / TOKENIZER_FILE, about, report)
        for name, subfolder in names.items():
            about = extra.get(name, {})
            settings = _config(folder.path / subfolder, DetokenizerConfig)
            state = _official(folder.path / subfolder, detokenizer_names(settings), optional={"null_tokens"})
            state |= part_of(tensors, name) if about else schedule_buffers(NoiseSchedule(settings.schedule))
            state |= {TOKENIZER_COPY + copy: whole[copy] for copy in about.get("copied", [])}
            save_official(state, beside / DETOKENIZER_FILES[name], about, report)
    return report


def _extras(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = folder / EXTRA_JSON
    if not path.is_file():
        return {}, {}
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(path, "is damaged", "Convert the released files again") from error
    return files, read_tensors(folder / EXTRA_TENSORS).tensors if (folder / EXTRA_TENSORS).is_file() else {}


def _config(folder: Path, kind: type) -> Any:
    settings = read_component_config(folder)
    settings.pop("component", None)
    return from_mapping(kind, settings, folder)


def _official(folder: Path, entries: list[Entry], optional: set[str]) -> dict[str, Tensor]:
    renamed = to_theirs(entries, read_weights(folder / WEIGHTS_FILE))
    refuse_unfitting(folder / WEIGHTS_FILE, renamed.missing, [])
    if unknown := [name for name in renamed.unexpected if name not in optional]:
        cause = f"has parts that the official code does not know ({', '.join(unknown[:3])})"
        raise CheckpointError(folder, cause, "Only models of the official structure can be written so")
    return renamed.tensors
