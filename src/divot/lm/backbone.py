"""The language model under Divot-LLM: any causal model of transformers, and the LoRA on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.masking_utils import create_causal_mask
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils.logging import disable_progress_bar

from divot.config.errors import CheckpointError, RecipeError
from divot.text.sequence import NO_BLOCK

if TYPE_CHECKING:
    from transformers import Cache, PretrainedConfig, PreTrainedTokenizerBase

    from divot.config.language import LoRAConfig

# Its bars for loading and saving would come between our own lines.
disable_progress_bar()

# Kinds of layers, by transformers' names.
FULL, SLIDING = "full_attention", "sliding_attention"
ATTENTIONS = ("sdpa", "eager", "flex_attention")
# Classes of tokenizers that are nothing but their file, by their names in transformers 5 and before.
PLAIN_WORDS = ("TokenizersBackend", "PreTrainedTokenizerFast")


def new_backbone(settings: dict[str, Any], vocab_size: int | None = None) -> PreTrainedModel:
    """A causal language model with new weights.

    Args:
        settings: of its configuration, `model_type` among them.
        vocab_size: rows of the embedding; None keeps that of the settings.

    Raises:
        RecipeError: if transformers knows no such type.
    """
    values = dict(settings)
    kind = values.pop("model_type", None)
    if vocab_size is not None:
        values["vocab_size"] = vocab_size
    try:
        config = AutoConfig.for_model(kind, **values)
        return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    except ValueError as error:
        raise RecipeError(
            f"backbone.model_type {kind!r}", f"cannot be used ({error})", "Try mistral"
        ) from error


def load_backbone(
    folder: str | Path, dtype: torch.dtype | None = torch.float32, attention: str = "sdpa"
) -> PreTrainedModel:
    """A causal language model from a Hugging Face folder or hub id, in evaluation mode.

    Args:
        folder: with config.json and safetensors.
        dtype: of the weights in memory; None keeps that on disk.
        attention: one of `ATTENTIONS`.

    Raises:
        CheckpointError: if it cannot be loaded whole.
    """
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto" if dtype is None else dtype,
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        # transformers, the hub and safetensors raise many kinds; for the user they are one.
        raise CheckpointError(
            folder, f"is no causal language model ({error})", "Give another folder"
        ) from error
    lacking = sorted(report["missing_keys"])
    if lacking or report["mismatched_keys"]:
        first = (lacking or [str(report["mismatched_keys"])])[0]
        raise CheckpointError(folder, f"lacks weights ({first})", "Copy the whole folder again")
    loaded: PreTrainedModel = model
    return loaded.eval()


def load_words(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model, from a Hugging Face folder or hub id.

    Raises:
        CheckpointError: if there is none that can be used.
    """
    try:
        # Words that were learned here are of no family; by the model beside them they would be read as its family's.
        is_plain = get_tokenizer_config(folder).get("tokenizer_class") in PLAIN_WORDS
        kind = PreTrainedTokenizerFast if is_plain else AutoTokenizer
        words: PreTrainedTokenizerBase = kind.from_pretrained(folder)
    except Exception as error:
        remedy = "Give the folder of a language model with its tokenizer.json"
        raise CheckpointError(folder, f"has no usable tokenizer ({error})", remedy) from error
    return words


