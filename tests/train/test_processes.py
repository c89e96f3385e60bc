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


# Several runs in one launch: what starts two processes takes longer than the steps.
SCRIPT = """
import json
import sys

from divot.cli.main import app

for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)
"""


def launched(commands, folder):
    """Commands, one after the other, on two processes of this machine."""
    script = folder / "commands.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run(
        [*launch, str(script), json.dumps(commands)],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def settings(stage, model, sharded=False, lora_rank=0):
    return TrainConfig(
        stage=stage,
        init_model=str(model),
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


@pytest.mark.parametrize(
    "runs",
    [
        [("tokenizer",), ("distill",), ("detokenizer",), ("adapt",), ("lm",)],
        [("lm", True), ("lm", True, 4)],
    ],
    ids=["replicated", "sharded"],
)
def test_two_processes_go_on_with_the_losses_of_one(runs, language_folder, tmp_path):
    folders, commands = [], []
    for number, (stage, *rest) in enumerate(runs):
        config = settings(stage, language_folder, *rest)
        recipe, one, two = (tmp_path / f"{number}_{name}" for name in ("recipe.yaml", "one", "two"))
        recipe.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(config)))))
        train(config, one, use_cpu=True)
        command = ["train", stage, str(two), "--recipe", str(recipe), "--device", "cpu", "--quiet"]
        commands.append(command)
        folders.append((stage, one, two, config))
    if any(config.sharded for *_, config in folders):
        # Their checkpoints are taken up by one process.
        launched([[*command, "--max-minutes", "0"] for command in commands], tmp_path)
    for _, _, two, config in folders:
        train(config, two, max_minutes=0.0, use_cpu=True)
    launched(commands, tmp_path)
    for stage, one, two, _ in folders:
        assert len(losses(two)) == STEPS
        # Sums in another order; later steps add up what the first ones differ by.
        assert losses(two) == pytest.approx(losses(one), rel=1e-4), stage
        if stage == "lm":
            first, second = (load_file(run / "model/lm/backbone/model.safetensors") for run in (one, two))
            assert first.keys() == second.keys()
            assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-3) for name in first)
