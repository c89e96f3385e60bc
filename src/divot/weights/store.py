"""Model folders: one tokenizer, its de-tokenizers by name, and which of them a task asks for.

model/
  model.json                              what is in the folder
  tokenizer/{config.json, model.safetensors}
  detokenizer/{config.json, model.safetensors}       one such folder a named de-tokenizer
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from divot.config.errors import CheckpointError
from divot.config.files import write_json, written_whole
from divot.config.presets import PRESET_NAMES
from divot.detokenizer import VideoDetokenizer
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE, local_folder
from divot.tokenizer import VideoTokenizer

MODEL_FILE = "model.json"
FORMAT = 1
BUNDLED = Path(__file__).parent
"""Holds a model folder for each preset that has weights in the package."""
TOKENIZER_FOLDER = "tokenizer"
RECONSTRUCTION, GENERATION = "reconstruction", "generation"
DEFAULT_TASKS = {
    "reconstruct": RECONSTRUCTION,
    "decode": RECONSTRUCTION,
    "generate": GENERATION,
    "story": GENERATION,
}
"""Which de-tokenizer each task prefers. A model that has only one uses it for every task."""


@dataclass(frozen=True)
class ModelContents:
    """What model.json says."""

    format: int = FORMAT
    """Version of this layout."""
    preset: str | None = None
    """Preset whose sizes the model has, if it is one."""
    tokenizer: str = TOKENIZER_FOLDER
    """Folder of the tokenizer."""
    detokenizers: dict[str, str] = field(default_factory=dict)
    """Name of each de-tokenizer -> its folder."""
    language_models: dict[str, str] = field(default_factory=dict)
    """Name of each language model -> its folder."""
    tasks: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_TASKS))
    """Task -> name of the de-tokenizer it uses."""


def read_contents(folder: Path) -> ModelContents:
    """What model.json of that folder says, checked against the folder.

    Raises:
        CheckpointError: if the file is missing, is not of this form, or names folders that are not whole.
    """
    path = folder / MODEL_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "Give a model folder (it holds model.json); `divot inspect` tells what a folder is"
        raise CheckpointError(folder, f"has no readable {MODEL_FILE}", remedy) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(path, "is not JSON", "Copy the folder again") from error
    contents = _checked_contents(path, values)
    folders = [contents.tokenizer, *contents.detokenizers.values(), *contents.language_models.values()]
    for name in folders:
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(path, f"names the folder {name!r}", "Name folders inside the model folder")
    for name in folders[: 1 + len(contents.detokenizers)]:
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name / file).is_file():
                raise CheckpointError(folder, f"has no {name}/{file}", "Copy the whole folder again")
    return contents


def _checked_contents(path: Path, values: Any) -> ModelContents:
    if not isinstance(values, dict):
        raise CheckpointError(path, "is not a mapping", "Copy the folder again")
    if values.get("format") != FORMAT:
        cause = f"has format {values.get('format')!r}, this version reads {FORMAT}"
        raise CheckpointError(path, cause, "Use the version of divot that wrote it, or convert again")
    known = {f.name for f in fields(ModelContents)}
    if unknown := sorted(values.keys() - known):
        cause = f"has the unknown key {unknown[0]!r}"
        raise CheckpointError(path, cause, f"Known here: {', '.join(sorted(known))}")
    for key in ("detokenizers", "language_models", "tasks"):
        mapping = values.get(key, {})
        if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
            raise CheckpointError(path, f"'{key}' is {mapping!r}", "Give a mapping of names to names")
    for key, kinds in (("preset", (str, type(None))), ("tokenizer", (str,))):
        if key in values and not isinstance(values[key], kinds):
            raise CheckpointError(path, f"'{key}' is {values[key]!r}", "Give a name")
    return ModelContents(**values)


class ModelFolder:
    """A model on disk; its parts are loaded when they are asked for.

    Args:
        path: the folder.
        source: what the user called it.

    Raises:
        CheckpointError: if the folder is not a whole model folder.
    """

    def __init__(self, path: str | Path, source: str | Path | None = None) -> None:
        self.path = Path(path)
        self.source = str(path if source is None else source)
        self.contents = read_contents(self.path)
        self._detokenizer_hashes: dict[str, str] = {}

    @classmethod
    def open(cls, source: str | Path) -> ModelFolder:
        """A model by the name of a preset with bundled weights, by folder, or by hub id.

        Raises:
            CheckpointError: if there is no such model, it is not whole, or the preset has no bundled weights.
        """
        folder = Path(source)
        if str(source) in PRESET_NAMES and not folder.is_dir():
            bundled = BUNDLED / str(source)
            if not (bundled / MODEL_FILE).is_file():
                raise CheckpointError(
                    source,
                    "is a preset whose weights are not in the package",
                    "Convert the released files (`divot convert official TencentARC/Divot OUT`) and give OUT",
                )
            return cls(bundled, source)
        return cls(local_folder(source), source)

    @property
    def preset(self) -> str | None:
        """Preset whose sizes the model has, if it is one."""
        return self.contents.preset

    def tokenizer(self, dtype: torch.dtype | None = torch.float32) -> VideoTokenizer:
        """The tokenizer, in evaluation mode; dtype None keeps the type on disk."""
        return VideoTokenizer.from_pretrained(self.path, self.contents.tokenizer, dtype)

    def detokenizer(
        self,
        task: str = "reconstruct",
        name: str | None = None,
        dtype: torch.dtype | None = torch.float32,
    ) -> VideoDetokenizer:
        """The de-tokenizer of that name, or else of that task, in evaluation mode.

        Raises:
            CheckpointError: if the model has none of that name or for that task.
        """
        name = self.detokenizer_name(task) if name is None else name
        return VideoDetokenizer.from_pretrained(self.path, self._detokenizer_folder(name), dtype)

    def detokenizer_name(self, task: str) -> str:
        """Name of the de-tokenizer that a task uses; a model with only one has it for every task it knows.

        Raises:
            CheckpointError: if the task is unknown, or the model has none for it.
        """
        tasks, names = self.contents.tasks, self.contents.detokenizers
        if task not in tasks and task not in DEFAULT_TASKS:
            known = ", ".join(sorted({*tasks, *DEFAULT_TASKS}))
            raise CheckpointError(self.source, f"knows no task {task!r}", f"Tasks: {known}. {self._names()}")
        name = tasks.get(task)
        if name in names:
            return str(name)
        if len(names) == 1:
            return next(iter(names))
        raise CheckpointError(self.source, f"has no de-tokenizer for the task {task!r}", self._names())

    def _detokenizer_folder(self, name: str) -> str:
        if name not in self.contents.detokenizers:
            raise CheckpointError(self.source, f"has no de-tokenizer {name!r}", self._names())
        return self.contents.detokenizers[name]

    def _names(self) -> str:
        return f"De-tokenizers here: {', '.join(sorted(self.contents.detokenizers)) or 'none'}"

    @cached_property
    def tokenizer_hash(self) -> str:
        """sha256 (hex) over the tokenizer's config.json and weights: tells whose tokens some tokens are."""
        return _component_hash(self.path / self.contents.tokenizer)

    def detokenizer_hash(self, name: str) -> str:
        """The same of the de-tokenizer of that name.

        Raises:
            CheckpointError: if the model has none of that name.
        """
        if name not in self._detokenizer_hashes:
            self._detokenizer_hashes[name] = _component_hash(self.path / self._detokenizer_folder(name))
        return self._detokenizer_hashes[name]

    def push_to_hub(self, repo_id: str) -> str:
        """Upload the whole folder to the hub; gives the address of the commit."""
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo_id, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=str(self.path)))


