"""Stories in words and clips: the same for the same seed, conditioned on what came before, able to go on."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from divot import world
from divot.config.errors import DataError, RecipeError
from divot.lm.sampling import TextSampling
from divot.pipelines.divot import Divot
from divot.pipelines.story import ToldClip, tell_story
from divot.pipelines.story_files import make_story, read_story
from divot.video import VideoReader, write_video

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
        next(tell_story(model, TELL, 1, 0, WORDS, earlier=[ToldClip("Ruby grows.", tokens)]))
        for tokens in (plain, other)
    )
    assert not torch.equal(one.tokens, two.tokens)


def test_a_first_clip_and_an_earlier_story_change_what_follows(model):
    plain = next(tell_story(model, TELL, 1, 0, WORDS))
    shown = next(tell_story(model, TELL, 1, 0, WORDS, first_clip=world.clip(0, 0, size=32).frames))
    earlier = [ToldClip("Ruby grows.", plain.tokens)]
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
    assert [part.sentence for part in after.parts[:2]] == [part.sentence for part in before.parts]
    assert torch.equal(after.parts[1].tokens, before.parts[1].tokens)


def test_words_of_one_story_with_the_clips_of_another_are_refused(model, folder, tmp_path):
    other = tmp_path / "other"
    make_story(model, other, TELL, 2, seed=4, words=WORDS)
    shutil.copy(folder / "story.json", other)
    with pytest.raises(DataError, match="the words of one story and the clips of another"):
        read_story(other, model)


def test_words_that_are_no_utf_8_are_kept(model, tmp_path):
    make_story(model, tmp_path / "told", "Ruby \udce9", 1, words=WORDS)
    assert read_story(tmp_path / "told", model).instruction == "Ruby \udce9"
    assert "Ruby \\udce9" in (tmp_path / "told" / "index.html").read_text()


def test_what_cannot_be_told_is_refused(model, folder, tmp_path, other_model_folder):
    with pytest.raises(RecipeError, match="one of them"):
        make_story(model, tmp_path / "out")
    with pytest.raises(RecipeError, match="one of them"):
        make_story(model, tmp_path / "out", TELL, go_on=folder)
    with pytest.raises(RecipeError, match="no words"):
        make_story(model, tmp_path / "out", " ")
    with pytest.raises(RecipeError, match="first clip"):
        make_story(model, tmp_path / "out", go_on=folder, first_clip="a.mp4")
    with pytest.raises(RecipeError, match="clips"):
        next(tell_story(model, TELL, 0))
    with pytest.raises(DataError, match="no story"):
        make_story(model, tmp_path / "out", go_on=tmp_path)
    with pytest.raises(DataError, match="another tokenizer"):
        read_story(folder, Divot.from_pretrained(other_model_folder, device="cpu"))
    assert not (tmp_path / "out").exists()


def test_a_story_that_goes_on_remembers_the_clip_it_was_given(model, tmp_path):
    shown = tmp_path / "shown.mp4"
    write_video(shown, world.clip(0, 0, size=32).frames, 8)
    make_story(model, tmp_path / "one", TELL, 1, words=WORDS, first_clip=shown)
    first = read_story(tmp_path / "one", model).first_clip
    assert first.shape == (64, 8)
    with VideoReader(tmp_path / "one" / "story.mp4") as film:
        assert film.num_frames == 32
    make_story(model, tmp_path / "two", count=1, words=WORDS, go_on=tmp_path / "one")
    assert torch.equal(read_story(tmp_path / "two", model).first_clip, first)
    assert read_story(tmp_path / "two", model).first_clip_source == str(shown)
    assert (tmp_path / "two" / "clip_00.mp4").is_file()
    earlier = read_story(tmp_path / "one", model).parts
    wanted = next(tell_story(model, TELL, 1, 0, WORDS, earlier=earlier, first_clip=first))
    assert torch.equal(read_story(tmp_path / "two", model).parts[1][1], wanted.tokens)
    with pytest.raises(DataError, match="would be overwritten"):
        make_story(model, tmp_path / "one", TELL, 1, words=WORDS, first_clip=tmp_path / "one" / "clip_01.mp4")
    shown.rename(tmp_path / "clip_02.mp4")
    with pytest.raises(DataError, match="would be overwritten"):
        make_story(model, tmp_path, TELL, 2, words=WORDS, first_clip=tmp_path / "clip_02.mp4")


def test_the_clip_that_was_given_is_decoded_as_the_others_and_stays_as_it_was(model, tmp_path, monkeypatch):
    shown, asked, given = tmp_path / "shown.mp4", [], []
    write_video(shown, world.clip(0, 0, size=32).frames, 8)
    decode = model.decode

    def noted(tokens, seed=0, **settings):
        asked.append((tokens, (seed, settings.get("steps"), settings.get("guidance"))))
        given.append(settings)
        return decode(tokens, seed=seed, **settings)

    def of_the_given_clip():
        first = read_story(tmp_path / "one", model).first_clip
        return [how for tokens, how in asked if torch.equal(tokens.reshape(first.shape), first)]

    monkeypatch.setattr(model, "decode", noted, raising=False)
    make_story(model, tmp_path / "one", TELL, 1, words=WORDS, first_clip=shown, seed=3, steps=2, guidance=1.5)
    assert of_the_given_clip() == [(3, 2, 1.5)]
    asked.clear()
    make_story(model, tmp_path / "two", count=1, words=WORDS, go_on=tmp_path / "one", seed=8)
    assert [seed for seed, *_ in of_the_given_clip()] == [3]
    given.clear()
    make_story(model, tmp_path / "three", TELL, 1, words=WORDS, first_clip=shown, solver="euler")
    assert [settings["solver"] for settings in given] == ["euler"] * 2


def test_a_shorter_story_in_the_same_folder_leaves_nothing_of_the_longer_one(model, tmp_path):
    make_story(model, tmp_path, TELL, 2, words=WORDS)
    (tmp_path / "clip_07.txt").write_text("mine")
    make_story(model, tmp_path, TELL, 1, words=WORDS)
    assert sorted(path.name for path in tmp_path.glob("clip_*")) == [
        "clip_01.mp4",
        "clip_01.webp",
        "clip_07.txt",
    ]
    assert len(read_story(tmp_path, model).parts) == 1


def test_a_story_that_is_stopped_can_go_on_from_the_clips_it_has(model, tmp_path, monkeypatch):
    heard, files = [], []

    def stop_at_the_second(sentence):
        heard.append(sentence)
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_story(
            model, tmp_path, TELL, 3, words=WORDS, on_sentence=stop_at_the_second, on_clip=files.append
        )
    assert files == [tmp_path / "clip_01.mp4"]
    assert [part.sentence for part in read_story(tmp_path, model).parts] == heard[:1]
    record = make_story(model, tmp_path, go_on=tmp_path, count=1, words=WORDS)
    assert record["clips"][0]["sentence"] == heard[0]
    assert len(read_story(tmp_path, model).parts) == 2
    # Killed between its two files: a clip of which the record does not tell yet.
    tokens = load_file(tmp_path / "tokens.safetensors")
    longer = {"tokens": torch.cat([tokens["tokens"], tokens["tokens"][:1]])}
    label = {"divot": json.dumps({"tokenizer_hash": model.folder.tokenizer_hash})}
    save_file(longer, tmp_path / "tokens.safetensors", metadata=label)
    assert len(read_story(tmp_path, model).parts) == 2
    # Stopped before it has more than the story that it goes on with: that one stays.
    before = read_story(tmp_path, model).parts

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("divot.pipelines.story_files.write_video", stop)
    with pytest.raises(KeyboardInterrupt):
        make_story(model, tmp_path, go_on=tmp_path, count=1, words=WORDS)
    after = read_story(tmp_path, model).parts
    assert [part.sentence for part in after] == [part.sentence for part in before]


def test_more_clips_than_the_context_holds_are_refused_before_one_is_made(
    language_folder, monkeypatch, tmp_path
):
    narrow = Divot.from_pretrained(language_folder, device="cpu")
    monkeypatch.setattr(narrow.language_model("story").backbone.config, "max_position_embeddings", 500)
    with pytest.raises(RecipeError, match=r"has room for 3\. Give --clips 3 or fewer"):
        make_story(narrow, tmp_path / "out", TELL, 4, words=WORDS)
    assert not (tmp_path / "out").exists()


def test_plans_are_kept_beside_their_sentences(model, tmp_path, monkeypatch):
    lm = model.language_model("story")
    before, planned, heard = lm.config, {}, []

    def plan_of(said):
        planned[said] = f"plan {len(planned)}"
        return "", planned[said]

    # What small random weights say is no plan: here all that follows the third piece is one.
    monkeypatch.setattr("divot.lm.generate.sentence_and_plan", plan_of)
    monkeypatch.setattr(
        "divot.pipelines.story.opens_plan", lambda piece: heard.append(piece) or len(heard) % 4 == 0
    )
    lm.take_plans(True)
    try:
        make_story(model, tmp_path / "one", TELL, 2, seed=3, words=WORDS)
        first = read_story(tmp_path / "one", model)
        make_story(model, tmp_path / "two", go_on=tmp_path / "one", count=1, words=WORDS)
    finally:
        lm.config = before
    assert [part.plan for part in first.parts] == ["plan 0", "plan 1"]
    words = ["".join(heard[start : start + 3]) for start in (0, 4)]
    assert [part.sentence.replace(" ", "") for part in first.parts] == [one.replace(" ", "") for one in words]
    assert all(len(plan) > len(sentence) for plan, sentence in zip(planned, words, strict=False))
    record = json.loads((tmp_path / "two" / "story.json").read_text())
    assert [one["plan"] for one in record["clips"]] == ["plan 0", "plan 1", "plan 2"]
    assert "plan 0" not in (tmp_path / "two" / "index.html").read_text()
