import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from divot.world import Background, Event, Scene, Sprite, sample_scene
from divot.world.facts import Fact, scene_facts
from divot.world.questions import ACTIONS, KINDS, LETTERS, MOTION_KINDS, Question, question, questions
from divot.world.vocabulary import MOTIONS

PLAIN = Background("plain", "grey")
NUM_SCENES = 2500


@pytest.fixture(scope="module")
def asked():
    """Pairs of a scene and its questions, of both splits."""
    pairs = []
    for index in range(NUM_SCENES):
        scene = sample_scene(21, index, "train" if index % 2 else "test")
        pairs.append((scene, questions(scene, index)))
    return pairs


def only(scene: Scene, kind: str, seed: int = 0):
    return next((one for one in questions(scene, seed) if one.kind == kind), None)


def test_every_kind_is_asked_and_half_of_them_need_motion(asked):
    counts = Counter(one.kind for _, all_asked in asked for one in all_asked)
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > NUM_SCENES * 0.1
    assert set(KINDS) > MOTION_KINDS
    assert len(MOTION_KINDS) * 2 >= len(KINDS) >= 9


def test_questions_are_clean_words_with_short_answers(asked):
    for _, all_asked in asked:
        for one in all_asked:
            assert re.fullmatch(r"[A-Z][a-z, ]+\?( [A-D]: [a-z ]+\.)*", one.text), one
            assert bool(one.choices) == (one.kind == "choice")
            if one.kind != "choice":
                assert re.fullmatch(r"[a-z]+( [a-z]+){0,3}", one.answer), one


def test_each_kind_is_asked_in_several_wordings(asked):
    wordings = defaultdict(set)
    for _, all_asked in asked:
        for one in all_asked:
            wordings[one.kind].add(one.text)
    assert all(len(texts) >= 2 for texts in wordings.values())


def test_a_name_fits_one_sprite_alone(asked):
    for scene, all_asked in asked:
        for one in all_asked:
            for colour, noun in re.findall(
                r"\bthe (?:([a-z]+) )?(star|heart|circle|ring|bar|thing)\b", one.text
            ):
                named = [
                    sprite
                    for sprite in scene.sprites
                    if colour in ("", sprite.colour) and noun in ("thing", sprite.shape)
                ]
                assert len(named) == 1 or (noun == "thing" and colour in ("", "first", "last")), one


def test_answers_agree_with_the_facts_of_the_scene(asked):
    for scene, all_asked in asked:
        facts = scene_facts(scene)
        motions = {fact.value for fact in facts if fact.aspect.startswith("does")}
        for one in all_asked:
            if one.kind == "action":
                assert one.answer in {ACTIONS[motion] for motion in motions}
            if one.kind == "background":
                assert Fact("background", "kind", one.answer) in facts
            if one.kind == "place" and "start" in one.text:
                assert one.answer in {fact.value for fact in facts if fact.aspect == "place"}
            if one.kind == "count":
                assert one.answer == ("one", "two")[len(scene.sprites) - 1]
            if one.kind == "first" and re.search(r"Which (one|thing)", one.text):
                assert Fact("order", "first", one.answer) in facts
            if one.kind == "choice":
                right = one.choices[LETTERS.index(one.answer)]
                assert len(set(one.choices)) == 4
                assert [words for words in one.choices if words == right] == [right]
                assert right in {ACTIONS[motion] for motion in motions}


def test_each_motion_is_told_by_its_one_answer():
    amounts = {"grows": {"to_size_px": 24}, "shrinks": {"to_size_px": 8}, "spins": {"turn_deg": 180}}
    amounts["bounces"] = {"distance_px": 12, "num_bounces": 2}
    amounts["changes_colour"] = {"to_colour": "blue"}
    for motion in MOTIONS:
        amount = amounts.get(motion, {"distance_px": 12} if motion.startswith("moves") else {})
        times = (5, 5) if motion in ("appears", "disappears", "changes_colour") else (0, 15)
        scene = Scene(PLAIN, (Sprite("star", "red", 16, 32, 32, (Event(motion, *times, **amount),)),))
        assert only(scene, "action").answer == ACTIONS[motion]
        assert (only(scene, "direction") is not None) == (motion.startswith("moves") or motion == "spins")
    assert len(set(ACTIONS.values())) == len(MOTIONS)


