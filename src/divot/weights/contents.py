"""model.json: what is in a model folder, and what serves which task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from divot.config.errors import CheckpointError
from divot.config.files import write_json
from divot.layers.component import CONFIG_FILE, WEIGHTS_FILE

MODEL_FILE = "model.json"
FORMAT = 1
TOKENIZER_FOLDER = "tokenizer"
CRITIC_FOLDER = "critic"
RECONSTRUCTION, GENERATION = "reconstruction", "generation"
DEFAULT_TASKS = {
    "reconstruct": RECONSTRUCTION,
    "decode": RECONSTRUCTION,
    "generate": GENERATION,
    "story": GENERATION,
}
"""Which de-tokenizer each task prefers; without it, that for reconstruction, or the only one."""
DEFAULT_LANGUAGE_MODEL = "default"
"""Name of the language model for every task that has none of its own."""
PRETRAINED_LANGUAGE_MODEL = "pretrain"
"""Name of the released one that the others were tuned from; it serves no task."""
LANGUAGE_TASKS = {
    "ask": "comprehension",
    "caption": "comprehension",
    "chat": "comprehension",
    "generate": "generation",
    "story": "story",
}
"""Which language model each task prefers; without it, that named `default`, or the only one."""
BACKBONE_CONFIG = "backbone/config.json"
"""In the folder of a language model."""


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
    critic: str | None = None
    """Folder of the critic of its latents, if it has one."""


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
    folders += [] if contents.critic is None else [contents.critic]
    for name in folders:
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(path, f"names the folder {name!r}", "Name folders inside the model folder")
    wanted = [f"{name}/{file}" for name in folders for file in (CONFIG_FILE, WEIGHTS_FILE)]
    wanted += [f"{name}/{BACKBONE_CONFIG}" for name in contents.language_models.values()]
    if absent := [file for file in wanted if not (folder / file).is_file()]:
        raise CheckpointError(folder, f"has no {absent[0]}", "Copy the whole folder again")
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
    for key, kinds in (("preset", (str, type(None))), ("tokenizer", (str,)), ("critic", (str, type(None)))):
        if key in values and not isinstance(values[key], kinds):
            raise CheckpointError(path, f"'{key}' is {values[key]!r}", "Give a name")
    return ModelContents(**values)


@dataclass(frozen=True)
class NamedParts:
    """The de-tokenizers or the language models of a model.

    Attributes:
        source: what the user called the model.
        kind: what they are, in words.
        folders: name -> folder.
        default: name of that which serves the tasks that have none of their own.
    """

    source: str
    kind: str
    folders: Mapping[str, str]
    default: str

    def for_task(self, task: str, known: Iterable[str], preferred: Mapping[str, str]) -> str:
        """Name of the part that a task uses: the preferred one, that for everything, or the only one.

        Raises:
            CheckpointError: if the task is not among those known, or there is no part for it.
        """
        if task not in known:
            remedy = f"Tasks: {', '.join(sorted(known))}. {self._names()}"
            raise CheckpointError(self.source, f"knows no task {task!r}", remedy)
        for name in (preferred.get(task), self.default):
            if name in self.folders:
                return str(name)
        if len(self.folders) == 1:
            return next(iter(self.folders))
        raise CheckpointError(self.source, f"has no {self.kind} for the task {task!r}", self._names())

    def folder(self, name: str) -> str:
        """Folder of the part of that name.

        Raises:
            CheckpointError: if there is none.
        """
        if name not in self.folders:
            raise CheckpointError(self.source, f"has no {self.kind} {name!r}", self._names())
        return self.folders[name]

    def _names(self) -> str:
        return f"{self.kind.capitalize()}s here: {', '.join(sorted(self.folders)) or 'none'}"


def detokenizer_folder(name: str) -> str:
    """Folder of a named de-tokenizer: `detokenizer` for reconstruction, `detokenizer_<name>` for others."""
    return "detokenizer" if name == RECONSTRUCTION else f"detokenizer_{name}"


def language_model_folder(name: str) -> str:
    """Folder of a named language model: `lm` for the only one, else `lm_<name>`."""
    return "lm" if name == DEFAULT_LANGUAGE_MODEL else f"lm_{name}"


def write_contents(folder: Path, contents: ModelContents) -> None:
    """Write model.json of a model folder."""
    write_json(folder / MODEL_FILE, asdict(contents))
