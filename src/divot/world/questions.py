"""Questions and answers about a scene, so that what is known of a clip can be asked for piece by piece.

Nothing is asked that the frames do not tell for certain: a sprite is called by its first colour or by its shape,
and only where no other sprite bears the name, or just "it" where it is the only one; a place near a border of two
thirds is not asked for. Wordings are many, answers one to four words, one fixed wording for each motion.

Words alone should not give an answer away: yes and no are equally likely for the same question, letters too, and
wrong motions are drawn from those that a sprite of such a scene could make. They share with the right one on
which side of the split their triple lies, as long as there are such, so that the held-out triples, too, tell
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from divot.world.captioning import PLACES, TEXTURE_WORDS
from divot.world.scene import Event, Scene, Sprite
from divot.world.split import is_held_out
from divot.world.track import SpriteState, track
from divot.world.vocabulary import (
    DIRECTIONS,
    MOTIONS,
    REFERENCE_SIZE_PX,
    ROUND_SHAPES,
    SUDDEN_MOTIONS,
)

T = TypeVar("T")

# In words: each motion's one answer.
ACTIONS: dict[str, str] = {
    **{motion: motion.replace("_", " ") for motion in MOTIONS},
    "changes_colour": "changes colour",
    "stays": "stays still",
}
# Where it is not just the base form and "ing".
_VERBS_ING = {"move": "moving", "bounce": "bouncing", "spin": "spinning", "change": "changing"}
_BASE_FORMS = {
    motion: {"changes_colour": "change colour", "stays": "stay still"}.get(
        motion, " ".join([words.split()[0].removesuffix("s"), *words.split()[1:]])
    )
    for motion, words in ACTIONS.items()
}
_ING_FORMS = {
    motion: " ".join([_VERBS_ING.get(words.split()[0], f"{words.split()[0]}ing"), *words.split()[1:]])
    for motion, words in _BASE_FORMS.items()
}
LETTERS = "ABCD"
# Places this near a border between two thirds of the frame could be called either.
_BORDER_PX = 2.5
# One sprite in so many neither grows nor shrinks for each that grows: evens out the three answers.
_SAME_SIZE_SHARE = 1 / 13


@dataclass(frozen=True)
class Question:
    """A question with its one right answer.

    Attributes:
        kind: one of `KINDS`.
        text: the question; for `choice` with the four options in it.
        answer: one to four words in lower case; for `choice` a letter of `LETTERS`.
        choices: for `choice` the four options in the order of their letters, else empty.
    """

    kind: str
    text: str
    answer: str
    choices: tuple[str, ...] = ()


def questions(scene: Scene, seed: int | np.random.Generator) -> list[Question]:
    """One question of each kind that the scene permits, in the order of `KINDS`.

    Args:
        scene: what to ask about.
        seed: chooses sprites, wordings and wrong options; a number of 0 or more, or a generator to draw from.
    """
    dice = _Dice(np.random.default_rng(seed))
    asked = [(kind, ask(scene, dice)) for kind, ask in _ASKERS.items()]
    return [Question(kind, *parts) for kind, parts in asked if parts is not None]


def question(scene: Scene, seed: int | np.random.Generator) -> Question:
    """One of `questions(scene, seed)`, each as likely as the others."""
    rng = np.random.default_rng(seed)
    permitted = questions(scene, rng)
    return permitted[int(rng.random() * len(permitted))]


class _Dice:
    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def pick(self, values: Sequence[T]) -> T:
        return values[int(self._rng.random() * len(values))]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        return [values[place] for place in self._rng.permutation(len(values))]


Parts = tuple[str, str] | tuple[str, str, tuple[str, ...]]
Asker = Callable[[Scene, _Dice], "Parts | None"]


def _shape(scene: Scene, dice: _Dice) -> Parts:
    sprite = dice.pick(scene.sprites)
    forms = [
        "What shape is the {0} thing?",
        "Which shape does the {0} thing have?",
        "What is the {0} thing?",
        "What shape is the {0} one?",
    ]
    if len(scene.sprites) == 1:
        forms += ["What shape is it?", "Which shape is it?", "What shape is shown?"]
    return dice.pick(forms).format(sprite.colour), sprite.shape


def _colour(scene: Scene, dice: _Dice) -> Parts | None:
    sprite = dice.pick(scene.sprites)
    if not _has_own_shape(sprite, scene):
        return None
    when = dice.pick((" at first", " to begin with")) if _to_colour(sprite) else ""
    forms = ("What colour is {0}{1}?", "Which colour does {0} have{1}?", "What color is {0}{1}?")
    names = [f"the {sprite.shape}", *_names_of_only(scene)]
    return dice.pick(forms).format(dice.pick(names), when), sprite.colour


def _count(scene: Scene, dice: _Dice) -> Parts:
    text = dice.pick(
        (
            "How many things are shown in all?",
            "How many shapes does the clip show?",
            "How many shapes are there?",
            "How many things are there?",
            "How many objects do you see?",
        )
    )
    return text, ("one", "two")[len(scene.sprites) - 1]


def _place(scene: Scene, dice: _Dice) -> Parts | None:
    """Where a sprite is at the start, at the end, all the time, or where it appears or was last seen."""
    sprite = dice.pick(scene.sprites)
    states = track(sprite)
    seen = [state for state in states if state.is_visible]
    places = {_place_words(state) for state in seen}
    if len(places) == 1 and None not in places and dice.chance(0.5):
        return f"Where is {_name(sprite, scene, dice)}?", str(places.pop())
    is_end = dice.chance(0.5)
    state = seen[-1 if is_end else 0]
    words = _place_words(state)
    if words is None:
        return None
    name = _name(sprite, scene, dice)
    motions = [event.motion for event in sprite.events]
    if is_end:
        forms: tuple[str, ...] = ("Where is {0} at the end?", "Where does {0} end?")
        if "disappears" in motions:
            forms = ("Where is {0} last seen?", "Where does {0} disappear?")
    else:
        forms = ("Where is {0} at the start?", "Where does {0} start?")
        if "appears" in motions:
            forms = ("Where does {0} appear?", "Where is {0} first seen?")
    return dice.pick(forms).format(name), words


def _behind(scene: Scene, dice: _Dice) -> Parts:
    text = dice.pick(
        (
            "What does the background look like?",
            "What kind of background is it?",
            "What is the background like?",
            "What is the background?",
        )
    )
    return text, TEXTURE_WORDS.get(scene.background.texture, scene.background.kind)


def _direction(scene: Scene, dice: _Dice) -> Parts | None:
    """Which way a sprite moves, or spins."""
    sprite = dice.pick(scene.sprites)
    turning = [event for event in sprite.events if event.motion == "spins"]
    moving = [event for event in sprite.events if event.motion in DIRECTIONS]
    name = _name(sprite, scene, dice)
    if turning and (not moving or dice.chance(0.5)):
        text = dice.pick(("Which way does {0} spin?", "In which direction does {0} turn?"))
        return text.format(name), "clockwise" if turning[0].turn_deg > 0 else "anticlockwise"
    if len(moving) != 1:
        return None
    text = dice.pick(
        (
            "Which way does {0} move?",
            "In which direction does {0} move?",
            "Which direction is {0} moving in?",
            "Where does {0} go?",
        )
    )
    return text.format(name), ACTIONS[moving[0].motion].removeprefix("moves ")


def _action(scene: Scene, dice: _Dice) -> Parts | None:
    """What a sprite with a single event does."""
    sprite = dice.pick(scene.sprites)
    if len(sprite.events) > 1:
        return None
    forms = ["What does {0} do?", "What happens to {0}?", "What is {0} doing?"]
    if len(scene.sprites) == 1:
        forms += ["What happens?", "What happens in the video?", "What is happening?"]
    text = dice.pick(forms)
    return text.format(_name(sprite, scene, dice)), ACTIONS[sprite.events[0].motion]


def _first(scene: Scene, dice: _Dice) -> Parts | None:
    return _in_turn(scene, dice, 0)


def _last(scene: Scene, dice: _Dice) -> Parts | None:
    return _in_turn(scene, dice, 1)


def _in_turn(scene: Scene, dice: _Dice, place: int) -> Parts | None:
    """What happens first, or last, where two things happen in turn; or to which of two sprites."""
    order = _order(scene)
    if order is None:
        return None
    sprite, event = order[place]
    when = ("first", "last")[place]
    if len(scene.sprites) == 1:
        text = dice.pick(("What does {0} do {1}?", "What happens to {0} {1}?"))
        return text.format(_name(sprite, scene, dice), when), ACTIONS[event.motion]
    if dice.chance(0.5):
        return dice.pick((f"Which one acts {when}?", f"Which thing acts {when}?")), (
            f"{sprite.colour} {sprite.shape}"
        )
    return dice.pick((f"What happens {when}?", f"What is the {when} thing that happens?")), ACTIONS[
        event.motion
    ]


def _change(scene: Scene, dice: _Dice) -> Parts | None:
    """To which colour a sprite turns, or what becomes of its size."""
    sprite = dice.pick(scene.sprites)
    name = _name(sprite, scene, dice)
    to_colour = _to_colour(sprite)
    if to_colour:
        text = dice.pick(("Which colour does {0} turn?", "To which colour does {0} change?"))
        return text.format(name), to_colour
    resizes = [event.motion for event in sprite.events if event.motion in ("grows", "shrinks")]
    if len(resizes) > 1 or not (resizes or dice.chance(_SAME_SIZE_SHARE)):
        return None
    text = dice.pick(("How does the size of {0} change?", "Does {0} grow, shrink or stay the same?"))
    return text.format(name), resizes[0] if resizes else "stays the same"


def _yes_no(scene: Scene, dice: _Dice) -> Parts | None:
    """Whether a sprite does something; of a sprite with two events, whether it does them in this order."""
    sprite = dice.pick(scene.sprites)
    motions = [event.motion for event in sprite.events]
    is_true = dice.chance(0.5)
    name = _name(sprite, scene, dice)
    answer = "yes" if is_true else "no"
    if len(motions) == 2:
        if {"appears", "disappears"} & set(motions):
            # They have their fixed place in an order, which words alone would tell.
            return None
        early, late = motions if is_true else motions[::-1]
        text = dice.pick(("Does {0} {1} before it {3}?", "Does {0} {2} after it {4}?"))
        words = (_BASE_FORMS[early], _BASE_FORMS[late], ACTIONS[late], ACTIONS[early])
        return text.format(name, *words), answer
    motion = motions[0] if is_true else _wrong_motions(scene, sprite, dice)[0]
    text = dice.pick(("Does {0} {1}?", "Is it true that {0} {2}?", "Is {0} {3}?"))
    return text.format(name, _BASE_FORMS[motion], ACTIONS[motion], _ING_FORMS[motion]), answer


def _choice(scene: Scene, dice: _Dice) -> Parts | None:
    """What a sprite with a single event does, among four."""
    sprite = dice.pick(scene.sprites)
    if len(sprite.events) > 1:
        return None
    right = sprite.events[0].motion
    options = dice.shuffled([right, *_wrong_motions(scene, sprite, dice)[: len(LETTERS) - 1]])
    choices = tuple(ACTIONS[motion] for motion in options)
    listed = " ".join(f"{letter}: {words}." for letter, words in zip(LETTERS, choices, strict=True))
    text = dice.pick(("What does {0} do?", "Which of these does {0} do?")).format(_name(sprite, scene, dice))
    return f"{text} {listed}", LETTERS[options.index(right)], choices


def _wrong_motions(scene: Scene, sprite: Sprite, dice: _Dice) -> list[str]:
    """Motions that a sprite with a single event does not make but could; the first ones are the best."""
    right = sprite.events[0].motion
    could = [
        motion
        for motion in MOTIONS
        if motion != right
        # Who moves down and to the right moves to the right, too; who only changes colour stays where it is.
        and not set(motion.split("_")) < set(right.split("_"))
        and not (motion == "stays" and right in SUDDEN_MOTIONS)
        and not (motion == "spins" and sprite.shape in ROUND_SHAPES)
        and not (motion == "stays" and _order(scene) is not None)
    ]
    side = is_held_out(sprite.colour, sprite.shape, right)
    # Shuffled before: the sort keeps equals in their order.
    return sorted(
        dice.shuffled(could),
        key=lambda motion: is_held_out(sprite.colour, sprite.shape, motion) != side,
    )


def _order(scene: Scene) -> list[tuple[Sprite, Event]] | None:
    """The two events in turn, each with its sprite; None where all happens at once."""
    both = [(sprite, event) for sprite in scene.sprites for event in sprite.events]
    both.sort(key=lambda pair: pair[1].start_frame)
    if len(both) != 2 or both[0][1].end_frame >= both[1][1].start_frame:
        return None
    return both


def _name(sprite: Sprite, scene: Scene, dice: _Dice) -> str:
    names = [f"the {sprite.colour} {sprite.shape}", *_names_of_only(scene)]
    if _has_own_shape(sprite, scene):
        names.append(f"the {sprite.shape}")
    if not _to_colour(sprite):
        names.append(f"the {sprite.colour} thing")
    return dice.pick(names)


def _names_of_only(scene: Scene) -> list[str]:
    """What a sprite that is alone may be called, whatever it looks like."""
    return ["it", "the shape"] if len(scene.sprites) == 1 else []


def _has_own_shape(sprite: Sprite, scene: Scene) -> bool:
    return [other.shape for other in scene.sprites].count(sprite.shape) == 1


def _to_colour(sprite: Sprite) -> str:
    return next((event.to_colour for event in sprite.events if event.to_colour), "")


def _place_words(state: SpriteState) -> str | None:
    """The third of the frame in words; None too near a border."""
    thirds = [3 * value / REFERENCE_SIZE_PX for value in (state.x_px, state.y_px)]
    near = 3 * _BORDER_PX / REFERENCE_SIZE_PX
    if any(abs(third - border) < near for third in thirds for border in (1, 2)):
        return None
    column, row = (min(2, int(third)) for third in thirds)
    return PLACES[row][column]


_ASKERS: dict[str, Asker] = {
    "shape": _shape,
    "colour": _colour,
    "count": _count,
    "place": _place,
    "background": _behind,
    "direction": _direction,
    "action": _action,
    "first": _first,
    "last": _last,
    "change": _change,
    "yes_no": _yes_no,
    "choice": _choice,
}
KINDS: tuple[str, ...] = tuple(_ASKERS)
# No single frame answers these: `yes_no` and `choice` ask about motions only.
MOTION_KINDS = frozenset({"direction", "action", "first", "last", "change", "yes_no", "choice"})
