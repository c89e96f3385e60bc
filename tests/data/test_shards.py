"""Shards: what is read from them is what is read from the files, and a stopped run goes on."""

import dataclasses
import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from webdataset import WebDataset

from divot.config.errors import DataError, VideoReadError
from divot.config.language import LanguageConfig
from divot.config.training import DataConfig, TrainConfig
from divot.data import shards
from divot.data.check import check_samples
from divot.data.shards import read_index, write_shards
from divot.data.sources import record_source
from divot.data.tasks import LanguageDataset, world_corpus
from divot.text import SequenceBuilder, add_video_tokens
from divot.text.pieces import learn_pieces
from video.making import make_video

TALK = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "Bars."}]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Five annotated files, two of them in a sub-folder."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "more").mkdir()
    lines = []
    for number in range(4):
        name = f"more/{number}.MP4" if number == 3 else f"{number}.mp4"
        make_video(folder / name, num_frames=20 + number, rate_fps=8)
        lines.append({"video": name, "caption": f"caption {number}", "questions": [["which?", f"{number}"]]})
    lines[1] = {"video": "1.mp4", "conversations": TALK}
    Image.fromarray(np.full((20, 30, 3), 9, np.uint8)).save(folder / "more" / "p.png")
    lines.insert(2, {"image": "more/p.png", "caption": ["grau", "gräulich"]})
    (folder / "words.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_training_samples_from_shards_are_those_from_the_files(files, tmp_path):
    write_shards(files / "words.jsonl", tmp_path / "shards", samples_per_shard=2)
    tokenizer = learn_pieces(world_corpus(0, 20, 16), 400)
    add_video_tokens(tokenizer)
    tasks = dict.fromkeys(("caption", "question", "generation", "image_caption"), 1.0)
    rows = []
    for annotations, root in ((files / "words.jsonl", files), (tmp_path / "shards", None)):
        config = TrainConfig(
            stage="lm",
            init_model="tiny",
            data=DataConfig(world_share=0.0, videos=root and str(root)),
            language=LanguageConfig(tasks=tasks, annotations=str(annotations)),
        )
        rows.append(LanguageDataset(config, SequenceBuilder(tokenizer, num_tokens=8), 16, 30))
    # In any order: a sample is read by its number.
    for number in (29, 3, *range(12)):
        one, other = (part[number] for part in rows)
        assert (one.sequence, one.task, one.read, one.written) == (
            other.sequence,
            other.task,
            other.read,
            other.written,
        )
        np.testing.assert_array_equal(one.seen, other.seen)


def test_annotations_come_back_as_they_were(files, tmp_path):
    write_shards(files / "words.jsonl", tmp_path / "shards", samples_per_shard=2)
    before, after = (record_source(p, files, None) for p in (files / "words.jsonl", tmp_path / "shards"))
    assert len(before) == len(after) == 5
    assert [after.annotation(n) for n in range(5)] == [before.annotation(n) for n in range(5)]


def test_webdataset_reads_the_shards(files, tmp_path):
    write_shards(files / "words.jsonl", tmp_path / "shards", samples_per_shard=4)
    names = [str(tmp_path / "shards" / f"{number:06d}.tar") for number in range(2)]
    samples = list(WebDataset(names, shardshuffle=False, empty_check=False))
    assert [sorted(key for key in sample if not key.startswith("_")) for sample in samples] == [
        ["json", "mp4"],
        ["json", "mp4"],
        ["json", "png"],
        ["json", "mp4"],
        ["json", "mp4"],
    ]
    assert samples[3]["mp4"] == (files / "2.mp4").read_bytes()
    assert json.loads(samples[2]["json"]) == {"image": "more/p.png", "caption": ["grau", "gräulich"]}


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(files, tmp_path, monkeypatch):
    write_shards(files / "words.jsonl", tmp_path / "unbroken", samples_per_shard=2)
    written = []

    def stopped(path, *rest, real=shards._write_shard):
        if len(written) == 1:
            (path.parent / f".{path.stem}.12345678.tar").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        return real(path, *rest)

    folder = tmp_path / "shards"
    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write_shard", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_shards(files / "words.jsonl", folder, samples_per_shard=2)
    assert read_index(folder).num_samples == 2
    told = []
    index = write_shards(files / "words.jsonl", folder, None, 2, lambda *share: told.append(share))
    assert told == [(0.8, 4), (1.0, 5)]
    assert index == read_index(folder)
    assert content(folder) == content(tmp_path / "unbroken")
    # A shard that is gone is made again, with those behind it.
    (folder / "000001.tar").unlink()
    write_shards(files / "words.jsonl", folder, samples_per_shard=2)
    assert content(folder) == content(tmp_path / "unbroken")


def test_a_file_that_is_missing_is_left_out_and_named(files, tmp_path):
    shutil.copytree(files, tmp_path / "files")
    (tmp_path / "files" / "1.mp4").unlink()
    index = write_shards(tmp_path / "files" / "words.jsonl", tmp_path / "shards")
    assert index.num_samples == 4
    assert index.left_out == {str(tmp_path / "files" / "1.mp4"): "cannot be read (No such file or directory)"}
    assert len(record_source(tmp_path / "shards", None, None)) == 4


@pytest.mark.parametrize("name", ["film", "film.json", "film._y"])
def test_names_that_a_tar_file_has_other_uses_for_are_packed(name, files, tmp_path):
    shutil.copy(files / "0.mp4", tmp_path / name)
    (tmp_path / "words.csv").write_text(f"video,caption\n{name},x\n")
    assert write_shards(tmp_path / "words.csv", tmp_path / "shards").num_samples == 1
    record = record_source(tmp_path / "shards", None, None).record(0, 16, 1)
    assert record.captions == ("x",)
    assert check_samples(tmp_path / "shards", min_side_px=8).good == 1


def test_shards_are_checked_as_the_files_are(files, tmp_path):
    write_shards(files / "words.jsonl", tmp_path / "shards", samples_per_shard=2)
    ours, theirs = (
        check_samples(source, min_side_px=8) for source in (tmp_path / "shards", files / "words.jsonl")
    )
    assert (ours.good, len(ours.bad)) == (theirs.good, len(theirs.bad))
    assert ours.good > 0


def test_a_file_that_is_no_video_is_named_in_its_shard(files, tmp_path):
    (tmp_path / "a.mp4").write_text("no video\n" * 50)
    (tmp_path / "words.csv").write_text("video,caption\na.mp4,x\n")
    write_shards(tmp_path / "words.csv", tmp_path / "shards")
    with pytest.raises(VideoReadError, match=r"000000\.tar:000000000\.mp4: "):
        record_source(tmp_path / "shards", None, None).record(0, 16, 1)


def test_what_cannot_be_sharded_or_read_is_refused(files, tmp_path):
    folder = tmp_path / "shards"
    write_shards(files / "words.jsonl", folder, samples_per_shard=4)
    with pytest.raises(DataError, match="with samples_per_shard 4, not 5"):
        write_shards(files / "words.jsonl", folder, samples_per_shard=5)
    (tmp_path / "words.jsonl").write_text('{"video": "a.mp4", "caption": "x"}')
    with pytest.raises(DataError, match="with annotations_sha256"):
        write_shards(tmp_path / "words.jsonl", folder, samples_per_shard=4)
    with pytest.raises(DataError, match="holds other files"):
        write_shards(tmp_path / "words.jsonl", files)
    clips = [{"video": "a.mp4", "start_s": 0, "text": "x"}] * 2
    (tmp_path / "words.jsonl").write_text(json.dumps({"story": "Tell.", "clips": clips}))
    with pytest.raises(DataError, match=r"words\.jsonl:1: is a story"):
        write_shards(tmp_path / "words.jsonl", tmp_path / "stories")
    with pytest.raises(DataError, match="is not the index of shards"):
        record_source(files, None, None)
    with tarfile.open(folder / "000001.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"000001\.tar: is missing or damaged \(0 files instead of 2\)"):
        record_source(folder, None, None).annotation(4)
    index = dataclasses.asdict(read_index(folder))
    (folder / "index.json").write_text(json.dumps({**index, "format": 2}))
    with pytest.raises(DataError, match="has format 2"):
        record_source(folder, None, None)


def test_of_two_lines_about_a_missing_file_neither_is_counted(files, tmp_path):
    lines = [
        {"video": "gone.mp4", "caption": "begins", "end_s": 2.0},
        {"video": "gone.mp4", "caption": "ends", "start_s": 2.0},
        {"video": "0.mp4", "caption": "is there"},
    ]
    (files / "parts.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert write_shards(files / "parts.jsonl", tmp_path / "shards").num_samples == 1
    assert record_source(tmp_path / "shards", None, None).annotation(0).captions == ("is there",)
