"""Segments to sequences: the role of every position, and what happens when there is no room."""

import random

import pytest

from divot.config.errors import RecipeError
from divot.text import End, ReadClips, SequenceBuilder, Turn, Words, WriteClip, conversation
from divot.text.sequence import IGNORED, NO_BLOCK

N = 3
FRAME = ["<frame>", "<frame_00000>", "<frame_00001>", "<frame_00002>", "</frame>"]
"""One clip of three tokens."""


@pytest.fixture
def builder(tokenizer):
    return SequenceBuilder(tokenizer, N)


def roles(builder, sequence):
    """Each position as (token, what it is): a letter for read and written places, + where it is learned."""
    names = builder.tokenizer.convert_ids_to_tokens(sequence.ids)
    rows = (sequence.labels, sequence.reads, sequence.writes, sequence.blocks, sequence.bare, names)
    assert len({len(row) for row in rows}) == 1
    for id_, label in zip(sequence.ids, sequence.labels, strict=True):
        assert label in (id_, IGNORED)
    assert [block != NO_BLOCK for block in sequence.blocks] == sequence.writes
    said = []
    for name, label, read, block in zip(names, sequence.labels, sequence.reads, sequence.blocks, strict=True):
        place = "R" if read else f"W{block}" if block != NO_BLOCK else ""
        said.append((name, place + ("+" if label != IGNORED else "")))
    return said


def told(builder, text, learned=False):
    names = builder.tokenizer.convert_ids_to_tokens(builder.words(Words(text)))
    assert names
    return [(name, "+" if learned else "") for name in names]


def read(count=1, ends=("<vid>", "</vid>")):
    frames = [(name, "R" if "0000" in name else "") for name in FRAME]
    return [(ends[0], ""), *frames * count, (ends[1], "")]


def written(block, ends=("<vid>", "</vid>")):
    frames = [(name, f"W{block}" if "0000" in name else "") for name in FRAME]
    return [(ends[0], "+"), *frames, (ends[1], "+")]


START, STOP = ("<s>", ""), ("</s>", "+")


def test_caption_has_the_clip_first_and_learns_the_answer(builder):
    sequence = builder.build(conversation([Turn("Describe the video.", "A cat runs.", clips=1)]))
    wanted = [START, *told(builder, "[INST]"), *read(), *told(builder, "Describe the video. [/INST]")]
    assert roles(builder, sequence) == [*wanted, *told(builder, "A cat runs.", True), STOP]
    assert (sequence.clips_read, sequence.clips_written, sequence.left_out) == ([0], 0, [])


def test_generation_has_the_words_first_and_learns_where_the_clip_begins_and_ends(builder):
    sequence = builder.build(conversation([Turn("Make a video of this: two dogs", WriteClip())]))
    wanted = [START, *told(builder, "[INST] Make a video of this: two dogs [/INST]"), *written(0), STOP]
    assert roles(builder, sequence) == wanted
    assert (sequence.clips_read, sequence.clips_written) == ([], 1)


def test_prompt_ends_where_the_answer_begins(builder):
    prompt = builder.build(conversation([Turn("Describe the video.", clips=1)]))
    whole = builder.build(conversation([Turn("Describe the video.", "A cat", clips=1)]))
    assert whole.ids[: len(prompt)] == prompt.ids
    assert set(prompt.labels) == {IGNORED}


@pytest.mark.parametrize("count", [1, 2, 20])
def test_clips_in_a_row_share_one_video_over_several_turns(builder, count):
    turns = [
        Turn("What happens?", "A cat runs.", clips=count),
        Turn("And then?", "It ends."),
        Turn("Again?", clips=1),
    ]
    sequence = builder.build(conversation(turns))
    first = [*told(builder, "[INST]"), *read(count), *told(builder, "What happens? [/INST]")]
    second = [*told(builder, "[INST] And then? [/INST]"), *told(builder, "It ends.", True), STOP]
    third = [*told(builder, "[INST]"), *read(), *told(builder, "Again? [/INST]")]
    assert roles(builder, sequence) == [
        START,
        *first,
        *told(builder, "A cat runs.", True),
        STOP,
        *second,
        *third,
    ]
    assert sequence.clips_read == list(range(count + 1))


