"""Model folders: one tokenizer, de-tokenizers and language models by name, and which of them a task asks for.

model/
  model.json                              what is in the folder
  tokenizer/{config.json, model.safetensors}
  detokenizer/{config.json, model.safetensors}       one such folder a named de-tokenizer
  lm/{config.json, model.safetensors, backbone/}     one such folder a named language model
  critic/{config.json, model.safetensors}            for a model that has one

What model.json says is in `contents`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from divot.config.errors import CheckpointError
from divot.config.files import written_whole
from divot.config.presets import PRESET_NAMES
from divot.detokenizer import VideoDetokenizer
from divot.detokenizer.critic import ShapeCritic
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE, local_folder
from divot.tokenizer import VideoTokenizer
from divot.weights.contents import (
    BACKBONE_CONFIG,
    CRITIC_FOLDER,
    DEFAULT_LANGUAGE_MODEL,
    DEFAULT_TASKS,
    GENERATION,
    LANGUAGE_TASKS,
    MODEL_FILE,
    RECONSTRUCTION,
    TOKENIZER_FOLDER,
    ModelContents,
    NamedParts,
    detokenizer_folder,
    language_model_folder,
    read_contents,
    write_contents,
)

if TYPE_CHECKING:
    from divot.lm.model import DivotLM

__all__ = [
    "DEFAULT_LANGUAGE_MODEL",
    "DEFAULT_TASKS",
    "GENERATION",
    "LANGUAGE_TASKS",
    "MODEL_FILE",
    "RECONSTRUCTION",
    "ModelFolder",
    "add_critic",
    "add_detokenizer",
    "add_language_model",
    "read_contents",
    "refuse_foreign_folder",
    "write_model_folder",
]

BUNDLED = Path(__file__).parent
"""Holds a model folder for each preset that has weights in the package."""


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
        self._detokenizers = NamedParts(
            self.source, "de-tokenizer", self.contents.detokenizers, RECONSTRUCTION
        )
        self._language_models = NamedParts(
            self.source, "language model", self.contents.language_models, DEFAULT_LANGUAGE_MODEL
        )
        self._hashes: dict[str, str] = {}

    @classmethod
    def open(cls, source: str | Path) -> ModelFolder:
        """A model by the name of a preset with bundled weights, by folder, or by hub id.

        Raises:
            CheckpointError: if there is no such model, it is not whole, or the preset has no bundled weights.
        """
        folder = Path(source)
        if str(source) in PRESET_NAMES and not (folder / MODEL_FILE).is_file():
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
        return VideoDetokenizer.from_pretrained(self.path, self._detokenizers.folder(name), dtype)

    def detokenizer_name(self, task: str) -> str:
        """Name of the de-tokenizer that a task uses; a model with only one has it for every task it knows.

        Raises:
            CheckpointError: if the task is unknown, or the model has none for it.
        """
        return self._detokenizers.for_task(task, DEFAULT_TASKS | self.contents.tasks, self.contents.tasks)

    def language_model(
        self,
        name: str | None = None,
        dtype: torch.dtype | None = torch.float32,
        attention: str = "sdpa",
    ) -> DivotLM:
        """The language model of that name, in evaluation mode.

        Args:
            name: None takes that of the task `chat`.
            dtype: of the weights in memory; None keeps the type on disk.
            attention: one of `divot.lm.backbone.ATTENTIONS`.

        Raises:
            CheckpointError: if the model has none of that name, or it is not whole.
        """
        # Commands that never speak need not load the libraries of language models.
        from divot.lm.model import DivotLM

        name = self.language_model_name("chat") if name is None else name
        return DivotLM.from_pretrained(self.path, self._language_models.folder(name), dtype, attention)

    def language_model_name(self, task: str) -> str:
        """Name of the language model that a task uses; a model with only one has it for every task it knows.

        Raises:
            CheckpointError: if the task is unknown, or the model has none for it.
        """
        return self._language_models.for_task(task, LANGUAGE_TASKS, LANGUAGE_TASKS)

    def critic(self, dtype: torch.dtype | None = torch.float32) -> ShapeCritic | None:
        """The critic of the model's latents, in evaluation mode, if it has one."""
        place = self.contents.critic
        return None if place is None else ShapeCritic.from_pretrained(self.path, place, dtype)

    @cached_property
    def critic_hash(self) -> str | None:
        """sha256 (hex) over the critic's config.json and weights; None for a model without one."""
        return None if self.contents.critic is None else self._hash(self.contents.critic)

    @cached_property
    def tokenizer_hash(self) -> str:
        """sha256 (hex) over the tokenizer's config.json and weights: tells whose tokens some tokens are."""
        return self._hash(self.contents.tokenizer)

    def detokenizer_hash(self, name: str) -> str:
        """The same of the de-tokenizer of that name.

        Raises:
            CheckpointError: if the model has none of that name.
        """
        return self._hash(self._detokenizers.folder(name))

    def language_model_hash(self, name: str) -> str:
        """The same of the language model of that name, its backbone and adapter among it.

        Raises:
            CheckpointError: if the model has none of that name.
        """
        return self._hash(self._language_models.folder(name))

    def _hash(self, folder: str) -> str:
        if folder not in self._hashes:
            self._hashes[folder] = _component_hash(self.path / folder)
        return self._hashes[folder]

    def push_to_hub(self, repo_id: str) -> str:
        """Upload the whole folder to the hub; gives the address of the commit."""
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo_id, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=str(self.path)))


