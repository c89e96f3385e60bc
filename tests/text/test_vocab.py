"""The special tokens for video: 262 of them, and on Mistral's tokenizer behind its 32000 pieces."""

import dataclasses
import random
import sys

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from divot.config.errors import CheckpointError
from divot.text import SPECIAL_TOKENS, SequenceBuilder, VideoVocab, add_video_tokens
from divot.text.templates import Turn, conversation
from divot.weights.official_llm_tokenizer import read_tokenizer


@pytest.fixture(scope="module")
def mistral(mistral_folder):
    return read_tokenizer(mistral_folder)


@pytest.fixture(scope="module")
def pieces(mistral_folder):
    return SentencePieceProcessor(model_file=str(mistral_folder / "tokenizer.model"))


def words(**ends):
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a")), **ends
    )


def test_there_are_262_special_tokens_and_none_twice():
    assert len(SPECIAL_TOKENS) == len(set(SPECIAL_TOKENS)) == 262


def test_tokens_are_added_once_behind_those_that_are_there():
    tokenizer = words(eos_token="b")
    vocab = add_video_tokens(tokenizer)
    assert vocab.special == tuple(range(2, 264))
    assert add_video_tokens(tokenizer) == vocab == VideoVocab.of(tokenizer)
    assert (vocab.bos, vocab.eos, vocab.pad) == (None, 1, 1)
    assert tokenizer.encode("<vid><frame_00007></vid>") == [
        vocab.video_start,
        vocab.places[7],
        vocab.video_end,
    ]


def test_tokenizer_that_lacks_something_is_refused():
    with pytest.raises(CheckpointError, match=r"no token '<img>' \(262 missing\)"):
        VideoVocab.of(words(eos_token="b"))
    with pytest.raises(CheckpointError, match="no end-of-sequence token"):
        add_video_tokens(words())


def test_on_mistral_the_special_tokens_have_the_released_ids(mistral):
    assert len(mistral) == 32262
    vocab = add_video_tokens(mistral)
    assert len(mistral) == 32262
    assert vocab.special == tuple(range(32000, 32262))
    assert (vocab.bos, vocab.eos, vocab.pad) == (1, 2, 2)


def test_every_piece_of_mistral_keeps_its_id(mistral, pieces):
    known = mistral.get_vocab()
    assert all(known[pieces.id_to_piece(index)] == index for index in range(32000))


def test_texts_are_split_as_sentencepiece_splits_them(mistral, pieces):
    rng = random.Random(0)
    letters = "abcdefghijklmnop ETAOIN 0123456789 .,:;!?'\"()[]{}/\\-_*#\n\téüßñ日本한\u00a0\U0001f642"
    common = [
        "the ",
        "video",
        " of",
        "[INST]",
        "[/INST]",
        "  ",
        "   ",
        "    ",
        "\n\n",
        "ing",
        "Describe",
        " 12.5",
    ]
    for _ in range(500):
        parts = [
            rng.choice(common) if rng.random() < 0.4 else rng.choice(letters)
            for _ in range(rng.randint(1, 40))
        ]
        text = "".join(parts)
        assert mistral.encode(text, add_special_tokens=False) == pieces.encode(text), repr(text)


def test_text_beside_special_tokens_is_split_by_itself(mistral, pieces):
    ids = mistral.encode("a cat<vid>runs</vid> off", add_special_tokens=False)
    parts = [pieces.encode(text) for text in ("a cat", "runs", " off")]
    assert ids == [*parts[0], 32002, *parts[1], 32003, *parts[2]]
    assert mistral.encode("a cat") == [1, *parts[0]]


def test_mistral_comes_back_from_tokenizer_json_alone(mistral, pieces, tmp_path, monkeypatch):
    mistral.save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    again = read_tokenizer(tmp_path)
    assert again.get_vocab() == mistral.get_vocab()
    text = "[INST]  Two spaces <frame> é [/INST]"
    assert again.encode(text) == mistral.encode(text)
    assert again.decode(again.encode("Hello  world", add_special_tokens=False)) == "Hello  world"


def test_official_requests_have_the_ids_of_the_whole_text_in_sentencepiece(mistral, pieces):
    builder = SequenceBuilder(mistral, num_tokens=2)
    asked = [Turn("What happens?", "A cat.", clips=1), Turn("And then?", "It sleeps.")]
    wanted = [1, *pieces.encode("[INST] "), 32002, 32004, 32006, 32007, 32005, 32003]
    wanted += [*pieces.encode("What happens? [/INST]\n"), *pieces.encode("A cat.")]
    wanted += [*pieces.encode("\n[INST] And then? [/INST]\n"), *pieces.encode("It sleeps."), 2]
    assert builder.build(conversation(asked, is_official=True)).ids == wanted
    # As the official scripts have it: one text, from which the places of clips are split off.
    text = "[INST] <vid><frame><frame_00000><frame_00001></frame></vid>What happens? [/INST]\n"
    first = conversation([dataclasses.replace(asked[0], answer=None)], is_official=True)
    assert builder.build(first).ids == mistral.encode(text)


def test_caption_request_in_ids_of_mistral(mistral, pieces):
    builder = SequenceBuilder(mistral, num_tokens=2)
    sequence = builder.build(conversation([Turn("What happens?", "A cat.", clips=1)]))
    wanted = [1, *pieces.encode("[INST]"), 32002, 32004, 32006, 32007, 32005, 32003]
    wanted += [*pieces.encode("What happens? [/INST]"), *pieces.encode("A cat."), 2]
    assert sequence.ids == wanted
