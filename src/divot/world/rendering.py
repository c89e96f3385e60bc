"""Scene -> frames. Whole numbers from the masks on, so that a scene gives the same pixels everywhere."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from divot.world.background import render_background
from divot.world.scene import Scene
from divot.world.shapes import SUBPIXELS, canonical_angle, mask_reach, shape_mask
from divot.world.track import SpriteState, track
from divot.world.vocabulary import COLOURS, NUM_FRAMES, REFERENCE_SIZE_PX, SHAPES

_MIN_SIZE_PX = 16
_MAX_SIZE_PX = 1024
# A row of each colour as long as the widest mask.
_LEVELS = {name: np.tile(np.array(rgb, dtype=np.uint16), _MAX_SIZE_PX) for name, rgb in COLOURS.items()}


def render(scene: Scene, size: int = REFERENCE_SIZE_PX) -> np.ndarray:
    """Draw a scene.

    Args:
        scene: what to draw.
        size: height and width of a frame in pixels; the scene is scaled to it.

    Returns:
        uint8 [16, size, size, 3], red, green, blue.

    Raises:
        ValueError: if `size` is not between 16 and 1024.
    """
    _check_size(size)
    # Rows of interleaved red, green and blue: whole rows are blended at once, without a short inner axis.
    frames = np.empty((NUM_FRAMES, size, size * 3), dtype=np.uint8)
    frames[:] = render_background(scene.background, size).reshape(size, size * 3)
    for sprite in scene.sprites:
        for frame, state in zip(frames, track(sprite), strict=True):
            if state.is_visible:
                top, left, key = _placed(sprite.shape, state, size)
                cover, rest = _wide_mask(*key)
                rows, columns, inner_rows, inner_columns = _meeting(top, left, cover.shape[0], size)
                inner = inner_rows, _tripled(inner_columns)
                _blend(frame[rows, _tripled(columns)], cover[inner], rest[inner], _LEVELS[state.colour])
    return frames.reshape(NUM_FRAMES, size, size, 3)


def render_masks(scene: Scene, size: int = REFERENCE_SIZE_PX) -> np.ndarray:
    """Where each sprite is, whether or not another one lies over it.

    Args:
        scene: what to draw.
        size: height and width of a frame in pixels.

    Returns:
        uint8 [num_sprites, 16, size, size], 255 where a pixel lies wholly inside the sprite.

    Raises:
        ValueError: if `size` is not between 16 and 1024.
    """
    _check_size(size)
    masks = np.zeros((len(scene.sprites), NUM_FRAMES, size, size), dtype=np.uint8)
    for number, sprite in enumerate(scene.sprites):
        for frame, state in enumerate(track(sprite)):
            if state.is_visible:
                top, left, key = _placed(sprite.shape, state, size)
                mask = shape_mask(*key)
                rows, columns, inner_rows, inner_columns = _meeting(top, left, mask.shape[0], size)
                masks[number, frame, rows, columns] = mask[inner_rows, inner_columns]
    return masks


def render_labels(scene: Scene, side: int, size: int = REFERENCE_SIZE_PX) -> np.ndarray:
    """Which shape is where, on a grid that is coarser than the frames.

    Args:
        scene: what to draw.
        side: cells along one side of the grid, a divisor of `size`.
        size: height and width of a frame in pixels.

    Returns:
        uint8 [16, side, side]: 0 for the background, else 1 and the place in `SHAPES` of the shape that lies on top
        where sprites cover a sixth of a cell or more.

    Raises:
        ValueError: if `size` is not between 16 and 1024, or `side` does not divide it.
    """
    if side < 1 or size % side:
        raise ValueError(f"side: got {side} cells, wanted a divisor of {size} px")
    cell_px = size // side
    labels = np.zeros((NUM_FRAMES, side, side), dtype=np.uint8)
    for sprite, masks in zip(scene.sprites, render_masks(scene, size), strict=True):
        cover = masks.reshape(NUM_FRAMES, side, cell_px, side, cell_px).mean(axis=(2, 4))
        labels[cover >= 255 / 6] = 1 + SHAPES.index(sprite.shape)
    return labels


def _check_size(size: int) -> None:
    if not _MIN_SIZE_PX <= size <= _MAX_SIZE_PX:
        raise ValueError(f"size: got {size} px, wanted {_MIN_SIZE_PX} to {_MAX_SIZE_PX}")


@lru_cache(maxsize=8192)
def _wide_mask(
    shape: str, half_px: int, angle_deg: int, sub_x: int, sub_y: int
) -> tuple[np.ndarray, np.ndarray]:
    """`shape_mask` with each value three times in a row, and 255 less that: uint16 [2R, 6R], read-only."""
    cover = np.repeat(shape_mask(shape, half_px, angle_deg, sub_x, sub_y), 3, axis=1).astype(np.uint16)
    rest = 255 - cover
    cover.flags.writeable = rest.flags.writeable = False
    return cover, rest


def _blend(under: np.ndarray, cover: np.ndarray, rest: np.ndarray, levels: np.ndarray) -> None:
    """Lay a colour over part of a frame, in place; rounds to the nearest level."""
    # At most 255 * 255 + 128 + 254: no step leaves 16 bits. The shifts are an exact division by 255.
    total = under.astype(np.uint16)
    total *= rest
    total += cover * levels[: cover.shape[1]]
    total += 128
    total += total >> 8
    total >>= 8
    under[:] = total


def _placed(shape: str, state: SpriteState, size: int) -> tuple[int, int, tuple[str, int, int, int, int]]:
    """First row and column of a sprite's mask in the frame (may lie outside), and what to ask the mask by."""
    scale = size / REFERENCE_SIZE_PX
    column, sub_x = divmod(_rounded(state.x_px * scale * SUBPIXELS), SUBPIXELS)
    row, sub_y = divmod(_rounded(state.y_px * scale * SUBPIXELS), SUBPIXELS)
    half_px = max(2, _rounded(state.size_px * scale * 2))
    reach = mask_reach(shape, half_px)
    return (
        row - reach,
        column - reach,
        (shape, half_px, canonical_angle(shape, state.angle_deg), sub_x, sub_y),
    )


def _meeting(top: int, left: int, side: int, size: int) -> tuple[slice, slice, slice, slice]:
    """Where a mask and the frame meet: rows and columns of the frame, rows and columns of the mask."""
    first_row, last_row = max(0, top), max(0, min(size, top + side))
    first_column, last_column = max(0, left), max(0, min(size, left + side))
    return (
        slice(first_row, last_row),
        slice(first_column, last_column),
        slice(first_row - top, max(0, last_row - top)),
        slice(first_column - left, max(0, last_column - left)),
    )


def _tripled(columns: slice) -> slice:
    return slice(columns.start * 3, columns.stop * 3)


def _rounded(value: float) -> int:
    # Halves go up on every machine, whatever the last bit was.
    return math.floor(value + (0.5 + 1e-6))
