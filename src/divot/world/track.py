"""Scene -> the state of each sprite in each frame: place, size, angle, colour, and whether it is there."""

from __future__ import annotations

import math
from typing import NamedTuple

from divot.world.scene import Sprite
from divot.world.vocabulary import DIRECTIONS, NUM_FRAMES, SUDDEN_MOTIONS


class SpriteState(NamedTuple):
    """A sprite in one frame; pixels of the reference frame, degrees clockwise."""

    x_px: float
    y_px: float
    size_px: float
    angle_deg: float
    colour: str
    is_visible: bool


def track(sprite: Sprite) -> list[SpriteState]:
    """The sprite's state in each of the `NUM_FRAMES` frames."""
    # What appears only later is not there before.
    is_hidden = any(event.motion == "appears" for event in sprite.events)
    return [_state(sprite, frame, not is_hidden) for frame in range(NUM_FRAMES)]


def _state(sprite: Sprite, frame: int, is_visible: bool) -> SpriteState:
    x_px, y_px, size_px = sprite.x_px, sprite.y_px, sprite.size_px
    angle_deg, colour = 0.0, sprite.colour
    for event in sprite.events:
        if frame < event.start_frame:
            break
        motion = event.motion
        if motion == "stays":
            continue
        if motion in SUDDEN_MOTIONS:
            is_visible = motion != "disappears" and (is_visible or motion == "appears")
            colour = event.to_colour or colour
            continue
        done = min(1.0, (frame - event.start_frame) / (event.end_frame - event.start_frame))
        if motion in DIRECTIONS:
            step_x, step_y = DIRECTIONS[motion]
            way_px = done * event.distance_px / math.hypot(step_x, step_y)
            x_px, y_px = x_px + way_px * step_x, y_px + way_px * step_y
        elif motion == "bounces":
            # One parabola a bounce: fast near the ground, slow at the top.
            phase = (done * event.num_bounces) % 1.0
            y_px -= event.distance_px * 4.0 * phase * (1.0 - phase)
        elif motion == "spins":
            angle_deg += done * event.turn_deg
        else:
            assert motion in ("grows", "shrinks"), motion
            size_px += done * (event.to_size_px - size_px)
    return SpriteState(x_px, y_px, size_px, angle_deg, colour, is_visible)
