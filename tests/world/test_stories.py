"""Stories: the same for the same seed, true to their split, without a jump from clip to clip, and read back whole."""

import math
from itertools import pairwise

import numpy as np
import pytest

from divot.world import is_held_out, render, scene_triples
from divot.world.captioning import VERBS
from divot.world.plots import MAX_CLIPS, MIN_CLIPS, Character
from divot.world.stories import story, told_motions, told_readings
from divot.world.track import track
from divot.world.verifier import compare, read_scene

COUNT = 60


@pytest.fixture(scope="module", params=["train", "test"])
def stories(request):
    return request.param, [story(5, index, request.param) for index in range(COUNT)]


def test_same_seed_same_story_and_other_index_another():
    assert story(1, 2) == story(1, 2)
    assert story(1, 2) != story(1, 3)
    assert story(1, 2, "train") != story(1, 2, "test")


def test_lengths_and_characters(stories):
    _, told = stories
    assert {len(one.chapters) for one in told} == set(range(MIN_CLIPS, MAX_CLIPS + 1))
    assert {len(one.characters) for one in told} == {1, 2}


def test_split(stories):
    split, told = stories
    for one in told:
        held_out = [
            is_held_out(*triple) for chapter in one.chapters for triple in scene_triples(chapter.scene)
        ]
        assert any(held_out) == (split == "test")


def test_a_clip_begins_where_the_one_before_ended(stories):
    _, told = stories
    for one in told:
        for before, after in pairwise(one.chapters):
            assert before.scene.background == after.scene.background
            for old, new in zip(before.scene.sprites, after.scene.sprites, strict=True):
                end, start = track(old)[-1], track(new)[0]
                assert math.isclose(end.x_px, start.x_px)
                assert math.isclose(end.y_px, start.y_px)
                assert end.size_px == start.size_px
                assert end.colour == start.colour
                assert end.is_visible == start.is_visible


def test_sentences_tell_what_the_clips_show(stories):
    _, told = stories
    right = []
    for one in told[:12]:
        wanted = told_readings([chapter.sentence for chapter in one.chapters], one.characters)
        for chapter, reading in zip(one.chapters, wanted, strict=True):
            assert reading is not None
            right.append(compare(read_scene(render(chapter.scene)), reading).all)
    # The verifier reads a clip wrong now and then.
    assert sum(right) >= len(right) - 1


def test_every_motion_but_a_change_of_colour_happens():
    seen = {
        event.motion
        for index in range(200)
        for chapter in story(0, index).chapters
        for sprite in chapter.scene.sprites
        for event in sprite.events
    }
    assert seen == set(VERBS) | {"spins"}


def test_words_of_others_are_not_taken_for_a_characters_own():
    one, two = Character("Ruby", "red", "star"), Character("Max", "blue", "ring")
    assert told_motions("Ruby grows while Max does not move.", (one, two)) == {
        "Ruby": "grows",
        "Max": "stays",
    }
    assert told_motions("Max has seen it, so Max bounces.", (one, two)) == {"Max": "bounces"}
    assert told_motions("It rains.", (one, two)) == {}
    assert told_readings(["It rains."], (one,)) == [None]


def test_who_has_disappeared_is_not_looked_for():
    one, two = Character("Ruby", "red", "star"), Character("Max", "blue", "ring")
    readings = told_readings(["Ruby vanishes.", "Max grows.", "Ruby appears."], (one, two))
    assert [len(reading.sprites) for reading in readings] == [2, 1, 2]


def test_who_has_disappeared_and_does_something_again_is_looked_for():
    one = Character("Ruby", "red", "star")
    readings = told_readings(["Ruby disappears.", "Ruby moves left.", "Ruby grows."], (one,))
    assert [[event.motion for event in reading.sprites[0].events] for reading in readings] == [
        ["disappears"],
        ["moves_left"],
        ["grows"],
    ]


def test_a_clip_of_something_else_does_not_match():
    one = story(5, 0, "test")
    reading = told_readings([one.chapters[0].sentence], one.characters)[0]
    assert not compare(read_scene(np.full((16, 64, 64, 3), 120, np.uint8)), reading).motion
