"""Frames laid beside each other, to be compared by eye: contact sheets and side-by-side videos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from divot.config.files import written_whole
from divot.video.writer import enlarged

GAP_PX = 4
_LABEL_PX = 14
_WHITE = 255
# Text over narrower pictures goes on up to here before it is broken.
_LONG_LINE_PX = 1000


def contact_sheet(
    rows: np.ndarray | Sequence[np.ndarray],
    path: str | Path,
    *,
    labels: Sequence[str] | None = None,
    scale: int = 1,
) -> None:
    """Write rows of frames as one png.

    Args:
        rows: one row, uint8 [T, H, W, 3], or several; they may differ in length and size.
        path: where to, a name that ends in `.png`.
        labels: a line of text over each row.
        scale: whole factor by which frames are enlarged.

    Raises:
        ValueError: if there is no row, a row has another shape, or the labels are not one a row.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path: got suffix {path.suffix!r} in {path}, wanted .png")
    rows = [rows] if isinstance(rows, np.ndarray) else list(rows)
    if not rows:
        raise ValueError("rows: got none, wanted one or more")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"labels: got {len(labels)}, wanted {len(rows)}, one a row")
    strips = []
    for number, row in enumerate(rows):
        strip = _joined([frame[None] for frame in enlarged(row, scale)])
        strips.append(_labelled(strip, labels[number])[0] if labels is not None else strip[0])
    width = max(strip.shape[1] for strip in strips)
    height = sum(strip.shape[0] for strip in strips) + GAP_PX * (len(strips) - 1)
    sheet = np.full((height, width, 3), _WHITE, np.uint8)
    top = 0
    for strip in strips:
        sheet[top : top + strip.shape[0], : strip.shape[1]] = strip
        top += strip.shape[0] + GAP_PX
    with written_whole(path) as beside:
        Image.fromarray(sheet).save(beside)


def side_by_side(
    left: np.ndarray, right: np.ndarray, *, labels: tuple[str, str] | None = None, scale: int = 1
) -> np.ndarray:
    """Join two videos into one, a small gap between them.

    Args:
        left: uint8 [T, H, W, 3].
        right: uint8 [T, H', W', 3]; where the heights differ the lower one is filled up with white.
        labels: a line of text over each.
        scale: whole factor by which both are enlarged.

    Returns:
        uint8 [T, H'', W'', 3].

    Raises:
        ValueError: if the shapes are others or the numbers of frames differ.
    """
    videos = [enlarged(left, scale), enlarged(right, scale)]
    if len(left) != len(right):
        raise ValueError(f"right: got {len(right)} frames, wanted {len(left)} as in left")
    if labels is not None:
        videos = [_labelled(video, text) for video, text in zip(videos, labels, strict=True)]
    return _joined(videos)


def captioned(videos: Sequence[np.ndarray], texts: Sequence[str], *, scale: int = 1) -> list[np.ndarray]:
    """Each video over its text, which is broken into lines; all get as much room as the longest text needs.

    Args:
        videos: uint8 [T, H, W, 3] each, all of one H and W.
        texts: one a video.
        scale: whole factor by which the pictures are enlarged.

    Returns:
        uint8 [T, H', W', 3] each; H' and W' are even.
    """
    pictures = [enlarged(video, scale) for video in videos]
    width = pictures[0].shape[2] + pictures[0].shape[2] % 2
    broken = [_lines(text, width) for text in texts]
    height = pictures[0].shape[1] + max(map(len, broken)) * (_LABEL_PX + GAP_PX) + GAP_PX
    height += height % 2
    out = []
    for picture, lines in zip(pictures, broken, strict=True):
        canvas = Image.new("RGB", (width, height), "white")
        _write_lines(canvas, lines, 2, picture.shape[1] + GAP_PX)
        frames = np.repeat(np.asarray(canvas)[None], len(picture), axis=0)
        frames[:, : picture.shape[1], : picture.shape[2]] = picture
        out.append(frames)
    return out


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu, where the machine has it: Pillow's own font knows no letters beyond ASCII."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", _LABEL_PX)
    except OSError:
        return ImageFont.load_default(_LABEL_PX)


def _lines(text: str, width_px: int) -> list[str]:
    font = _font()
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px - GAP_PX:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write_lines(canvas: Image.Image, lines: Sequence[str], left_px: int, top_px: int) -> None:
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((left_px, top_px + number * (_LABEL_PX + GAP_PX)), line, fill="black", font=_font())


def _joined(videos: Sequence[np.ndarray]) -> np.ndarray:
    num_frames, height = len(videos[0]), max(video.shape[1] for video in videos)
    width = sum(video.shape[2] for video in videos) + GAP_PX * (len(videos) - 1)
    out = np.full((num_frames, height, width, 3), _WHITE, np.uint8)
    left = 0
    for video in videos:
        out[:, : video.shape[1], left : left + video.shape[2]] = video
        left += video.shape[2] + GAP_PX
    return out


def _labelled(video: np.ndarray, text: str) -> np.ndarray:
    """The video, uint8 [T, H, W, 3], under its text; widened where a line of the text is longer."""
    lines = _lines(text, max(video.shape[2], _LONG_LINE_PX))
    width = max([video.shape[2], *(int(_font().getlength(line)) + 2 for line in lines)])
    band = Image.new("RGB", (width, max(1, len(lines)) * (_LABEL_PX + GAP_PX)), "white")
    _write_lines(band, lines, 1, 0)
    out = np.full((len(video), band.height + video.shape[1], width, 3), _WHITE, np.uint8)
    out[:, : band.height] = np.asarray(band)
    out[:, band.height :, : video.shape[2]] = video
    return out
