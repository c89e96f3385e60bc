"""Many videos to a store: bad ones are named, stopped runs continue."""

import json
import os
import shutil

import pytest
import torch

from conftest import CLIPS
from divot.config.errors import DataError
from divot.data.tokens import TokenStore
from divot.pipelines import Divot, encode_videos
from divot.pipelines.decode import decode_tokens, find_tokens
from divot.video.folders import list_videos


@pytest.fixture(scope="module")
def divot(model_folder):
    return Divot.from_pretrained(model_folder, device="cpu")


@pytest.fixture
def folder(tmp_path, video_file):
    folder = tmp_path / "videos"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(video_file, folder / "b.mp4")
    shutil.copy(video_file, folder / "deeper" / "c.MP4")
    (folder / "a.mp4").write_bytes(b"no film")
    (folder / ".hidden.mp4").write_bytes(b"no film")
    (folder / "notes.txt").write_text("no film")
    return folder


def test_folder_gives_its_videos_in_order(folder, video_file):
    names = [path.relative_to(folder).as_posix() for path in list_videos([folder])]
    assert names == ["a.mp4", "b.mp4", "deeper/c.MP4"]
    assert list_videos([video_file, video_file]) == [video_file]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="holds no video"):
        list_videos([folder / "empty"])


def test_bad_file_is_named_and_the_others_go_on(divot, folder, tmp_path):
    told, shares = [], []
    summary = encode_videos(
        divot,
        [*list_videos([folder]), folder / "none.mp4"],
        tmp_path / "store",
        on_progress=lambda share, clips: shares.append(share),
        on_failure=lambda name, cause: told.append(name),
    )
    assert [name.rsplit("/", 1)[1] for name in summary.encoded] == ["b.mp4", "c.MP4"]
    assert [name.rsplit("/", 1)[1] for name in summary.failed] == ["a.mp4", "none.mp4"]
    assert told == list(summary.failed)
    assert summary.num_clips == 4
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    again = encode_videos(divot, list_videos([folder]), tmp_path / "store")
    assert again.skipped == summary.encoded
    assert again.num_clips == 0


def test_a_name_that_is_no_utf_8_is_named_and_the_others_go_on(divot, folder, video_file, tmp_path):
    shutil.copy(video_file, folder / os.fsdecode(b"caf\xe9.mp4"))
    summary = encode_videos(divot, list_videos([folder]), tmp_path / "store")
    assert len(summary.encoded) == 2
    assert [cause for name, cause in summary.failed.items() if "caf" in name] == [
        "has a name that is not UTF-8"
    ]
    summary.write_rejects(tmp_path / "rejects.jsonl")
    lines = (tmp_path / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["file"] for line in lines} == set(summary.failed)


def test_another_file_of_the_same_name_is_told(divot, video_file, tmp_path, monkeypatch):
    summaries = []
    for number, source in enumerate((video_file, CLIPS / "bbb_rabbit.mp4")):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(source, folder / "x.mp4")
        monkeypatch.chdir(folder)
        summaries.append(encode_videos(divot, ["x.mp4"], tmp_path / "store"))
    assert [summary.replaced for summary in summaries] == [[], ["x.mp4"]]


def test_stored_tokens_are_those_of_encode(divot, video_file, tmp_path):
    encode_videos(divot, [video_file], tmp_path / "store")
    assert torch.equal(TokenStore(tmp_path / "store").read(video_file.as_posix()), divot.encode(video_file))


def test_store_says_which_clips_were_read(divot, video_file, tmp_path):
    store = tmp_path / "store"
    encode_videos(divot, [video_file], store, sampling="official-comprehension")
    assert TokenStore(store).manifest.settings == {"fit": "crop", "sampling": "official-comprehension"}
    assert torch.equal(find_tokens(store).tokens, divot.encode(video_file, sampling="official-comprehension"))
    # Of spread clips those past the end of the video are not shown.
    encode_videos(divot, [video_file], tmp_path / "spread", sampling="spread")
    assert find_tokens(tmp_path / "spread").clips is not None
    # Squeezed clips are shown with all their frames.
    assert find_tokens(store).clips is None
    with pytest.raises(DataError, match="settings"):
        encode_videos(divot, [video_file], store)


def test_store_of_other_model_is_refused_for_writing_and_decoding(
    divot, other_model_folder, video_file, tmp_path
):
    encode_videos(divot, [video_file], tmp_path / "store")
    other = Divot.from_pretrained(other_model_folder, device="cpu")
    hashes = f"{divot.folder.tokenizer_hash}.*{other.folder.tokenizer_hash}"
    with pytest.raises(DataError, match=hashes):
        encode_videos(other, [video_file], tmp_path / "store")
    with pytest.raises(DataError, match=hashes):
        decode_tokens(other, find_tokens(tmp_path / "store"), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_video_of_a_full_store_is_chosen_by_name(divot, folder, tmp_path):
    encode_videos(divot, [folder / "b.mp4", folder / "deeper" / "c.MP4"], tmp_path / "store")
    with pytest.raises(DataError, match=r"holds 2 videos.*--video NAME.*b\.mp4"):
        find_tokens(tmp_path / "store")
    name = (folder / "b.mp4").as_posix()
    assert find_tokens(tmp_path / "store", name).video == name
    with pytest.raises(DataError, match="holds no video 'x'"):
        find_tokens(tmp_path / "store", "x")
