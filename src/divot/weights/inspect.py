"""What a file or folder of weights is: `inspect_path` looks, without building a model or running code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from divot.config.errors import CheckpointError, RecipeError
from divot.config.merge import from_mapping
from divot.config.models import DetokenizerConfig, LanguageModelConfig, TokenizerConfig
from divot.config.presets import PRESET_NAMES, preset
from divot.weights.tensor_files import PICKLES, SAFETENSORS, read_tensors

# Safetensors' names of types; what is not here is shown as bytes.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "BOOL": torch.bool,
}
LANGUAGE_MODEL_PLACES = ("backbone", "adapter")
"""Folders with weights in that of a language model."""
RELEASED = ("Divot_*.bin", "Divot_*/*.bin", "Divot_*/agent/*.bin")
"""Files of the released checkpoints, in their folder or in its inner folder."""
SIGNS = (
    ("official tokenizer", "temporal_encoder.input_proj.weight"),
    ("official de-tokenizer", "diffusion_model.input_blocks.0.0.weight"),
    ("official agent", "output_resampler.proj.0.weight"),
    ("DynamiCrafter checkpoint", "model.diffusion_model.input_blocks.0.0.weight"),
    ("divot tokenizer", "spatiotemporal.spatial_positions"),
    ("divot de-tokenizer", "unet.conv_in.weight"),
    ("divot U-Net", "time_embedding.0.weight"),
    ("divot language model", "token_mean"),
    ("divot frame encoder", "backbone.embeddings.class_embedding"),
    ("CLIP, open_clip naming", "visual.conv1.weight"),
    ("CLIP, transformers naming", "vision_model.embeddings.class_embedding"),
    ("CLIP image tower, transformers naming", "embeddings.class_embedding"),
    ("autoencoder, diffusers naming", "encoder.down_blocks.0.resnets.0.conv1.weight"),
    ("causal language model, transformers naming", "model.embed_tokens.weight"),
)
"""Kind of a file, and a tensor that only it has."""
UNSIZED = ("official agent", "causal language model", "LoRA")
"""Kinds of which no preset has the sizes: they say nothing about the preset of the whole."""
LORA_SIGN = ".lora_A."
"""In some name of each LoRA."""
COMPONENTS: dict[str, type] = {
    "VideoTokenizer": TokenizerConfig,
    "VideoDetokenizer": DetokenizerConfig,
    "DivotLM": LanguageModelConfig,
}


@dataclass
class Group:
    """The tensors whose names begin alike."""

    tensors: int = 0
    parameters: int = 0
    bytes: int = 0
    shapes: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Part:
    """One weight file."""

    name: str
    kind: str
    tensors: int
    parameters: int
    bytes: int
    dtypes: list[str]
    groups: dict[str, Group]
    preset: str | None = None
    """Preset whose sizes it has, if any."""


@dataclass
class Inspection:
    """What was found."""

    path: str
    kind: str
    parts: list[Part] = field(default_factory=list)
    preset: str | None = None
    """Preset whose sizes all parts have, if any."""
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Values in all parts."""
        return sum(part.parameters for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The findings in words."""
        lines = [f"{self.path}: {self.kind}" + (f", sizes of preset {self.preset}" if self.preset else "")]
        for part in self.parts:
            sizes = (
                f"{part.tensors} tensors, {part.parameters / 1e6:,.1f} M values, {part.bytes / 1e6:,.1f} MB"
            )
            lines.append(f"  {part.name}: {part.kind}; {sizes}, {', '.join(part.dtypes)}")
            for name, group in part.groups.items():
                shown = name or "(top level)"
                lines.append(f"    {shown:<24} {group.tensors:>5} tensors {group.parameters / 1e6:>10,.2f} M")
        return lines + [f"  {note}" for note in self.notes]


def inspect_path(path: str | Path) -> Inspection:
    """Tell what a weight file, a model folder or another project's folder is.

    Raises:
        CheckpointError: if it is missing, damaged, unsafe, or holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        found = _inspect_folder(path)
    elif path.is_file():
        found = Inspection(str(path), "", [_part(path)])
        found.kind = found.parts[0].kind
    else:
        raise CheckpointError(path, "does not exist", "Give a weight file or a folder with one")
    presets = {part.preset for part in found.parts if not part.kind.startswith(UNSIZED)}
    if len(presets) == 1:
        found.preset = presets.pop()
    return found


def _inspect_folder(folder: Path) -> Inspection:
    if (folder / "model.json").is_file():
        paths = _weights(folder, "*/model.safetensors", *(f"*/{place}/*" for place in LANGUAGE_MODEL_PLACES))
        return Inspection(str(folder), "divot model", _parts(folder, paths), notes=_model_notes(folder))
    if (folder / "backbone").is_dir():
        paths = _weights(folder, "model.safetensors", *(f"{place}/*" for place in LANGUAGE_MODEL_PLACES))
        return Inspection(str(folder), "divot language model", _parts(folder, paths))
    if any(path for pattern in RELEASED for path in folder.glob(pattern)):
        paths = _weights(folder, *RELEASED, "Divot_*/llm/*")
        return Inspection(str(folder), "official release", _parts(folder, paths))
    if (folder / "conversion.json").is_file():
        parts = [_part(path) for path in _weights(folder, f"*/*{SAFETENSORS}")]
        kind = "parts of DynamiCrafter" if (folder / "unet").is_dir() else "image tower of CLIP"
        return Inspection(str(folder), kind, parts)
    parts = [_part(path) for path in _weights(folder, "*")]
    kinds = {part.kind for part in parts}
    return Inspection(str(folder), kinds.pop() if len(kinds) == 1 else "folder of weights", parts)


def _weights(folder: Path, *patterns: str) -> list[Path]:
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    found = [path for path in paths if path.suffix in (*PICKLES, SAFETENSORS)]
    if not found:
        raise CheckpointError(folder, "holds no weights", "Give a weight file or a folder with one")
    return found


def _parts(folder: Path, paths: list[Path]) -> list[Part]:
    """Parts of a model in several folders; those of a language model are named with theirs."""
    parts = []
    for path in paths:
        part, place = _part(path), path.parent
        if place.name in (*LANGUAGE_MODEL_PLACES, "llm", "agent"):
            outer = "" if place.parent == folder else f"{place.parent.name}/"
            is_alone = path.name == "model.safetensors"
            part.name = f"{outer}{place.name}" + ("" if is_alone else f"/{path.name}")
        parts.append(part)
    return parts


def _model_notes(folder: Path) -> list[str]:
    from divot.weights.store import read_contents

    contents = read_contents(folder)
    notes = [f"task {task}: de-tokenizer {name}" for task, name in contents.tasks.items()]
    notes += [f"language model {name}: folder {place}" for name, place in contents.language_models.items()]
    notes += [] if contents.critic is None else [f"critic: folder {contents.critic}"]
    return notes


def _part(path: Path) -> Part:
    tensors = _shapes(path)
    kind = next((kind for kind, name in SIGNS if name in tensors), "tensors")
    if any(LORA_SIGN in name for name in tensors):
        kind = "LoRA, peft naming" if kind == "tensors" else f"{kind} with a LoRA"
    groups: dict[str, Group] = {}
    for name, tensor in tensors.items():
        group = groups.setdefault(name.split(".", 1)[0] if "." in name else "", Group())
        group.tensors += 1
        group.parameters += tensor.numel()
        group.bytes += tensor.nbytes
        group.shapes[name] = list(tensor.shape)
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    is_own_name = path.name in ("model.safetensors", "diffusion_pytorch_model.safetensors")
    return Part(
        name=path.parent.name if is_own_name else path.name,
        kind=kind,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        bytes=sum(tensor.nbytes for tensor in tensors.values()),
        dtypes=dtypes,
        groups=dict(sorted(groups.items())),
        preset=_preset(path, kind, tensors),
    )


def _shapes(path: Path) -> dict[str, Tensor]:
    """Tensors without their values, where the format allows."""
    if path.suffix in PICKLES:
        return read_tensors(path).tensors
    if path.suffix != SAFETENSORS:
        raise CheckpointError(
            path, "is no weight file", f"Weights end in {', '.join((*PICKLES, SAFETENSORS))}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: torch.empty(x.get_shape(), dtype=DTYPES.get(x.get_dtype(), torch.uint8), device="meta")
                for name, x in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"is damaged ({error})", "Copy the file again") from error


def _preset(path: Path, kind: str, tensors: Mapping[str, Tensor]) -> str | None:
    """The preset whose sizes the part has: by its config.json, or by the shapes of the official tensors."""
    config: Any = None
    try:
        if kind.startswith("divot"):
            config = _own_config(path)
        elif kind.startswith("official") and not kind.startswith(UNSIZED):
            config = _official_config(path, kind, tensors)
    except (CheckpointError, RecipeError):
        # Of sizes that cannot be told: no preset's.
        return None
    for name in PRESET_NAMES:
        sizes = preset(name)
        if isinstance(config, TokenizerConfig) and config == sizes.tokenizer:
            return name
        if isinstance(config, DetokenizerConfig):
            # How it is sampled is no matter of size, nor is the factor that its autoencoder's training found.
            factor = config.autoencoder.scaling_factor
            wanted = dataclasses.replace(
                sizes.detokenizer,
                autoencoder=dataclasses.replace(sizes.detokenizer.autoencoder, scaling_factor=factor),
                sampler=config.sampler,
                official_quirks=config.official_quirks,
            )
            if config == wanted:
                return name
        if isinstance(config, LanguageModelConfig) and _sizes(config) == _sizes(sizes.lm):
            return name
    return None


def _sizes(config: LanguageModelConfig) -> tuple[Any, ...]:
    # The vocabulary is that of the tokenizer, which may be of any size.
    names = {k for k in config.backbone if k.endswith(("_size", "_layers", "_heads"))} - {"vocab_size"}
    backbone = {name: config.backbone[name] for name in names}
    return (config.token_width, config.num_tokens, config.head, backbone)


def _own_config(path: Path) -> Any:
    try:
        settings = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        kind = COMPONENTS[settings.pop("component")]
        if kind is LanguageModelConfig:
            backbone = path.parent / "backbone" / "config.json"
            settings["backbone"] = json.loads(backbone.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return from_mapping(kind, settings, path.parent)


def _official_config(path: Path, kind: str, tensors: Mapping[str, Tensor]) -> Any:
    from divot.weights import official_sizes as sizes
    from divot.weights.official_names import TOKENIZER_VIT

    shapes, paper = sizes.Shapes(path, tensors), preset("paper")
    if kind == "official de-tokenizer":
        return sizes.detokenizer_config(shapes, paper.detokenizer.num_tokens, paper.detokenizer)
    vit = paper.tokenizer.vit
    if f"{TOKENIZER_VIT}.conv1.weight" in tensors:
        vit = sizes.vit_config(shapes.under(TOKENIZER_VIT), True, vit)
    return sizes.tokenizer_config(shapes, vit, paper.tokenizer)
