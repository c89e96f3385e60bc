"""Seed and index -> a story: three to five clips that follow each other, with a sentence each and named characters.

A character keeps its name, shape and colour from clip to clip; what happens to it comes from `plots.py`.
`told_motions` reads sentences back, so that a story that a model told can be held against the clips that it made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from divot.world.captioning import VERBS, background_words, place_words
from divot.world.distribution import Dice, clip_generator, draw_background
from divot.world.facts import motions_told
from divot.world.plots import WHOLE_CLIP, Character, Deed, draw_cast, draw_plot
from divot.world.scene import Background, Scene, Sprite
from divot.world.verifier import EventReading, Reading, SpriteReading

INSTRUCTIONS: tuple[str, ...] = (
    "Tell a story about {who}.",
    "Tell me a story of {who} in words and clips.",
    "I would like a little film about {who}.",
    "What happens to {who}? Tell it and show it.",
)
# The generator's part after those of a clip's scene and caption.
_PART = 2


@dataclass(frozen=True)
class Chapter:
    """One clip of a story with its sentence."""

    sentence: str
    scene: Scene


@dataclass(frozen=True)
class Story:
    """What was asked for, who is in it, and what happens clip by clip."""

    instruction: str
    characters: tuple[Character, ...]
    chapters: tuple[Chapter, ...]


def story(seed: int, index: int, split: str = "train") -> Story:
    """Story `index` of a seed's endless set.

    Args:
        seed: of the whole set, 0 or more.
        index: of the story, 0 or more; any order gives the same stories.
        split: `train` shows no held-out colour x shape x motion triple; every story of `test` shows one at least.

    Raises:
        ValueError: if the split is unknown, or seed or index is negative.
    """
    dice = Dice(clip_generator(seed, index, split, _PART))
    while True:
        characters = draw_cast(dice)
        plot = draw_plot(dice, characters, split)
        if plot is not None:
            break
    background = draw_background(dice, [character.colour for character in characters])
    who = " and ".join(character.title for character in characters)
    instruction = dice.pick(INSTRUCTIONS).format(who=who)
    return Story(instruction, characters, tuple(_chapters(dice, characters, plot, background)))


def told_motions(sentence: str, characters: Sequence[Character]) -> dict[str, str]:
    """What a sentence says that each character does, by name; a character of whom it says nothing is not in it."""
    names = "|".join(re.escape(character.name) for character in characters)
    parts = re.split(rf"\b({names})\b", sentence) if names else [sentence]
    told: dict[str, str] = {}
    for name, words in zip(parts[1::2], parts[2::2], strict=True):
        motions = motions_told(words)
        if motions:
            told[name] = motions[-1]
    return told


def told_readings(sentences: Sequence[str], characters: Sequence[Character]) -> list[Reading | None]:
    """What the clip of each sentence should show; None for a sentence that says of nobody what happens.

    Whoever is not spoken of stays, or stays away once it has disappeared; who is said to do something is back.
    """
    readings: list[Reading | None] = []
    absent: set[str] = set()
    for sentence in sentences:
        told = told_motions(sentence, characters)
        seen = []
        for one in characters:
            motion = told.get(one.name, "stays")
            if one.name in told:
                absent.discard(one.name)
            if one.name not in absent:
                event = EventReading(motion, *WHOLE_CLIP)
                seen.append(SpriteReading(one.shape, one.colour, 0.0, 0.0, "", (event,)))
            if motion == "disappears":
                absent.add(one.name)
        readings.append(Reading(tuple(seen)) if told else None)
    return readings


def _chapters(
    dice: Dice,
    characters: Sequence[Character],
    plot: Sequence[tuple[Deed, list[Sprite]]],
    background: Background,
) -> Iterator[Chapter]:
    for number, (deed, acting) in enumerate(plot):
        words = _sentence(dice, characters, deed, acting, background if number == 0 else None)
        yield Chapter(words, Scene(background, tuple(acting)))


def _sentence(
    dice: Dice,
    characters: Sequence[Character],
    deed: Deed,
    sprites: Sequence[Sprite],
    background: Background | None,
) -> str:
    """The words of a clip; those of the first one, which come with the background, also say where each starts."""
    if background is not None:
        clauses = [
            _opening(dice, character, sprite, motion)
            for character, sprite, motion in zip(characters, sprites, deed.motions, strict=True)
        ]
        return f"On a {''.join(background_words(background))}, {' while '.join(clauses)}."
    clauses = [
        f"{characters[place].name} {_verb(dice, deed.motions[place], sprites[place])}"
        for place in deed.actors
    ]
    told = " while ".join(clauses)
    link = deed.cause or dice.pick(("", "Then ", "Next "))
    return f"{link}{told}."


def _opening(dice: Dice, character: Character, sprite: Sprite, motion: str) -> str:
    place = place_words(sprite)
    verb = _verb(dice, motion, sprite)
    return f"{character.title} {f'{verb} {place}' if motion == 'appears' else f'{place} {verb}'}"


def _verb(dice: Dice, motion: str, sprite: Sprite) -> str:
    if motion == "spins":
        return "spins clockwise" if sprite.events[0].turn_deg > 0 else "spins anticlockwise"
    return dice.pick(VERBS[motion])
