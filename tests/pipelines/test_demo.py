import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from divot.config.errors import DataError
from divot.pipelines import Divot
from divot.pipelines.demo import ONLY_SPRITES, SAMPLE, run_demo, token_picture


def test_bundled_clip_is_there_with_its_credit():
    assert SAMPLE.stat().st_size < 400_000
    credit = (SAMPLE.parent / "CREDITS.md").read_text(encoding="utf-8")
    assert SAMPLE.name in credit
    assert "Creative Commons" in credit


@pytest.fixture(scope="module")
def demo(model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    divot = Divot.from_pretrained(model_folder, device="cpu")
    return run_demo(divot, out, num_world_clips=1, steps=1)


def test_page_stands_alone(demo):
    page = demo.page.read_text()
    assert page.count("data:image/") == 6
    assert "http" not in page.replace("http-equiv", "")
    assert "Blender Foundation" in page
    for example in demo.examples:
        assert f"{example['psnr_db']:.2f} dB" in page


def test_page_tells_why_tiny_sees_sprites_in_a_film(video_file, tmp_path, monkeypatch):
    monkeypatch.setattr("divot.pipelines.demo.make_clips", lambda *_: ([], []))
    made = run_demo(Divot.from_pretrained("tiny", device="cpu"), tmp_path, video_file, num_world_clips=1)
    assert made.page.read_text().count(ONLY_SPRITES) == 1


def test_every_example_has_its_files_and_record(demo):
    assert [example["title"] for example in demo.examples] == ["A film clip", "Sprite World 1"]
    for example in demo.examples:
        for path in example["files"].values():
            assert (demo.page.parent / path).stat().st_size > 0
        record = json.loads((demo.page.parent / (example["files"]["video"] + ".json")).read_text())
        assert record["detokenizer"]["name"] == "reconstruction"
        assert record["seed"] == 0


def test_page_has_a_record_of_its_own(demo):
    record = json.loads(demo.page.with_name("index.html.json").read_text())
    assert record == demo.record
    assert record["command"] == "demo"
    assert record["detokenizer"]["detokenizer_hash"]
    assert record["examples"] == demo.examples
    assert "torch" in record["versions"]


def test_demo_never_overwrites_its_video(model_folder, video_file, tmp_path):
    video = tmp_path / "sprite_world_1.mp4"
    shutil.copy(video_file, video)
    divot = Divot.from_pretrained(model_folder, device="cpu")
    with pytest.raises(DataError, match="would be overwritten"):
        run_demo(divot, tmp_path, video)
    assert list(tmp_path.iterdir()) == [video]
    made = run_demo(divot, tmp_path / "out", video, num_world_clips=1, steps=1)
    files = [Path(example["files"]["video"]).name for example in made.examples]
    assert files == ["video_sprite_world_1.mp4", "sprite_world_1.mp4"]


def test_token_picture_shows_sign_by_colour():
    picture = token_picture(torch.tensor([[[1.0, -1.0], [0.0, 1.0]]]))
    red, blue = picture[0, 0].astype(int), picture[-1, 0].astype(int)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert np.ptp(picture[-1, -1].astype(int) - red) == 0


def test_words_are_about_what_the_page_shows_and_steps_reach_made_clips(
    language_folder, video_file, tmp_path, monkeypatch
):
    divot = Divot.from_pretrained(language_folder, device="cpu")
    told_of, steps = [], []
    monkeypatch.setattr(divot, "caption", lambda source: told_of.append(source) or "words", raising=False)
    generate = divot.generate
    monkeypatch.setattr(
        divot, "generate", lambda *a, **k: steps.append(k["steps"]) or generate(*a, **k), raising=False
    )
    run_demo(divot, tmp_path, video_file, num_world_clips=0, steps=2)
    [shown] = told_of
    assert isinstance(shown, np.ndarray)
    assert set(steps) == {2}
