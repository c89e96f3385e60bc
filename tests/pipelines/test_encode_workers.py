"""Several processes, of this machine or of Ray: the store is that of one process, whatever dies on the way."""

import dataclasses
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from conftest import CLIPS
from divot.config.errors import CheckpointError, DataError
from divot.data.tokens import TokenStore
from divot.pipelines import Divot, encode_videos
from divot.pipelines.encode_workers import EncodeTask, ProcessWorkers, VideoEncoder
from divot.video.folders import list_videos

NUM_VIDEOS = 12


@pytest.fixture(scope="module")
def divot(model_folder):
    return Divot.from_pretrained(model_folder, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, video_file):
    """A dozen videos, and one that is cut off in its middle."""
    folder = tmp_path_factory.mktemp("many")
    clips = [video_file, *sorted(CLIPS.glob("*.mp4"))]
    for number in range(NUM_VIDEOS):
        shutil.copy(clips[number % len(clips)], folder / f"{number:02}.mp4")
    whole = clips[1].read_bytes()
    (folder / "03_damaged.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As each of several processes has: the number of threads shows in the last digits of the tokens."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def unbroken(divot, folder, one_thread, tmp_path_factory):
    """The store that one process makes, and what it says of it."""
    store = tmp_path_factory.mktemp("stores") / "unbroken"
    return store, encode_videos(divot, list_videos([folder]), store)


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    ray.init(
        "local", num_cpus=2, object_store_memory=100 * 10**6, include_dashboard=False, log_to_driver=False
    )
    yield ray
    ray.shutdown()


def content_of(store):
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def assert_same(store, summary, unbroken):
    assert content_of(store) == content_of(unbroken[0])
    for name in ("encoded", "skipped", "failed", "num_clips"):
        assert getattr(summary, name) == getattr(unbroken[1], name)
    assert list(summary.failed) == list(unbroken[1].failed)


def workers_that_die_once(name):
    """Two Ray workers; the first that writes a shard of that video dies before the shard has its name."""
    from divot.pipelines.encode_ray import RayWorkers

    class Killed(RayWorkers):
        def outcomes(self, encoder, tasks):
            # A class of this function: Ray sends it along, as this module is not there for workers.
            class Encoder:
                store = encoder.store

                def __call__(self, task):
                    import divot.data.token_writer as token_writer

                    death = encoder.store.with_name("death")
                    save_file = token_writer.save_file

                    def save_and_die(*arguments, **named):
                        save_file(*arguments, **named)
                        death.touch()
                        os.kill(os.getpid(), signal.SIGKILL)

                    if task.path.name == name and not death.exists():
                        token_writer.save_file = save_and_die
                    return encoder(task)

            return super().outcomes(Encoder(), tasks)

    return Killed(2)


class Backwards:
    """Workers of this process, the last video first."""

    device = "cpu"

    def outcomes(self, encoder, tasks):
        yield from map(encoder, reversed(tasks))


def test_store_does_not_tell_in_which_order_videos_were_finished(divot, folder, unbroken, tmp_path):
    summary = encode_videos(divot, list_videos([folder]), tmp_path / "store", workers=Backwards())
    assert_same(tmp_path / "store", summary, unbroken)


def test_what_the_store_has_is_skipped_and_what_has_changed_is_encoded_again(
    divot, folder, unbroken, tmp_path
):
    store, videos = tmp_path / "store", list_videos([folder])
    encode_videos(divot, [videos[5], videos[1]], store)
    lines = store / "videos.jsonl"
    changed = TokenStore(store).video(videos[5].as_posix())
    lines.write_text(lines.read_text().replace(changed.sha256, "0" * 64))
    summary = encode_videos(divot, videos, store, workers=Backwards())
    assert summary.replaced == [videos[5].as_posix()]
    assert summary.skipped == [videos[1].as_posix()]
    assert summary.encoded == [name for name in unbroken[1].encoded if name not in summary.skipped]
    assert content_of(store) == content_of(unbroken[0])


def test_worker_with_another_model_is_refused(divot, other_model_folder, folder, tmp_path):
    class Elsewhere(Backwards):
        def outcomes(self, encoder, tasks):
            return super().outcomes(dataclasses.replace(encoder, model=str(other_model_folder)), tasks)

    with pytest.raises(CheckpointError, match="is another model on"):
        encode_videos(divot, list_videos([folder])[:1], tmp_path / "store", workers=Elsewhere())


def test_processes_make_the_store_of_one(divot, folder, unbroken, tmp_path):
    told, shares = [], []
    summary = encode_videos(
        divot,
        list_videos([folder]),
        tmp_path / "store",
        on_progress=lambda share, clips: shares.append(share),
        on_failure=lambda name, cause: told.append(name),
        workers=ProcessWorkers(2, "cpu"),
    )
    assert_same(tmp_path / "store", summary, unbroken)
    assert told == [(folder / "03_damaged.mp4").as_posix()]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_process_that_dies_is_told_and_the_next_run_goes_on(divot, folder, unbroken, tmp_path):
    def kill_one(share, clips):
        for process in multiprocessing.active_children()[:1]:
            process.kill()

    store = tmp_path / "store"
    with pytest.raises(DataError, match="not complete, a process that encoded for it died"):
        encode_videos(
            divot, list_videos([folder]), store, on_progress=kill_one, workers=ProcessWorkers(2, "cpu")
        )
    done = [video.name for video in TokenStore(store).videos]
    summary = encode_videos(divot, list_videos([folder]), store, workers=Backwards())
    assert summary.skipped == sorted(done)
    assert content_of(store) == content_of(unbroken[0])


def test_an_interrupt_waits_for_no_film(unbroken, tmp_path):
    os.mkfifo(tmp_path / "endless")
    encoder = VideoEncoder(
        "tiny", "cpu", "float32", tmp_path, TokenStore(unbroken[0]).manifest, "crop", 1, "consecutive"
    )
    tasks = [EncodeTask(name, tmp_path / name) for name in ("missing", "endless", "endless")]
    outcomes = ProcessWorkers(2, "cpu").outcomes(encoder, tasks)
    assert next(outcomes).cause == "cannot be read (No such file or directory)"
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)
    assert time.monotonic() - begin < 60
    assert not multiprocessing.active_children()


