"""How requests are put to the model: the instruction template, and the wordings of what is asked for.

Our own template is `[INST] <instruction> [/INST] <answer>`;
the tokenizer's own chat template can take its place, so that other chat models hear what they were trained on.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from divot.config.errors import CheckpointError
from divot.text.sequence import End, ReadClips, Segment, Words, WriteClip
from divot.text.vocab import plain_letters, special_names

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Each piece is tokenised by itself: a space at its end would become a piece of its own.
INSTRUCTION_START, INSTRUCTION_END = "[INST]", "[/INST]"
_MARK = "\ue000"
"""Stands for a clip while a chat template is applied; a private character that no text holds."""

VIDEO_REQUESTS: tuple[str, ...] = (
    "Make a video of this: {caption}",
    "Generate a video: {caption}",
    "Show me a clip in which you can see: {caption}",
    "Turn these words into a moving picture. {caption}",
    "I would like a short video. {caption}",
    "Create a clip for this description: {caption}",
    "Film this for me: {caption}",
    "What would this look like as a video? {caption}",
)
IMAGE_REQUESTS: tuple[str, ...] = (
    "Make a picture of this: {caption}",
    "Generate an image: {caption}",
    "Draw this: {caption}",
    "I would like a still picture. {caption}",
    "Create an image for this description: {caption}",
    "Show me a single frame with: {caption}",
    "Paint what these words say. {caption}",
    "What would this look like as a photo? {caption}",
)
CAPTION_REQUESTS: tuple[str, ...] = (
    "Describe the video.",
    "What happens in this clip?",
    "Tell me what you see in the video.",
    "Write a caption for this clip.",
    "Say in a sentence what the video shows.",
)
IMAGE_CAPTION_REQUESTS: tuple[str, ...] = (
    "Describe the picture.",
    "Tell me what you see in this image.",
    "Write a caption for the picture.",
    "Say in a sentence what the image shows.",
)

OFFICIAL_VIDEO_REQUEST = "Generate a video of {caption}"
OFFICIAL_IMAGE_REQUEST = "Generate an image of {caption}"
"""What the released models are asked for clips with. Source: TencentARC/Divot at 675afcc, eval_Divot_video_gen.py."""

STORY_FROM_CLIP = "Let the story begin with this clip. {instruction}"


@dataclass(frozen=True)
class Turn:
    """One request and its answer.

    Attributes:
        request: words of the user.
        answer: what the model says, or shows; of a story its sentences, each with a clip that shows it; None where it
            is still to come (the last turn of a prompt).
        clips: clips that the user shows before the words.
        is_image: what is shown or wanted is an image.
        plans: of each clip in the answer, the words by which the model settles, before it writes the clip, what is to
            be in it; empty for a clip without a plan, none where no clip has one.
    """

    request: str
    answer: str | WriteClip | tuple[str, ...] | None = None
    clips: int = 0
    is_image: bool = False
    plans: tuple[str, ...] = ()


def conversation(
    turns: Many[Turn], chat_tokenizer: PreTrainedTokenizerBase | None = None, is_official: bool = False
) -> list[Segment]:
    """Segments of a conversation; answers are learned.

    Args:
        turns: in order.
        chat_tokenizer: takes its chat template instead of [INST] ... [/INST].
        is_official: with the spaces and line breaks of the released models, and an end after the last answer alone.
            Source: TencentARC/Divot at 675afcc, src/data/control_video.py and the scripts in src/tools.

    Raises:
        CheckpointError: if its chat template cannot be taken apart turn by turn.
    """
    if chat_tokenizer is not None:
        return _with_chat_template(turns, chat_tokenizer)
    return _bracketed(turns, is_official)


def _bracketed(turns: Many[Turn], is_official: bool) -> list[Segment]:
    line = "\n" if is_official else ""
    segments: list[Segment] = []
    for number, turn in enumerate(turns):
        start, asked = (
            f"{line if number else ''}{INSTRUCTION_START}",
            f"{turn.request} {INSTRUCTION_END}{line}",
        )
        if turn.clips:
            # The official scripts make pieces of a request as one text, with the space before its clips.
            before = f"{start} " if is_official else start
            segments += [Words(before), ReadClips(turn.clips, turn.is_image), Words(asked)]
        else:
            segments.append(Words(f"{start} {asked}"))
        is_last = number == len(turns) - 1
        segments += [one for one in _answer(turn) if is_last or not is_official or not isinstance(one, End)]
    return segments


def _answer(turn: Turn) -> list[Segment]:
    if turn.answer is None:
        return []
    if isinstance(turn.answer, WriteClip):
        return [*(_said(planned(plan)) for plan in turn.plans if plan), turn.answer, End()]
    if isinstance(turn.answer, str):
        return [_said(turn.answer), End()]
    plans = turn.plans or ("",) * len(turn.answer)
    told = zip(turn.answer, plans, strict=True)
    return [*(part for sentence, plan in told for part in story_segments(sentence, plan)), End()]


def _said(text: str) -> Words:
    return Words(text, is_learned=True)


def planned(plan: str) -> str:
    """A plan as it is said before its clip; `sentence_and_plan` undoes it."""
    return f"({plan})"


def opens_plan(piece: str) -> bool:
    """Whether a plan begins with this piece of what is said before a clip; where clips are planned, the sentences of a
    story have no parentheses of their own."""
    return piece.lstrip().startswith("(")


def sentence_and_plan(said: str) -> tuple[str, str]:
    """What was said before a clip, its plan apart: what the parentheses at its end hold. Either may be empty."""
    depth, is_whole = 0, said.endswith(")")
    for place in reversed(range(len(said))):
        depth += {")": 1, "(": -1}.get(said[place], 0)
        if is_whole and depth == 0:
            return said[:place].strip(), said[place + 1 : -1].strip()
        if depth < 0:
            # It was cut off before its end.
            return said[:place].strip(), said[place + 1 :].strip()
    return said, ""


def story_segments(sentence: str, plan: str = "") -> list[Segment]:
    """A sentence of a story, the plan of its clip if there is one, and the clip: written, then read back, so that what
    follows knows it."""
    return [_said(sentence), *([_said(planned(plan))] if plan else []), WriteClip(), ReadClips()]


def _with_chat_template(turns: Many[Turn], tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
    segments: list[Segment] = []
    messages: list[dict[str, str]] = []
    names = special_names(tokenizer)
    told = ""
    for turn in turns:
        asked = plain_letters(turn.request, names)
        messages.append({"role": "user", "content": f"{_MARK if turn.clips else ''}{asked}"})
        prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        segments += _marked(_after(prompt, told, tokenizer), turn)
        told = prompt
        if turn.answer is None:
            break
        # Templates strip what is said, and may set a space before it.
        said = turn.answer.strip() if isinstance(turn.answer, str) else _MARK
        messages.append({"role": "assistant", "content": said})
        answered = str(tokenizer.apply_chat_template(messages, tokenize=False))
        rest = _after(answered, prompt, tokenizer)
        space = rest[: len(rest) - len(rest.lstrip())]
        # What else a template sets before the last answer, as some do thoughts, is not there in the turns before.
        answer = space + said if rest.startswith(space + said) else said
        segments += _answer(replace(turn, answer=answer) if isinstance(turn.answer, str) else turn)
        told = f"{prompt}{answer}{tokenizer.eos_token}"
    return segments


def _after(prompt: str, told: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """What a template adds to the conversation told so far, without the begin token, which the builder adds."""
    if not prompt.startswith(told):
        cause = "has a chat template that does not go on after an answer and its end token"
        remedy = "Train with language.uses_chat_template=false, for [INST] ... [/INST]"
        raise CheckpointError(tokenizer.name_or_path or "tokenizer", cause, remedy)
    rest = prompt[len(told) :]
    return rest if told else rest.removeprefix(tokenizer.bos_token or "")


def _marked(text: str, turn: Turn) -> list[Segment]:
    before, mark, after = text.partition(_MARK)
    if not mark:
        return [Words(text, has_marks=True)]
    clips = ReadClips(turn.clips, turn.is_image)
    return [Words(before, has_marks=True), clips, Words(after, has_marks=True)]


def video_request(
    caption: str, rng: random.Random | None = None, is_image: bool = False, is_official: bool = False
) -> str:
    """A request for a clip (or an image) that shows what the caption says; rng chooses the wording, None the first,
    which may be that of the released models."""
    wordings = IMAGE_REQUESTS if is_image else VIDEO_REQUESTS
    if is_official:
        wordings = (OFFICIAL_IMAGE_REQUEST if is_image else OFFICIAL_VIDEO_REQUEST, *wordings)
    return (wordings[0] if rng is None else rng.choice(wordings)).format(caption=caption)


def caption_request(rng: random.Random | None = None, is_image: bool = False) -> str:
    """A request for a caption; rng chooses the wording, None the first."""
    wordings = IMAGE_CAPTION_REQUESTS if is_image else CAPTION_REQUESTS
    return wordings[0] if rng is None else rng.choice(wordings)


def as_typed(words: str, rng: random.Random) -> str:
    """The words as people type them in haste: without the capital they begin with, the mark they end with, or both."""
    way = rng.randrange(3)
    words = words if way == 0 else words[:1].lower() + words[1:]
    return words if way == 1 else words.rstrip(".?!")


def plain_answer(text: str) -> str:
    """What the model said, with single spaces; its lines stay."""
    return re.sub(r"[^\S\n]+", " ", text).strip()
