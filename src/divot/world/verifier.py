"""Reads a scene back from its frames alone, and says whether it is the one that was wanted.

    reading_pixels.py  frames -> background, colours, how much of each pixel each colour covers
    reading_motion.py  places and sizes -> plans of motions, each with its misfit
    reading_shapes.py  covered pixels -> shape and turn
    this file          colours that follow each other -> sprites with their events

What it knows beforehand is the vocabulary, and at which times things happen in Sprite World.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from PIL import Image

from divot.world.captioning import PLACES
from divot.world.reading_motion import EARLY, LATE, SLOTS, WHOLE, Path, plans
from divot.world.reading_pixels import ColourTrack, colour_tracks
from divot.world.reading_shapes import best_shape, fits
from divot.world.scene import Event, Scene, Sprite
from divot.world.vocabulary import NUM_FRAMES, REFERENCE_SIZE_PX

# A sprite that comes earlier was there from the start, one that goes later stays to the end.
_FIRST_MOMENT, _LAST_MOMENT = 2, NUM_FRAMES - 3
# A change of colour happens on the spot, give or take this share of the size.
_SAME_SPOT = 0.5
_MIN_AREA_PX = 8.0
_MOST_SPRITES = 2
# The misfit of a shape that fits a frame not at all, in the units of a plan's misfit.
_SHAPE_COST = 200.0


@dataclass(frozen=True)
class EventReading:
    """What a sprite was seen to do.

    Attributes:
        motion: one of `MOTIONS`.
        start_frame, end_frame: as of an `Event`; of slow motions the slot of time that fits best.
        to_colour: for `changes_colour`, else empty.
        turn_deg: for `spins`, clockwise positive, else 0.
    """

    motion: str
    start_frame: int
    end_frame: int
    to_colour: str = ""
    turn_deg: float = 0.0


@dataclass(frozen=True)
class SpriteReading:
    """A sprite as read from frames.

    Attributes:
        shape, colour: as of a `Sprite`; the colour at the start.
        x_px, y_px: centre of the covered pixels where it is first seen, in pixels of the reference frame.
        place: the same as a caption tells it.
        events: in the order of time, one or two; `stays` alone where nothing happens.
    """

    shape: str
    colour: str
    x_px: float
    y_px: float
    place: str
    events: tuple[EventReading, ...]


@dataclass(frozen=True)
class Reading:
    """The sprites of a clip, the one with the most pixels first; up to three, of which one is too many."""

    sprites: tuple[SpriteReading, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether all sprites have the shapes, the colours and the motions that were wanted.

    Attributes:
        shape: of each sprite.
        colour: of each sprite, at the start and after a change.
        motion: of each sprite, in order; of two sprites also which acts first, or that both act at once.
        all: all three, and as many sprites as were wanted. A wrong number of sprites makes all of them wrong.
    """

    shape: bool
    colour: bool
    motion: bool
    all: bool


def verify(frames: np.ndarray, scene: Scene) -> Verdict:
    """Read a clip and compare it with the scene it should show.

    Args:
        frames: uint8 [16, H, W, 3].
        scene: what it should show; the frames are read without it.

    Raises:
        ValueError: for frames of another shape or type.
    """
    return compare(read_scene(frames), scene)


def compare(reading: Reading, scene: Scene | Reading) -> Verdict:
    """As `verify`, of a clip that has been read already; sprites are paired so that most agrees.

    Args:
        reading: of the clip.
        scene: what it should show; as a reading where no whole scene is known.
    """
    if len(reading.sprites) != len(scene.sprites):
        return Verdict(False, False, False, False)
    if not scene.sprites:
        # Nothing is wanted (all have disappeared), and nothing is shown.
        return Verdict(True, True, True, True)
    best = (False, False, False)
    for read in permutations(reading.sprites):
        wanted: Sequence[Sprite | SpriteReading] = scene.sprites
        pairs = list(zip(read, wanted, strict=True))
        parts = (
            all(one.shape == other.shape for one, other in pairs),
            all(_colours(one) == _colours(other) for one, other in pairs),
            all(_moves_alike(one, other) for one, other in pairs) and _turns(read) == _turns(scene.sprites),
        )
        # Where two pairings agree equally, looks count first, whichever sprite is the larger.
        best = max(best, parts, key=lambda agreed: (sum(agreed), agreed))
    return Verdict(*best, all(best))


