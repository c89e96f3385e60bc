import numpy as np
import pytest

from divot.world import Background, Event, Scene, Sprite, caption, captions, render, sample_scene
from divot.world.captioning import STYLES
from divot.world.facts import AT_ONCE, Fact, caption_f1, caption_facts, fact_f1, scene_facts

STAR = Sprite(
    "star", "red", 12, 10, 10, (Event("moves_right", 0, 7, distance_px=12), Event("disappears", 9, 9))
)
HEART = Sprite("heart", "blue", 22, 50, 50, (Event("spins", turn_deg=-180),))
RING = Sprite("ring", "green", 16, 32, 32, (Event("changes_colour", 9, 9, to_colour="pink"),))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_wording_is_read_back_to_the_facts_of_its_scene(split, style):
    for index in range(150):
        scene = sample_scene(11, index, split)
        true = scene_facts(scene, style)
        wordings = captions(scene, style)
        chosen = np.random.default_rng(index).permutation(len(wordings))[:24]
        for words in (wordings[place] for place in chosen):
            assert caption_facts(words) == true, words


def test_facts_of_one_sprite_are_its_name_size_place_and_events_in_order():
    facts = scene_facts(Scene(Background("texture", "dark grey", texture="dots", period_px=8), (STAR,)))
    assert facts == {
        Fact("red star", "is", "shown"),
        Fact("red star", "size", "small"),
        Fact("red star", "place", "at the top left"),
        Fact("red star", "does 1", "moves_right"),
        Fact("red star", "does 2", "disappears"),
        Fact("background", "kind", "dotted"),
        Fact("background", "colour", "dark grey"),
    }


def test_a_gradient_is_the_same_told_from_either_end():
    one = Scene(Background("gradient", "beige", to_colour="teal", angle_deg=45), (HEART,))
    other = Scene(Background("gradient", "teal", to_colour="beige", angle_deg=225), (HEART,))
    # Within rounding: nobody who sees the clip could tell which of the two it is.
    assert np.abs(render(one, 64).astype(int) - render(other, 64)).max() <= 1
    assert scene_facts(one) == scene_facts(other)
    assert caption_f1(caption(other, np.random.default_rng(0)), one) == 1
    third = Scene(Background("gradient", "beige", to_colour="brown", angle_deg=45), (HEART,))
    assert caption_f1(caption(third, np.random.default_rng(0)), one) < 1


def test_short_captions_tell_neither_place_nor_size_nor_way_nor_background():
    facts = scene_facts(Scene(Background("plain", "grey"), (HEART, RING)), "short")
    assert facts == {
        Fact("blue heart", "is", "shown"),
        Fact("blue heart", "does 1", "spins"),
        Fact("green ring", "is", "shown"),
        Fact("green ring", "does 1", "changes_colour"),
        Fact("green ring", "turns to", "pink"),
        Fact("order", "first", AT_ONCE),
    }


@pytest.mark.parametrize(
    ("told", "first"),
    [
        ("First a red star grows, then a blue heart spins.", "red star"),
        ("A red star grows, and then a blue heart spins.", "red star"),
        ("A red star grows after a blue heart spins.", "blue heart"),
        ("A red star grows while a blue heart spins.", AT_ONCE),
    ],
)
def test_order_of_two_sprites_is_read_from_the_word_between_them(told, first):
    assert Fact("order", "first", first) in caption_facts(told)


def test_one_wrong_word_costs_its_own_facts_only():
    scene = sample_scene(3, 4)
    true = scene_facts(scene)
    words = caption(scene)
    assert caption_f1(words, scene) == 1.0
    wrong = words.replace(scene.background.colour, "teal" if scene.background.colour != "teal" else "brown")
    assert len(caption_facts(wrong) ^ true) == 2
    assert 0.5 < caption_f1(wrong, scene) < 1.0


def test_broken_text_is_read_as_far_as_it_goes():
    facts = caption_facts("a a red STAR star grow grows and?? on plain, Moves to the the left; a blue")
    assert facts == {Fact("red star", "is", "shown"), Fact("red star", "does 1", "grows")}
    assert caption_facts("") == frozenset()


def test_any_shuffled_words_are_read_without_an_error():
    rng = np.random.default_rng(0)
    for index in range(200):
        words = caption(sample_scene(4, index), index).split()
        text = " ".join(rng.permutation(words * 2))
        assert 0.0 <= caption_f1(text, sample_scene(4, index)) <= 1.0


def test_f1_counts_what_is_missing_and_what_is_invented():
    one, two, three = (Fact("red star", "does 1", word) for word in ("grows", "spins", "stays"))
    assert fact_f1({one}, {one}) == 1.0
    assert fact_f1({one}, {one, two}) == pytest.approx(2 / 3)
    assert fact_f1({one, three}, {one}) == pytest.approx(2 / 3)
    assert fact_f1({three}, {one}) == 0.0
    assert fact_f1(set(), {one}) == 0.0
    assert fact_f1(set(), set()) == 1.0


def test_unknown_style_is_refused():
    with pytest.raises(ValueError, match="style: got 'long', wanted one of full, short"):
        scene_facts(sample_scene(0, 0), "long")
