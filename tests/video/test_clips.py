import json
from pathlib import Path

import numpy as np
import pytest

from divot.video.clips import (
    CLIP_DURATION_S,
    CLIP_FRAMES,
    OFFICIAL_MAX_CLIPS,
    SEEN_FRAMES,
    Clip,
    consecutive_clips,
    evenly_spread,
    official_comprehension_indices,
    official_reconstruction_indices,
    random_clip,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "clips" / "meta.json"
ROWS = json.loads(GOLDEN.read_text())["rows"]


def test_stride_four_of_sixteen_keeps_last_frame():
    assert SEEN_FRAMES == (0, 4, 8, 12, 15)
    assert CLIP_DURATION_S == 2


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['num_frames']}@{row['fps']:.2f}")
def test_comprehension_indices_are_the_recorded_ones(row):
    clips = official_comprehension_indices(row["num_frames"], row["fps"])
    assert len(clips) == row["comp"]["num_clips"]
    assert [index for clip in clips for index in clip] == row["comp"]["indices"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['num_frames']}@{row['fps']:.2f}")
def test_reconstruction_indices_are_the_recorded_ones(row):
    assert list(official_reconstruction_indices(row["num_frames"], row["fps"])) == row["recon"]["indices"]


def test_official_indices_stay_within_the_video():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        num_frames, rate_fps = int(rng.integers(1, 5000)), float(rng.uniform(1, 120))
        clips = official_comprehension_indices(num_frames, rate_fps)
        assert len(clips) <= OFFICIAL_MAX_CLIPS
        for clip in [*clips, official_reconstruction_indices(num_frames, rate_fps)]:
            assert 0 <= min(clip) <= max(clip) < num_frames


@pytest.mark.parametrize(("num_frames", "rate_fps"), [(0, 8.0), (10, 0.0), (10, -1.0), (10, float("nan"))])
def test_no_frames_or_no_rate_is_a_value_error(num_frames, rate_fps):
    with pytest.raises(ValueError, match="got"):
        official_comprehension_indices(num_frames, rate_fps)
    with pytest.raises(ValueError, match="got"):
        official_reconstruction_indices(num_frames, rate_fps)


def test_consecutive_clips_cover_the_video_and_flag_the_partial_one():
    clips = list(consecutive_clips(5.5))
    assert [(c.index, c.start_s, c.duration_s, c.is_whole) for c in clips] == [
        (0, 0.0, 2.0, True),
        (1, 2.0, 2.0, True),
        (2, 4.0, 1.5, False),
    ]
    assert max(clips[2].times_s) == 5.5


@pytest.mark.parametrize(
    ("duration_s", "num_clips"),
    [(0.04, 1), (1.99, 1), (2.0, 1), (2.12, 1), (2.125, 2), (4.0, 2), (3600.0, 1800)],
)
def test_a_rest_shorter_than_a_step_makes_no_clip(duration_s, num_clips):
    assert len(list(consecutive_clips(duration_s))) == num_clips


def test_skipped_clips_leave_the_numbers_of_the_others():
    assert list(consecutive_clips(9.0, skip=3)) == list(consecutive_clips(9.0))[3:]
    assert list(consecutive_clips(9.0, skip=50)) == []


def test_spread_clips_are_taken_at_any_place_of_their_parts_and_a_single_one_is_whole():
    clips = list(consecutive_clips(12.5))
    assert [clip.index for clip in evenly_spread(clips, 3)] == [0, 2, 4]
    assert [clip.index for clip in evenly_spread(clips, 3, at=0.9)] == [2, 4, 6]
    # The seventh ends before its two seconds are over.
    assert [evenly_spread(clips, 1, at)[0].index for at in (0.0, 0.5, 1 - 2**-53)] == [0, 3, 5]
    assert [clip.index for clip in evenly_spread(clips[6:], 1, at=0.5)] == [6]


def test_a_clip_is_sampled_eight_times_a_second():
    assert Clip(0, 1.0, 2.0).times_s == tuple(1.0 + j / 8 for j in range(CLIP_FRAMES))


def test_random_clips_lie_within_the_video_and_repeat_with_the_seed():
    draws = [random_clip(7.0, np.random.default_rng(seed)) for seed in range(50)]
    assert all(0 <= clip.start_s <= 5.0 and clip.is_whole for clip in draws)
    assert len({clip.start_s for clip in draws}) == 50
    assert random_clip(7.0, np.random.default_rng(3)) == draws[3]


def test_random_clip_of_a_short_video_is_the_whole_of_it():
    assert random_clip(0.7, np.random.default_rng(0)) == Clip(0, 0.0, 0.7)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_video_without_length_is_a_value_error(duration_s):
    with pytest.raises(ValueError, match="duration_s"):
        list(consecutive_clips(duration_s))
    with pytest.raises(ValueError, match="duration_s"):
        random_clip(duration_s, np.random.default_rng(0))
