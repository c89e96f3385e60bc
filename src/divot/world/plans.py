"""Scene -> a plan: the words and numbers that a clip can be drawn from, where a caption leaves most of it open.

    red star 27 at 20 83 moves right to 48 83, bounces 2 31; striped dark blue 60 12

This is a red star of size 27, its centre at first 20 from the left and 83 from the top, which moves right to 48 and
then bounces twice, 31 high; stripes turned by 60 degrees and 12 apart lie behind. Lengths are hundredths of the frame's
side; what is sudden has its frame. One scene has one plan. What is not in it, the phase of a texture and the shade of a
background, is too little for a clip to be wrong by.
"""

from __future__ import annotations

from divot.world.captioning import TEXTURE_WORDS, VERBS
from divot.world.scene import Background, Event, Scene, Sprite
from divot.world.track import SpriteState, track
from divot.world.vocabulary import DIRECTIONS, REFERENCE_SIZE_PX


def plan(scene: Scene) -> str:
    """The scene's sprites, where and how large they are at the start, what each does, and what lies behind."""
    parts = [_sprite(sprite) for sprite in scene.sprites]
    if len(parts) == 2:
        is_in_turn = scene.sprites[0].events[-1].end_frame < scene.sprites[1].events[0].start_frame
        parts[1] = f"{'then' if is_in_turn else 'and'} {parts[1]}"
    return "; ".join([*parts, _background(scene.background)])


def _sprite(sprite: Sprite) -> str:
    states = track(sprite)
    deeds = ", ".join(_deed(event, states[event.end_frame]) for event in sprite.events)
    size, x, y = (_hundredths(length) for length in (sprite.size_px, sprite.x_px, sprite.y_px))
    return f"{sprite.colour} {sprite.shape} {size} at {x} {y} {deeds}"


def _deed(event: Event, after: SpriteState) -> str:
    motion = event.motion
    if motion in DIRECTIONS:
        return f"{VERBS[motion][0]} to {_hundredths(after.x_px)} {_hundredths(after.y_px)}"
    if motion == "bounces":
        return f"bounces {event.num_bounces} {_hundredths(event.distance_px)}"
    if motion in ("grows", "shrinks"):
        return f"{motion} {_hundredths(event.to_size_px)}"
    if motion == "spins":
        return f"spins {'clockwise' if event.turn_deg > 0 else 'anticlockwise'} {abs(event.turn_deg):.0f}"
    if motion == "changes_colour":
        return f"turns {event.to_colour} {event.start_frame}"
    if motion == "stays":
        return VERBS[motion][0]
    return f"{motion} {event.start_frame}"


def _background(background: Background) -> str:
    if background.kind == "plain":
        return f"plain {background.colour}"
    angle = f"{background.angle_deg:.0f}"
    if background.kind == "gradient":
        return f"gradient from {background.colour} to {background.to_colour} {angle}"
    looks = f"{TEXTURE_WORDS[background.texture]} {background.colour}"
    return f"{looks} {angle} {_hundredths(background.period_px)}"


def _hundredths(length_px: float) -> int:
    return round(100 * length_px / REFERENCE_SIZE_PX)
