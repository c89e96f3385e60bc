"""Places and sizes of a sprite through the frames -> what it does, as the best of all the plans it may follow.

A plan says which slots of time hold a motion: the whole clip, its first half, its second half, or both halves. To
each plan belongs a straight-line fit of the places and one of the sizes; the plan with the smallest misfit wins.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from divot.world.vocabulary import DIRECTIONS, NUM_FRAMES

WHOLE, EARLY, LATE = "whole", "early", "late"
SLOTS: dict[str, tuple[int, int]] = {
    WHOLE: (0, NUM_FRAMES - 1),
    EARLY: (0, NUM_FRAMES // 2 - 1),
    LATE: (NUM_FRAMES // 2, NUM_FRAMES - 1),
}
# Hops of a bounce that fit into a slot.
_HOPS = {WHOLE: (2, 3), EARLY: (2,), LATE: (2,)}

# Misfits count in these units, and none for more than a few of them: a frame may be spoilt.
_PLACE_UNIT_PX, _SIZE_UNIT = 0.7, 0.05
_MOST_UNITS = 5.0
# What a motion that helps nothing costs.
_MOTION_COST = 10.0
# Smaller motions than these are none: pixels along each axis, and share of the size at the start.
_LEAST_WAY_PX, _LEAST_GROWTH = 5.0, 0.2


class Path(NamedTuple):
    """What is measured of a sprite in T frames.

    Attributes:
        x_px, y_px: float [T], centre of the covered pixels.
        size: float [T], square root of the covered area.
        weight: float [T], 0 for a frame that tells nothing, 1 for one that is seen well.
    """

    x_px: np.ndarray
    y_px: np.ndarray
    size: np.ndarray
    weight: np.ndarray


class Plan(NamedTuple):
    """Motions by slot, in the order of time, and the misfit of places and sizes under them."""

    motions: tuple[tuple[str, str], ...]
    misfit: float


def ramp(slot: str) -> np.ndarray:
    """How much of a slot's motion is done, 0 to 1, in each of the frames."""
    start, end = SLOTS[slot]
    return np.clip((np.arange(NUM_FRAMES) - start) / (end - start), 0.0, 1.0)


def plans(path: Path, slots: tuple[tuple[str, ...], ...]) -> list[Plan]:
    """Every plan of motions in these slots with its misfit; `spins` leaves place and size as they are.

    Args:
        path: what is measured.
        slots: the sets of slots that may be filled; `()` for a sprite that stays.
    """
    places: dict[tuple[tuple[str, str], ...], float] = {}
    sizes: dict[tuple[tuple[str, str], ...], float] = {}
    found = []
    for filled in slots:
        for motions in _assignments(filled):
            moved = tuple(pair for pair in motions if pair[1] in DIRECTIONS or pair[1] == "bounces")
            resized = tuple(pair for pair in motions if pair[1] in ("grows", "shrinks"))
            if moved not in places:
                places[moved] = _place_misfit(path, moved)
            if resized not in sizes:
                sizes[resized] = _size_misfit(path, resized)
            misfit = places[moved] + sizes[resized] + _MOTION_COST * len(motions)
            if math.isfinite(misfit):
                found.append(Plan(motions, misfit))
    return found


@cache
def _assignments(filled: tuple[str, ...]) -> list[tuple[tuple[str, str], ...]]:
    motions = (*DIRECTIONS, "bounces", "grows", "shrinks", "spins")
    chains: list[tuple[tuple[str, str], ...]] = [()]
    for slot in filled:
        chains = [(*chain, (slot, motion)) for chain in chains for motion in motions]
    return [chain for chain in chains if len({motion for _, motion in chain}) == len(chain)]


def _place_misfit(path: Path, moved: tuple[tuple[str, str], ...]) -> float:
    """Misfit of the places under these motions at their best lengths; endless where a length is too small."""
    hops = [_HOPS[slot] if motion == "bounces" else (0,) for slot, motion in moved]
    best = math.inf
    for counts in _products(hops):
        basis = [np.repeat([[1.0, 0.0]], NUM_FRAMES, axis=0), np.repeat([[0.0, 1.0]], NUM_FRAMES, axis=0)]
        for (slot, motion), num_hops in zip(moved, counts, strict=True):
            if motion == "bounces":
                phase = (ramp(slot) * num_hops) % 1.0
                basis.append(np.stack([np.zeros(NUM_FRAMES), -4.0 * phase * (1.0 - phase)], axis=1))
            else:
                basis.append(ramp(slot)[:, None] * np.array(DIRECTIONS[motion], dtype=float))
        places = np.stack([path.x_px, path.y_px], axis=1)
        lengths, misfit = _robust_fit(np.stack(basis, axis=-1), places, path.weight, _PLACE_UNIT_PX)
        if all(length >= _LEAST_WAY_PX for length in lengths[2:]):
            best = min(best, misfit)
    return best


def _size_misfit(path: Path, resized: tuple[tuple[str, str], ...]) -> float:
    """As `_place_misfit`, of the sizes."""
    basis = np.stack([np.ones(NUM_FRAMES), *(ramp(slot) for slot, _ in resized)], axis=-1)[:, None, :]
    middle = float(np.median(path.size[path.weight > 0]))
    sizes = path.size[:, None] / middle
    lengths, misfit = _robust_fit(basis, sizes, path.weight, _SIZE_UNIT)
    now = lengths[0]
    for (_, motion), length in zip(resized, lengths[1:], strict=True):
        sign = 1.0 if motion == "grows" else -1.0
        if sign * length < _LEAST_GROWTH * max(now, 1e-6):
            return math.inf
        now += length
    return misfit


def _robust_fit(
    basis: np.ndarray, values: np.ndarray, weight: np.ndarray, unit: float
) -> tuple[np.ndarray, float]:
    """Weights of the basis [T, C, K] that fit values [T, C], and the misfit, far departures limited."""
    num_weights = basis.shape[-1]
    trust = weight.copy()
    for _ in range(3):
        scaled = basis * trust[:, None, None]
        flat, flat_scaled = basis.reshape(-1, num_weights), scaled.reshape(-1, num_weights)
        square = flat_scaled.T @ flat + 1e-9 * np.eye(num_weights)
        found = np.linalg.solve(square, flat_scaled.T @ values.reshape(-1))
        off = np.sqrt((((values - basis @ found) / unit) ** 2).sum(axis=1))
        trust = weight / np.maximum(1.0, off / 2.0)
    return found, float((weight * np.minimum(off, _MOST_UNITS) ** 2).sum())


def _products(options: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    chains: list[tuple[int, ...]] = [()]
    for values in options:
        chains = [(*chain, value) for chain in chains for value in values]
    return chains
