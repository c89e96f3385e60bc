"""The gallery: every picture that its page shows is there, the same for the same seed, and the best are by the rule."""

import json
import re

import pytest

from divot.config.errors import DataError
from divot.pipelines.divot import Divot
from divot.studies import gallery
from divot.studies.gallery import Picture, make_gallery


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"NUM_CLIPS": 2, "NUM_ASKED": 1, "NUM_STORIES": 1, "NUM_BEST": 1}.items():
            patch.setattr(gallery, name, value)
        yield


@pytest.fixture(scope="module")
def folder(small, language_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("gallery")
    shares = []
    make_gallery(
        Divot.from_pretrained(language_folder, device="cpu"), out, 3, lambda share, _: shares.append(share)
    )
    assert shares[-1] == 1.0
    return out


def test_page_shows_what_is_there(folder):
    shown = set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (folder / "README.md").read_text()))
    assert shown == {path.name for path in folder.iterdir()} - {"README.md", "best.json"}
    assert {"real.gif", "clip_1.gif", "made_1.gif", "story_0.gif", "sampling.png"} <= shown


def test_a_page_of_something_else_stays(small, language_folder, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(DataError, match="overwritten"):
        make_gallery(Divot.from_pretrained(language_folder, device="cpu"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_record_counts_and_names_the_best(folder):
    record = json.loads((folder / "best.json").read_text())
    assert record["right"]["of"] == 2
    assert [one["file"].split("_")[0] for one in record["best"]] == ["clip", "made"]


def test_who_is_read_right_comes_first(monkeypatch):
    monkeypatch.setattr(gallery, "NUM_BEST", 2)
    wrong, right, near = (
        Picture("a", "", False, 30.0),
        Picture("b", "", True, 20.0),
        Picture("c", "", False, 31.0),
    )
    assert [one.file for one in gallery._best([wrong, right, near])] == ["b", "c"]
