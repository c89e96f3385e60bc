"""demo, encode, decode, reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from divot.cli import options
from divot.cli.options import DtypeName, EngineName, FitName, SamplingName
from divot.cli.screen import Screen, print_warning

if TYPE_CHECKING:
    from divot.pipelines.encode_workers import Workers

EXIT_SOME_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (demo, encode, decode, reconstruct):
        app.command()(command)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("out/demo"),
    video: Annotated[Path | None, typer.Option("--video", help="A video instead of the bundled one.")] = None,
    world_clips: Annotated[int, typer.Option(min=0, max=100, help="Clips of Sprite World.")] = 3,
    steps: options.Steps = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Reconstruct a few clips, talk about them, make some from words, and write a page to look at."""
    screen = Screen(as_json, quiet)
    with screen.progress("demo") as on_progress:
        from divot.pipelines.demo import run_demo
        from divot.pipelines.divot import Divot

        divot = Divot.from_pretrained(model, device, dtype.value)
        done = run_demo(divot, out, video, seed, world_clips, steps, on_progress)
    rows = [f"{e['title']:<24} {e['clips']:>3} clips   {_scores(e)}" for e in done.examples]
    screen.result(done.record, *rows, f"{done.seconds:.1f} s with {model}. Open {done.page}")


def encode(
    videos: Annotated[
        list[Path], typer.Argument(help="Video files, or folders of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Token store to write or to continue.")],
    fit: options.Fit = FitName.crop,
    sampling: Annotated[SamplingName, typer.Option(help="Clips to read.")] = SamplingName.consecutive,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips that are encoded at once.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that encode; with ray, at most.")] = 1,
    engine: Annotated[
        EngineName, typer.Option(help="local: this machine. ray: Ray Data, here or on a cluster.")
    ] = EngineName.local,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Of a running Ray cluster (auto: of this machine).", show_default="starts Ray here"
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0.0, help="With ray: GPUs, or the share of one, for each worker; 0 for CPU.")
    ] = 0.0,
    rejects: Annotated[
        Path | None, typer.Option(help="Write a line for each video that cannot be read here (jsonl).")
    ] = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.NoSeed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Videos to a token store.

    Run it again to continue after a stop: what is there is not made again.
    """
    screen = Screen(as_json, quiet)
    with screen.progress("encode") as on_progress:
        from divot.config.files import refuse_overwriting, refuse_unwritable
        from divot.pipelines.divot import Divot
        from divot.pipelines.encode import encode_videos
        from divot.video.folders import list_videos

        paths = list_videos(videos)
        if rejects is not None:
            refuse_unwritable([rejects])
            for path in paths:
                refuse_overwriting(path, [rejects])
        pool = _workers(engine, workers, device, gpus_per_worker, ray_address)
        # Workers have models of their own; what this one tells them needs no device.
        divot = Divot.from_pretrained(model, device if pool is None else "cpu", dtype.value)
        done = encode_videos(
            divot,
            paths,
            out,
            fit.value,
            batch_size,
            on_progress,
            on_failure=lambda name, cause: print_warning(f"{name}: {cause}. It was left out"),
            sampling=sampling.value,
            workers=pool,
        )
        for name in done.replaced:
            print_warning(
                f"{name}: is another file than when it was encoded. The tokens of that one are gone"
            )
        if rejects is not None:
            done.write_rejects(rejects)
    rate = done.num_clips / done.seconds if done.seconds else 0.0
    record = {
        "store": str(out),
        "encoded": done.encoded,
        "replaced": done.replaced,
        "skipped": done.skipped,
        "failed": done.failed,
        "clips": done.num_clips,
        "seconds": round(done.seconds, 2),
    }
    screen.result(
        record,
        f"{len(done.encoded)} videos encoded ({done.num_clips} clips, {rate:.2f} a second), "
        f"{len(done.skipped)} were there already, {len(done.failed)} cannot be read",
        *(f"  not read: {name}: {cause}" for name, cause in done.failed.items()),
        f"wrote {out}",
    )
    if done.failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _workers(
    engine: EngineName, count: int, device: str, gpus_per_worker: float, ray_address: str | None
) -> Workers | None:
    if engine is EngineName.ray:
        from divot.pipelines.encode_ray import RayWorkers

        return RayWorkers(count, device, gpus_per_worker, ray_address)
    if ray_address is not None or gpus_per_worker:
        raise typer.BadParameter("--ray-address and --gpus-per-worker are for --engine ray")
    if count == 1:
        return None
    from divot.pipelines.encode_workers import ProcessWorkers

    return ProcessWorkers(count, device)


def decode(
    tokens: Annotated[
        Path, typer.Argument(help="Token store, or a safetensors file with `tokens`.", show_default=False)
    ],
    out: options.VideoOut,
    video: Annotated[str | None, typer.Option("--video", help="Name of the video in the store.")] = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    solver: options.Solver = None,
    eta: options.Eta = None,
    corrections: options.Corrections = None,
    detokenizer: options.Detokenizer = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Tokens to a video."""
    screen = Screen(as_json, quiet)
    with screen.progress("decode") as on_progress:
        from divot.pipelines.decode import decode_tokens, find_tokens
        from divot.pipelines.divot import Divot

        found = find_tokens(tokens, video)
        record = decode_tokens(
            Divot.from_pretrained(model, device, dtype.value),
            found,
            out,
            seed,
            detokenizer,
            tokens,
            on_progress,
            steps=steps,
            guidance=guidance,
            solver=None if solver is None else solver.value,
            eta=eta,
            corrections=corrections,
        )
    made_by = record["detokenizer"]["name"]
    screen.result(record, f"{record['clips']} clips, {record['frames']} frames by {made_by}", f"wrote {out}")


def reconstruct(
    video: Annotated[Path, typer.Argument(help="Video file.", show_default=False)],
    out: options.VideoOut,
    clips: Annotated[int | None, typer.Option(min=1, help="Only the first so many clips of 2 s.")] = None,
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
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """A video to tokens and back, beside the original."""
    screen = Screen(as_json, quiet)
    with screen.progress("reconstruct") as on_progress:
        from divot.pipelines.divot import Divot
        from divot.pipelines.reconstruct import check_outputs, write_reconstruction

        check_outputs(video, out)
        divot = Divot.from_pretrained(model, device, dtype.value)
        result = divot.reconstruct(
            video,
            seed,
            fit.value,
            clips,
            detokenizer,
            on_progress,
            refinements,
            steps=steps,
            guidance=guidance,
            solver=None if solver is None else solver.value,
            eta=eta,
            corrections=corrections,
        )
        record = write_reconstruction(result, out, divot, video, seed, fit=fit.value)
    summary = (
        f"{record['clips']} clips, {record['frames']} frames by {result.detokenizer}   {_scores(record)}"
    )
    screen.result(record, summary, *(f"wrote {path}" for path in record["files"].values()))


def _scores(record: dict[str, float]) -> str:
    return f"PSNR {record['psnr_db']:.2f} dB   SSIM {record['ssim']:.3f}   {record['seconds']:.1f} s"
