"""Gaussian mixture, regression and diffusion (v and epsilon) as head, on one language model with one budget: a table.

    python benchmarks/compare_heads.py out/heads --steps 400 --clips 100 --out benchmarks/results

Heads of new weights learn side by side what the language model's own head knows: each sees the same hidden states of
the same clips in the same order, and nothing but the heads is trained. Those states were made for a Gaussian mixture.
Then clips of the test split are made from their captions, one for each, without a choice among candidates.
"""

import argparse
import shutil
from pathlib import Path

import torch
from dated_results import machine_label

from divot.config.files import write_json
from divot.config.models import HeadConfig
from divot.config.recipe import read_recipe
from divot.config.training import OptimizerConfig, TrainConfig
from divot.evaluation.world_scores import evaluate_world
from divot.lm.heads import Head, build_head
from divot.lm.sampling import TokenSampling
from divot.pipelines.divot import Divot
from divot.train.lm_stage import LanguageStage
from divot.train.optimizers import build_optimizers, rate_share
from divot.weights.store import add_language_model, changed_copy

HEADS = {
    "gmm": {"kind": "gmm"},
    "regression": {"kind": "regression"},
    "diffusion_v": {"kind": "diffusion", "prediction": "v_prediction"},
    "diffusion_epsilon": {"kind": "diffusion", "prediction": "epsilon"},
}
SHOWN = (
    "generation_colour",
    "generation_shape",
    "generation_motion",
    "generation_all",
    "generation_diversity",
)
RATES = OptimizerConfig(learning_rate=2e-3, warmup_steps=20, final_share=0.02)
LOGGED_STEPS = 50


def teach_heads(stage: LanguageStage, config: TrainConfig, runs: Path) -> None:
    """Train all heads, and write a copy of the model with each."""
    lm, generator = stage.module.lm, torch.Generator().manual_seed(config.seed)
    configs = {name: HeadConfig(**{**vars(lm.config.head), **kind}) for name, kind in HEADS.items()}
    hidden_width = lm.backbone.config.get_text_config().hidden_size
    torch.manual_seed(config.seed)
    heads: dict[str, Head] = {
        name: build_head(head, hidden_width, lm.config.token_width) for name, head in configs.items()
    }
    optimizers = {name: build_optimizers(head, RATES)[0] for name, head in heads.items()}
    dataset, collate = stage.data(config.num_steps * config.batch_size, runs / "rejects.jsonl")
    loader = torch.utils.data.DataLoader(
        dataset, config.batch_size, collate_fn=collate, num_workers=1, generator=generator
    )
    lm.eval().requires_grad_(False)
    for step, batch in enumerate(loader):
        with torch.no_grad():
            states, tokens = [], []
            for group in stage.module.with_tokens(batch):
                states.append(lm.query_states(lm.states(group), group))
                tokens.append(lm.scaled(group.written_tokens))
        told = []
        for name, head in heads.items():
            loss = head.loss(torch.cat(states), torch.cat(tokens))
            loss.backward()
            for settings in optimizers[name].param_groups:
                settings["lr"] = settings["highest_lr"] * rate_share(step, config.num_steps, RATES)
            optimizers[name].step()
            optimizers[name].zero_grad()
            told.append(f"{name} {loss:.4f}")
        if (step + 1) % LOGGED_STEPS == 0:
            print(f"{step + 1} of {config.num_steps}: {', '.join(told)}", flush=True)
    for name, head in heads.items():
        lm.take_new_head(configs[name])
        lm.head.load_state_dict(head.state_dict())
        shutil.rmtree(runs / name, ignore_errors=True)
        with changed_copy(stage.folder, runs / name) as beside:
            add_language_model(beside, config.language.name, lm)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, help="folder of the models")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    config = read_recipe(
        "tiny_lm",
        {
            "stage": "lm",
            "preset": "tiny",
            "init_model": options.model,
            "num_steps": options.steps,
            "batch_size": options.batch_size,
            "seed": options.seed,
            "language": {
                "is_new": False,
                "tasks": {"generation": 1.0, **dict.fromkeys(("caption", "question"), 0.0)}
                | dict.fromkeys(("story", "image_caption", "image_generation"), 0.0),
            },
        },
    )
    options.runs.mkdir(parents=True, exist_ok=True)
    teach_heads(LanguageStage(config), config, options.runs)
    rows = {}
    for name in HEADS:
        rows[name] = {}
        model = Divot.from_pretrained(options.runs / name)
        ways = {"draw": TokenSampling(candidates=1)}
        if name == "gmm":
            ways["mean"] = TokenSampling(is_mean=True)
        for way, sampling in ways.items():
            scores = evaluate_world(model, options.seed, options.clips, has_controls=False, sampling=sampling)
            told = {measure: scores.measures[measure] for measure in SHOWN}
            rows[name][way] = {measure: value.to_json() for measure, value in told.items()}
            print(name, way, *(f"{measure} {value.text()}" for measure, value in told.items()), flush=True)
    run = {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "clips": options.clips,
        "seed": options.seed,
        **scores.run,
    }
    path = options.out / f"{scores.run['date'][:10]}-{machine_label(scores.run['hardware'])}-heads.json"
    write_json(path, {"heads": rows, "run": run})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
