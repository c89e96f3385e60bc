"""Two processes take the steps of one: the same losses for the same batch, however it is shared out."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import yaml

from divot.config.training import LanguageConfig, LoRAConfig, OptimizerConfig, TrainConfig
from divot.train.run import train

STEPS = 4


@pytest.mark.parametrize("stage", ["tokenizer", "lm"])
def test_two_processes_go_on_with_the_losses_of_one(stage, language_folder, tmp_path):
    config = TrainConfig(
        stage=stage,
        init_model=str(language_folder),
        batch_size=4,
        num_steps=STEPS,
        log_every=1,
        last_timestep_share=0.5,
        condition_drop=0.25,
        language=LanguageConfig(max_questions=2, lora=LoRAConfig(rank=0)),
        optimizer=OptimizerConfig(learning_rate=1e-3, use_muon=True, warmup_steps=1, ema_decay=0.9),
    )
    train(config, tmp_path / "one", use_cpu=True)
    # The first step alone; two processes go on from it.
    train(config, tmp_path / "two", max_minutes=0.0, use_cpu=True)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(config)))))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "divot", "train", stage, str(tmp_path / "two"), "--recipe", str(recipe)]
    subprocess.run(
        [*launch, *command, "--device", "cpu", "--quiet"],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    one, two = (
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    )
    assert len(two) == STEPS
    # Sums in another order; later steps add up what the first ones differ by.
    assert two == pytest.approx(one, rel=1e-4)
