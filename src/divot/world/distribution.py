"""The `standard` distribution: seed and index -> scene. Every score of the project is taken on it.

A test pins it by a hash of frames and captions: a change here makes new scores that no old one compares with.
First what happens (plot and motions), then how much (sizes and ways), then who (shapes and colours, by the
split), then where (places that keep the sprites in the frame and apart), and last the background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from divot.world.scene import Background, Event, Scene, Sprite
from divot.world.split import event_triples, fits_split
from divot.world.track import SpriteState, track
from divot.world.vocabulary import (
    BACKGROUND_COLOURS,
    BACKGROUND_KINDS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    NUM_FRAMES,
    REFERENCE_SIZE_PX,
    ROUND_SHAPES,
    SHAPES,
    SPLITS,
    SUDDEN_MOTIONS,
    TEXTURES,
)

T = TypeVar("T")
Window = tuple[int, int]

MIN_SIZE_PX, MAX_SIZE_PX = 10, 24
MIN_WAY_PX = 8
# The corners of a smaller sprite are too few pixels to see it turn.
MIN_SPIN_PX = MIN_SIZE_PX + 2
_TWO_SPRITES = 0.5
# Share of scenes with two events in turn: of the one sprite, or first of one and then of the other.
_IN_TURN = 0.45
_WHOLE: Window = (0, NUM_FRAMES - 1)
_HALVES: tuple[Window, Window] = ((0, NUM_FRAMES // 2 - 1), (NUM_FRAMES // 2, NUM_FRAMES - 1))
# Smallest distance in red, green and blue (levels of 255) of a sprite's colour from its background.
_MIN_CONTRAST = 95.0
_MARGIN_PX = 1.0
_PLACEMENTS = 12


class Dice:
    """Draws from one stream of uniform numbers, the part of numpy's generators least likely to change."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._uniform = rng.random

    def chance(self, share: float) -> bool:
        """True for that share of the draws."""
        return self._uniform() < share

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._uniform() * (high - low + 1))

    def pick(self, values: Sequence[T]) -> T:
        """One of them."""
        return values[int(self._uniform() * len(values))]


