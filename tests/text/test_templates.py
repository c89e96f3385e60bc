"""Conversations to segments, in our template and in a chat model's own."""

import random

import pytest

from divot.config.errors import CheckpointError
from divot.text import (
    End,
    ReadClips,
    SequenceBuilder,
    Turn,
    Words,
    WriteClip,
    as_typed,
    caption_request,
    conversation,
    plain_answer,
    sentence_and_plan,
    video_request,
)


def written_out(segments):
    """The conversation as one text, clips as [2 clips] and [write]."""
    said = []
    for segment in segments:
        if isinstance(segment, Words):
            said.append(segment.text)
        elif isinstance(segment, ReadClips):
            said.append(f"[{segment.count} clips]")
        else:
            said.append("[write]" if isinstance(segment, WriteClip) else "<|im_end|>")
    return "".join(said)


TURNS = [
    Turn("What happens?", "A cat runs.", clips=2),
    Turn("Show it.", WriteClip()),
    Turn("And now?", clips=1),
]


def test_official_prompts_are_those_of_the_released_scripts():
    asked = [Turn("What happens?", "A cat runs.", clips=2), Turn("And then?", "It sleeps.")]
    segments = conversation(asked, is_official=True)
    wanted = (
        "[INST] [2 clips]What happens? [/INST]\nA cat runs.\n[INST] And then? [/INST]\nIt sleeps.<|im_end|>"
    )
    assert written_out(segments) == wanted
    # In a chat the next request follows the answer as in training.
    goes_on = conversation([*asked[:1], Turn("And then?")], is_official=True)
    assert goes_on == segments[: len(goes_on)]
    shown = conversation([Turn(video_request("a cat", is_official=True), WriteClip())], is_official=True)
    assert written_out(shown) == "[INST] Generate a video of a cat [/INST]\n[write]<|im_end|>"
    assert video_request("a cat", None, True, is_official=True) == "Generate an image of a cat"


def test_chat_template_is_told_turn_by_turn(chat_tokenizer):
    segments = conversation(TURNS, chat_tokenizer)
    assert written_out(segments) == (
        "<|im_start|>user\n[2 clips]What happens?<|im_end|>\n<|im_start|>assistant\nA cat runs.<|im_end|>"
        "\n<|im_start|>user\nShow it.<|im_end|>\n<|im_start|>assistant\n[write]<|im_end|>"
        "\n<|im_start|>user\n[1 clips]And now?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [segment.text for segment in segments if isinstance(segment, Words) and segment.is_learned] == [
        "A cat runs."
    ]
    assert sum(isinstance(segment, End) for segment in segments) == 2


def test_sequence_of_a_chat_template_has_its_signs_as_single_ids(chat_tokenizer):
    sequence = SequenceBuilder(chat_tokenizer, 2).build(conversation(TURNS, chat_tokenizer))
    names = chat_tokenizer.convert_ids_to_tokens(sequence.ids)
    assert names.count("<|im_start|>") == 6
    assert names.count("<|im_end|>") == 5
    assert (sequence.clips_read, sequence.clips_written) == ([0, 1, 2], 1)
    # The model learns to end its own two answers, not the user's turns.
    learned = [name for name, label in zip(names, sequence.labels, strict=True) if label >= 0]
    assert learned.count("<|im_end|>") == 2
    assert "<|im_start|>" not in learned


def test_begin_token_of_a_chat_template_is_left_to_the_builder(chat_tokenizer):
    chat_tokenizer.bos_token = "<s>"
    chat_tokenizer.chat_template = "<s>" + chat_tokenizer.chat_template
    segments = conversation([Turn("Hello")], chat_tokenizer)
    assert written_out(segments).startswith("<|im_start|>user")
    ids = SequenceBuilder(chat_tokenizer, 2).build(segments).ids
    assert ids.count(chat_tokenizer.bos_token_id) == 1


