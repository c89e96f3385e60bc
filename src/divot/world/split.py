"""The compositional split: which colour x shape x motion triples training never sees."""

from __future__ import annotations

import hashlib
from functools import cache

from divot.world.scene import Scene, Sprite
from divot.world.vocabulary import COLOURS, MOTIONS, ROUND_SHAPES, SHAPES

Triple = tuple[str, str, str]

# One triple in this many is held out, give or take what the hash does.
_HELD_OUT_ONE_IN = 8


@cache
def is_held_out(colour: str, shape: str, motion: str) -> bool:
    """Whether the triple belongs to the test split; decided by a hash of its three words alone."""
    digest = hashlib.sha256(f"{colour} {shape} {motion}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _HELD_OUT_ONE_IN == 0


def possible_triples() -> list[Triple]:
    """All (colour, shape, motion) that a scene can show: a round shape never spins."""
    return [
        (colour, shape, motion)
        for colour in COLOURS
        for shape in SHAPES
        for motion in MOTIONS
        if not (motion == "spins" and shape in ROUND_SHAPES)
    ]


def sprite_triples(sprite: Sprite) -> list[Triple]:
    """The triples that a sprite shows: one an event, two for a change of colour (the old and the new one)."""
    return event_triples(
        sprite.shape, sprite.colour, [(event.motion, event.to_colour) for event in sprite.events]
    )


def event_triples(shape: str, colour: str, events: list[tuple[str, str]]) -> list[Triple]:
    """As `sprite_triples`, of a sprite not made yet; events are pairs of motion and new colour (or empty)."""
    triples = []
    for motion, to_colour in events:
        triples.append((colour, shape, motion))
        if to_colour:
            colour = to_colour
            triples.append((colour, shape, motion))
    return triples


def scene_triples(scene: Scene) -> list[Triple]:
    """The triples of all sprites of a scene."""
    return [triple for sprite in scene.sprites for triple in sprite_triples(sprite)]


def fits_split(triples: list[Triple], split: str) -> bool:
    """Whether a sprite of these triples fits the split: in train none is held out, in test one at least."""
    return any(is_held_out(*triple) for triple in triples) == (split == "test")
