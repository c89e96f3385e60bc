"""DynamiCrafter's checkpoint as the start of the paper's training: its U-Net, autoencoder and image tower."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.files import written_whole
from divot.config.models import UNetConfig, ViTConfig
from divot.config.presets import preset
from divot.detokenizer.unet import VideoUNet
from divot.detokenizer.vae import build_autoencoder
from divot.tokenizer.vit import FrameEncoder
from divot.weights import official_sizes as sizes
from divot.weights.latent_names import autoencoder_names, unet_names
from divot.weights.names import Entry, to_ours, under
from divot.weights.official_names import SCHEDULE_BUFFERS, open_clip_names
from divot.weights.report import ConversionReport, FileReport, refuse_unfitting
from divot.weights.start_folder import refuse_used_folder, write_part
from divot.weights.tensor_files import TensorFile, read_tensors

UNET, VAE, TOWER = "model.diffusion_model.", "first_stage_model.", "embedder.model.visual."
OTHER_PARTS = {
    "cond_stage_model.": "the text tower: Divot is conditioned on video tokens",
    "embedder.": "what is left of the text tower beside the image tower",
    "image_proj_model.": "the projector of image features: Divot has its own, of tokens",
    "model_ema.": "running averages of the U-Net",
    "scale_arr": "the factors of the larger models' latents over time",
    "scale_factor": "the factor of the latents",
    "logvar": "the learned weight of the loss",
    **dict.fromkeys(SCHEDULE_BUFFERS, "the noise schedule: ours is worked out"),
}
"""Parts of the checkpoint that Divot does not start from, and why."""
UNUSED_TOWER = ("proj",)
"""Of the image tower: its projection stands behind the features that Divot uses."""
# The 256-pixel model's name for what later code calls fps_embedding.
OLD_STRIDE, STRIDE = "framestride_embed", "fps_embedding"
ALPHA = "attn2.alpha"


def convert_dynamicrafter(checkpoint: str | Path, out: str | Path) -> ConversionReport:
    """Take the parts of a DynamiCrafter checkpoint that Divot's training starts from.

    The first convolution keeps its first four input channels, the noisy latents; the other four saw the
    latents of the image to animate, which Divot does not give. A model without learned weights of the image
    attention gets weight 1 there, as it had.

    Args:
        checkpoint: DynamiCrafter's .ckpt (or safetensors) file.
        out: folder to write: `unet/` (our U-Net) and `vit/` (our frame encoder, if the file has CLIP's image
            tower) with config.json and model.safetensors, `vae/` (diffusers' AutoencoderKL), conversion.json.

    Returns:
        What became of every tensor.

    Raises:
        CheckpointError: if the file is unsafe, damaged or does not fit. Nothing is written then.
    """
    out = Path(out)
    refuse_used_folder(out, ("unet", "vae", "vit"))
    file = read_tensors(checkpoint)
    parts = {prefix: _part(file, prefix) for prefix in (UNET, VAE, TOWER)}
    report = ConversionReport(str(checkpoint), str(out))
    about = FileReport(file.path.name)
    report.files.append(about)

    unet_settings, unet_state = _unet(file.path, parts[UNET], about, report)
    vae = _autoencoder(file.path, parts[VAE], about)
    tower = None
    if parts[TOWER]:
        tower = _tower(file.path, parts[TOWER], about)
    else:
        report.notes.append("the file has no CLIP image tower: `divot convert clip` takes CLIP-ViT-H-14's")
    _account_for_rest(file, about)
    about.used = len(file.tensors) - len(about.kept) - len(about.unexpected)
    if unet_settings == preset("paper").detokenizer.unet:
        report.preset = "paper"
    with written_whole(out) as beside:
        beside.mkdir()
        write_part(beside / "unet", "VideoUNet", unet_settings, unet_state)
        vae.save_pretrained(beside / "vae")
        if tower is not None:
            write_part(beside / "vit", "FrameEncoder", *tower)
        report.write(beside)
    return report


def _part(file: TensorFile, prefix: str) -> dict[str, Tensor]:
    part = {k.removeprefix(prefix): v for k, v in file.tensors.items() if k.startswith(prefix)}
    if not part and prefix != TOWER:
        raise CheckpointError(file.path, f"has no {prefix}*", "Give a checkpoint of DynamiCrafter")
    return part


def _unet(
    path: Path, tensors: dict[str, Tensor], about: FileReport, report: ConversionReport
) -> tuple[UNetConfig, dict[str, Tensor]]:
    tensors = {name.replace(OLD_STRIDE, STRIDE): tensor for name, tensor in tensors.items()}
    found = sizes.unet_config(sizes.Shapes(path, tensors), preset("paper").detokenizer.unet)
    settings = dataclasses.replace(found, in_channels=found.out_channels)
    first = "input_blocks.0.0.weight"
    if found.in_channels > found.out_channels:
        tensors[first] = tensors[first][:, : found.out_channels]
        kept = f"input channels 1 to {found.out_channels} of {found.in_channels} kept (the noisy latents)"
        report.notes.append(f"first convolution: {kept}, the image's dropped")
    entries = unet_names(settings)
    alphas = [entry.theirs for entry in entries if entry.theirs.endswith(ALPHA)]
    absent = [name for name in alphas if name not in tensors]
    if absent:
        tensors |= {name: torch.zeros(()) for name in absent}
        report.notes.append(f"{len(absent)} weights of the image attention are not in the file: set to 1")
    state = _fitted(path, VideoUNet, settings, entries, tensors, UNET, about)
    return settings, state


def _autoencoder(path: Path, tensors: dict[str, Tensor], about: FileReport) -> Any:
    base = preset("paper").detokenizer.autoencoder
    settings = sizes.autoencoder_config(sizes.Shapes(path, tensors), base)
    state = _fitted(path, build_autoencoder, settings, autoencoder_names(settings), tensors, VAE, about)
    with torch.device("meta"):
        vae: Any = build_autoencoder(settings)
    vae.load_state_dict({k: v.contiguous().clone() for k, v in state.items()}, assign=True)
    return vae


def _tower(path: Path, tensors: dict[str, Tensor], about: FileReport) -> tuple[ViTConfig, dict[str, Tensor]]:
    settings = sizes.vit_config(sizes.Shapes(path, tensors), True, preset("paper").tokenizer.vit)
    unused = [name for name in UNUSED_TOWER if name in tensors]
    about.kept += [TOWER + name for name in unused]
    used = {name: tensor for name, tensor in tensors.items() if name not in unused}
    entries = under(open_clip_names(settings), "", "backbone")
    state = _fitted(path, FrameEncoder, settings, entries, used, TOWER, about)
    return settings, state


def _fitted(
    path: Path,
    build: Any,
    config: Any,
    entries: list[Entry],
    tensors: dict[str, Tensor],
    prefix: str,
    about: FileReport,
) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build(config).state_dict().items()}
    renamed = to_ours(entries, tensors, expected)
    refuse_unfitting(path, [prefix + name for name in renamed.missing], renamed.misshapen)
    about.unexpected += [prefix + name for name in renamed.unexpected]
    return renamed.tensors


def _account_for_rest(file: TensorFile, about: FileReport) -> None:
    for name in file.tensors:
        if name.startswith((UNET, VAE, TOWER)):
            continue
        known = any(name == part or (part.endswith(".") and name.startswith(part)) for part in OTHER_PARTS)
        (about.kept if known else about.unexpected).append(name)
