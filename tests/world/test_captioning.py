import re

import numpy as np
import pytest

from divot.world import Background, Event, Scene, Sprite, caption, captions, sample_scene
from divot.world.captioning import STYLES
from divot.world.vocabulary import MOTIONS

PLAIN = Background("plain", "grey")

# For each motion a word of which every wording has at least one.
EVENT_WORDS = {
    "moves_left": r"left",
    "moves_right": r"right",
    "moves_up": r"up|rises",
    "moves_down": r"down|sinks",
    "moves_up_left": r"up and to the left|up left",
    "moves_up_right": r"up and to the right|up right",
    "moves_down_left": r"down and to the left|down left",
    "moves_down_right": r"down and to the right|down right",
    "grows": r"grows|bigger|larger",
    "shrinks": r"shrinks|smaller",
    "spins": r"spins|turns|rotates",
    "bounces": r"bounces|hops",
    "appears": r"appears|shows up",
    "disappears": r"disappears|vanishes",
    "changes_colour": r"turns|changes colour",
    "stays": r"stays|does not move",
}


def sprite(
    shape: str = "star", colour: str = "red", x_px: float = 10, y_px: float = 10, *events: Event
) -> Sprite:
    return Sprite(shape, colour, 16, x_px, y_px, events or (Event("stays"),))


@pytest.mark.parametrize("style", STYLES)
def test_captions_name_every_sprite_and_event(style):
    for index in range(400):
        scene = sample_scene(1, index)
        words = caption(scene, index, style)
        for one in scene.sprites:
            assert f"{one.colour} {one.shape}" in words
            for event in one.events:
                assert re.search(EVENT_WORDS[event.motion], words), (words, event)
                assert event.to_colour in words


def test_full_captions_say_what_lies_behind_and_where_each_sprite_is():
    places = r"at the (top|bottom)|on the (left|right)|in the middle"
    for index in range(200):
        scene = sample_scene(1, index)
        words = caption(scene, index)
        assert scene.background.colour in words
        assert scene.background.to_colour in words
        assert len(re.findall(places, words)) >= len(scene.sprites)


def test_every_wording_is_one_or_two_clean_sentences():
    for index in range(60):
        scene = sample_scene(6, index)
        for style in STYLES:
            for words in captions(scene, style):
                assert re.fullmatch(r"[A-Z][a-z, ]+\.( The background is [a-z ]+\.)?", words), words
                assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,", words), words


def test_one_scene_has_several_wordings_and_caption_draws_from_them():
    for index in range(40):
        scene = sample_scene(6, index)
        for style in STYLES:
            wordings = captions(scene, style)
            assert len(wordings) == len(set(wordings)) >= 2
            drawn = {caption(scene, seed, style) for seed in range(20)}
            assert drawn <= set(wordings)
            assert len(drawn) >= 2


def test_every_motion_has_at_least_two_wordings():
    amounts = {"grows": {"to_size_px": 24}, "shrinks": {"to_size_px": 8}, "spins": {"turn_deg": 180}}
    amounts["bounces"] = {"distance_px": 12, "num_bounces": 2}
    amounts["changes_colour"] = {"to_colour": "blue"}
    for motion in MOTIONS:
        amount = amounts.get(motion, {"distance_px": 12} if motion.startswith("moves") else {})
        times = (5, 5) if motion in ("appears", "disappears", "changes_colour") else (0, 15)
        scene = Scene(PLAIN, (sprite("star", "red", 32, 32, Event(motion, *times, **amount)),))
        assert len(captions(scene, "short")) >= 2


def test_short_captions_are_shorter():
    for index in range(100):
        scene = sample_scene(1, index)
        assert len(caption(scene, 0, "short")) < len(caption(scene, 0, "full"))


def test_place_is_told_in_thirds():
    places = {
        (10, 10): "at the top left",
        (32, 10): "at the top",
        (50, 10): "at the top right",
        (10, 32): "on the left",
        (32, 32): "in the middle",
        (50, 32): "on the right",
        (10, 50): "at the bottom left",
        (32, 50): "at the bottom",
        (50, 50): "at the bottom right",
    }
    for (x_px, y_px), words in places.items():
        scene = Scene(PLAIN, (sprite("star", "red", x_px, y_px),))
        assert all(f"star {words} " in told for told in captions(scene))


def test_events_of_one_sprite_are_told_in_order():
    events = (Event("moves_right", 0, 7, distance_px=12), Event("disappears", 10, 10))
    scene = Scene(PLAIN, (sprite("star", "red", 10, 10, *events),))
    for style in STYLES:
        for words in captions(scene, style):
            assert re.search(r"right.*then.*(disappears|vanishes)", words)


def test_the_order_of_two_sprites_is_told_either_way_round():
    early = sprite("star", "red", 10, 10, Event("grows", 0, 7, to_size_px=24))
    late = sprite("heart", "blue", 50, 50, Event("disappears", 10, 10))
    for style in STYLES:
        for words in captions(Scene(PLAIN, (early, late)), style):
            assert re.search(r"star.*then.*heart|heart.*after.*star", words), words


def test_what_happens_at_once_is_told_as_such():
    one = sprite("star", "red", 10, 10, Event("moves_right", distance_px=12))
    two = sprite("heart", "blue", 50, 50, Event("moves_left", distance_px=12))
    for style in STYLES:
        for words in captions(Scene(PLAIN, (one, two)), style):
            assert "while" in words or "at the same time" in words
            assert "then" not in words


def test_way_of_a_spin_is_told_in_full_captions():
    for turn, way in ((180, " clockwise"), (-180, " anticlockwise")):
        scene = Scene(PLAIN, (sprite("star", "red", 32, 32, Event("spins", turn_deg=turn)),))
        assert all(way in words for words in captions(scene))


def test_a_generator_gives_the_words_of_its_seed():
    scene = sample_scene(1, 1)
    assert caption(scene, np.random.default_rng(5)) == caption(scene, 5)


def test_unknown_style_is_refused():
    with pytest.raises(ValueError, match="style: got 'long', wanted one of full, short"):
        caption(sample_scene(0, 0), 0, "long")
