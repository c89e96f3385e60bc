"""The training loop: what it leaves, and that it goes on as if nothing had happened."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from divot.config.errors import CheckpointError, RecipeError
from divot.config.training import OptimizerConfig, TrainConfig
from divot.train.run import train

STEPS = 4


@pytest.fixture(scope="module")
def config(model_folder):
    return TrainConfig(
        stage="tokenizer",
        init_model=str(model_folder),
        batch_size=2,
        num_steps=STEPS,
        log_every=1,
        checkpoint_every=2,
        sample_every=3,
        last_timestep_share=0.5,
        optimizer=OptimizerConfig(learning_rate=1e-3, use_muon=True, warmup_steps=2, ema_decay=0.9),
    )


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config, run, use_cpu=True)
    return run


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run):
    from divot.layers.component import read_weights

    return {
        part: read_weights(run / "model" / part / "model.safetensors")
        for part in ("tokenizer", "detokenizer")
    }


def test_run_leaves_settings_measures_pictures_checkpoints_and_a_model(unbroken):
    assert yaml.safe_load((unbroken / "config.yaml").read_text())["stage"] == "tokenizer"
    assert len(losses(unbroken)) == STEPS
    assert (unbroken / "samples" / "step_00000003.png").stat().st_size > 0
    assert sorted(p.name for p in (unbroken / "checkpoints").iterdir()) == ["step_00000002", "step_00000004"]
    assert (unbroken / "model" / "model.json").is_file()


def test_resumed_run_repeats_losses_and_weights_of_unbroken_run(config, unbroken, tmp_path):
    run = tmp_path / "run"
    # No time at all: a call takes one step and stops with a checkpoint.
    for _ in range(2):
        train(config, run, max_minutes=0.0, use_cpu=True)
    train(config, run, use_cpu=True)
    assert losses(run) == losses(unbroken)
    for part, state in weights(unbroken).items():
        for name, value in weights(run)[part].items():
            assert torch.equal(value, state[name]), f"{part} {name}"


def test_killed_run_goes_on_with_the_losses_of_an_unbroken_run(config, unbroken, tmp_path):
    run = tmp_path / "run"
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(dataclasses.asdict(config)))
    script = (
        "import json, sys; from divot.config.merge import from_mapping; from divot.config.training import TrainConfig;"
        "from divot.train.run import train;"
        "train(from_mapping(TrainConfig, json.load(open(sys.argv[1]))), sys.argv[2], use_cpu=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(settings), str(run)])
    deadline = time.monotonic() + 240
    while not (run / "checkpoints" / "step_00000002").is_dir() and time.monotonic() < deadline:
        assert process.poll() in (None, 0), "the run ended with an error"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    train(config, run, use_cpu=True)
    assert losses(run) == pytest.approx(losses(unbroken), rel=1e-6)


def test_other_settings_on_the_same_run_are_refused(config, unbroken):
    with pytest.raises(RecipeError, match="batch_size"):
        train(dataclasses.replace(config, batch_size=4), unbroken, use_cpu=True)


def test_damaged_checkpoint_is_named(config, tmp_path):
    run = tmp_path / "run"
    train(config, run, max_minutes=0.0, use_cpu=True)
    place = run / "checkpoints" / "step_00000001"
    for shard in place.glob("*.distcp"):
        shard.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="step_00000001"):
        train(config, run, use_cpu=True)


def test_losses_that_are_not_numbers_stop_the_run(config, tmp_path):
    wild = dataclasses.replace(
        config,
        num_steps=40,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e30, warmup_steps=0),
    )
    with pytest.raises(CheckpointError, match="not numbers"):
        train(wild, tmp_path / "run", use_cpu=True)


def test_latents_of_another_autoencoder_are_refused(config, tmp_path):
    from divot.config.models import AutoencoderConfig
    from divot.detokenizer.vae import build_autoencoder

    build_autoencoder(AutoencoderConfig(block_channels=(8, 8), norm_groups=4)).save_pretrained(
        tmp_path / "vae"
    )
    with pytest.raises(CheckpointError, match="other sizes"):
        train(dataclasses.replace(config, init_vae=str(tmp_path / "vae")), tmp_path / "run", use_cpu=True)
