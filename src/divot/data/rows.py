"""Rows of files as publishers of data sets write them: tables, JSON lists, JSON objects.

A field that is not there says that this is another file, which stops the reading; a row whose fields hold nothing
usable is a row that the publisher left so, which is left out.
"""

from __future__ import annotations

import ast
import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from divot.config.errors import DataError
from divot.data.annotations import NoWordsError

ELSEWHERE = "Give the file as it is published, or name another data set; `divot data datasets` lists them"
# A row of a long video with all its clips is more than the 128 KiB that Python takes for a field.
_MOST_CHARACTERS = 1 << 26


class MissingFieldError(DataError):
    """A row has not the fields of its data set: the file is another one."""


@dataclass(frozen=True)
class Row:
    """One row of a publisher's file."""

    values: Mapping[str, Any]
    where: str
    """Names the row in errors."""
    number: int
    """Line of a table, else the place in the list, from 1."""
    root: Path
    """Folder of the videos and pictures."""
    key: str = ""
    """Of an object in an object, its name."""

    def value(self, field: str) -> Any:
        """A field.

        Raises:
            MissingFieldError: if it is not there.
        """
        if field not in self.values:
            cause = f"has no field {field!r}, it has {', '.join(map(str, self.values)) or 'none'}"
            raise MissingFieldError(self.where, cause, ELSEWHERE)
        return self.values[field]

    def text(self, field: str) -> str:
        """A field with words, or a number in digits.

        Raises:
            MissingFieldError: if it is not there.
            NoWordsError: if it is empty.
        """
        value = self.value(field)
        text = str(value).strip() if isinstance(value, (str, int, float)) else ""
        if not text:
            raise NoWordsError(self.where, f"has nothing usable in {field!r}", ELSEWHERE)
        return text

    def number_in(self, field: str) -> float:
        """A field with a number, or its digits.

        Raises:
            MissingFieldError: if it is not there.
            DataError: if it is no number.
        """
        try:
            number = float(self.value(field))
        except (TypeError, ValueError) as error:
            raise self.unusable(field, "a number") from error
        if not math.isfinite(number):
            raise self.unusable(field, "a number")
        return number

    def items(self, field: str) -> list[Any]:
        """A field with a list, or with one in Python's writing.

        Raises:
            MissingFieldError: if it is not there.
            DataError: if it is no list.
        """
        value = self.value(field)
        if isinstance(value, str):
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise self.unusable(field, "a list") from error
        if not isinstance(value, list):
            raise self.unusable(field, "a list")
        return value

    def rows(self, field: str) -> list[Row]:
        """A field with a list of objects; errors as of `items`."""
        items = self.items(field)
        if not all(isinstance(item, dict) for item in items):
            raise self.unusable(field, "a list of objects")
        return [
            replace(self, values=item, where=f"{self.where}, {field}[{number}]")
            for number, item in enumerate(items)
        ]

    def unusable(self, field: str, wanted: str) -> DataError:
        """The error of a field that holds something else."""
        return DataError(
            self.where, f"has {str(self.values.get(field))[:40]!r} in {field!r}, not {wanted}", ELSEWHERE
        )


def table_rows(
    file: Path, root: Path, delimiter: str = ",", columns: tuple[str, ...] | None = None
) -> Iterator[Row]:
    """The rows of a table.

    Args:
        file: in UTF-8; tab-separated ones have no quotes.
        root: folder of the videos and pictures.
        delimiter: between columns.
        columns: their names; None takes the first line.

    Raises:
        DataError: if the file cannot be read.
    """
    csv.field_size_limit(_MOST_CHARACTERS)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = csv.DictReader(text, columns, delimiter=delimiter, quoting=quoting)
            for values in rows:
                # What stands behind the last column has no name.
                named = {key: value for key, value in values.items() if isinstance(key, str)}
                yield Row(named, f"{file}:{rows.line_num}", rows.line_num, root)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(file, f"cannot be read as a table ({error})", ELSEWHERE) from error


def json_rows(file: Path, root: Path, inside: str | None = None) -> Iterator[Row]:
    """The objects of a JSON file: of a list, of an object by their names, or one a line if the name ends in .jsonl.

    Args:
        file: in UTF-8.
        root: folder of the videos and pictures.
        inside: field of the outermost object that holds them.

    Raises:
        DataError: if the file cannot be read, or holds something else.
    """
    content = read_json(file)
    if inside is not None:
        content = Row(content if isinstance(content, dict) else {}, str(file), 0, root).value(inside)
    keyed = list(content.items()) if isinstance(content, dict) else [("", item) for item in content]
    for number, (key, values) in enumerate(keyed, start=1):
        where = f"{file}, {key}" if key else f"{file}, entry {number}"
        if not isinstance(values, dict):
            raise MissingFieldError(where, "is no object with fields", ELSEWHERE)
        yield Row(values, where, number, root, key)


def read_json(file: Path) -> Any:
    """A list or an object; of a .jsonl file the list of its lines.

    Raises:
        DataError: if the file cannot be read, or holds something else.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.split("\n") if line.strip()]
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(file, f"cannot be read as JSON ({error})", ELSEWHERE) from error
    if not isinstance(content, (dict, list)):
        raise DataError(file, "holds no list and no object", ELSEWHERE)
    return content
