"""The language stage: both losses fall, a broken run goes on as if nothing had happened, what it leaves answers."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from divot.config.errors import RecipeError
from divot.config.recipe import read_recipe
from divot.config.training import LanguageConfig, LoRAConfig, OptimizerConfig, TrainConfig
from divot.pipelines.divot import Divot
from divot.train.run import train
from divot.weights.merge import merge_model
from divot.weights.store import ModelFolder

STEPS = 4
RECIPES = (
    "paper_lm",
    "paper_lm_comprehension",
    "paper_lm_generation",
    "paper_lm_instruction",
    "paper_lm_story",
    "tiny_lm",
    "tiny_lm_story",
)


@pytest.fixture(scope="module")
def config(language_folder):
    return TrainConfig(
        stage="lm",
        init_model=str(language_folder),
        batch_size=3,
        num_steps=STEPS,
        log_every=1,
        checkpoint_every=2,
        sample_every=STEPS,
        language=LanguageConfig(max_questions=2, lora=LoRAConfig(rank=0)),
        optimizer=OptimizerConfig(learning_rate=1e-3, use_muon=True, warmup_steps=1, ema_decay=0.9),
    )


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config, run, use_cpu=True)
    return run


def weights(run):
    folder = run / "model" / "lm"
    return {**load_file(folder / "model.safetensors"), **load_file(folder / "backbone" / "model.safetensors")}


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_run_leaves_a_model_that_answers_and_something_to_read(unbroken):
    assert len(rows(unbroken)) == STEPS
    assert {"text_loss_mean", "video_loss_mean"} <= set().union(*rows(unbroken))
    assert "wanted:" in (unbroken / "samples" / f"step_{STEPS:08d}.txt").read_text()
    model = Divot.from_pretrained(unbroken / "model", device="cpu")
    assert model.folder.contents.language_models == {"default": "lm"}
    assert "reconstruction" in model.folder.contents.detokenizers


def test_a_run_that_was_stopped_gives_the_same_weights(config, unbroken, tmp_path):
    run = tmp_path / "run"
    train(config, run, max_minutes=0.0, use_cpu=True)
    assert len(rows(run)) < STEPS
    train(config, run, use_cpu=True)
    ours, theirs = weights(run), weights(unbroken)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_losses_fall(config, tmp_path):
    settings = dataclasses.replace(
        config,
        num_steps=40,
        sample_every=1000,
        checkpoint_every=1000,
        optimizer=dataclasses.replace(config.optimizer, learning_rate=5e-3, muon_learning_rate=5e-3),
    )
    run = tmp_path / "run"
    train(settings, run, use_cpu=True)
    told = rows(run)

    def mean(name, part):
        values = [row[name] for row in part if name in row]
        return sum(values) / len(values)

    for name in ("text_loss_mean", "video_loss_mean"):
        assert mean(name, told[-10:]) < mean(name, told[:10])


def test_lora_alone_is_trained_and_merges_to_the_same_answers(config, tmp_path):
    settings = dataclasses.replace(
        config, language=dataclasses.replace(config.language, lora=LoRAConfig(rank=4, alpha=4))
    )
    run = tmp_path / "run"
    train(settings, run, use_cpu=True)
    begun = ModelFolder.open(config.init_model).path / "lm" / "backbone" / "model.safetensors"
    kept = load_file(run / "model" / "lm" / "backbone" / "model.safetensors")
    for name, tensor in load_file(begun).items():
        assert torch.allclose(kept[name].float(), tensor, atol=2e-3), name
    assert (run / "model" / "lm" / "adapter" / "adapter_model.safetensors").is_file()
    assert merge_model(run / "model", tmp_path / "merged") == ["default"]
    with_lora = ModelFolder.open(run / "model").language_model()
    merged = ModelFolder.open(tmp_path / "merged").language_model()
    assert with_lora.has_lora
    assert not merged.has_lora
    ids = torch.arange(20)[None]
    logits = [lm.backbone(ids).logits for lm in (with_lora, merged)]
    assert torch.allclose(*logits, atol=2e-2)


def test_a_new_language_model_begins_with_its_own_words_and_statistics(
    model_folder, config, tmp_path, monkeypatch
):
    from divot.train import lm_stage

    monkeypatch.setattr(lm_stage, "NUM_CORPUS_CLIPS", 10)
    monkeypatch.setattr(lm_stage, "NUM_STATISTICS_CLIPS", 4)
    settings = dataclasses.replace(config, init_model=str(model_folder), num_steps=1)
    train(settings, tmp_path / "run", use_cpu=True)
    lm = ModelFolder.open(tmp_path / "run" / "model").language_model()
    assert lm.config.token_width == 8
    assert float(lm.token_std.min()) > 0
    assert not torch.equal(lm.token_std, torch.ones_like(lm.token_std))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_whole(name):
    recipe = read_recipe(
        name,
        {"stage": "lm", "init_model": "x", "language": {"annotations": "a.jsonl"}, "data": {"videos": "v"}},
    )
    recipe.check(name)
    if name.startswith("paper"):
        lora = recipe.language.lora
        assert (lora.rank, lora.alpha, lora.dropout) == (32, 32, 0.05)
        assert recipe.optimizer.learning_rate == 1e-4
        assert recipe.optimizer.betas == (0.9, 0.98)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"init_model": None}, "needs a tokenizer"),
        ({"language": LanguageConfig(tasks={"dance": 1.0})}, "dance"),
        ({"language": LanguageConfig(tasks={"caption": 0.0})}, "no share"),
    ],
)
def test_wrong_settings_are_named(config, changes, named, tmp_path):
    with pytest.raises(RecipeError, match=named):
        train(dataclasses.replace(config, **changes), tmp_path / "run", use_cpu=True)
