"""info, inspect, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from divot.cli import options
from divot.cli.options import DtypeName
from divot.cli.screen import Screen

convert = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Weights of other projects to a model folder, and back."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(info)
    app.command()(inspect)


def info(as_json: options.AsJson = False, quiet: options.Quiet = False) -> None:
    """Versions, devices, presets and bundled weights."""
    from divot.pipelines.info import describe_installation

    found = describe_installation()
    lines = [f"{name:<14} {version or 'not installed'}" for name, version in found["versions"].items()]
    lines += [f"{'devices':<14} {', '.join(found['devices'])}; {found['cores']} cores"]
    for name, about in found["presets"].items():
        tokens, size = "x".join(map(str, about["tokens"])), about["frame_size"]
        sizes = f"{tokens} tokens a clip, {size}x{size} pixels"
        lines.append(f"{'preset ' + name:<14} {sizes}; {_weights(about['weights'])}")
    Screen(as_json, quiet).result(found, *lines)


def _weights(bundled: dict[str, Any] | None) -> str:
    if bundled is None:
        return "no weights in the package"
    parts = ", ".join(f"{name} {count / 1e6:.1f} M" for name, count in bundled["parameters"].items())
    return f"{bundled['size_bytes'] / 1e6:.1f} MB bundled ({parts})"


def inspect(
    path: Annotated[
        Path, typer.Argument(help="Model folder, weight file or token store.", show_default=False)
    ],
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Say what a model, a weight file or a token store is."""
    from divot.data.tokens import TokenStore, is_token_store
    from divot.weights.inspect import inspect_path

    found = TokenStore(path) if is_token_store(path) else inspect_path(path)
    Screen(as_json, quiet).result(found.to_dict(), *found.lines())


Source = Annotated[
    str, typer.Argument(help="Folder or file of the released weights, or hub id.", show_default=False)
]
Out = Annotated[Path, typer.Argument(help="Model folder to write.", show_default=False)]


@convert.command()
def official(
    source: Source,
    out: Out,
    clip: Annotated[
        str | None,
        typer.Option(
            help="CLIP-ViT-H-14, if the released tokenizer comes without it.", show_default="looked for"
        ),
    ] = None,
    dtype: Annotated[
        DtypeName | None, typer.Option(help="Type of the weights on disk.", show_default="the released one")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Mistral-7B-Instruct-v0.1, if a language model comes as a LoRA.", show_default="none"
        ),
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """The released Divot weights to a model folder."""
    screen = Screen(as_json, quiet)
    with screen.progress("convert"):
        from divot.pipelines.load import resolve_dtype
        from divot.weights.official import convert_official

        kind = None if dtype is None else resolve_dtype(dtype.value)
        report = convert_official(source, out, clip=clip, dtype=kind, backbone=backbone)
    _say(screen, report, out)


@convert.command("to-official")
def to_official(
    model: Annotated[str, typer.Argument(help="Model folder, preset or hub id.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """A model folder to files of the released form."""
    screen = Screen(as_json, quiet)
    with screen.progress("convert"):
        from divot.weights.official import convert_to_official

        report = convert_to_official(model, out)
    _say(screen, report, out)


@convert.command()
def dynamicrafter(
    source: Annotated[str, typer.Argument(help="DynamiCrafter's checkpoint.", show_default=False)],
    out: Out,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """DynamiCrafter's weights to the start of a de-tokenizer."""
    screen = Screen(as_json, quiet)
    with screen.progress("convert"):
        from divot.weights.dynamicrafter import convert_dynamicrafter

        report = convert_dynamicrafter(source, out)
    _say(screen, report, out)


@convert.command()
def clip(
    source: Annotated[str, typer.Argument(help="CLIP-ViT-H-14: file, folder or hub id.", show_default=False)],
    out: Out,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """CLIP's image tower to the start of a tokenizer."""
    screen = Screen(as_json, quiet)
    with screen.progress("convert"):
        from divot.weights.clip_tower import convert_clip

        report = convert_clip(source, out)
    _say(screen, report, out)


def _say(screen: Screen, report: Any, out: Path) -> None:
    screen.result(report.as_dict(), *report.lines(), f"wrote {out}")
