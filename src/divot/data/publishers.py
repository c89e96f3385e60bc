"""How publishers write what they say about videos and pictures: their rows to the lines of an annotations file.

Each function takes a row and gives the values of such lines (docs/data.md); docs/datasets.md has the sources of the
names of the fields.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlparse

from divot.config.errors import DataError
from divot.data.annotation_files import Found
from divot.data.annotations import Annotation, NoWordsError, parse_sample
from divot.data.packed import PackedFile, list_packed, packed_content
from divot.data.rows import ELSEWHERE, Row, json_rows, read_json, table_rows
from divot.video.folders import PICTURE_SUFFIXES, VIDEO_SUFFIXES, list_samples

Values = dict[str, Any]
ACTION_QUESTION = "What action does the video show?"
# Of videos from the web the publisher names the video, not the kind of file it came as.
_WEB_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
# Programs that fetch pictures from lists of addresses write stills as webp too.
_PICTURES = PICTURE_SUFFIXES | {".webp"}


def choice(question: str, options: list[str], right: list[int]) -> list[str]:
    """A question with lettered options, worded as in Sprite World, and its answer: the letters of the right ones.

    Args:
        question: without the options.
        options: in order, A first.
        right: numbers of the right options, from 0; none gives the answer `none`.

    Raises:
        IndexError: if an option is not there.
    """
    letters = string.ascii_uppercase
    listed = " ".join(
        f"{letter}: {text.rstrip(' .')}." for letter, text in zip(letters, options, strict=False)
    )
    answer = ", ".join(letters[: len(options)][number] for number in right)
    return [f"{question} {listed}", answer or "none"]


def _chosen(row: Row, question: str, options: list[str], right: float) -> list[str]:
    if right not in range(len(options)):
        cause = f"has answer {right:g} of {len(options)} options, counted from 0"
        raise DataError(row.where, cause, ELSEWHERE)
    return choice(question, options, [int(right)])


def _web_video(row: Row, *stems: str) -> str:
    """The first file that is there, of some names without their endings; if there is none, the first with .mp4."""
    for stem in stems:
        for suffix in _WEB_SUFFIXES:
            if (row.root / f"{stem}{suffix}").is_file():
                return f"{stem}{suffix}"
    return f"{stems[0]}.mp4"


def webvid(row: Row) -> Iterator[Values]:
    """A caption."""
    yield {"video": f"{row.text('page_dir')}/{row.text('videoid')}.mp4", "caption": row.text("name")}


def panda70m(row: Row) -> Iterator[Values | DataError]:
    """A caption for each clip of a video, which is named by its YouTube id."""
    name = parse_qs(urlparse(row.text("url")).query).get("v")
    if not name:
        raise row.unusable("url", "the address of a YouTube video")
    times, captions = row.items("timestamp"), row.items("caption")
    if len(times) != len(captions):
        raise DataError(row.where, f"has {len(times)} clips and {len(captions)} captions", ELSEWHERE)
    for span, caption in zip(times, captions, strict=True):
        try:
            start_s, end_s = map(_seconds, span)
        except (TypeError, ValueError):
            yield row.unusable("timestamp", "pairs of times as 0:01:02.345")
        else:
            yield {"video": f"{name[0]}.mp4", "caption": caption, "start_s": start_s, "end_s": end_s}


def _seconds(time: Any) -> float:
    hours, minutes, seconds = str(time).split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def kinetics(row: Row) -> Iterator[Values]:
    """The action of a clip that was cut out of its video."""
    start, end = (int(row.number_in(field)) for field in ("time_start", "time_end"))
    video = f"{row.text('youtube_id')}_{start:06d}_{end:06d}.mp4"
    yield {"video": video, "question": ACTION_QUESTION, "answer": row.text("label")}


def ssv2(row: Row) -> Iterator[Values]:
    """The action, in which things are `something`."""
    action = row.text("template").replace("[", "").replace("]", "")
    yield {"video": f"{row.text('id')}.webm", "question": ACTION_QUESTION, "answer": action}


def tgif(row: Row) -> Iterator[Values]:
    """A caption."""
    yield {"video": PurePosixPath(urlparse(row.text("url")).path).name, "caption": row.text("sentence")}


def tgif_qa(row: Row) -> Iterator[Values]:
    """A question, with five options in the files about actions and transitions."""
    yield {"video": f"{row.text('gif_name')}.gif", "questions": [_asked(row, "a1", "a2", "a3", "a4", "a5")]}


def nextqa(row: Row) -> Iterator[Values]:
    """A question, with five options in the files for choosing."""
    yield {"video": f"{row.text('path')}.mp4", "questions": [_asked(row, "a0", "a1", "a2", "a3", "a4")]}


def _asked(row: Row, *columns: str) -> list[str]:
    """Question and answer; where the columns of options are there, `answer` is the number of the right one, from 0."""
    if columns[0] not in row.values:
        return [row.text("question"), row.text("answer")]
    return _chosen(
        row, row.text("question"), [row.text(column) for column in columns], row.number_in("answer")
    )


def clevrer(row: Row) -> Iterator[Values]:
    """Questions; of those with options several may be right."""
    name, first = row.text("video_filename"), int(row.number_in("scene_index")) // 1000 * 1000
    pairs = []
    for asked in row.rows("questions"):
        question = asked.text("question")
        if "choices" in asked.values:
            options = asked.rows("choices")
            right = [number for number, option in enumerate(options) if option.text("answer") == "correct"]
            pairs.append(choice(question, [option.text("choice") for option in options], right))
        else:
            pairs.append([question, asked.text("answer")])
    folder = "" if (row.root / name).is_file() else f"video_{first:05d}-{first + 1000:05d}/"
    yield {"video": f"{folder}{name}", "questions": pairs}


def youcook2(row: Row) -> Iterator[Values | DataError]:
    """A caption for each step of a recipe."""
    video = _web_video(row, f"{row.text('subset')}/{row.text('recipe_type')}/{row.key}")
    for step in row.rows("annotations"):
        try:
            segment, sentence = step.items("segment"), step.text("sentence")
            if len(segment) != 2:
                raise step.unusable("segment", "a beginning and an end")
        except DataError as error:
            yield error
        else:
            yield {"video": video, "caption": sentence, "start_s": segment[0], "end_s": segment[1]}


def perception_test(row: Row) -> Iterator[Values]:
    """Questions with three options."""
    pairs = [
        _chosen(
            asked,
            asked.text("question"),
            [str(text) for text in asked.items("options")],
            asked.number_in("answer_id"),
        )
        for asked in row.rows("mc_question")
    ]
    yield {"video": f"{row.key}.mp4", "questions": pairs}


def activitynet_qa(row: Row) -> Iterator[Values]:
    """A question."""
    name = row.text("video_name")
    video = _web_video(row, f"v_{name}", name)
    yield {"video": video, "question": row.text("question"), "answer": row.text("answer")}


def video_chatgpt(row: Row) -> Iterator[Values]:
    """A question."""
    yield {"video": _web_video(row, row.text("video_id")), "question": row.text("q"), "answer": row.text("a")}


def llava(row: Row) -> Iterator[Values]:
    """A conversation about one video or picture."""
    kind = _kind(row)
    yield {kind: row.text(kind), "conversations": row.value("conversations")}


def valley(row: Row) -> Iterator[Values]:
    """A conversation; videos are in a folder for each source."""
    kind = _kind(row)
    name = row.text(kind)
    if kind == "video":
        source = row.text("source") if "source" in row.values else "webvid"
        name = f"{source}/{name}" if ".mp4" in name else f"{source}/{name}.mp4"
    yield {kind: name, "conversations": row.value("conversations")}


def videochat2(row: Row) -> Iterator[Values]:
    """Questions and captions: what has no question of its own answers the instruction, or is a caption."""
    kind = _kind(row)
    values: Values = {kind: row.text(kind)}
    captions, pairs = [], []
    for said in row.rows("QA"):
        question = str(said.value("q")).strip() or str(said.values.get("i", "")).strip()
        if question:
            pairs.append([question, said.text("a")])
        else:
            captions.append(said.text("a"))
    if "start" in row.values and "end" in row.values:
        values |= {"start_s": row.number_in("start"), "end_s": row.number_in("end")}
    yield values | ({"caption": captions} if captions else {}) | ({"questions": pairs} if pairs else {})


def _kind(row: Row) -> str:
    """Whether a row is about a `video` or an `image`."""
    kinds = [kind for kind in ("video", "image") if isinstance(row.values.get(kind), str)]
    if len(kinds) != 1:
        raise DataError(row.where, "is about neither one video nor one picture", "Leave it out")
    return kinds[0]


def nextqa_rows(file: Path, root: Path) -> Iterator[Row]:
    """Rows with a `path`: that of the map to VidOR's folders, if it is beside the file, or the name of the video."""
    beside = file.parent / "map_vid_vidorID.json"
    paths = read_json(beside) if beside.is_file() else {}
    for row in table_rows(file, root):
        video = str(row.value("video"))
        yield Row({**row.values, "path": paths.get(video, video)}, row.where, row.number, root)


