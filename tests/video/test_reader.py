from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from divot.config.errors import VideoReadError
from divot.video.reader import VideoReader

from .making import frame_showing, make_video, number_shown, numbers_shown

KINDS = {
    "h264.mp4": {},
    "h264.mov": {},
    "h264.mkv": {},
    "h264.ts": {"container_format": "mpegts"},
    "h264_in_avi.avi": {},
    "raw.h264": {"container_format": "h264"},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "no_duration.mkv": {"container_options": {"live": "1"}},
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:scenecut=0"}},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "hevc.mp4": {"codec": "libx265"},
    "hevc_ten_bit.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "av1.webm": {"codec": "libsvtav1"},
    "av1.mp4": {"codec": "libsvtav1"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "odd_size.mp4": {"pix_fmt": "yuv444p", "size": (49, 67)},
    "with_sound.mp4": {"sound": True},
    "with_sound.mkv": {"sound": True},
    "loop.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_exact_frames_in_any_order(tmp_path: Path, name: str):
    path = make_video(tmp_path / name, **KINDS[name])
    with VideoReader(path) as reader:
        assert reader.num_frames == 40
        assert (reader.height, reader.width) == KINDS[name].get("size", (48, 64))
        frames = reader.frames_at(range(40))
        assert frames.shape == (40, reader.height, reader.width, 3)
        assert numbers_shown(frames) == list(range(40))
        order = [39, 0, 17, 17, 3, 38, 11, 12, 13, 25]
        np.testing.assert_array_equal(reader.frames_at(order), frames[order])
        assert [number_shown(frame) for _, frame in reader.iterate()] == list(range(40))


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "h264_in_avi.avi", "loop.gif"])
def test_rate_and_duration_are_those_of_the_frames(tmp_path: Path, name: str):
    with VideoReader(make_video(tmp_path / name, **KINDS[name])) as reader:
        assert reader.rate_fps == pytest.approx(10)
        assert reader.duration_s == pytest.approx(4)
        np.testing.assert_allclose(reader.times_s, np.arange(40) / 10, atol=1e-3)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_variable_rate_shows_the_frame_that_is_on_display(tmp_path: Path, name: str):
    times_ms = [0, 100, 150, 900, 1000, 2500, 2533, 2567]
    path = make_video(tmp_path / name, num_frames=8, times_ms=times_ms)
    with VideoReader(path) as reader:
        np.testing.assert_allclose(reader.times_s, np.array(times_ms) / 1000, atol=1e-3)
        wanted_s = [2.55, 0.0, 0.149, 0.15, 0.899, 0.9, 2.4, 1.0, 2.5]
        assert numbers_shown(reader.frames_at_times(wanted_s)) == [6, 0, 1, 2, 2, 3, 4, 4, 5]


