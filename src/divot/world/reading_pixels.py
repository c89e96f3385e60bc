"""Frames -> the background behind them, the sprites' colours, and how much of each pixel each colour covers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from divot.world.vocabulary import COLOURS

COLOUR_NAMES = tuple(COLOURS)
_PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)

# Departures from the background, in levels of 255, from which on a pixel may belong to a sprite: from a plane that
# knows no texture, and from the background itself.
_OFF_PLANE, _OFF_BACKGROUND = 60.0, 50.0
# How far a pixel's colour may lie from the line between background and sprite.
_OFF_LINE = 45.0
# A pixel of a sprite's core is covered at least so far, and stands out nearly as much as the best one around.
_CORE_COVER, _CORE_SHARE = 0.7, 0.8
# Core pixels that make a colour be there in a frame.
_MIN_CORE = 3
_MAX_COLOURS = 4


class ColourTrack(NamedTuple):
    """One of the sprites' colours through the clip, T frames of H x W pixels.

    Attributes:
        colour: one of `COLOURS`.
        cover: float32 [T, H, W], how much of each pixel the colour covers, about 0 to 1.
        num_core: int [T], pixels that are this colour beyond doubt.
        is_clear: bool [T], whether no other sprite's colour comes near.
    """

    colour: str
    cover: np.ndarray
    num_core: np.ndarray
    is_clear: np.ndarray


def colour_tracks(frames: np.ndarray) -> list[ColourTrack]:
    """The colours that stand out from the background, most prominent first.

    Args:
        frames: float32 [T, H, W, 3], levels of 255.
    """
    smooth = _smoothed(frames)
    background = _background(frames, smooth)
    off = smooth - _smoothed(background[None])
    strength = np.sqrt((off**2).sum(axis=-1))
    is_core = np.logical_and(strength > _OFF_BACKGROUND, strength >= _CORE_SHARE * _largest_near(strength, 2))
    # To the palette's lines from the background: share of the way, and distance to the side.
    lines = _PALETTE - _smoothed(background[None])[0][:, :, None, :]
    norms = (lines**2).sum(axis=-1)
    where = np.nonzero(is_core)
    core_off, core_lines, core_norms = off[where], lines[where[1], where[2]], norms[where[1], where[2]]
    share = np.clip(np.einsum("nc,nkc->nk", core_off, core_lines) / core_norms, _CORE_COVER, 1.0)
    aside = np.sqrt(((core_off[:, None, :] - share[:, :, None] * core_lines) ** 2).sum(axis=-1))
    nearest = aside.argmin(axis=1)
    is_near = aside[np.arange(len(nearest)), nearest] < _OFF_LINE
    cores = np.zeros((len(_PALETTE), *is_core.shape), dtype=bool)
    cores[nearest[is_near], where[0][is_near], where[1][is_near], where[2][is_near]] = True
    counts = cores.sum(axis=(2, 3))
    chosen = _chosen_colours(counts)
    return _covers(frames, off, background, cores, counts, chosen)


def _chosen_colours(counts: np.ndarray) -> list[int]:
    """Colours with a core in two frames in turn at least, by the number of their core pixels."""
    is_there = counts >= _MIN_CORE
    lasting = [bool((here[1:] & here[:-1]).any()) for here in is_there]
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    return [int(colour) for colour in order if lasting[colour]][:_MAX_COLOURS]


def _covers(
    frames: np.ndarray,
    off: np.ndarray,
    background: np.ndarray,
    cores: np.ndarray,
    counts: np.ndarray,
    chosen: list[int],
) -> list[ColourTrack]:
    if not chosen:
        return []
    supports = np.stack([_largest_near(cores[colour], 3) for colour in chosen])
    lines = _PALETTE[chosen][:, None, None, :] - background
    norms = (lines**2).sum(axis=-1)
    asides = np.full(supports.shape, np.inf, dtype=np.float32)
    covers = np.zeros(supports.shape, dtype=np.float32)
    for number in range(len(chosen)):
        time, row, column = np.nonzero(supports[number])
        line, norm = lines[number, row, column], norms[number, row, column]
        raw = ((frames[time, row, column] - background[row, column]) * line).sum(axis=-1) / norm
        smooth = off[time, row, column]
        share = np.clip((smooth * line).sum(axis=-1) / norm, 0.0, 1.0)
        asides[number, time, row, column] = ((smooth - share[:, None] * line) ** 2).sum(axis=-1)
        covers[number, time, row, column] = np.clip(raw, -0.5, 1.5)
    # Where two sprites meet, a pixel is that one's whose line it lies nearer to.
    covers *= supports & (asides == asides.min(axis=0))
    tracks = []
    for number, colour in enumerate(chosen):
        others = [other for other in range(len(chosen)) if other != number]
        meets = np.logical_and(_largest_near(supports[number], 1), supports[others].any(axis=0))
        tracks.append(
            ColourTrack(COLOUR_NAMES[colour], covers[number], counts[colour], ~meets.any(axis=(1, 2)))
        )
    return tracks


def _background(frames: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """The still picture behind the sprites, float32 [H, W, 3]: the mean of what is seen of it in each pixel.

    Where nothing is ever seen of it, a plane stands in: every background is one, but for its texture.
    """
    plane = _plane(np.median(smooth, axis=0))
    covered = ((smooth - plane) ** 2).sum(axis=-1) > _OFF_PLANE**2
    is_seen = ~_largest_near(covered, 1)
    num_seen = is_seen.sum(axis=0)[:, :, None]
    mean = (frames * is_seen[..., None]).sum(axis=0) / np.maximum(num_seen, 1)
    return np.where(num_seen >= 2, mean, plane).astype(np.float32)


def _plane(picture: np.ndarray) -> np.ndarray:
    """The plane, in rows and columns, that most pixels of a picture [H, W, 3] lie near."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    basis = np.stack([np.ones((height, width)), rows / height - 0.5, columns / width - 0.5], axis=-1)
    flat_basis, flat = basis[::2, ::2].reshape(-1, 3), picture[::2, ::2].reshape(-1, 3).astype(np.float64)
    weights = np.ones(len(flat))
    for step in range(25):
        weighted = flat_basis * weights[:, None]
        plane = np.linalg.solve(flat_basis.T @ weighted + 1e-6 * np.eye(3), weighted.T @ flat)
        off = np.sqrt(((flat - flat_basis @ plane) ** 2).sum(axis=1))
        # First least absolute departures, then none of those that depart far.
        weights = (
            1.0 / np.maximum(off, 5.0) if step < 15 else np.maximum(0.0, 1.0 - (off / _OFF_PLANE) ** 2) ** 2
        )
    return basis @ plane


def _smoothed(frames: np.ndarray) -> np.ndarray:
    """Each pixel's weighted mean with its neighbours, weights 1, 2, 1 both ways; [T, H, W, 3] as given."""
    padded = np.pad(frames, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    frames = (padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:]) / 4.0
    padded = np.pad(frames, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return (padded[:, :, :-2] + 2.0 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4.0


def _largest_near(values: np.ndarray, reach: int) -> np.ndarray:
    """Largest value within `reach` rows and columns of each pixel of [T, H, W]."""
    for axis in (1, 2):
        ends = [(reach, reach) if at == axis else (0, 0) for at in range(3)]
        padded = np.pad(values, ends)
        length = values.shape[axis]
        shifted = [np.take(padded, range(step, step + length), axis=axis) for step in range(2 * reach + 1)]
        values = np.maximum.reduce(shifted)
    return values