def clip_generator(seed: int, index: int, split: str, part: int = 0) -> np.random.Generator:
    """The random numbers of one clip, the same whichever clips were drawn before it.

    Args:
        seed: of the whole set, 0 or more.
        index: of the clip, 0 or more.
        split: one of `SPLITS`.
        part: 0 for the scene, 1 for its caption.

    Raises:
        ValueError: if the split is unknown, or seed or index is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, wanted one of {', '.join(SPLITS)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index: got {seed} and {index}, wanted 0 or more")
    return np.random.default_rng(np.random.SeedSequence((seed, index, SPLITS.index(split), part)))


def sample_scene(seed: int, index: int, split: str = "train") -> Scene:
    """Clip `index` of a seed's endless set in the `standard` distribution.

    Args:
        seed: of the whole set, 0 or more.
        index: of the clip, 0 or more; any order gives the same scenes.
        split: `train` shows no held-out colour x shape x motion triple; in `test` every sprite shows one.

    Raises:
        ValueError: if the split is unknown, or seed or index is negative.
    """
    dice = Dice(clip_generator(seed, index, split))
    plot = _draw_plot(dice)
    identities = _draw_identities(dice, plot, split)
    while True:
        sizes_and_events = [_draw_amounts(dice, events) for events in plot]
        sprites = [
            Sprite(shape, colour, size, 0.0, 0.0, _coloured(events, to_colours))
            for (shape, colour, to_colours), (size, events) in zip(identities, sizes_and_events, strict=True)
        ]
        placed = _place(dice, sprites)
        if placed is not None:
            break
    return Scene(draw_background(dice, _shown_colours(identities)), placed)


Plot = list[list[tuple[str, Window]]]
Identity = tuple[str, str, list[str]]


def _draw_plot(dice: Dice) -> Plot:
    """For each sprite the motions that it makes and when."""
    num_sprites = 2 if dice.chance(_TWO_SPRITES) else 1
    if not dice.chance(_IN_TURN):
        # Sudden things of one scene happen at one moment, so that "at the same time" is true.
        moment = dice.whole(4, 11)
        motions = [dice.pick(MOTIONS) for _ in range(num_sprites)]
        return [[(motion, _span(motion, _WHOLE, moment))] for motion in motions]
    first, second = _draw_turns(dice, num_sprites)
    early = (first, _span(first, _HALVES[0], dice.whole(2, 5)))
    late = (second, _span(second, _HALVES[1], dice.whole(9, 12)))
    return [[early], [late]] if num_sprites == 2 else [[early, late]]


def _draw_turns(dice: Dice, num_sprites: int) -> tuple[str, str]:
    active = MOTIONS[:-1]
    assert "stays" not in active
    while True:
        first, second = dice.pick(active), dice.pick(active)
        # One sprite cannot act after it has gone, nor before it has come; and two events should differ.
        if num_sprites == 2 or (first != second and first != "disappears" and second != "appears"):
            return first, second


def _span(motion: str, window: Window, moment: int) -> Window:
    return (moment, moment) if motion in SUDDEN_MOTIONS else window


def _draw_identities(dice: Dice, plot: Plot, split: str) -> list[Identity]:
    """Shape, colour and later colours of each sprite; no colour twice in a scene."""
    colours = tuple(COLOURS)
    identities: list[Identity] = []
    used: set[str] = set()
    for events in plot:
        motions = [motion for motion, _ in events]
        while True:
            shape, colour = dice.pick(SHAPES), dice.pick(colours)
            to_colours = [dice.pick(colours) if motion == "changes_colour" else "" for motion in motions]
            shown = [colour, *filter(None, to_colours)]
            if "spins" in motions and shape in ROUND_SHAPES:
                continue
            if len(set(shown)) < len(shown) or used.intersection(shown):
                continue
            if fits_split(event_triples(shape, colour, list(zip(motions, to_colours, strict=True))), split):
                break
        used.update(shown)
        identities.append((shape, colour, to_colours))
    return identities


def _shown_colours(identities: list[Identity]) -> list[str]:
    return [name for _, colour, to_colours in identities for name in (colour, *filter(None, to_colours))]


def _draw_amounts(dice: Dice, events: list[tuple[str, Window]]) -> tuple[int, tuple[Event, ...]]:
    """The size at the start, and each event with its amount; a change of colour has none as yet."""
    motions = [motion for motion, _ in events]
    resizes = [motion for motion in motions if motion in ("grows", "shrinks")]
    low = MIN_SPIN_PX if "spins" in motions else MIN_SIZE_PX
    if not resizes:
        size = dice.whole(low, MAX_SIZE_PX)
    elif resizes[0] == "grows":
        size = dice.whole(low, MAX_SIZE_PX - MIN_WAY_PX)
    else:
        size = dice.whole(low + MIN_WAY_PX, MAX_SIZE_PX)
    drawn, now = [], size
    for motion, (start, end) in events:
        is_whole = (start, end) == _WHOLE
        event = Event("stays", 0, NUM_FRAMES - 1) if motion == "stays" else None
        if motion in DIRECTIONS:
            slanted = math.hypot(*DIRECTIONS[motion])
            per_axis = dice.whole(10, 30 if is_whole else 20)
            event = Event(motion, start, end, distance_px=per_axis * slanted)
        elif motion == "bounces":
            event = Event(
                motion,
                start,
                end,
                distance_px=dice.whole(11, 20),
                num_bounces=dice.whole(2, 3) if is_whole else 2,
            )
        elif motion == "spins":
            turn = 15 * dice.whole(12, 22) if is_whole else 15 * dice.whole(8, 11)
            event = Event(motion, start, end, turn_deg=turn if dice.chance(0.5) else -turn)
        elif motion == "grows":
            now = dice.whole(now + MIN_WAY_PX, MAX_SIZE_PX)
            event = Event(motion, start, end, to_size_px=now)
        elif motion == "shrinks":
            now = dice.whole(low, now - MIN_WAY_PX)
            event = Event(motion, start, end, to_size_px=now)
        elif motion == "changes_colour":
            # A place-holder until the colours are known.
            event = Event(motion, start, end, to_colour="black")
        elif motion in SUDDEN_MOTIONS:
            event = Event(motion, start, end)
        assert event is not None, motion
        drawn.append(event)
    return size, tuple(drawn)


def _coloured(events: tuple[Event, ...], to_colours: list[str]) -> tuple[Event, ...]:
    return tuple(replace(event, to_colour=name) for event, name in zip(events, to_colours, strict=True))


def _place(dice: Dice, sprites: list[Sprite]) -> tuple[Sprite, ...] | None:
    """The sprites at places where they stay in the frame and apart; None if none was found."""
    tracks = [track(sprite) for sprite in sprites]
    rooms = [_room(states) for states in tracks]
    if any(low > high for room in rooms for low, high in room):
        return None
    for _ in range(_PLACEMENTS):
        places = [(float(dice.whole(*room_x)), float(dice.whole(*room_y))) for room_x, room_y in rooms]
        if len(sprites) == 1 or _is_apart(tracks, places):
            return tuple(
                replace(sprite, x_px=x, y_px=y) for sprite, (x, y) in zip(sprites, places, strict=True)
            )
    return None


def _room(states: list[SpriteState]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Lowest and highest whole starting x, and y, that keep a sprite, tracked from (0, 0), in the frame."""
    # A turning shape's corners reach out of its box.
    turns = any(state.angle_deg for state in states)
    reaches = [state.size_px * (0.62 if turns else 0.5) + _MARGIN_PX for state in states]
    ranges = []
    for along in ([state.x_px for state in states], [state.y_px for state in states]):
        low = max(reach - value for value, reach in zip(along, reaches, strict=True))
        high = min(REFERENCE_SIZE_PX - reach - value for value, reach in zip(along, reaches, strict=True))
        ranges.append((math.ceil(low - 1e-6), math.floor(high + 1e-6)))
    return ranges[0], ranges[1]


