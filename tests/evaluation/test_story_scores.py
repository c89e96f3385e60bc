"""Scores of stories: true clips under true sentences get 1, a clip under another sentence seldom does."""

from dataclasses import replace

import pytest

from divot.evaluation import story_scores as scores
from divot.lm.sampling import TokenSampling
from divot.pipelines.divot import Divot
from divot.pipelines.story import StoryClip
from divot.world import render
from divot.world.stories import story

COUNT = 4


@pytest.fixture
def model(language_folder):
    return Divot.from_pretrained(language_folder, device="cpu")


def by_instruction():
    return {one.instruction: one for one in (story(2, index, "test") for index in range(COUNT))}


def telling(chapters):
    import torch

    def tell(model, instruction, count, seed, *_):
        told = chapters(by_instruction()[instruction])
        for number in range(count):
            sentence, scene = told[number].sentence, told[number].scene
            yield StoryClip(sentence, torch.full((64, 8), float(number)), render(scene), seed)

    return tell


def test_who_tells_the_true_story_is_right_everywhere(model, monkeypatch):
    monkeypatch.setattr(scores, "tell_story", telling(lambda one: one.chapters))
    got = scores.story_scores(model, 2, COUNT, TokenSampling())
    for name in ("story_match", "story_motion", "story_character"):
        assert got[name].mean == got[f"{name}_true"].mean == 1.0
    assert got["story_motion_shifted"].mean < 0.7
    assert got["story_character_shifted"].mean < 0.5
    assert got["story_repeats"].mean == got["story_repeats_true"].mean == 0.0


def test_who_shows_the_same_clip_under_other_sentences_repeats(model, monkeypatch):
    def same_clip(one):
        return [replace(chapter, scene=one.chapters[0].scene) for chapter in one.chapters]

    monkeypatch.setattr(scores, "tell_story", telling(same_clip))
    assert scores.story_scores(model, 2, COUNT, TokenSampling())["story_repeats"].mean == 1.0
    # Told again, it may be shown again.
    monkeypatch.setattr(scores, "tell_story", telling(lambda one: one.chapters[:1] * 5))
    assert scores.story_scores(model, 2, COUNT, TokenSampling())["story_repeats"].mean == 0.0


def test_other_characters_that_do_what_is_said_do_not_match(model, monkeypatch):
    def disguised(one):
        def other(sprite):
            return replace(sprite, shape="square" if sprite.shape != "square" else "triangle")

        return [
            replace(chapter, scene=replace(chapter.scene, sprites=tuple(map(other, chapter.scene.sprites))))
            for chapter in one.chapters
        ]

    monkeypatch.setattr(scores, "tell_story", telling(disguised))
    got = scores.story_scores(model, 2, COUNT, TokenSampling())
    assert got["story_motion"].mean == 1.0
    assert got["story_match"].mean < 0.5


def test_a_model_of_random_weights_is_not_right(model):
    got = scores.story_scores(model, 2, 1, TokenSampling())
    assert "story_character_shifted" not in got
    assert got["story_match"].mean == 0.0
    assert got["story_match_true"].mean == 1.0
