"""data story, check, shards, datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from divot.cli import options
from divot.cli.options import DtypeName
from divot.cli.screen import Screen, print_warning
from divot.config.errors import RecipeError

EXIT_SOME_BAD = 1

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and check data for training.")


@app.command()
def story(
    videos: Annotated[
        list[Path], typer.Argument(help="Video files, or folders of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Annotations file to write (jsonl).")],
    captions: Annotated[
        Path | None,
        typer.Option(help="Sentences (jsonl: video, start_s, end_s, caption) instead of the model's."),
    ] = None,
    num_clips: Annotated[int, typer.Option("--clips", min=2, max=20, help="Clips of a story.")] = 3,
    instruction: Annotated[
        str | None,
        typer.Option(help="What each story is asked for with.", show_default="made of its first sentence"),
    ] = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Films to stories to train on: shots in a row, two seconds of each, and a sentence for each."""
    screen = Screen(as_json, quiet)
    with screen.progress("story") as on_progress:
        from divot.config.files import refuse_overwriting
        from divot.pipelines.story_data import caption_teller, model_teller, write_stories
        from divot.video.folders import list_videos

        if captions is not None:
            refuse_overwriting(captions, [out])
            tell = caption_teller(captions)
        else:
            from divot.pipelines.divot import Divot

            tell = model_teller(Divot.from_pretrained(model, device, dtype.value))
        done = write_stories(
            list_videos(videos),
            out,
            tell,
            num_clips,
            instruction,
            on_progress,
            on_failure=lambda name, cause: print_warning(f"{name}: {cause}. It was left out"),
        )
    record = {
        "annotations": str(out),
        "stories": done.num_stories,
        "clips": done.num_stories * num_clips,
        "videos": done.stories,
        "failed": done.failed,
        "shots": done.num_shots,
        "shots_too_short": done.num_short,
        "shots_without_caption": done.num_untold,
        "shots_left_over": done.num_unused,
    }
    screen.result(
        record,
        f"{done.num_shots} shots: {done.num_short} too short, {done.num_untold} without a caption, "
        f"{done.num_unused} left over",
        f"{done.num_stories} stories of {num_clips} clips from {len(done.stories)} videos, "
        f"{len(done.failed)} left out",
        *(f"  not read: {name}: {cause}" for name, cause in done.failed.items()),
        f"wrote {out}",
    )
    if done.failed:
        raise typer.Exit(EXIT_SOME_BAD)


@app.command()
def check(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of videos and pictures or of shards, annotations (jsonl, csv), NAME:PATH of a data set, or "
            "tar files.",
            show_default=False,
        ),
    ],
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of the paths in the annotations.", show_default="that of the file"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the counts here; - prints them.")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Write a line for each bad sample here (jsonl).")
    ] = None,
    min_side: Annotated[int, typer.Option(min=1, help="Least pixels of the shorter side.")] = 64,
    workers: Annotated[int, typer.Option(min=1, help="Samples that are looked at at once.")] = 1,
    quiet: options.Quiet = False,
) -> None:
    """Open every sample, decode a few of its frames, and count what training could not use."""
    screen = Screen(json_file == Path("-"), quiet)
    with screen.progress("check", unit="samples") as on_progress:
        from divot.config.files import write_json
        from divot.data.check import check_samples

        counts = None if json_file == Path("-") else json_file
        outputs = [file for file in (counts, rejects) if file is not None]
        if counts is not None and counts == rejects:
            raise RecipeError("--json and --rejects", f"are both {counts}", "Give each a file of its own")
        report = check_samples(source, videos, min_side, workers, on_progress, outputs)
        record = report.to_json()
        if counts is not None:
            write_json(counts, record)
        if rejects is not None:
            report.write_rejects(rejects)
    screen.result(
        record,
        f"{report.good} good, {len(report.bad)} bad",
        *(f"  {reason}: {count}" for reason, count in record["bad_by_reason"].items() if count),
        *(f"wrote {file}" for file in outputs),
    )
    if report.bad:
        raise typer.Exit(EXIT_SOME_BAD)


@app.command()
def shards(
    annotations: Annotated[
        Path,
        typer.Argument(help="Annotations file (jsonl, csv), or NAME:PATH of a data set.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of shards to write or to continue.")],
    videos: Annotated[
        Path | None,
        typer.Option(help="Folder of the paths in the annotations.", show_default="that of the file"),
    ] = None,
    samples_per_shard: Annotated[int, typer.Option(min=1, help="Samples in a tar file.")] = 1000,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Annotated videos and pictures to webdataset shards, to train on.

    Run it again to continue after a stop: what is there is not made again.
    """
    screen = Screen(as_json, quiet)
    with screen.progress("shards", unit="samples") as on_progress:
        from divot.data.shards import write_shards

        index = write_shards(annotations, out, videos, samples_per_shard, on_progress)
    record = {
        "shards": str(out),
        "files": len(index.shards),
        "samples": index.num_samples,
        "failed": index.left_out,
    }
    screen.result(
        record,
        f"{index.num_samples} samples in {len(index.shards)} shards, {len(index.left_out)} left out",
        *(f"  not read: {name}: {cause}" for name, cause in index.left_out.items()),
        f"wrote {out}",
    )
    if index.left_out:
        raise typer.Exit(EXIT_SOME_BAD)


@app.command()
def datasets(as_json: options.AsJson = False, quiet: options.Quiet = False) -> None:
    """Data sets that are read as they are published, by name: give NAME:PATH as annotations."""
    from divot.data.datasets import DATASETS

    record = {
        one.name: {
            "title": one.title,
            "annotations": one.annotations,
            "videos": one.videos,
            "is_supported": one.is_supported,
            "why_not": one.why_not,
        }
        for one in DATASETS.values()
    }
    rows = [
        (
            one.name,
            one.title,
            one.annotations if one.is_supported else f"not supported: {one.why_not}",
            one.videos,
        )
        for one in DATASETS.values()
    ]
    Screen(as_json, quiet).table(
        record, ("name", "data set", "annotations", "in the folder of the videos"), rows
    )
