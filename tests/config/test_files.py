"""Places of files: held by one process at a time, and looked at before the work."""

import multiprocessing

import pytest

from divot.config.errors import DataError
from divot.config.files import Lock, refuse_unwritable


@pytest.mark.parametrize("name", [".", ".lock"])
def test_a_place_is_held_by_one_until_it_lets_go(tmp_path, name):
    place = tmp_path / name
    with Lock(place), pytest.raises(DataError, match="is being written by another process"):
        Lock(place)
    Lock(place).close()


def test_a_child_that_lives_on_does_not_hold(tmp_path):
    fork = multiprocessing.get_context("fork")
    has_begun, is_over = fork.Event(), fork.Event()

    def live_on():
        has_begun.set()
        is_over.wait()

    with Lock(tmp_path):
        child = fork.Process(target=live_on)
        child.start()
        has_begun.wait()
    try:
        Lock(tmp_path).close()
    finally:
        is_over.set()
        child.join()


def test_an_output_without_a_place_is_refused_before_the_work(tmp_path, monkeypatch):
    refuse_unwritable([tmp_path / "new" / "newer" / "a.json", "a.json"])
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a folder"):
        refuse_unwritable([tmp_path])
    with pytest.raises(DataError, match="file is no folder"):
        refuse_unwritable([tmp_path / "file" / "more" / "a.json"])
    # Root may write everywhere.
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(DataError, match="nothing may be added to"):
        refuse_unwritable([tmp_path / "a.json"])
