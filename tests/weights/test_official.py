"""The released files in and out: everything finds its place, nothing is lost, misfits are refused."""

import dataclasses
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from divot.config.errors import CheckpointError
from divot.config.merge import from_mapping
from divot.config.models import ModelConfig, ViTConfig
from divot.config.presets import preset
from divot.tokenizer.vit import FrameEncoder
from divot.weights.clip_tower import convert_clip
from divot.weights.inspect import inspect_path
from divot.weights.official import convert_official, convert_to_official
from divot.weights.official_files import CLIP_FILES, FOLDER, TOKENIZER_FILE, clip_file
from divot.weights.official_names import TOKENIZER_COPY
from divot.weights.store import ModelFolder, write_model_folder
from weights.small import (
    assert_same_files,
    official_tensors,
    read_released,
    small_config,
    with_vit,
    write_released,
)

STAGE_1 = "Divot_detokenizer_stage1.bin"


@pytest.fixture(scope="module")
def tensors():
    return official_tensors()


@pytest.fixture
def released(tensors, tmp_path):
    return write_released(tmp_path / "released", *tensors)


def change(root, file, **changes):
    """Save a released file again, with tensors replaced, or left out where None is given."""
    path = root / FOLDER / file
    state = torch.load(path, weights_only=True)
    for name, tensor in changes.items():
        if tensor is None:
            state = {k: v for k, v in state.items() if not k.startswith(name)}
        else:
            state[name] = tensor
    torch.save(state, path)


def test_converted_model_loads_with_sizes_read_off_the_tensors(released, tmp_path):
    report = convert_official(released, tmp_path / "model")
    model = ModelFolder.open(tmp_path / "model")
    config = small_config()
    assert model.tokenizer().config == config.tokenizer
    detokenizer = model.detokenizer("generate")
    sampler = preset("paper").detokenizer.sampler
    wanted = dataclasses.replace(config.detokenizer, official_quirks=True, sampler=sampler)
    assert detokenizer.config == wanted
    assert model.contents.detokenizers.keys() == {"reconstruction", "generation"}
    assert report.preset is None
    assert not any(file.unexpected for file in report.files)
    assert json.loads((tmp_path / "model" / "conversion.json").read_text()) == report.as_dict()
    assert "4 kept aside" in report.lines()[0]


def test_null_tokens_are_those_of_the_converted_tokenizer(released, tmp_path):
    convert_official(released, tmp_path / "model")
    model = ModelFolder.open(tmp_path / "model")
    null = model.tokenizer().null_tokens()[0]
    assert torch.equal(model.detokenizer().null_tokens, null)
    assert null.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_way_back_gives_the_same_bits(dtype, tmp_path):
    root = write_released(tmp_path / "released", *official_tensors(dtype))
    convert_official(root, tmp_path / "model")
    convert_to_official(tmp_path / "model", tmp_path / "back")
    assert_same_files(tmp_path / "back", root)


def test_way_back_keeps_left_overs_and_copies_that_differ(released, tmp_path):
    norm = f"{TOKENIZER_COPY}norm.weight"
    change(released, STAGE_1, **{norm: torch.full((16,), 2.0), "diffusion_model.scale_arr": torch.ones(3)})
    report = convert_official(released, tmp_path / "model")
    stage_1 = next(file for file in report.files if file.file == STAGE_1)
    assert stage_1.unexpected == ["diffusion_model.scale_arr"]
    assert norm in stage_1.kept
    assert any("differ from the tokenizer's" in note for note in report.notes)
    model = ModelFolder.open(tmp_path / "model")
    assert not torch.equal(model.detokenizer("reconstruct").null_tokens, model.tokenizer().null_tokens()[0])
    assert torch.equal(model.detokenizer("generate").null_tokens, model.tokenizer().null_tokens()[0])
    convert_to_official(tmp_path / "model", tmp_path / "back")
    assert_same_files(tmp_path / "back", released)


def test_copies_are_not_stored_twice(released, tmp_path):
    convert_official(released, tmp_path / "model")
    assert (tmp_path / "model" / "official_extra.safetensors").stat().st_size < 300_000


def test_inner_folder_and_hub_id_are_taken_too(released, tmp_path, monkeypatch):
    import huggingface_hub

    convert_official(released / FOLDER, tmp_path / "a")
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *a, **k: asked.append((a, k)) or str(released)
    )
    convert_official("TencentARC/Divot", tmp_path / "b")
    assert asked == [(("TencentARC/Divot",), {"allow_patterns": [f"{FOLDER}/*"]})]
    assert ModelFolder(tmp_path / "a").tokenizer_hash == ModelFolder(tmp_path / "b").tokenizer_hash


