"""The connector: places follow the words that were said for their clip, the same in one pass and on the cache."""

import dataclasses

import pytest
import torch

from divot.config.errors import RecipeError
from divot.config.models import ConnectorConfig
from divot.lm.connector import Connector
from divot.lm.generate import Dialogue
from divot.lm.model import DivotLM
from divot.lm.sampling import TokenSampling
from divot.text import ReadClips, Words, WriteClip
from divot.text.sequence import End
from lm.small import NUM_TOKENS, batch_of, clip_tokens, small_lm

SIZES = ConnectorConfig(depth=1, words_depth=1, width=16, num_heads=2)
STORY = [
    Words("tell a story"),
    Words("a red star moves left", is_learned=True),
    WriteClip(),
    ReadClips(),
    Words("a blue ring stays still", is_learned=True),
    WriteClip(),
    End(),
]


@pytest.fixture
def connected():
    """A language model with a connector that hears the backbone, as a trained one does."""
    lm = small_lm("regression")
    lm.take_writing(connector=SIZES)
    assert lm.connector is not None
    torch.nn.init.normal_(lm.connector.states_in.weight, std=0.1)
    return lm.eval()


@torch.no_grad()
def tokens_of(lm, batch):
    return lm.to_tokens(lm.head.mean(lm.query_states(lm.states(batch), batch)))


def test_padding_behind_the_words_changes_nothing():
    torch.manual_seed(0)
    connector = Connector(SIZES, 8, NUM_TOKENS).eval()
    states, words = torch.randn(1, NUM_TOKENS, 8), torch.randn(1, 5, 8)
    padded = torch.cat([words, torch.randn(1, 3, 8)], dim=1)
    alone = connector(states, words, torch.ones(1, 5, dtype=torch.bool))
    assert torch.allclose(connector(states, padded, torch.arange(8)[None] < 5), alone, atol=1e-6)


def test_a_new_connector_hears_the_words_alone():
    torch.manual_seed(0)
    connector = Connector(SIZES, 8, NUM_TOKENS).eval()
    words, is_word = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    states = torch.randn(2, 1, NUM_TOKENS, 8)
    assert torch.equal(connector(states[0], words, is_word), connector(states[1], words, is_word))
    assert not torch.equal(connector(states[0], words, is_word), connector(states[0], 2 * words, is_word))


def test_a_clip_has_the_words_said_right_before_it(connected):
    sequence = connected.builder().build(STORY)
    told = [connected.words(ids) for ids in sequence.said]
    assert told == ["a red star moves left", "a blue ring stays still"]
    assert [ids[-1] for ids in sequence.said] == [connected.vocab.video_start] * 2
    asked = connected.builder().build([Words("make a red star"), WriteClip(is_image=True)])
    assert asked.said == [[connected.vocab.image_start]]


def test_a_story_on_the_cache_is_that_of_one_pass(connected):
    batch = batch_of(connected, [STORY])
    read = clip_tokens(1)
    wanted = tokens_of(connected, batch)
    builder = connected.builder()
    dialogue = Dialogue(connected, [builder.build(STORY[:1])])
    made = []
    for number, sentence in enumerate((STORY[1], STORY[4])):
        dialogue.read([builder.continuation(builder.words(sentence), [])])
        made.append(dialogue.write_clip(TokenSampling(is_mean=True)))
        if number == 0:
            dialogue.read([builder.continuation([], [ReadClips()])], read)
    assert torch.allclose(torch.cat(made), wanted, atol=1e-5)


def test_a_plan_that_is_said_reaches_the_connector(connected):
    connected.take_plans(True)
    prompt = connected.builder().build([Words("make it")])
    dialogue, mean = Dialogue(connected, [prompt]), TokenSampling(is_mean=True)
    made = dialogue.write_clip(mean)
    plan = dialogue._said[0][len(prompt) : dialogue._said[0].index(connected.vocab.video_start)]
    assert plan
    connected.take_plans(False)
    for is_said in (True, False):
        told = connected.builder().build([Words("make it")])
        told.add(plan, is_learned=is_said)
        again = Dialogue(connected, [told]).write_clip(mean)
        # Words that were read, not said, are not for the connector.
        assert torch.allclose(again, made, atol=1e-5) == is_said


def test_it_is_saved_with_the_model(connected, tmp_path):
    connected.save_pretrained(tmp_path / "lm")
    again = DivotLM.from_pretrained(tmp_path / "lm")
    batch = batch_of(connected, [STORY])
    assert again.config.connector == SIZES
    assert torch.allclose(tokens_of(again, batch), tokens_of(connected, batch), atol=1e-5)


def test_it_does_not_go_with_tokens_one_by_one(connected):
    with pytest.raises(RecipeError, match="connector"):
        connected.take_writing("autoregressive")
    assert connected.config.queries == "bidirectional"
    with pytest.raises(RecipeError, match="connector"):
        small_lm(queries="autoregressive").take_writing(connector=SIZES)
    with pytest.raises(RecipeError, match="connector"):
        DivotLM(
            dataclasses.replace(connected.config, queries="autoregressive"),
            connected.backbone,
            connected.tokenizer,
        )


@pytest.mark.parametrize("change", [{"num_heads": 3}, {"num_heads": 0}, {"words_depth": -1}, {"depth": -1}])
def test_a_connector_that_cannot_be_built_is_refused(change):
    with pytest.raises(RecipeError, match="connector"):
        small_lm().take_writing(connector=dataclasses.replace(SIZES, **change))
