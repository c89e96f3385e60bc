"""Shapes as anti-aliased masks: an inside test in the shape's own plane, sampled several times a pixel.

No drawing library takes part, so that the pixels do not change with a library's version.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from divot.world.vocabulary import SHAPES

# Places within a pixel that a centre is rounded to: a quarter of a pixel is too small a step to see.
SUBPIXELS = 4
# Samples along each side of a pixel.
_SAMPLES = 6
# Keeps samples off a shape's edge, where the last bit of a float would decide.
_NUDGE = 1e-6
_COS_36, _SIN_36 = math.cos(math.radians(36.0)), math.sin(math.radians(36.0))

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


@lru_cache(maxsize=32768)
def shape_mask(shape: str, half_px: int, angle_deg: int, sub_x: int, sub_y: int) -> np.ndarray:
    """How much of each pixel a shape covers.

    Args:
        shape: one of `SHAPES`.
        half_px: size of the shape in half pixels.
        angle_deg: turn, clockwise; use `canonical_angle` first, so that equal looks share one mask.
        sub_x, sub_y: the centre's place within its pixel, in steps of 1 / `SUBPIXELS`.

    Returns:
        uint8 [2R, 2R], read-only, 255 for a pixel wholly inside; the centre's pixel has row and column R.

    Raises:
        ValueError: if the shape is unknown.
    """
    if shape not in _INSIDE:
        raise ValueError(f"shape: got {shape!r}, wanted one of {', '.join(SHAPES)}")
    radius = half_px / 4.0
    reach = mask_reach(shape, half_px)
    ticks = (np.arange(2 * reach * _SAMPLES) + 0.5) / _SAMPLES - reach
    x = (ticks - sub_x / SUBPIXELS)[None, :] / radius + _NUDGE
    y = (ticks - sub_y / SUBPIXELS)[:, None] / radius + _NUDGE
    if angle_deg:
        cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
        x, y = cos * x + sin * y, cos * y - sin * x
    covered = np.broadcast_to(_INSIDE[shape](x, y), (ticks.size, ticks.size))
    counts = covered.reshape(2 * reach, _SAMPLES, 2 * reach, _SAMPLES).sum(axis=(1, 3))
    full = _SAMPLES * _SAMPLES
    mask = ((counts * 255 + full // 2) // full).astype(np.uint8)
    mask.flags.writeable = False
    return mask


def mask_reach(shape: str, half_px: int) -> int:
    """R, half the side of the mask of a shape of this size (in half pixels)."""
    return math.ceil(half_px / 4.0 * _REACH[shape]) + 1


def canonical_angle(shape: str, angle_deg: float) -> int:
    """The angle rounded to whole steps of 3 degrees, modulo the turn that brings the shape back to itself."""
    # floor(x + 1/2) and not round(): halves always go one way.
    return 3 * math.floor(angle_deg / 3.0 + 0.5) % _TURN_DEG[shape]


def _circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x * x + y * y <= 1.0


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) <= 0.9


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Equilateral, its centre of mass in the middle, so that it turns on the spot.
    return (y <= 0.55) & (np.abs(x) * math.sqrt(3.0) - y <= 1.1)


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Fold the plane onto half of the upper arm, then ask on which side of that arm's edge a sample lies.
    x, y = np.abs(x), -y
    for fold_x in (_COS_36, -_COS_36):
        beyond = 2.0 * np.maximum(fold_x * x - _SIN_36 * y, 0.0)
        x, y = x - beyond * fold_x, y + beyond * _SIN_36
    x = np.abs(x)
    tip, inner = 1.15, 0.52
    return x * (tip - inner * _COS_36) + y * (inner * _SIN_36) <= tip * inner * _SIN_36


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    lobes = (x - 0.48) ** 2 + (y + 0.4) ** 2 <= 0.52**2
    # Below the lobes' middle two straight sides run down to the tip.
    return lobes | ((y >= -0.4) & (x * 1.12 + y <= 0.95) & (x <= 1.0))


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(x) / 0.66 + np.abs(y) <= 1.1


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return (np.minimum(x, y) <= 0.32) & (np.maximum(x, y) <= 1.0)


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    square = x * x + y * y
    return (square <= 1.0) & (square >= 0.55**2)


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = x + 0.15
    return (x * x + y * y <= 1.0) & ((x - 0.55) ** 2 + y * y >= 0.8**2)


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.abs(x) <= 1.0) & (np.abs(y) <= 0.36)


_INSIDE: dict[str, Inside] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "diamond": _diamond,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
    "bar": _bar,
}
_TURN_DEG = {
    "circle": 3,
    "square": 90,
    "triangle": 120,
    "star": 72,
    "heart": 360,
    "diamond": 180,
    "cross": 90,
    "ring": 3,
    "moon": 360,
    "bar": 180,
}
# Distance of a shape's furthest point from its centre, in halves of its size, rounded up.
_REACH = {
    "circle": 1.0,
    "square": 1.28,
    "triangle": 1.11,
    "star": 1.16,
    "heart": 1.15,
    "diamond": 1.11,
    "cross": 1.06,
    "ring": 1.0,
    "moon": 1.16,
    "bar": 1.07,
}
