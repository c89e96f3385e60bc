"""What a run would take: the numbers of the real models and optimizers, and nothing is written."""

import json

import pytest
import torch

from divot.config.language import LanguageConfig, LoRAConfig
from divot.config.training import OptimizerConfig, TrainConfig
from divot.lm.backbone import new_backbone
from divot.pipelines.divot import Divot
from divot.text.pieces import learn_pieces
from divot.train.estimate import STATE_SHARE, Estimate, estimate, places
from divot.train.optimizers import build_optimizers
from divot.train.stage import build_stage
from divot.train.state import MovingAverage


@pytest.mark.parametrize("stage", ["tokenizer", "distill", "critic", "detokenizer", "lm", "adapt"])
@pytest.mark.parametrize("use_muon", [False, True])
def test_estimate_is_what_a_step_really_keeps(language_folder, stage, use_muon):
    config = TrainConfig(
        stage=stage,
        init_model=str(language_folder),
        optimizer=OptimizerConfig(use_muon=use_muon),
        language=LanguageConfig(lora=LoRAConfig(rank=2)),
    )
    module = build_stage(config).module
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizers = build_optimizers(module, config.optimizer)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    kept = sum(
        value.nbytes
        for optimizer in optimizers
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    )
    told = estimate(config)
    assert told.trainable_parameters == sum(p.numel() for p in trained)
    assert told.frozen_parameters == sum(p.numel() for p in module.parameters() if not p.requires_grad)
    assert told.optimizer_bytes == kept
    assert told.gradients_bytes == sum(p.grad.nbytes for p in trained)
    average = MovingAverage(module, 0.9)
    copied = [*(p for p in average.module.parameters() if p.requires_grad), *average.module.buffers()]
    assert told.average_bytes == sum(value.nbytes for value in copied)
    named = dict(average.module.named_parameters())
    assert all(named[name].requires_grad for name in average.state_dict() if name in named)
    shared = {p.data_ptr() for p in module.parameters() if not p.requires_grad}
    assert shared == {p.data_ptr() for p in average.module.parameters() if not p.requires_grad}
    assert not {p.data_ptr() for p in trained} & {p.data_ptr() for p in average.module.parameters()}


def test_a_plan_needs_no_weights_of_a_backbone_that_lacks_the_places(language_folder, tmp_path):
    lm = Divot.from_pretrained(language_folder, device="cpu").language_model()
    folder = tmp_path / "backbone"
    new_backbone({**lm.backbone.config.to_dict(), "vocab_size": 40}).save_pretrained(folder)
    learn_pieces(["a red star"], 40).save_pretrained(folder)
    language = LanguageConfig(backbone=str(folder), lora=LoRAConfig(rank=2))
    config = TrainConfig(stage="lm", init_model=str(language_folder), language=language)
    assert estimate(config).trainable_parameters > 0


def test_a_place_fits_when_the_state_leaves_the_rest_of_the_gpu():
    state = Estimate(1, 0, int(20e9), int(20e9), int(40e9), 0)
    by_place = {(place.gpu_gb, place.num_gpus): place for place in places(state)}
    assert not by_place[80, 8].copies_fit
    assert by_place[80, 8].copies_gb == 80.0 > 80 * STATE_SHARE
    assert by_place[141, 1].copies_fit
    assert by_place[24, 8].sharded_fits
    assert by_place[24, 8].sharded_gb == 10.0
    assert not by_place[24, 1].sharded_fits


def test_dry_run_of_the_paper_needs_no_weights_and_writes_nothing(tmp_path, monkeypatch, capsys):
    from divot.cli.main import app

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        app(["train", "detokenizer", "run", "--preset", "paper", "--plan", "--json"])
    assert not stopped.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["config"]["preset"] == "paper"
    assert told["missing"].keys() == {"init_model=FOLDER", "data.videos=FOLDER"}
    assert told["trainable_parameters"] > 1e9
    assert told["samples"] == told["steps"] * told["samples_a_step"]
    assert len(told["plan"]) == 10
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit):
        app(["train", "vae", "run", "--dry-run"])
    assert "trainable" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
