"""`divot`: the list of commands. What a user can set right ends in one line on stderr and exit code 2."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from divot.cli import data, evaluate, journeys, language, models, story, studies, train, world
from divot.cli.screen import print_error
from divot.config.errors import DivotError

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130
EXTRAS = {
    "accelerate": "train",
    "peft": "train",
    "tensorboard": "train",
    "scenedetect": "data",
    "cv2": "data",
    "webdataset": "data",
    "braceexpand": "data",
    "ray": "ray",
}
"""Package that not every installation has -> the extra that brings it."""


class _Commands(TyperGroup):
    """The commands; their errors become one line, however deep they come from."""

    def invoke(self, ctx: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Names of files need not be UTF-8, and are told all the same.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print_error("stopped; files that were finished are kept, none is half written")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:
            message = _message(error)
            if message is None or os.environ.get("DIVOT_DEBUG"):
                raise
            print_error(message)
            raise typer.Exit(EXIT_ERROR) from None


def _message(error: Exception) -> str | None:
    """What to tell the user; None for what is our own mistake, or is dealt with elsewhere."""
    if isinstance(error, DivotError):
        return str(error)
    if isinstance(error, ValueError):
        where = traceback.extract_tb(error.__traceback__)[-1].line or ""
        # What nobody raised on purpose may be our own mistake.
        return str(error) if where.startswith("raise") else f"{error} (DIVOT_DEBUG=1 tells where)"
    if isinstance(error, OSError) and error.errno != errno.EPIPE:
        cause = error.strerror or str(error)
        return f"{error.filename or 'file'}: {cause}. Check its place, its permissions and the free space"
    if isinstance(error, ModuleNotFoundError) and (name := (error.name or "").split(".")[0]) in EXTRAS:
        return f"{name} is not installed. Run pip install 'divot-video[{EXTRAS[name]}]'"
    # By name: neither torch nor safetensors is loaded for that.
    if type(error).__name__ == "SafetensorError":
        return f"weights or tokens: {error}. Check the file, its permissions and the free space"
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return "device: its memory is full. Give --dtype bfloat16, a smaller --batch-size, or --device cpu"
    return None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: the ornate one takes a tenth of a second longer.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
journeys.register(app)
language.register(app)
app.command()(story.story)
app.command()(studies.gallery)
models.register(app)
app.add_typer(models.convert, name="convert")
app.add_typer(data.app, name="data")
app.add_typer(world.app, name="world")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(train.app, name="train")


def _version(is_wanted: bool) -> None:
    if is_wanted:
        import divot

        print(f"divot {divot.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Video to tokens and back, and words about it: two seconds of video are 64 tokens."""


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        print_error("stopped")
        sys.exit(EXIT_INTERRUPTED)
