"""The training loop: what it leaves, and that it goes on as if nothing had happened."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from divot.cli.main import EXIT_INTERRUPTED
from divot.config.errors import CheckpointError, DataError, RecipeError
from divot.config.files import Lock
from divot.config.merge import from_mapping
from divot.config.training import DataConfig, OptimizerConfig, TrainConfig
from divot.data.mixing import source_of_step
from divot.train.batches import Batches
from divot.train.blocks import compile_blocks, repeated_blocks
from divot.train.optimizers import build_optimizers
from divot.train.run import train
from divot.train.stage import build_stage
from divot.train.state import CheckpointWriter, MovingAverage, TrainState, told_if_unwritable

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


def test_a_short_run_keeps_little_of_the_weights_that_it_began_with():
    module = torch.nn.Linear(2, 2)
    average = MovingAverage(module, 0.9999)
    torch.nn.init.zeros_(average.module.weight)
    torch.nn.init.ones_(module.weight)
    for number in range(100):
        average.update(module, number)
    assert float(average.module.weight.detach().min()) > 0.99
    torch.nn.init.zeros_(module.weight)
    for number in range(10**6, 10**6 + 100):
        average.update(module, number)
    assert float(average.module.weight.detach().min()) == pytest.approx(0.9999**100, rel=1e-3)


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
    left = [run / "checkpoints" / name for name in (".step_00000003.partial", ".step_00000001.old")]
    for folder in left:
        folder.mkdir()
    train(config, run, use_cpu=True)
    assert not any(folder.exists() for folder in left)
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


def test_terminated_run_leaves_with_a_checkpoint_and_goes_on_to_the_same_weights(config, tmp_path):
    steps = 10
    # Beside a data worker, which hears of the stop as well.
    config = dataclasses.replace(
        config,
        num_steps=steps,
        checkpoint_every=steps,
        sample_every=steps,
        data=dataclasses.replace(config.data, num_workers=1),
    )
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(json.loads(json.dumps(dataclasses.asdict(config)))))
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    train(config, unbroken, use_cpu=True)
    command = [sys.executable, "-m", "divot", "train", "tokenizer", str(run), "--recipe", str(recipe)]
    process = subprocess.Popen([*command, "--device", "cpu", "--quiet"], start_new_session=True)
    deadline = time.monotonic() + 240
    while not (run / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it was asked to"
        time.sleep(0.02)
    # As launchers do: to all of them, and once more.
    os.killpg(process.pid, signal.SIGTERM)
    process.terminate()
    assert process.wait(timeout=30) == EXIT_INTERRUPTED
    (saved,) = (run / "checkpoints").iterdir()
    assert 1 <= int(saved.name.removeprefix("step_")) < steps
    assert (run / "model" / "model.json").is_file()
    train(config, run, use_cpu=True)
    assert losses(run) == pytest.approx(losses(unbroken), rel=1e-6)
    for part, state in weights(unbroken).items():
        for name, value in weights(run)[part].items():
            # Written as float16.
            assert torch.allclose(value, state[name], rtol=2e-3, atol=1e-5), f"{part} {name}"


def test_other_settings_on_the_same_run_are_refused(config, unbroken):
    with pytest.raises(RecipeError, match="batch_size"):
        train(dataclasses.replace(config, batch_size=4), unbroken, use_cpu=True)


def test_settings_with_which_a_run_could_not_begin_may_be_changed(config, video_file, tmp_path):
    (tmp_path / "empty").mkdir()
    data = DataConfig(world_share=0.0, videos=str(tmp_path / "empty"))
    for videos, named in ((data.videos, "holds no video"), (str(tmp_path / "none"), "is not there")):
        wrong = dataclasses.replace(config, data=dataclasses.replace(data, videos=videos))
        with pytest.raises(DataError, match=named):
            train(wrong, tmp_path / "run", use_cpu=True)
    right = dataclasses.replace(config, data=dataclasses.replace(data, videos=str(video_file.parent)))
    train(right, tmp_path / "run", max_minutes=0.0, use_cpu=True)
    with pytest.raises(RecipeError, match="another data"):
        train(config, tmp_path / "run", use_cpu=True)


def test_other_frozen_weights_are_refused(config, model_folder, tmp_path):
    begun = shutil.copytree(model_folder, tmp_path / "model")
    config = dataclasses.replace(config, stage="detokenizer", init_model=str(begun))
    train(config, tmp_path / "run", max_minutes=0.0, use_cpu=True)
    file = begun / "tokenizer" / "model.safetensors"
    was = load_file(file)
    save_file({name: -tensor for name, tensor in was.items()}, file)
    with pytest.raises(CheckpointError, match="other weights than those that are there now"):
        train(config, tmp_path / "run", use_cpu=True)
    save_file(was, file)
    train(config, tmp_path / "run", use_cpu=True)


def test_damaged_checkpoint_is_named(config, tmp_path):
    run = tmp_path / "run"
    train(config, run, max_minutes=0.0, use_cpu=True)
    place = run / "checkpoints" / "step_00000001"
    for shard in place.glob("*.distcp"):
        shard.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="step_00000001"):
        train(config, run, use_cpu=True)


def test_losses_that_are_not_numbers_stop_the_run_and_name_their_samples(config, tmp_path, monkeypatch):
    monkeypatch.setattr("divot.train.run.MAX_SKIPPED_IN_A_ROW", 3)
    wild = dataclasses.replace(
        config,
        num_steps=8,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=1e30, warmup_steps=0),
    )
    with pytest.raises(CheckpointError, match="not numbers"):
        train(wild, tmp_path / "run", use_cpu=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    last = rows[-1]
    assert last["samples"] == [2 * last["step"] - 2, 2 * last["step"] - 1]
    assert last["loss"] is None or last["gradient_norm"] is None


def test_a_spike_is_left_out_and_remembered_over_a_stop(config, tmp_path, monkeypatch):
    monkeypatch.setattr("divot.train.state.MIN_NORMS", 2)
    # Of such gradients nearly each other one is above 1.0001 times the median.
    touchy = dataclasses.replace(
        config, num_steps=6, optimizer=dataclasses.replace(config.optimizer, spike_factor=1.0001)
    )
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(touchy, unbroken, use_cpu=True)
    rows = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert 0 < rows[-1]["skipped"] < 6
    assert len((unbroken / "skipped.jsonl").read_text().splitlines()) == rows[-1]["skipped"]
    for _ in range(3):
        train(touchy, broken, max_minutes=0.0, use_cpu=True)
    train(touchy, broken, use_cpu=True)
    assert (broken / "skipped.jsonl").read_text() == (unbroken / "skipped.jsonl").read_text()
    assert losses(broken) == losses(unbroken)


def test_spikes_in_a_row_stop_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr("divot.train.run.MAX_SKIPPED_IN_A_ROW", 2)
    monkeypatch.setattr(TrainState, "is_spike", lambda state, norm: state.step >= 1)
    with pytest.raises(CheckpointError, match="far above the usual"):
        train(config, tmp_path / "run", use_cpu=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3]
    assert rows[0]["samples"] == [2, 3]
    assert rows[0]["loss"] > 0
    assert rows[0]["gradient_norm"] > 0


def test_checkpoint_is_in_its_place_as_soon_as_it_is_written(config, tmp_path):
    module = build_stage(config).module
    state = TrainState(module, build_optimizers(module, config.optimizer), None)
    with CheckpointWriter(tmp_path, 1, Accelerator(cpu=True)) as writer:
        for step in (1, 2):
            state.step = step
            writer.begin(state)
            deadline = time.monotonic() + 60
            while not (tmp_path / f"step_{step:08d}").is_dir() and time.monotonic() < deadline:
                time.sleep(0.02)
                writer.settle()
            assert [place.name for place in tmp_path.iterdir()] == [f"step_{step:08d}"]
    assert [place.name for place in tmp_path.iterdir()] == ["step_00000002"]


def test_two_processes_do_not_train_in_one_folder(config, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with Lock(run), pytest.raises(DataError, match=r"run: is being written by another process"):
        train(config, run, use_cpu=True)
    assert list(run.iterdir()) == []


def test_a_lost_disk_is_not_called_full(tmp_path):
    with (
        pytest.raises(CheckpointError, match=r"No such file.*See that the folder is there"),
        told_if_unwritable(tmp_path / "step_1"),
    ):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_a_data_worker_finds_wrong_is_named_as_ever(config, tmp_path):
    data = DataConfig(world_share=0.0, videos=str(tmp_path), num_workers=1)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"could not be read|unreadable"):
        train(dataclasses.replace(config, data=data), tmp_path / "run", use_cpu=True)


def test_full_disk_leaves_the_last_checkpoint_and_says_so(config, unbroken, tmp_path, monkeypatch):
    from torch.distributed.checkpoint import FileSystemWriter

    run = tmp_path / "run"
    train(config, run, max_minutes=0.0, use_cpu=True)
    with monkeypatch.context() as patch:
        patch.setattr(FileSystemWriter, "write_data", full_disk)
        with pytest.raises(
            CheckpointError, match=r"step_00000002: cannot be written \(No space left.*Free some"
        ):
            train(config, run, use_cpu=True)
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["step_00000001"]
    with monkeypatch.context() as patch:
        patch.setattr("divot.layers.component.save_file", full_disk)
        with pytest.raises(CheckpointError, match=r"model: cannot be written \(No space left"):
            train(config, run, use_cpu=True)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step_00000002", "step_00000004"]
    # What stood there from the first stop is whole still.
    assert not [p for p in run.iterdir() if p.name.startswith(".")]
    train(config, run, use_cpu=True)
    assert losses(run) == losses(unbroken)


def test_parts_of_a_batch_one_after_the_other_take_the_same_step(config, unbroken, tmp_path):
    run = tmp_path / "run"
    train(dataclasses.replace(config, grad_accumulation=2), run, use_cpu=True)
    assert losses(run) == pytest.approx(losses(unbroken), rel=1e-4)


def test_recomputed_activations_take_the_same_step(config, unbroken, tmp_path):
    run = tmp_path / "run"
    train(dataclasses.replace(config, recompute=True), run, use_cpu=True)
    assert losses(run) == pytest.approx(losses(unbroken), rel=1e-5)


def test_every_block_is_compiled_by_itself(config):
    module = build_stage(config).module
    compile_blocks(module)
    assert {type(block).__name__ for block in repeated_blocks(module)} >= {"TransformerBlock", "UNetStage"}
    assert all(block._compiled_call_impl is not None for block in repeated_blocks(module))


@pytest.mark.parametrize("num_processes", [1, 2, 4])
@pytest.mark.parametrize("num_parts", [1, 2])
def test_processes_share_out_each_batch_and_a_taken_up_run_sees_no_number_twice(num_processes, num_parts):
    config = TrainConfig(batch_size=8, num_steps=3, grad_accumulation=num_parts)
    # One batch by one process, then the rest by so many.
    assert numbers(config, 0, 1)[:8] + numbers(config, 1, num_processes) == list(range(24))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_source_has_steps_of_its_own_size_whoever_takes_them(num_processes):
    values = {
        "stage": "lm",
        "init_model": "tiny",
        "batch_size": 8,
        "num_steps": 30,
        "grad_accumulation": 2,
        "data": {"world_share": 0.2},
        "language": {"mixture": [{"annotations": "a", "batch_size": 4, "share": 2}, {"annotations": "b"}]},
    }
    config = from_mapping(TrainConfig, values)
    config.check("test")
    steps = [numbers(config, step, num_processes) for step in range(30)]
    sizes = {0: 4, 1: 8, None: 8}
    drawn = [source_of_step(config, step) for step in range(30)]
    assert {*drawn} == {*sizes}
    for step, source in enumerate(drawn):
        # The step and those after it.
        assert steps[step][: sizes[source]] == list(range(8 * step, 8 * step + sizes[source]))
        assert len(steps[step]) == sum(sizes[later] for later in drawn[step:])


def numbers(config, first_step, num_processes):
    """Clip numbers from a step on, in the order of the steps, processes and parts."""
    own = [
        list(Batches(config, first_step, SimpleNamespace(num_processes=num_processes, process_index=index)))
        for index in range(num_processes)
    ]
    parts = config.grad_accumulation
    return [
        number
        for step in range(0, len(own[0]), parts)
        for mine in own
        for part in mine[step : step + parts]
        for number in part
    ]


def test_sharded_weights_with_muon_are_refused(config, tmp_path):
    with pytest.raises(RecipeError, match=r"use_muon=false"):
        train(dataclasses.replace(config, sharded=True), tmp_path / "run", use_cpu=True)


def test_a_batch_that_cannot_be_parted_is_refused(config, tmp_path):
    with pytest.raises(RecipeError, match="grad_accumulation is 3"):
        train(dataclasses.replace(config, grad_accumulation=3), tmp_path / "run", use_cpu=True)


def test_latents_of_another_autoencoder_are_refused(config, tmp_path):
    from divot.config.models import AutoencoderConfig
    from divot.detokenizer.vae import build_autoencoder

    build_autoencoder(AutoencoderConfig(block_channels=(8, 8), norm_groups=4)).save_pretrained(
        tmp_path / "vae"
    )
    with pytest.raises(CheckpointError, match="other sizes"):
        train(dataclasses.replace(config, init_vae=str(tmp_path / "vae")), tmp_path / "run", use_cpu=True)