@pytest.mark.parametrize("naming", ["open_clip", "transformers"])
def test_image_tower_beside_the_files_is_used(naming, tensors, released, tmp_path):
    change(released, TOKENIZER_FILE, vit_model=None)
    tower = {
        k.removeprefix("vit_model.model."): v for k, v in tensors[0].items() if k.startswith("vit_model.")
    }
    folder = released / "CLIP-ViT-H-14-laion2B-s32B-b79K"
    folder.mkdir()
    if naming == "open_clip":
        torch.save({k: v.clone() for k, v in tower.items()}, folder / "open_clip_pytorch_model.bin")
    else:
        torch.save(as_transformers(tensors[0]), folder / "pytorch_model.bin")
    report = convert_official(released, tmp_path / "model")
    assert any("no image tower" in note for note in report.notes)
    convert_official(write_released(tmp_path / "whole", *tensors), tmp_path / "wanted")
    hashes = [ModelFolder(tmp_path / name).tokenizer().state_dict() for name in ("model", "wanted")]
    assert all(torch.equal(hashes[0][k], hashes[1][k]) for k in hashes[1])
    convert_to_official(tmp_path / "model", tmp_path / "back")
    # The copy in a de-tokenizer's file has the text tower's left-overs, the tokenizer's file has no tower.
    assert_same_files(tmp_path / "back", released)