def test_ray_worker_that_is_killed_leaves_no_trace(ray, divot, folder, unbroken, tmp_path):
    store = tmp_path / "store"
    summary = encode_videos(divot, list_videos([folder]), store, workers=workers_that_die_once("05.mp4"))
    assert (tmp_path / "death").exists()
    assert_same(store, summary, unbroken)


def test_ray_names_a_video_on_which_every_worker_dies(ray, tmp_path):
    from divot.pipelines.encode_ray import RayWorkers

    class Encoder:
        store = tmp_path

        def __call__(self, task):
            from divot.pipelines.encode_workers import Outcome

            if task.name == "5":
                os.kill(os.getpid(), signal.SIGKILL)
            return Outcome(task.name, is_there=True)

    tasks = [EncodeTask(str(number), Path("unread.mp4")) for number in range(16)]
    outcomes = {outcome.name: outcome for outcome in RayWorkers(1).outcomes(Encoder(), tasks)}
    assert sorted(outcomes, key=int) == [task.name for task in tasks]
    assert "3 workers died on it" in outcomes.pop("5").cause
    assert all(outcome.is_there for outcome in outcomes.values())
    assert not list(tmp_path.iterdir())


def test_ray_hands_on_what_a_worker_raises(ray, tmp_path):
    from divot.pipelines.encode_ray import RayWorkers

    class Encoder:
        store = tmp_path

        def __call__(self, task):
            raise OSError(28, "No space left on device", task.name)

    with pytest.raises(OSError, match=r"No space left on device: 'a\.mp4'"):
        list(RayWorkers(1).outcomes(Encoder(), [EncodeTask("a.mp4", Path("a.mp4"))]))


def test_the_cluster_of_the_docs_has_the_form_that_ray_wants():
    util = pytest.importorskip("ray.autoscaler._private.util")
    file = Path(__file__).parents[2] / "docs" / "ray-cluster.yaml"
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    util.validate_config(util.prepare_config(told))
    with pytest.raises(Exception, match="nodes"):
        util.validate_config(util.prepare_config({**told, "nodes": 3}))