def _is_apart(tracks: list[list[SpriteState]], places: list[tuple[float, float]]) -> bool:
    """Whether two sprites begin and end clear of each other and pass over each other only briefly."""
    (x1, y1), (x2, y2) = places
    num_close = 0
    for frame, (one, two) in enumerate(zip(*tracks, strict=True)):
        gap = math.hypot(one.x_px + x1 - two.x_px - x2, one.y_px + y1 - two.y_px - y2)
        touching = (one.size_px + two.size_px) / 2.0
        if frame in (0, NUM_FRAMES - 1) and gap < touching + 2.0:
            return False
        num_close += gap < touching * 0.8
    return num_close <= 3


def draw_background(dice: Dice, sprite_colours: list[str]) -> Background:
    """A background that sprites of these colours stand out on."""
    kind = dice.pick(BACKGROUND_KINDS)
    names = tuple(BACKGROUND_COLOURS)
    while True:
        colour, shade = dice.pick(names), dice.whole(-8, 8)
        if kind == "plain":
            background = Background(kind, colour, shade)
        elif kind == "gradient":
            to_colour = dice.pick(names)
            if to_colour == colour:
                continue
            angle = 45.0 * dice.whole(0, 7)
            background = Background(kind, colour, shade, to_colour=to_colour, angle_deg=angle)
        else:
            background = Background(
                kind,
                colour,
                shade,
                texture=dice.pick(TEXTURES),
                angle_deg=15.0 * dice.whole(0, 11),
                period_px=float(dice.whole(6, 16)),
                contrast=dice.whole(8, 18),
                texture_seed=dice.whole(0, 2**31 - 1),
            )
        if _stands_out(sprite_colours, background):
            return background


def _stands_out(sprite_colours: list[str], background: Background) -> bool:
    levels = background.levels()
    return all(
        math.dist(COLOURS[name], level) >= _MIN_CONTRAST for name in sprite_colours for level in levels
    )
