"""Background -> pixels: plain, gradient, or a texture of moderate contrast."""

from __future__ import annotations

import math

import numpy as np

from divot.world.scene import Background
from divot.world.vocabulary import BACKGROUND_COLOURS, REFERENCE_SIZE_PX

_NUM_WAVES = 6


def render_background(background: Background, size: int) -> np.ndarray:
    """The picture behind the sprites, uint8 [size, size, 3]."""
    near = np.array(BACKGROUND_COLOURS[background.colour], dtype=np.float64) + background.shade
    if background.kind == "plain":
        return np.broadcast_to(_to_levels(near), (size, size, 3)).copy()
    # Pixel centres in the reference frame's pixels, from the frame's middle.
    centres = ((np.arange(size) + 0.5) / size - 0.5) * REFERENCE_SIZE_PX
    if background.kind == "gradient":
        far = np.array(BACKGROUND_COLOURS[background.to_colour], dtype=np.float64) + background.shade
        angle = math.radians(background.angle_deg)
        along = centres[None, :] * math.cos(angle) + centres[:, None] * math.sin(angle)
        share = along / (along.max() - along.min()) + 0.5
        return _to_levels(near + share[:, :, None] * (far - near))
    wave = _texture(background, centres)
    return _to_levels(near + wave[:, :, None] * background.contrast)


def _to_levels(values: np.ndarray) -> np.ndarray:
    # The nudge sends exact halves up on every machine, whatever the last bit of the sum was.
    return np.floor(np.clip(values, 0.0, 255.0) + (0.5 + 1e-6)).astype(np.uint8)


def _texture(background: Background, centres: np.ndarray) -> np.ndarray:
    """The texture's wave in [-1, 1], float64 [H, W]."""
    rng = np.random.default_rng(background.texture_seed)
    x, y = centres[None, :], centres[:, None]
    if background.texture == "clouds":
        return _clouds(background, centres, rng)
    angle = math.radians(background.angle_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    period = background.period_px
    along = (x * cos + y * sin) / period + rng.random()
    if background.texture == "stripes":
        return _bands(along, period)
    across = (y * cos - x * sin) / period + rng.random()
    if background.texture == "checks":
        return _bands(along, period) * _bands(across, period)
    assert background.texture == "dots", background.texture
    gap = np.hypot(along - np.floor(along) - 0.5, across - np.floor(across) - 0.5)
    return np.clip((0.3 - gap) * period, -1.0, 1.0)


def _bands(phase: np.ndarray, period_px: float) -> np.ndarray:
    """Square wave with edges about a pixel wide."""
    zigzag = np.abs(phase - np.floor(phase) - 0.5) * 2.0 - 0.5
    return np.clip(zigzag * period_px, -1.0, 1.0)


def _clouds(background: Background, centres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise: a few waves of random direction and phase."""
    total = np.zeros((centres.size, centres.size))
    for draw in rng.random((_NUM_WAVES, 3)):
        direction, phase = draw[0] * 2.0 * math.pi, draw[1] * 2.0 * math.pi
        number = 2.0 * math.pi / (background.period_px * (1.0 + 2.0 * draw[2]))
        in_x = centres * (number * math.cos(direction)) + phase
        in_y = centres * (number * math.sin(direction))
        # cos(a + b) from outer products: 4 * size cosines in place of size * size.
        total += np.cos(in_x)[None, :] * np.cos(in_y)[:, None] - np.sin(in_x)[None, :] * np.sin(in_y)[:, None]
    return np.clip(total * (2.0 / _NUM_WAVES), -1.0, 1.0)
