"""What is said about a video, a picture or the clips of a story, and its forms as a line of JSON."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from divot.config.errors import DataError, VideoReadError
from divot.data.packed import PackedFile

if TYPE_CHECKING:
    from divot.video.clips import Clip

MIN_STORY_CLIPS, MAX_STORY_CLIPS = 2, 20
_SAMPLE_REMEDY = 'Write {"video": "a.mp4", "caption": "...", "questions": [["...", "..."]]}'
_TALK_REMEDY = 'Write "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]'
_TIMES_REMEDY = 'Write "start_s": 4.5, "end_s": 9.0, seconds of a video'
_OFFICIAL_REMEDY = 'Write "questions": ["...", ...], "answers": ["...", ...] of the same length'
# What stands for a video or a picture in the text of others.
_MARKS = re.compile(r"<(?:image|video)>")
_STORY_REMEDY = (
    'Write {"story": "Tell ...", "clips": [{"video": "a.mp4", "start_s": 12.0, "text": "..."}, ...]}'
)
# What begins at the very end of a part is no longer of it.
_EDGE_S = 0.0005


class NoWordsError(DataError):
    """A line of an annotations file says nothing about its files that could be learned."""


@dataclass(frozen=True)
class StoryClip:
    """Two seconds of a video with the sentence of a story that they show."""

    path: Path
    start_s: float
    text: str
    plan: str = ""
    """As of `Annotation`."""

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self.path)

    def place(self, duration_s: float) -> Clip:
        """The clip in its video, which lasts `duration_s`.

        Raises:
            VideoReadError: if the video ends before the clip begins.
        """
        from divot.video.clips import CLIP_DURATION_S, Clip

        if self.start_s >= duration_s:
            cause = (
                f"a clip of a story is to begin at {self.start_s:g} s, the video ends at {duration_s:.2f} s"
            )
            raise VideoReadError(self.path, cause, "Correct start_s")
        return Clip(0, self.start_s, min(CLIP_DURATION_S, duration_s - self.start_s))


@dataclass(frozen=True)
class Annotation:
    """A sample of an annotations file."""

    path: Path
    """Of a story, the file of its first clip."""
    captions: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    is_image: bool = False
    instruction: str = ""
    """What the story is asked for with; empty if it is none."""
    story: tuple[StoryClip, ...] = ()
    """The clips of a story in order; captions and questions are then empty."""
    is_conversation: bool = False
    """Whether the questions follow from each other, and are asked in their order from the first on."""
    start_s: float = 0.0
    """Where the part of the video begins that is told about."""
    end_s: float | None = None
    """Where it ends; None is the end of the video."""
    packed: PackedFile | None = None
    """Of a file in the tar file `path`, its place there."""
    plan: str = ""
    """What a clip is to be drawn from, said before it is written by a model that plans its clips."""

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self.path) if self.packed is None else f"{self.packed.tar or self.path}:{self.packed.name}"

    def place(self, duration_s: float) -> Clip:
        """What is told about of a video which lasts `duration_s`: of any length, not only that of a clip.

        Raises:
            VideoReadError: if the video ends before that begins.
        """
        from divot.video.clips import Clip

        if self.start_s >= duration_s:
            cause = f"what is told begins at {self.start_s:g} s, the video ends at {duration_s:.2f} s"
            raise VideoReadError(self.name, cause, "Correct the times, or get the whole video")
        if self.end_s is None or self.end_s >= duration_s:
            return Clip(0, self.start_s, duration_s - self.start_s)
        return Clip(0, self.start_s, max(_EDGE_S, self.end_s - _EDGE_S - self.start_s))


def parse_annotation(line: str, where: str, root: Path) -> Annotation:
    """One line of JSON.

    Args:
        line: JSON.
        where: names the line in errors.
        root: folder of the paths.

    Raises:
        NoWordsError: if it names its files but says nothing about one of them.
        DataError: if it is of another form.
    """
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(where, "is not JSON", "Write one JSON object a line") from error
    if not isinstance(values, dict):
        raise DataError(where, "is no JSON object", _SAMPLE_REMEDY)
    return _parse_story(values, where, root) if "story" in values else parse_sample(values, where, root)


def parse_sample(values: dict[str, Any], where: str, root: Path) -> Annotation:
    """What stands in one line about a video or a picture; arguments and errors as of `parse_annotation`."""
    if ("video" in values) == ("image" in values):
        raise DataError(where, "names neither a video nor an image, or both", _SAMPLE_REMEDY)
    name = values.get("video", values.get("image"))
    if not isinstance(name, str):
        raise DataError(where, "names no file", _SAMPLE_REMEDY)
    told = values.get("caption", [])
    captions = [told] if isinstance(told, str) else told
    if not isinstance(captions, list) or not all(map(_is_text, captions)):
        raise NoWordsError(where, "has a caption without words", _SAMPLE_REMEDY)
    asked, is_conversation = _questions(values, where)
    if not captions and not asked:
        raise NoWordsError(where, "has neither a caption nor questions", _SAMPLE_REMEDY)
    start_s, end_s = _times(values, where)
    plan = _plan(values, where)
    return Annotation(
        root / name,
        tuple(captions),
        asked,
        "image" in values,
        is_conversation=is_conversation,
        start_s=start_s,
        end_s=end_s,
        plan=plan,
    )


def _plan(values: dict[str, Any], where: str) -> str:
    plan = values.get("plan", "")
    if not isinstance(plan, str):
        raise DataError(where, "has a plan that is no text", 'Write "plan": "..."')
    return plan.strip()


def _times(values: dict[str, Any], where: str) -> tuple[float, float | None]:
    """`start_s` and `end_s`."""
    start_s, end_s = values.get("start_s", 0.0), values.get("end_s")
    if "image" in values and {"start_s", "end_s"} & values.keys():
        raise DataError(where, "has times, but a picture has none", _TIMES_REMEDY)
    if not isinstance(start_s, (int, float)) or not 0 <= start_s < math.inf:
        raise DataError(where, f"has start_s {start_s!r}, which is no time", _TIMES_REMEDY)
    if end_s is not None and (not isinstance(end_s, (int, float)) or not start_s < end_s < math.inf):
        raise DataError(where, f"has end_s {end_s!r}, which is not after {start_s:g}", _TIMES_REMEDY)
    return float(start_s), None if end_s is None else float(end_s)


def _questions(values: dict[str, Any], where: str) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Pairs of question and answer, in whichever way the line has them; whether they follow from each other."""
    ways = [way for way in ("questions", "question", "conversations") if way in values]
    if len(ways) > 1:
        raise DataError(where, f"has both {ways[0]} and {ways[1]}", "Give one of them")
    asked: Any = values.get("questions", [])
    is_official = "answers" in values or (not ways and "image" in values and "data" in values)
    if "conversations" in values:
        asked = _conversation(values["conversations"], where)
    elif is_official:
        asked = _official_turns(values, where)
    elif "question" in values or "answer" in values:
        asked = [_without_marks([values.get("question"), values.get("answer")])]
    if not isinstance(asked, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair)) for pair in asked
    ):
        raise NoWordsError(where, "has a question or an answer without words", _SAMPLE_REMEDY)
    return tuple((question, answer) for question, answer in asked), is_official or "conversations" in values