def _component_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for pattern in (
        CONFIG_FILE,
        WEIGHTS_FILE,
        BACKBONE_CONFIG,
        "backbone/*.safetensors",
        "adapter/*.safetensors",
    ):
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


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


@contextmanager
def changed_copy(source: ModelFolder, out: str | Path) -> Iterator[Path]:
    """Gives a copy of a model folder to change within the block; whole it then takes its place at `out`, or not at all.

    Raises:
        CheckpointError: if `out` holds something else than a model.
    """
    refuse_foreign_folder(out)
    with written_whole(out) as beside:
        shutil.copytree(source.path, beside)
        yield beside


def write_model_folder(
    path: str | Path,
    tokenizer: VideoTokenizer,
    detokenizers: Mapping[str, VideoDetokenizer],
    tasks: Mapping[str, str] | None = None,
    preset: str | None = None,
    dtype: torch.dtype | None = torch.float16,
    language_models: Mapping[str, DivotLM] | None = None,
) -> ModelFolder:
    """Write a whole model folder, or nothing; an existing one is replaced.

    Args:
        path: folder to write.
        tokenizer: the tokenizer.
        detokenizers: de-tokenizers by name; tasks look for `reconstruction` and `generation`.
        tasks: task -> name; None takes `DEFAULT_TASKS`.
        preset: preset whose sizes the model has, if it is one.
        dtype: type of the weights on disk; None keeps the type in memory.
        language_models: language models by name; `default` for the only one.

    Raises:
        ValueError: if a task names a de-tokenizer that is not given.
        CheckpointError: if `path` holds something else than a model.
    """
    refuse_foreign_folder(path)
    if tasks is not None and (absent := sorted(set(tasks.values()) - detokenizers.keys())):
        raise ValueError(f"tasks name {absent[0]!r}, wanted one of {', '.join(sorted(detokenizers))}")
    folders = {name: detokenizer_folder(name) for name in detokenizers}
    language_folders = {name: language_model_folder(name) for name in language_models or {}}
    with written_whole(path) as beside:
        beside.mkdir()
        tokenizer.save_pretrained(beside / TOKENIZER_FOLDER, dtype)
        for name, model in detokenizers.items():
            model.save_pretrained(beside / folders[name], dtype)
        for name, lm in (language_models or {}).items():
            lm.save_pretrained(beside / language_folders[name], dtype)
        contents = ModelContents(
            preset=preset,
            detokenizers=folders,
            language_models=language_folders,
            tasks=dict(DEFAULT_TASKS if tasks is None else tasks),
        )
        write_contents(beside, contents)
    return ModelFolder(path)


def add_detokenizer(
    folder: str | Path, name: str, detokenizer: VideoDetokenizer, dtype: torch.dtype | None = torch.float16
) -> ModelFolder:
    """Put a de-tokenizer into a model folder, in place of the one of that name if there is one.

    The folder is a whole model at every moment: with the old one, or with the new one.

    Args:
        folder: an existing model folder.
        name: tasks look for `reconstruction` and `generation`.
        detokenizer: the de-tokenizer.
        dtype: type of the weights on disk; None keeps the type in memory.

    Raises:
        CheckpointError: if there is no model folder.
    """
    return _add_part(Path(folder), "detokenizers", name, detokenizer_folder(name), detokenizer, dtype)


def add_language_model(
    folder: str | Path, name: str, lm: DivotLM, dtype: torch.dtype | None = torch.float16
) -> ModelFolder:
    """Put a language model into a model folder, in place of the one of that name if there is one.

    The folder is a whole model at every moment: with the old one, or with the new one.

    Args:
        folder: an existing model folder.
        name: `default` for the only one; tasks look for the names in `LANGUAGE_TASKS`.
        lm: the language model.
        dtype: type of the weights on disk; None keeps the type in memory.

    Raises:
        CheckpointError: if there is no model folder.
    """
    return _add_part(Path(folder), "language_models", name, language_model_folder(name), lm, dtype)


def add_critic(folder: str | Path, critic: ShapeCritic) -> None:
    """Put a critic into a model folder, in place of the one it has, float16 on disk.

    Raises:
        CheckpointError: if there is no model folder.
    """
    folder = Path(folder)
    contents = read_contents(folder)
    place = contents.critic or CRITIC_FOLDER
    critic.save_pretrained(folder / place, torch.float16)
    write_contents(folder, replace(contents, critic=place))


def remove_parts(
    folder: str | Path, kind: Literal["detokenizers", "language_models"], names: Iterable[str]
) -> None:
    """Take parts out of a model folder; names that it does not have are passed over.

    Raises:
        CheckpointError: if there is no model folder.
    """
    folder = Path(folder)
    contents = read_contents(folder)
    parts: dict[str, str] = getattr(contents, kind)
    places = [parts.pop(name) for name in names if name in parts]
    write_contents(folder, contents)
    for place in places:
        shutil.rmtree(folder / place)


def _add_part(
    folder: Path,
    kind: Literal["detokenizers", "language_models"],
    name: str,
    new_place: str,
    part: VideoDetokenizer | DivotLM,
    dtype: torch.dtype | None,
) -> ModelFolder:
    """Write a part where the one of that name is, or to a new place, and then say so in model.json."""
    contents = read_contents(folder)
    known: dict[str, str] = getattr(contents, kind)
    place = known.get(name, new_place)
    part.save_pretrained(folder / place, dtype)
    changed: dict[str, Any] = {kind: {**known, name: place}}
    write_contents(folder, replace(contents, **changed))
    return ModelFolder(folder)
