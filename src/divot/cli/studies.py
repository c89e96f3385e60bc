"""gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from divot.cli import options
from divot.cli.options import DtypeName
from divot.cli.screen import Screen


def gallery(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("out/gallery"),
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Moving pictures of all that a model does with the first clips of Sprite World's test split."""
    screen = Screen(as_json, quiet)
    with screen.progress("gallery") as on_progress:
        from divot.pipelines.divot import Divot
        from divot.studies.gallery import make_gallery

        record = make_gallery(Divot.from_pretrained(model, device, dtype.value), out, seed, on_progress)
    right = record["right"]
    screen.result(
        record,
        f"read right: {right['reconstructions']} of {right['of']} reconstructions, {right['made']} made clips",
        f"wrote {out / 'README.md'}",
    )
