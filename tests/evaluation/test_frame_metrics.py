import numpy as np

from divot.evaluation.frame_metrics import (
    MOVING_THRESHOLD,
    NEAREST_SEEN,
    UNSEEN_FRAMES,
    moving_pixels,
)


def random_frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 12, 12, 3)).astype(np.uint8)


def test_nearest_seen_frame_is_the_earlier_of_two_as_near():
    assert NEAREST_SEEN == (0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 15, 15)
    assert len(UNSEEN_FRAMES) == 11


def test_still_pixels_do_not_move():
    frames = np.repeat(random_frames()[:1], 16, axis=0)
    assert not moving_pixels(frames).any()


def test_changes_up_to_the_threshold_do_not_move_and_larger_ones_do():
    frames = np.full((16, 4, 4, 3), 100, np.uint8)
    frames[5, 0, 0, 2] += MOVING_THRESHOLD
    frames[5, 1, 1, 2] -= MOVING_THRESHOLD + 1
    assert np.argwhere(moving_pixels(frames)).tolist() == [[5, 1, 1]]


def test_seen_frames_have_no_moving_pixels():
    frames = np.full((16, 4, 4, 3), 100, np.uint8)
    frames[4] = 200
    # Frame 2, as near to 0 as to 4, is held against 0; 3, 5 and 6 against 4, which looks like no other.
    assert np.flatnonzero(moving_pixels(frames).any(axis=(1, 2))).tolist() == [3, 5, 6]
