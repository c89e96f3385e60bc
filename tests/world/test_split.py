import pytest

from divot.world import Event, Sprite, is_held_out, sample_scene, scene_triples
from divot.world.split import possible_triples, sprite_triples
from divot.world.vocabulary import COLOURS, MOTIONS, SHAPES

NUM_TRAIN, NUM_TEST = 4000, 1200


@pytest.fixture(scope="module")
def train_triples():
    return [triple for index in range(NUM_TRAIN) for triple in scene_triples(sample_scene(3, index))]


def test_a_tenth_or_more_of_the_possible_triples_is_held_out():
    triples = possible_triples()
    share = sum(is_held_out(*triple) for triple in triples) / len(triples)
    assert 0.10 <= share <= 0.16


def test_train_shows_no_held_out_triple(train_triples):
    assert not [triple for triple in train_triples if is_held_out(*triple)]


def test_train_shows_each_single_value(train_triples):
    colours, shapes, motions = (set(values) for values in zip(*train_triples, strict=True))
    assert colours == set(COLOURS)
    assert shapes == set(SHAPES)
    assert motions == set(MOTIONS)


def test_train_shows_each_pair_of_colour_and_shape_and_each_motion_of_a_shape(train_triples):
    assert len({(colour, shape) for colour, shape, _ in train_triples}) == len(COLOURS) * len(SHAPES)
    # Two round shapes never spin.
    assert len({(shape, motion) for _, shape, motion in train_triples}) == len(SHAPES) * len(MOTIONS) - 2


def test_every_sprite_of_the_test_split_shows_a_held_out_triple():
    for index in range(NUM_TEST):
        for sprite in sample_scene(3, index, "test").sprites:
            assert any(is_held_out(*triple) for triple in sprite_triples(sprite))


def test_test_split_covers_every_colour_shape_and_motion_in_held_out_triples():
    shown = {triple for index in range(NUM_TEST) for triple in scene_triples(sample_scene(3, index, "test"))}
    held_out = [triple for triple in shown if is_held_out(*triple)]
    colours, shapes, motions = (set(values) for values in zip(*held_out, strict=True))
    assert (colours, shapes, motions) == (set(COLOURS), set(SHAPES), set(MOTIONS))


def test_both_splits_have_the_same_share_of_each_motion():
    def shares(split):
        events = [
            event.motion
            for index in range(NUM_TEST)
            for sprite in sample_scene(4, index, split).sprites
            for event in sprite.events
        ]
        return {motion: events.count(motion) / len(events) for motion in MOTIONS}

    train, test = shares("train"), shares("test")
    assert all(abs(train[motion] - test[motion]) < 0.025 for motion in MOTIONS)


def test_a_change_of_colour_counts_with_both_colours_and_later_events_with_the_new_one():
    events = (
        Event("changes_colour", 3, 3, to_colour="blue"),
        Event("moves_left", 8, 15, distance_px=10),
    )
    assert sprite_triples(Sprite("star", "red", 12, 40, 30, events)) == [
        ("red", "star", "changes_colour"),
        ("blue", "star", "changes_colour"),
        ("blue", "star", "moves_left"),
    ]
