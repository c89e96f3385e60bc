"""The image tower of a separate CLIP, in open_clip's or transformers' naming, as our frame encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from divot.config.files import written_whole
from divot.config.models import ViTConfig
from divot.config.presets import preset
from divot.tokenizer.vit import FrameEncoder
from divot.weights import official_sizes as sizes
from divot.weights.names import to_ours
from divot.weights.official_files import clip_file
from divot.weights.official_names import open_clip_names, transformers_clip_names
from divot.weights.report import ConversionReport, FileReport, refuse_unfitting
from divot.weights.start_folder import refuse_used_folder, write_part
from divot.weights.tensor_files import TensorFile, read_tensors


def clip_tower(
    file: TensorFile, base: ViTConfig, has_known_sizes: bool = False
) -> tuple[ViTConfig, dict[str, Tensor], FileReport]:
    """The image tower in a CLIP's file.

    Args:
        file: of a whole CLIP, or of its image tower.
        base: what shapes do not tell.
        has_known_sizes: `base` tells all sizes; else they are read off the tensors.

    Returns:
        Configuration, the tensors under the names of `FrameEncoder`, and what became of each tensor.

    Raises:
        CheckpointError: if a tensor is missing or misshapen.
    """
    is_open_clip = any(name.startswith("visual.") for name in file.tensors)
    part = "visual." if is_open_clip else "vision_model."
    tower = {k.removeprefix(part): v for k, v in file.tensors.items() if k.startswith(part)}
    config = base
    if not has_known_sizes:
        config = sizes.vit_config(sizes.Shapes(file.path, tower), is_open_clip, base)
    entries = open_clip_names(config) if is_open_clip else transformers_clip_names(config)
    with torch.device("meta"):
        expected = {k: v.shape for k, v in FrameEncoder(config).backbone.state_dict().items()}
    renamed = to_ours(entries, tower, expected)
    refuse_unfitting(file.path, renamed.missing, renamed.misshapen)
    # The text tower, the projection behind the image tower, the numbers of the positions.
    rest = [name for name in file.tensors if not name.startswith(part)]
    rest += [part + name for name in renamed.unexpected]
    about = FileReport(file.path.name, len(file.tensors) - len(rest), rest)
    return config, {f"backbone.{name}": tensor for name, tensor in renamed.tensors.items()}, about


def convert_clip(source: str | Path, out: str | Path) -> ConversionReport:
    """Take the image tower of CLIP-ViT-H-14 (or a CLIP of other sizes) as the start of a tokenizer.

    Args:
        source: a weight file, a folder with one, or a hub id.
        out: folder to write: `vit/` (our frame encoder: config.json and model.safetensors), conversion.json.

    Returns:
        What became of every tensor.

    Raises:
        CheckpointError: if the file is missing, unsafe, damaged or does not fit. Nothing is written then.
    """
    out = Path(out)
    refuse_used_folder(out, ("vit",))
    config, state, about = clip_tower(read_tensors(clip_file(source)), preset("paper").tokenizer.vit)
    report = ConversionReport(str(source), str(out), files=[about])
    if config == preset("paper").tokenizer.vit:
        report.preset = "paper"
    with written_whole(out) as beside:
        beside.mkdir()
        write_part(beside / "vit", "FrameEncoder", config, state)
        report.write(beside)
    return report
