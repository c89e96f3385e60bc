"""A component's folder: what was saved comes back, what is not whole is refused with the name of the file."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from divot.config.errors import CheckpointError
from divot.layers import component
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE, Component


@dataclass(frozen=True)
class ScaleConfig:
    width: int = 3


class Scaler(Component):
    """A layer, a saved buffer, and one that is worked out anew."""

    config_class = ScaleConfig

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.width, 2)
        self.register_buffer("shift", torch.zeros(2))
        self.steps = Steps()

    def forward(self, x):
        return self.layer(x) + self.shift + self.steps.counts


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("counts", torch.arange(2.0), persistent=False)

    def restore_buffers(self):
        self.counts = torch.arange(2.0)


class Stretcher(Scaler):
    """Of another name."""


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Scaler(ScaleConfig(width=4))
    model.shift.fill_(0.25)
    return model


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "scaler")
    return tmp_path / "scaler"


def change_config(folder, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_loaded_component_gives_equal_outputs(model, folder):
    loaded, x = Scaler.from_pretrained(folder), torch.randn(2, 4)
    torch.testing.assert_close(loaded(x), model(x))
    assert loaded.config == model.config
    assert not loaded.training


def test_component_in_a_subfolder_is_found(model, folder):
    loaded = Scaler.from_pretrained(folder.parent, subfolder="scaler")
    assert torch.equal(loaded.layer.weight, model.layer.weight)


def test_half_precision_on_disk_is_float32_in_memory_unless_asked_otherwise(model, tmp_path):
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    on_disk = load_file(tmp_path / "half" / WEIGHTS_FILE)
    assert {tensor.dtype for tensor in on_disk.values()} == {torch.float16}
    loaded = Scaler.from_pretrained(tmp_path / "half")
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.layer.weight, model.layer.weight.half().float())
    assert Scaler.from_pretrained(tmp_path / "half", dtype=None).dtype == torch.float16


def test_saving_again_replaces_the_folder_as_a_whole(model, folder):
    (folder / "left-over.txt").write_text("old")
    model.save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: is missing"):
        Scaler.from_pretrained(folder)


@pytest.mark.parametrize(("name", "cause"), [(CONFIG_FILE, "is not JSON"), (WEIGHTS_FILE, "is damaged")])
def test_damaged_file_is_named(folder, name, cause):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=f"{name}: {cause}"):
        Scaler.from_pretrained(folder)


def test_config_that_is_no_mapping_is_refused(folder):
    (folder / CONFIG_FILE).write_text("[1, 2]")
    with pytest.raises(CheckpointError, match=f"{CONFIG_FILE}: is not a mapping"):
        Scaler.from_pretrained(folder)


def test_another_class_is_refused(folder):
    with pytest.raises(CheckpointError, match=r"scaler.* does not hold a Stretcher"):
        Stretcher.from_pretrained(folder)


@pytest.mark.parametrize("changes", [{"hight": 3}, {"width": "wide"}])
def test_config_key_or_value_of_something_else_is_refused(folder, changes):
    change_config(folder, **changes)
    with pytest.raises(CheckpointError, match=rf"{CONFIG_FILE}: .*{next(iter(changes))}"):
        Scaler.from_pretrained(folder)


def test_weights_of_another_size_are_refused(folder):
    change_config(folder, width=5)
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS_FILE}.* 1 misshapen .*layer\.weight"):
        Scaler.from_pretrained(folder)


@pytest.mark.parametrize("error", [OSError("404 Client Error\nRequest ID: 7"), ValueError("bad id")])
def test_id_that_the_hub_does_not_give_is_refused_with_the_reason(monkeypatch, error):
    def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(component, "snapshot_download", refuse)
    with pytest.raises(CheckpointError) as caught:
        Scaler.from_pretrained("nobody/nothing")
    assert str(caught.value).startswith("nobody/nothing: ")
    assert f"({str(error).splitlines()[0]})" in str(caught.value)
    assert "HF_HUB_OFFLINE" in caught.value.remedy


def test_hub_id_is_loaded_from_the_fetched_folder(model, folder, monkeypatch):
    asked = {}

    def fetch(repo_id, allow_patterns=None):
        asked.update(repo_id=repo_id, allow_patterns=allow_patterns)
        return str(folder.parent)

    monkeypatch.setattr(component, "snapshot_download", fetch)
    loaded = Scaler.from_pretrained("somebody/scaler", subfolder="scaler")
    assert torch.equal(loaded.layer.weight, model.layer.weight)
    assert asked == {"repo_id": "somebody/scaler", "allow_patterns": "scaler/*"}


def test_unknown_id_is_refused_offline(monkeypatch, tmp_path):
    # The hub reads HF_HUB_OFFLINE when it is imported; the flag it keeps is set here.
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="could not be fetched from the hub"):
        Scaler.from_pretrained("nobody/nothing")


def test_folder_of_something_else_is_not_replaced(model, tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(CheckpointError, match="is no component folder"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "dear"
