from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from divot.config.errors import VideoReadError
from divot.video.load import iterate_clips
from divot.video.reader import VideoReader

from .broken import NOTHING_TO_SEE, RABBIT
from .making import make_sound, make_tiled_photo, make_video, number_shown


def read_all(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame for _, frame in reader.iterate()]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("suffix", [".mp4", ".txt", ".mkv"])
@pytest.mark.parametrize("make", NOTHING_TO_SEE, ids=lambda make: make.__name__)
def test_a_file_with_nothing_to_see_is_one_read_error(tmp_path: Path, make, suffix: str):
    path = tmp_path / f"bad{suffix}"
    make(path)
    with pytest.raises(VideoReadError) as caught:
        read_all(path)
    assert path.name in caught.value.source
    assert len(caught.value.cause) > 5
    assert len(caught.value.remedy) > 5


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.mkv"])
def test_sound_alone_is_a_read_error_that_says_so(tmp_path: Path, name: str):
    with pytest.raises(VideoReadError, match="no video stream"):
        VideoReader(make_sound(tmp_path / name))


def test_the_cover_of_a_song_is_no_video(tmp_path: Path):
    with pytest.raises(VideoReadError, match="no video stream"):
        VideoReader(make_sound(tmp_path / "a.mp4", has_cover=True))


@pytest.mark.parametrize("has_preview", [False, True])
def test_a_photo_of_tiles_is_a_read_error_not_one_tile(tmp_path: Path, has_preview: bool):
    with pytest.raises(VideoReadError, match=r"made of tiles.*Convert it to jpg"):
        VideoReader(make_tiled_photo(tmp_path / "a.heic", has_preview))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("front_index.mp4", {"container_options": {"movflags": "faststart"}}),
        ("fragments.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("a.mkv", {}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("sound.mkv", {"sound": True}),
        ("sound_without_lengths.mkv", {"sound": True, "sound_codec": "alac"}),
    ],
)
def test_a_file_cut_short_gives_its_beginning_and_then_an_error(tmp_path: Path, name: str, options: dict):
    whole = make_video(tmp_path / name, num_frames=120, size=(96, 128), **options)
    data = whole.read_bytes()
    (tmp_path / f"cut_{name}").write_bytes(data[: int(len(data) * 0.7)])
    shown = []
    with VideoReader(tmp_path / f"cut_{name}") as reader:
        with pytest.raises(VideoReadError):
            shown.extend(number_shown(frame) for _, frame in reader.iterate())
        assert 3 <= len(shown) < 120
        assert shown == list(range(len(shown)))
        with pytest.raises(VideoReadError):
            reader.frames_at([reader.num_frames - 1])
        with pytest.raises(VideoReadError):
            reader.frames_at_times([reader.duration_s])


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_an_avi_with_dropped_frames_is_still_found_to_be_cut(tmp_path: Path, num_b_frames: int):
    options = {"bf": str(num_b_frames)}
    data = make_video(tmp_path / "a.avi", codec="mpeg4", options=options, dropped=range(5, 10)).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: int(len(data) * 0.85)])
    with pytest.raises(VideoReadError, match="cut short"):
        read_all(tmp_path / "cut.avi")


def test_a_cut_download_gives_the_clips_before_the_cut(tmp_path: Path):
    data = RABBIT.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * 0.9)])
    clips = []
    with pytest.raises(VideoReadError, match=r"cut short: \d\.\d\d of 5\.28 s"):
        clips.extend(clip.index for clip, _ in iterate_clips(tmp_path / "cut.mp4", size_px=16))
    assert clips == [0, 1]


def test_a_clock_gone_mad_is_a_read_error_not_a_million_clips(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", num_frames=4, times_ms=[0, 100, 200, 4_000_000])
    with pytest.raises(VideoReadError, match="its times are damaged"):
        next(iterate_clips(path, size_px=16))


@pytest.mark.parametrize("seed", [0])
def test_flipped_bytes_never_give_a_wrong_frame_without_an_error(tmp_path: Path, seed: int):
    data, rng = bytearray(RABBIT.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(len(data) // 2, len(data), 200):
        data[place] ^= 0xFF
    (tmp_path / "flipped.mp4").write_bytes(data)
    with VideoReader(RABBIT) as reader:
        good = reader.frames_at(range(132), resize=lambda frame: frame[::8, ::8])
    with VideoReader(tmp_path / "flipped.mp4") as reader:
        num_errors = 0
        for index in range(0, 132, 12):
            try:
                frame = reader.frames_at([index], resize=lambda frame: frame[::8, ::8])[0]
            except VideoReadError:
                num_errors += 1
            else:
                np.testing.assert_array_equal(frame, good[index])
    assert num_errors > 3
    with pytest.raises(VideoReadError, match=r"damaged|cannot be decoded"):
        read_all(tmp_path / "flipped.mp4")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm", "a.ts", "a.gif"])
def test_bytes_flipped_anywhere_raise_nothing_but_read_errors(tmp_path: Path, name: str):
    codecs = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4", "a.gif": "gif"}
    pix_fmt = "rgb8" if name == "a.gif" else "yuv420p"
    whole = make_video(tmp_path / name, num_frames=12, codec=codecs.get(name, "libx264"), pix_fmt=pix_fmt)
    original, rng = whole.read_bytes(), np.random.default_rng(7)
    for _ in range(25):
        data = bytearray(original)
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(0, 256)
        whole.write_bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])
        with suppress(VideoReadError):
            read_all(whole)
