"""Tokens of a store in the place of frames: which clips of which video they are, and what the store has not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from divot.config.errors import VideoReadError
from divot.data.shards import write_shards
from divot.data.sources import record_source
from divot.data.token_writer import TokenStoreWriter
from divot.data.tokens import Manifest, TokenStore
from divot.video import CLIP_DURATION_S, Clip


def write_store(folder, num_clips):
    """A store of videos by name; clip k of video v has tokens of v + k / 100."""
    manifest = Manifest("0" * 64, "small", "float32", 2, 3)
    content = folder.parent / "content.bin"
    content.write_bytes(b"any")
    with TokenStoreWriter(folder, manifest) as writer:
        for number, (name, count) in enumerate(num_clips.items()):
            entry = writer.start(content, name)
            for k in range(count):
                entry.add(Clip(k, k * CLIP_DURATION_S, CLIP_DURATION_S), torch.full((2, 3), number + k / 100))
            entry.finish()
    return TokenStore(folder)


def source(folder, lines, num_clips, root="videos"):
    file = folder / "words.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return record_source(file, root, write_store(folder / "store", num_clips))


def told(record):
    """Of each clip video + number / 100."""
    assert record.clips.shape[0] == 0
    assert record.tokens.shape == (record.num_clips, 2, 3)
    return [round(float(clip[0, 0]), 2) for clip in record.tokens]


@pytest.mark.parametrize(
    ("path", "names", "number"),
    [
        ("a.mp4", ["videos/a.mp4"], 0),
        ("a.mp4", ["b.mp4", "a.mp4"], 1),
        ("x/a.mp4", ["/elsewhere/y/a.mp4", "/elsewhere/x/a.mp4"], 1),
        ("x/a.mp4", ["a.mp4"], 0),
        ("a.mp4", ["other/a.mp4", "videos/a.mp4"], 1),
        ("/data/x/a.mp4", ["x/a.mp4"], 0),
    ],
)
def test_a_video_is_known_by_the_end_of_its_path(tmp_path, path, names, number):
    samples = source(tmp_path, [{"video": path, "caption": "x"}], dict.fromkeys(names, 1))
    assert told(samples.record(0, 16, 20)) == [number]


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        (["x/b.mp4", "y/a.mp4"], "is not in the token store"),
        (["one/x/a.mp4", "two/x/a.mp4"], "may be each of one/x/a.mp4, two/x/a.mp4"),
    ],
)
def test_a_video_that_the_store_has_not_is_named(tmp_path, names, cause):
    samples = source(tmp_path, [{"video": "x/a.mp4", "caption": "x"}], dict.fromkeys(names, 1))
    with pytest.raises(VideoReadError, match=cause) as caught:
        samples.record(0, 16, 20)
    assert Path(caught.value.source) == Path("videos/x/a.mp4")


def test_clips_are_spread_evenly_over_a_long_video(tmp_path):
    samples = source(tmp_path, [{"video": "a.mp4", "caption": "x", "questions": [["q", "a"]]}], {"a.mp4": 40})
    assert told(samples.record(0, 16, 4)) == [0.0, 0.1, 0.2, 0.3]
    assert told(samples.record(0, 16, 1)) == [0.0]
    assert told(samples.record(0, 16, 1, at=0.5)) == [0.2]
    record = samples.record(0, 16, 100)
    assert record.num_clips == 40
    assert (record.captions, record.questions) == (("x",), (("q", "a"),))


def test_of_a_part_of_a_video_its_clips_are_taken_or_the_nearest(tmp_path):
    spans = [(2.0, 6.0), (3.5, 4.5), (5.1, 5.4), (7.0, None), (12.0, 14.0)]
    lines = [
        {"video": "a.mp4", "caption": "x", "start_s": start_s, "end_s": end_s} for start_s, end_s in spans
    ]
    samples = source(tmp_path, lines, {"a.mp4": 5})
    parts = [told(samples.record(number, 16, 20)) for number in range(4)]
    assert parts == [[0.01, 0.02], [0.01], [0.02], [0.03, 0.04]]
    assert told(samples.record(0, 16, 1)) == [0.01]
    with pytest.raises(VideoReadError, match=r"begins at 12 s, the video ends at 10\.00 s"):
        samples.record(4, 16, 20)


def test_a_story_takes_the_clips_that_begin_nearest(tmp_path):
    starts = [("a.mp4", 0.9), ("b.mp4", 2.0), ("a.mp4", 3.1), ("a.mp4", 5.9)]
    clips = [{"video": name, "start_s": start_s, "text": f"at {start_s}"} for name, start_s in starts]
    late = [clips[0], {**clips[0], "start_s": 6.0}]
    lines = [{"story": "Tell.", "clips": parts} for parts in (clips, late)]
    samples = source(tmp_path, lines, {"a.mp4": 3, "b.mp4": 2})
    record = samples.record(0, 16, 1)
    assert told(record) == [0.0, 1.01, 0.02, 0.02]
    assert record.sentences == ("at 0.9", "at 2.0", "at 3.1", "at 5.9")
    with pytest.raises(VideoReadError, match=r"begin at 6 s, .* has none there"):
        samples.record(1, 16, 1)


def test_pictures_are_read_from_their_files(tmp_path):
    Image.fromarray(np.full((20, 20, 3), 9, np.uint8)).save(tmp_path / "p.png")
    samples = source(tmp_path, [{"image": "p.png", "caption": "x"}], {"a.mp4": 1}, root=None)
    record = samples.record(0, 16, 1)
    assert record.tokens is None
    assert (record.clips == 9).all()
    assert record.is_image


def test_shards_may_have_their_tokens_in_a_store(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"is not looked at")
    (tmp_path / "words.csv").write_text("video,caption\nb.mp4,x\n")
    write_shards(tmp_path / "words.csv", tmp_path / "shards")
    store = write_store(tmp_path / "store", {"a.mp4": 1, "b.mp4": 2})
    record = record_source(tmp_path / "shards", None, store).record(0, 16, 20)
    assert told(record) == [1.0, 1.01]
    assert record.captions == ("x",)
