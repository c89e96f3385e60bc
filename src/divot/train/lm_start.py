"""What a run of the language stage begins with: a language model, the samples in its words, tokens of a store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from divot.config.errors import CheckpointError, DataError, RecipeError
from divot.config.models import ConnectorConfig, HeadConfig, LanguageModelConfig
from divot.config.presets import preset
from divot.config.training import TrainConfig
from divot.data.clips import to_batch
from divot.data.tasks import LanguageDataset, LanguageSample, world_corpus
from divot.data.tokens import TokenStore
from divot.lm.backbone import load_backbone, load_words
from divot.lm.model import DivotLM
from divot.text import Turn, conversation
from divot.text.pieces import learn_pieces
from divot.tokenizer import VideoTokenizer
from divot.video.transform import signed
from divot.weights.contents import PRETRAINED_LANGUAGE_MODEL
from divot.weights.store import ModelFolder

# Texts that a new tokenizer's pieces, and clips that the tokens' units are taken from.
NUM_CORPUS_CLIPS, NUM_STATISTICS_CLIPS = 1500, 256
# The corpus is about words alone: the smallest frames will do.
CORPUS_SIZE_PX = 16
# How videos become clips where training reads them itself.
_USUAL_SETTINGS = {"fit": "crop", "sampling": "consecutive"}
log = logging.getLogger(__name__)


def language_dataset(
    config: TrainConfig,
    lm: DivotLM,
    size_px: int,
    length: int,
    rejects_file: Path | None,
    tokens: Mapping[str, TokenStore] | None = None,
) -> LanguageDataset:
    """The samples of a run in the words of this model; arguments as of `LanguageDataset`."""
    chat: PreTrainedTokenizerBase | None = lm.tokenizer if lm.config.uses_chat_template else None
    builder = lm.builder(config.language.max_length)
    has_plans, is_official = lm.config.plans, lm.config.official_prompts
    return LanguageDataset(
        config, builder, size_px, length, chat, rejects_file, tokens, has_plans, is_official
    )


def wanted_connector(config: TrainConfig) -> ConnectorConfig | None:
    """Sizes of the connector that the settings want, of depth 0 for none; None where they leave it open."""
    if config.language.connector is None:
        return None
    if not config.language.connector:
        return ConnectorConfig()
    sizes = preset(config.preset).lm.connector
    if not sizes.depth:
        cause = f"is true, and the preset {config.preset!r} has no sizes of one"
        raise RecipeError("language.connector", cause, "Leave it out")
    return sizes


def token_store(place: str, model: ModelFolder) -> TokenStore:
    """The tokens of annotated videos in a folder, made by the tokenizer of a model.

    Raises:
        DataError: if there is none, or another tokenizer made it.
    """
    store = TokenStore(place)
    made_by, wanted = store.manifest.tokenizer_hash, model.tokenizer_hash
    if made_by != wanted:
        raise DataError(
            store.folder,
            f"holds tokens of tokenizer {made_by} ({store.manifest.model}), not of {wanted} ({model.source})",
            f"Encode the videos with `divot encode VIDEOS --model {model.source} -o STORE`",
        )
    settings = store.manifest.settings
    other = {
        name: settings[name] for name, usual in _USUAL_SETTINGS.items() if settings.get(name, usual) != usual
    }
    if other:
        log.warning(
            "%s was made with %s; without a store videos are cropped, and cut into consecutive clips",
            store.folder,
            ", ".join(f"--{name} {value}" for name, value in other.items()),
        )
    return store


def begins_anew(config: TrainConfig) -> bool:
    """Whether the settings want a language model of new weights, or one that reads no tokens yet."""
    return config.language.is_new or config.language.backbone is not None


def first_language_model(config: TrainConfig, folder: ModelFolder) -> str:
    """Name of the language model of a folder that a run begins with: the one of the run's own name, else the one that
    the paper's later stages begin with, else that which answers questions.

    Raises:
        CheckpointError: if the folder has none.
    """
    known = folder.contents.language_models
    wanted = (config.language.name, PRETRAINED_LANGUAGE_MODEL)
    return next((name for name in wanted if name in known), None) or folder.language_model_name("chat")


def starting_language_model(
    config: TrainConfig, folder: ModelFolder, tokenizer: VideoTokenizer, tokens: Mapping[str, TokenStore]
) -> DivotLM:
    """The language model of a folder, or of `init_lm`, with what the settings put in; or a new one.

    Args:
        config: of the run.
        folder: what `init_model` names.
        tokenizer: its tokenizer.
        tokens: by its folder, each token store that the settings name.

    Raises:
        CheckpointError: if it was taught tokens of other sizes.
        RecipeError: if the settings contradict it.
    """
    language, other, models = config.language, config.init_lm, folder.contents.language_models
    if other is None and (begins_anew(config) or not models):
        if language.is_new and models:
            log.warning(
                "The language model begins with random weights, and those of %s (%s) are left out: "
                "language.is_new=false goes on from them",
                folder.source,
                ", ".join(models),
            )
        lm = _new_language_model(config, tokenizer)
        _measure_tokens(config, lm, tokenizer, tokens)
        return lm
    source = folder if other is None else ModelFolder.open(other)
    lm = source.language_model(first_language_model(config, source))
    ours, theirs = ((one.config.num_tokens, one.config.token_width) for one in (tokenizer, lm))
    if ours != theirs and other is None:
        raise CheckpointError(
            folder.source,
            f"has a language model of {theirs[0]} tokens of width {theirs[1]} a clip, the tokenizer gives "
            f"{ours[0]} of width {ours[1]}",
            f"Set init_lm={config.init_model}: it keeps its words, and learns these tokens anew",
        )
    if ours != theirs:
        lm.take_new_tokens(*ours)
    if language.head is not None:
        lm.take_new_head(_wanted_head(config))
    lm.take_writing(language.queries, wanted_connector(config))
    if language.added_variance is not None:
        lm.take_added_variance(language.added_variance)
    if other is not None:
        _measure_tokens(config, lm, tokenizer, tokens, keeps_axes=ours == theirs)
    return lm


def _wanted_head(config: TrainConfig) -> HeadConfig:
    language, sizes = config.language, preset(config.preset).lm.head
    return replace(
        sizes,
        kind=language.head or sizes.kind,
        prediction=language.prediction or sizes.prediction,
        cosine_weight=sizes.cosine_weight if language.cosine_weight is None else language.cosine_weight,
        added_variance=sizes.added_variance if language.added_variance is None else language.added_variance,
    )


def _new_language_model(config: TrainConfig, tokenizer: VideoTokenizer) -> DivotLM:
    language, sizes = config.language, preset(config.preset).lm
    settings: LanguageModelConfig = replace(
        sizes,
        token_width=tokenizer.config.token_width,
        num_tokens=tokenizer.config.num_tokens,
        head=_wanted_head(config),
        connector=wanted_connector(config) or sizes.connector,
        queries=language.queries or sizes.queries,
        plans=sizes.plans if language.plans is None else language.plans,
    )
    if language.backbone is None and language.lora.rank:
        raise RecipeError(
            "language.lora.rank",
            f"is {language.lora.rank}, but the language model begins with random weights, which a LoRA leaves as "
            "they are",
            "Set language.backbone=FOLDER of a pre-trained one, or language.lora.rank=0",
        )
    if language.backbone is not None:
        words = load_words(language.backbone)
        wanted = language.uses_chat_template
        has_template = bool(words.chat_template) if wanted is None else wanted
        tasks = [language.tasks, *(part.tasks or {} for part in language.mixture)]
        if has_template and language.max_questions > 1 and any(one.get("question") for one in tasks):
            # Before the run, and not in its middle.
            conversation([Turn("a", "b"), Turn("c", "d")], words)
        backbone = load_backbone(language.backbone)
        return DivotLM(replace(settings, uses_chat_template=has_template), backbone, words)
    corpus = world_corpus(config.data.world_seed, NUM_CORPUS_CLIPS, CORPUS_SIZE_PX, settings.plans)
    return DivotLM.new(settings, learn_pieces(corpus, language.vocab_size))


def _measure_tokens(
    config: TrainConfig,
    lm: DivotLM,
    tokenizer: VideoTokenizer,
    tokens: Mapping[str, TokenStore],
    keeps_axes: bool = False,
) -> None:
    if lm.config.has_token_statistics:
        # What is said without a clip has no tokens to measure.
        seeing = replace(config, language=replace(config.language, blind_share=0.0))
        count = NUM_STATISTICS_CLIPS
        dataset = language_dataset(seeing, lm, tokenizer.config.frame_size, count, None, tokens)
        measured = [_sample_tokens(tokenizer, dataset[number]) for number in range(count)]
        lm.set_token_statistics(torch.cat(measured), keeps_axes)


@torch.no_grad()
def _sample_tokens(tokenizer: VideoTokenizer, sample: LanguageSample) -> Tensor:
    return tokenizer(signed(to_batch(list(sample.seen)))) if sample.tokens is None else sample.tokens.float()
