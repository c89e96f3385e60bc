"""Divot: two seconds of video to 64 tokens that a language model can read and write, and back.

The folders, in the order in which the data goes:

    config/       what a run is: typed settings, presets, errors
    recipes/      settings of each training stage, laid over a preset
    video/        file -> frames -> clips, and back
    world/        Sprite World: a procedural world of short videos
    layers/       blocks that several models are built of
    tokenizer/    clips -> tokens
    detokenizer/  tokens -> diffusion -> frames
    text/         words and places of clips -> sequences
    lm/           text + tokens -> text | tokens
    weights/      names of parameters on disk; the bundled weights
    data/         samples on disk -> batches; the token store
    train/        batches -> weights
    pipelines/    whole journeys: the Python API
    evaluation/   measures
    studies/      experiments that leave pictures and tables
    cli/          commands

`from divot import Divot` is all that most programs need:

    divot = Divot.from_pretrained("tiny")
    tokens = divot.encode("clip.mp4")
    frames = divot.decode(tokens)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot

__all__ = ["Divot", "__version__"]


def __getattr__(name: str) -> Any:
    # On first use: `import divot` alone loads no model library.
    if name == "Divot":
        from divot.pipelines.divot import Divot

        return Divot
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("divot-video")
        except PackageNotFoundError:
            return "0+unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
