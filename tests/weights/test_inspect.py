"""Telling what a file or folder of weights is."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from divot.config.errors import CheckpointError
from divot.config.presets import preset
from divot.detokenizer import VideoDetokenizer
from divot.lm.model import DivotLM
from divot.tokenizer import VideoTokenizer
from divot.weights.inspect import inspect_path
from divot.weights.official_files import FOLDER, TOKENIZER_FILE
from divot.weights.store import add_language_model, write_model_folder
from weights.small import official_tensors, small_language_model, write_released
from weights.small_llm import backbone_tensors, in_training, lora_tensors, write_agent, write_language_models


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    config = preset("tiny")
    path = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer, detokenizer = VideoTokenizer(config.tokenizer), VideoDetokenizer(config.detokenizer)
    write_model_folder(path, tokenizer, {"reconstruction": detokenizer})
    return path, tokenizer, detokenizer


def test_model_folder_is_told_with_its_preset(tiny):
    path, tokenizer, detokenizer = tiny
    found = inspect_path(path)
    assert found.kind == "divot model"
    assert found.preset == "tiny"
    assert [part.kind for part in found.parts] == ["divot de-tokenizer", "divot tokenizer"]
    assert [part.dtypes for part in found.parts] == [["float16"], ["float16"]]
    counts = [sum(v.numel() for v in model.state_dict().values()) for model in (detokenizer, tokenizer)]
    assert [part.parameters for part in found.parts] == counts
    assert found.parts[1].groups["resampler"].shapes["resampler.latents"] == [64, 128]
    assert json.loads(json.dumps(found.to_dict()))["preset"] == "tiny"
    assert "sizes of preset tiny" in found.lines()[0]


def test_component_folder_is_told(tiny):
    found = inspect_path(tiny[0] / "tokenizer")
    assert (found.kind, found.preset, found.parts[0].name) == ("divot tokenizer", "tiny", "tokenizer")


def test_released_files_are_told(tmp_path):
    root = write_released(tmp_path / "released", *official_tensors())
    found = inspect_path(root)
    assert found.kind == "official release"
    kinds = {part.name: part.kind for part in found.parts}
    assert kinds == {
        "Divot_tokenizer.bin": "official tokenizer",
        "Divot_detokenizer_stage1.bin": "official de-tokenizer",
        "Divot_detokenizer_stage2.bin": "official de-tokenizer",
    }
    assert found.preset is None
    assert inspect_path(root / FOLDER / TOKENIZER_FILE).kind == "official tokenizer"


def test_full_size_release_has_the_sizes_of_paper(tmp_path):
    from divot.weights.inspect import _preset
    from divot.weights.names import to_theirs
    from divot.weights.official_names import detokenizer_names, tokenizer_names

    config = preset("paper")
    with torch.device("meta"):
        tokenizer = VideoTokenizer(config.tokenizer).state_dict()
        detokenizer = VideoDetokenizer(config.detokenizer).state_dict()
    official = to_theirs(tokenizer_names(config.tokenizer), tokenizer).tensors
    assert _preset(tmp_path, "official tokenizer", official) == "paper"
    official = to_theirs(detokenizer_names(config.detokenizer), detokenizer).tensors
    assert _preset(tmp_path, "official de-tokenizer", official) == "paper"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "DynamiCrafter checkpoint"),
        ("visual.conv1.weight", "CLIP, open_clip naming"),
        ("vision_model.embeddings.class_embedding", "CLIP, transformers naming"),
        ("output_resampler.proj.0.weight", "official agent"),
        ("model.embed_tokens.weight", "causal language model, transformers naming"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "LoRA, peft naming"),
        ("anything", "tensors"),
    ],
)
def test_files_of_others_are_told_by_a_name(tmp_path, name, kind):
    torch.save({"state_dict": {name: torch.ones(2, 3)}}, tmp_path / "a.ckpt")
    save_file({name: torch.ones(2, 3)}, tmp_path / "b.safetensors")
    for file in ("a.ckpt", "b.safetensors"):
        found = inspect_path(tmp_path / file)
        assert found.kind == kind
        assert (found.parts[0].tensors, found.parts[0].parameters, found.parts[0].bytes) == (1, 6, 24)


def test_autoencoder_may_have_a_scaling_factor_of_its_own(tmp_path):
    config = preset("tiny").detokenizer
    own = dataclasses.replace(config.autoencoder, scaling_factor=0.7)
    detokenizer = VideoDetokenizer(dataclasses.replace(config, autoencoder=own))
    detokenizer.save_pretrained(tmp_path / "same")
    assert inspect_path(tmp_path / "same").preset == "tiny"
    wider = dataclasses.replace(own, latent_channels=8, has_mid_attention=True)
    VideoDetokenizer(dataclasses.replace(config, autoencoder=wider)).save_pretrained(tmp_path / "other")
    assert inspect_path(tmp_path / "other").preset is None


def test_what_is_no_weights_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    (tmp_path / "bad.bin").write_bytes(b"nothing of the kind")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    (tmp_path / "folder").mkdir()
    causes = {
        "notes.txt": "no weight file",
        "bad.safetensors": "damaged",
        "bad.bin": "damaged",
        "empty.pt": "no named tensors",
        "folder": "no weights",
        "nowhere": "does not exist",
    }
    for name, cause in causes.items():
        with pytest.raises(CheckpointError, match=cause):
            inspect_path(tmp_path / name)


def test_language_models_of_a_model_folder_are_told(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny[0], folder)
    lm = DivotLM.new(preset("tiny").lm, small_language_model().tokenizer)
    add_language_model(folder, "default", lm)
    found = inspect_path(folder)
    assert (found.kind, found.preset) == ("divot model", "tiny")
    kinds = {part.name: (part.kind, part.preset) for part in found.parts}
    assert kinds["lm"] == ("divot language model", "tiny")
    assert kinds["lm/backbone"] == ("causal language model, transformers naming", None)
    assert "language model default: folder lm" in found.notes
    add_language_model(folder, "story", small_language_model())
    found = inspect_path(folder)
    assert found.preset is None
    assert {"lm_story", "lm_story/backbone"} <= {part.name for part in found.parts}


def test_folder_of_a_language_model_is_told(tmp_path):
    lm = small_language_model()
    lm.save_pretrained(tmp_path / "lm")
    found = inspect_path(tmp_path / "lm")
    assert found.kind == "divot language model"
    assert [part.name for part in found.parts] == ["lm", "backbone"]
    assert found.parameters == sum(tensor.numel() for tensor in lm.state_dict().values())
    assert inspect_path(tmp_path / "lm" / "backbone").kind == "causal language model, transformers naming"


def test_released_language_models_are_told(tmp_path):
    write_language_models(tmp_path)
    found = inspect_path(tmp_path)
    assert found.kind == "official release"
    kinds = {part.name: part.kind for part in found.parts}
    assert kinds["Divot_pretrain/agent/pytorch_model.bin"] == "official agent"
    assert kinds["Divot_sft_comp/llm"] == "causal language model, transformers naming"
    base = backbone_tensors(0)
    trained = in_training(base, lora_tensors(base)[0]) | {"output_resampler.proj.0.weight": torch.ones(2, 2)}
    write_agent(tmp_path / "Divot_pretrain", trained)
    found = inspect_path(tmp_path / "Divot_pretrain" / "agent" / "pytorch_model.bin")
    assert found.kind == "official agent with a LoRA"


def test_a_cut_file_of_the_old_format_is_named_wherever_it_was_cut(tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "old.pt").read_bytes()
    for length in range(1, len(whole) - 1, 2):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pt"):
            inspect_path(tmp_path / "cut.pt")
