"""The released checkpoints, in and out: `convert_official` reads them, `convert_to_official` writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from divot.config.files import write_json, written_whole
from divot.config.models import DetokenizerConfig, ModelConfig, TokenizerConfig
from divot.config.presets import preset
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.schedule import NoiseSchedule
from divot.tokenizer import VideoTokenizer
from divot.weights import official_sizes as sizes
from divot.weights.names import Entry, Renamed, to_ours, to_theirs
from divot.weights.official_export import EXTRA_JSON, EXTRA_TENSORS, convert_to_official
from divot.weights.official_files import ReleasedFiles, find_clip, find_released
from divot.weights.official_names import (
    CLIP_REST,
    CLIP_REST_NAMES,
    SCHEDULE_BUFFERS,
    TOKENIZER_COPY,
    TOKENIZER_VIT,
    detokenizer_names,
    open_clip_names,
    tokenizer_names,
    transformers_clip_names,
)
from divot.weights.official_schedule import schedule_buffers
from divot.weights.report import ConversionReport, FileReport, refuse_unfitting
from divot.weights.store import DEFAULT_TASKS, refuse_foreign_folder, write_model_folder
from divot.weights.tensor_files import TensorFile, read_tensors

__all__ = ["convert_official", "convert_to_official"]


def convert_official(
    source: str | Path,
    out: str | Path,
    clip: str | Path | None = None,
    config: ModelConfig | None = None,
    dtype: torch.dtype | None = None,
) -> ConversionReport:
    """Make a model folder of the released tokenizer and de-tokenizers.

    Nothing is lost: what our model has no place for is kept in the folder, and `convert_to_official` gives the
    released files back bit by bit.

    Args:
        source: folder of the released layout, its inner folder, or hub id (`TencentARC/Divot`).
        out: model folder to write; an existing model folder is replaced.
        clip: CLIP-ViT-H-14 (file, folder or hub id) for a tokenizer released without its image tower; None looks
            beside the released files, then on the hub.
        config: sizes; None reads them off the tensors.
        dtype: type of the weights on disk; None keeps the released one, which the way back needs.

    Returns:
        What became of every tensor; also written as conversion.json.

    Raises:
        CheckpointError: if a file is missing, damaged, unsafe, or does not fit. Nothing is written then.
    """
    refuse_foreign_folder(out)
    files = find_released(source)
    report = ConversionReport(str(source), str(out))
    extras = _Extras()

    file = read_tensors(files.tokenizer)
    tokenizer_config, state, official = _tokenizer(file, files, clip, config, extras, report)
    tokenizer = _built(VideoTokenizer, tokenizer_config, state)
    detokenizers = {}
    for name, path in files.detokenizers.items():
        file = read_tensors(path)
        detokenizers[name] = _detokenizer(
            name, file, tokenizer_config, official, state, config, extras, report
        )
    extras.values["exact"] = dtype is None
    if all(_has_sizes_of_paper(tokenizer_config, model.config) for model in detokenizers.values()):
        report.preset = "paper"
    with written_whole(out) as beside:
        tasks = {task: name for task, name in DEFAULT_TASKS.items() if name in detokenizers}
        write_model_folder(beside, tokenizer, detokenizers, tasks, report.preset, dtype)
        save_file({k: v.contiguous().clone() for k, v in extras.tensors.items()}, beside / EXTRA_TENSORS)
        write_json(beside / EXTRA_JSON, extras.values)
        report.write(beside)
    return report


class _Extras:
    """What the way back needs besides the model."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.values: dict[str, Any] = {"format": 1, "files": {}}

    def add(self, part: str, file: TensorFile, kept: list[str], **values: Any) -> None:
        self.tensors |= {f"{part}/{name}": file.tensors[name] for name in kept}
        about = {"name": file.path.name, "wrapper": file.wrapper, "prefix": file.prefix, **values}
        self.values["files"][part] = about


