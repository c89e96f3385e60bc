"""The critic: it learns shapes in latents, and what is trained under it learns to show them."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from divot.config.errors import CheckpointError, RecipeError
from divot.config.models import CriticConfig
from divot.config.training import AdaptationConfig, OptimizerConfig, TrainConfig
from divot.detokenizer.critic import ShapeCritic, verdict
from divot.pipelines.divot import Divot
from divot.train.estimate import estimate
from divot.train.run import train
from divot.train.stage import build_stage
from divot.weights.store import ModelFolder, add_critic


@pytest.fixture(scope="module")
def run(model_folder, tmp_path_factory):
    """A critic that saw a few clips often enough to know something of them."""
    folder = tmp_path_factory.mktemp("runs") / "critic"
    config = TrainConfig(
        stage="critic",
        init_model=str(model_folder),
        batch_size=4,
        num_steps=40,
        log_every=1,
        sample_every=40,
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=1, ema_decay=0.0),
    )
    train(config, folder, use_cpu=True)
    return folder


def some_latents():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 5, 4, 4, generator=generator), torch.tensor([[0, 3], [2, 4]])


def test_it_learns_and_is_read_back(run):
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    critic = ModelFolder.open(run / "model").critic()
    assert critic(torch.zeros(3, critic.config.latent_channels, 8, 8)).shape == (3, 11, 8, 8)
    assert (run / "samples" / "step_00000040.png").is_file()


def test_verdict_is_least_for_the_true_latents_and_looks_at_the_frames_it_is_given_alone():
    torch.manual_seed(0)
    critic = ShapeCritic(CriticConfig(latent_channels=3, classes=("star", "cross", "ring"), width=8))
    # Sure that nothing is background.
    torch.nn.init.constant_(critic.conv_out.bias, -20.0)
    critic.conv_out.bias.data[1:] = 0.0
    true, frames = some_latents()
    drawn = true + torch.randn(true.shape, generator=torch.Generator().manual_seed(1))
    assert (verdict(critic, drawn, true, frames) > verdict(critic, true, true, frames)).all()
    elsewhere = true.clone()
    elsewhere[0, :, 1] += 1.0
    torch.testing.assert_close(verdict(critic, elsewhere, true, frames), verdict(critic, true, true, frames))


def test_verdict_of_clips_in_which_nothing_is_seen_is_nothing():
    critic = ShapeCritic(CriticConfig(latent_channels=3, classes=("star", "cross", "ring"), width=8))
    torch.nn.init.constant_(critic.conv_out.bias, -20.0)
    critic.conv_out.bias.data[0] = 20.0
    true, frames = some_latents()
    assert (verdict(critic, true + 1, true, frames) == 0).all()


def test_the_detokenizer_learns_under_a_critic_that_stays_as_it_is(run, model_folder, tmp_path):
    config = TrainConfig(
        stage="detokenizer",
        init_model=str(model_folder),
        batch_size=2,
        num_steps=2,
        log_every=1,
        last_timestep_share=1.0,
        critic=str(run / "model"),
        critic_weight=1.0,
    )
    stage = build_stage(config)
    assert not any(p.requires_grad for p in stage.module.critic.parameters())
    dataset, collate = stage.data(2, tmp_path / "rejects.jsonl")
    batch = collate([dataset[0], dataset[1]])
    chances = [torch.Generator().manual_seed(number) for number in range(2)]
    loss, measures = stage.module(batch, chances)
    without = dataclasses.replace(config, critic=None, critic_weight=TrainConfig().critic_weight)
    chances = [torch.Generator().manual_seed(number) for number in range(2)]
    plain, _ = build_stage(without).module(batch, chances)
    assert measures["critic"] > 0
    assert float(loss.detach()) == pytest.approx(float(plain.detach()) + measures["critic"], rel=1e-5)
    train(config, tmp_path / "run", use_cpu=True)
    assert Divot.from_pretrained(tmp_path / "run" / "model", device="cpu").detokenizer("reconstruct")


def test_a_critic_of_other_latents_none_and_one_taught_by_videos_are_refused(run, model_folder, tmp_path):
    config = TrainConfig(stage="detokenizer", init_model=str(model_folder), critic=str(model_folder))
    with pytest.raises(CheckpointError, match="has no critic"):
        build_stage(config)
    with pytest.raises(CheckpointError, match="has no critic"):
        estimate(config)
    other = shutil.copytree(model_folder, tmp_path / "model")
    add_critic(other, ShapeCritic(CriticConfig(latent_channels=3, width=8)))
    with pytest.raises(CheckpointError, match="3 channels"):
        build_stage(dataclasses.replace(config, critic=str(other)))
    folder = shutil.copytree(run / "model", tmp_path / "elsewhere")
    file = folder / "detokenizer" / "model.safetensors"
    state = load_file(file)
    state = {name: value * 2 if name.startswith("vae.") else value for name, value in state.items()}
    save_file(state, file)
    with pytest.raises(CheckpointError, match="another autoencoder"):
        build_stage(dataclasses.replace(config, critic=str(folder)))
    with pytest.raises(RecipeError, match="world_share"):
        dataclasses.replace(
            TrainConfig(stage="critic", init_model=str(model_folder)),
            data=dataclasses.replace(TrainConfig().data, world_share=0.5, videos=str(tmp_path)),
        ).check("here")


@pytest.fixture
def writing(language_folder, run):
    return TrainConfig(
        stage="adapt",
        init_model=str(language_folder),
        batch_size=2,
        num_steps=2,
        log_every=1,
        last_timestep_share=1.0,
        critic=str(run / "model"),
        adaptation=AdaptationConfig(trains="writing", temperature=0.0, component_temperature=0.0),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=1, ema_decay=0.0),
    )


def test_writing_is_adapted_to_a_detokenizer_that_stays_as_it_is(writing, language_folder, tmp_path):
    train(writing, tmp_path / "run", use_cpu=True)
    model = tmp_path / "run" / "model"
    before, after = (load_file(folder / "lm" / "model.safetensors") for folder in (language_folder, model))
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    for part in ("detokenizer", "tokenizer", "lm/backbone"):
        old, new = (load_file(folder / part / "model.safetensors") for folder in (language_folder, model))
        assert all(torch.equal(old[name].half(), new[name].half()) for name in old)
    told = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert {"critic_mean", "head_mean", "drawn_mean"} <= told.keys()


def test_what_is_drawn_of_written_tokens_reaches_the_head_and_nothing_else(writing, tmp_path):
    stage = build_stage(writing)
    module = stage.module.train()
    # The last layers begin at zero: give them something to pass back.
    with torch.no_grad():
        for parameter in module.detokenizer.unet.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    dataset, collate = stage.data(2, tmp_path / "rejects.jsonl")
    batch = collate([dataset[0], dataset[1]])
    gradients = []
    for weight in (1e-6, 10.0):
        module.config = dataclasses.replace(
            writing, adaptation=dataclasses.replace(writing.adaptation, draw_weight=weight)
        )
        module.zero_grad()
        loss, _ = module(batch, [torch.Generator().manual_seed(number) for number in range(2)])
        loss.backward()
        reached = {name.split(".")[1] for name, p in module.named_parameters() if p.grad is not None}
        assert reached == {"head"}
        assert all(bool(p.grad.isfinite().all()) for p in module.lm.head.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in module.lm.head.parameters()]))
    assert not torch.allclose(*gradients, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cache": "tokens.safetensors"}, "cache"),
        ({"true_share": 0.5}, "true_share"),
        ({"trains": "reading"}, "trains"),
        ({"name": "reconstruction"}, "name"),
    ],
)
def test_settings_that_do_not_go_with_writing_are_refused(writing, changes, told):
    adaptation = dataclasses.replace(writing.adaptation, **changes)
    with pytest.raises(RecipeError, match=told):
        dataclasses.replace(writing, adaptation=adaptation).check("here")