def add_lora(backbone: PreTrainedModel, config: LoRAConfig, new_rows: Sequence[int]) -> nn.Module:
    """Freeze the backbone and put a LoRA on it, in place; norms are trained whole, of both embeddings the new rows.

    Args:
        backbone: changed in place; its own object stays the model to call.
        config: rank, alpha, dropout, target modules.
        new_rows: ids of the special tokens.

    Returns:
        The PeftModel around it, to save the adapter or to merge it.

    Raises:
        RecipeError: if the backbone lacks one of the target modules, or reads pictures by itself.
    """
    from peft import LoraConfig, get_peft_model

    if backbone.config.get_text_config() is not backbone.config:
        cause = "reads pictures by itself, and a LoRA would lie on what does that too"
        raise RecipeError(f"backbone {backbone.config.model_type!r}", cause, "Take a language model alone")
    names = {name.rsplit(".", 1)[-1]: module for name, module in backbone.named_modules()}
    maps = sorted(name for name, module in names.items() if isinstance(module, nn.Linear))
    if absent := [name for name in config.target_modules if name not in names]:
        cause = f"names {', '.join(absent)}, which this backbone has not"
        raise RecipeError("lora.target_modules", cause, f"It has {', '.join(maps)}")
    # Trained and saved whole beside the LoRA, as the official code does with those of Mistral.
    norms = [name for name, module in names.items() if type(module).__name__.endswith("Norm")]
    # Where both are one tensor, peft ties the rows itself.
    is_tied = backbone.get_output_embeddings().weight is backbone.get_input_embeddings().weight
    holders = [backbone.get_input_embeddings(), *([] if is_tied else [backbone.get_output_embeddings()])]
    rows = {
        name.rsplit(".", 1)[-1]: list(new_rows)
        for name, module in backbone.named_modules()
        if any(module is holder for holder in holders)
    }
    try:
        return get_peft_model(
            backbone,
            LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules=list(config.target_modules),
                modules_to_save=norms,
                trainable_token_indices=rows,
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:
        # A LoRA goes on maps alone.
        raise RecipeError("lora.target_modules", str(error), f"It has {', '.join(maps)}") from error


def head_scores(backbone: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Scores of the next id, float32 [..., V], from last hidden states [..., H], in the scale of the family."""
    scores: Tensor = backbone.get_output_embeddings()(hidden).float()
    config = backbone.config.get_text_config()
    # Cohere multiplies, Granite divides, Gemma 2 bends what is large.
    scores = (
        scores
        * (getattr(config, "logit_scale", None) or 1.0)
        / (getattr(config, "logits_scaling", None) or 1.0)
    )
    cap = getattr(config, "final_logit_softcapping", None)
    return scores if cap is None else cap * torch.tanh(scores / cap)


def as_cache(taker: Callable[..., Any], cache: Cache | None) -> dict[str, Cache | None]:
    """The cache by the name under which a function of transformers takes it, which has changed within version 5."""
    return {"cache" if "cache" in inspect.signature(taker).parameters else "past_key_values": cache}


def _blocks_in_window(blocks_BK: Tensor, window: int) -> Callable[..., Tensor]:
    """Positions of a block see each other as far as the window reaches; transformers' own blocks reach beyond it."""

    def may_attend(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        block = blocks_BK[batch, row]
        return (block == blocks_BK[batch, key]) & (block != NO_BLOCK) & (key > row - window)

    return may_attend


def _window(positions_BK: Tensor, sequences_BK: Tensor, window: int) -> Callable[..., Tensor]:
    """A window over the positions of a sequence: rows that say less than others beside them leave gaps in the cache,
    which count for nothing here; transformers' own window counts places of the cache."""

    def is_near(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        is_own = sequences_BK[batch, key] == sequences_BK[batch, row]
        return is_own & (positions_BK[batch, key] > positions_BK[batch, row] - window)

    return is_near


def attention_mask(
    config: PretrainedConfig,
    embeddings_BLH: Tensor,
    is_present_BK: Tensor | None,
    blocks_BL: Tensor,
    positions_BL: Tensor,
    cache: Cache | None = None,
) -> Any:
    """The mask in the form that the backbone's attention takes, by transformers' own masking.

    Args:
        config: of the backbone.
        embeddings_BLH: of the positions that look.
        is_present_BK: bool; False for padding, the cached positions first. None: position ids tell where packed
            sequences begin, and they are kept apart.
        blocks_BL: block ids of the positions that look, -1 for none.
        positions_BL: position ids.
        cache: of what was before, which has kept all of it for every layer.

    Returns:
        The mask; where layers differ, one by the name of each kind, as models of transformers with such layers take it.

    Raises:
        RecipeError: if layers of the backbone have no mask of this form (chunks, recurrence).
    """
    kinds = set(getattr(config, "layer_types", None) or ())
    if unknown := kinds - {FULL, SLIDING}:
        cause = f"has layers of {', '.join(sorted(unknown))}"
        raise RecipeError(
            f"backbone {config.model_type!r}", cause, "Take one whose layers attend to all, or to a window"
        )
    # transformers counts block ids from the first cached position; those in the cache are over and done with.
    num_cached = 0 if is_present_BK is None else is_present_BK.shape[1] - blocks_BL.shape[1]
    blocks_BK = F.pad(blocks_BL, (num_cached, 0), value=NO_BLOCK)

    def of_kind(kind: str) -> Any:
        blocks: dict[str, Any] = {"block_sequence_ids": blocks_BK}
        position_ids: Tensor | None = positions_BL
        if kind == SLIDING:
            if is_present_BK is None:
                positions_BK, sequences_BK = positions_BL, (positions_BL == 0).cumsum(dim=1)
                # Were they known, our functions would be asked about positions and not about places of the row.
                position_ids = None
            else:
                positions_BK = is_present_BK.cumsum(dim=1) - 1
                sequences_BK = torch.zeros_like(positions_BK)
            blocks = {
                "or_mask_function": _blocks_in_window(blocks_BK, config.sliding_window),
                "and_mask_function": _window(positions_BK, sequences_BK, config.sliding_window),
            }
        return create_causal_mask(
            config=config,
            inputs_embeds=embeddings_BLH,
            attention_mask=is_present_BK,
            position_ids=position_ids,
            **blocks,
            **as_cache(create_causal_mask, cache),
        )

    if len(kinds) > 1:
        return {kind: of_kind(kind) for kind in kinds}
    is_sliding = getattr(config, "sliding_window", None) is not None and kinds != {FULL}
    return of_kind(SLIDING if is_sliding else FULL)
