import itertools
import math
from collections import Counter

import numpy as np
import pytest

from divot.world import Scene, Sprite, sample_scene
from divot.world.track import track
from divot.world.vocabulary import (
    BACKGROUND_COLOURS,
    BACKGROUND_KINDS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    NUM_FRAMES,
    REFERENCE_SIZE_PX,
    SHAPES,
    TEXTURES,
)

NUM_SCENES = 2500


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(7, index) for index in range(NUM_SCENES)]


@pytest.fixture(scope="module")
def sprites(scenes: list[Scene]) -> list[Sprite]:
    return [sprite for scene in scenes for sprite in scene.sprites]


def test_backgrounds_take_a_third_each(scenes):
    counts = Counter(scene.background.kind for scene in scenes)
    assert set(counts) == set(BACKGROUND_KINDS)
    for count in counts.values():
        assert abs(count / NUM_SCENES - 1 / 3) < 0.03


def test_half_of_the_scenes_have_two_sprites(scenes):
    assert abs(sum(len(scene.sprites) == 2 for scene in scenes) / NUM_SCENES - 0.5) < 0.03


def test_every_shape_colour_motion_background_and_texture_occurs(scenes, sprites):
    assert {sprite.shape for sprite in sprites} == set(SHAPES)
    assert {sprite.colour for sprite in sprites} == set(COLOURS)
    assert {event.motion for sprite in sprites for event in sprite.events} == set(MOTIONS)
    assert {scene.background.colour for scene in scenes} == set(BACKGROUND_COLOURS)
    assert {scene.background.texture for scene in scenes} - {""} == set(TEXTURES)


def test_each_motion_makes_at_least_two_percent_of_the_events(sprites):
    counts = Counter(event.motion for sprite in sprites for event in sprite.events)
    assert min(counts.values()) / sum(counts.values()) > 0.02


def test_two_events_come_in_turn_within_a_sprite_and_between_two(scenes):
    within = sum(len(sprite.events) == 2 for scene in scenes for sprite in scene.sprites)
    between = sum(
        len(scene.sprites) == 2
        and scene.sprites[0].events[-1].end_frame < scene.sprites[1].events[0].start_frame
        for scene in scenes
    )
    assert within > NUM_SCENES / 8
    assert between > NUM_SCENES / 8


def test_sizes_stay_between_10_and_24_px_in_every_frame(sprites):
    sizes = [state.size_px for sprite in sprites for state in track(sprite)]
    assert min(sizes) == 10
    assert max(sizes) == 24


def test_places_and_sizes_change_by_8_px_at_least(sprites):
    for sprite in sprites:
        states = track(sprite)
        for event in sprite.events:
            before, after = states[event.start_frame], states[event.end_frame]
            during = states[event.start_frame : event.end_frame + 1]
            if event.motion in DIRECTIONS:
                moved = after.x_px - before.x_px, after.y_px - before.y_px
                for way, step in zip(moved, DIRECTIONS[event.motion], strict=True):
                    assert way * step >= 8 if step else way == 0
            elif event.motion == "grows":
                assert after.size_px - before.size_px >= 8
            elif event.motion == "shrinks":
                assert before.size_px - after.size_px >= 8
            elif event.motion == "bounces":
                assert before.y_px - min(state.y_px for state in during) >= 8


def test_a_spin_turns_fast_enough_to_see_and_slow_enough_to_follow(sprites):
    turns = [
        abs(event.turn_deg) / (event.end_frame - event.start_frame)
        for sprite in sprites
        for event in sprite.events
        if event.motion == "spins"
    ]
    assert min(turns) >= 10
    # Half of a star's 72 degrees: beyond it the turn would seem to go the other way.
    assert max(turns) < 36


def test_sprites_stay_inside_the_frame(sprites):
    for sprite in sprites:
        for state in track(sprite):
            for centre in (state.x_px, state.y_px):
                assert state.size_px / 2 <= centre <= REFERENCE_SIZE_PX - state.size_px / 2


def test_two_sprites_begin_and_end_apart_and_overlap_briefly(scenes):
    for scene in scenes:
        if len(scene.sprites) == 1:
            continue
        pairs = list(zip(*(track(sprite) for sprite in scene.sprites), strict=True))
        assert len(pairs) == NUM_FRAMES
        gaps = [math.hypot(one.x_px - two.x_px, one.y_px - two.y_px) for one, two in pairs]
        touching = [(one.size_px + two.size_px) / 2 for one, two in pairs]
        assert gaps[0] > touching[0]
        assert gaps[-1] > touching[-1]
        assert sum(gap < 0.8 * near for gap, near in zip(gaps, touching, strict=True)) <= 3


def test_no_colour_stands_for_two_sprites(scenes):
    for scene in scenes:
        shown = [{state.colour for state in track(sprite)} for sprite in scene.sprites]
        for one, two in itertools.combinations(shown, 2):
            assert not one & two


def test_colours_stand_out_from_their_background(scenes):
    for scene in scenes:
        for sprite in scene.sprites:
            for name in {state.colour for state in track(sprite)}:
                for level in scene.background.levels():
                    assert math.dist(COLOURS[name], level) >= 95


def test_any_two_colours_differ_clearly():
    for one, two in itertools.combinations(COLOURS.values(), 2):
        assert math.dist(one, two) > 80


def test_a_scene_does_not_depend_on_those_before_it():
    forwards = [sample_scene(5, index) for index in range(20)]
    backwards = [sample_scene(5, index) for index in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_seeds_indices_and_splits_give_different_scenes():
    scenes = {
        sample_scene(seed, index, split)
        for seed in range(5)
        for index in range(20)
        for split in ("train", "test")
    }
    assert len(scenes) == 200


def test_global_random_state_is_neither_used_nor_changed():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    scene = sample_scene(5, 3)
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(1)
    assert sample_scene(5, 3) == scene


def test_unknown_split_and_negative_index_are_refused():
    with pytest.raises(ValueError, match=r"split: got 'validation', wanted one of train, test"):
        sample_scene(0, 0, "validation")
    with pytest.raises(ValueError, match=r"got 0 and -1"):
        sample_scene(0, -1)
