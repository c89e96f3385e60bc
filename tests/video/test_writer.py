from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divot.video.reader import VideoReader
from divot.video.sheets import GAP_PX, contact_sheet, side_by_side
from divot.video.writer import write_video

from .making import frame_showing, numbers_shown

FRAMES = np.stack([frame_showing(number) for number in range(16)])


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_what_is_written_reads_back(tmp_path: Path, suffix: str):
    write_video(tmp_path / "new" / f"a{suffix}", FRAMES, 8)
    with VideoReader(tmp_path / "new" / f"a{suffix}") as reader:
        assert (reader.num_frames, reader.height, reader.width) == (16, 48, 64)
        assert reader.duration_s == pytest.approx(2.0)
        frames = reader.frames_at(range(16))
        assert numbers_shown(frames) == list(range(16))
        assert np.abs(frames.astype(int) - FRAMES).mean() < 3


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_parts_one_after_another_give_the_same_file(tmp_path: Path, suffix: str):
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    assert write_video(whole, FRAMES, 8) == 16
    assert write_video(parts, (FRAMES[first : first + 5] for first in range(0, 16, 5)), 8) == 16
    assert whole.read_bytes() == parts.read_bytes()


def test_parts_of_a_video_have_one_size(tmp_path: Path):
    with pytest.raises(ValueError, match="a part of"):
        write_video(tmp_path / "a.mp4", iter([FRAMES, FRAMES[:, :40]]), 8)
    with pytest.raises(ValueError, match="got none"):
        write_video(tmp_path / "a.mp4", iter([]), 8)
    assert not list(tmp_path.iterdir())


def test_odd_sizes_lose_no_pixel(tmp_path: Path):
    write_video(tmp_path / "a.mp4", FRAMES[:, :47, :63], 8)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.height, reader.width) == (48, 64)
        assert np.abs(reader.frames_at([3])[0, :47, :63].astype(int) - FRAMES[3, :47, :63]).mean() < 3


@pytest.mark.parametrize("rate_fps", [23.976, 29.97, 7.5, 1, 60])
def test_rates_are_kept(tmp_path: Path, rate_fps: float):
    write_video(tmp_path / "a.mp4", FRAMES[:4], rate_fps)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.rate_fps == pytest.approx(rate_fps, rel=1e-4)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_one_frame_is_enough(tmp_path: Path, suffix: str):
    write_video(tmp_path / f"a{suffix}", FRAMES[:1], 8)
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        assert reader.num_frames == 1


def test_small_frames_are_enlarged_by_whole_pixels(tmp_path: Path):
    write_video(tmp_path / "a.mp4", FRAMES, 8, scale=3)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.height, reader.width) == (144, 192)


@pytest.mark.parametrize("name", ["a.mov", "a.xyz", "a"])
def test_an_unknown_suffix_is_a_value_error_that_lists_the_known(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r"wanted one of \.mp4, \.gif, \.webp"):
        write_video(tmp_path / name, FRAMES, 8)


def test_wrong_numbers_are_value_errors(tmp_path: Path):
    for frames, options in [
        (FRAMES.astype(np.float32), {}),
        (FRAMES[:0], {}),
        (FRAMES[0], {}),
        (FRAMES, {"scale": 0}),
        (FRAMES, {"crf": 99}),
        (FRAMES, {"rate_fps": 0}),
    ]:
        with pytest.raises(ValueError, match="got"):
            write_video(tmp_path / "a.mp4", frames, **({"rate_fps": 8} | options))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_colon_in_a_name_is_only_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str):
    monkeypatch.chdir(tmp_path)
    assert write_video(f"12:30{suffix}", FRAMES, 8) == 16
    assert [path.name for path in tmp_path.iterdir()] == [f"12:30{suffix}"]
    with VideoReader(f"12:30{suffix}") as reader:
        assert reader.num_frames == 16


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path):
    write_video(tmp_path / "a.mp4", FRAMES, 8)
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / "a.mp4", (FRAMES[: 4 // left] for left in (2, 1, 0)), 8)
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_contact_sheet_lays_rows_under_each_other(tmp_path: Path):
    contact_sheet([FRAMES[:3], FRAMES[:2, :20]], tmp_path / "a.png")
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert sheet.shape == (48 + GAP_PX + 20, 3 * 64 + 2 * GAP_PX, 3)
    np.testing.assert_array_equal(sheet[:48, 64 + GAP_PX : 128 + GAP_PX], FRAMES[1])
    np.testing.assert_array_equal(sheet[48 + GAP_PX :, :64], FRAMES[0, :20])


def test_labels_stand_over_the_rows_and_hide_nothing(tmp_path: Path):
    contact_sheet([FRAMES[:2], FRAMES[:2]], tmp_path / "a.png", labels=["original", "read back"], scale=2)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    band = (sheet.shape[0] - GAP_PX) // 2 - 96
    assert band > 8
    assert (sheet[:band, :, 0] < 128).any()
    np.testing.assert_array_equal(sheet[band : band + 96 : 2, :128:2], FRAMES[0])


def test_one_row_needs_no_list(tmp_path: Path):
    contact_sheet(FRAMES, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == (16 * 64 + 15 * GAP_PX, 48)


def test_side_by_side_keeps_both_videos_whole():
    joined = side_by_side(FRAMES, FRAMES[:, :40, :30])
    assert joined.shape == (16, 48, 64 + GAP_PX + 30, 3)
    np.testing.assert_array_equal(joined[:, :, :64], FRAMES)
    np.testing.assert_array_equal(joined[:, :40, 64 + GAP_PX :], FRAMES[:, :40, :30])
    assert side_by_side(FRAMES, FRAMES, labels=("left", "right")).shape[1] > 48


def test_what_does_not_fit_together_is_a_value_error(tmp_path: Path):
    with pytest.raises(ValueError, match="right: got 3 frames, wanted 16"):
        side_by_side(FRAMES, FRAMES[:3])
    with pytest.raises(ValueError, match="labels: got 1, wanted 2"):
        contact_sheet([FRAMES, FRAMES], tmp_path / "a.png", labels=["one"])
    with pytest.raises(ValueError, match="rows: got none"):
        contact_sheet([], tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"wanted \.png"):
        contact_sheet(FRAMES, tmp_path / "a.jpg")
