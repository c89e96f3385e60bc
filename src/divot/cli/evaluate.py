"""evaluate reconstruction, world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from divot.cli import options
from divot.cli.options import DtypeName, FitName
from divot.cli.screen import Screen
from divot.config.errors import RecipeError
from divot.config.files import refuse_unwritable

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure a model.")

_DEFAULT_WORLD_CLIPS = 32


def _prints_json(json_file: Path | None) -> bool:
    """Whether the measures go to stdout. Called before the work: there must be a place for a file, and a name that the
    report can use.

    Raises:
        DataError: if the file cannot be written.
        RecipeError: if the name does not end in .json.
    """
    if json_file is None or json_file == Path("-"):
        return json_file is not None
    if json_file.suffix.lower() != ".json":
        raise RecipeError("--json", f"{json_file} does not end in .json", "Give a name that does")
    refuse_unwritable([json_file])
    return False


@app.command()
def reconstruction(
    world: Annotated[
        bool, typer.Option("--world", help="Held-out clips of Sprite World (the default).")
    ] = False,
    videos: Annotated[Path | None, typer.Option("--videos", help="All videos of a folder.")] = None,
    num_clips: Annotated[
        int | None,
        typer.Option(
            "-n", "--clips", min=1, help="Clips of the world; of each video.", show_default="32; all"
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the measures here, a page and a sheet beside it; - prints them."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips that are encoded at once.")] = 8,
    fit: options.Fit = FitName.crop,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    solver: options.Solver = None,
    eta: options.Eta = None,
    corrections: options.Corrections = None,
    refinements: options.Refinements = 0,
    detokenizer: options.Detokenizer = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> None:
    """Encode and decode many clips and measure how near they come to the original."""
    if world and videos is not None:
        raise RecipeError("--world and --videos", "contradict each other", "Give one of them")
    as_json = _prints_json(json_file)
    screen = Screen(as_json, quiet)
    with screen.progress("evaluate") as on_progress:
        from divot import evaluation
        from divot.evaluation.report import measure_text
        from divot.pipelines.divot import Divot
        from divot.pipelines.load import corrections_beside, resolve_sampler

        divot = Divot.from_pretrained(model, device, dtype.value)
        sampler = resolve_sampler(
            divot.detokenizer(evaluation.TASK, detokenizer).config,
            steps=steps,
            guidance=guidance,
            solver=None if solver is None else solver.value,
            eta=eta,
            corrections=corrections_beside(refinements, corrections),
        )

        def show(done: int, total: int) -> None:
            on_progress(done / total, done)

        if videos is None:
            result = evaluation.evaluate_world_reconstruction(
                divot,
                seed=seed,
                count=num_clips or _DEFAULT_WORLD_CLIPS,
                detokenizer=detokenizer,
                sampler=sampler,
                refinements=refinements,
                batch_size=batch_size,
                on_progress=show,
            )
        else:
            result = evaluation.evaluate_video_reconstruction(
                divot,
                videos,
                seed=seed,
                max_clips_per_video=num_clips,
                fit=fit.value,
                detokenizer=detokenizer,
                sampler=sampler,
                refinements=refinements,
                batch_size=batch_size,
                on_progress=show,
            )
        files = [] if json_file is None or as_json else evaluation.write_report(result, json_file)
    lines = [f"{name:<28} {measure_text(name, value)}" for name, value in result.measures.items()]
    rejected = [f"  not read: {name}: {cause}" for name, cause in result.run["rejected"].items()]
    about = f"{result.run['clips']} clips by {result.run['detokenizer']['name']}"
    screen.result(result.to_json(), about, *lines, *rejected, *(f"wrote {path}" for path in files))


@app.command()
def world(
    num_clips: Annotated[int, typer.Option("-n", "--clips", min=1, help="Clips of the test split.")] = 100,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the scores here, a page and a sheet beside it; - prints them."),
    ] = None,
    has_controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Also ask without the video, or of another one.")
    ] = True,
    has_generation: Annotated[
        bool, typer.Option("--generation/--no-generation", help="Also make clips from captions.")
    ] = True,
    num_stories: Annotated[
        int | None,
        typer.Option(
            "--stories",
            min=0,
            help="Stories to have told.",
            show_default="a quarter of the clips, 0 without generation",
        ),
    ] = None,
    is_mean: options.Mean = False,
    temperature: options.Temperature = None,
    component_temperature: options.ComponentTemperature = None,
    text_guidance: options.TextGuidance = None,
    candidates: options.Candidates = None,
    views: options.Views = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> None:
    """Ask about clips of Sprite World, caption them, make clips from captions and stories, and score it all."""
    as_json = _prints_json(json_file)
    screen = Screen(as_json, quiet)
    with screen.progress("evaluate") as on_progress:
        from divot.evaluation.world_report import score_rows, write_world_report
        from divot.evaluation.world_scores import evaluate_world
        from divot.lm.sampling import TokenSampling
        from divot.pipelines.divot import Divot

        if num_stories is None:
            num_stories = max(1, num_clips // 4) if has_generation else 0
        scores = evaluate_world(
            Divot.from_pretrained(model, device, dtype.value),
            seed,
            num_clips,
            has_controls,
            has_generation,
            TokenSampling(is_mean, temperature, component_temperature, text_guidance, candidates),
            lambda share: on_progress(share, 0),
            num_stories,
            views,
        )
        files = [] if json_file is None or as_json else write_world_report(scores, json_file)
    lines = [f"{name:<40} {text}  (n = {number})" for name, text, number in score_rows(scores)]
    screen.result(scores.to_json(), *lines, *(f"wrote {path}" for path in files))
