import copy
import json

import pytest

from divot.world import Background, Event, Scene, Sprite, sample_scene


@pytest.fixture
def values():
    return sample_scene(0, 4).to_dict()


def test_scenes_survive_json():
    for index in range(300):
        scene = sample_scene(1, index, "test" if index % 2 else "train")
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sprites", 0, "shape"), "banana", r"sprite\.shape: got 'banana', wanted one of circle"),
        (("sprites", 0, "colour"), "beige", r"sprite\.colour: got 'beige'"),
        (("sprites", 0, "size_px"), "big", r"scene\.sprites\[0\]\.size_px: got 'big', wanted float"),
        (("sprites", 0, "events"), [], r"sprite\.events: got none"),
        (("sprites", 0, "events"), "moves", r"events: got 'moves', wanted a list"),
        (("sprites", 0, "events", 0, "motion"), "dances", r"event\.motion: got 'dances'"),
        (("sprites", 0, "events", 0, "end_frame"), 16, r"event frames: got"),
        (("background", "kind"), "photo", r"background\.kind: got 'photo'"),
        (("background", "weather"), "rain", r"scene\.background: missing or unknown fields weather"),
        (("sprites",), [], r"scene\.sprites: got 0 sprites, wanted 1 or 2"),
        (("background",), "grey", r"scene\.background: got str, wanted a mapping"),
    ],
)
def test_unknown_values_are_refused_by_name(values, path, value, message):
    values = copy.deepcopy(values)
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        Scene.from_dict(values)


def test_a_missing_field_is_refused_by_name(values):
    del values["sprites"][0]["shape"]
    with pytest.raises(ValueError, match="missing or unknown fields shape"):
        Scene.from_dict(values)


def test_a_circle_cannot_spin():
    with pytest.raises(ValueError, match="a circle that spins looks still"):
        Sprite("circle", "red", 12, 30, 30, (Event("spins", turn_deg=180),))


def test_events_of_a_sprite_cannot_overlap_in_time():
    events = (Event("moves_left", 0, 8, distance_px=10), Event("moves_up", 8, 15, distance_px=10))
    with pytest.raises(ValueError, match="'moves_up' begins in frame 8, wanted one after 8"):
        Sprite("star", "red", 12, 30, 30, events)


def test_an_amount_that_the_motion_does_not_use_is_refused():
    with pytest.raises(ValueError, match=r"event\.turn_deg of 'stays': got a value, wanted none"):
        Event("stays", turn_deg=90)
    with pytest.raises(ValueError, match=r"event\.distance_px of 'moves_up': got none, wanted a value"):
        Event("moves_up")


def test_a_sudden_motion_takes_one_frame():
    with pytest.raises(ValueError, match="'appears': got 3 and 5, wanted equal ones"):
        Event("appears", 3, 5)


def test_a_gradient_needs_its_second_colour():
    with pytest.raises(ValueError, match=r"background\.to_colour of 'gradient': got none"):
        Background("gradient", "grey")
