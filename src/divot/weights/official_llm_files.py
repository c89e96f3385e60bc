"""Where the released language models lie, and weights of a Hugging Face folder in pieces or in one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from divot.config.errors import CheckpointError
from divot.config.files import write_json
from divot.weights.tensor_files import TensorFile, read_tensors

LANGUAGE_FOLDERS = {
    "pretrain": "Divot_pretrain",
    "comprehension": "Divot_sft_comp",
    "generation": "Divot_sft_gen",
}
"""Our name of each released language model, and its folder."""
TOKENIZER_FOLDER = "cvlm_mistral_instruct_tokenizer"
LLM_FOLDER, AGENT_FOLDER, AGENT_FILE = "llm", "agent", "pytorch_model.bin"
_FORMS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""Weights in one file, or the index of their pieces; the first that is there counts."""
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
PIECE_SIZE = "2GB"
EMBEDDING = "model.embed_tokens.weight"
GENERATION_CONFIG = "generation_config.json"
EXTRA_FILE = "official_extra.safetensors"
"""In the folder of a language model of ours: released tensors that it has no place for."""


@dataclass(frozen=True)
class ReleasedLanguageModel:
    """One released language model."""

    folder: Path
    agent: Path
    """The projections, and maybe the language model."""
    llm: Path | None
    """The language model in Hugging Face form, or its LoRA in peft's; None: in the agent's file."""
    tokenizer: Path
    """Folder of its tokenizer."""


def find_language_models(root: Path) -> dict[str, ReleasedLanguageModel]:
    """The released language models in a folder, by our names; none where there are none.

    Raises:
        CheckpointError: if one lacks the file of its projections, or its tokenizer.
    """
    found = {}
    for name, place in LANGUAGE_FOLDERS.items():
        folder = root / place
        if not folder.is_dir():
            continue
        agent, llm = folder / AGENT_FOLDER / AGENT_FILE, folder / LLM_FOLDER
        if not agent.is_file():
            cause = f"has no {AGENT_FOLDER}/{AGENT_FILE}"
            raise CheckpointError(folder, cause, "Give the whole released folder, or take this one away")
        tokenizer = root / TOKENIZER_FOLDER
        if not tokenizer.is_dir():
            # A model of ours that was written in the released form keeps its tokenizer here.
            tokenizer = llm
        if not tokenizer.is_dir():
            raise CheckpointError(root, f"has no {TOKENIZER_FOLDER}/", "Give the whole released folder")
        found[name] = ReleasedLanguageModel(folder, agent, llm if llm.is_dir() else None, tokenizer)
    return found


def read_pieces(folder: Path) -> list[TensorFile]:
    """The weight files of a Hugging Face folder, memory-mapped.

    Raises:
        CheckpointError: if there are none, or one is missing or damaged.
    """
    for single, index in _FORMS:
        if (folder / single).is_file():
            return [read_tensors(folder / single)]
        if (folder / index).is_file():
            return [read_tensors(folder / name) for name in _pieces(folder / index)]
    wanted = ", ".join(name for form in _FORMS for name in form)
    raise CheckpointError(folder, f"has none of {wanted}", "Give a Hugging Face model folder")


def read_adapter(folder: Path) -> TensorFile:
    """The weights of a peft adapter.

    Raises:
        CheckpointError: if there are none, or they are damaged.
    """
    path = next((folder / name for name in _ADAPTERS if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(folder, f"has none of {', '.join(_ADAPTERS)}", "Copy the folder again")
    return read_tensors(path)


def is_same(one: Tensor, other: Tensor | None) -> bool:
    """Whether two tensors have the same type and the same bits."""
    return other is not None and one.dtype == other.dtype and torch.equal(one, other)


def _pieces(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(index, "is no index of weight files", "Copy it again") from error
    if outside:
        raise CheckpointError(index, f"names {outside[0]!r}, a file elsewhere", "Take it from its authors")
    return names


def write_pieces(
    folder: Path,
    like: Mapping[str, Tensor],
    read: Callable[[str], Tensor],
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights as safetensors, in pieces where they are large; one piece at a time is in memory.

    Args:
        folder: an existing folder.
        like: names, shapes and types; its values are not read.
        read: gives the tensor of a name.
        dtype: type on disk; None keeps that of `like`.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    empty = {k: torch.empty(v.shape, dtype=dtype or v.dtype, device="meta") for k, v in like.items()}
    plan = split_torch_state_dict_into_shards(empty, max_shard_size=PIECE_SIZE)
    for file, names in plan.filename_to_tensors.items():
        # Tensors of one storage (views in a pickle) cannot be written together: each gets its own.
        own = {k: read(k).to(empty[k].dtype).clone(memory_format=torch.contiguous_format) for k in names}
        save_file(own, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        write_json(folder / "model.safetensors.index.json", index)
