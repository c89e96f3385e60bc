"""Files of annotations: JSON lines, or a table (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from divot.config.errors import DataError
from divot.data.annotations import Annotation, parse_annotation, parse_sample

_COLUMNS = {"video", "image", "caption", "question", "answer", "plan", "start_s", "end_s"}
_TABLE_REMEDY = "Give a table with the columns video or image, and caption or question and answer"

Found = tuple[int, Annotation | DataError]
"""A line of an annotations file, from 1, and its sample, or in its place what is wrong with it."""


def file_lines(file: Path, root: Path) -> list[Found]:
    """The samples of an annotations file; docs/data.md has every form of line.

    Rows of a table about the same part of a file are one sample, in the place of the first of them.

    Args:
        file: a table if its name ends in .csv, else a line of JSON for each sample.
        root: folder of the paths.

    Raises:
        DataError: if the file cannot be read.
    """
    try:
        # A table from a spreadsheet may begin with a mark of its encoding.
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, f"cannot be read ({error})", "Give a jsonl or csv file") from error
    if file.suffix.lower() == ".csv":
        return merged(_table_rows(file, text, root))
    return _json_lines(file, text, root)


def merged(lines: Iterable[Found]) -> list[Found]:
    """Samples about the same part of a file become one, in the place of the first; conversations and stories do not."""
    kept: dict[Any, Found] = {}
    for line, one in lines:
        if isinstance(one, DataError) or one.is_conversation or one.story:
            kept[len(kept)] = (line, one)
            continue
        about = (one.path, one.packed, one.is_image, one.start_s, one.end_s)
        line, before = kept.get(about, (line, replace(one, captions=(), questions=())))
        assert isinstance(before, Annotation)
        # The caption may stand beside each question.
        captions = tuple(dict.fromkeys(before.captions + one.captions))
        questions, plan = before.questions + one.questions, before.plan or one.plan
        kept[about] = (line, replace(before, captions=captions, questions=questions, plan=plan))
    return list(kept.values())


def _json_lines(file: Path, text: str, root: Path) -> list[Found]:
    found: list[Found] = []
    # Not `splitlines`: JSON may hold other ends of lines inside its words.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append((number, parse_annotation(line, f"{file}:{number}", root)))
            except DataError as error:
                found.append((number, error))
    return found


def _table_rows(file: Path, text: str, root: Path) -> Iterator[Found]:
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        columns = set(rows.fieldnames or ())
        if not columns & {"video", "image"} or not columns & {"caption", "question"}:
            raise DataError(f"{file}:1", "is not the header of such a table", _TABLE_REMEDY)
        for row in rows:
            where = f"{file}:{rows.line_num}"
            try:
                if None in row:
                    raise DataError(where, "has more columns than the header", _TABLE_REMEDY)
                values: dict[str, Any] = {
                    key: value for key, value in row.items() if value and key in _COLUMNS
                }
                for key in ("start_s", "end_s"):
                    if key in values:
                        values[key] = _number_in(values[key])
                yield rows.line_num, parse_sample(values, where, root)
            except DataError as error:
                yield rows.line_num, error
    except csv.Error as error:
        where = f"{file}:{rows.reader.line_num}"
        raise DataError(where, f"is no row of a table ({error})", _TABLE_REMEDY) from error


def _number_in(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
