from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divot.config.errors import VideoReadError
from divot.video.reader import VideoReader

from .making import frame_showing, numbers_shown


def save_animation(path: Path, durations_ms: list[int]) -> Path:
    first, *rest = (Image.fromarray(frame_showing(number)) for number in range(len(durations_ms)))
    options = {} if path.suffix == ".gif" else {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=durations_ms, loop=0, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".gif"])
def test_a_still_is_a_video_of_one_frame(tmp_path: Path, suffix: str):
    Image.fromarray(frame_showing(77)).save(tmp_path / f"a{suffix}")
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        assert (reader.num_frames, reader.height, reader.width) == (1, 48, 64)
        assert numbers_shown(reader.frames_at_times([0.0, 0.5])) == [77, 77]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_keep_the_time_of_each_frame(tmp_path: Path, suffix: str):
    path = save_animation(tmp_path / f"a{suffix}", [100, 200, 50, 400, 100])
    with VideoReader(path) as reader:
        assert reader.num_frames == 5
        assert reader.duration_s == pytest.approx(0.85)
        np.testing.assert_allclose(reader.times_s, [0, 0.1, 0.3, 0.35, 0.75])
        assert numbers_shown(reader.frames_at_times([0.8, 0.05, 0.29, 0.3, 0.5])) == [4, 0, 1, 2, 3]
        assert numbers_shown(reader.frames_at([4, 1, 3, 0])) == [4, 1, 3, 0]


def test_frames_that_ask_for_too_little_time_are_shown_as_long_as_in_browsers(tmp_path: Path):
    with VideoReader(save_animation(tmp_path / "a.gif", [10, 20, 10])) as reader:
        np.testing.assert_allclose(reader.times_s, [0, 0.1, 0.12])
        assert reader.duration_s == pytest.approx(0.22)


def test_a_picture_is_told_by_its_content_not_its_name(tmp_path: Path):
    Image.fromarray(frame_showing(9)).save(tmp_path / "a.mp4", format="PNG")
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.codec == "png"


def test_a_photo_comes_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn
    Image.fromarray(frame_showing(9)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with VideoReader(tmp_path / "a.jpg") as reader:
        assert (reader.height, reader.width) == (64, 48)
        upright = np.rot90(frame_showing(9), -1)
        assert np.abs(reader.frames_at([0])[0].astype(int) - upright).mean() < 8


def test_transparent_pixels_are_white(tmp_path: Path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    with VideoReader(tmp_path / "a.png") as reader:
        assert (reader.frames_at([0]) == 255).all()


def test_greys_of_sixteen_bits_keep_their_levels(tmp_path: Path):
    Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)).save(tmp_path / "a.png")
    with VideoReader(tmp_path / "a.png") as reader:
        assert (reader.frames_at([0]) == 128).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp"])
def test_a_picture_cut_short_is_a_read_error(tmp_path: Path, suffix: str):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"whole{suffix}")
    data = (tmp_path / f"whole{suffix}").read_bytes()
    for part in (0.05, 0.5):
        (tmp_path / f"cut{suffix}").write_bytes(data[: int(len(data) * part)])
        with pytest.raises(VideoReadError), VideoReader(tmp_path / f"cut{suffix}") as reader:
            reader.frames_at([0])
