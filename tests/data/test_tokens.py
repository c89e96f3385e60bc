"""The token store: what is written comes back, stops leave no trace, strangers are refused."""

import dataclasses
import os
import signal

import pytest
import torch
from safetensors.torch import save_file

from divot.config.errors import DataError
from divot.data.token_writer import TokenStoreWriter
from divot.data.tokens import Manifest, TokenStore, read_token_file
from divot.video.clips import Clip

MANIFEST = Manifest("a" * 64, "tiny", "float32", num_tokens=3, token_width=2, clips_per_shard=4)


def tokens_of(name, num_clips):
    generator = torch.Generator().manual_seed(len(name))
    return torch.randn(num_clips, 3, 2, generator=generator)


def clip_of(index, num_clips):
    return Clip(index, 2.0 * index, 2.0 if index < num_clips - 1 else 0.7)


def write_video(writer, path, num_clips, stop_after=None):
    """Write a video's clips; `stop_after` of them without an end."""
    entry = writer.start(path, path.name)
    if entry is None:
        return None
    tokens = tokens_of(path.name, num_clips)
    for index in range(entry.num_done, num_clips):
        if index == stop_after:
            return entry
        entry.add(clip_of(index, num_clips), tokens[index])
    if stop_after is None:
        entry.finish()
    return entry


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "first.mp4", tmp_path / "second one.mp4"]
    for path in paths:
        path.write_bytes(path.name.encode() * 100)
    return paths


LENGTHS = (3, 10)


def write_all(folder, files, manifest=MANIFEST):
    with TokenStoreWriter(folder, manifest) as writer:
        return [write_video(writer, path, count) for path, count in zip(files, LENGTHS, strict=True)]


def content_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_written_tokens_come_back_equal(tmp_path, files):
    write_all(tmp_path / "store", files)
    store = TokenStore(tmp_path / "store")
    assert [video.name for video in store.videos] == ["first.mp4", "second one.mp4"]
    for video, count in zip(store.videos, LENGTHS, strict=True):
        assert torch.equal(store.read(video.name), tokens_of(video.name, count))
        assert video.clips == tuple(clip_of(i, count) for i in range(count))
    assert [shard.rows for shard in store.videos[1].shards] == [4, 4, 2]


def test_slices_cross_shards(tmp_path, files):
    write_all(tmp_path / "store", files)
    store, whole = TokenStore(tmp_path / "store"), tokens_of("second one.mp4", 10)
    for start, stop in ((0, 1), (3, 5), (4, 8), (2, 10), (9, 10), (5, 5)):
        assert torch.equal(store.read("second one.mp4", start, stop), whole[start:stop])
    with pytest.raises(ValueError, match="within 0 to 10"):
        store.read("second one.mp4", 0, 11)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_kept(tmp_path, files, dtype):
    manifest = dataclasses.replace(MANIFEST, dtype=dtype)
    tokens = tokens_of("x", 1)[0].to(getattr(torch, dtype))
    with TokenStoreWriter(tmp_path / "store", manifest) as writer:
        entry = writer.start(files[0])
        with pytest.raises(ValueError, match=f"wanted {dtype}"):
            entry.add(clip_of(0, 1), tokens.double())
        entry.add(clip_of(0, 1), tokens)
        entry.finish()
    assert torch.equal(TokenStore(tmp_path / "store").read(files[0].as_posix())[0], tokens)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a child process")
@pytest.mark.parametrize("stop_after", [0, 1, 4, 7, 8, 10])
def test_killed_and_repeated_run_gives_bytes_of_unbroken_run(tmp_path, files, stop_after):
    write_all(tmp_path / "unbroken", files)
    child = os.fork()
    if child == 0:
        writer = TokenStoreWriter(tmp_path / "killed", MANIFEST)
        write_video(writer, files[0], LENGTHS[0])
        write_video(writer, files[1], LENGTHS[1], stop_after)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [video.name for video in TokenStore(tmp_path / "killed").videos] == ["first.mp4"]
    first, second = write_all(tmp_path / "killed", files)
    assert first is None
    assert second.num_done == stop_after // 4 * 4
    assert content_of(tmp_path / "killed") == content_of(tmp_path / "unbroken")


def test_half_written_line_and_files_are_cleared_away(tmp_path, files):
    write_all(tmp_path / "unbroken", files)
    store = tmp_path / "store"
    write_all(store, files)
    lines = (store / "videos.jsonl").read_bytes()
    (store / "videos.jsonl").write_bytes(lines[:-9])
    (store / "shards" / "ab").mkdir(exist_ok=True)
    (store / "shards" / "ab" / ".ab-00000.0123abcd.safetensors").write_bytes(b"half")
    assert len(TokenStore(store).videos) == 1
    write_all(store, files)
    assert content_of(store) == content_of(tmp_path / "unbroken")


