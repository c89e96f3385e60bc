"""Scene -> what an onlooker would say: a small grammar with several wordings, short or full.

A short caption names the sprites and what they do, in order. A full one also says where they start, which way
they spin, whether they are small or large, and what lies behind. Only what the frames show is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from divot.world.scene import Background, Event, Scene, Sprite
from divot.world.track import track
from divot.world.vocabulary import DIRECTIONS, REFERENCE_SIZE_PX

STYLES: tuple[str, ...] = ("full", "short")

Pick = Callable[[Sequence[str]], str]

SMALL_PX, LARGE_PX = 13, 20
PLACES = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
VERBS: dict[str, tuple[str, ...]] = {
    "moves_left": ("moves left", "moves to the left", "slides left"),
    "moves_right": ("moves right", "moves to the right", "slides right"),
    "moves_up": ("moves up", "moves upwards", "rises"),
    "moves_down": ("moves down", "moves downwards", "sinks"),
    "moves_up_left": ("moves up and to the left", "moves diagonally up left"),
    "moves_up_right": ("moves up and to the right", "moves diagonally up right"),
    "moves_down_left": ("moves down and to the left", "moves diagonally down left"),
    "moves_down_right": ("moves down and to the right", "moves diagonally down right"),
    "grows": ("grows", "gets bigger", "becomes larger"),
    "shrinks": ("shrinks", "gets smaller", "becomes smaller"),
    "bounces": ("bounces", "bounces up and down", "hops up and down"),
    "appears": ("appears", "shows up"),
    "disappears": ("disappears", "vanishes"),
    "stays": ("stays still", "does not move", "stays in place"),
}
TEXTURE_WORDS = {"stripes": "striped", "checks": "checked", "dots": "dotted", "clouds": "cloudy"}


def caption(scene: Scene, seed: int | np.random.Generator = 0, style: str = "full") -> str:
    """One wording of what the scene shows.

    Args:
        scene: what to tell.
        seed: chooses among the wordings; a number of 0 or more, or a generator to draw from.
        style: one of `STYLES`.

    Raises:
        ValueError: if the style is unknown.
    """
    rng = np.random.default_rng(seed)
    return _tell(scene, style, lambda options: options[int(rng.random() * len(options))])


def still_caption(scene: Scene, seed: int | np.random.Generator = 0) -> str:
    """One wording of what a picture of the scene shows: the first frame's sprites, their places, the background."""
    rng = np.random.default_rng(seed)
    seen = " and ".join(
        f"{_with_article(_name(sprite, is_full=True))} {place_words(sprite)}" for sprite in scene.sprites
    )
    looks, noun = background_words(scene.background)
    if rng.random() < 0.5:
        return _sentence(f"{seen} on {_with_article(looks)}{noun}")
    return _sentence(f"on {_with_article(looks)}{noun}, {seen}")


def captions(scene: Scene, style: str = "full") -> list[str]:
    """Every wording of what the scene shows, without repeats; from a handful to some hundreds.

    Raises:
        ValueError: if the style is unknown.
    """
    wordings: dict[str, None] = {}
    odometer: _Odometer | None = _Odometer([])
    while odometer is not None:
        wordings[_tell(scene, style, odometer.pick)] = None
        odometer = odometer.following()
    return list(wordings)


class _Odometer:
    """Makes given choices, then first ones, and knows what choices come next."""

    def __init__(self, choices: list[int]) -> None:
        self._choices = choices
        self._made: list[tuple[int, int]] = []

    def pick(self, options: Sequence[str]) -> str:
        place = len(self._made)
        choice = self._choices[place] if place < len(self._choices) else 0
        self._made.append((choice, len(options)))
        return options[choice]

    def following(self) -> _Odometer | None:
        """The odometer of the next wording, None after the last one."""
        made = list(self._made)
        # The last choice that has a next option moves on; those behind it begin anew.
        while made and made[-1][0] + 1 == made[-1][1]:
            made.pop()
        if not made:
            return None
        return _Odometer([choice for choice, _ in made[:-1]] + [made[-1][0] + 1])


