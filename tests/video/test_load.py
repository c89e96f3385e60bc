from pathlib import Path

import numpy as np
import pytest
import torch

from divot.config.errors import VideoReadError
from divot.video.load import iterate_clips, load_clip
from divot.video.reader import VideoReader
from divot.video.transform import to_uint8

from .making import make_video, numbers_shown

CLIPS = Path(__file__).parents[1] / "data" / "clips"


def test_a_clip_is_sixteen_square_frames_in_range():
    clip = load_clip(CLIPS / "bbb_rabbit.mp4", start_s=1.0, size_px=32)
    assert clip.shape == (16, 3, 32, 32)
    assert clip.dtype == torch.float32
    assert -1 <= clip.min() < clip.max() <= 1


def test_frames_of_a_clip_are_those_on_display_every_eighth_second(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", rate_fps=24, num_frames=100)
    clip = load_clip(path, start_s=1.0, size_px=48, fit="stretch")
    assert numbers_shown(to_uint8(clip)) == [24 + 3 * j for j in range(16)]


def test_a_short_video_holds_its_last_frame(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", rate_fps=8, num_frames=5)
    assert numbers_shown(to_uint8(load_clip(path, size_px=48, fit="stretch"))) == [0, 1, 2, 3] + [4] * 12


def test_all_clips_of_a_video_come_in_one_pass(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", rate_fps=8, num_frames=40)
    clips = list(iterate_clips(path, size_px=48, fit="stretch"))
    assert [(clip.index, clip.start_s, clip.duration_s) for clip, _ in clips] == [
        (0, 0, 2),
        (1, 2, 2),
        (2, 4, 1),
    ]
    assert numbers_shown(to_uint8(clips[1][1])) == list(range(16, 32))
    assert numbers_shown(to_uint8(clips[2][1])) == list(range(32, 40)) + [39] * 8


def test_resuming_gives_the_same_clips_as_reading_on():
    path = CLIPS / "bbb_butterfly.mp4"
    whole = list(iterate_clips(path, size_px=16))
    rest = list(iterate_clips(path, size_px=16, skip=1))
    assert [clip for clip, _ in rest] == [clip for clip, _ in whole[1:]]
    for (_, resumed), (_, read_on) in zip(rest, whole[1:], strict=True):
        assert torch.equal(resumed, read_on)


def test_one_clip_alone_is_the_same_as_in_the_stream():
    path = CLIPS / "pedestrians.mp4"
    for clip, frames in iterate_clips(path, size_px=16):
        assert torch.equal(load_clip(path, start_s=clip.start_s, size_px=16), frames)


def test_a_long_video_is_decoded_once_and_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = make_video(tmp_path / "a.mp4", rate_fps=8, num_frames=16 * 12)
    calls = {"converted": 0, "walks": 0}
    with VideoReader(path) as reader:
        source = type(reader._source)
    picture, walk = source._picture, source.walk

    def counted_picture(self, *args):
        calls["converted"] += 1
        return picture(self, *args)

    def counted_walk(self, first):
        calls["walks"] += 1
        return walk(self, first)

    monkeypatch.setattr(source, "_picture", counted_picture)
    monkeypatch.setattr(source, "walk", counted_walk)
    clips = iterate_clips(path, size_px=16)
    for number in range(12):
        assert next(clips)[0].index == number
        # Nothing is read ahead of the clip that was asked for.
        assert calls["converted"] == 16 * (number + 1)
    assert next(clips, None) is None
    assert calls["walks"] == 1


def test_a_still_is_one_clip(tmp_path: Path):
    from PIL import Image

    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / "a.png")
    ((clip, frames),) = iterate_clips(tmp_path / "a.png", size_px=16)
    assert not clip.is_whole
    assert (to_uint8(frames) == 200).all()


def test_a_start_outside_the_video_is_a_value_error():
    for start_s in (-1.0, 5.28, float("nan")):
        with pytest.raises(ValueError, match="start_s: got"):
            load_clip(CLIPS / "bbb_rabbit.mp4", start_s=start_s, size_px=16)


def test_a_missing_file_is_a_read_error(tmp_path: Path):
    with pytest.raises(VideoReadError, match="no such file"):
        load_clip(tmp_path / "gone.mp4", size_px=16)
    with pytest.raises(VideoReadError, match="no such file"):
        next(iterate_clips(tmp_path / "gone.mp4", size_px=16))
