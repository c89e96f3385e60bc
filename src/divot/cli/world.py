"""world preview."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from divot.cli import options
from divot.cli.screen import Screen

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Sprite World: short procedural videos with captions."
)


class SplitName(str, Enum):
    """Parts of the world."""

    train = "train"
    test = "test"


@app.callback()
def _root() -> None:
    # With a callback a single command keeps its name.
    pass


@app.command()
def preview(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("out/world"),
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Clips.")] = 16,
    split: Annotated[SplitName, typer.Option(help="Which part of the world.")] = SplitName.train,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of a frame, pixels.")] = 64,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Write clips as GIFs, a contact sheet and their captions."""
    from divot.config.versions import versions
    from divot.world.preview import write_preview

    sheet = write_preview(out, seed, count, split.value, size)
    record = {
        "folder": str(out),
        "sheet": str(sheet),
        "clips": count,
        "seed": seed,
        "split": split.value,
        "versions": versions(),
    }
    Screen(as_json, quiet).result(
        record, f"{count} clips of seed {seed}, split {split.value}", f"wrote {sheet}"
    )
