"""The record beside each output: all that is needed to make it again. Its form is in docs/formats.md."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from divot.config.files import write_json
from divot.config.models import SamplerConfig
from divot.config.versions import versions

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot

FORMAT = 1


def sidecar_path(output: str | Path) -> Path:
    """Where the record of an output stands: its name with `.json` behind it."""
    output = Path(output)
    return output.with_name(output.name + ".json")


def describe_model(divot: Divot) -> dict[str, Any]:
    """Whose weights these are, where they run and in which type."""
    critic_hash = divot.folder.critic_hash
    return {
        "source": divot.source,
        "preset": divot.folder.preset,
        "tokenizer_hash": divot.folder.tokenizer_hash,
        **({} if critic_hash is None else {"critic_hash": critic_hash}),
        "device": str(divot.device),
        "dtype": str(divot.dtype).removeprefix("torch."),
    }


def describe_detokenizer(divot: Divot, name: str, task: str, sampler: SamplerConfig) -> dict[str, Any]:
    """Which de-tokenizer made the frames, for which task, and how."""
    return {
        "name": name,
        "task": task,
        "detokenizer_hash": divot.folder.detokenizer_hash(name),
        "sampler": dataclasses.asdict(sampler),
    }


def describe_language_model(divot: Divot, task: str, **settings: Any) -> dict[str, Any]:
    """Which language model spoke, for which task, and how."""
    name = divot.folder.language_model_name(task)
    return {"name": name, "language_model_hash": divot.folder.language_model_hash(name), **settings}


def write_sidecar(output: str | Path, command: str, divot: Divot, **facts: Any) -> dict[str, Any]:
    """Write the record of an output beside it.

    Args:
        output: the file it is about.
        command: what made it, such as `reconstruct`.
        divot: the model.
        facts: what else there is to say.

    Returns:
        The record.
    """
    record = {
        "format": FORMAT,
        "command": command,
        "output": str(output),
        "model": describe_model(divot),
        **facts,
        "versions": versions(),
    }
    write_json(sidecar_path(output), record)
    return record