def test_first_and_last_are_asked_only_of_what_happens_in_turn():
    early, late = Event("grows", 0, 7, to_size_px=24), Event("disappears", 10, 10)
    both = Scene(PLAIN, (Sprite("star", "red", 16, 32, 32, (early, late)),))
    assert (only(both, "first").answer, only(both, "last").answer) == ("grows", "disappears")
    at_once = Scene(
        PLAIN,
        (
            Sprite("star", "red", 16, 12, 12, (Event("grows", to_size_px=24),)),
            Sprite("heart", "blue", 16, 50, 50, (Event("spins", turn_deg=180),)),
        ),
    )
    assert only(at_once, "first") is None
    assert only(at_once, "last") is None


def test_a_sprite_that_changes_colour_is_not_called_by_colour_alone():
    event = Event("changes_colour", 8, 8, to_colour="blue")
    scene = Scene(PLAIN, (Sprite("star", "red", 16, 10, 10, (event,)),))
    for seed in range(40):
        for one in questions(scene, seed):
            assert one.kind == "shape" or "red thing" not in one.text
            assert one.kind == "choice" or "blue thing" not in one.text
        assert only(scene, "colour", seed).answer == "red"
        assert only(scene, "change", seed).answer == "blue"


def test_a_place_near_a_border_of_thirds_is_not_asked_for():
    for x_px in (20, 22, 23, 41, 44):
        scene = Scene(PLAIN, (Sprite("star", "red", 10, x_px, 10, (Event("stays"),)),))
        assert only(scene, "place") is None


def test_yes_and_no_are_even_for_each_motion_asked_about(asked):
    by_words = defaultdict(Counter)
    for _, all_asked in asked:
        for one in all_asked:
            if one.kind == "yes_no" and " before " not in one.text and " after " not in one.text:
                verb = re.search(r"(mov|grow|shrink|spin|bounc|appear|disappear|chang|stay)", one.text)[0]
                by_words[verb][one.answer] += 1
    assert len(by_words) >= 8
    for verb, counts in by_words.items():
        total = counts.total()
        # Four standard errors of an even coin.
        assert abs(counts["yes"] / total - 0.5) < 2.0 / total**0.5, (verb, counts)


def test_what_is_partly_true_is_not_asked_about(asked):
    for scene, all_asked in asked:
        motions = {event.motion for sprite in scene.sprites for event in sprite.events}
        for one in all_asked:
            if one.kind == "yes_no" and one.answer == "no" and len(scene.sprites) == 1 and len(motions) == 1:
                (right,) = motions
                said = re.search(r"mov(?:es?|ing) (up|down|left|right)\?", one.text)
                assert not (said and "_" in right.removeprefix("moves_") and said[1] in right.split("_")), one
                assert not (right == "changes_colour" and "still" in one.text), one


def test_a_sprite_is_called_it_only_where_it_is_alone(asked):
    alone = [len(scene.sprites) == 1 for scene, all_asked in asked for one in all_asked if is_about_it(one)]
    assert len(alone) > NUM_SCENES
    assert all(alone)


def is_about_it(one: Question) -> bool:
    return bool(
        re.match(r"(What|Which|How|Where|Does|Is|In) .*?(?<!before )(?<!after )\b(it|the shape)\b", one.text)
        and one.kind not in ("count", "background")
        and not one.text.startswith("Is it true")
    )


def test_letters_are_even(asked):
    counts = Counter(one.answer for _, all_asked in asked for one in all_asked if one.kind == "choice")
    total = counts.total()
    assert all(abs(counts[letter] / total - 0.25) < 4 * (0.19 / total) ** 0.5 for letter in LETTERS)


def test_one_question_is_drawn_evenly_from_the_kinds_permitted():
    scene = sample_scene(1, 0)
    always = set.intersection(*({one.kind for one in questions(scene, seed)} for seed in range(20)))
    drawn = Counter(question(scene, seed).kind for seed in range(600))
    assert len(always) >= 6
    assert min(drawn[kind] for kind in always) * 1.6 > max(drawn.values())


def test_questions_repeat_with_their_seed():
    scene = sample_scene(1, 5)
    assert questions(scene, 3) == questions(scene, np.random.default_rng(3))
    assert any(questions(scene, 3) != questions(scene, seed) for seed in range(4, 8))
