"""Plans: what a clip can be drawn from, in a few words and numbers."""

import pytest

from divot.video import SEEN_FRAMES
from divot.world import Background, Event, Scene, Sprite, sample_scene
from divot.world.plans import PLAN_FRAMES, plan

PLAIN = Background("plain", "grey")


def scene(*events, background=PLAIN):
    return Scene(background, (Sprite("star", "red", 16, 16, 48, events),))


def test_a_plan_tells_of_the_frames_that_are_seen():
    assert PLAN_FRAMES == SEEN_FRAMES


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (Event("stays"), "25 25 75, 25 25 75, 25 25 75, 25 25 75, 25 25 75"),
        (
            Event("moves_up_right", 0, 8, distance_px=16 * 2**0.5),
            "25 25 75, 25 38 62, 25 50 50, 25 50 50, 25 50 50",
        ),
        (Event("grows", 0, 8, to_size_px=24), "25 25 75, 31 25 75, 38 25 75, 38 25 75, 38 25 75"),
        (
            Event("spins", 0, 12, turn_deg=-180),
            "25 25 75 0, 25 25 75 300, 25 25 75 240, 25 25 75 180, 25 25 75 180",
        ),
        (
            Event("changes_colour", 8, 8, to_colour="pink"),
            "red 25 25 75, red 25 25 75, pink 25 25 75, pink 25 25 75, pink 25 25 75",
        ),
        (Event("appears", 5, 5), "gone, gone, 25 25 75, 25 25 75, 25 25 75"),
        (Event("disappears", 13, 13), "25 25 75, 25 25 75, 25 25 75, 25 25 75, gone"),
    ],
)
def test_a_sprite_is_told_of_frame_by_frame(event, told):
    assert plan(scene(event)) == f"red star {told}; plain grey"


def test_two_sprites_and_what_lies_behind():
    one, two = (Sprite(shape, "blue", 16, 16, 48, (Event("stays"),)) for shape in ("star", "ring"))
    at = ", ".join(["25 25 75"] * 5)
    far = Background("gradient", "grey", to_colour="brown", angle_deg=315.0)
    assert plan(Scene(far, (one, two))) == f"blue star {at}; blue ring {at}; gradient from grey to brown 315"
    texture = Background("texture", "dark blue", texture="stripes", angle_deg=60.0, period_px=8.0, contrast=9)
    assert plan(scene(Event("stays"), background=texture)) == f"red star {at}; striped dark blue 60 12"


def test_scenes_that_differ_have_plans_that_differ():
    told = {plan(sample_scene(5, index)) for index in range(300)}
    assert len(told) == 300
