"""Train `tiny` further on whatever is there, and measure what came of it.

    python benchmarks/gpu/train_tiny.py --out OUT [--stage tokenizer|lm|adapt] [--start MODEL] [--minutes 8]
        [--clips 100] [--videos FOLDER] [--smoke]

Goes on from the weights in MODEL (the bundled ones, or OUT/model of the run before), so any number of runs can follow
each other. Writes OUT/model every two minutes, so that a job that is killed leaves something, and at the end
OUT/train_tiny_STAGE.json. Needs no video library unless --videos is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from divot.config.files import write_json, written_whole
from divot.config.recipe import read_recipe
from divot.evaluation import evaluate_world_reconstruction
from divot.evaluation.world_scores import evaluate_world
from divot.pipelines.divot import Divot
from divot.train.run import train

SAVE_EVERY_MINUTES = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stage", choices=["tokenizer", "lm", "adapt"], default="tokenizer")
    parser.add_argument("--start", default="tiny", help="preset or model folder to go on from")
    parser.add_argument("--minutes", type=float, default=7.0, help="of training; measuring comes on top")
    parser.add_argument("--steps", type=int, default=3000, help="over which the learning rate falls")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--clips", type=int, default=100, help="that are measured, and a tenth as many stories"
    )
    parser.add_argument("--videos", help="folder of videos for a fifth of each batch")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="new clips for each run")
    parser.add_argument("--smoke", action="store_true", help="two steps on a CPU")
    given = parser.parse_args()
    steps, batch_size, clips = (2, 2, 2) if given.smoke else (given.steps, given.batch_size, given.clips)
    has_gpu = torch.cuda.is_available()
    config = read_recipe(
        f"tiny_{given.stage}",
        {
            "stage": given.stage,
            "init_model": given.start,
            "seed": given.seed,
            "batch_size": batch_size,
            "num_steps": steps,
            "precision": "bf16" if has_gpu else "no",
            "sample_every": steps,
            "checkpoint_every": steps,
            "data": {
                "world_share": 0.8 if given.videos and given.stage == "tokenizer" else 1.0,
                "videos": given.videos,
                "world_seed": given.seed,
                "num_workers": 0 if given.smoke else 14,
            },
            "language": {"is_new": False},
        },
    )
    with tempfile.TemporaryDirectory() as scratch:
        run, model = Path(scratch) / "run", given.out / "model"
        metrics: list[dict[str, Any]] = []
        deadline = time.monotonic() + 60 * given.minutes
        while (left_s := deadline - time.monotonic()) > 0 and not (metrics and metrics[-1]["step"] == steps):
            weights = train(config, run, max_minutes=min(SAVE_EVERY_MINUTES, left_s / 60), on_progress=print)
            with written_whole(model) as beside:
                shutil.copytree(weights, beside)
            # Its first line comes after some steps.
            told = run / "metrics.jsonl"
            metrics = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
    measured = Divot.from_pretrained(model)
    if given.stage == "tokenizer":
        result = evaluate_world_reconstruction(measured, seed=1, count=clips)
    else:
        result = evaluate_world(measured, 1, clips, num_stories=max(1, clips // 10))
    facts = {
        "stage": given.stage,
        "start": given.start,
        "seed": given.seed,
        "last_step": metrics[-1] if metrics else None,
    }
    write_json(given.out / f"train_tiny_{given.stage}.json", {**result.to_json(), "training": facts})


if __name__ == "__main__":
    main()
