"""Model folders: what is written can be opened, what is not whole is refused with the reason."""

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from divot.config.errors import CheckpointError
from divot.config.models import ModelConfig
from divot.config.presets import preset
from divot.detokenizer import VideoDetokenizer
from divot.tokenizer import VideoTokenizer
from divot.weights import store
from divot.weights.store import ModelFolder, add_language_model, write_model_folder
from weights.small import small_language_model


def small_config() -> ModelConfig:
    tiny = preset("tiny")
    vit = dataclasses.replace(tiny.tokenizer.vit, width=32, num_layers=1, mlp_width=64)
    tokenizer = dataclasses.replace(
        tiny.tokenizer, vit=vit, temporal_width=32, hidden_width=32, num_tokens=8, token_width=8
    )
    projector = dataclasses.replace(tiny.detokenizer.projector, width=32, num_queries=8)
    detokenizer = dataclasses.replace(tiny.detokenizer, projector=projector, num_tokens=8, token_width=8)
    return ModelConfig(tokenizer, detokenizer)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    config = small_config()
    return VideoTokenizer(config.tokenizer).eval(), VideoDetokenizer(config.detokenizer).eval()


@pytest.fixture
def folder(parts, tmp_path):
    tokenizer, detokenizer = parts
    return write_model_folder(
        tmp_path / "model", tokenizer, {"reconstruction": detokenizer, "generation": detokenizer}, dtype=None
    )


def test_each_detokenizer_has_a_hash_of_its_config_and_weights(folder, tmp_path):
    first = folder.detokenizer_hash("reconstruction")
    assert first == folder.detokenizer_hash("generation") != folder.tokenizer_hash
    config = folder.path / "detokenizer_generation" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert ModelFolder(folder.path).detokenizer_hash("generation") != first
    with pytest.raises(CheckpointError, match="no de-tokenizer 'other'"):
        folder.detokenizer_hash("other")


def test_written_parts_come_back_equal(folder, parts):
    for written, loaded in zip(parts, (folder.tokenizer(), folder.detokenizer()), strict=True):
        assert not loaded.training
        state = loaded.state_dict()
        for name, tensor in written.state_dict().items():
            assert torch.equal(tensor, state[name]), name


def test_tasks_choose_their_detokenizer(folder):
    assert folder.detokenizer_name("reconstruct") == "reconstruction"
    assert folder.detokenizer_name("generate") == "generation"


def test_only_detokenizer_serves_every_known_task(parts, tmp_path):
    model = write_model_folder(tmp_path / "m", parts[0], {"reconstruction": parts[1]})
    assert model.detokenizer_name("generate") == "reconstruction"
    with pytest.raises(CheckpointError, match=r"no task 'fly'.*reconstruction"):
        model.detokenizer_name("fly")
    with pytest.raises(CheckpointError, match=r"no de-tokenizer 'other'.*reconstruction"):
        model.detokenizer(name="other")


def test_task_without_detokenizer_lists_names(parts, tmp_path):
    model = write_model_folder(
        tmp_path / "m", parts[0], {"a": parts[1], "b": parts[1]}, tasks={"reconstruct": "a"}
    )
    with pytest.raises(CheckpointError, match="a, b"):
        model.detokenizer_name("generate")
    with pytest.raises(ValueError, match="'c'"):
        write_model_folder(tmp_path / "n", parts[0], {"a": parts[1]}, tasks={"reconstruct": "c"})
    assert not (tmp_path / "n").exists()


def test_half_precision_on_disk_is_float32_in_memory(parts, tmp_path):
    model = write_model_folder(tmp_path / "m", parts[0], {"reconstruction": parts[1]})
    assert model.tokenizer().dtype == torch.float32
    assert model.tokenizer(dtype=None).dtype == torch.float16


def test_hash_tells_tokenizers_apart(folder, parts, tmp_path):
    again = write_model_folder(tmp_path / "again", parts[0], {"x": parts[1]}, dtype=None)
    half = write_model_folder(tmp_path / "half", parts[0], {"x": parts[1]})
    assert folder.tokenizer_hash == again.tokenizer_hash != half.tokenizer_hash


def test_interrupted_writing_keeps_the_old_model(folder, parts, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(VideoDetokenizer, "save_pretrained", fail)
    before = folder.tokenizer_hash
    with pytest.raises(RuntimeError):
        write_model_folder(folder.path, parts[0], {"x": parts[1]})
    assert ModelFolder(folder.path).tokenizer_hash == before
    assert [p.name for p in folder.path.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"detokenizers": {"a": "elsewhere"}}, "no elsewhere/config.json"),
        ({"tokenizer": "../other"}, "names the folder"),
        ({"tasks": ["a"]}, "'tasks' is"),
        ({"tokenizer": 3}, "'tokenizer' is 3"),
    ],
)
def test_model_file_of_another_form_is_refused(folder, change, message):
    path = folder.path / store.MODEL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=message):
        ModelFolder.open(folder.path)