def as_transformers(tokenizer):
    from divot.weights.names import to_ours
    from divot.weights.official_names import open_clip_names

    vit = small_config().tokenizer.vit
    tower = {k.removeprefix("vit_model.model.visual."): v for k, v in tokenizer.items()}
    shapes = {}
    for entry in open_clip_names(vit):
        shape = tower[entry.theirs].shape
        shapes |= dict.fromkeys(entry.ours, torch.Size((shape[0] // len(entry.ours), *shape[1:])))
    ours = to_ours(open_clip_names(vit), tower, shapes).tensors
    state = {f"vision_model.{k}": v.clone() for k, v in ours.items()}
    state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    return state | {"text_model.final_layer_norm.weight": torch.ones(3), "logit_scale": torch.ones(())}


def test_image_tower_that_is_nowhere_is_asked_for(released, tmp_path, monkeypatch):
    import huggingface_hub

    def offline(*_args, **_kwargs):
        raise OSError("no network")

    change(released, TOKENIZER_FILE, vit_model=None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"CLIP-ViT-H-14.*no network"):
        convert_official(released, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("naming", ["open_clip", "transformers"])
def test_image_tower_alone_becomes_the_start_of_a_tokenizer(naming, tensors, tmp_path):
    prefix = "vit_model.model."
    state = {k.removeprefix(prefix): v.clone() for k, v in tensors[0].items() if k.startswith(prefix)}
    torch.save(state if naming == "open_clip" else as_transformers(tensors[0]), tmp_path / "clip.bin")
    report = convert_clip(tmp_path / "clip.bin", tmp_path / "out")
    convert_official(write_released(tmp_path / "whole", *tensors), tmp_path / "model")
    wanted = ModelFolder(tmp_path / "model").tokenizer().vit
    tower = FrameEncoder(wanted.config)
    tower.load_state_dict(load_file(tmp_path / "out" / "vit" / "model.safetensors"))
    assert all(torch.equal(v, wanted.state_dict()[k]) for k, v in tower.state_dict().items())
    settings = json.loads((tmp_path / "out" / "vit" / "config.json").read_text())
    assert settings.pop("component") == "FrameEncoder"
    assert from_mapping(ViTConfig, settings) == wanted.config
    assert json.loads((tmp_path / "out" / "conversion.json").read_text()) == report.as_dict()
    assert "torch" in report.as_dict()["versions"]
    assert report.files[0].unexpected == []
    assert inspect_path(tmp_path / "out").kind == "image tower of CLIP"
    # Only its own kind is replaced.
    convert_clip(tmp_path / "clip.bin", tmp_path / "out")
    with pytest.raises(CheckpointError, match="exists"):
        convert_clip(tmp_path / "clip.bin", tmp_path / "model")


def test_of_a_hub_repository_only_one_file_of_clip_is_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def fetch(hub_id, allow_patterns):
        (name,) = allow_patterns
        asked.append(name)
        if name == "open_clip_pytorch_model.bin":
            (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert clip_file("some/clip") == tmp_path / "open_clip_pytorch_model.bin"
    assert asked == list(CLIP_FILES[:3])


def test_error_of_the_hub_without_a_word_is_named_by_its_kind(monkeypatch):
    import huggingface_hub

    def broken(*_args, **_kwargs):
        raise TimeoutError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(CheckpointError, match="TimeoutError"):
        clip_file("some/clip")


@pytest.mark.parametrize(
    ("file", "name", "tensor", "message"),
    [
        (TOKENIZER_FILE, "temporal_encoder.ln_final.weight", None, r"1 missing \(temporal_encoder\.ln_final"),
        (TOKENIZER_FILE, "norm.weight", torch.ones(3), r"misshapen \(norm\.weight \[3\], wanted \[16\]"),
        (TOKENIZER_FILE, "image_proj_model.pos_embed_spatial", None, "pos_embed_spatial"),
        (STAGE_1, "first_stage_model.", None, "first_stage_model"),
        (
            STAGE_1,
            "diffusion_model.out.2.bias",
            torch.ones(5),
            r"1 misshapen \(diffusion_model\.out\.2\.bias",
        ),
    ],
)
def test_file_that_does_not_fit_is_refused_and_nothing_written(
    released, tmp_path, file, name, tensor, message
):
    change(released, file, **{name: tensor})
    with pytest.raises(CheckpointError, match=message):
        convert_official(released, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["released"]


def test_sizes_given_are_held_against_the_tensors(released, tmp_path):
    convert_official(released, tmp_path / "model", config=small_config())
    with pytest.raises(CheckpointError, match="does not fit"):
        convert_official(released, tmp_path / "other", config=with_vit(small_config(), width=160))


class Attack:
    def __reduce__(self):
        return (os.mkdir, ("attacked",))


@pytest.mark.parametrize("protocol", [2, 4])
def test_file_that_would_run_code_is_refused(released, tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    path = released / FOLDER / TOKENIZER_FILE
    torch.save({"norm.weight": Attack()}, path, pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match="could run code"):
        convert_official(released, tmp_path / "model")
    path.write_bytes(pickle.dumps({"norm.weight": Attack()}, protocol=protocol))
    with pytest.raises(CheckpointError):
        convert_official(released, tmp_path / "model")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04broken"])
def test_damaged_file_is_refused(released, tmp_path, content):
    (released / FOLDER / TOKENIZER_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match="no weight file, or damaged"):
        convert_official(released, tmp_path / "model")


def test_wrapped_and_prefixed_tensors_come_back_as_they_were(released, tmp_path):
    path = released / FOLDER / STAGE_1
    state = torch.load(path, weights_only=True)
    torch.save({"module": {f"module.{k}": v for k, v in state.items()}}, path)
    convert_official(released, tmp_path / "model")
    convert_to_official(tmp_path / "model", tmp_path / "back")
    back = read_released(tmp_path / "back")[STAGE_1]
    assert back.keys() == {"module"}
    assert back["module"].keys() == {f"module.{k}" for k in state}


def test_older_file_format_is_read(released, tmp_path):
    path = released / FOLDER / STAGE_1
    state = torch.load(path, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert convert_official(released, tmp_path / "model").files[1].unexpected == []


def test_released_folder_without_its_files_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"Divot_tokenizer\.bin"):
        convert_official(tmp_path, tmp_path / "model")


def test_other_schedule_is_told(released, tmp_path):
    change(released, STAGE_1, alphas_cumprod=torch.linspace(1, 0.1, 1000))
    notes = convert_official(released, tmp_path / "model").notes
    assert any("noise schedule is not ours (alphas_cumprod)" in note for note in notes)


def test_folder_with_other_things_is_not_replaced(released, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(CheckpointError, match="no model folder"):
        convert_official(released, tmp_path / "home")
    assert (tmp_path / "home" / "letter.txt").exists()


def test_own_model_can_be_written_as_official_files(tmp_path):
    from divot.detokenizer import VideoDetokenizer
    from divot.tokenizer import VideoTokenizer

    config = small_config()
    tokenizer, detokenizer = VideoTokenizer(config.tokenizer), VideoDetokenizer(config.detokenizer)
    write_model_folder(tmp_path / "m", tokenizer, {"reconstruction": detokenizer}, dtype=None)
    convert_to_official(tmp_path / "m", tmp_path / "out")
    files = read_released(tmp_path / "out")
    assert files.keys() == {TOKENIZER_FILE, STAGE_1}
    assert "betas" in files[STAGE_1]
    assert torch.equal(files[TOKENIZER_FILE]["norm.weight"], tokenizer.norm.weight)
    with pytest.raises(CheckpointError, match="exists"):
        convert_to_official(tmp_path / "m", tmp_path / "out")


def test_model_of_another_structure_cannot_be_written_as_official_files(tmp_path):
    from divot.detokenizer import VideoDetokenizer
    from divot.tokenizer import VideoTokenizer

    small = small_config()
    unet = dataclasses.replace(small.detokenizer.unet, channel_mult=(1,), num_res_blocks=1)
    projector = dataclasses.replace(small.detokenizer.projector, has_positions=True)
    changed = dataclasses.replace(small.detokenizer, unet=unet, projector=projector)
    config = ModelConfig(small.tokenizer, changed)
    parts = VideoTokenizer(config.tokenizer), {"reconstruction": VideoDetokenizer(config.detokenizer)}
    write_model_folder(tmp_path / "m", *parts)
    with pytest.raises(CheckpointError, match="does not know"):
        convert_to_official(tmp_path / "m", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))
