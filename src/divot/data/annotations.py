"""What is said about videos and pictures, as it stands in files: JSON lines of several forms, or a table (CSV)."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from divot.config.errors import DataError, VideoReadError

if TYPE_CHECKING:
    from divot.video.clips import Clip

MIN_STORY_CLIPS, MAX_STORY_CLIPS = 2, 20
_SAMPLE_REMEDY = 'Write {"video": "a.mp4", "caption": "...", "questions": [["...", "..."]]}'
_TALK_REMEDY = 'Write "conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]'
_TABLE_REMEDY = "Give a table with the columns video or image, and caption or question and answer"
# What stands for a video or a picture in the text of others.
_MARKS = re.compile(r"<(?:image|video)>")
_STORY_REMEDY = (
    'Write {"story": "Tell ...", "clips": [{"video": "a.mp4", "start_s": 12.0, "text": "..."}, ...]}'
)


class NoWordsError(DataError):
    """A line of an annotations file says nothing about its files that could be learned."""


@dataclass(frozen=True)
class StoryClip:
    """Two seconds of a video with the sentence of a story that they show."""

    path: Path
    start_s: float
    text: str

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


def read_annotations(file: str | Path, root: str | Path | None) -> list[Annotation]:
    """The samples of an annotations file; docs/data.md has every form of line.

    Args:
        file: a table if its name ends in .csv, else a line of JSON for each sample.
        root: folder of the paths; None takes the one of the file.

    Raises:
        DataError: if the file cannot be read, or a line is not of a known form; names the line.
    """
    annotations = []
    for _, annotation in annotation_lines(Path(file), root):
        if isinstance(annotation, DataError):
            raise annotation
        annotations.append(annotation)
    return annotations


def annotation_lines(file: Path, root: str | Path | None) -> list[tuple[int, Annotation | DataError]]:
    """The samples of an annotations file, or in its place the error of a line; each with its line, from 1.

    Rows of a table about the same file are one sample, in the place of the first of them.

    Raises:
        DataError: if the file cannot be read, or holds no sample.
    """
    try:
        # A table from a spreadsheet may begin with a mark of its encoding.
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, f"cannot be read ({error})", "Give a jsonl or csv file") from error
    root = file.parent if root is None else Path(root)
    is_table = file.suffix.lower() == ".csv"
    found = _table_rows(file, text, root) if is_table else _json_lines(file, text, root)
    if not found:
        raise DataError(file, "holds no annotation", "Give a line for each video")
    return found


def _json_lines(file: Path, text: str, root: Path) -> list[tuple[int, Annotation | DataError]]:
    found: list[tuple[int, Annotation | DataError]] = []
    # Not `splitlines`: JSON may hold other ends of lines inside its words.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append((number, parse_annotation(line, f"{file}:{number}", root)))
            except DataError as error:
                found.append((number, error))
    return found


def _table_rows(file: Path, text: str, root: Path) -> list[tuple[int, Annotation | DataError]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    found: dict[Any, tuple[int, Annotation | DataError]] = {}
    try:
        columns = set(rows.fieldnames or ())
        if not columns & {"video", "image"} or not columns & {"caption", "question"}:
            raise DataError(f"{file}:1", "is not the header of such a table", _TABLE_REMEDY)
        for row in rows:
            line, where = rows.line_num, f"{file}:{rows.line_num}"
            try:
                if None in row:
                    raise DataError(where, "has more columns than the header", _TABLE_REMEDY)
                one = _parse_sample({key: value for key, value in row.items() if value}, where, root)
            except DataError as error:
                found[line] = (line, error)
                continue
            line, before = found.get(
                (one.path, one.is_image), (line, replace(one, captions=(), questions=()))
            )
            assert isinstance(before, Annotation)
            # The caption may stand beside each question.
            captions = tuple(dict.fromkeys(before.captions + one.captions))
            merged = replace(before, captions=captions, questions=before.questions + one.questions)
            found[one.path, one.is_image] = (line, merged)
    except csv.Error as error:
        where = f"{file}:{rows.reader.line_num}"
        raise DataError(where, f"is no row of a table ({error})", _TABLE_REMEDY) from error
    return list(found.values())


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
    return _parse_story(values, where, root) if "story" in values else _parse_sample(values, where, root)


def _parse_sample(values: dict[str, Any], where: str, root: Path) -> Annotation:
    if ("video" in values) == ("image" in values):
        raise DataError(where, "names neither a video nor an image, or both", _SAMPLE_REMEDY)
    name = values.get("video", values.get("image"))
    if not isinstance(name, str):
        raise DataError(where, "names no file", _SAMPLE_REMEDY)
    told = values.get("caption", [])
    captions = [told] if isinstance(told, str) else told
    if not isinstance(captions, list) or not all(map(_is_text, captions)):
        raise NoWordsError(where, "has a caption without words", _SAMPLE_REMEDY)
    asked = _questions(values, where)
    if not captions and not asked:
        raise NoWordsError(where, "has neither a caption nor questions", _SAMPLE_REMEDY)
    return Annotation(
        root / name, tuple(captions), asked, "image" in values, is_conversation="conversations" in values
    )


def _questions(values: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    """Pairs of question and answer, in whichever way the line has them."""
    ways = [way for way in ("questions", "question", "conversations") if way in values]
    if len(ways) > 1:
        raise DataError(where, f"has both {ways[0]} and {ways[1]}", "Give one of them")
    asked: Any = values.get("questions", [])
    if "conversations" in values:
        asked = _conversation(values["conversations"], where)
    elif "question" in values or "answer" in values:
        asked = [[values.get("question"), values.get("answer")]]
    if not isinstance(asked, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair)) for pair in asked
    ):
        raise NoWordsError(where, "has a question or an answer without words", _SAMPLE_REMEDY)
    return tuple((question, answer) for question, answer in asked)


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


def annotation_values(annotation: Annotation, root: Path) -> dict[str, Any]:
    """What is said about a video or a picture, for a line that `parse_annotation` reads.

    Args:
        annotation: not of a story.
        root: paths in this folder are told from here.
    """
    path = annotation.path
    told_path = path.relative_to(root) if path.is_relative_to(root) else path
    values: dict[str, Any] = {"image" if annotation.is_image else "video": told_path.as_posix()}
    if annotation.captions:
        values["caption"] = annotation.captions
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
        clips.append(StoryClip(root / name, float(start_s), str(text)))
    if not _is_text(values["story"]):
        raise NoWordsError(where, "does not say what the story is asked for with", _STORY_REMEDY)
    return Annotation(clips[0].path, instruction=values["story"], story=tuple(clips))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
