"""Facts: what a scene's caption tells, one by one, and what a text tells, read back from its words.

`caption_facts` reads every wording of `captions` back to exactly `scene_facts`. Of a text that is no caption it
takes what it understands and passes over the rest, so that a model's words can be scored fact by fact.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from divot.world.captioning import LARGE_PX, PLACES, SMALL_PX, STYLES, TEXTURE_WORDS, VERBS, place_words
from divot.world.scene import Background, Scene, Sprite
from divot.world.vocabulary import BACKGROUND_COLOURS, COLOURS, SHAPES

AT_ONCE = "at the same time"


class Fact(NamedTuple):
    """One thing told.

    Attributes:
        about: a sprite by colour and shape at the start, such as `red star`; `background`; or `order`.
        aspect: of a sprite `is`, `size`, `place`, `does 1`, `does 2`, `way 1` (of a spin) or `turns to`; of the
            background `kind` or `colour`; of the order `first`. A gradient has two colours, and no order among them:
            a caption does not tell its angle, and from either colour to the other it can be the same picture.
        value: a word of the vocabulary, a place, a sprite's name, or `AT_ONCE`.
    """

    about: str
    aspect: str
    value: str


def scene_facts(scene: Scene, style: str = "full") -> frozenset[Fact]:
    """What a caption of this style tells of the scene.

    Raises:
        ValueError: if the style is unknown.
    """
    if style not in STYLES:
        raise ValueError(f"style: got {style!r}, wanted one of {', '.join(STYLES)}")
    is_full = style == "full"
    facts: set[Fact] = set()
    for sprite in scene.sprites:
        facts.update(_sprite_facts(sprite, is_full))
    if len(scene.sprites) == 2:
        one, two = scene.sprites
        is_in_turn = one.events[-1].end_frame < two.events[0].start_frame
        facts.add(Fact("order", "first", _name(one) if is_in_turn else AT_ONCE))
    if is_full:
        facts.update(_background_facts(scene.background))
    return frozenset(facts)


def caption_facts(text: str) -> frozenset[Fact]:
    """What a text tells, of the things that captions tell; never fails, and ignores what it does not know."""
    words = " ".join(re.findall(r"[a-z]+", text.lower()))
    facts: set[Fact] = set()
    for kind, colour, near, far in _BACKGROUND.findall(words):
        facts.add(Fact("background", "kind", kind or "gradient"))
        facts.update(Fact("background", "colour", one) for one in (colour, near, far) if one)
    story = _BACKGROUND.sub(" ", words)
    mentions = list(_SPRITE.finditer(story))
    told: dict[str, str] = {}
    for mention, following in zip(mentions, [*mentions, None][1:], strict=True):
        size, name = mention.groups()
        clause = story[mention.end() : following.start() if following else len(story)]
        told[name] = f"{told.get(name, '')} {clause}"
        facts.add(Fact(name, "is", "shown"))
        if size:
            facts.add(Fact(name, "size", size))
        if following and following[2] != name:
            facts.update(_order_fact(name, clause, following[2]))
    for name, clause in told.items():
        facts.update(_told_facts(name, clause))
    return frozenset(facts)


def fact_f1(told: Collection[Fact], true: Collection[Fact]) -> float:
    """Harmonic mean of the share of told facts that are true and of true facts that are told, 0 to 1."""
    if not told and not true:
        return 1.0
    return 2.0 * len(set(told) & set(true)) / (len(set(told)) + len(set(true)))


def caption_f1(text: str, scene: Scene, style: str = "full") -> float:
    """`fact_f1` of a text against what a caption of this style tells of the scene.

    Raises:
        ValueError: if the style is unknown.
    """
    return fact_f1(caption_facts(text), scene_facts(scene, style))


def _name(sprite: Sprite) -> str:
    return f"{sprite.colour} {sprite.shape}"


def _sprite_facts(sprite: Sprite, is_full: bool) -> Iterable[Fact]:
    name = _name(sprite)
    yield Fact(name, "is", "shown")
    for number, event in enumerate(sprite.events, 1):
        yield Fact(name, f"does {number}", event.motion)
        if event.to_colour:
            yield Fact(name, "turns to", event.to_colour)
        if is_full and event.motion == "spins":
            yield Fact(name, f"way {number}", "clockwise" if event.turn_deg > 0 else "anticlockwise")
    if is_full:
        yield Fact(name, "place", place_words(sprite))
        if sprite.size_px <= SMALL_PX:
            yield Fact(name, "size", "small")
        elif sprite.size_px >= LARGE_PX:
            yield Fact(name, "size", "large")


def _background_facts(background: Background) -> Iterable[Fact]:
    yield Fact("background", "kind", TEXTURE_WORDS.get(background.texture, background.kind))
    yield Fact("background", "colour", background.colour)
    if background.to_colour:
        yield Fact("background", "colour", background.to_colour)


def _order_fact(name: str, clause: str, next_name: str) -> Iterable[Fact]:
    """What the words between two sprites say about their order; the last such word counts."""
    joints = re.findall(r"\b(then|after|while|at the same time)\b", clause)
    if joints:
        values = {"then": name, "after": next_name}
        yield Fact("order", "first", values.get(joints[-1], AT_ONCE))


def motions_told(words: str) -> list[str]:
    """The motions that a piece of text tells of, in its order."""
    words = " ".join(re.findall(r"[a-z]+", words.lower()))
    return [_motion_of(verb) for verb in _VERB.finditer(words)]


def _motion_of(verb: re.Match[str]) -> str:
    if verb["way"] or verb["spin"]:
        return "spins"
    return "changes_colour" if verb["to"] else _MOTION_OF[verb["plain"]]


def _told_facts(name: str, clause: str) -> Iterable[Fact]:
    places = _PLACE.findall(clause)
    if places:
        yield Fact(name, "place", places[0])
    for number, verb in enumerate(_VERB.finditer(clause), 1):
        yield Fact(name, f"does {number}", _motion_of(verb))
        if verb["way"]:
            yield Fact(name, f"way {number}", verb["way"])
        elif verb["to"]:
            yield Fact(name, "turns to", verb["to"])


def _either(options: Iterable[str]) -> str:
    """A pattern of one of these wordings, the longest that fits."""
    return "|".join(sorted(options, key=len, reverse=True))


_MOTION_OF = {wording: motion for motion, wordings in VERBS.items() for wording in wordings}
_COLOUR, _BEHIND = _either(COLOURS), _either(BACKGROUND_COLOURS)
_SPRITE = re.compile(rf"\b(?:(small|large) )?((?:{_COLOUR}) (?:{_either(SHAPES)}))\b")
_PLACE = re.compile(rf"\b({_either(place for row in PLACES for place in row)})\b")
_LOOKS = (
    rf"(?:({_either(['plain', *TEXTURE_WORDS.values()])}) ({_BEHIND})"
    rf"|gradient from ({_BEHIND}) to ({_BEHIND}))"
)
_BACKGROUND = re.compile(rf"\b(?:on|the background is)(?: an?)? {_LOOKS}(?: background)?\b")
_VERB = re.compile(
    rf"\b(?:(?:spins|turns|rotates) (?P<way>clockwise|anticlockwise)"
    rf"|(?:turns|changes colour(?: from (?:{_COLOUR}))? to) (?P<to>{_COLOUR})"
    rf"|(?P<spin>spins|rotates)"
    rf"|(?P<plain>{_either(_MOTION_OF)}))\b"
)
