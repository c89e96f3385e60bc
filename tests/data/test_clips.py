"""Training clips by number."""

import dataclasses

import numpy as np
import pytest
import torch

from divot.config.errors import DataError
from divot.config.training import DataConfig
from divot.data.clips import ClipDataset, to_batch
from divot.video.transform import signed


def test_same_seed_and_number_give_the_same_clip_in_any_order(video_file):
    config = DataConfig(world_share=0.5, videos=str(video_file.parent))
    first = ClipDataset(config, seed=3, size_px=32, length=8)
    again = ClipDataset(config, seed=3, size_px=32, length=8)
    forward = [first[number] for number in range(8)]
    backward = [again[number] for number in reversed(range(8))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert {clip.shape for clip in forward} == {(16, 32, 32, 3)}


def test_video_that_cannot_be_read_is_replaced_and_named(video_file, tmp_path):
    (tmp_path / "good.mp4").write_bytes(video_file.read_bytes())
    (tmp_path / "bad.mp4").write_text("no video")
    dataset = ClipDataset(DataConfig(world_share=0.0, videos=str(tmp_path)), seed=0, size_px=32, length=12)
    clips = [dataset[number] for number in range(12)]
    assert all(clip.max() > 0 for clip in clips)
    assert list(dataset.rejects.causes) == [str(tmp_path / "bad.mp4")]


def test_folder_of_bad_videos_alone_is_an_error(tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    dataset = ClipDataset(DataConfig(world_share=0.0, videos=str(tmp_path)), seed=0, size_px=32, length=1)
    with pytest.raises(DataError, match=r"bad\.mp4"):
        dataset[0]


def test_run_stops_where_more_than_the_set_share_cannot_be_read(video_file, tmp_path):
    (tmp_path / "good.mp4").write_bytes(video_file.read_bytes())
    for number in range(4):
        (tmp_path / f"bad_{number}.mp4").write_text("no video")
    config = DataConfig(world_share=0.0, videos=str(tmp_path), max_reject_share=0.9)
    bearing = ClipDataset(config, seed=0, size_px=32, length=12)
    assert all(bearing[number].max() > 0 for number in range(12))
    strict = ClipDataset(dataclasses.replace(config, max_reject_share=0.5), seed=0, size_px=32, length=12)
    with pytest.raises(DataError, match=r"files drawn could not be read.*data\.max_reject_share"):
        [strict[number] for number in range(12)]


def test_batch_is_bytes_that_become_minus_one_to_one():
    batch = to_batch([np.full((16, 4, 4, 3), 255, np.uint8), np.zeros((16, 4, 4, 3), np.uint8)])
    assert batch.shape == (2, 16, 3, 4, 4)
    assert batch.dtype == torch.uint8
    assert (float(signed(batch).min()), float(signed(batch).max())) == (-1.0, 1.0)