def activitynet_qa_rows(file: Path, root: Path) -> Iterator[Row]:
    """The questions of *_q.json with the answers of *_a.json beside it.

    Raises:
        DataError: if either cannot be read.
    """
    if not file.stem.endswith("_q"):
        raise DataError(file, "is not named *_q.json", "Give the file of the questions")
    answers = {row.text("question_id"): row for row in json_rows(file.with_stem(f"{file.stem[:-2]}_a"), root)}
    for row in json_rows(file, root):
        answer = answers.get(row.text("question_id"))
        yield row if answer is None else Row({**answer.values, **row.values}, row.where, row.number, root)


def by_row(
    rows: Callable[[Path, Path], Iterator[Row]], read: Callable[[Row], Iterator[Values | DataError]]
) -> Callable[[Path, Path], Iterator[Found]]:
    """The samples of a file of rows, or what is wrong with a row, or with one clip of it."""

    def lines(file: Path, root: Path) -> Iterator[Found]:
        for row in rows(file, root):
            try:
                for found in read(row):
                    yield row.number, found if isinstance(found, DataError) else _parsed(found, row)
            except DataError as error:
                yield row.number, error

    return lines


def _parsed(values: Values, row: Row) -> Annotation | DataError:
    try:
        return parse_sample(values, row.where, row.root)
    except DataError as error:
        return error