def test_times_between_frames_show_the_frame_before(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mp4")) as reader:
        assert numbers_shown(reader.frames_at_times([0.0, 0.099, 0.1, 1.25, 4.0])) == [0, 0, 1, 12, 39]


def test_times_rounded_to_milliseconds_still_show_their_frame(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mkv", rate_fps=24)) as reader:
        assert numbers_shown(reader.frames_at_times([i / 24 for i in range(40)])) == list(range(40))


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="needs a newer PyAV")
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotated_recordings_come_upright(tmp_path: Path, degrees: int, is_mirrored: bool):
    path = make_video(tmp_path / "a.mp4", num_frames=2, rotation=(degrees, is_mirrored))
    stored = frame_showing(1)
    # The matrix turns counter-clockwise, then mirrors what that gives.
    upright = np.rot90(stored, degrees // 90)[:, :: -1 if is_mirrored else 1]
    with VideoReader(path) as reader:
        frame = reader.frames_at([1])[0]
        assert (reader.height, reader.width) == upright.shape[:2] == frame.shape[:2]
        assert np.abs(frame.astype(int) - upright).mean() < 4


@pytest.mark.parametrize(
    ("aspect", "degrees", "shown"),
    [
        (Fraction(64, 45), 0, (48, 102)),
        (Fraction(64, 45), 90, (102, 48)),
        (Fraction(8, 9), 0, (48, 64)),
        (Fraction(1000, 1), 0, (48, 72)),  # a damaged header
    ],
)
def test_pixels_that_are_not_square_come_in_the_shape_they_are_shown_in(
    tmp_path: Path, aspect: Fraction, degrees: int, shown: tuple[int, int]
):
    options = {"size": (48, 72), "pixel_aspect": aspect, "rotation": (degrees, False)}
    with VideoReader(make_video(tmp_path / "a.mp4", num_frames=6, **options)) as reader:
        assert (reader.height, reader.width) == shown
        frames = reader.frames_at(range(6))
        assert frames.shape == (6, *shown, 3)
        assert numbers_shown(np.rot90(frames, -degrees // 90, axes=(1, 2))) == list(range(6))


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_frames_dropped_from_an_avi_are_a_gap_in_a_whole_file(tmp_path: Path, num_b_frames: int):
    path = tmp_path / "a.avi"
    make_video(path, codec="mpeg4", options={"bf": str(num_b_frames)}, dropped=range(21, 26))
    with VideoReader(path) as reader:
        there = [*range(21), *range(26, 40)]
        assert (reader.num_frames, reader.duration_s) == (35, pytest.approx(4))
        assert [number_shown(frame) for _, frame in reader.iterate()] == there
        # Reordered frames have no times in an avi: the one after the gap is shown too soon.
        is_timed = np.array(there) != 26 if num_b_frames else slice(None)
        np.testing.assert_allclose(reader.times_s[is_timed], np.array(there)[is_timed] / 10)


@pytest.mark.parametrize(("codec", "num_frames"), [("alac", 30), ("alac", 1), ("wavpack", 30)])
def test_sound_that_tells_no_length_does_not_make_a_file_cut_short(
    tmp_path: Path, codec: str, num_frames: int
):
    path = make_video(tmp_path / "a.mkv", num_frames=num_frames, sound=True, sound_codec=codec)
    with VideoReader(path) as reader:
        assert (reader.num_frames, reader.duration_s) == (num_frames, pytest.approx(num_frames / 10))
        assert numbers_shown(reader.frames_at(range(num_frames))) == list(range(num_frames))


def test_frames_left_out_by_an_edit_list_are_not_counted(tmp_path: Path):
    whole = make_video(tmp_path / "whole.mp4")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        # The last 35 frames; decoding must begin before them, so the file still holds all 40.
        shift = round(0.5 / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                target.mux(packet)
    with VideoReader(tmp_path / "cut.mp4") as reader:
        frames = reader.frames_at(range(reader.num_frames))
        assert numbers_shown(frames) == list(range(40 - reader.num_frames, 40))
        assert reader.num_frames == 35


def test_recording_that_begins_between_key_frames_starts_at_the_first_of_them(tmp_path: Path):
    whole = make_video(tmp_path / "whole.ts", container_format="mpegts")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.ts"), "w", format="mpegts") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.dts is not None and number >= 5:
                packet.stream = copy
                target.mux(packet)
    with VideoReader(tmp_path / "cut.ts") as reader:
        assert numbers_shown(reader.frames_at(range(reader.num_frames))) == list(range(12, 40))


def test_only_the_key_frame_before_is_decoded(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mp4", num_frames=200)) as reader:
        assert reader.num_frames == 200
        decoded = next(iter(reader._source.walk(150)))[0]
        assert 138 < decoded <= 150


def test_streaming_takes_moments_as_needed(tmp_path: Path):
    taken = []

    def moments():
        for number in range(40):
            taken.append(number)
            yield number / 10

    with VideoReader(make_video(tmp_path / "a.mp4")) as reader:
        frames = reader.stream_at_times(moments())
        assert [number_shown(next(frames)) for _ in range(3)] == [0, 1, 2]
        assert len(taken) == 3


def test_resize_is_applied_to_each_frame(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mp4")) as reader:
        frames = reader.frames_at([5, 1], resize=lambda frame: frame[::2, ::4])
        assert frames.shape == (2, 24, 16, 3)


def test_iterating_begins_at_the_frame_on_display(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mp4")) as reader:
        times_s, frames = zip(*reader.iterate(start_s=2.55), strict=True)
        assert times_s[0] == pytest.approx(2.5)
        assert [number_shown(frame) for frame in frames] == list(range(25, 40))


def test_two_walks_at_once_are_refused_not_mixed(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mp4")) as reader:
        frames = reader.iterate()
        next(frames)
        reader.frames_at([30])
        with pytest.raises(RuntimeError, match="second reader"):
            list(frames)


def test_what_is_outside_the_video_is_a_value_error(tmp_path: Path):
    with VideoReader(make_video(tmp_path / "a.mp4")) as reader:
        for indices in ([], [-1], [40]):
            with pytest.raises(ValueError, match="indices: got"):
                reader.frames_at(indices)
        for time_s in (-0.1, 4.2, float("nan")):
            with pytest.raises(ValueError, match="time_s: got"):
                reader.frames_at_times([time_s])
        with pytest.raises(ValueError, match="forward only"):
            list(reader.stream_at_times([1.0, 0.5]))


def test_error_family_names_file_cause_and_remedy(tmp_path: Path):
    with pytest.raises(VideoReadError) as caught:
        VideoReader(tmp_path / "nothing.mp4")
    assert str(tmp_path / "nothing.mp4") in str(caught.value)
    assert caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "num_frames", "rate_fps"),
    [("bbb_rabbit", 132, 25), ("bbb_butterfly", 144, 24), ("pedestrians", 80, 10), ("tree_wind", 56, 10)],
)
def test_real_clips_match_a_plain_decode(name: str, num_frames: int, rate_fps: int):
    path = Path(__file__).parents[1] / "data" / "clips" / f"{name}.mp4"
    wanted = [num_frames - 1, 40, 7, 41]
    with av.open(str(path)) as container:
        plain = [
            frame.to_ndarray(format="rgb24") if number in wanted else None
            for number, frame in enumerate(container.decode(video=0))
        ]
    with VideoReader(path) as reader:
        assert (reader.num_frames, reader.rate_fps) == (num_frames, rate_fps)
        for number, frame in zip(wanted, reader.frames_at(wanted), strict=True):
            np.testing.assert_array_equal(frame, plain[number])


def test_what_is_transparent_is_white(tmp_path: Path):
    shown = np.full((16, 16, 4), (200, 40, 40, 255), np.uint8)
    shown[:8, :, 3], shown[8, :, 3] = 0, 127
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "argb"
        for _ in range(4):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(shown, format="rgba").reformat(format="argb"))
            )
        container.mux(stream.encode())
    with VideoReader(tmp_path / "a.mov") as reader:
        (frame,) = reader.frames_at([2])
    assert frame[0, 0].tolist() == [255, 255, 255]
    assert frame[15, 0].tolist() == [200, 40, 40]
    np.testing.assert_allclose(frame[8, 0], [228, 148, 148], atol=1)
