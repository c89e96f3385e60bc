"""What each stage trains, and what it leaves alone."""

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from divot.config.presets import preset
from divot.config.training import DistillationConfig, TrainConfig
from divot.detokenizer.vae import build_autoencoder
from divot.train.diffusion_stage import DiffusionStage
from divot.train.stage import build_stage
from divot.train.vae_stage import VaeStage
from divot.train.vae_start import start_from_patches
from divot.video.clips import SEEN_FRAMES
from divot.weights.store import ModelFolder, add_detokenizer
from divot.world import clip


@pytest.fixture
def clips():
    frames = np.stack([clip(3, number, "train", 32).frames for number in range(2)])
    return torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float() / 127.5 - 1


def chances(seed=0):
    """Of two clips."""
    return [torch.Generator().manual_seed(seed + index) for index in range(2)]


def trained_parts(config, clips):
    """Names of the parts whose parameters get a gradient."""
    module = build_stage(config).module.train()
    # The last layers begin at zero: give them something to pass back.
    with torch.no_grad():
        for parameter in module.detokenizer.unet.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    loss, _ = module(clips, chances())
    loss.backward()
    return {
        ".".join(name.split(".")[:2])
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    }


def test_tokenizer_stage_trains_all_but_the_autoencoder(model_folder, clips):
    parts = trained_parts(TrainConfig(stage="tokenizer", init_model=str(model_folder)), clips)
    assert parts == {
        "tokenizer.vit",
        "tokenizer.temporal",
        "tokenizer.norm",
        "tokenizer.spatiotemporal",
        "tokenizer.resampler",
        "detokenizer.projector",
        "detokenizer.unet",
    }


def test_a_model_that_goes_on_keeps_the_name_of_its_sizes(model_folder, tmp_path):
    stage = build_stage(TrainConfig(stage="tokenizer", init_model=str(model_folder)))
    stage.save(stage.module, tmp_path / "model")
    # Its sizes are those of no preset.
    assert ModelFolder.open(tmp_path / "model").preset is None


def test_frozen_vit_gets_no_gradient(model_folder, clips):
    parts = trained_parts(
        TrainConfig(stage="tokenizer", init_model=str(model_folder), train_vit=False), clips
    )
    assert "tokenizer.vit" not in parts
    assert "tokenizer.temporal" in parts


def test_detokenizer_stage_trains_projector_and_unet_alone(model_folder, clips):
    parts = trained_parts(TrainConfig(stage="detokenizer", init_model=str(model_folder)), clips)
    assert parts == {"detokenizer.projector", "detokenizer.unet"}


@pytest.fixture
def distilled(model_folder, tmp_path):
    """A stage that makes fewer, narrower tokens than those of a preset."""
    source = shutil.copytree(model_folder, tmp_path / "source")
    contents = source / "model.json"
    contents.write_text(json.dumps({**json.loads(contents.read_text()), "preset": "tiny"}))
    sizes = DistillationConfig(num_tokens=5, token_width=6, resampler_depth=2, projector_depth=2)
    return build_stage(TrainConfig(stage="distill", init_model=str(source), distillation=sizes))


def test_distillation_trains_resampler_and_projector_alone(distilled, clips):
    assert trained_parts(distilled.config, clips) == {"tokenizer.resampler", "detokenizer.projector"}


def test_distilled_tokens_learn_to_tell_the_unet_what_the_old_ones_did(distilled, clips, tmp_path):
    module = distilled.module.train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(60):
        loss, _ = module(clips, chances())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    distilled.save(module, tmp_path / "model")
    folder = ModelFolder.open(tmp_path / "model")
    tokenizer, detokenizer = folder.tokenizer(), folder.detokenizer("reconstruct")
    with torch.no_grad():
        tokens = tokenizer(clips[:, list(SEEN_FRAMES)])
    assert tokens.shape == (2, 5, 6)
    assert detokenizer.decode(tokens).shape == clips.shape
    torch.testing.assert_close(detokenizer.null_tokens, tokenizer.null_tokens()[0], rtol=1e-2, atol=1e-2)
    # Whatever preset the old tokens were of.
    assert folder.preset is None
    # The language model of the old tokens is not for these.
    assert not folder.contents.language_models


def test_what_distilled_tokens_are_to_tell_is_the_context_of_the_old_ones(model_folder, clips):
    module = build_stage(TrainConfig(stage="distill", init_model=str(model_folder))).module
    assert float(module(clips, chances())[0]) > 0.01
    module.tokenizer.resampler.load_state_dict(module.old_resampler.state_dict())
    module.detokenizer.projector.load_state_dict(module.old_projector.state_dict())
    assert float(module(clips, chances())[0]) == 0
    module.config = dataclasses.replace(module.config, token_noise=0.5)
    assert float(module(clips, chances())[0]) > 0


