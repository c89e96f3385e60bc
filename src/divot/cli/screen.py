"""What is printed where: results or one JSON object on stdout; progress, warnings and errors on stderr."""

from __future__ import annotations

import codecs
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Progress = Callable[[float, int], None]
"""Called with the share of the work that is done and the number of clips (or other things) done."""


def print_error(message: str) -> None:
    """Say what went wrong, in one line."""
    _line("error:", "bold red", message)


def print_warning(message: str) -> None:
    """Say what was left out, in one line."""
    _line("warning:", "yellow", message)


def _line(word: str, style: str, message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((word, style), " ", " ".join(message.split()))
    # Not broken at the edge of the screen: one error stays one line for whoever searches in a log.
    Console(stderr=True, soft_wrap=True).print(text)


class Screen:
    """Where a command prints.

    Args:
        as_json: the result is one JSON object.
        quiet: no progress, and no result in words.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json, self._quiet = as_json, quiet

    def result(self, record: dict[str, Any], *lines: str) -> None:
        """Print what came out: the record as JSON, or the lines."""
        if self._as_json:
            # What an output of few letters cannot say is escaped as JSON has it, not as Python has.
            has_all_letters = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
            print(json.dumps(record, indent=2, ensure_ascii=not has_all_letters))
        for line in lines:
            self.line(line)

    def line(self, text: str) -> None:
        """Print a line of what came out, which the record says too."""
        if not self._as_json and not self._quiet:
            from rich.console import Console
            from rich.text import Text

            Console(soft_wrap=True, highlight=False).print(Text(text))

    def table(self, record: dict[str, Any], columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print what came out: the record as JSON, or the rows as a table."""
        if self._as_json or self._quiet:
            self.result(record)
            return
        from rich import box
        from rich.console import Console
        from rich.table import Column, Table
        from rich.text import Text

        # Folded, not cut off: what is in a table may be looked for in a log.
        table = Table(*(Column(name, overflow="fold") for name in columns), box=box.SIMPLE_HEAD)
        for row in rows:
            table.add_row(*map(Text, row))
        Console(highlight=False).print(table)

    @contextmanager
    def progress(self, label: str, unit: str = "clips") -> Iterator[Progress]:
        """Show a bar with clips (or `unit`), their rate and the time left while the block runs; on a screen only."""
        if self._quiet:
            yield lambda share, clips: None
            return
        from rich import progress as bars
        from rich.console import Console

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TextColumn("{task.fields[rate]}"),
            bars.TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        with bars.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            # Without a total the bar swings to and fro: the libraries are being loaded.
            task = bar.add_task(label, total=None, rate="loading")
            begin: list[float] = []

            def show(share: float, count: int) -> None:
                if not begin:
                    begin.append(time.perf_counter())
                elapsed_s = time.perf_counter() - begin[0]
                rate = f"{count} {unit}, {count / elapsed_s:.2f} {unit}/s" if count and elapsed_s > 0 else ""
                bar.update(task, total=1.0, completed=share, rate=rate)

            yield show
