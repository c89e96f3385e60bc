"""story."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from divot.cli import options
from divot.cli.options import DtypeName, FitName
from divot.cli.screen import Screen


def story(
    text: Annotated[
        str | None, typer.Argument(help="What it is about, such as 'Tell a story about Ruby the red star.'")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder to write.", show_default="that of --continue, else out/story"
        ),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=1, help="Clips to make.")] = 4,
    go_on: Annotated[
        Path | None, typer.Option("--continue", help="Folder of an earlier story, which goes on.")
    ] = None,
    first_clip: Annotated[
        Path | None, typer.Option("--first-clip", help="A video whose first two seconds it begins with.")
    ] = None,
    word_temperature: Annotated[
        float, typer.Option("--word-temperature", min=0.0, help="0 takes the likeliest words.")
    ] = 0.7,
    is_mean: options.Mean = False,
    temperature: options.Temperature = None,
    component_temperature: options.ComponentTemperature = None,
    text_guidance: options.TextGuidance = None,
    candidates: options.Candidates = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    corrections: options.Corrections = None,
    fit: options.Fit = FitName.crop,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Tell a story in words and clips."""
    from dataclasses import replace

    from divot.lm.sampling import TokenSampling
    from divot.pipelines.divot import Divot
    from divot.pipelines.story import STORY_WORDS
    from divot.pipelines.story_files import make_story

    screen = Screen(as_json, quiet)
    out = out or go_on or Path("out/story")
    record = make_story(
        Divot.from_pretrained(model, device, dtype.value),
        out,
        text,
        clips,
        seed,
        replace(STORY_WORDS, temperature=word_temperature),
        TokenSampling(is_mean, temperature, component_temperature, text_guidance, candidates),
        go_on,
        first_clip,
        fit.value,
        on_sentence=screen.line,
        on_clip=lambda file: screen.line(f"  {file}"),
        steps=steps,
        guidance=guidance,
        corrections=corrections,
    )
    screen.result(record, f"wrote {out}: {len(record['clips'])} clips, story.mp4, index.html")
