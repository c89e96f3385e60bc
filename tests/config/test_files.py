"""Locks: one process at a time, for as long as it lives or wants."""

import multiprocessing

import pytest

from divot.config.errors import DataError
from divot.config.files import Lock


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