def test_changed_file_is_encoded_again(tmp_path, files):
    store = tmp_path / "store"
    write_all(store, files)
    before = TokenStore(store).video("first.mp4").sha256
    files[0].write_bytes(b"another film")
    first, second = write_all(store, files)
    assert first.num_done == 0
    assert second is None
    assert TokenStore(store).video("first.mp4").sha256 != before
    assert len(TokenStore(store).videos) == 2


def test_shards_of_a_changed_file_are_not_taken_up(tmp_path, files):
    with TokenStoreWriter(tmp_path / "store", MANIFEST) as writer:
        write_video(writer, files[1], LENGTHS[1], stop_after=9)
    files[1].write_bytes(b"another film")
    with TokenStoreWriter(tmp_path / "store", MANIFEST) as writer:
        assert writer.start(files[1], files[1].name).num_done == 0


def test_video_with_lost_shard_is_encoded_again(tmp_path, files):
    store = tmp_path / "store"
    write_all(store, files)
    shard = TokenStore(store).video("second one.mp4").shards[1].file
    (store / shard).unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        TokenStore(store).read("second one.mp4")
    first, second = write_all(store, files)
    assert first is None
    assert second.num_done == 0
    assert torch.equal(TokenStore(store).read("second one.mp4"), tokens_of("second one.mp4", 10))


def test_discarded_video_leaves_nothing(tmp_path, files):
    with TokenStoreWriter(tmp_path / "store", MANIFEST) as writer:
        write_video(writer, files[1], LENGTHS[1], stop_after=9).discard()
    assert not list((tmp_path / "store").rglob("*.safetensors"))


def test_store_of_other_tokenizer_is_refused_with_both_hashes(tmp_path, files):
    write_all(tmp_path / "store", files)
    before = content_of(tmp_path / "store")
    other = dataclasses.replace(MANIFEST, tokenizer_hash="b" * 64)
    with pytest.raises(DataError, match=f"{'a' * 64}.*{'b' * 64}"):
        TokenStoreWriter(tmp_path / "store", other)
    with pytest.raises(DataError, match=r"settings \{\}, not \{'fit': 'crop'\}"):
        TokenStoreWriter(tmp_path / "store", dataclasses.replace(MANIFEST, settings={"fit": "crop"}))
    assert content_of(tmp_path / "store") == before


def test_folder_of_other_things_is_refused_and_left_alone(tmp_path, files):
    with pytest.raises(DataError, match="holds other files"):
        TokenStoreWriter(tmp_path, MANIFEST)
    with pytest.raises(DataError, match="is a file"):
        TokenStoreWriter(files[0], MANIFEST)
    with pytest.raises(DataError, match="does not exist"):
        TokenStore(tmp_path / "none")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first.mp4", "second one.mp4"]


def test_second_writer_is_refused(tmp_path):
    pytest.importorskip("fcntl")
    with (
        TokenStoreWriter(tmp_path / "store", MANIFEST),
        pytest.raises(DataError, match="another process"),
    ):
        TokenStoreWriter(tmp_path / "store", MANIFEST)


def test_writer_that_loses_the_race_changes_nothing(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    folder = tmp_path / "store"
    folder.mkdir()
    with open(folder / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process"):
            TokenStoreWriter(folder, MANIFEST)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    # What the loser left is no hindrance.
    TokenStoreWriter(folder, MANIFEST).close()


def test_refused_writer_lets_go_of_the_store(tmp_path):
    TokenStoreWriter(tmp_path / "store", MANIFEST).close()
    with pytest.raises(DataError, match="dtype") as refused:
        TokenStoreWriter(tmp_path / "store", dataclasses.replace(MANIFEST, dtype="float16"))
    TokenStoreWriter(tmp_path / "store", MANIFEST).close()
    assert refused


def test_clips_are_added_in_order(tmp_path, files):
    with TokenStoreWriter(tmp_path / "store", MANIFEST) as writer:
        entry = writer.start(files[0])
        with pytest.raises(ValueError, match="got number 1, wanted 0"):
            entry.add(clip_of(1, 3), tokens_of("x", 1)[0])


def test_shard_is_a_token_file(tmp_path, files):
    write_all(tmp_path / "store", files)
    shard = TokenStore(tmp_path / "store").video("first.mp4").shards[0].file
    found = read_token_file(tmp_path / "store" / shard)
    assert torch.equal(found.tokens, tokens_of("first.mp4", 3))
    assert found.tokenizer_hash == "a" * 64
    assert found.clips[-1].duration_s == 0.7
    with pytest.raises(DataError, match="is not a safetensors file"):
        read_token_file(files[0])


@pytest.mark.parametrize(
    ("others", "metadata"),
    [({"times_s": torch.zeros(3)}, {}), ({"times_s": torch.zeros(1, 2)}, {}), ({}, {"divot": "[]"})],
)
def test_a_token_file_of_another_form_is_named(tmp_path, others, metadata):
    save_file({"tokens": torch.zeros(2, 3, 4), **others}, tmp_path / "t.safetensors", metadata=metadata)
    with pytest.raises(DataError, match="of another form"):
        read_token_file(tmp_path / "t.safetensors")
