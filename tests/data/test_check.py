"""What a check says about the samples of a folder or of an annotations file."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from divot.config.errors import DataError
from divot.data.check import REASONS, check_samples
from video.making import make_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A good video and a good picture, and one sample for each reason that a file alone can give."""
    folder = tmp_path_factory.mktemp("samples")
    make_video(folder / "a.mp4", num_frames=40, size=(64, 96))
    make_video(folder / "short.mp4", num_frames=15, size=(64, 96))
    make_video(folder / "small.mp4", num_frames=40, size=(48, 96))
    make_video(folder / "wide.mp4", num_frames=40, size=(64, 200))
    (folder / "text.mp4").write_text("no video\n" * 100)
    (folder / "cut.mp4").write_bytes((folder / "a.mp4").read_bytes()[:3000])
    (folder / "more").mkdir()
    shutil.copy(folder / "a.mp4", folder / "more" / "again.mp4")
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(folder / "picture.png")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def reasons(report):
    return {sample.file: sample.reason for sample in report.bad}


@pytest.mark.parametrize("num_workers", [1, 3])
def test_every_sample_of_a_folder_is_good_or_has_a_reason(folder, num_workers):
    seen = []
    report = check_samples(folder, num_workers=num_workers, on_progress=lambda *told: seen.append(told))
    assert report.good == 2
    assert {name.removeprefix(f"{folder}/"): reason for name, reason in reasons(report).items()} == {
        "cut.mp4": "unreadable",
        "more/again.mp4": "duplicate",
        "short.mp4": "too_short",
        "small.mp4": "too_small",
        "text.mp4": "unreadable",
        "wide.mp4": "odd_aspect",
    }
    assert all(sample.cause and sample.line is None for sample in report.bad)
    assert seen[-1] == (1.0, 8)


def test_counts_name_every_reason(folder, tmp_path):
    report = check_samples(folder, min_side_px=48)
    record = report.to_json()
    assert (record["good"], record["bad"]) == (3, 5)
    assert list(record["bad_by_reason"]) == list(REASONS)
    assert sum(record["bad_by_reason"].values()) == 5
    report.write_rejects(tmp_path / "rejects.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert all(set(line) == {"file", "line", "reason", "cause"} for line in lines)


def test_lines_of_annotations_are_samples(folder, tmp_path):
    clips = [{"video": "a.mp4", "start_s": start_s, "text": "x"} for start_s in (0, 2)]
    lines = [
        '{"video": "a.mp4", "caption": "good"}',
        '{"video": "a.mp4", "caption": ""}',
        "{",
        '{"video": "a.mp4", "caption": "the same again"}',
        '{"image": "picture.png", "caption": "a picture needs no two seconds"}',
        json.dumps({"story": "good", "clips": clips}),
        json.dumps({"story": "ends early", "clips": [clips[0], {**clips[1], "start_s": 3}]}),
        json.dumps({"story": "begins too late", "clips": [clips[0], {**clips[1], "start_s": 30}]}),
        '{"video": "gone.mp4", "caption": "x"}',
    ]
    file = tmp_path / "words.jsonl"
    file.write_text("\n".join(lines))
    report = check_samples(file, root=folder)
    assert report.good == 3
    assert [(sample.line, sample.reason) for sample in report.bad] == [
        (2, "empty_caption"),
        (3, "unreadable"),
        (4, "duplicate"),
        (7, "too_short"),
        (8, "unreadable"),
        (9, "unreadable"),
    ]
    assert report.bad[0].file == str(file)
    assert report.bad[2].cause == f"it has the same content as {folder / 'a.mp4'} (line 1)"
    assert report.bad[5].file == str(folder / "gone.mp4")


def test_a_source_without_samples_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no video or picture"):
        check_samples(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        check_samples(tmp_path / "none.jsonl")
