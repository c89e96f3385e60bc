"""A reconstruction to files that people look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from divot.config.files import refuse_overwriting, refuse_unwritable
from divot.pipelines.clips import Source
from divot.pipelines.divot import Divot, Reconstruction
from divot.pipelines.sidecar import describe_detokenizer, write_sidecar
from divot.video import CLIP_FRAMES, CLIP_RATE_FPS, SEEN_FRAMES, contact_sheet, side_by_side, write_video

LABELS = ("original", "reconstruction")
# Frames smaller than this are enlarged to be looked at.
_SHOWN_PX = 256
# A sheet of a long video shows its first clips.
_MAX_SHEET_CLIPS = 8


def output_files(out: str | Path) -> dict[str, Path]:
    """What `write_reconstruction` writes beside its record: the video, side by side with the original, a sheet."""
    out = Path(out)
    return {
        "video": out,
        "side_by_side": out.with_name(f"{out.stem}_side_by_side{out.suffix}"),
        "sheet": out.with_name(f"{out.stem}_sheet.png"),
    }


def check_outputs(source: Source, out: str | Path) -> None:
    """Stop before the work begins if one of its files would take the place of the video itself, or has none.

    Raises:
        DataError: if so.
    """
    if not isinstance(source, np.ndarray):
        refuse_overwriting(source, output_files(out).values())
    refuse_unwritable(output_files(out).values())


def write_reconstruction(
    result: Reconstruction, out: str | Path, divot: Divot, source: Source, seed: int, **facts: Any
) -> dict[str, Any]:
    """Write the frames, both videos side by side, a contact sheet, and the record of it all.

    Args:
        result: what `Divot.reconstruct` gave.
        out: `NAME.mp4` (or .gif, .webp); the others are called `NAME_side_by_side.mp4` and `NAME_sheet.png`.
        divot: the model.
        source: the video.
        seed: as it was given.
        facts: what else belongs in the record.

    Returns:
        The record.

    Raises:
        DataError: if one of the files would take the place of the video itself, or cannot be written.
        ValueError: if the suffix of `out` is another.
    """
    check_outputs(source, out)
    files = output_files(out)
    write_video(files["video"], result.frames, CLIP_RATE_FPS)
    write_video(files["side_by_side"], joined(result), CLIP_RATE_FPS)
    write_sheet(result, files["sheet"])
    return write_sidecar(
        out,
        "reconstruct",
        divot,
        detokenizer=describe_detokenizer(divot, result.detokenizer, "reconstruct", result.sampler),
        seed=seed,
        input="frames" if isinstance(source, np.ndarray) else str(source),
        files={kind: str(path) for kind, path in files.items()},
        **measures(result),
        **facts,
    )


def measures(result: Reconstruction) -> dict[str, Any]:
    """The numbers of a reconstruction."""
    return {
        "clips": len(result.clips),
        "frames": len(result.frames),
        "rate_fps": CLIP_RATE_FPS,
        "tokens": list(result.tokens.shape),
        "refinements": result.refinements,
        "psnr_db": round(result.psnr_db, 3),
        "ssim": round(result.ssim, 4),
        "seconds": round(result.seconds, 2),
    }


def joined(result: Reconstruction) -> np.ndarray:
    """Original and reconstruction in one video, enlarged if they are small."""
    return side_by_side(result.original, result.frames, labels=LABELS, scale=shown_scale(result.frames))


def write_sheet(result: Reconstruction, path: Path) -> None:
    """Write the frames that the tokenizer sees, the original over its reconstruction, clip by clip."""
    rows, labels = [], []
    for clip in result.clips[:_MAX_SHEET_CLIPS]:
        first = clip.index * CLIP_FRAMES
        moments = [first + i for i in SEEN_FRAMES if first + i < len(result.frames)]
        rows += [result.original[moments], result.frames[moments]]
        labels += [f"{name}, {clip.start_s:g} s" for name in LABELS]
    contact_sheet(rows, path, labels=labels, scale=max(1, shown_scale(result.frames) // 2))


def shown_scale(frames: np.ndarray) -> int:
    """Whole factor that makes small frames large enough to look at."""
    return max(1, _SHOWN_PX // frames.shape[1])
