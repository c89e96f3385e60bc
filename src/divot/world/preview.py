"""A folder of pictures to look at: one contact sheet, one GIF a clip, and the captions."""

from __future__ import annotations

import json
import os
import tempfile
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from divot.world.captioning import caption
from divot.world.clips import WorldClip, clip
from divot.world.distribution import clip_generator
from divot.world.vocabulary import RATE_FPS, REFERENCE_SIZE_PX

# Every other frame and the last one: enough to follow a motion on paper.
_SHEET_FRAMES = (0, 2, 4, 6, 8, 10, 12, 15)
_SHEET = "sheet.png"
_GAP_PX = 3
_LINE_PX = 13
_CHARACTER_PX = 6


def write_preview(
    folder: str | Path, seed: int = 0, count: int = 16, split: str = "train", size: int = REFERENCE_SIZE_PX
) -> Path:
    """Write the first clips of a seed as pictures.

    Args:
        folder: made if it is not there; gets `sheet.png`, `clip_000.gif` and so on, and `captions.jsonl`
            (index, full and short caption, scene).
        seed: of the set, 0 or more.
        count: number of clips, 1 or more.
        split: `train` or `test`.
        size: height and width of a frame in pixels.

    Returns:
        The path of the contact sheet.

    Raises:
        ValueError: if `count` is below 1, or as `clip` does.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, wanted 1 or more")
    clips = [clip(seed, index, split, size) for index in range(count)]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Each file is put in its place when it is whole.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".preview") as scratch:
        _write_preview(Path(scratch), clips, seed, split)
        for path in Path(scratch).iterdir():
            os.replace(path, folder / path.name)
    return folder / _SHEET


def _write_preview(folder: Path, clips: list[WorldClip], seed: int, split: str) -> None:
    lines = []
    for index, shown in enumerate(clips):
        write_gif(folder / f"clip_{index:03d}.gif", shown.frames)
        short = caption(shown.scene, clip_generator(seed, index, split, part=1), "short")
        record = {"index": index, "full": shown.caption, "short": short, "scene": shown.scene.to_dict()}
        lines.append(json.dumps(record))
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    contact_sheet(clips).save(folder / _SHEET)


def contact_sheet(clips: list[WorldClip]) -> Image.Image:
    """One row a clip: eight of its frames in order, its caption below."""
    size = clips[0].frames.shape[1]
    width = len(_SHEET_FRAMES) * (size + _GAP_PX) + _GAP_PX
    wrapped = [textwrap.wrap(shown.caption, max(10, width // _CHARACTER_PX)) for shown in clips]
    row_px = size + 2 * _GAP_PX + max(len(lines) for lines in wrapped) * _LINE_PX
    sheet = Image.new("RGB", (width, row_px * len(clips)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for row, (shown, lines) in enumerate(zip(clips, wrapped, strict=True)):
        top = row * row_px + _GAP_PX
        for column, frame in enumerate(_SHEET_FRAMES):
            sheet.paste(Image.fromarray(shown.frames[frame]), (_GAP_PX + column * (size + _GAP_PX), top))
        for number, line in enumerate(lines):
            pen.text((_GAP_PX, top + size + number * _LINE_PX), line, fill=(20, 20, 20))
    return sheet


def write_gif(path: str | Path, frames: np.ndarray, zoom: int = 2) -> None:
    """Write frames, uint8 [T, H, W, 3], as a GIF that plays for ever, each pixel `zoom` pixels wide."""
    height, width = frames.shape[1:3]
    pictures = [
        Image.fromarray(frame).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
        for frame in frames
    ]
    # GIF counts in hundredths of a second: 8 fps is 12.5 of them and comes out as 12.
    duration_ms = 1000 // RATE_FPS
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0)