def test_folder_without_model_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no readable model\.json"):
        ModelFolder.open(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        ModelFolder.open(tmp_path)


def test_missing_weights_are_named(folder):
    (folder.path / "detokenizer" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no detokenizer/model\.safetensors"):
        ModelFolder.open(folder.path)


def test_preset_without_bundled_weights_says_to_convert():
    with pytest.raises(CheckpointError, match="divot convert official"):
        ModelFolder.open("paper")


def test_preset_with_bundled_weights_opens_by_name(folder, monkeypatch):
    monkeypatch.setattr(store, "BUNDLED", folder.path.parent)
    folder.path.rename(folder.path.parent / "tiny")
    model = ModelFolder.open("tiny")
    assert model.source == "tiny"
    assert model.path.name == "tiny"


def test_hub_id_goes_through_the_hub_cache(folder, monkeypatch):
    from divot.layers import component

    monkeypatch.setattr(component, "snapshot_download", lambda repo, **_: str(folder.path))
    assert ModelFolder.open("someone/model").path == folder.path


def test_push_sends_the_whole_folder(folder, monkeypatch):
    import huggingface_hub

    calls = []
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda self, repo, **_: calls.append(repo))
    monkeypatch.setattr(
        huggingface_hub.HfApi, "upload_folder", lambda self, **k: calls.append(k["folder_path"]) or "address"
    )
    assert folder.push_to_hub("me/model") == "address"
    assert calls == ["me/model", str(folder.path)]


def test_language_model_comes_back_equal(parts, tmp_path):
    lm = small_language_model()
    model = write_model_folder(
        tmp_path / "m", parts[0], {"x": parts[1]}, dtype=None, language_models={"default": lm}
    )
    assert model.contents.language_models == {"default": "lm"}
    loaded = model.language_model(attention="eager")
    assert not loaded.training
    assert loaded.backbone.config._attn_implementation == "eager"
    state = loaded.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in lm.state_dict().items())
    assert loaded.tokenizer.get_vocab() == lm.tokenizer.get_vocab()


def test_language_model_is_added_and_replaced(folder):
    tokenizer_hash = folder.tokenizer_hash
    added = add_language_model(folder.path, "default", small_language_model(), dtype=None)
    first = added.language_model_hash("default")
    assert added.contents.detokenizers == folder.contents.detokenizers
    replaced = add_language_model(folder.path, "default", small_language_model(seed=1))
    assert replaced.contents.language_models == {"default": "lm"}
    assert replaced.language_model_hash("default") != first
    assert replaced.tokenizer_hash == tokenizer_hash
    stored = load_file(folder.path / "lm" / "backbone" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert replaced.language_model().dtype == torch.float32
    wanted = {"model.json", "tokenizer", "detokenizer", "detokenizer_generation", "lm"}
    assert {path.name for path in folder.path.iterdir()} == wanted


def test_language_model_that_cannot_be_written_leaves_the_model_as_it_was(folder, monkeypatch):
    first = add_language_model(folder.path, "default", small_language_model())

    def fail(*_args, **_kwargs):
        raise RuntimeError("disk full")

    monkeypatch.setattr("divot.lm.folder.save_file", fail)
    for name in ("default", "story"):
        with pytest.raises(RuntimeError):
            add_language_model(folder.path, name, small_language_model(seed=1))
    after = ModelFolder(folder.path)
    assert after.contents == first.contents
    assert after.language_model_hash("default") == first.language_model_hash("default")


def test_tasks_choose_their_language_model(folder):
    lm = small_language_model()
    with pytest.raises(CheckpointError, match=r"no language model for the task 'chat'.*here: none"):
        folder.language_model()
    only = add_language_model(folder.path, "default", lm)
    assert {only.language_model_name(task) for task in store.LANGUAGE_TASKS} == {"default"}
    for name in ("comprehension", "generation"):
        model = add_language_model(folder.path, name, lm)
    assert model.contents.language_models["generation"] == "lm_generation"
    chosen = {task: model.language_model_name(task) for task in ("ask", "caption", "chat", "generate")}
    assert chosen == dict.fromkeys(("ask", "caption", "chat"), "comprehension") | {"generate": "generation"}
    assert model.language_model_name("story") == "default"
    with pytest.raises(CheckpointError, match="no task 'reconstruct'"):
        model.language_model_name("reconstruct")
    with pytest.raises(CheckpointError, match="no language model 'other'"):
        model.language_model("other")
    with pytest.raises(CheckpointError, match="no language model 'other'"):
        model.language_model_hash("other")
    assert add_language_model(folder.path, "story", lm).language_model_name("story") == "story"


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "backbone/config.json"])
def test_language_model_that_is_not_whole_is_refused(folder, file):
    add_language_model(folder.path, "default", small_language_model())
    (folder.path / "lm" / file).unlink()
    with pytest.raises(CheckpointError, match=f"no lm/{file}"):
        ModelFolder(folder.path)


def test_model_folder_is_opened_without_the_libraries_of_language_models():
    code = "import sys, divot.weights.store; assert 'divot.lm.model' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
