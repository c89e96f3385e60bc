import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divot import world
from divot.config.errors import DataError
from divot.evaluation import video_clips, world_clips
from divot.video import write_video


def write_moving_square(path: Path, num_frames: int) -> None:
    frames = np.zeros((num_frames, 32, 32, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[8:16, index % 24 : index % 24 + 8] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, 8)


def test_world_clips_are_those_of_the_test_split():
    clips = list(world_clips(5, 3, size_px=32))
    assert [clip.name for clip in clips] == ["test 5/0", "test 5/1", "test 5/2"]
    assert (clips[2].frames == world.clip(5, 2, split="test", size=32).frames).all()
    for index in range(3):
        triples = world.scene_triples(world.clip(5, index, split="test").scene)
        assert any(world.is_held_out(*triple) for triple in triples)


def test_no_world_clips_are_refused():
    with pytest.raises(ValueError, match="count: got 0"):
        next(world_clips(0, 0))


def test_every_clip_of_every_video_is_read_and_partial_ones_are_named(tmp_path):
    write_moving_square(tmp_path / "b.mp4", 32)
    write_moving_square(tmp_path / "inner" / "a.mp4", 20)
    found = video_clips(tmp_path, size_px=16)
    assert found.num_clips == {"b.mp4": 2, "inner/a.mp4": 2}
    assert [clip.name for clip in found.clips] == [
        "b.mp4 0 s",
        "b.mp4 2 s",
        "inner/a.mp4 0 s",
        "inner/a.mp4 2 s",
    ]
    assert found.partial == ["inner/a.mp4 2 s"]
    assert found.clips[0].frames.shape == (16, 16, 16, 3)
    assert found.rejected == {}


def test_clips_of_a_video_can_be_limited(tmp_path):
    write_moving_square(tmp_path / "a.mp4", 48)
    assert video_clips(tmp_path, size_px=16, max_clips_per_video=2).num_clips == {"a.mp4": 2}


def test_files_that_are_no_videos_are_rejected_by_name(tmp_path):
    write_moving_square(tmp_path / "good.mp4", 16)
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    Image.new("RGB", (32, 32)).save(tmp_path / "picture.png")
    (tmp_path / ".hidden").write_text("left alone")
    found = video_clips(tmp_path, size_px=16)
    assert found.num_clips == {"good.mp4": 1}
    assert set(found.rejected) == {"notes.txt", "empty.mp4", "picture.png"}
    assert found.rejected["picture.png"] == "is a still picture"


def test_video_that_breaks_off_keeps_its_clips_and_is_rejected_too(tmp_path):
    write_moving_square(tmp_path / "whole.mkv.mp4", 16)
    source = Path(__file__).parents[1] / "data" / "clips" / "bbb_rabbit.mp4"
    cut = tmp_path / "cut.mp4"
    shutil.copy(source, cut)
    with cut.open("r+b") as file:
        file.truncate(cut.stat().st_size * 3 // 4)
    found = video_clips(tmp_path, size_px=16)
    assert "cut.mp4" in found.rejected


def test_folder_without_a_video_is_refused_with_the_reasons(tmp_path):
    with pytest.raises(DataError, match="it is empty"):
        video_clips(tmp_path, size_px=16)
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(DataError, match=r"notes\.txt"):
        video_clips(tmp_path, size_px=16)
    with pytest.raises(DataError, match="is not a folder"):
        video_clips(tmp_path / "nowhere", size_px=16)
