"""DynamiCrafter's checkpoint: its parts become ours, by their names, and every tensor is accounted for."""

import dataclasses
import json

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from divot.config.errors import CheckpointError
from divot.config.merge import from_mapping
from divot.config.models import UNetConfig, ViTConfig
from divot.detokenizer.unet import VideoUNet
from divot.detokenizer.vae import build_autoencoder
from divot.tokenizer.vit import FrameEncoder
from divot.weights.dynamicrafter import convert_dynamicrafter
from divot.weights.latent_names import autoencoder_names, unet_names
from divot.weights.names import to_theirs
from divot.weights.official_names import SCHEDULE_BUFFERS, open_clip_names
from weights.small import small_config


def checkpoint_tensors():
    torch.manual_seed(0)
    config = small_config()
    unet_config = dataclasses.replace(config.detokenizer.unet, in_channels=8)
    unet = {k: torch.randn(v.shape) for k, v in VideoUNet(unet_config).state_dict().items()}
    parts = {"model.diffusion_model": to_theirs(unet_names(unet_config), unet).tensors}
    vae = build_autoencoder(config.detokenizer.autoencoder).state_dict()
    parts["first_stage_model"] = to_theirs(autoencoder_names(config.detokenizer.autoencoder), vae).tensors
    vit = FrameEncoder(config.tokenizer.vit).backbone.state_dict()
    parts["embedder.model.visual"] = to_theirs(open_clip_names(config.tokenizer.vit), vit).tensors
    parts["embedder.model.visual"]["proj"] = torch.randn(80, 4)
    parts["embedder.model"] = {"ln_final.weight": torch.ones(3), "logit_scale": torch.ones(())}
    parts["cond_stage_model.model"] = {"transformer.resblocks.0.ln_1.weight": torch.ones(3)}
    parts["image_proj_model"] = {"latents": torch.randn(1, 16, 8), "proj_in.weight": torch.randn(8, 80)}
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    return tensors | {name: torch.rand(1000) for name in SCHEDULE_BUFFERS} | {"scale_arr": torch.rand(1400)}


@pytest.fixture
def tensors():
    return checkpoint_tensors()


def save(path, tensors):
    torch.save({"state_dict": {k: v.clone() for k, v in tensors.items()}, "global_step": 3}, path)
    return path


def test_parts_load_into_our_modules(tensors, tmp_path):
    report = convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "out")
    config = small_config()
    folder = tmp_path / "out"

    settings = json.loads((folder / "unet" / "config.json").read_text())
    assert settings.pop("component") == "VideoUNet"
    unet = VideoUNet(from_mapping(UNetConfig, settings))
    assert unet.config == config.detokenizer.unet
    unet.load_state_dict(load_file(folder / "unet" / "model.safetensors"))
    middle = tensors["model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k_ip.weight"]
    assert torch.equal(unet.middle.spatial.block.attention2.second_key.weight, middle)

    vae = AutoencoderKL.from_pretrained(folder / "vae")
    mid = tensors["first_stage_model.encoder.mid.attn_1.q.weight"]
    assert torch.equal(vae.encoder.mid_block.attentions[0].to_q.weight, mid[:, :, 0, 0])
    assert vae.config["scaling_factor"] == config.detokenizer.autoencoder.scaling_factor

    settings = json.loads((folder / "vit" / "config.json").read_text())
    assert settings.pop("component") == "FrameEncoder"
    vit = FrameEncoder(from_mapping(ViTConfig, settings))
    assert vit.config == config.tokenizer.vit
    vit.load_state_dict(load_file(folder / "vit" / "model.safetensors"))
    fused = tensors["embedder.model.visual.transformer.resblocks.1.attn.in_proj_weight"]
    assert torch.equal(vit.backbone.encoder.layers[1].self_attn.v_proj.weight, fused[160:])
    assert json.loads((folder / "conversion.json").read_text()) == report.as_dict()


def test_first_convolution_keeps_the_noisy_latents(tensors, tmp_path):
    report = convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "out")
    ours = load_file(tmp_path / "out" / "unet" / "model.safetensors")["conv_in.weight"]
    assert torch.equal(ours, tensors["model.diffusion_model.input_blocks.0.0.weight"][:, :4])
    assert any("input channels 1 to 4 of 8 kept" in note for note in report.notes)


def test_every_tensor_is_accounted_for(tensors, tmp_path):
    tensors["mystery.weight"] = torch.ones(2)
    (about,) = convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "out").files
    assert about.unexpected == ["mystery.weight"]
    assert about.used + len(about.kept) + 1 == len(tensors)
    assert {"scale_arr", "betas", "embedder.model.visual.proj", "image_proj_model.latents"} <= set(about.kept)


def test_older_name_of_the_stride_embedding_is_known(tensors, tmp_path):
    renamed = {k.replace("fps_embedding", "framestride_embed"): v for k, v in tensors.items()}
    convert_dynamicrafter(save(tmp_path / "old.ckpt", renamed), tmp_path / "old")
    convert_dynamicrafter(save(tmp_path / "new.ckpt", tensors), tmp_path / "new")
    old, new = (load_file(tmp_path / name / "unet" / "model.safetensors") for name in ("old", "new"))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in new)


def test_missing_weight_of_the_image_attention_becomes_one(tensors, tmp_path):
    tensors = {k: v for k, v in tensors.items() if not k.endswith("alpha")}
    report = convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "out")
    state = load_file(tmp_path / "out" / "unet" / "model.safetensors")
    weights = [v for k, v in state.items() if k.endswith("second_weight")]
    assert weights
    # tanh(0) + 1
    assert all(weight == 0 for weight in weights)
    assert any("set to 1" in note for note in report.notes)


def test_deepspeed_naming_is_read(tensors, tmp_path):
    wrapped = {f"_forward_module.{k}": v.clone() for k, v in tensors.items()}
    torch.save({"module": wrapped}, tmp_path / "model.ckpt")
    (about,) = convert_dynamicrafter(tmp_path / "model.ckpt", tmp_path / "out").files
    assert not about.unexpected


def test_file_without_image_tower_is_told(tensors, tmp_path):
    tensors = {k: v for k, v in tensors.items() if not k.startswith("embedder.")}
    report = convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "out")
    assert not (tmp_path / "out" / "vit").exists()
    assert any("no CLIP image tower" in note for note in report.notes)


@pytest.mark.parametrize("dropped", ["first_stage_model.", "model.diffusion_model.out.2.bias"])
def test_incomplete_file_is_refused_and_nothing_written(tensors, tmp_path, dropped):
    tensors = {k: v for k, v in tensors.items() if not k.startswith(dropped)}
    with pytest.raises(CheckpointError, match=dropped.replace(".", r"\.")):
        convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_with_other_things_is_not_replaced(tensors, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(CheckpointError, match="exists"):
        convert_dynamicrafter(save(tmp_path / "model.ckpt", tensors), tmp_path / "home")
