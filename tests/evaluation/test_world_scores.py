"""Scores of Sprite World: who knows the answers gets 1, who knows nothing does not; the files say what was found."""

import json

import numpy as np
import pytest
import torch

from divot import world
from divot.evaluation import world_scores
from divot.evaluation.world_report import write_world_report
from divot.evaluation.world_scores import evaluate_world
from divot.pipelines.divot import Divot
from divot.pipelines.generate import Written
from divot.world.questions import KINDS, questions

COUNT = 6


@pytest.fixture(scope="module")
def model(language_folder):
    return Divot.from_pretrained(language_folder, device="cpu")


@pytest.fixture
def knowing(monkeypatch):
    """A language model that knows each clip by its tokens, and a de-tokenizer that draws the true clip."""
    clips = [world.clip(3, index, "test", 32) for index in range(COUNT)]
    told = {clip.caption: clip for clip in clips}
    right = {}

    def plain(request):
        return request.lower().rstrip("?.")

    for index, clip in enumerate(clips):
        for one in questions(clip.scene, np.random.default_rng([3, index])):
            right[plain(one.text), index] = one.answer

    def answer(lm, shown, requests, *_):
        said = []
        for tokens, request in zip(shown, requests, strict=True):
            if tokens is None:
                said.append("")
                continue
            near = min(range(COUNT), key=lambda i: float((known[i] - tokens[0, 0]).abs().max()))
            is_known = torch.equal(known[near], tokens[0, 0])
            said.append(right.get((plain(request), near), clips[near].caption) if is_known else "")
        return said

    known = {}

    def know(model):
        known.update({index: model.encode_clip(clip.frames) for index, clip in enumerate(clips)})
        monkeypatch.setattr(world_scores, "answer", answer)
        monkeypatch.setattr(
            world_scores,
            "write_batch",
            lambda lm, texts, seeds, sampling, judge: Written(
                torch.stack([torch.full((64, 8), float(list(told).index(text))) for text in texts]), ()
            ),
        )
        monkeypatch.setattr(
            model,
            "decode",
            lambda tokens, **_: world.render(clips[int(tokens[0, 0])].scene, 64),
            raising=False,
        )

    return know


def test_who_knows_all_gets_all(model, knowing):
    knowing(model)
    scores = evaluate_world(model, seed=3, count=COUNT)
    assert scores.measures["questions"].mean == 1.0
    assert scores.measures["hasty_questions"].mean == 1.0
    assert set(scores.by_kind) <= set(KINDS)
    assert all(value.mean == 1.0 for value in scores.by_kind.values())
    assert scores.measures["captions"].mean > 0.8
    assert scores.measures["generation_all"].mean > 0.9
    assert scores.measures["generation_all_true"].mean == 1.0
    assert scores.measures["generation_all_shifted"].mean < 0.5
    assert scores.controls["other_clip"]["captions"].mean < 0.6
    assert scores.controls["no_video"]["captions"].mean == 0.0
    assert scores.controls["no_video"]["questions"].mean == 0.0
    assert scores.controls["other_clip"]["questions"].mean < 0.8
    assert 0 < scores.controls["best_constant"]["questions"].mean < 1


def test_random_weights_know_nothing_and_the_files_say_so(model, tmp_path):
    scores = evaluate_world(model, seed=0, count=2)
    assert scores.measures["questions"].mean < 0.3
    assert scores.measures["generation_all"].mean == 0.0
    paths = write_world_report(scores, tmp_path / "w.json")
    values = json.loads(paths[0].read_text())
    assert values["run"]["detokenizers"] == {"generate": model.folder.detokenizer_hash("reconstruction")}
    assert {
        "questions",
        "questions_by_kind",
        "captions",
        "generation_all",
        "generation_shape",
    } <= values.keys()
    assert set(values["controls"]) == {"no_video", "blank_video", "other_clip", "one_frame", "best_constant"}
    assert values["run"]["seed"] == 0
    assert "generation_all" in paths[1].read_text()
    assert paths[2].stat().st_size > 0


def test_hasty_questions_are_the_same_but_for_capitals_and_marks(model, monkeypatch):
    asked, answer = [], world_scores.answer

    def noted(lm, shown, requests):
        asked.extend(requests)
        return answer(lm, shown, requests)

    monkeypatch.setattr(world_scores, "answer", noted)
    monkeypatch.setattr(world_scores, "MAX_HASTY_CLIPS", 2)
    evaluate_world(model, seed=0, count=4, has_controls=False, has_generation=False)
    tidy = [
        [one.text for one in questions(world.clip(0, k, "test", 32).scene, np.random.default_rng([0, k]))]
        for k in range(4)
    ]
    of_two = [text for row in tidy[:2] for text in row]
    hasty = asked[sum(map(len, tidy)) :][: len(of_two)]
    assert all(typed != text for typed, text in zip(hasty, of_two, strict=True))
    assert [typed.lower().rstrip("?.") for typed in hasty] == [text.lower().rstrip("?.") for text in of_two]


def test_who_only_reads_needs_nothing_that_writes(model, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("a de-tokenizer was asked for")

    monkeypatch.setattr(model, "detokenizer", fail)
    reading = model.language_model("ask")
    monkeypatch.setattr(model, "language_model", {"ask": reading, "caption": reading}.__getitem__)
    scores = evaluate_world(model, seed=1, count=1, has_controls=False, has_generation=False)
    assert scores.run["sampler"] is None
    assert scores.run["sampling"] is None


def test_same_seed_same_scores(model):
    one, two = (evaluate_world(model, seed=1, count=2, has_generation=False) for _ in range(2))
    assert one.measures == two.measures
    assert one.controls == two.controls


def test_controls_show_something_else(model):
    clips = [world.clip(0, index, "test", 32) for index in range(3)]
    tokens = [model.encode_views(clip.frames, 2)[:, None] for clip in clips]
    shown = world_scores._control_tokens(model, clips, tokens, 2)
    assert shown["no_video"] == [None] * 3
    assert all(not torch.equal(other, own) for other, own in zip(shown["other_clip"], tokens, strict=True))
    assert torch.equal(shown["blank_video"][0], shown["blank_video"][1])
    still = np.repeat(clips[1].frames[8][None], 16, axis=0)
    assert torch.equal(shown["one_frame"][1], model.encode_views(still, 2)[:, None])


def test_one_clip_has_no_other_beside_it(model):
    scores = evaluate_world(model, seed=0, count=1)
    assert "other_clip" not in scores.controls
    assert "generation_all_shifted" not in scores.measures


def test_a_count_below_one_is_refused(model):
    with pytest.raises(ValueError, match="count"):
        evaluate_world(model, seed=0, count=0)
