"""A model that lives in a folder of its own: config.json and model.safetensors, local or on the hub."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import HfApi, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from typing_extensions import Self

from divot.config.errors import CheckpointError, RecipeError
from divot.config.files import write_json, written_whole
from divot.config.merge import from_mapping

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def local_folder(path_or_id: str | Path, subfolder: str = "") -> Path:
    """The folder itself when it exists on disk, else the hub repository of that id, fetched into the hub's cache.

    HF_HUB_OFFLINE is honoured: with it set only the cache is looked at.

    Raises:
        CheckpointError: if there is neither such a folder nor such a repository.
    """
    folder = Path(path_or_id)
    if not folder.is_dir():
        try:
            folder = Path(
                snapshot_download(str(path_or_id), allow_patterns=f"{subfolder}/*" if subfolder else None)
            )
        except Exception as error:
            # The hub raises many kinds (offline, not found, gated, a bad id); for the user they are one.
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(
                path_or_id,
                f"is no folder here and could not be fetched from the hub ({reason})",
                "Give a model folder, or check the id and the network (HF_HUB_OFFLINE=1 looks in the cache only)",
            ) from error
    return folder / subfolder


class Component(nn.Module):
    """Base of the models that are saved and loaded by themselves.

    A subclass names its configuration dataclass in `config_class` and is built from one such value.
    """

    config_class: ClassVar[type]
    config: Any

    @classmethod
    def from_pretrained(
        cls, path_or_id: str | Path, subfolder: str = "", dtype: torch.dtype | None = torch.float32
    ) -> Self:
        """Load a component in evaluation mode.

        Args:
            path_or_id: component folder, or hub id.
            subfolder: folder inside it.
            dtype: type of the weights in memory; None keeps the type on disk.

        Raises:
            CheckpointError: if a file is missing or damaged, or does not fit this class.
        """
        folder = local_folder(path_or_id, subfolder)
        settings = read_component_config(folder)
        if settings.pop("component", cls.__name__) != cls.__name__:
            raise CheckpointError(
                folder, f"does not hold a {cls.__name__}", "See `divot inspect` for what it is"
            )
        try:
            config: Any = from_mapping(cls.config_class, settings, folder / CONFIG_FILE)
        except RecipeError as error:
            raise CheckpointError(error.source, error.cause, error.remedy) from error
        state = read_weights(folder / WEIGHTS_FILE)
        # Built without memory, then given the loaded tensors: a full-size model is never in memory twice.
        with torch.device("meta"):
            model = cls(config)
        expected = model.state_dict()
        missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
        wrong = [k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape]
        if missing or unexpected or wrong:
            raise CheckpointError(
                folder / WEIGHTS_FILE,
                f"does not fit its config: {len(missing)} missing, {len(unexpected)} unexpected and {len(wrong)} "
                f"misshapen tensors (first: {(missing + unexpected + wrong)[0]})",
                "Take config.json and model.safetensors from the same save",
            )
        model.load_state_dict(state, assign=True)
        model.restore_buffers()
        return (model if dtype is None else model.to(dtype)).eval()

    def restore_buffers(self) -> None:
        """Make again, after loading, the buffers that are not saved."""
        for module in self.modules():
            restore = getattr(module, "restore_buffers", None)
            if module is not self and callable(restore):
                restore()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors as one whole folder.

        Args:
            folder: new or empty, or a component folder, which is replaced.
            dtype: type of the weights on disk; None keeps the type in memory.

        Raises:
            CheckpointError: if the folder holds something else.
        """
        folder = Path(folder)
        refuse_other_folder(folder)
        state = {
            k: v.detach().to(dtype=dtype, device="cpu").contiguous() for k, v in self.state_dict().items()
        }
        with written_whole(folder) as beside:
            beside.mkdir()
            settings = {"component": type(self).__name__, **dataclasses.asdict(self.config)}
            write_json(beside / CONFIG_FILE, settings)
            save_file(state, beside / WEIGHTS_FILE, metadata={"format": "pt"})

    def push_to_hub(self, repo_id: str, subfolder: str = "") -> str:
        """Upload the component folder, into `subfolder` of the repository; gives the address of the commit."""
        api = HfApi()
        api.create_repo(repo_id, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            self.save_pretrained(Path(scratch) / "component")
            return str(
                api.upload_folder(
                    repo_id=repo_id, folder_path=Path(scratch) / "component", path_in_repo=subfolder or None
                )
            )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the parameters."""
        return next(self.parameters()).dtype


def refuse_other_folder(folder: Path) -> None:
    """Stop before something that is no component folder is replaced by one.

    Raises:
        CheckpointError: if the folder holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(folder, "exists and is no component folder", "Give a new or an empty folder")


def read_component_config(folder: Path) -> dict[str, Any]:
    """The mapping in a component folder's config.json.

    Raises:
        CheckpointError: if it is missing or not JSON.
    """
    path = folder / CONFIG_FILE
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            path, "is missing", "A component folder holds config.json and model.safetensors"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(path, "is not JSON", "Copy the folder again") from error
    if not isinstance(settings, dict):
        raise CheckpointError(path, "is not a mapping", "Copy the folder again")
    return settings


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file, memory-mapped.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            path, "is missing", "A component folder holds config.json and model.safetensors"
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"is damaged ({error})", "Copy the file again") from error
