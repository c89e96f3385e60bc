"""Films of several clips: each clip follows the one before it, and shows its last frame once."""

import numpy as np
import pytest
import torch

from divot.config.errors import RecipeError
from divot.lm.generate import Dialogue
from divot.pipelines.divot import Divot
from divot.pipelines.film import HELD_STEPS, decode_film
from divot.pipelines.generate import TokenSampling, write_batch, write_film, write_generated
from divot.text import video_request

TEXT = "A red star moves left."


@pytest.fixture(scope="module")
def model(language_folder):
    return Divot.from_pretrained(language_folder, device="cpu")


@pytest.fixture(scope="module")
def tokens():
    return torch.randn(3, 64, 8, generator=torch.Generator().manual_seed(0))


def test_cut_clips_are_those_of_decode(model, tokens):
    film, joints = decode_film(model, tokens, seed=4, seam="cut")
    np.testing.assert_array_equal(film, model.decode(tokens, seed=4, task="generate"))
    assert joints.first_frames == (0, 16, 32)
    assert joints.num_steps == (2, 2, 2)


def test_held_frame_is_shown_once_and_takes_more_steps(model, tokens):
    film, joints = decode_film(model, tokens, seed=4, seam="hold")
    assert len(film) == 16 + 15 + 15
    assert joints.first_frames == (0, 16, 31)
    assert joints.num_steps == (2, HELD_STEPS, HELD_STEPS)
    assert joints.record(46, 4)["clips"][2] == {"seed": 6, "first_frame": 31, "frames": 15, "num_steps": 8}
    np.testing.assert_array_equal(film[:16], model.decode(tokens[0], seed=4, task="generate"))
    assert decode_film(model, tokens, steps=3, seam="hold")[1].num_steps == (3, 3, 3)


def test_unknown_seam_is_refused(model, tokens):
    with pytest.raises(RecipeError, match="seam: 'fade' is not known"):
        decode_film(model, tokens, seam="fade")


def test_each_clip_is_written_after_reading_the_one_before_it(model):
    lm = model.language_model("generate")
    written = write_film(lm, TEXT, 3, seed=1).tokens
    assert torch.equal(written[:1], write_batch(lm, [TEXT], [1]).tokens)
    assert torch.equal(written[:2], write_film(lm, TEXT, 2, seed=1).tokens)
    mean = write_film(lm, TEXT, 3, 0, TokenSampling(is_mean=True)).tokens
    # The same words again: only what was read differs.
    assert not torch.equal(mean[1], mean[2])


def test_a_clip_is_told_after_the_plan_of_the_one_before_it(language_folder, monkeypatch):
    lm = Divot.from_pretrained(language_folder, device="cpu").language_model("generate")
    lm.take_plans(True)
    read, told = Dialogue.read, []

    def noted(self, sequences, *clips):
        told.extend(lm.words(one.ids) for one in sequences if any(one.reads))
        return read(self, sequences, *clips)

    def planned(self, _):
        self.plans = [f"star {len(told)}"]

    monkeypatch.setattr(Dialogue, "read", noted)
    monkeypatch.setattr(Dialogue, "_plan", planned)
    written = write_film(lm, TEXT, 3, seed=1, sampling=TokenSampling(candidates=1))
    assert written.plans == ("star 0", "star 1", "star 2")
    # The request, the plan of the clip before, that clip as it was written and as it is read, and what is to come.
    request = f"{video_request(TEXT)} [/INST]"
    assert told == [f"[INST] {request} (star {number}) {TEXT}" for number in (0, 1)]


def test_films_from_words_are_written_with_their_seams(model, tmp_path):
    made = model.generate(TEXT, count=2, seed=5, clips=2, seam="hold", steps=3)
    assert [clip.frames.shape for clip in made] == [(31, 32, 32, 3)] * 2
    assert made[0].tokens.shape == (2, 64, 8)
    records = write_generated(made, tmp_path, model, TokenSampling(), steps=3)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".mp4", ".mp4", ".png"]
    assert records[1]["film"]["seam"] == "hold"
    assert records[1]["film"]["seam_jump"] == pytest.approx(made[1].joints.jump, abs=1e-3)
    assert [clip["first_frame"] for clip in records[1]["film"]["clips"]] == [0, 16]


def test_one_clip_has_no_seam(model, tmp_path):
    made = model.generate(TEXT, clips=1)
    assert made[0].joints is None
    assert "film" not in write_generated(made, tmp_path, model, TokenSampling())[0]


@pytest.mark.parametrize(("clips", "is_image"), [(0, False), (2, True)])
def test_numbers_of_clips_that_cannot_be_are_refused(model, clips, is_image):
    with pytest.raises(RecipeError, match=f"clips: is {clips}"):
        model.generate(TEXT, clips=clips, is_image=is_image)
