"""Questions, captions, conversations and clips from words: the same for the same seed, and nothing half done."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from divot import world
from divot.config.errors import CheckpointError
from divot.lm.generate import Dialogue, TextSampling, TokenSampling
from divot.pipelines.describe import answer
from divot.pipelines.divot import Divot
from divot.pipelines.generate import write_generated, write_tokens
from divot.text import Turn, conversation, plain_answer
from divot.text.sequence import Sequence

SHORT = TextSampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def model(language_folder):
    return Divot.from_pretrained(language_folder, device="cpu")


@pytest.fixture(scope="module")
def frames():
    return world.clip(0, 0, size=32).frames


def test_a_model_without_a_language_model_says_so(model_folder, frames):
    with pytest.raises(CheckpointError, match="language model"):
        Divot.from_pretrained(model_folder, device="cpu").ask(frames, "what is it?")


def test_chat_streams_what_it_answers(model, frames):
    pieces = []
    talk = model.chat(frames, sampling=SHORT)
    text = talk.say("what is it?", pieces.append)
    assert "".join(pieces) == text
    assert talk.turns[0].answer == text


def test_second_turn_on_the_cache_is_the_second_turn_from_the_start(model, frames):
    talk = model.chat(frames, sampling=SHORT)
    first, second = talk.say("what is it?"), talk.say("and where?")
    lm = model.language_model("chat")
    ids = lm.builder().build(conversation([Turn("what is it?", clips=1)])).ids
    said = talk.said[0]
    assert plain_answer(lm.tokenizer.decode(said)) == first
    rest = lm.builder().build(conversation([Turn("and where?")])).ids[1:]
    whole = Sequence()
    whole.add(ids)
    whole.reads = [id_ in lm.vocab.places for id_ in ids]
    whole.clips_read = [0]
    whole.add([*[id_ for id_ in said if id_ != lm.vocab.eos], lm.vocab.eos, *rest])
    dialogue = Dialogue(lm, [whole], talk.clips)
    again = [step[0] for step in dialogue.write_text(SHORT)]
    assert plain_answer(lm.tokenizer.decode(again)) == second


def test_many_requests_side_by_side_are_those_asked_alone(model, frames):
    tokens = model.encode(frames)
    lm = model.language_model("ask")
    asked = ["what is it?", "where does the red star start?", "how many?"]
    together = answer(lm, [tokens, None, tokens], asked, SHORT)
    alone = [answer(lm, [t], [q], SHORT)[0] for t, q in zip([tokens, None, tokens], asked, strict=True)]
    assert together == alone


def test_long_videos_are_read_in_twenty_clips(model):
    long = np.zeros((16 * 25, 8, 8, 3), np.uint8)
    assert len(model.encode(long, sampling="spread")) == 20
    assert len(model.chat(long, sampling=SHORT).clips) == 20
    short = model.encode(long[:48], sampling="spread")
    assert torch.equal(short, model.encode(long[:48]))


def test_clips_from_words_have_their_own_seeds(model, tmp_path):
    made = model.generate("A red star moves left.", count=2, seed=5)
    again = model.generate("A red star moves left.", seed=6)[0]
    assert [clip.seed for clip in made] == [5, 6]
    np.testing.assert_array_equal(made[1].frames, again.frames)
    assert not torch.equal(made[0].tokens, made[1].tokens)
    records = write_generated(made, tmp_path, model, TokenSampling())
    assert (tmp_path / "a_red_star_moves_left_seed5.mp4").stat().st_size > 0
    assert (tmp_path / "a_red_star_moves_left_sheet.png").stat().st_size > 0
    beside = json.loads((tmp_path / "a_red_star_moves_left_seed6.mp4.json").read_text())
    assert beside == records[1]
    assert beside["prompt"] == "A red star moves left."
    assert beside["language_model"]["sampling"]["temperature"] == 0.1


def test_pictures_from_words(model, tmp_path):
    made = model.generate("a red star", is_image=True)
    assert made[0].frames.shape == (1, 32, 32, 3)
    write_generated(made, tmp_path, model, TokenSampling())
    assert Image.open(tmp_path / "a_red_star_seed0.png").size == (256, 256)


def test_the_mean_has_no_chance_in_it(model):
    lm = model.language_model("generate")
    mean = TokenSampling(is_mean=True)
    assert torch.equal(write_tokens(lm, "a star", 0, mean), write_tokens(lm, "a star", 1, mean))
