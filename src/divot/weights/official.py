"""The released checkpoints, in and out: `convert_official` reads them, `convert_to_official` writes them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from divot.config.files import write_json, written_whole
from divot.config.models import DetokenizerConfig, ModelConfig, TokenizerConfig
from divot.config.presets import preset
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.schedule import NoiseSchedule
from divot.tokenizer import VideoTokenizer
from divot.weights import official_sizes as sizes
from divot.weights.clip_tower import clip_tower
from divot.weights.contents import DEFAULT_TASKS, language_model_folder, write_contents
from divot.weights.names import to_ours, to_theirs, under
from divot.weights.official_export import EXTRA_JSON, EXTRA_TENSORS, convert_to_official
from divot.weights.official_files import ReleasedFiles, find_clip, find_released
from divot.weights.official_llm_files import LANGUAGE_FOLDERS, TOKENIZER_FOLDER, is_same
from divot.weights.official_llm_reading import read_language_models
from divot.weights.official_names import (
    CLIP_REST,
    CLIP_REST_NAMES,
    SCHEDULE_BUFFERS,
    TOKENIZER_COPY,
    TOKENIZER_VIT,
    detokenizer_names,
    open_clip_names,
    tokenizer_names,
)
from divot.weights.official_schedule import schedule_buffers
from divot.weights.report import ConversionReport, FileReport, refuse_unfitting
from divot.weights.store import refuse_foreign_folder, write_model_folder
from divot.weights.tensor_files import TensorFile, read_tensors

__all__ = ["convert_official", "convert_to_official"]


def convert_official(
    source: str | Path,
    out: str | Path,
    clip: str | Path | None = None,
    config: ModelConfig | None = None,
    dtype: torch.dtype | None = None,
    backbone: str | Path | None = None,
) -> ConversionReport:
    """Make a model folder of the released tokenizer and de-tokenizers, and of the language models beside them.

    Nothing is lost: what our model has no place for is kept in the folder, and `convert_to_official` gives
    the released files back bit by bit.

    Args:
        source: folder of the released layout, its inner folder, or hub id (`TencentARC/Divot`); from the hub the
            language models, which are large, are not fetched.
        out: model folder to write; an existing model folder is replaced.
        clip: CLIP-ViT-H-14 (file, folder or hub id) for a tokenizer without its image tower; None looks
            beside the released files, then on the hub.
        config: sizes; None reads them off the tensors.
        dtype: type of the weights on disk; None keeps the released one, which the way back needs.
        backbone: the language model under those that are a LoRA (folder or hub id of Mistral-7B-Instruct-v0.1).

    Returns:
        What became of every tensor; also written as conversion.json.

    Raises:
        CheckpointError: if a file is missing, damaged, unsafe, or does not fit. Nothing is written then.
    """
    refuse_foreign_folder(out)
    files = find_released(source)
    conversion = _Conversion(config, ConversionReport(str(source), str(out)))
    tokenizer = conversion.tokenizer(files, clip)
    detokenizers = {
        name: conversion.detokenizer(name, read_tensors(path)) for name, path in files.detokenizers.items()
    }
    report, extras = conversion.report, conversion.extras
    language_models = read_language_models(Path(source), tokenizer.config, backbone, report)
    if all(_has_sizes_of_paper(tokenizer.config, model.config) for model in detokenizers.values()):
        report.preset = "paper"
    if dtype is not None:
        report.notes.append(f"weights stored as {dtype}: the way back gives rounded values")
    with written_whole(out) as beside:
        tasks = {task: name for task, name in DEFAULT_TASKS.items() if name in detokenizers}
        contents = write_model_folder(beside, tokenizer, detokenizers, tasks, report.preset, dtype).contents
        for name, lm in language_models.items():
            lm.write(beside / language_model_folder(name), dtype)
            conversion.layout[LANGUAGE_FOLDERS[name]] = lm.layout
        if language_models and (kept := Path(source) / TOKENIZER_FOLDER).is_dir():
            shutil.copytree(kept, beside / TOKENIZER_FOLDER)
        folders = {name: language_model_folder(name) for name in language_models}
        write_contents(beside, dataclasses.replace(contents, language_models=folders))
        save_file({k: v.contiguous().clone() for k, v in extras.items()}, beside / EXTRA_TENSORS)
        write_json(beside / EXTRA_JSON, {"format": 1, "files": conversion.layout})
        report.write(beside)
    return report


class _Conversion:
    """One run: what it reads goes into models, into the extras of the way back, and into the report."""

    def __init__(self, config: ModelConfig | None, report: ConversionReport) -> None:
        self.report = report
        self.extras: dict[str, Tensor] = {}
        self.layout: dict[str, dict[str, Any]] = {}
        self._config = config
        self._base = preset("paper") if config is None else config

    def tokenizer(self, files: ReleasedFiles, clip: str | Path | None) -> VideoTokenizer:
        file, base = read_tensors(files.tokenizer), self._base.tokenizer
        has_vit = any(name.startswith(f"{TOKENIZER_VIT}.") for name in file.tensors)
        self._official, vit = dict(file.tensors), base.vit
        tower: dict[str, Tensor] = {}
        shapes = sizes.Shapes(file.path, file.tensors)
        if not has_vit:
            clip_file = read_tensors(find_clip(files.folder, clip))
            vit, backbone, about = clip_tower(clip_file, base.vit, has_known_sizes=self._config is not None)
            self.report.files.append(about)
            tower = {f"vit.{name}": tensor for name, tensor in backbone.items()}
            entries = under(open_clip_names(vit), TOKENIZER_VIT, "vit.backbone")
            self._official |= to_theirs(entries, tower).tensors
            note = f"{file.path.name} has no image tower: taken from {clip_file.path.name}"
            self.report.notes.append(note)
        elif self._config is None:
            vit = sizes.vit_config(shapes.under(TOKENIZER_VIT), True, base.vit)
        settings = base if self._config else sizes.tokenizer_config(shapes, vit, base)
        model, expected = _unfilled(VideoTokenizer, settings)
        renamed = to_ours(tokenizer_names(settings, has_vit), file.tensors, expected)
        refuse_unfitting(file.path, renamed.missing, renamed.misshapen)
        left_overs = {f"{CLIP_REST}.{name}" for name in CLIP_REST_NAMES}
        self._account("tokenizer", file, renamed.unexpected, left_overs, has_vit=has_vit)
        self._settings, self._state, self._shapes = settings, renamed.tensors | tower, expected
        self._null = self._null_tokens({})
        return _filled(model, self._state)

    def detokenizer(self, name: str, file: TensorFile) -> VideoDetokenizer:
        base = self._base.detokenizer
        if self._config is None:
            shapes = sizes.Shapes(file.path, file.tensors)
            base = sizes.detokenizer_config(shapes, self._settings.num_tokens, base)
        sampler = preset("paper").detokenizer.sampler
        settings = dataclasses.replace(base, sampler=sampler, official_quirks=True)
        model, expected = _unfilled(VideoDetokenizer, settings)
        renamed = to_ours(detokenizer_names(settings), file.tensors, expected)
        refuse_unfitting(file.path, renamed.missing, renamed.misshapen)

        copies = {
            n: n.removeprefix(TOKENIZER_COPY) for n in renamed.unexpected if n.startswith(TOKENIZER_COPY)
        }
        same = {n for n, own in copies.items() if is_same(file.tensors[n], self._official.get(own))}
        kept = [n for n in renamed.unexpected if n not in same]
        known = {*copies, *SCHEDULE_BUFFERS}
        self._account(name, file, kept, known, copied=sorted(copies[n] for n in same))
        self.report.notes += _schedule_notes(file, settings)
        null = self._null
        if different := {copies[n]: file.tensors[n] for n in copies if n not in same}:
            note = f"{file.path.name}: {len(different)} tensors of its tokenizer differ from the tokenizer's"
            self.report.notes.append(f"{note}; its null tokens are worked out with its own")
            null = self._null_tokens(different)
        return _filled(model, renamed.tensors | {"null_tokens": null})

    def _account(self, part: str, file: TensorFile, kept: list[str], known: set[str], **layout: Any) -> None:
        """Set tensors aside and write the file into the report; `known` names are no surprise."""
        self.extras |= {f"{part}/{name}": file.tensors[name] for name in kept}
        self.layout[part] = {"wrapper": file.wrapper, "prefix": file.prefix, **layout}
        copied = len(layout.get("copied", []))
        about = FileReport(file.path.name, len(file.tensors) - len(kept) - copied, copied=copied)
        about.kept = [name for name in kept if name in known]
        about.unexpected = [name for name in kept if name not in known]
        self.report.files.append(about)
        if file.beside:
            note = f"{file.path.name}: not read, and not in the way back: {', '.join(file.beside)}"
            self.report.notes.append(note)

    def _null_tokens(self, own: dict[str, Tensor]) -> Tensor:
        # The official unconditional branch runs on the tokenizer of the de-tokenizer's own file.
        entries = [entry for entry in tokenizer_names(self._settings) if entry.theirs in own]
        renamed = to_ours(entries, own, self._shapes)
        refuse_unfitting(self.report.source, [], renamed.misshapen)
        state = {k: v.float() for k, v in (self._state | renamed.tensors).items()}
        return _filled(_unfilled(VideoTokenizer, self._settings)[0], state).null_tokens()[0]


def _unfilled(kind: Any, config: Any) -> tuple[Any, dict[str, torch.Size]]:
    """A model without memory, and the shapes it expects."""
    with torch.device("meta"):
        model = kind(config)
    return model, {name: tensor.shape for name, tensor in model.state_dict().items()}


def _filled(model: Any, state: dict[str, Tensor]) -> Any:
    model.load_state_dict(state, assign=True)
    model.restore_buffers()
    return model.eval()


def _schedule_notes(file: TensorFile, config: DetokenizerConfig) -> list[str]:
    wrong = []
    for name, buffer in schedule_buffers(NoiseSchedule(config.schedule)).items():
        theirs = file.tensors.get(name, buffer)
        if theirs.shape != buffer.shape or not torch.allclose(theirs.float(), buffer, rtol=1e-5, atol=1e-6):
            wrong.append(name)
    if wrong:
        return [f"{file.path.name}: its noise schedule is not ours ({', '.join(wrong)}): samples will differ"]
    return []


def _has_sizes_of_paper(tokenizer: TokenizerConfig, detokenizer: DetokenizerConfig) -> bool:
    paper = preset("paper").detokenizer
    plain = dataclasses.replace(detokenizer, sampler=paper.sampler, official_quirks=paper.official_quirks)
    return tokenizer == preset("paper").tokenizer and plain == paper
