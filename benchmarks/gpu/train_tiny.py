"""Train `tiny` further on whatever is there, and measure what came of it.

    python benchmarks/gpu/train_tiny.py --out OUT [--stage tokenizer|detokenizer|distill|critic|lm|adapt]
        [--start MODEL] [--recipe NAME] [--minutes 7] [--steps N] [--parts 2] [--set NAME=VALUE ...] [--layers N]
        [--clips 100] [--smoke]

Goes on from the weights in MODEL (the bundled ones, or OUT/model of the run before), so any number of runs can follow
each other. The first steps are timed, and the schedule is laid over as many as the minutes hold. Writes OUT/model after
each of the parts of the time, so that a job that is killed leaves something, and at the end OUT/train_tiny_STAGE.json
and the measures of all steps. Needs no video library unless data.videos is set.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from divot.config.files import write_json, written_whole
from divot.config.merge import overlay
from divot.config.recipe import parse_changes, read_recipe
from divot.config.training import TrainConfig
from divot.evaluation import evaluate_world_reconstruction
from divot.evaluation.run_info import hardware, now, versions
from divot.evaluation.world_scores import evaluate_world
from divot.pipelines.divot import Divot
from divot.train.run import train
from divot.weights.store import DEFAULT_LANGUAGE_MODEL, ModelFolder, add_language_model

# Clips of a step. A GPU takes many more than a CPU in the same time; fewer would leave it waiting.
BATCH_SIZES = {"tokenizer": 128, "detokenizer": 128, "distill": 512, "critic": 128, "lm": 512, "adapt": 128}
NUM_TIMED, NUM_BETWEEN = 40, 10
# Of the minutes, that go to steps: models are built and data workers begin, twice.
STEPS_SHARE = 0.93


def timed_steps_per_s(config: TrainConfig) -> float:
    """Of the last of `NUM_TIMED` steps."""
    short = dataclasses.replace(config, num_steps=NUM_TIMED, log_every=NUM_BETWEEN)
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        train(short, Path(scratch) / "run", on_progress=lambda told: rates.append(told.clips_per_s))
    return rates[-1] / config.batch_size


def deepen(start: str, num_layers: int, folder: Path) -> None:
    """Write a model whose language model has more layers and does the same: what the new ones add is 0 to begin with.

    Each is a copy of the layer below it, so that what it looks at makes sense from the first step.
    """
    source = ModelFolder.open(start)
    lm = source.language_model()
    layers, settings = lm.backbone.get_decoder().layers, lm.backbone.config
    num_before = len(layers)
    deeper = list(layers)
    for number in range(num_layers - num_before):
        # Spread over the depth, the last on top.
        place = (number + 1) * num_before // (num_layers - num_before) + number
        new = copy.deepcopy(deeper[place - 1])
        for added in (new.self_attn.o_proj, new.mlp.down_proj):
            torch.nn.init.zeros_(added.weight)
        deeper.insert(place, new)
    for number, layer in enumerate(deeper):
        layer.self_attn.layer_idx = number
    lm.backbone.get_decoder().layers = torch.nn.ModuleList(deeper)
    settings.num_hidden_layers = num_layers
    with written_whole(folder) as beside:
        shutil.copytree(source.path, beside)
        add_language_model(beside, DEFAULT_LANGUAGE_MODEL, lm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stage", choices=list(BATCH_SIZES), default="tokenizer")
    parser.add_argument("--start", default="tiny", help="preset or model folder to go on from")
    parser.add_argument("--recipe", help="tiny_STAGE where none is named")
    parser.add_argument("--minutes", type=float, default=7.0, help="of training; measuring comes on top")
    parser.add_argument("--steps", type=int, help="over which the rates fall; as many as the minutes hold")
    parser.add_argument("--parts", type=int, default=2, help="of the time; weights are written after each")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    parser.add_argument("--layers", type=int, help="of the language model, from here on")
    parser.add_argument(
        "--clips", type=int, default=100, help="that are measured, and a tenth as many stories"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="new clips for each run")
    parser.add_argument("--smoke", action="store_true", help="two steps on a CPU")
    given = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    given.out.mkdir(parents=True, exist_ok=True)
    changes = parse_changes(given.changes)
    if given.layers is not None:
        deeper = given.out / "deeper"
        deepen(changes.get("init_lm", given.start), given.layers, deeper)
        changes["init_lm"] = str(deeper)
    config = read_recipe(
        given.recipe or f"tiny_{given.stage}",
        {
            "stage": given.stage,
            "init_model": given.start,
            "seed": given.seed,
            "batch_size": 2 if given.smoke else BATCH_SIZES[given.stage],
            # On an H200 no slower than bf16, with tf32 products.
            "precision": "no",
            "data": {
                "world_share": 1.0,
                "videos": None,
                "world_seed": given.seed,
                "num_workers": 0 if given.smoke else 14,
            },
            "language": {"is_new": False},
        },
    )
    config = overlay(config, changes, "--set")
    begun = time.monotonic()
    num_steps, clips = (2, 2) if given.smoke else (given.steps, given.clips)
    if num_steps is None:
        steps_per_s = timed_steps_per_s(config)
        left_s = 60 * given.minutes - (time.monotonic() - begun)
        num_steps = max(1, int(steps_per_s * left_s * STEPS_SHARE))
    config = dataclasses.replace(
        config, num_steps=num_steps, sample_every=num_steps, checkpoint_every=num_steps
    )
    config.check("--set")
    model, metrics = given.out / "model", given.out / f"metrics_{given.stage}.jsonl"
    with tempfile.TemporaryDirectory() as scratch:
        for part in range(1, given.parts + 1):
            left = given.minutes * part / given.parts - (time.monotonic() - begun) / 60
            weights = train(config, Path(scratch) / "run", max(0.0, left), on_progress=print)
            with written_whole(model) as beside:
                shutil.copytree(weights, beside)
            told = Path(scratch) / "run" / "metrics.jsonl"
            if told.exists():
                shutil.copyfile(told, metrics)
    facts: dict[str, Any] = {
        "training": {
            "stage": given.stage,
            "start": given.start,
            "settings": dataclasses.asdict(config),
            "seconds": time.monotonic() - begun,
            "last_step": json.loads(metrics.read_text().splitlines()[-1]) if metrics.exists() else None,
            "hardware": hardware(torch.device("cuda" if has_gpu else "cpu")),
            "versions": versions(),
            "date": now(),
        }
    }
    # A critic neither draws nor speaks: there is nothing of it to measure.
    if clips and given.stage != "critic":
        measured = Divot.from_pretrained(model)
        if given.stage in ("tokenizer", "detokenizer", "distill"):
            result = evaluate_world_reconstruction(measured, seed=1, count=clips)
        else:
            result = evaluate_world(measured, 1, clips, num_stories=max(1, clips // 10))
        facts = {**result.to_json(), **facts}
    write_json(given.out / f"train_tiny_{given.stage}.json", facts)


if __name__ == "__main__":
    main()