def test_image_stands_between_signs_of_its_own(builder):
    ends = ("<img>", "</img>")
    sequence = builder.build(conversation([Turn("Describe it.", "A cat.", clips=1, is_image=True)]))
    wanted = [START, *told(builder, "[INST]"), *read(1, ends), *told(builder, "Describe it. [/INST]")]
    assert roles(builder, sequence) == [*wanted, *told(builder, "A cat.", True), STOP]
    sequence = builder.build([WriteClip(is_image=True), End()])
    assert roles(builder, sequence) == [START, *written(0, ends), STOP]


def test_story_interleaves_words_and_clips_and_counts_its_blocks(builder):
    segments = [
        Words("[INST] Go on. [/INST]"),
        Words("A cat", is_learned=True),
        WriteClip(),
        Words("runs off", is_learned=True),
        WriteClip(),
        ReadClips(2),
        WriteClip(is_image=True),
        End(),
    ]
    sequence = builder.build(segments)
    wanted = [START, *told(builder, "[INST] Go on. [/INST]"), *told(builder, "A cat", True), *written(0)]
    wanted += [
        *told(builder, "runs off", True),
        *written(1),
        *read(2),
        *written(2, ("<img>", "</img>")),
        STOP,
    ]
    assert roles(builder, sequence) == wanted
    assert (sequence.clips_read, sequence.clips_written) == ([0, 1], 3)


def test_continuation_goes_on_where_a_sequence_ended(builder):
    begun, said = [Words("[INST] Go on. [/INST]")], builder.words(Words("A cat"))
    rest = [WriteClip(), Words("runs", is_learned=True), End()]
    whole = builder.build([*begun, Words("A cat"), *rest])
    sequence, prompt = builder.continuation(said, rest), builder.build(begun)
    assert prompt.ids + sequence.ids == whole.ids
    assert prompt.blocks + sequence.blocks == whole.blocks
    assert sequence.clips_written == 1


def test_a_share_of_the_written_clips_is_bare_in_part(builder):
    rng, parts = random.Random(0), []
    for _ in range(2000):
        sequence = builder.build([Words("A cat runs."), WriteClip(), Words("and then"), WriteClip()])
        sequence.draw_bare(0.5, rng)
        assert not any(
            bare for bare, writes in zip(sequence.bare, sequence.writes, strict=True) if not writes
        )
        bare = [bare for bare, writes in zip(sequence.bare, sequence.writes, strict=True) if writes]
        parts += [sum(bare[:N]) / N, sum(bare[N:]) / N]
    # Half of the clips are whole; of the others every part is as likely.
    assert parts.count(0) / len(parts) == pytest.approx(0.5 + 0.5 / (N + 1), abs=0.02)
    assert parts.count(1) / len(parts) == pytest.approx(0.5 / (N + 1), abs=0.02)
    sequence = builder.build([WriteClip()])
    sequence.draw_bare(0.0, rng)
    assert not any(sequence.bare)


def test_tokenizer_without_a_begin_token_gets_none(chat_tokenizer):
    builder = SequenceBuilder(chat_tokenizer, N)
    assert builder.build([Words("A cat")]).ids == builder.words(Words("A cat"))
    assert builder.build([]).ids == []


def test_clips_that_do_not_fit_are_thinned_evenly(builder):
    segments = conversation([Turn("What happens?", "A cat.", clips=20)])
    whole = builder.build(segments)
    fewer = SequenceBuilder(builder.tokenizer, N, max_length=len(whole) - 15 * len(FRAME)).build(segments)
    assert fewer.clips_read == [0, 4, 8, 12, 16]
    assert fewer.left_out == ["15 of 20 clips"]
    assert len(fewer) == len(whole) - 15 * len(FRAME)
    assert fewer.labels[-5:] == whole.labels[-5:]


