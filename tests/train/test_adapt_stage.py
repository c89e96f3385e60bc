"""De-tokenizer adaptation: the de-tokenizer alone learns, from tokens drawn anew or kept; a run can be broken."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from divot.config.errors import CheckpointError, RecipeError
from divot.config.language import LanguageConfig, SourceConfig
from divot.config.recipe import read_recipe
from divot.config.training import AdaptationConfig, DataConfig, OptimizerConfig, TrainConfig
from divot.data.tasks import task_turns
from divot.lm.generate import Dialogue
from divot.pipelines.divot import Divot
from divot.train.adapt_stage import AdaptationStage
from divot.train.run import train
from divot.train.stage import build_stage

STEPS = 3


def prepared(config):
    stage = build_stage(config)
    stage.prepare()
    return stage


@pytest.fixture(scope="module")
def config(language_folder):
    return TrainConfig(
        stage="adapt",
        init_model=str(language_folder),
        batch_size=2,
        num_steps=STEPS,
        log_every=1,
        checkpoint_every=1,
        sample_every=STEPS,
        condition_drop=0.05,
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=1, ema_decay=0.0),
    )


@pytest.fixture(scope="module")
def unbroken(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config, run, use_cpu=True)
    return run


def detokenizer(run):
    return load_file(run / "model" / "detokenizer_generation" / "model.safetensors")


def test_only_the_detokenizer_changes_and_stands_under_its_name(unbroken, language_folder):
    model = Divot.from_pretrained(unbroken / "model", device="cpu")
    assert model.folder.detokenizer_name("generate") == "generation"
    assert model.folder.detokenizer_name("reconstruct") == "reconstruction"
    before = load_file(language_folder / "detokenizer" / "model.safetensors")
    after = detokenizer(unbroken)
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert changed
    assert not any(name.startswith("vae.") for name in changed)
    old = Divot.from_pretrained(language_folder, device="cpu").folder
    assert model.folder.tokenizer_hash == old.tokenizer_hash
    assert model.folder.language_model_hash("default") == old.language_model_hash("default")
    assert (unbroken / "samples" / f"step_{STEPS:08d}.png").is_file()


def test_a_run_that_was_stopped_gives_the_same_weights(config, unbroken, tmp_path):
    run = tmp_path / "run"
    train(config, run, max_minutes=0.0, use_cpu=True)
    train(config, run, use_cpu=True)
    ours, theirs = detokenizer(run), detokenizer(unbroken)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_tokens_are_the_language_models_and_not_the_clips(config):
    stage = build_stage(config)
    dataset, collate = stage.data(4, None)
    batch = collate([dataset[number] for number in range(4)])
    chances = [torch.Generator().manual_seed(number) for number in range(4)]
    own = stage.module.true_tokens(batch)
    drawn = stage.module.draw(batch, own, chances)
    assert drawn.shape == (4, 64, 8)
    assert not torch.equal(drawn, stage.module.draw(batch, own, chances))
    true = dataclasses.replace(config, adaptation=AdaptationConfig(true_share=1.0), condition_drop=0.0)
    losses = []
    for one in (config, true):
        module = AdaptationStage(one).module.train()
        assert not module.lm.training
        torch.manual_seed(0)
        losses.append(float(module(batch, chances)[0].detach()))
    assert losses[0] != losses[1]


def test_a_planned_clip_is_drawn_after_its_own_plan(config):
    stage = build_stage(config)
    stage.module.lm.take_plans(True)
    dataset, _ = stage.data(2, None)
    text = stage.module.lm.tokenizer.decode(dataset[0].sequence.ids)
    assert f"({dataset.language.draw(0)[0].plans[0]})<vid>" in text


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_tokens_of_queries_are_drawn_as_generate_writes_them(config, guidance):
    stage = build_stage(config)
    lm = stage.module.lm
    lm.take_writing("bidirectional")
    lm.config = dataclasses.replace(lm.config, text_guidance=guidance)
    dataset, collate = stage.data(2, None)
    batch = collate([dataset[number] for number in range(2)])
    chances = [torch.Generator().manual_seed(number) for number in range(2)]
    drawn = stage.module.draw(batch, stage.module.true_tokens(batch), chances)
    record, task, rng = dataset.language.draw(1)
    asked = [dataclasses.replace(turn, answer=None) for turn in task_turns(record, task, rng, 1)]
    prompt = lm.builder().build(lm.segments(asked))
    alone = Dialogue(lm, [prompt], generator=torch.Generator().manual_seed(1)).write_clip()
    assert torch.allclose(drawn[1:], alone, atol=1e-4)


def test_written_one_by_one_each_token_is_drawn_after_the_true_ones(config):
    # No variance, and the likeliest component: what is drawn tells what was read.
    settings = AdaptationConfig(temperature=0.0, component_temperature=0.0)
    stage = build_stage(dataclasses.replace(config, adaptation=settings))
    stage.module.lm.take_writing("autoregressive")
    dataset, collate = stage.data(2, None)
    batch = collate([dataset[number] for number in range(2)])
    own = stage.module.true_tokens(batch)
    chance = torch.Generator().manual_seed(0)
    drawn = stage.module.draw(batch, own, chance)
    changed = own.clone()
    changed[:, 40] += 1.0
    again = stage.module.draw(batch, changed, chance)
    assert torch.allclose(again[:, :41], drawn[:, :41], atol=1e-5)
    assert not torch.allclose(again[:, 41], drawn[:, 41], atol=1e-3)


def test_kept_tokens_are_drawn_once(config, tmp_path):
    file = tmp_path / "drawn.safetensors"
    settings = dataclasses.replace(config, adaptation=AdaptationConfig(cache=str(file), cache_size=3))
    stage = prepared(settings)
    kept = file.read_bytes()
    assert stage.module.cache.tokens.shape == (3, 64, 8)
    dataset, _ = stage.data(6, None)
    assert dataset[4].number == 1
    assert (dataset[4].frames == dataset[1].frames).all()
    assert torch.equal(prepared(settings).module.cache.tokens, stage.module.cache.tokens)
    assert file.read_bytes() == kept
    with pytest.raises(CheckpointError, match="another model or run"):
        prepared(dataclasses.replace(settings, seed=1))
    (tmp_path / "words.jsonl").write_text('{"video": "a.mp4", "caption": "a butterfly"}')
    part = SourceConfig(str(tmp_path / "words.jsonl"), tasks={"question": 1.0})
    other = dataclasses.replace(
        settings, data=DataConfig(world_share=0.5), language=LanguageConfig(mixture=(part,))
    )
    with pytest.raises(CheckpointError, match="another model or run"):
        prepared(other)
    # Other questions are asked of other clips.
    kinds = LanguageConfig(question_kinds=("change",))
    with pytest.raises(CheckpointError, match="another model or run"):
        prepared(dataclasses.replace(settings, language=kinds))
    file.write_bytes(kept[:50])
    with pytest.raises(CheckpointError, match=r"drawn.safetensors: cannot be read"):
        prepared(settings)


def test_kept_tokens_are_those_that_are_drawn_alone(config, tmp_path, monkeypatch):
    settings = dataclasses.replace(
        config, adaptation=AdaptationConfig(cache=str(tmp_path / "a.safetensors"), cache_size=3)
    )
    together = prepared(settings).module.cache.tokens
    monkeypatch.setattr("divot.train.adapt_cache._DRAWN_AT_ONCE", 1)
    alone = AdaptationConfig(cache=str(tmp_path / "b.safetensors"), cache_size=3)
    one_by_one = prepared(dataclasses.replace(settings, adaptation=alone)).module.cache.tokens
    assert torch.allclose(one_by_one, together, atol=1e-4)


def test_kept_tokens_of_other_clips_are_refused(config, tmp_path, video_file):
    shutil.copy(video_file, tmp_path / "a.mp4")
    lines = [{"video": "a.mp4", "caption": "a bar"}, {"video": "b.mp4", "caption": "a bird"}]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = dataclasses.replace(
        config,
        data=DataConfig(world_share=0.0),
        language=LanguageConfig(annotations=str(tmp_path / "words.jsonl")),
        adaptation=AdaptationConfig(cache=str(tmp_path / "drawn.safetensors"), cache_size=STEPS * 2),
    )
    train(settings, tmp_path / "one", use_cpu=True)
    # What was left out can be read now, and samples are drawn from it too.
    shutil.copy(video_file, tmp_path / "b.mp4")
    with pytest.raises(CheckpointError, match=r"drawn.safetensors: holds for sample \d tokens of another"):
        train(settings, tmp_path / "two", use_cpu=True)


def test_adapted_for_everything_it_takes_the_place_of_one_adapted_before(config, unbroken, tmp_path):
    again = dataclasses.replace(
        config, init_model=str(unbroken / "model"), adaptation=AdaptationConfig(name="reconstruction")
    )
    train(again, tmp_path / "run", use_cpu=True)
    folder = Divot.from_pretrained(tmp_path / "run" / "model", device="cpu").folder
    assert set(folder.contents.detokenizers) == {"reconstruction"}
    assert folder.detokenizer_name("generate") == "reconstruction"
    assert not (tmp_path / "run" / "model" / "detokenizer_generation").exists()


def test_a_mixture_gives_its_captions_whatever_it_is_for_elsewhere(config, tmp_path):
    part = SourceConfig("a.jsonl", tasks={"question": 1.0})
    stage = AdaptationStage(dataclasses.replace(config, language=LanguageConfig(mixture=(part,))))
    assert [source.tasks for source in stage.config.sources] == [None]
    stored = dataclasses.replace(
        config, language=LanguageConfig(mixture=(SourceConfig("a.jsonl", tokens="s"),))
    )
    with pytest.raises(RecipeError, match=r"mixture\[0\].batch_size or tokens"):
        stored.check("test")


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_recipes(preset):
    changes = {
        "init_model": "x",
        "data": {"videos": "v", "world_share": 0.0},
        "language": {"annotations": "a.jsonl"},
    }
    config = read_recipe(f"{preset}_adapt", {"stage": "adapt", "preset": preset, **changes})
    assert config.condition_drop == 0.05
