"""Where the released files lie: in a local folder, or on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from divot.config.errors import CheckpointError
from divot.weights.store import GENERATION, RECONSTRUCTION

HUB_ID = "TencentARC/Divot"
CLIP_HUB_ID = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
FOLDER = "Divot_tokenizer_detokenizer"
TOKENIZER_FILE = "Divot_tokenizer.bin"
DETOKENIZER_FILES = {
    RECONSTRUCTION: "Divot_detokenizer_stage1.bin",
    GENERATION: "Divot_detokenizer_stage2.bin",
}
"""Stage 1 is trained for reconstruction, stage 2 adapted to generation."""
CLIP_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""An image tower beside the released files, open_clip's naming before transformers'."""


@dataclass(frozen=True)
class ReleasedFiles:
    """The files found."""

    folder: Path
    tokenizer: Path
    detokenizers: dict[str, Path]
    """Name of the de-tokenizer -> file; at least one."""


def find_released(source: str | Path) -> ReleasedFiles:
    """The released files in a folder (the released layout, or its inner folder), or fetched from the hub.

    Raises:
        CheckpointError: if the tokenizer or every de-tokenizer is missing.
    """
    root = Path(source)
    if not root.is_dir():
        root = fetched(str(source), [f"{FOLDER}/*"])
    folder = root / FOLDER if (root / FOLDER).is_dir() else root
    tokenizer = folder / TOKENIZER_FILE
    found = {name: folder / file for name, file in DETOKENIZER_FILES.items() if (folder / file).is_file()}
    if not tokenizer.is_file() or not found:
        absent = TOKENIZER_FILE if not tokenizer.is_file() else " or ".join(DETOKENIZER_FILES.values())
        raise CheckpointError(source, f"has no {absent}", f"Give the released folder (it holds {FOLDER}/)")
    return ReleasedFiles(folder, tokenizer, found)


def find_clip(folder: Path, clip: str | Path | None = None) -> Path:
    """CLIP's image tower: the path given, else beside the released files, else from the hub.

    Args:
        folder: where the released files lie.
        clip: a weight file, a folder with one, or a hub id.

    Raises:
        CheckpointError: if there is none.
    """
    if clip is not None:
        return clip_file(clip)
    near = [folder, folder.parent]
    inside = [path for root in near for path in sorted(root.iterdir()) if "CLIP" in path.name]
    for place in (*near, *inside):
        for name in CLIP_FILES:
            if (place / name).is_file():
                return place / name
    return clip_file(CLIP_HUB_ID)


def clip_file(clip: str | Path) -> Path:
    """CLIP's weights: a weight file, or that of a folder or hub id; from the hub only this one file is fetched.

    Raises:
        CheckpointError: if there is none.
    """
    if Path(clip).is_file():
        return Path(clip)
    for name in CLIP_FILES:
        path = (Path(clip) if Path(clip).is_dir() else fetched(str(clip), [name])) / name
        if path.is_file():
            return path
    raise CheckpointError(clip, f"has none of {', '.join(CLIP_FILES)}", "Give CLIP-ViT-H-14's weights")


def fetched(hub_id: str, patterns: list[str]) -> Path:
    """Those files of a hub repository, in the hub's cache.

    Raises:
        CheckpointError: if they cannot be had.
    """
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=patterns))
    except Exception as error:
        # The hub raises many kinds (offline, not found, gated, a bad id); for the user they are one.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            hub_id,
            f"is no folder here and could not be fetched from the hub ({reason})",
            "Give a local folder, or check the id and the network",
        ) from error
