"""Stories in words and clips: the same for the same seed, conditioned on what came before, able to go on."""

import json

import numpy as np
import pytest
import torch

from divot import world
from divot.config.errors import DataError, RecipeError
from divot.lm.generate import TextSampling
from divot.pipelines.divot import Divot
from divot.pipelines.story import tell_story
from divot.pipelines.story_files import make_story, read_story
from divot.video import VideoReader

WORDS = TextSampling(temperature=0.7, max_new_tokens=6)
TELL = "Tell a story about Ruby the red star."


@pytest.fixture(scope="module")
def model(language_folder):
    return Divot.from_pretrained(language_folder, device="cpu")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("stories") / "first"
    make_story(model, out, TELL, 2, seed=3, words=WORDS)
    return out


def test_same_seed_same_story(model):
    one, two, other = (list(tell_story(model, TELL, 2, seed, WORDS)) for seed in (1, 1, 2))
    assert [clip.sentence for clip in one] == [clip.sentence for clip in two]
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(one, two, strict=True))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0].tokens, other[0].tokens)


def test_sentences_come_before_their_clips(model):
    heard = []
    for number, clip in enumerate(tell_story(model, TELL, 2, 0, WORDS, on_sentence=heard.append), start=1):
        assert heard[-1] == clip.sentence
        assert len(heard) == number
        assert clip.frames.shape == (16, 32, 32, 3)


def test_clips_depend_on_the_clips_that_came_before(model):
    plain, other = (next(tell_story(model, TELL, 1, seed, WORDS)).tokens for seed in (0, 1))
    one, two = (
        next(tell_story(model, TELL, 1, 0, WORDS, earlier=[("Ruby grows.", tokens)]))
        for tokens in (plain, other)
    )
    assert not torch.equal(one.tokens, two.tokens)


def test_a_first_clip_and_an_earlier_story_change_what_follows(model):
    plain = next(tell_story(model, TELL, 1, 0, WORDS))
    shown = next(tell_story(model, TELL, 1, 0, WORDS, first_clip=world.clip(0, 0, size=32).frames))
    earlier = [("Ruby grows.", plain.tokens)]
    following = next(tell_story(model, TELL, 1, 0, WORDS, earlier=earlier))
    assert not torch.equal(plain.tokens, shown.tokens)
    assert not torch.equal(plain.tokens, following.tokens)
    assert following.seed == 1


def test_folder_holds_film_page_sheet_and_record(folder):
    record = json.loads((folder / "story.json").read_text())
    assert [one["file"] for one in record["clips"]] == ["clip_01.mp4", "clip_02.mp4"]
    assert record["seed"] == 3
    with VideoReader(folder / "story.mp4") as film:
        assert film.num_frames == 32
    assert (folder / "sheet.png").is_file()
    assert record["clips"][0]["sentence"] in (folder / "index.html").read_text()


def test_a_story_goes_on_with_all_its_clips(model, folder, tmp_path):
    record = make_story(model, tmp_path / "more", go_on=folder, count=1, words=WORDS)
    assert len(record["clips"]) == 3
    before, after = read_story(folder, model), read_story(tmp_path / "more", model)
    assert [words for words, _ in after.parts[:2]] == [words for words, _ in before.parts]
    assert torch.equal(after.parts[1][1], before.parts[1][1])


def test_what_cannot_be_told_is_refused(model, folder, tmp_path, other_model_folder):
    with pytest.raises(RecipeError, match="one of them"):
        make_story(model, tmp_path / "out")
    with pytest.raises(RecipeError, match="one of them"):
        make_story(model, tmp_path / "out", TELL, go_on=folder)
    with pytest.raises(RecipeError, match="first clip"):
        make_story(model, tmp_path / "out", go_on=folder, first_clip="a.mp4")
    with pytest.raises(RecipeError, match="clips"):
        next(tell_story(model, TELL, 0))
    with pytest.raises(DataError, match="no story"):
        make_story(model, tmp_path / "out", go_on=tmp_path)
    with pytest.raises(DataError, match="another tokenizer"):
        read_story(folder, Divot.from_pretrained(other_model_folder, device="cpu"))
    assert not (tmp_path / "out").exists()
