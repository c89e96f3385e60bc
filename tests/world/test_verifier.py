import io
from dataclasses import replace

import av
import numpy as np
import pytest

from divot.world import Background, Event, Scene, Sprite, render, sample_scene
from divot.world.verifier import Reading, Verdict, compare, read_scene, verify
from divot.world.vocabulary import COLOURS, MOTIONS, SHAPES

PLAIN = Background("plain", "grey")
RIGHT = Verdict(True, True, True, True)
AMOUNTS = {
    "grows": {"to_size_px": 24},
    "shrinks": {"to_size_px": 8},
    "spins": {"turn_deg": -195},
    "bounces": {"distance_px": 12, "num_bounces": 3},
    "changes_colour": {"to_colour": "blue"},
}


def scene_of(motion: str, shape: str = "star", colour: str = "red") -> Scene:
    times = (5, 5) if motion in ("appears", "disappears", "changes_colour") else (0, 15)
    amount = AMOUNTS.get(motion, {"distance_px": 16} if motion.startswith("moves") else {})
    return Scene(PLAIN, (Sprite(shape, colour, 16, 32, 32, (Event(motion, *times, **amount),)),))


def noisy(frames: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0.0, 25.5, frames.shape)
    return np.clip(np.round(frames + noise), 0, 255).astype(np.uint8)


