"""Scene -> a plan: the words and numbers that a clip can be drawn from, where a caption leaves most of it open.

    red star 27 20 83, 27 34 83, 27 48 83, 27 48 58, 27 48 83; striped dark blue 60 12

This is a red star, of size 27 and 20 from the left and 83 from the top in the first of `PLAN_FRAMES`, 34 from the left
in the second, and so on; stripes turned by 60 degrees and 12 apart lie behind. Sizes and places, of the centre, are
hundredths of the frame's side. Where a sprite turns its degrees follow, where it changes its colour that is said each
time, and where it is not there it is `gone`. One scene has one plan. What is not in it, the phase of a texture and the
shade of a background, is too little for a clip to be wrong by.
"""

from __future__ import annotations

from divot.world.captioning import TEXTURE_WORDS
from divot.world.scene import Background, Scene, Sprite
from divot.world.track import SpriteState, track
from divot.world.vocabulary import REFERENCE_SIZE_PX

PLAN_FRAMES = (0, 4, 8, 12, 15)
"""The frames that a plan tells of: those that the tokenizer sees."""
# Few numbers are learned sooner than many, and nobody sees a smaller turn.
_ANGLE_STEP_DEG = 15


def plan(scene: Scene) -> str:
    """Each sprite in frame after frame, and what lies behind."""
    return "; ".join([*map(_sprite, scene.sprites), _background(scene.background)])


def _sprite(sprite: Sprite) -> str:
    motions = [event.motion for event in sprite.events]
    states = track(sprite)
    told = [_state(states[frame], "changes_colour" in motions, "spins" in motions) for frame in PLAN_FRAMES]
    return f"{sprite.colour} {sprite.shape} {', '.join(told)}"


def _state(state: SpriteState, says_colour: bool, says_angle: bool) -> str:
    if not state.is_visible:
        return "gone"
    words = [state.colour] if says_colour else []
    words += [str(_hundredths(length)) for length in (state.size_px, state.x_px, state.y_px)]
    words += [str(round(state.angle_deg / _ANGLE_STEP_DEG) * _ANGLE_STEP_DEG % 360)] if says_angle else []
    return " ".join(words)


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