def test_noise_is_a_share_of_the_tokens_and_of_each_clip_by_itself(model_folder, clips):
    config = TrainConfig(stage="tokenizer", init_model=str(model_folder), token_noise=0.5)
    module, seen = DiffusionStage(config).module.eval(), []
    with torch.no_grad():
        own = module.tokenizer(clips[:, list(SEEN_FRAMES)])
    predict = module.detokenizer.predict
    module.detokenizer.predict = lambda x, t, tokens: seen.append(tokens) or predict(x, t, tokens)
    for scale in (1.0, 10.0):
        module.tokenizer.forward = lambda _, scale=scale: own * scale
        for rows, seed in ((slice(0, 2), 0), (slice(1, 2), 1)):
            module(clips[rows], chances(seed)[: len(clips[rows])])
    both, alone, *larger = (
        tokens - own[-len(tokens) :] * scale for tokens, scale in zip(seen, (1, 1, 10, 10), strict=True)
    )
    torch.testing.assert_close(alone[0], both[1])
    torch.testing.assert_close(larger[0], 10 * both, rtol=1e-4, atol=1e-5)
    shares = both.pow(2).mean(dim=(1, 2)) / own.pow(2).mean(dim=(1, 2))
    drawn = torch.cat([torch.rand(1, generator=chance) for chance in chances()])
    torch.testing.assert_close(shares, 0.5 * drawn, rtol=0.2, atol=0.0)


def test_dropped_condition_makes_the_loss_blind_to_the_clip_seen(model_folder, clips):
    config = TrainConfig(stage="detokenizer", init_model=str(model_folder), condition_drop=1.0)
    module = DiffusionStage(config).module.eval()
    with torch.no_grad():
        for parameter in module.detokenizer.unet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        latents = module.detokenizer.encode_frames(clips)
        module.detokenizer.encode_frames = lambda _: latents
        blind = [float(module(c, chances(1))[0]) for c in (clips, clips.flip(0))]
        module.config = dataclasses.replace(config, condition_drop=0.0)
        seeing = [float(module(c, chances(1))[0]) for c in (clips, clips.flip(0))]
    assert blind[0] == blind[1]
    assert seeing[0] != seeing[1]


def test_detokenizer_stage_leaves_the_tokens_and_what_knows_them(language_folder, tmp_path):
    start = tmp_path / "start"
    shutil.copytree(language_folder, start)
    before = add_detokenizer(start, "generation", ModelFolder.open(start).detokenizer("reconstruct"))
    stage = build_stage(TrainConfig(stage="detokenizer", init_model=str(start)))
    with torch.no_grad():
        next(stage.module.detokenizer.unet.parameters()).add_(1)
    stage.save(stage.module, tmp_path / "model")
    after = ModelFolder.open(tmp_path / "model")
    assert after.contents.language_models == before.contents.language_models != {}
    assert after.tokenizer_hash == before.tokenizer_hash
    one, other = (next(folder.detokenizer("generate").unet.parameters()) for folder in (before, after))
    torch.testing.assert_close(other, one + 1, rtol=1e-2, atol=1e-2)


def test_vae_stage_with_frozen_encoder_keeps_the_latents():
    config = TrainConfig(stage="vae", train_vae_encoder=False)
    module = VaeStage(config).module
    loss, measures = module(torch.rand(2, 16, 3, 64, 64) * 2 - 1, chances())
    loss.backward()
    assert all(p.grad is None for p in module.vae.encoder.parameters())
    assert any(p.grad is not None for p in module.vae.decoder.parameters())
    assert measures["psnr"] > 0


def test_start_from_patches_is_far_ahead_of_random_weights():
    torch.manual_seed(0)
    vae = build_autoencoder(preset("tiny").detokenizer.autoencoder)
    frames = np.stack([clip(3, number, "train", 64).frames[number % 16] for number in range(40)])
    images = frames.astype(np.float32) / 127.5 - 1
    started = copy.deepcopy(vae)
    start_from_patches(started, images[:30])
    unseen = torch.from_numpy(images[30:]).permute(0, 3, 1, 2)

    def psnr(model):
        with torch.no_grad():
            decoded = model.decode(model.encode(unseen).latent_dist.mean).sample
        return float(10 * torch.log10(4 / (decoded - unseen).pow(2).mean()))

    assert psnr(started) > psnr(vae) + 6


def test_start_from_patches_refuses_an_autoencoder_of_other_levels():
    config = dataclasses.replace(preset("tiny").detokenizer.autoencoder, block_channels=(8, 24))
    with pytest.raises(ValueError, match="three levels"):
        start_from_patches(build_autoencoder(config), np.zeros((1, 8, 8, 3), np.float32))
