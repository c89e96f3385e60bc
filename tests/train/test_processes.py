"""Two processes take the steps of one: the same losses for the same batch, however it is shared out."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from divot.config.language import LanguageConfig, LoRAConfig
from divot.config.training import OptimizerConfig, TrainConfig
from divot.train.run import train

STEPS = 4


def launched(recipe, run, stage, *options):
    """The command on two processes of this machine."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "divot", "train", stage, str(run), "--recipe", str(recipe), *options]
    subprocess.run(
        [*launch, *command, "--device", "cpu", "--quiet"],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("stage", "sharded", "lora_rank"),
    [
        ("tokenizer", False, 0),
        ("distill", False, 0),
        ("detokenizer", False, 0),
        ("adapt", False, 0),
        ("lm", False, 0),
        ("lm", True, 0),
        ("lm", True, 4),
    ],
)
def test_two_processes_go_on_with_the_losses_of_one(stage, sharded, lora_rank, language_folder, tmp_path):
    config = TrainConfig(
        stage=stage,
        init_model=str(language_folder),
        batch_size=4,
        num_steps=STEPS,
        log_every=1,
        sharded=sharded,
        last_timestep_share=0.0 if stage in ("lm", "distill") else 0.5,
        condition_drop=0.25 if stage in ("detokenizer", "adapt") else 0.0,
        # What a dropout leaves out is each process's own chance.
        language=LanguageConfig(max_questions=2, lora=LoRAConfig(rank=lora_rank, dropout=0.0)),
        optimizer=OptimizerConfig(learning_rate=1e-3, use_muon=not sharded, warmup_steps=1, ema_decay=0.9),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train(config, one, use_cpu=True)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(config)))))
    if sharded:
        # Its checkpoint is taken up by one process.
        launched(recipe, two, stage, "--max-minutes", "0")
    train(config, two, max_minutes=0.0, use_cpu=True)
    launched(recipe, two, stage)
    assert len(losses(two)) == STEPS
    # Sums in another order; later steps add up what the first ones differ by.
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    if stage == "lm":
        one, two = (load_file(run / "model/lm/backbone/model.safetensors") for run in (one, two))
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[name].float(), two[name].float(), atol=1e-3) for name in one)
