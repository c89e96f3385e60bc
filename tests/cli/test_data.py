"""data story, check, shards and datasets: what they print, write and end with."""

import json

import numpy as np
import pytest

from divot.video import write_video


@pytest.fixture
def film(tmp_path):
    shots = [np.full((20, 64, 64, 3), colour, np.uint8) for colour in ((150, 30, 30), (20, 40, 160))]
    write_video(tmp_path / "film.mp4", np.concatenate(shots), 8)
    return tmp_path / "film.mp4"


def test_story_writes_a_line_and_counts_the_shots(run, film, tmp_path):
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"video": "film.mp4", "start_s": 0, "end_s": 5, "caption": "A wall."}\n')
    out = tmp_path / "stories.jsonl"
    arguments = ("data", "story", film, "-o", out, "--captions", captions, "--clips", 2)
    code, said, err = run(*arguments, "--instruction", "Tell.", "--json")
    assert code == 0, err
    record = json.loads(said)
    assert (record["stories"], record["clips"], record["shots"]) == (1, 2, 2)
    assert json.loads(out.read_text())["story"] == "Tell."
    before = captions.read_bytes()
    code, _, err = run("data", "story", film, "-o", captions, "--captions", captions, "--clips", 2)
    assert (code, "would be overwritten" in err, captions.read_bytes() == before) == (2, True, True)
    code, said, err = run(*arguments, tmp_path / "gone.mp4")
    assert code == 1
    assert "gone.mp4: there is no such file. It was left out" in err
    assert "1 stories of 2 clips from 1 videos, 1 left out" in said


def test_check_counts_and_names_what_is_bad(run, film, tmp_path):
    code, said, _ = run("data", "check", tmp_path)
    assert (code, said) == (0, "1 good, 0 bad\n")
    (tmp_path / "text.mp4").write_text("no video")
    rejects, counts = tmp_path / "out" / "rejects.jsonl", tmp_path / "out" / "counts.json"
    code, said, _ = run("data", "check", tmp_path, "--rejects", rejects, "--json", counts)
    assert code == 1
    assert said.splitlines()[:2] == ["1 good, 1 bad", "  unreadable: 1"]
    assert json.loads(rejects.read_text())["file"] == str(tmp_path / "text.mp4")
    assert json.loads(counts.read_text())["bad_by_reason"]["unreadable"] == 1
    code, said, _ = run("data", "check", tmp_path, "--json", "-")
    assert code == 1
    assert json.loads(said)["good"] == 1


def test_check_of_annotations_takes_the_folder_of_their_videos(run, film, tmp_path):
    words = tmp_path / "words" / "words.jsonl"
    words.parent.mkdir()
    words.write_text('{"video": "film.mp4", "caption": "A wall."}\n')
    assert run("data", "check", words, "--videos", tmp_path, "-q")[0] == 0
    assert run("data", "check", words, "-q")[0] == 1
    for output in (words, film):
        before = output.read_bytes()
        code, _, err = run("data", "check", words, "--videos", tmp_path, "--rejects", output)
        assert (code, "would be overwritten" in err, output.read_bytes() == before) == (2, True, True)
    code, _, err = run("data", "check", words, "--json", tmp_path / "a", "--rejects", tmp_path / "a")
    assert (code, "are both" in err) == (2, True)


def test_shards_are_written_and_counted(run, film, tmp_path):
    words = tmp_path / "words.csv"
    words.write_text("video,caption\nfilm.mp4,A wall.\n")
    out = tmp_path / "shards"
    assert run("data", "shards", words, "-o", out)[:2] == (
        0,
        f"1 samples in 1 shards, 0 left out\nwrote {out}\n",
    )
    words.write_text("video,caption\nfilm.mp4,A wall.\ngone.mp4,None.\n")
    code, said, err = run(
        "data", "shards", words, "-o", tmp_path / "more", "--samples-per-shard", 1, "--json"
    )
    assert code == 1, err
    record = json.loads(said)
    assert (record["files"], record["samples"]) == (2, 1)
    assert list(record["failed"]) == [str(tmp_path / "gone.mp4")]
    assert run("data", "shards", words, "-o", out)[0] == 2


def test_datasets_are_listed_with_their_files_and_read_by_name(run, film, tmp_path):
    code, said, _ = run("data", "datasets")
    assert code == 0
    assert all(name in said for name in ("webvid", "panda70m", "activitynetqa"))
    code, said, _ = run("data", "datasets", "--json")
    record = json.loads(said)
    assert (record["webvid"]["is_supported"], record["curious-george"]["is_supported"]) == (True, False)
    assert record["webvid"]["videos"] == "PAGE_DIR/VIDEOID.mp4"
    assert record["curious-george"]["why_not"]
    (tmp_path / "p").mkdir()
    film.rename(tmp_path / "p" / "7.mp4")
    words = tmp_path / "w.csv"
    words.write_text("videoid,page_dir,name\n7,p,A wall.\n8,p,Another.\n")
    code, said, _ = run("data", "check", f"webvid:{words}", "--videos", tmp_path)
    assert (code, said.splitlines()[:2]) == (1, ["1 good, 1 bad", "  unreadable: 1"])
    code, said, _ = run(
        "data", "shards", f"webvid:{words}", "--videos", tmp_path, "-o", tmp_path / "s", "--json"
    )
    assert (code, json.loads(said)["samples"]) == (1, 1)
    code, _, err = run("data", "check", f"webvid:{words}", "--rejects", words)
    assert code == 2
    assert "would be overwritten" in err
    assert run("data", "check", "nothing-known:x.csv")[0] == 2
