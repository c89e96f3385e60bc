"""Questions, captions, conversations and clips from words: the same for the same seed, and nothing half done."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from divot import world
from divot.config.errors import CheckpointError, RecipeError
from divot.lm.generate import PLAN_WORDS, Dialogue
from divot.lm.sampling import TextSampling, TokenSampling
from divot.pipelines.describe import answer
from divot.pipelines.divot import Divot
from divot.pipelines.generate import (
    _file_name,
    each_generated,
    write_batch,
    write_generated,
)
from divot.pipelines.story import tell_story
from divot.text import Turn, caption_request, conversation
from divot.text.sequence import Sequence
from divot.video import write_video
from lm.small import small_lm

SHORT = TextSampling(max_new_tokens=6)
WARM = TextSampling(temperature=1.0, max_new_tokens=6)


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
    assert lm.words(said) == first
    rest = lm.builder().build(conversation([Turn("and where?")])).ids[1:]
    whole = Sequence()
    whole.add(ids)
    whole.reads = [id_ in lm.vocab.places for id_ in ids]
    whole.clips_read = [0]
    whole.add([*[id_ for id_ in said if id_ != lm.vocab.eos], lm.vocab.eos, *rest])
    dialogue = Dialogue(lm, [whole], [clip[0] for clip in talk.clips])
    again = [step[0] for step in dialogue.write_text(SHORT)]
    assert lm.words(again) == second


def test_many_requests_side_by_side_are_those_asked_alone(model, frames):
    tokens = model.encode(frames)[None]
    lm = model.language_model("ask")
    asked = ["what is it?", "where does the red star start?", "how many?"]
    together = answer(lm, [tokens, None, tokens], asked, SHORT)
    alone = [answer(lm, [t], [q], SHORT)[0] for t, q in zip([tokens, None, tokens], asked, strict=True)]
    assert together == alone


def test_views_of_a_clip_are_read_as_one_says_what_is_likeliest_over_all(model, frames):
    views = model.encode_views(frames, 3)
    assert torch.allclose(views[0], model.encode_clip(frames), atol=1e-5)
    lm = model.language_model("ask")
    builder = lm.builder()
    begun = [builder.build(lm.segments([Turn("what is it?", clips=1)]))]
    alone = [Dialogue(lm, begun, [view]).next_scores().log_softmax(dim=-1) for view in views]
    together = Dialogue(lm, begun * 3, list(views), views=3)
    assert torch.allclose(together.next_scores(), torch.stack(alone).mean(dim=0), atol=1e-4)
    assert all(len(step) == 1 for step in together.write_text(SHORT))


def test_as_many_views_of_the_same_say_what_one_says(model):
    # A clip of one colour is the same wherever it is moved.
    plain = np.full((16, 8, 8, 3), 90, np.uint8)
    one, three = (model.chat(plain, sampling=WARM, seed=5, views=views) for views in (1, 3))
    assert [one.say(text) for text in ("what is it?", "and where?")] == [
        three.say(text) for text in ("what is it?", "and where?")
    ]
    tokens = model.encode_views(plain, 3)[:, None]
    asked = ["what is it?", "how many?"]
    lm = model.language_model("ask")
    assert answer(lm, [tokens] * 2, asked, SHORT) == answer(lm, [tokens[:1]] * 2, asked, SHORT)


def test_more_views_than_there_are_are_refused(model, frames):
    with pytest.raises(RecipeError, match=r"views: is 6. Give 1 to 5"):
        model.chat(frames, views=6)


def test_long_videos_are_read_in_twenty_clips(model):
    long = np.zeros((16 * 25, 8, 8, 3), np.uint8)
    assert len(model.encode(long, sampling="spread")) == 20
    assert len(model.chat(long, sampling=SHORT).clips) == 20
    short = model.encode(long[:48], sampling="spread")
    assert torch.equal(short, model.encode(long[:48]))


def test_a_video_is_read_in_as_many_clips_as_asked_for(model, tmp_path):
    path = tmp_path / "long.mp4"
    write_video(path, (np.full((80, 16, 16, 3), level, np.uint8) for level in range(0, 250, 50)), 8)
    rows = list(model.iterate_tokens(path, sampling="spread", max_clips=5))
    assert [clip.index for clip, _ in rows] == [0, 1, 2, 3, 4]
    assert [clip.start_s for clip, _ in rows] == [0, 10, 20, 30, 40]
    assert torch.equal(torch.stack([tokens for _, tokens in rows]), model.encode(path)[::5])
    assert len(model.chat(path, max_clips=3).clips) == 3
    assert model.ask(path, "what?", max_clips=5) == model.chat(path, max_clips=5).say("what?")


@pytest.fixture
def narrow(language_folder, monkeypatch):
    """A model whose context holds 7 clips of 66 places, and 38 more."""
    narrow = Divot.from_pretrained(language_folder, device="cpu")
    monkeypatch.setattr(narrow.language_model("chat").backbone.config, "max_position_embeddings", 500)
    return narrow


def test_more_clips_than_the_context_holds_are_refused_before_they_are_read(narrow, monkeypatch):
    long = np.zeros((16 * 9, 8, 8, 3), np.uint8)
    assert len(narrow.chat(long[: 16 * 7], sampling=SHORT).clips) == 7
    monkeypatch.setattr(narrow, "encode_views", None)
    with pytest.raises(RecipeError, match=r"max_clips: 9 clips are too many .* 7 fit. Give --max-clips 7"):
        narrow.chat(long, sampling=SHORT)


def test_a_request_that_leaves_too_little_room_is_refused(narrow):
    talk = narrow.chat(np.zeros((16 * 7, 8, 8, 3), np.uint8), sampling=SHORT)
    with pytest.raises(RecipeError, match="6 fit"):
        talk.say("what is it? " * 10)
    assert talk.say("what?") == talk.turns[0].answer
    with pytest.raises(RecipeError, match=r"has come to .* of the 500 positions"):
        talk.say("what is it? " * 10)
    # What was refused is forgotten.
    assert len(talk.turns) == 1


def test_a_picture_is_asked_about_as_a_picture(model, frames, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(frames[0]).save(path)
    for source in (path, frames[:1]):
        talk = model.chat(source, sampling=SHORT)
        said = talk.caption()
        assert talk.turns[0].request == caption_request(is_image=True)
        lm = model.language_model("chat")
        turn = Turn(caption_request(is_image=True), clips=1, is_image=True)
        begun = lm.builder().build(conversation([turn]))
        assert lm.vocab.image_start in begun.ids
        ids = [step[0] for step in Dialogue(lm, [begun], talk.clips).write_text(SHORT)]
        assert said == lm.words(ids)
    assert not model.chat(frames, sampling=SHORT).is_image


def test_a_prompt_without_words_is_refused(model):
    with pytest.raises(RecipeError, match="has no words"):
        model.generate(" ")
    with pytest.raises(RecipeError, match="question: has no words"):
        model.ask(world.clip(0, 0).frames, " ")


def test_settings_of_the_sampler_are_looked_at_before_the_language_model_works(model, monkeypatch):
    monkeypatch.setattr(Dialogue, "write_clip", lambda *_, **__: pytest.fail("wrote a clip"))
    with pytest.raises(RecipeError, match="steps: 0 is out of range"):
        model.generate("a red star", steps=0)
    with pytest.raises(RecipeError, match="guidance: -1 is out of range"):
        next(tell_story(model, "Tell a story.", guidance=-1))
    with pytest.raises(TypeError, match="stpes"):
        model.generate("a red star", stpes=3)


def test_a_prompt_longer_than_the_context_is_refused(narrow):
    with pytest.raises(RecipeError, match=r"prompt: comes to .* has room for 432"):
        narrow.generate("a red star " * 200)


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


def test_what_is_made_before_a_stop_is_written(model, tmp_path, monkeypatch):
    decode = model.decode

    def stopped(tokens, seed, **settings):
        if seed == 2:
            raise KeyboardInterrupt
        return decode(tokens, seed=seed, **settings)

    monkeypatch.setattr(model, "decode", stopped, raising=False)
    with pytest.raises(KeyboardInterrupt):
        write_generated(each_generated(model, "a red star", 3, seed=0), tmp_path, model, TokenSampling())
    made = {f"a_red_star_seed{seed}.mp4{end}" for seed in (0, 1) for end in ("", ".json")}
    assert {path.name for path in tmp_path.iterdir()} == made


def test_prompts_have_files_of_their_own():
    names = {
        _file_name(words)
        for words in (
            "红星",
            "a 🐱",
            "a 🐶",
            "a red star",
            "A red star.",
            f"a {'red ' * 40}star",
            "a red, star",
            "a_red_star",
            "a red  star",
            "a red star \udcff",
            "?",
        )
    }
    assert len(names) == 10
    assert "a_red_star" in names
    assert all(re.fullmatch(r"[a-z0-9_]{1,70}", name) for name in names)


def test_ends_of_any_vocabulary_are_no_words(model):
    lm = model.language_model("ask")
    ids = lm.tokenizer("a red star").input_ids
    assert lm.words([*ids, lm.vocab.eos, *lm.vocab.special]) == lm.words(ids) == "a red star"


def test_pictures_from_words(model, tmp_path):
    made = model.generate("a red star", is_image=True)
    assert made[0].frames.shape == (1, 32, 32, 3)
    write_generated(made, tmp_path, model, TokenSampling())
    assert Image.open(tmp_path / "a_red_star_seed0.png").size == (256, 256)


def test_the_mean_has_no_chance_in_it(model):
    lm = model.language_model("generate")
    mean = TokenSampling(is_mean=True)
    one, other = (write_batch(lm, ["a star"], [seed], mean).tokens for seed in (0, 1))
    assert torch.equal(one, other)


@pytest.mark.parametrize("head", ["gmm", "diffusion"])
@pytest.mark.parametrize("queries", ["bidirectional", "autoregressive"])
@pytest.mark.parametrize("plans", [False, True])
@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_clips_written_side_by_side_are_those_written_alone(head, queries, plans, family, monkeypatch):
    short = dataclasses.replace(PLAN_WORDS, max_new_tokens=24)
    monkeypatch.setattr("divot.lm.generate.PLAN_WORDS", short)
    lm = small_lm(head, queries, family)
    lm.take_plans(plans)
    texts, seeds = ["make it", "make a red star that moves"], [3, 4]
    sampling = TokenSampling(text_guidance=3.0 if head == "gmm" else None)
    together = write_batch(lm, texts, seeds, sampling)
    alone = [write_batch(lm, [text], [seed], sampling) for text, seed in zip(texts, seeds, strict=True)]
    torch.testing.assert_close(together.tokens, torch.cat([one.tokens for one in alone]), atol=1e-4, rtol=0)
    assert len(together.plans) == (len(texts) if plans else 0)
    assert together.plans == tuple(plan for one in alone for plan in one.plans)


def test_what_was_planned_is_in_the_record(model, tmp_path, monkeypatch):
    lm = model.language_model("generate")
    before = lm.config
    made = model.generate("a red star", count=1)
    assert made[0].plans == ()
    monkeypatch.setattr("divot.lm.generate.sentence_and_plan", lambda said: ("", f"planned {len(said)}"))
    lm.take_plans(True)
    try:
        made = model.generate("a red star", count=1, clips=2)
        records = write_generated(made, tmp_path, model, TokenSampling())
    finally:
        lm.config = before
    assert [plan.split()[0] for plan in records[0]["plans"]] == ["planned", "planned"]