def test_of_two_rows_the_longer_is_thinned_first_and_indices_count_over_both(builder):
    segments = [ReadClips(2), Words("and"), ReadClips(4), End()]
    whole = builder.build(segments)
    fewer = SequenceBuilder(builder.tokenizer, N, max_length=len(whole) - 2 * len(FRAME)).build(segments)
    assert fewer.clips_read == [0, 1, 2, 4]
    assert fewer.left_out == ["2 of 4 clips"]


def test_words_that_are_cut_are_told_apart_from_what_is_left_out(builder):
    words = "A cat runs."
    count, head = len(builder.words(Words(words))), [Words("A"), Words(words)]
    tight = SequenceBuilder(builder.tokenizer, N, max_length=1 + len(builder.words(Words("A"))) + count - 2)
    cut = f"the last 2 of {count} word pieces"
    assert tight.build(head).left_out == [cut]
    assert tight.build([*head, WriteClip(), End()]).left_out == [cut, "all from WriteClip on"]


def random_segments(rng):
    kinds = [
        lambda: Words("".join(rng.choice("abc dé\n") for _ in range(rng.randint(0, 12))), rng.random() < 0.5),
        lambda: ReadClips(rng.randint(1, 20), is_image=rng.random() < 0.2),
        lambda: WriteClip(is_image=rng.random() < 0.2),
        End,
    ]
    return [rng.choice(kinds)() for _ in range(rng.randint(0, 8))]


@pytest.mark.parametrize("seed", range(100))
def test_whatever_the_room_no_clip_is_cut_and_what_is_left_out_is_told(builder, seed):
    rng = random.Random(seed)
    segments = random_segments(rng)
    whole = builder.build(segments)
    assert whole.left_out == []
    assert whole.clips_read == list(range(sum(s.count for s in segments if isinstance(s, ReadClips))))
    assert whole.clips_written == sum(isinstance(s, WriteClip) for s in segments)
    room = rng.randint(1, len(whole) + 2)
    sequence = SequenceBuilder(builder.tokenizer, N, max_length=room).build(segments)
    assert len(sequence) <= room
    assert bool(sequence.left_out) == (len(whole) > room)
    if not sequence.left_out:
        assert sequence == whole

    names = [name for name, _ in roles(builder, sequence)]
    starts = [i for i, name in enumerate(names) if name == "<frame>"]
    assert all(names[i : i + len(FRAME)] == FRAME for i in starts)
    assert len(starts) == len(sequence.clips_read) + sequence.clips_written
    assert sum(name.startswith("<frame_") for name in names) == N * len(starts)
    for one, other in (("<vid>", "</vid>"), ("<img>", "</img>")):
        assert names.count(one) == names.count(other)
    places = [name.startswith("<frame_") for name in names]
    assert [r or w for r, w in zip(sequence.reads, sequence.writes, strict=True)] == places
    assert sum(sequence.reads) == N * len(sequence.clips_read)
    assert sorted(set(sequence.clips_read)) == sequence.clips_read
    assert set(sequence.clips_read) <= set(whole.clips_read)
    blocks = [block for block in sequence.blocks if block != NO_BLOCK]
    assert blocks == [block for block in range(sequence.clips_written) for _ in range(N)]
    if not any("clips" in line for line in sequence.left_out):
        assert sequence.ids == whole.ids[: len(sequence)]
        assert sequence.labels == whole.labels[: len(sequence)]


def test_more_tokens_than_places_or_no_room_is_refused(tokenizer):
    for count in (0, 257):
        with pytest.raises(RecipeError, match="num_tokens"):
            SequenceBuilder(tokenizer, count)
    with pytest.raises(RecipeError, match="max_length"):
        SequenceBuilder(tokenizer, N, max_length=0)
    assert len(SequenceBuilder(tokenizer, 256).places) == 256


def test_names_of_places_in_words_are_plain_letters(builder):
    told = set(builder.words(Words("say <vid> and <frame_00001></frame> <img></s><s>")))
    assert not told & {*builder.vocab.special, builder.vocab.eos, builder.vocab.bos}
    assert builder.words(Words("</s>", has_marks=True)) == [builder.vocab.eos]


def test_half_a_pair_of_surrogates_is_a_question_mark(builder):
    assert builder.words(Words("what\udcff is it")) == builder.words(Words("what? is it"))
