"""Gaussian mixture, regression and diffusion (v and epsilon) as head, on one backbone with one budget: a table.

    python benchmarks/compare_heads.py out/heads --steps 300 --out benchmarks/results

Each run begins with the language model of `tiny` and a head of new weights, and learns generation alone, everything
trained, on the same clips in the same order. Then clips of the test split are made from their captions. Runs that are
finished are not repeated.
"""

import argparse
from pathlib import Path

from dated_results import machine_label

from divot.config.files import write_json
from divot.config.recipe import read_recipe
from divot.evaluation.world_report import score_text
from divot.evaluation.world_scores import evaluate_world
from divot.lm.sampling import TokenSampling
from divot.pipelines.divot import Divot
from divot.train.run import train

HEADS = {
    "gmm": {"head": "gmm"},
    "regression": {"head": "regression"},
    "diffusion_v": {"head": "diffusion", "prediction": "v_prediction"},
    "diffusion_epsilon": {"head": "diffusion", "prediction": "epsilon"},
}
SHOWN = (
    "generation_colour",
    "generation_shape",
    "generation_motion",
    "generation_all",
    "generation_diversity",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rows = {}
    for name, settings in HEADS.items():
        config = read_recipe(
            "tiny_lm",
            {
                "stage": "lm",
                "preset": "tiny",
                "init_model": options.model,
                "num_steps": options.steps,
                "seed": options.seed,
                "language": {
                    "is_new": False,
                    "tasks": {"generation": 1.0, **dict.fromkeys(("caption", "question"), 0.0)}
                    | dict.fromkeys(("continuation", "story", "image_caption", "image_generation"), 0.0),
                    **settings,
                },
                "optimizer": {"muon_learning_rate": 6.0e-4, "learning_rate": 1.0e-3},
            },
        )
        model = Divot.from_pretrained(train(config, options.runs / name))
        rows[name] = {}
        ways = {"draw": None, **({"mean": TokenSampling(is_mean=True)} if name == "gmm" else {})}
        for way, sampling in ways.items():
            scores = evaluate_world(model, options.seed, options.clips, has_controls=False, sampling=sampling)
            told = {measure: scores.measures[measure] for measure in SHOWN}
            rows[name][way] = {measure: value.to_json() for measure, value in told.items()}
            print(
                name, way, *(f"{measure} {score_text(value)}" for measure, value in told.items()), flush=True
            )
    run = {"steps": options.steps, "clips": options.clips, "seed": options.seed, **scores.run}
    path = options.out / f"{scores.run['date'][:10]}-{machine_label(scores.run['hardware'])}-heads.json"
    write_json(path, {"heads": rows, "run": run})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
