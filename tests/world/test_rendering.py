import numpy as np
import pytest

from divot.world import (
    Background,
    Event,
    Scene,
    Sprite,
    clip,
    render,
    render_labels,
    render_masks,
    sample_scene,
    shapes,
)
from divot.world.shapes import canonical_angle, shape_mask
from divot.world.track import track
from divot.world.vocabulary import BACKGROUND_COLOURS, COLOURS, NUM_FRAMES, ROUND_SHAPES, SHAPES

PLAIN = Background("plain", "grey")


def scene_of(shape: str, *events: Event, size_px: float = 16, x_px: float = 32, y_px: float = 32) -> Scene:
    return Scene(PLAIN, (Sprite(shape, "red", size_px, x_px, y_px, events),))


def centre(mask: np.ndarray) -> tuple[float, float]:
    """Centre of mass of a mask, x and y in pixels from the top left corner."""
    weights = mask.astype(np.float64)
    ticks = np.arange(mask.shape[0]) + 0.5
    return (weights.sum(0) @ ticks) / weights.sum(), (weights.sum(1) @ ticks) / weights.sum()


@pytest.mark.parametrize("size", [16, 64, 96, 128])
def test_frames_have_the_asked_size(size):
    frames = render(sample_scene(0, 0), size)
    assert frames.shape == (NUM_FRAMES, size, size, 3)
    assert frames.dtype == np.uint8
    assert frames.flags.c_contiguous


@pytest.mark.parametrize("size", [0, 15, 1025])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match=f"size: got {size} px, wanted 16 to 1024"):
        render(sample_scene(0, 0), size)


def test_same_scene_gives_same_pixels():
    for index in range(10):
        scene = sample_scene(2, index)
        assert (render(scene) == render(scene)).all()


def test_a_sprite_at_128_covers_four_times_the_pixels_at_twice_the_place():
    for index in range(40):
        scene = sample_scene(2, index)
        small, large = render_masks(scene, 64), render_masks(scene, 128)
        for number in range(len(scene.sprites)):
            for frame in (0, 8, 15):
                one, two = small[number, frame], large[number, frame]
                assert one.any() == two.any()
                if one.any():
                    assert two.sum(dtype=int) / one.sum(dtype=int) == pytest.approx(4, rel=0.08)
                    assert centre(two) == pytest.approx(tuple(2 * value for value in centre(one)), abs=0.6)


def test_colours_are_exact_inside_a_sprite_and_beside_it():
    frames = render(scene_of("square", Event("stays")))
    assert tuple(frames[0, 32, 32]) == COLOURS["red"]
    assert tuple(frames[0, 2, 2]) == BACKGROUND_COLOURS["grey"]


def test_edges_are_smooth():
    mask = render_masks(scene_of("circle", Event("stays")))[0, 0]
    assert len(np.unique(mask)) > 6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_holds_its_whole_shape_at_any_angle(shape, monkeypatch):
    angles = range(0, 360, 15)
    masks = [shape_mask.__wrapped__(shape, 48, angle, 3, 3) for angle in angles]
    monkeypatch.setitem(shapes._REACH, shape, 2.0)
    for angle, mask in zip(angles, masks, strict=True):
        roomy = shape_mask.__wrapped__(shape, 48, angle, 3, 3)
        assert roomy.shape > mask.shape
        assert roomy.sum(dtype=int) == mask.sum(dtype=int)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_as_large_as_its_size_says(shape):
    rows = shape_mask(shape, 2 * 40, 0, 0, 0).any(axis=1).sum()
    columns = shape_mask(shape, 2 * 40, 0, 0, 0).any(axis=0).sum()
    assert 32 <= max(rows, columns) <= 46


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_look_different_from_each_other_at_the_smallest_size(shape):
    def drawn(name):
        return render_masks(scene_of(name, Event("stays"), size_px=10))[0, 0].astype(int)

    for other in SHAPES:
        if other != shape:
            difference = np.abs(drawn(shape) - drawn(other)).sum()
            assert difference > 0.1 * min(drawn(shape).sum(), drawn(other).sum())


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in ROUND_SHAPES])
def test_a_spin_changes_every_frame_visibly(shape):
    for turn in (180, -330):
        frames = render(scene_of(shape, Event("spins", turn_deg=turn), size_px=12)).astype(int)
        changes = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3))
        assert changes.min() > 40