def _conversation(turns: Any, where: str) -> list[list[str]]:
    """Questions and answers of `conversations`, without the marks that stand for the video."""
    said = []
    for number, turn in enumerate(turns if isinstance(turns, list) else [], start=1):
        speaker = "gpt" if number % 2 == 0 else "human"
        if (
            not isinstance(turn, dict)
            or turn.get("from") != speaker
            or not isinstance(turn.get("value"), str)
        ):
            raise DataError(where, f"turn {number} of the conversation is not of {speaker!r}", _TALK_REMEDY)
        said.append(_MARKS.sub("", turn["value"]).strip())
    if not said or len(said) % 2:
        raise DataError(where, "has a conversation that does not end with an answer", _TALK_REMEDY)
    return [said[number : number + 2] for number in range(0, len(said), 2)]


def _official_turns(values: dict[str, Any], where: str) -> list[list[Any]]:
    """Turns as the official training reads them: questions and answers in two lists, or of a picture in turn in `data`.

    Source: TencentARC/Divot at 675afcc, src/data/control_video.py.
    """
    asked, answers = values.get("questions"), values.get("answers")
    if answers is None and isinstance(values.get("data"), list):
        asked, answers = values["data"][::2], values["data"][1::2]
    if not isinstance(asked, list) or not isinstance(answers, list) or len(asked) != len(answers):
        raise DataError(where, "has not as many answers as questions", _OFFICIAL_REMEDY)
    return [_without_marks(list(pair)) for pair in zip(asked, answers, strict=True)]


