"""Who is in a story, and what happens to them: deeds that follow from each other, clip by clip.

Characters go on from where, and as large as, they were. What one does has a cause where there is one: it copies the
other, turns back, rests. In training no deed is one of the held-out combinations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from divot.world.distribution import MAX_SIZE_PX, MIN_SIZE_PX, MIN_SPIN_PX, MIN_WAY_PX, Dice
from divot.world.scene import Event, Sprite
from divot.world.split import is_held_out
from divot.world.track import track
from divot.world.vocabulary import (
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    NUM_FRAMES,
    REFERENCE_SIZE_PX,
    ROUND_SHAPES,
    SHAPES,
    SUDDEN_MOTIONS,
)

NAMES: tuple[str, ...] = (
    "Ada", "Ben", "Finn", "Hugo", "Ivy", "Leo", "Lily", "Max",
    "Mia", "Nina", "Otto", "Pia", "Ruby", "Sam", "Tom", "Zoe",
)  # fmt: skip
MIN_CLIPS, MAX_CLIPS = 3, 5
WHOLE_CLIP = (0, NUM_FRAMES - 1)
_TWO_CHARACTERS, _FOLLOWS, _BOTH_ACT = 0.5, 0.5, 0.3
# Deeds tried for all clips of a story, and beginnings tried for one cast, before it is given up.
_MAX_DEEDS, _MAX_BEGINNINGS = 60, 6
# No colour changes: by its colour a character is known.
_DEEDS = tuple(motion for motion in MOTIONS if motion not in ("changes_colour", "stays"))
# The room that a sprite leaves to the frame's edge.
_EDGE_PX = 1.0


@dataclass(frozen=True)
class Character:
    """A sprite with a name."""

    name: str
    colour: str
    shape: str

    @property
    def title(self) -> str:
        """Such as `Ruby the red star`."""
        return f"{self.name} the {self.colour} {self.shape}"


@dataclass(frozen=True)
class Deed:
    """What the characters do in one clip, and why."""

    motions: tuple[str, ...]
    """One a character; `stays` for one that does nothing."""
    actors: tuple[int, ...]
    cause: str


def draw_cast(dice: Dice) -> tuple[Character, ...]:
    """One or two characters of different names and colours."""
    characters: list[Character] = []
    for _ in range(2 if dice.chance(_TWO_CHARACTERS) else 1):
        while True:
            one = Character(dice.pick(NAMES), dice.pick(tuple(COLOURS)), dice.pick(SHAPES))
            if all(one.name != other.name and one.colour != other.colour for other in characters):
                break
        characters.append(one)
    return tuple(characters)


def draw_plot(
    dice: Dice, characters: Sequence[Character], split: str
) -> list[tuple[Deed, list[Sprite]]] | None:
    """Deeds with the sprites that do them; None if nothing was found that fits the frame and the split."""
    count = dice.whole(MIN_CLIPS, MAX_CLIPS)
    for _ in range(_MAX_BEGINNINGS):
        sprites = _first_sprites(dice, characters)
        if not _is_apart(sprites):
            continue
        chapters: list[tuple[Deed, list[Sprite]]] = []
        tries = 0
        while len(chapters) < count and tries < _MAX_DEEDS:
            tries += 1
            deed = _deed(dice, characters, [deed for deed, _ in chapters])
            if split == "train" and _num_unseen(characters, deed):
                continue
            acting = _act(dice, deed, sprites)
            if acting is None:
                continue
            chapters.append((deed, acting))
            sprites = [_after(sprite) for sprite in acting]
        if len(chapters) == count and (split == "train" or _is_unseen(characters, chapters)):
            return chapters
    return None


def _num_unseen(characters: Sequence[Character], deed: Deed) -> int:
    return sum(
        is_held_out(one.colour, one.shape, motion)
        for one, motion in zip(characters, deed.motions, strict=True)
    )


def _is_unseen(characters: Sequence[Character], chapters: Sequence[tuple[Deed, list[Sprite]]]) -> bool:
    return any(_num_unseen(characters, deed) for deed, _ in chapters)


def _first_sprites(dice: Dice, characters: Sequence[Character]) -> list[Sprite]:
    low, high = MAX_SIZE_PX // 2 + 2, REFERENCE_SIZE_PX - MAX_SIZE_PX // 2 - 2
    return [
        Sprite(
            one.shape,
            one.colour,
            dice.whole(MIN_SIZE_PX + 2, MAX_SIZE_PX - 2),
            dice.whole(low, high),
            dice.whole(low, high),
            (Event("stays"),),
        )
        for one in characters
    ]


def _deed(dice: Dice, characters: Sequence[Character], before: Sequence[Deed]) -> Deed:
    """What could come next: often what follows from the clip before, else anything."""
    gone = _gone(before, len(characters))
    if any(gone):
        # Who has gone comes back at once; a clip without anyone shows nothing.
        place = gone.index(True)
        motions = ["stays"] * len(characters)
        motions[place] = "appears"
        return Deed(tuple(motions), (place,), f"{characters[place].name} comes back: ")
    if before and dice.chance(_FOLLOWS):
        followed = _following(dice, characters, before[-1])
        if followed is not None:
            return followed
    actors: tuple[int, ...] = (dice.whole(0, len(characters) - 1),)
    if len(characters) == 2 and dice.chance(_BOTH_ACT):
        actors = (0, 1)
    motions = ["stays"] * len(characters)
    for place in actors:
        motions[place] = dice.pick(_DEEDS)
    # Only who was not there can appear; and a clip without anyone shows nothing.
    is_odd = ("appears" in motions and before) or motions == ["disappears"] * 2
    if is_odd or any(
        m == "spins" and c.shape in ROUND_SHAPES for m, c in zip(motions, characters, strict=True)
    ):
        return _deed(dice, characters, before)
    return Deed(tuple(motions), actors, "")


def _gone(before: Sequence[Deed], count: int) -> list[bool]:
    last = before[-1].motions if before else ("stays",) * count
    return [motion == "disappears" for motion in last]


def _following(dice: Dice, characters: Sequence[Character], last: Deed) -> Deed | None:
    """What follows from the deed of one character."""
    if len(last.actors) != 1:
        return None
    place = last.actors[0]
    motion, name = last.motions[place], characters[place].name
    options: list[tuple[int, str, str]] = []
    opposite = _OPPOSITES.get(motion)
    if motion in DIRECTIONS and opposite:
        options.append((place, opposite, "There is nothing there, so "))
    elif motion in ("grows", "shrinks") and opposite:
        options.append((place, opposite, f"That is too {'large' if motion == 'grows' else 'small'}, so "))
    elif motion in ("bounces", "spins"):
        options.append((place, "stays", f"{name} is tired, so "))
    if len(characters) == 2 and motion in _COPIED:
        other = characters[1 - place]
        if not (motion == "spins" and other.shape in ROUND_SHAPES):
            options.append((1 - place, motion, f"{other.name} has seen it, so "))
    if not options:
        return None
    actor, motion, cause = dice.pick(options)
    motions = ["stays"] * len(characters)
    motions[actor] = motion
    return Deed(tuple(motions), (actor,), cause)


_OPPOSITES = {
    motion: other
    for motion, (x, y) in DIRECTIONS.items()
    for other, step in DIRECTIONS.items()
    if step == (-x, -y)
} | {"grows": "shrinks", "shrinks": "grows"}
_COPIED = frozenset({*DIRECTIONS, "bounces", "spins", "grows", "shrinks"})


def _act(dice: Dice, deed: Deed, sprites: Sequence[Sprite]) -> list[Sprite] | None:
    """The sprites in the clip of a deed; None if it does not fit in the frame."""
    moment = dice.whole(4, 11)
    acting = []
    for motion, sprite in zip(deed.motions, sprites, strict=True):
        event = _event(dice, motion, sprite, moment)
        if event is None:
            return None
        acting.append(replace(sprite, events=(event,)))
    return acting if all(map(_is_inside, acting)) and _is_apart(acting) else None


def _event(dice: Dice, motion: str, sprite: Sprite, moment: int) -> Event | None:
    start, end = WHOLE_CLIP
    size = int(sprite.size_px)
    if motion in DIRECTIONS:
        return Event(motion, start, end, distance_px=dice.whole(10, 26) * math.hypot(*DIRECTIONS[motion]))
    if motion == "bounces":
        return Event(motion, start, end, distance_px=dice.whole(11, 20), num_bounces=dice.whole(2, 3))
    if motion == "spins":
        if size < MIN_SPIN_PX:
            return None
        # As in `standard` clips; the next clip begins with the shape upright again.
        turn = 15 * dice.whole(12, 22)
        return Event(motion, start, end, turn_deg=turn if dice.chance(0.5) else -turn)
    if motion == "grows":
        low = size + MIN_WAY_PX
        return (
            Event(motion, start, end, to_size_px=dice.whole(low, MAX_SIZE_PX)) if low <= MAX_SIZE_PX else None
        )
    if motion == "shrinks":
        high = size - MIN_WAY_PX
        return (
            Event(motion, start, end, to_size_px=dice.whole(MIN_SIZE_PX, high))
            if high >= MIN_SIZE_PX
            else None
        )
    return Event(motion, moment, moment) if motion in SUDDEN_MOTIONS else Event("stays")


def _is_inside(sprite: Sprite) -> bool:
    turns = sprite.events[0].motion == "spins"
    for state in track(sprite):
        reach = state.size_px * (0.62 if turns else 0.5) + _EDGE_PX
        if not all(reach <= place <= REFERENCE_SIZE_PX - reach for place in (state.x_px, state.y_px)):
            return False
    return True


def _is_apart(sprites: Sequence[Sprite]) -> bool:
    """Whether two sprites keep clear of each other in every frame."""
    if len(sprites) < 2:
        return True
    one, two = (track(sprite) for sprite in sprites)
    return all(
        math.hypot(a.x_px - b.x_px, a.y_px - b.y_px) >= (a.size_px + b.size_px) / 2 + 1
        for a, b in zip(one, two, strict=True)
    )


def _after(sprite: Sprite) -> Sprite:
    """The sprite as the clip leaves it."""
    last = track(sprite)[-1]
    return replace(sprite, x_px=last.x_px, y_px=last.y_px, size_px=last.size_px)
