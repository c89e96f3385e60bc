"""Small language models laid out as the released ones."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer

from divot.lm.backbone import new_backbone
from divot.text.vocab import SPECIAL_TOKENS
from divot.weights.official_llm_files import LANGUAGE_FOLDERS, TOKENIZER_FOLDER
from weights.small import SMALL_BACKBONE, Tensors

NUM_PIECES = 320
VOCABULARY = NUM_PIECES + len(SPECIAL_TOKENS)
RANK, ALPHA = 4, 32.0
TARGETS = ("q_proj", "v_proj", "down_proj")


@functools.cache
def sentencepiece_model() -> bytes:
    """A tokenizer of the same kind as Mistral's: byte pairs, spaces kept, bytes for what has no piece."""
    text = ["a cat runs over the green hill", "two dogs watch the red car", "the sun is over the house"] * 20
    with tempfile.TemporaryDirectory() as folder:
        SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_prefix=f"{folder}/small",
            model_type="bpe",
            vocab_size=NUM_PIECES,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            minloglevel=2,
        )
        return Path(folder, "small.model").read_bytes()


def write_tokenizer(folder: Path) -> Path:
    """tokenizer.model and the three JSON files of a tokenizer of that time."""
    folder.mkdir(parents=True)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    added = {token: NUM_PIECES + index for index, token in enumerate(SPECIAL_TOKENS)}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    ends = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(ends))
    (folder / "tokenizer_config.json").write_text(json.dumps({**ends, "tokenizer_class": "LlamaTokenizer"}))
    return folder


def backbone_settings() -> dict:
    """config.json as transformers of that time wrote it."""
    about = {
        "architectures": ["MistralForCausalLM"],
        "torch_dtype": "float32",
        "transformers_version": "4.36.2",
    }
    return {**SMALL_BACKBONE, "vocab_size": VOCABULARY, **about}


def backbone_tensors(seed: int, vocabulary: int = VOCABULARY) -> Tensors:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = new_backbone(SMALL_BACKBONE, vocabulary).state_dict()
        return {name: torch.randn_like(tensor) * 0.1 for name, tensor in state.items()}


def agent_tensors(seed: int, width: int = 8, hidden: int = 16, components: int = 2) -> Tensors:
    size, draw = components * (2 * width + 1), torch.Generator().manual_seed(seed)
    shapes = {
        "input_resampler.proj.0": (hidden, width),
        "input_resampler.proj.2": (hidden, hidden),
        "output_resampler.proj.0": (size, hidden),
        "output_resampler.proj.2": (size, size),
    }
    return {
        f"{name}.{kind}": torch.randn(shape if kind == "weight" else shape[:1], generator=draw)
        for name, shape in shapes.items()
        for kind in ("weight", "bias")
    }


def lora_tensors(base: Tensors, seed: int = 5) -> tuple[Tensors, Tensors]:
    """A LoRA under peft's plain names, with the norms and embeddings trained whole; and what it all adds up to."""
    draw = torch.Generator().manual_seed(seed)
    parts, merged = {}, dict(base)
    for name, weight in base.items():
        module = name.removesuffix(".weight")
        if name.split(".")[-2] in TARGETS:
            down = torch.randn(RANK, weight.shape[1], generator=draw)
            up = torch.randn(weight.shape[0], RANK, generator=draw)
            parts |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
            merged[name] = weight + up @ down * (ALPHA / RANK)
        elif "norm" in name or "embed" in name or "lm_head" in name:
            merged[name] = torch.randn(weight.shape, generator=draw)
            parts[name] = merged[name]
    return parts, merged


def in_training(base: Tensors, parts: Tensors) -> Tensors:
    """The names of a model that is being trained: base and LoRA in one file."""
    state = {}
    for name, tensor in base.items():
        module = name.removesuffix(".weight")
        if name in parts:
            state[f"{module}.original_module.weight"] = tensor
            state[f"{module}.modules_to_save.default.weight"] = parts[name]
        elif f"{module}.lora_A.weight" in parts:
            state[f"{module}.base_layer.weight"] = tensor
            for half in ("lora_A", "lora_B"):
                state[f"{module}.{half}.default.weight"] = parts[f"{module}.{half}.weight"]
        else:
            state[name] = tensor
    return {f"base_model.model.{name}": tensor for name, tensor in state.items()}


def write_llm(folder: Path, tensors: Tensors, form: str) -> Path:
    """A Hugging Face folder: `safetensors`, `bin`, or `shards` of .bin with their index."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(backbone_settings()))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 1, "eos_token_id": 2}))
    if form == "safetensors":
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    elif form == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        names, half = sorted(tensors), len(tensors) // 2
        files = {
            "pytorch_model-00001-of-00002.bin": names[:half],
            "pytorch_model-00002-of-00002.bin": names[half:],
        }
        for file, some in files.items():
            torch.save({name: tensors[name] for name in some}, folder / file)
        index = {"metadata": {}, "weight_map": {name: file for file, some in files.items() for name in some}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def write_agent(folder: Path, tensors: Tensors) -> Path:
    (folder / "agent").mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "agent" / "pytorch_model.bin")
    return folder


def write_language_models(
    root: Path, dtype: torch.dtype = torch.float32
) -> dict[str, tuple[Tensors, Tensors]]:
    """All three beside the tokenizer, in three forms; gives the tensors of llm/ and agent/ by folder."""
    write_tokenizer(root / TOKENIZER_FOLDER)
    written = {}
    for seed, (place, form) in enumerate(
        zip(LANGUAGE_FOLDERS.values(), ("shards", "safetensors", "bin"), strict=True)
    ):
        llm = {name: tensor.to(dtype) for name, tensor in backbone_tensors(seed).items()}
        agent = {name: tensor.to(dtype) for name, tensor in agent_tensors(seed).items()}
        write_llm(root / place / "llm", llm, form)
        write_agent(root / place, agent)
        written[place] = (llm, agent)
    return written