def _component_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def detokenizer_folder(name: str) -> str:
    """Folder of a named de-tokenizer: `detokenizer` for reconstruction, `detokenizer_<name>` for others."""
    return "detokenizer" if name == RECONSTRUCTION else f"detokenizer_{name}"


def write_contents(folder: Path, contents: ModelContents) -> None:
    """Write model.json of a model folder."""
    write_json(folder / MODEL_FILE, asdict(contents))


def refuse_foreign_folder(path: str | Path) -> None:
    """Stop before something that is not a model folder is replaced by one.

    Raises:
        CheckpointError: if `path` is a file, or a folder with other things in it.
    """
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / MODEL_FILE).is_file()):
        raise CheckpointError(
            path, "exists and is no model folder", "Give a new or an empty folder to write to"
        )


def write_model_folder(
    path: str | Path,
    tokenizer: VideoTokenizer,
    detokenizers: Mapping[str, VideoDetokenizer],
    tasks: Mapping[str, str] | None = None,
    preset: str | None = None,
    dtype: torch.dtype | None = torch.float16,
) -> ModelFolder:
    """Write a whole model folder, or nothing; an existing one is replaced.

    Args:
        path: folder to write.
        tokenizer: the tokenizer.
        detokenizers: de-tokenizers by name; tasks look for `reconstruction` and `generation`.
        tasks: task -> name; None takes `DEFAULT_TASKS`.
        preset: preset whose sizes the model has, if it is one.
        dtype: type of the weights on disk; None keeps the type in memory.

    Raises:
        ValueError: if a task names a de-tokenizer that is not given.
        CheckpointError: if `path` holds something else than a model.
    """
    refuse_foreign_folder(path)
    if tasks is not None and (absent := sorted(set(tasks.values()) - detokenizers.keys())):
        raise ValueError(f"tasks name {absent[0]!r}, wanted one of {', '.join(sorted(detokenizers))}")
    folders = {name: detokenizer_folder(name) for name in detokenizers}
    with written_whole(path) as beside:
        beside.mkdir()
        tokenizer.save_pretrained(beside / TOKENIZER_FOLDER, dtype)
        for name, model in detokenizers.items():
            model.save_pretrained(beside / folders[name], dtype)
        chosen = dict(DEFAULT_TASKS if tasks is None else tasks)
        write_contents(beside, ModelContents(preset=preset, detokenizers=folders, tasks=chosen))
    return ModelFolder(path)