def read_scene(frames: np.ndarray) -> Reading:
    """What a clip shows, read from its frames alone.

    Args:
        frames: uint8 [16, H, W, 3]; scaled to the reference frame first where they have another size.

    Raises:
        ValueError: for frames of another shape or type.
    """
    if frames.ndim != 4 or frames.shape[0] != NUM_FRAMES or frames.shape[3] != 3:
        raise ValueError(f"frames: got shape {frames.shape}, wanted ({NUM_FRAMES}, H, W, 3)")
    if frames.dtype != np.uint8:
        raise ValueError(f"frames: got {frames.dtype}, wanted uint8")
    seen = [part for track in colour_tracks(_scaled(frames)) if (part := _stretch(track)) is not None]
    # No scene has three: a third one makes their number wrong.
    chains = _chains(seen)[: _MOST_SPRITES + 1]
    return Reading(tuple(_read_sprite(chain, min(_MOST_SPRITES, len(chains))) for chain in chains))


def _scaled(frames: np.ndarray) -> np.ndarray:
    size = (REFERENCE_SIZE_PX, REFERENCE_SIZE_PX)
    if frames.shape[1:3] != size:
        frames = np.stack(
            [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames]
        )
    return frames.astype(np.float32)


@dataclass(frozen=True)
class _Stretch:
    """A colour while it is there: from its first frame to its last, and its path in all frames."""

    track: ColourTrack
    first: int
    last: int
    path: Path

    @property
    def num_pixels(self) -> int:
        return int(self.track.num_core.sum())


def _stretch(track: ColourTrack) -> _Stretch | None:
    ticks = np.arange(REFERENCE_SIZE_PX) + 0.5
    area = track.cover.sum(axis=(1, 2))
    is_there = (track.num_core >= 3) & (area >= _MIN_AREA_PX)
    lasting = np.nonzero(is_there[1:] & is_there[:-1])[0]
    if not len(lasting):
        return None
    safe = np.maximum(area, 1.0)
    x_px = track.cover.sum(axis=1) @ ticks / safe
    y_px = track.cover.sum(axis=2) @ ticks / safe
    weight = np.where(is_there, np.where(track.is_clear, 1.0, 0.1), 0.0)
    return _Stretch(track, int(lasting[0]), int(lasting[-1]) + 1, Path(x_px, y_px, np.sqrt(safe), weight))


def _chains(stretches: list[_Stretch]) -> list[list[_Stretch]]:
    """Stretches by sprite, in the order of time: one colour that follows another on the spot is the same sprite."""
    pairs = []
    for one in stretches:
        for two in stretches:
            gap = _gap(one, two)
            if gap < _SAME_SPOT:
                pairs.append((gap, one, two))
    followers: dict[int, _Stretch] = {}
    followed: set[int] = set()
    for _, one, two in sorted(pairs, key=lambda pair: pair[0]):
        if not {id(one), id(two)} & (followers.keys() | followed):
            followers[id(one)] = two
            followed.add(id(two))
    chains = [
        [one, *([followers[id(one)]] if id(one) in followers else [])]
        for one in stretches
        if id(one) not in followed
    ]
    return sorted(chains, key=lambda chain: -sum(part.num_pixels for part in chain))


def _gap(one: _Stretch, two: _Stretch) -> float:
    """Way from where one colour was last to where the other one is first, in sizes; endless if not in turn."""
    if not 0 <= two.first - one.last <= 2:
        return math.inf
    before, after = one.path, two.path
    way = math.hypot(
        after.x_px[two.first] - before.x_px[one.last], after.y_px[two.first] - before.y_px[one.last]
    )
    return float(way / max(before.size[one.last], after.size[two.first]))