def _tell(scene: Scene, style: str, pick: Pick) -> str:
    if style not in STYLES:
        raise ValueError(f"style: got {style!r}, wanted one of {', '.join(STYLES)}")
    is_full = style == "full"
    story = _story(scene.sprites, is_full, pick)
    if not is_full:
        return _sentence(story)
    looks, noun = background_words(scene.background)
    if pick(("before", "after")) == "before":
        return _sentence(f"on {_with_article(looks)}{noun}, {story}")
    return f"{_sentence(story)} The background is {looks if noun else _with_article(looks)}."


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _story(sprites: tuple[Sprite, ...], is_full: bool, pick: Pick) -> str:
    if len(sprites) == 1:
        return _clause(sprites[0], is_full, pick)
    one, two = (_clause(sprite, is_full, pick) for sprite in sprites)
    if sprites[0].events[-1].end_frame < sprites[1].events[0].start_frame:
        form = pick(("first", "then", "after"))
        if form == "first":
            return f"first {one}, then {two}"
        return f"{one}, and then {two}" if form == "then" else f"{two} after {one}"
    form = pick(("while", "and"))
    return f"{one} while {two}" if form == "while" else f"{one}, and at the same time {two}"


def _clause(sprite: Sprite, is_full: bool, pick: Pick) -> str:
    name = _with_article(_name(sprite, is_full))
    colours = _colours_before(sprite)
    verbs = [
        _verb(event, colour, is_full, pick) for event, colour in zip(sprite.events, colours, strict=True)
    ]
    if not is_full:
        return f"{name} {' and then '.join(verbs)}"
    place = place_words(sprite)
    first = sprite.events[0].motion
    if first == "appears":
        # "appears at the top": the place belongs to the first event, and nothing was there before.
        return f"{name} {' and then '.join([f'{verbs[0]} {place}', *verbs[1:]])}"
    if len(verbs) > 1:
        if pick(("starts", "first")) == "starts":
            return f"{name} starts {place}, {', then '.join(verbs)}"
        return f"{name} {place} first {' and then '.join(verbs)}"
    if first in DIRECTIONS and pick(("starts", "at")) == "starts":
        return f"{name} starts {place} and {verbs[0]}"
    return f"{name} {place} {verbs[0]}"


def _colours_before(sprite: Sprite) -> list[str]:
    colours = [sprite.colour]
    for event in sprite.events:
        colours.append(event.to_colour or colours[-1])
    return colours[:-1]


def _verb(event: Event, colour: str, is_full: bool, pick: Pick) -> str:
    if event.motion == "changes_colour":
        to_colour = event.to_colour
        return pick((f"turns {to_colour}", f"changes colour from {colour} to {to_colour}"))
    if event.motion == "spins":
        way = "clockwise" if event.turn_deg > 0 else "anticlockwise"
        return pick((f"spins {way}", f"turns {way}") if is_full else ("spins", "rotates"))
    return pick(VERBS[event.motion])


def _name(sprite: Sprite, is_full: bool) -> str:
    size = ""
    if is_full and sprite.size_px <= SMALL_PX:
        size = "small "
    elif is_full and sprite.size_px >= LARGE_PX:
        size = "large "
    return f"{size}{sprite.colour} {sprite.shape}"


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def place_words(sprite: Sprite) -> str:
    """Where the sprite is in the first frame that shows it, in thirds of the frame."""
    seen = next(state for state in track(sprite) if state.is_visible)
    column, row = (min(2, int(3 * value / REFERENCE_SIZE_PX)) for value in (seen.x_px, seen.y_px))
    return PLACES[row][column]


def background_words(background: Background) -> tuple[str, str]:
    """How the background looks, and the noun to add where there is none yet."""
    if background.kind == "gradient":
        return f"gradient from {background.colour} to {background.to_colour}", ""
    kind = TEXTURE_WORDS[background.texture] if background.kind == "texture" else "plain"
    return f"{kind} {background.colour}", " background"