def through_h264(frames: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def num_right(seed: int, num_clips: int, spoil) -> int:
    scenes = [sample_scene(seed, index, "test") for index in range(num_clips)]
    return sum(verify(spoil(render(scene), index), scene).all for index, scene in enumerate(scenes))


def test_whole_scenes_of_the_test_split_are_read_rightly():
    assert num_right(31, 60, lambda frames, _: frames) >= 59


def test_whole_scenes_are_read_rightly_under_strong_noise():
    assert num_right(32, 60, noisy) >= 59


def test_whole_scenes_are_read_rightly_after_h264():
    assert num_right(33, 40, lambda frames, _: through_h264(frames)) == 40


@pytest.mark.parametrize("motion", MOTIONS)
def test_each_motion_is_read(motion):
    scene = scene_of(motion)
    (sprite,) = read_scene(render(scene)).sprites
    assert (sprite.shape, sprite.colour, sprite.place) == ("star", "red", "in the middle")
    (event,) = sprite.events
    (true,) = scene.sprites[0].events
    assert (event.motion, event.to_colour, event.turn_deg) == (motion, true.to_colour, true.turn_deg)
    assert (event.start_frame, event.end_frame) == (true.start_frame, true.end_frame)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_read_at_the_smallest_size(shape):
    scene = Scene(PLAIN, (Sprite(shape, "yellow", 10, 20, 40, (Event("stays"),)),))
    assert verify(noisy(render(scene), 1), scene) == RIGHT


@pytest.mark.parametrize("colour", COLOURS)
def test_each_colour_is_read(colour):
    scene = scene_of("moves_left", "heart", colour)
    assert verify(render(scene), scene) == RIGHT


@pytest.mark.parametrize("size", [48, 128])
def test_frames_of_another_size_are_read_too(size):
    for index in range(4):
        scene = sample_scene(34, index, "test")
        assert verify(render(scene, size), scene).all


def test_a_verdict_says_which_part_is_wrong():
    scene = scene_of("moves_left")
    sprite = scene.sprites[0]
    frames = render(scene)
    assert verify(frames, scene) == RIGHT
    for change, verdict in (
        ({"shape": "heart"}, Verdict(False, True, True, False)),
        ({"colour": "blue"}, Verdict(True, False, True, False)),
        ({"events": (Event("moves_right", distance_px=16),)}, Verdict(True, True, False, False)),
    ):
        assert verify(frames, replace(scene, sprites=(replace(sprite, **change),))) == verdict


def test_a_wrong_number_of_sprites_is_wrong_in_everything():
    one = scene_of("stays")
    two = replace(one, sprites=(*one.sprites, Sprite("ring", "cyan", 12, 10, 10, (Event("stays"),))))
    nothing = np.full((16, 64, 64, 3), 122, dtype=np.uint8)
    assert read_scene(nothing).sprites == ()
    for frames, scene in ((render(one), two), (render(two), one), (nothing, one)):
        assert verify(frames, scene) == Verdict(False, False, False, False)


def test_a_third_sprite_makes_a_scene_of_two_wrong():
    two = replace(
        scene_of("stays"),
        sprites=(
            Sprite("star", "red", 20, 16, 16, (Event("stays"),)),
            Sprite("ring", "cyan", 14, 48, 16, (Event("stays"),)),
        ),
    )
    one = replace(two, sprites=(Sprite("heart", "yellow", 12, 32, 48, (Event("stays"),)),))
    frames, third = render(two), render(one)
    assert verify(frames, two) == RIGHT
    frames[:, 34:] = third[:, 34:]
    assert verify(frames, two) == Verdict(False, False, False, False)


def test_readings_of_three_sprites_are_compared_as_well():
    one, two = read_scene(render(scene_of("moves_left"))), read_scene(render(scene_of("spins")))
    three = Reading((one.sprites[0], one.sprites[0], two.sprites[0]))
    assert compare(three, Reading(three.sprites[::-1])) == RIGHT
    assert not compare(three, Reading((one.sprites[0],) * 3)).all


def test_a_spin_the_other_way_round_is_another_motion():
    scene = scene_of("spins")
    other = replace(scene.sprites[0], events=(Event("spins", turn_deg=195),))
    assert verify(render(replace(scene, sprites=(other,))), scene) == Verdict(True, True, False, False)
    # A sentence of a story does not tell the way.
    reading = read_scene(render(scene))
    untold = replace(reading.sprites[0], events=(replace(reading.sprites[0].events[0], turn_deg=0.0),))
    assert compare(reading, Reading((untold,))) == RIGHT


def test_of_pairings_that_agree_equally_looks_count_first():
    wanted = replace(
        scene_of("stays"),
        sprites=(
            Sprite("star", "red", 16, 40, 16, (Event("moves_left", distance_px=16),)),
            Sprite("heart", "blue", 16, 32, 48, (Event("grows", to_size_px=24),)),
        ),
    )
    star, heart = wanted.sprites
    for size in (12, 20):
        grown = Event("grows", to_size_px=26)
        shown = (
            replace(star, colour="green", size_px=size, events=(grown,)),
            replace(heart, colour="pink", events=(Event("moves_left", distance_px=16),)),
        )
        assert verify(render(replace(wanted, sprites=shown)), wanted) == Verdict(True, False, False, False)


def test_sprites_are_paired_by_what_agrees_and_not_by_their_order():
    scene = next(
        scene for scene in (sample_scene(35, index, "test") for index in range(50)) if len(scene.sprites) == 2
    )
    swapped = replace(scene, sprites=scene.sprites[::-1])
    assert verify(render(scene), swapped) == RIGHT


def test_which_of_two_sprites_acts_first_counts_as_motion():
    early, late = Event("grows", 0, 7, to_size_px=24), Event("disappears", 10, 10)
    star = Sprite("star", "red", 12, 16, 16, (early,))
    heart = Sprite("heart", "blue", 16, 48, 48, (late,))
    reading = read_scene(render(Scene(PLAIN, (star, heart))))
    assert compare(reading, Scene(PLAIN, (star, heart))) == RIGHT
    at_once = replace(star, events=(Event("grows", to_size_px=24),))
    assert compare(reading, Scene(PLAIN, (at_once, heart))) == Verdict(True, True, False, False)


def test_frames_played_backwards_are_not_the_same_motion():
    for motion in ("moves_up_left", "grows", "spins", "appears"):
        scene = scene_of(motion)
        if motion != "spins":
            assert not verify(render(scene)[::-1], scene).motion
        else:
            (sprite,) = read_scene(render(scene)[::-1]).sprites
            assert sprite.events[0].motion != "spins" or sprite.events[0].turn_deg > 0


@pytest.mark.parametrize("frames", [np.zeros((15, 64, 64, 3), np.uint8), np.zeros((16, 64, 64), np.uint8)])
def test_frames_of_a_wrong_shape_are_refused(frames):
    with pytest.raises(ValueError, match=r"frames: got shape .*, wanted \(16, H, W, 3\)"):
        read_scene(frames)


def test_frames_of_a_wrong_type_are_refused():
    with pytest.raises(ValueError, match="frames: got float64, wanted uint8"):
        read_scene(np.zeros((16, 64, 64, 3)))


def test_where_nothing_is_wanted_nothing_may_be_shown():
    empty, shown = Reading(()), read_scene(render(scene_of("stays")))
    assert compare(empty, empty).all
    assert not compare(shown, empty).all
    assert not compare(empty, shown).all