def _read_sprite(chain: list[_Stretch], num_sprites: int) -> SpriteReading:
    events = []
    first, last = chain[0].first, chain[-1].last
    if first >= _FIRST_MOMENT:
        events.append(EventReading("appears", first, first))
    if len(chain) == 2:
        events.append(EventReading("changes_colour", chain[1].first, chain[1].first, chain[1].track.colour))
    if last <= _LAST_MOMENT:
        events.append(EventReading("disappears", last + 1, last + 1))
    cover = np.zeros_like(chain[0].track.cover)
    path = Path(*(np.zeros(NUM_FRAMES) for _ in Path._fields))
    for part in chain:
        frames = slice(part.first, part.last + 1)
        cover[frames] = part.track.cover[frames]
        for values, new in zip(path, part.path, strict=True):
            values[frames] = new[frames]
    shape, slow = _slow_events(cover, path, _free_slots(events, num_sprites))
    events = sorted([*events, *slow], key=lambda event: event.start_frame)
    x_px, y_px = float(path.x_px[first]), float(path.y_px[first])
    column, row = (min(2, int(3 * value / REFERENCE_SIZE_PX)) for value in (x_px, y_px))
    stays = (EventReading("stays", 0, NUM_FRAMES - 1),)
    return SpriteReading(
        shape, chain[0].track.colour, x_px, y_px, PLACES[row][column], tuple(events) or stays
    )


def _free_slots(events: list[EventReading], num_sprites: int) -> tuple[tuple[str, ...], ...]:
    """The sets of slots that slow motions may fill beside sudden events."""
    if not events:
        alone: tuple[tuple[str, ...], ...] = ((), (WHOLE,), (EARLY,), (LATE,))
        return alone if num_sprites == 2 else ((), (WHOLE,), (EARLY, LATE))
    if len(events) > 1 or num_sprites == 2:
        return ((),)
    return ((), (LATE,) if events[0].start_frame < SLOTS[LATE][0] else (EARLY,))


def _slow_events(
    cover: np.ndarray, path: Path, slots: tuple[tuple[str, ...], ...]
) -> tuple[str, list[EventReading]]:
    """The shape, and the motions that take time: the plan of least misfit in place, size and looks."""
    fits_BTSA = fits(cover, path.x_px, path.y_px, path.size, path.weight)
    looks: dict[str, tuple[str, float, float]] = {}
    best: tuple[float, str, list[EventReading]] = (math.inf, "", [])
    for plan in plans(path, slots):
        spinning = next((slot for slot, motion in plan.motions if motion == "spins"), "")
        if spinning not in looks:
            looks[spinning] = best_shape(fits_BTSA, spinning)
        shape, total, turn = looks[spinning]
        misfit = plan.misfit + _SHAPE_COST * (float(path.weight.sum()) - total)
        if misfit < best[0]:
            turns = {"spins": turn}
            best = (
                misfit,
                shape,
                [
                    EventReading(motion, *SLOTS[slot], turn_deg=turns.get(motion, 0.0))
                    for slot, motion in plan.motions
                ],
            )
    return best[1:]


def _colours(sprite: Sprite | SpriteReading) -> list[str]:
    return [sprite.colour, *(event.to_colour for event in sprite.events if event.to_colour)]


def _moves_alike(read: SpriteReading, wanted: Sprite | SpriteReading) -> bool:
    told: Sequence[Event | EventReading] = wanted.events
    return len(read.events) == len(told) and all(
        # A way of turning that is not told is 0.
        one.motion == other.motion and one.turn_deg * other.turn_deg >= 0
        for one, other in zip(read.events, told, strict=True)
    )


def _turns(sprites: Sequence[Sprite | SpriteReading]) -> list[bool]:
    """Of each two sprites, in both orders: whether the one is done before the other one starts."""
    return [one.events[-1].end_frame < two.events[0].start_frame for one, two in permutations(sprites, 2)]
