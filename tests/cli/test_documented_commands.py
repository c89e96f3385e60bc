"""Every command that README and docs show is one that there is: its arguments, options and their values can be read."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from divot.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = typer.main.get_command(app)
# Stands for something left out.
ELLIPSIS = "..."


def commands(page):
    """The lines of a page's code that begin with `divot`, those that go on joined."""
    text = page.read_text().replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in text.splitlines())
    return [shlex.split(line, comments=True)[1:] for line in lines if re.match(r"divot [a-z]", line)]


SHOWN = [(page.relative_to(ROOT).as_posix(), words) for page in PAGES for words in commands(page)]


def test_commands_are_found():
    assert len(SHOWN) > 60
    assert {"README.md", "docs/commands.md"} <= {page for page, _ in SHOWN}


@pytest.mark.parametrize(
    ("page", "words"), SHOWN, ids=lambda part: part if type(part) is str else " ".join(part)
)
def test_a_shown_command_is_one_that_there_is(page, words):
    command, name = COMMAND, "divot"
    words = [word for word in words if word != ELLIPSIS]
    while hasattr(command, "get_command"):
        context = command.make_context(name, words[:1])
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, f"{page}: there is no command {name}"
    # Of whichever click typer goes by: `Exit` is what --help ends with.
    try:
        command.make_context(name, words, parent=context)
    except Exception as error:
        if type(error).__name__ != "Exit":
            raise AssertionError(f"{page}: {error}") from error
