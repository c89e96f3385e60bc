"""Which shape a sprite has, and how it is turned: its frames brought to one size, against pictures of all shapes.

Every frame's sprite is cut out about its centre and scaled to one area. All shapes at all angles, scaled alike,
stand ready; how well each of them fits each frame is one product of two matrices.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from divot.world.reading_motion import EARLY, LATE, WHOLE, ramp
from divot.world.shapes import shape_mask
from divot.world.vocabulary import ROUND_SHAPES, SHAPES

STEP_DEG = 6
NUM_ANGLES = 360 // STEP_DEG
_AREA_PX = 200.0
_SIDE_PX = 28
# Turns of a spin in degrees; of the whole clip and of half of it.
_TURNS = {WHOLE: range(180, 331, 15), EARLY: range(120, 166, 15), LATE: range(120, 166, 15)}
# How coarse a sprite's own pixels are in pixels of the cut.
_COARSENESS = (0.75, 1.0, 1.35, 1.8, 2.4, 3.2, 4.3, 5.7)
# A clip may be softer than a drawing by these factors; the one that fits best counts.
_SOFTNESS = (1.0, 1.8, 3.2)
# Masks that the pictures are made from are this many half pixels wide: four times the size of the cut.
_MASK_HALF_PX = 128


def fits(
    cover: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, sizes: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """How well each shape at each angle fits each frame.

    Args:
        cover: float32 [T, H, W], how much of each pixel the sprite covers.
        x_px, y_px: float [T], its centre.
        sizes: float [T], square root of its area.
        weight: float [T], factor to each frame's fits.

    Returns:
        float64 [B, T, num_shapes, NUM_ANGLES], at most 1 for a perfect fit of full weight; B softnesses.
    """
    scales = sizes / math.sqrt(_AREA_PX)
    cuts = np.zeros((len(cover), _SIDE_PX * _SIDE_PX), dtype=np.float32)
    for frame in np.nonzero(weight)[0]:
        cut = _cut(cover[frame], x_px[frame] - 0.5, y_px[frame] - 0.5, scales[frame]).ravel()
        cuts[frame] = cut * (weight[frame] / max(float(np.linalg.norm(cut)), 1e-6))
    result = np.zeros((len(_SOFTNESS), len(cover), len(SHAPES), NUM_ANGLES))
    for number, softness in enumerate(_SOFTNESS):
        off = np.abs(np.log(np.outer(np.maximum(scales, 1e-6), _COARSENESS) / softness))
        levels = np.where(weight > 0, off.argmin(axis=1), -1)
        for level in set(levels.tolist()) - {-1}:
            chosen = levels == level
            result[number, chosen] = (cuts[chosen] @ _pictures(level).T).reshape(-1, len(SHAPES), NUM_ANGLES)
    return result


def best_shape(fits_BTSA: np.ndarray, slot: str) -> tuple[str, float, float]:
    """The shape that fits all frames best, the sum of its fits, and its turn in degrees.

    Args:
        fits_BTSA: from `fits`.
        slot: when the sprite spins; empty for one that does not.
    """
    if not slot:
        totals = fits_BTSA[:, :, :, 0].sum(axis=1).max(axis=0)
        shape = int(totals.argmax())
        return SHAPES[shape], float(totals[shape]), 0.0
    times = np.arange(fits_BTSA.shape[1])
    can_turn = [number for number, shape in enumerate(SHAPES) if shape not in ROUND_SHAPES]
    best = ("", -math.inf, 0.0)
    for size in _TURNS[slot]:
        for turn in (size, -size):
            angles = np.floor(turn * ramp(slot) / STEP_DEG + 0.5).astype(int) % NUM_ANGLES
            # Frames and angles in step: their shared axis comes first.
            totals = fits_BTSA[:, times, :, angles].sum(axis=0).max(axis=0)[can_turn]
            place = int(totals.argmax())
            if totals[place] > best[1]:
                best = (SHAPES[can_turn[place]], float(totals[place]), float(turn))
    return best


@cache
def _pictures(level: int) -> np.ndarray:
    """All shapes at all angles as a frame of this coarseness shows them, float32 [shapes * angles, pixels]."""
    rows = []
    for shape in SHAPES:
        mask = shape_mask(shape, _MASK_HALF_PX, 0, 0, 0).astype(np.float64) / 255.0
        mask = _blurred(mask, _COARSENESS[level] * math.sqrt(mask.sum() / _AREA_PX))
        total = mask.sum()
        places = np.arange(len(mask))
        x_px, y_px = (mask.sum(axis=0) @ places) / total, (mask.sum(axis=1) @ places) / total
        scale = math.sqrt(total / _AREA_PX)
        for angle in range(0, 360, STEP_DEG):
            picture = _cut(mask, x_px, y_px, scale, math.radians(angle)).ravel()
            rows.append(picture / np.linalg.norm(picture))
    return np.array(rows, dtype=np.float32)


def _blurred(mask: np.ndarray, width_px: float) -> np.ndarray:
    """The mask, with a wider rim, under a square window about as wide as a pixel, both ways."""
    reach = math.ceil(width_px / 2)
    mask = np.pad(mask, 2 * reach)
    window = np.clip(width_px / 2 + 0.5 - np.abs(np.arange(-reach, reach + 1)), 0.0, 1.0)
    window /= window.sum()
    for axis in (0, 1):
        mask = np.apply_along_axis(np.convolve, axis, mask, window, "same")
    return mask


def _cut(picture: np.ndarray, x_px: float, y_px: float, scale: float, turned_rad: float = 0.0) -> np.ndarray:
    """A square about a centre, float [side, side], read between the pixels; 0 outside of the picture."""
    ticks = (np.arange(_SIDE_PX) + 0.5 - _SIDE_PX / 2) * scale
    cos, sin = math.cos(turned_rad), math.sin(turned_rad)
    x = x_px + cos * ticks[None, :] + sin * ticks[:, None]
    y = y_px + cos * ticks[:, None] - sin * ticks[None, :]
    padded = np.pad(picture, 1)
    x, y = np.clip(x + 1, 0, padded.shape[1] - 1.001), np.clip(y + 1, 0, padded.shape[0] - 1.001)
    column, row = x.astype(int), y.astype(int)
    right, down = x - column, y - row
    above = padded[row, column] * (1 - right) + padded[row, column + 1] * right
    below = padded[row + 1, column] * (1 - right) + padded[row + 1, column + 1] * right
    return np.asarray(above * (1 - down) + below * down)