def _tokenizer(
    file: TensorFile,
    files: ReleasedFiles,
    clip: str | Path | None,
    config: ModelConfig | None,
    extras: _Extras,
    report: ConversionReport,
) -> tuple[TokenizerConfig, dict[str, Tensor], dict[str, Tensor]]:
    """Our configuration and tensors, and the official ones with the image tower's in the official naming."""
    has_vit = any(name.startswith(f"{TOKENIZER_VIT}.") for name in file.tensors)
    base = preset("paper").tokenizer if config is None else config.tokenizer
    shapes = sizes.Shapes(file.path, file.tensors)
    official, tower = dict(file.tensors), {}
    if has_vit:
        vit = sizes.vit_config(shapes.under(TOKENIZER_VIT), True, base.vit) if config is None else base.vit
    else:
        clip_file = read_tensors(find_clip(files.folder, clip))
        vit, tower = _clip_tower(clip_file, base, config is None, report)
        official |= to_theirs(_prefixed(vit), tower).tensors
        report.notes.append(f"the tokenizer's file has no image tower: taken from {clip_file.path.name}")
    settings = sizes.tokenizer_config(shapes, vit, base) if config is None else base
    renamed = _renamed(tokenizer_names(settings, has_vit), file, VideoTokenizer, settings)
    left_overs = {f"{CLIP_REST}.{name}" for name in CLIP_REST_NAMES}
    kept = [name for name in renamed.unexpected if name in left_overs]
    unexpected = [name for name in renamed.unexpected if name not in left_overs]
    used = len(file.tensors) - len(renamed.unexpected)
    report.files.append(FileReport(file.path.name, used, kept, unexpected=unexpected))
    extras.add("tokenizer", file, renamed.unexpected, has_vit=has_vit)
    return settings, renamed.tensors | tower, official


def _prefixed(vit: sizes.ViTConfig) -> list[Entry]:
    return [e for e in tokenizer_names(TokenizerConfig(vit=vit)) if e.theirs.startswith(f"{TOKENIZER_VIT}.")]


def _clip_tower(
    file: TensorFile, base: TokenizerConfig, is_inferred: bool, report: ConversionReport
) -> tuple[sizes.ViTConfig, dict[str, Tensor]]:
    """Configuration of a separate CLIP's image tower, and its tensors under our names."""
    is_open_clip = any(name.startswith("visual.") for name in file.tensors)
    part = "visual" if is_open_clip else "vision_model"
    tower = {k.removeprefix(f"{part}."): v for k, v in file.tensors.items() if k.startswith(f"{part}.")}
    vit = (
        sizes.vit_config(sizes.Shapes(file.path, tower), is_open_clip, base.vit) if is_inferred else base.vit
    )
    entries = open_clip_names(vit) if is_open_clip else transformers_clip_names(vit)
    with torch.device("meta"):
        backbone = VideoTokenizer(dataclasses.replace(base, vit=vit)).vit.backbone
    renamed = to_ours(entries, tower, {k: v.shape for k, v in backbone.state_dict().items()})
    refuse_unfitting(file.path, renamed.missing, renamed.misshapen)
    # transformers' older files carry the numbers of the positions; open_clip's the projection, which is not used.
    known = [f"{part}.{name}" for name in renamed.unexpected]
    known += [name for name in file.tensors if not name.startswith(f"{part}.")]
    report.files.append(FileReport(file.path.name, len(tower) - len(renamed.unexpected), known))
    return vit, {f"vit.backbone.{name}": tensor for name, tensor in renamed.tensors.items()}


