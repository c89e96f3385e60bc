"""Webdataset tar files of others: on disk and over fsspec, with what they lack named."""

import io
import json
import tarfile
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from PIL import Image

from divot.config.errors import DataError, VideoReadError
from divot.config.language import LanguageConfig
from divot.config.training import DataConfig, TrainConfig
from divot.data import tars
from divot.data.check import check_samples
from divot.data.sources import record_source
from divot.data.tasks import LanguageDataset, world_corpus
from divot.text import SequenceBuilder, add_video_tokens
from divot.text.pieces import learn_pieces
from video.making import make_video


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """Two tar files as bytes."""
    folder = tmp_path_factory.mktemp("contents")
    make_video(folder / "a.mp4", num_frames=20, rate_fps=8)
    video = (folder / "a.mp4").read_bytes()
    picture = io.BytesIO()
    Image.fromarray(np.full((70, 80, 3), 9, np.uint8)).save(picture, "jpeg")
    # Fields of other tools, too, stand beside a caption.
    told = {"caption": "grey", "url": "https://example.org", "answers": ["it", "is"], "width": 80}
    asked = {"questions": [["what?", "bars"]], "video": "elsewhere.mp4"}
    first = {
        "x/000.mp4": video,
        "x/000.txt": b"moving bars\n",
        "x/001.JPG": picture.getvalue(),
        "x/001.json": json.dumps(told).encode(),
        "x/._001.JPG": b"left there by a tool",
    }
    second = {
        "2.mp4": video,
        "2.json": json.dumps(asked).encode(),
        "3.json": json.dumps({"caption": None}).encode(),
        "3.txt": b"words of the txt",
        "3.mp4": video,
        "4.txt": b"nothing beside me",
        "5.mp4": video,
        "6.mp4": b"no video at all",
        "6.txt": b"broken",
    }
    return [packed(first), packed(second)]


def packed(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
def on_disk(contents, tmp_path):
    (tmp_path / "tars").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / "tars" / f"{number:03d}.tar").write_bytes(content)
    return tmp_path / "tars"


@pytest.fixture
def in_memory(contents):
    files = fsspec.filesystem("memory")
    for number, content in enumerate(contents):
        files.pipe(f"/bucket/{number:03d}.tar", content)
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


def told(source):
    found = []
    for number in range(len(source)):
        try:
            record = source.record(number, 16, 2)
            found.append((record.captions, record.questions, record.is_image, record.clips.shape))
        except VideoReadError as error:
            found.append(error.cause)
    return found


def test_samples_are_the_same_from_disk_and_from_afar(on_disk, in_memory):
    shape = (1, 16, 16, 16, 3)
    wanted = [
        (("moving bars",), (), False, (2, *shape[1:])),
        (("grey",), (), True, shape),
        ((), (("what?", "bars"),), False, (2, *shape[1:])),
        (("words of the txt",), (), False, (2, *shape[1:])),
        "has neither a video nor a picture beside it",
        "has no words beside it",
    ]
    for where in (on_disk, f"{on_disk}/*.tar", f"{on_disk}/{{000..001}}.tar", f"{in_memory}/*.tar"):
        found = told(record_source(where, None, None))
        assert found[:6] == wanted
        assert len(found) == 7
        assert "is not a video" in found[6]


def test_training_names_bad_samples_and_goes_on(in_memory, tmp_path):
    tokenizer = learn_pieces(world_corpus(0, 20, 16), 400)
    add_video_tokens(tokenizer)
    config = TrainConfig(
        stage="lm",
        init_model="tiny",
        data=DataConfig(world_share=0.0, max_reject_share=0.9),
        language=LanguageConfig(annotations=f"{in_memory}/{{000..001}}.tar"),
    )
    samples = LanguageDataset(
        config, SequenceBuilder(tokenizer, 4), 16, 40, rejects_file=tmp_path / "rejects.jsonl"
    )
    assert len([samples[number] for number in range(40)]) == 40
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert {line["file"].rpartition(":")[2] for line in rejects} == {"4.txt", "5.mp4", "6.mp4"}
    assert all(line["file"].startswith("memory://bucket/001.tar:") for line in rejects)


def test_check_counts_them(in_memory):
    report = check_samples(f"{in_memory}/*.tar", min_side_px=16).to_json()
    # Two have the video of the first, without other words that would tell them apart.
    assert report["good"] == 2
    assert {reason: count for reason, count in report["bad_by_reason"].items() if count} == {
        "unreadable": 2,
        "empty_caption": 1,
        "duplicate": 2,
    }


def test_a_listing_is_kept_until_the_tar_changes(on_disk, cache, contents, monkeypatch):
    before = told(record_source(on_disk, None, None))
    assert len(list(cache.rglob("*.json"))) == 2
    with monkeypatch.context() as patched:
        patched.setattr(tars, "list_packed", lambda tar: pytest.fail(f"{tar} is gone through again"))
        assert told(record_source(on_disk, None, None)) == before
    (on_disk / "001.tar").write_bytes(contents[0])
    assert told(record_source(on_disk, None, None))[2:] == before[:2]


def test_tars_are_read_where_no_listing_can_be_kept(on_disk, tmp_path, monkeypatch):
    before = told(record_source(on_disk, None, None))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert told(record_source(on_disk, None, None)) == before


@pytest.mark.parametrize(
    "where", ["{folder}/missing.tar", "nowhere://x/a.tar", "memory://none/{{0..1}}.tar", "{folder}/*.tar"]
)
def test_what_is_not_there_is_named(where, tmp_path):
    with pytest.raises(DataError):
        record_source(where.format(folder=tmp_path), None, None)


def test_a_cut_tar_is_named(on_disk, contents):
    (on_disk / "000.tar").write_bytes(contents[0][:700])
    with pytest.raises(DataError, match=r"000\.tar"):
        record_source(on_disk, None, None)


def test_a_listing_of_an_address_is_made_anew_when_the_file_there_changes(cache, monkeypatch):
    told = {"size": 10, "ETag": "one"}
    files = SimpleNamespace(ukey=lambda path: "of the address alone", info=lambda path: told)
    monkeypatch.setattr(tars.fsspec.core, "url_to_fs", lambda tar: (files, tar))
    listed = []
    monkeypatch.setattr(tars, "list_packed", lambda tar: listed.append(tar) or [])
    for tag in ("one", "one", "two"):
        told["ETag"] = tag
        tars._members("https://a/b.tar")
    assert len(listed) == 2