def captioned_files(folder: Path, root: Path) -> Iterator[Found]:
    """Videos and pictures with their captions, NAME.jpg and NAME.txt, in the tar files of a folder, or in itself.

    Raises:
        DataError: if there are none.
    """
    del root  # The files are where their captions are.
    if not folder.is_dir():
        raise DataError(
            folder, "is no folder", "Give the folder of the tar files, or of the files themselves"
        )
    number = 0
    for tar_file in sorted(folder.rglob("*.tar")):
        try:
            members = list_packed(tar_file)
        except DataError as error:
            number += 1
            yield number, error
            continue
        captions = {
            PurePosixPath(one.name).with_suffix(""): one for one in members if one.name.endswith(".txt")
        }
        for one in members:
            name = PurePosixPath(one.name)
            if name.suffix.lower() in _PICTURES | VIDEO_SUFFIXES:
                number += 1
                yield number, _captioned(tar_file, one, captions.get(name.with_suffix("")))
    if number:
        return
    for path in list_samples(folder):
        number += 1
        yield number, _captioned(path, None, None)


def _captioned(path: Path, packed: PackedFile | None, caption: PackedFile | None) -> Annotation | DataError:
    name = str(path) if packed is None else f"{path}:{packed.name}"
    try:
        if packed is None:
            text = path.with_suffix(".txt").read_text(encoding="utf-8")
        else:
            text = "" if caption is None else packed_content(path, caption).decode()
    except (OSError, UnicodeDecodeError, DataError) as error:
        return NoWordsError(name, f"has no caption that can be read ({error})", "Put NAME.txt beside it")
    if not text.strip():
        return NoWordsError(name, "has no caption", "Put NAME.txt beside it")
    suffix = Path(name).suffix.lower()
    return Annotation(path, (text.strip(),), is_image=suffix in _PICTURES, packed=packed)