@pytest.mark.parametrize("shape", SHAPES)
def test_angles_that_look_alike_share_one_mask(shape):
    for angle in (30, 123, 300):
        plain = shape_mask(shape, 80, angle, 0, 0).astype(int)
        shared = shape_mask(shape, 80, canonical_angle(shape, angle), 0, 0).astype(int)
        assert np.abs(plain - shared).max() <= 40


def test_a_positive_turn_is_clockwise():
    # A quarter turn clockwise brings the opening of the moon from the right to the bottom.
    still = render_masks(scene_of("moon", Event("stays"), size_px=24))[0, 0]
    turned = render_masks(scene_of("moon", Event("spins", turn_deg=90), size_px=24))[0, 15]
    assert centre(still)[0] < 30.5
    assert centre(turned)[1] < 30.5


@pytest.mark.parametrize(
    ("motion", "step"),
    [("moves_left", (-12, 0)), ("moves_right", (12, 0)), ("moves_up", (0, -12)), ("moves_down", (0, 12))],
)
def test_a_move_takes_the_pixels_along(motion, step):
    masks = render_masks(scene_of("circle", Event(motion, distance_px=12)))[0]
    start, end = centre(masks[0]), centre(masks[15])
    assert (end[0] - start[0], end[1] - start[1]) == pytest.approx(step, abs=0.05)


def test_what_appears_is_absent_before_and_what_disappears_after():
    appears = render_masks(scene_of("star", Event("appears", 6, 6)))[0].any(axis=(1, 2))
    assert appears.tolist() == [False] * 6 + [True] * 10
    disappears = render_masks(scene_of("star", Event("disappears", 6, 6)))[0].any(axis=(1, 2))
    assert disappears.tolist() == [True] * 6 + [False] * 10


def test_a_change_of_colour_shows_from_its_frame_on():
    frames = render(scene_of("square", Event("changes_colour", 9, 9, to_colour="blue")))
    assert tuple(frames[8, 32, 32]) == COLOURS["red"]
    assert tuple(frames[9, 32, 32]) == COLOURS["blue"]


def test_a_still_scene_repeats_one_frame():
    frames = render(scene_of("heart", Event("stays")))
    assert (frames == frames[0]).all()


def test_a_sprite_beyond_the_edge_is_cut_off():
    whole = render_masks(scene_of("circle", Event("stays")))[0, 0].sum(dtype=int)
    half = render_masks(scene_of("circle", Event("stays"), x_px=0))[0, 0].sum(dtype=int)
    gone = render_masks(scene_of("circle", Event("stays"), x_px=-40, y_px=100))[0, 0].sum(dtype=int)
    assert half == pytest.approx(whole / 2, rel=0.05)
    assert gone == 0
    render(scene_of("circle", Event("stays"), x_px=-40, y_px=100))


def test_masks_tell_where_frames_differ_from_the_bare_background():
    for index in range(30):
        scene = sample_scene(9, index)
        frames, masks = render(scene).astype(int), render_masks(scene)
        covered = masks.any(axis=0)
        bare = np.abs(frames - frames[0]).max(axis=3)
        assert not bare[~covered & ~covered[0]].any()
        assert masks.shape == (len(scene.sprites), NUM_FRAMES, 64, 64)


def test_every_visible_sprite_leaves_clear_pixels():
    for index in range(150):
        scene = sample_scene(8, index)
        frames, masks = render(scene).astype(int), render_masks(scene)
        for sprite, own in zip(scene.sprites, masks, strict=True):
            for frame in (0, 15):
                state = track(sprite)[frame]
                if state.is_visible:
                    inside = frames[frame][own[frame] == 255]
                    assert len(inside) > 8
                    assert (inside == COLOURS[state.colour]).all()


def test_labels_are_the_shapes_that_lie_on_top():
    scene = clip(5, 3, "train").scene
    labels = render_labels(scene, 16)
    assert labels.shape == (16, 16, 16)
    masks = render_masks(scene)
    names = {1 + SHAPES.index(sprite.shape) for sprite in scene.sprites}
    assert set(np.unique(labels)) <= {0, *names}
    # Where the last sprite fills a cell, it is what is told; where none is, nothing is.
    full = masks[-1].reshape(16, 16, 4, 16, 4).min(axis=(2, 4)) == 255
    assert (labels[full] == 1 + SHAPES.index(scene.sprites[-1].shape)).all()
    empty = masks.max(axis=0).reshape(16, 16, 4, 16, 4).max(axis=(2, 4)) == 0
    assert (labels[empty] == 0).all()
    with pytest.raises(ValueError, match="divisor"):
        render_labels(scene, 15)
