"""train vae, tokenizer, distill, critic, detokenizer, lm, adapt."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from divot.cli import options
from divot.cli.options import DtypeName
from divot.cli.screen import Screen
from divot.config.errors import RecipeError

if TYPE_CHECKING:
    from divot.config.training import TrainConfig

log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train a part of a model.")

Run = Annotated[Path, typer.Argument(help="Folder of the run; a run that is there goes on.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", help="Sizes of the model.", show_default="that of the recipe"),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="Name of a recipe, or a YAML file.",
        show_default="<preset>_<stage>, of --preset, else of --init-model, else tiny",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting laid over the recipe: optimizer.warmup_steps=100"),
]
Videos = Annotated[Path | None, typer.Option(help="Folder of videos to train on (and data.world_share).")]
Tokens = Annotated[
    Path | None,
    typer.Option(help="Token store of the annotated videos, for lm: they are not read and encoded again."),
]
InitModel = Annotated[str | None, typer.Option(help="Preset, model folder or hub id to start from.")]
InitVae = Annotated[Path | None, typer.Option(help="AutoencoderKL folder to start from.")]
InitUnet = Annotated[Path | None, typer.Option(help="Converted DynamiCrafter whose U-Net to start from.")]
InitVit = Annotated[Path | None, typer.Option(help="Converted DynamiCrafter whose ViT to start from.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the whole run.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Clips a step, over all processes.")]
TrainSeed = Annotated[int | None, typer.Option("--seed", min=0, help="Same seed, same run.")]
Precision = Annotated[
    DtypeName | None,
    typer.Option("--dtype", help="float32, or bfloat16 autocast.", show_default="the recipe's"),
]
Device = Annotated[str, typer.Option("--device", help="auto takes a GPU if there is one; cpu leaves it.")]
MaxMinutes = Annotated[float | None, typer.Option(help="Stop with a checkpoint after so long.")]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print settings, sizes and memory; write nothing.")]
Plan = Annotated[bool, typer.Option("--plan", help="As --dry-run, with a table of the GPUs that it fits on.")]


def _precision(dtype: DtypeName) -> str:
    if dtype is DtypeName.float16:
        raise RecipeError(
            "--dtype", "float16 needs loss scaling, which is not built", "Give bfloat16 or float32"
        )
    return "bf16" if dtype is DtypeName.bfloat16 else "no"


@contextmanager
def _bar(num_steps: int, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """A bar with steps, loss, clips a second and the time left."""
    if quiet:
        yield lambda told: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
        bars.BarColumn(),
        bars.TextColumn("{task.fields[told]}"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        task = bar.add_task("train", total=num_steps, told="loading")

        def show(told: Any) -> None:
            bar.update(
                task, completed=told.step, told=f"loss {told.loss:.4f}, {told.clips_per_s:.2f} clips/s"
            )

        yield show


def _usual_recipe(stage: str, changes: dict[str, Any]) -> str:
    """That of the sizes that are asked for, else of the model that the run begins with."""
    from divot.weights.store import ModelFolder

    model, sizes = changes.get("init_model"), changes.get("preset")
    if sizes is None and model is not None:
        sizes = ModelFolder.open(model).preset
    return f"{sizes or 'tiny'}_{stage}"


def _outlook(screen: Screen, config: TrainConfig, has_table: bool) -> None:
    """Print what a run would be and take."""
    import yaml

    from divot.data.mixing import step_size
    from divot.train.estimate import GB, STATE_SHARE, estimate, places

    state = estimate(config)
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    missing = config.missing()
    record: dict[str, Any] = {
        "config": settings,
        "missing": missing,
        **state.record(),
        "steps": config.num_steps,
        "samples_a_step": config.batch_size,
        "samples": sum(step_size(config, step) for step in range(config.num_steps)),
        "processes": num_processes,
        "samples_at_once": config.batch_size // (num_processes * config.grad_accumulation),
    }
    num_shares = num_processes if config.sharded else 1
    lines = [
        *yaml.safe_dump(settings, sort_keys=False).splitlines(),
        "",
        f"parameters  {state.trainable_parameters:,} trainable, {state.frozen_parameters:,} frozen",
        f"memory      {state.total_bytes / num_shares / GB:.2f} GB on each device"
        f"{f', a share of {num_shares} of' if num_shares > 1 else ':'} weights {state.weights_bytes / GB:.2f}, "
        f"gradients {state.gradients_bytes / GB:.2f}, optimizer {state.optimizer_bytes / GB:.2f}, "
        f"moving average {state.average_bytes / GB:.2f}; activations come on top",
        f"samples     {record['samples']:,} in {config.num_steps:,} steps of "
        f"{' or '.join(map(str, config.batch_sizes))}, "
        f"{record['samples_at_once']} at once on each of {num_processes} device(s)",
        *(f"to be set   {setting}: {cause}" for setting, cause in missing.items()),
    ]
    if has_table:
        table = places(state)
        record |= {"state_share": STATE_SHARE, "plan": [dataclasses.asdict(place) for place in table]}
        lines += [
            "",
            f"Fits: the state takes at most {STATE_SHARE:.0%} of a GPU. Activations are not counted; they have the "
            "rest. `divot train` keeps whole copies unless it is told sharded=true.",
            f"{'GPUs':>10}  {'whole copies (DDP)':>24}  {'sharded (FSDP)':>24}",
            *(
                f"{f'{place.num_gpus} x {place.gpu_gb} GB':>10}  "
                f"{_verdict(place.copies_gb, place.copies_fit):>24}  "
                f"{_verdict(place.sharded_gb, place.sharded_fits):>24}"
                for place in table
            ),
        ]
    screen.result(record, *lines)


def _verdict(size_gb: float, fits: bool) -> str:
    return f"{size_gb:.1f} GB a GPU, {'fits' if fits else 'too much'}"


def _command(stage: str, summary: str) -> Callable[..., None]:
    def command(
        run: Run,
        preset: Preset = None,
        recipe: Recipe = None,
        settings: Settings = None,
        videos: Videos = None,
        tokens: Tokens = None,
        init_model: InitModel = None,
        init_vae: InitVae = None,
        init_unet: InitUnet = None,
        init_vit: InitVit = None,
        steps: Steps = None,
        batch_size: BatchSize = None,
        seed: TrainSeed = None,
        precision: Precision = None,
        device: Device = "auto",
        max_minutes: MaxMinutes = None,
        dry_run: DryRun = False,
        plan: Plan = False,
        as_json: options.AsJson = False,
        quiet: options.Quiet = False,
    ) -> None:
        from divot.config.recipe import parse_changes, read_recipe

        given = {
            "preset": preset,
            "init_model": init_model,
            "init_vae": init_vae,
            "init_unet": init_unet,
            "init_vit": init_vit,
            "num_steps": steps,
            "batch_size": batch_size,
            "seed": seed,
            "precision": None if precision is None else _precision(precision),
        }
        changes: dict[str, Any] = parse_changes(settings or [])
        changes.update({k: str(v) if isinstance(v, Path) else v for k, v in given.items() if v is not None})
        if videos is not None:
            changes.setdefault("data", {})["videos"] = str(videos)
        if tokens is not None:
            changes.setdefault("language", {})["tokens"] = str(tokens)
        is_draft = dry_run or plan
        changes = {"stage": stage, **changes}
        config = read_recipe(recipe or _usual_recipe(stage, changes), changes, is_draft)
        if device not in ("auto", "cpu"):
            raise RecipeError(
                "--device", f"is {device!r}", "Give auto or cpu; CUDA_VISIBLE_DEVICES picks a GPU"
            )
        # With several processes the first one speaks for all.
        is_first = os.environ.get("RANK", "0") == "0"
        quiet = quiet or not is_first
        screen = Screen(as_json and is_first, quiet)
        share = config.data.world_share
        if is_first and recipe is None and videos and share > 0 and "world_share" not in changes["data"]:
            told = f"{share:.0%} of each batch is of Sprite World, the rest of {videos}"
            log.warning("%s: --set data.world_share=0 leaves it out", told)
        if is_draft:
            _outlook(screen, config, plan)
            return
        with _bar(config.num_steps, quiet) as on_progress:
            from divot.train.run import train

            weights = train(config, run, max_minutes, on_progress, use_cpu=device == "cpu")
        record = {"stage": stage, "weights": str(weights), "run": str(run)}
        screen.result(
            record, f"wrote {weights}", f"measures in {run / 'metrics.jsonl'}, pictures in {run / 'samples'}"
        )

    command.__doc__ = summary
    return command


app.command("tokenizer")(_command("tokenizer", "Tokenizer and U-Net end to end, tokens never dropped."))
app.command("detokenizer")(
    _command("detokenizer", "The U-Net alone under a frozen tokenizer, 5% of tokens dropped.")
)
app.command("distill")(
    _command("distill", "Other tokens, more or fewer, from which the U-Net is told what it was told before.")
)
app.command("lm")(
    _command("lm", "The language model over a frozen tokenizer: captions, questions, generation.")
)
app.command("adapt")(
    _command("adapt", "The de-tokenizer under tokens that the language model draws for the captions.")
)
app.command("vae")(_command("vae", "The frame autoencoder."))
app.command("critic")(
    _command("critic", "A critic of shapes in latents, for the tokenizer and de-tokenizer stages.")
)