def test_chat_template_that_changes_what_was_said_is_refused(chat_tokenizer):
    chat_tokenizer.chat_template = chat_tokenizer.chat_template.replace("<|im_end|>", "<end>")
    conversation(TURNS[:1], chat_tokenizer)
    with pytest.raises(CheckpointError, match="chat template that does not go on"):
        conversation(TURNS, chat_tokenizer)


def test_our_template_has_no_space_at_the_end_of_a_piece():
    for segment in conversation(TURNS):
        if isinstance(segment, Words):
            assert segment.text == segment.text.strip()


def test_requests_hold_the_caption_and_the_first_wording_is_the_default():
    rng = random.Random(0)
    for is_image in (False, True):
        wordings = {video_request("a {red} cat", rng, is_image) for _ in range(100)}
        assert len(wordings) == 8
        assert all("a {red} cat" in wording for wording in wordings)
        assert video_request("a {red} cat", None, is_image) in wordings
        asked = {caption_request(rng, is_image) for _ in range(100)}
        assert len(asked) > 3
        assert caption_request(None, is_image) in asked


def test_an_answer_keeps_its_lines():
    assert plain_answer(" 1. A cat  runs\t off.\n2. <s> is a tag. ") == "1. A cat runs off.\n2. <s> is a tag."


def test_a_template_that_sets_a_space_before_answers_and_strips_them_is_followed(chat_tokenizer):
    chat_tokenizer.chat_template = (
        "{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
        "{% else %} {{ message['content'] | trim }}<|im_end|>{% endif %}{% endfor %}"
    )
    turns = [Turn("What?", "Red "), Turn("Where?", "There."), Turn("Why?")]
    segments = conversation(turns, chat_tokenizer)
    assert written_out(segments) == (
        "[INST] What? [/INST] Red<|im_end|>[INST] Where? [/INST] There.<|im_end|>[INST] Why? [/INST]"
    )
    assert [one.text for one in segments if isinstance(one, Words) and one.is_learned] == [" Red", " There."]


def test_a_template_that_sets_thoughts_before_the_last_answer_is_followed(chat_tokenizer):
    chat_tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    segments = conversation(TURNS, chat_tokenizer)
    assert [one.text for one in segments if isinstance(one, Words) and one.is_learned] == ["A cat runs."]


def test_a_plan_is_said_before_its_clip():
    alone = conversation([Turn("Show it.", WriteClip(), plans=("red star 25",))])
    assert written_out(alone) == "[INST] Show it. [/INST](red star 25)[write]<|im_end|>"
    assert [part.is_learned for part in alone if isinstance(part, Words)] == [False, True]
    told = conversation([Turn("Tell.", ("She runs.", "She rests."), plans=("star 1", "star 2"))])
    wanted = (
        "[INST] Tell. [/INST]She runs.(star 1)[write][1 clips]She rests.(star 2)[write][1 clips]<|im_end|>"
    )
    assert written_out(told) == wanted


def test_hasty_words_lack_their_capital_their_mark_or_both():
    rng = random.Random(0)
    assert {as_typed("Is it Ada?", rng) for _ in range(30)} == {"Is it Ada", "is it Ada?", "is it Ada"}
    assert {as_typed("", rng) for _ in range(9)} == {""}


def test_a_plan_is_told_from_its_sentence():
    assert sentence_and_plan("She runs. (red star 25)") == ("She runs.", "red star 25")
    assert sentence_and_plan("(red star 25)") == ("", "red star 25")
    assert sentence_and_plan("She (Ada) runs. (red star") == ("She (Ada) runs.", "red star")
    assert sentence_and_plan("She runs. (a star (red) left)") == ("She runs.", "a star (red) left")
    assert sentence_and_plan("She runs. (a star (red)") == ("She runs. (a star", "red")
    assert sentence_and_plan("She (Ada) runs.") == ("She (Ada) runs.", "")
    assert sentence_and_plan("") == ("", "")