def _without_marks(pair: list[Any]) -> list[Any]:
    return [_MARKS.sub("", text).strip() if isinstance(text, str) else text for text in pair]


def annotation_values(annotation: Annotation, root: Path) -> dict[str, Any]:
    """What is said about a video or a picture, for a line that `parse_annotation` reads.

    Args:
        annotation: not of a story.
        root: paths in this folder are told from here.
    """
    path = annotation.path if annotation.packed is None else annotation.path / annotation.packed.name
    told_path = path.relative_to(root) if path.is_relative_to(root) else path
    values: dict[str, Any] = {"image" if annotation.is_image else "video": told_path.as_posix()}
    if annotation.start_s:
        values["start_s"] = annotation.start_s
    if annotation.end_s is not None:
        values["end_s"] = annotation.end_s
    if annotation.captions:
        values["caption"] = annotation.captions
    if annotation.plan:
        values["plan"] = annotation.plan
    if annotation.is_conversation:
        values["conversations"] = [
            {"from": speaker, "value": text}
            for pair in annotation.questions
            for speaker, text in zip(("human", "gpt"), pair, strict=True)
        ]
    elif annotation.questions:
        values["questions"] = annotation.questions
    return values


def _parse_story(values: dict[str, Any], where: str, root: Path) -> Annotation:
    if "video" in values or "image" in values:
        raise DataError(where, "is a story and names a video or an image beside its clips", _STORY_REMEDY)
    told = values.get("clips")
    if not isinstance(told, list) or not MIN_STORY_CLIPS <= len(told) <= MAX_STORY_CLIPS:
        wanted = f"{MIN_STORY_CLIPS} to {MAX_STORY_CLIPS}"
        raise DataError(where, f"is a story without a list of {wanted} clips", _STORY_REMEDY)
    clips = []
    for number, part in enumerate(told, start=1):
        name, start_s, text = (
            part.get(key) if isinstance(part, dict) else None for key in ("video", "start_s", "text")
        )
        if not isinstance(name, str):
            raise DataError(where, f"clip {number} of the story names no video", _STORY_REMEDY)
        if not isinstance(start_s, (int, float)) or not 0 <= start_s < math.inf:
            raise DataError(where, f"clip {number} of the story has no start_s of 0 or more", _STORY_REMEDY)
        if not _is_text(text):
            raise NoWordsError(where, f"clip {number} of the story has no text", _STORY_REMEDY)
        plan = _plan(part, f"{where}, clip {number} of the story")
        clips.append(StoryClip(root / name, float(start_s), str(text), plan))
    if not _is_text(values["story"]):
        raise NoWordsError(where, "does not say what the story is asked for with", _STORY_REMEDY)
    return Annotation(clips[0].path, instruction=values["story"], story=tuple(clips))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