def _detokenizer(
    name: str,
    file: TensorFile,
    tokenizer_config: TokenizerConfig,
    official: Mapping[str, Tensor],
    tokenizer_state: dict[str, Tensor],
    config: ModelConfig | None,
    extras: _Extras,
    report: ConversionReport,
) -> VideoDetokenizer:
    base = preset("paper").detokenizer if config is None else config.detokenizer
    if config is None:
        base = sizes.detokenizer_config(
            sizes.Shapes(file.path, file.tensors), tokenizer_config.num_tokens, base
        )
    settings = dataclasses.replace(base, sampler=preset("paper").detokenizer.sampler, official_quirks=True)
    renamed = _renamed(detokenizer_names(settings), file, VideoDetokenizer, settings)
    copies = [n for n in renamed.unexpected if n.startswith(TOKENIZER_COPY)]
    copied = [n for n in copies if _is_same(file.tensors[n], official.get(n.removeprefix(TOKENIZER_COPY)))]
    kept = [n for n in renamed.unexpected if n not in set(copied)]
    different = [n for n in copies if n not in set(copied)]
    unexpected = [n for n in kept if n not in SCHEDULE_BUFFERS and n not in set(copies)]
    used = len(file.tensors) - len(renamed.unexpected)
    aside = [n for n in kept if n not in set(unexpected)]
    report.files.append(FileReport(file.path.name, used, aside, len(copied), unexpected=unexpected))
    report.notes += _schedule_notes(file, settings)
    extras.add(name, file, kept, copied=[n.removeprefix(TOKENIZER_COPY) for n in copied])
    if different:
        report.notes.append(
            f"{file.path.name}: {len(different)} tensors of its tokenizer differ from the tokenizer's"
        )
    state = tokenizer_state | _own_tokenizer(file, different, tokenizer_config)
    null = _built(VideoTokenizer, tokenizer_config, {k: v.float() for k, v in state.items()}).null_tokens()[0]
    return _built(VideoDetokenizer, settings, renamed.tensors | {"null_tokens": null})


def _own_tokenizer(file: TensorFile, different: list[str], config: TokenizerConfig) -> dict[str, Tensor]:
    """Tensors of the de-tokenizer's own tokenizer that differ: the official unconditional branch runs on them."""
    theirs = {name.removeprefix(TOKENIZER_COPY): file.tensors[name] for name in different}
    entries = [entry for entry in tokenizer_names(config) if entry.theirs in theirs]
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in VideoTokenizer(config).state_dict().items()}
    renamed = to_ours(entries, theirs, shapes)
    refuse_unfitting(file.path, [], renamed.misshapen)
    return renamed.tensors


def _renamed(entries: list[Entry], file: TensorFile, kind: type[nn.Module], config: Any) -> Renamed:
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in kind(config).state_dict().items()}
    renamed = to_ours(entries, file.tensors, shapes)
    refuse_unfitting(file.path, renamed.missing, renamed.misshapen)
    return renamed


def _built(kind: type, config: Any, state: dict[str, Tensor]) -> Any:
    with torch.device("meta"):
        model = kind(config)
    model.load_state_dict(state, assign=True)
    model.restore_buffers()
    return model.eval()


def _is_same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.dtype == other.dtype and torch.equal(one, other)


def _schedule_notes(file: TensorFile, config: DetokenizerConfig) -> list[str]:
    ours = schedule_buffers(NoiseSchedule(config.schedule))
    wrong = []
    for name, buffer in ours.items():
        theirs = file.tensors.get(name)
        if theirs is None:
            continue
        if theirs.shape != buffer.shape or not torch.allclose(theirs.float(), buffer, rtol=1e-5, atol=1e-6):
            wrong.append(name)
    if wrong:
        return [f"{file.path.name}: its noise schedule is not ours ({', '.join(wrong)}): samples will differ"]
    return []


def _has_sizes_of_paper(tokenizer: TokenizerConfig, detokenizer: DetokenizerConfig) -> bool:
    paper = preset("paper")
    plain = dataclasses.replace(
        detokenizer, sampler=paper.detokenizer.sampler, official_quirks=paper.detokenizer.official_quirks
    )
    unet = dataclasses.replace(plain.unet, attention_resolutions=paper.detokenizer.unet.attention_resolutions)
    is_same_unet = set(plain.unet.attention_resolutions) == set(unet.attention_resolutions)
    return (
        tokenizer == paper.tokenizer
        and is_same_unet
        and dataclasses.replace(plain, unet=unet) == paper.detokenizer
    )
