"""Shots: where a film is cut, and which two seconds of a shot are its clip."""

import numpy as np
import pytest

from divot.video import VideoReader, write_video
from divot.video.shots import Shot, find_shots


def moving_square(colours, num_frames):
    """A small square that moves over a plain picture: no cut."""
    ground, square = colours
    frames = np.full((num_frames, 48, 64, 3), ground, np.uint8)
    for t in range(num_frames):
        frames[t, 20:28, t % 50 : t % 50 + 8] = square
    return frames


RED = ((150, 30, 30), (240, 240, 200))
BLUE = ((20, 40, 160), (250, 220, 40))
GREEN = ((40, 140, 60), (20, 20, 20))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Shots of 3, 0.5 and 2.5 seconds at 10 fps."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    parts = [moving_square(RED, 30), moving_square(BLUE, 5), moving_square(GREEN, 25)]
    write_video(path, np.concatenate(parts), 10)
    return path


def test_cuts_are_found_at_their_frame(film):
    shares = []
    with VideoReader(film) as reader:
        shots = find_shots(reader, shares.append)
    assert [(shot.start_s, shot.end_s) for shot in shots] == [(0.0, 3.0), (3.0, 3.5), (3.5, 6.0)]
    assert shares[-1] == 1.0


def test_video_without_a_cut_is_one_shot(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(RED, 20), 10)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert find_shots(reader) == [Shot(0.0, 2.0)]


def test_clip_is_the_middle_of_a_shot_or_none(film):
    clip = Shot(1.0, 4.0).middle_clip()
    assert (clip.start_s, clip.duration_s) == (1.5, 2.0)
    # 0.3 - 0.1 and the like: still two seconds.
    assert Shot(0.1, 0.1 + 2.0 - 1e-9).middle_clip().start_s == 0.1
    assert Shot(1.0, 2.9).middle_clip() is None


def test_frames_are_still_read_by_our_reader_after_opencv_is_loaded(film):
    import cv2

    assert cv2.__version__
    with VideoReader(film) as reader:
        assert reader.frames_at([0, 59]).shape == (2, 48, 64, 3)
