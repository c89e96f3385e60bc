"""De-tokenizer adaptation: the de-tokenizer goes on de-noising real clips, under tokens that the language model draws.

What a language model writes is not what the tokenizer writes: tokens of a clip that would fit the words, drawn one by
one. Trained under those, the de-tokenizer learns to make a clip of what it will really be given.

Letters: B clips, F frames, N tokens a clip, D width of a token, S pixels.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from typing_extensions import Self

from divot.config.errors import CheckpointError
from divot.config.files import written_whole
from divot.config.training import TrainConfig
from divot.data.clips import to_batch
from divot.data.tasks import LanguageDataset, task_turns
from divot.detokenizer import VideoDetokenizer
from divot.lm.batch import LanguageBatch, collate
from divot.lm.generate import TokenSampling, draw_tokens
from divot.lm.model import DivotLM
from divot.text import conversation
from divot.text.sequence import Sequence
from divot.tokenizer import VideoTokenizer
from divot.train.diffusion_stage import NUM_SHOWN, denoising_loss
from divot.video.clips import SEEN_FRAMES
from divot.video.transform import to_uint8
from divot.weights.store import ModelFolder, add_detokenizer, refuse_foreign_folder

TASK = "generate"
# Samples whose tokens are drawn at once for the cache.
_DRAWN_AT_ONCE = 32


@dataclass(frozen=True)
class AdaptationSample:
    """A clip uint8 [F, S, S, 3], the sequence in which it is asked for, and its number in the run."""

    frames: np.ndarray
    sequence: Sequence
    number: int


@dataclass(frozen=True)
class AdaptationBatch:
    """Clips with their prompts."""

    clips: Tensor
    """[B, F, 3, S, S] in [-1, 1]."""
    language: LanguageBatch
    """The prompts, without tokens."""
    numbers: Tensor
    """[B]."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return type(self)(self.clips.to(device), self.language.to(device), self.numbers.to(device))


class AdaptationDataset:
    """Clips with captions, as the lm stage's task `generation` draws them; with `period` they come again and again."""

    def __init__(self, language: LanguageDataset, period: int | None) -> None:
        self.language, self.period = language, period

    def __len__(self) -> int:
        return len(self.language)

    def __getitem__(self, number: int) -> AdaptationSample:
        """Sample `number`."""
        number = number % self.period if self.period else number
        record, task, rng = self.language.draw(number)
        turns = task_turns(record, task, rng, max_questions=1)
        sequence = self.language.builder.build(conversation(turns, self.language.chat_tokenizer))
        return AdaptationSample(record.clips[0], sequence, number)


def to_adaptation_batch(
    pad_id: int, token_shape: tuple[int, int], samples: list[AdaptationSample]
) -> AdaptationBatch:
    """Join samples."""
    language = collate([sample.sequence for sample in samples], (), (), pad_id, token_shape)
    numbers = torch.tensor([sample.number for sample in samples])
    return AdaptationBatch(to_batch([sample.frames for sample in samples]), language, numbers)


class AdaptationModule(nn.Module):
    """A de-tokenizer that learns, under a tokenizer and a language model that do not.

    Source: Divot (arXiv 2412.04432), section 3.3.
    """

    def __init__(
        self, tokenizer: VideoTokenizer, lm: DivotLM, detokenizer: VideoDetokenizer, config: TrainConfig
    ) -> None:
        super().__init__()
        self.tokenizer, self.lm, self.detokenizer, self.config = tokenizer, lm, detokenizer, config
        for frozen in (tokenizer, lm, detokenizer.vae):
            frozen.requires_grad_(False)
        self.drawn: Tensor | None = None
        """[M, N, D]: tokens of the first M samples, where they are kept."""

    def train(self, mode: bool = True) -> AdaptationModule:
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for frozen in (self.tokenizer, self.lm, self.detokenizer.vae):
            frozen.eval()
        return self

    @torch.no_grad()
    def draw(self, batch: AdaptationBatch, chances: list[torch.Generator]) -> Tensor:
        """Tokens [B, N, D] that the language model draws for the prompts, each by its own chance."""
        settings = self.config.adaptation
        sampling = TokenSampling(False, settings.temperature, settings.component_temperature)
        states = self.lm.query_states(self.lm.states(batch.language), batch.language)
        rows = zip(states.split(1), chances, strict=True)
        return torch.cat([draw_tokens(self.lm, row, sampling, chance) for row, chance in rows])

    def forward(
        self, batch: AdaptationBatch, chances: list[torch.Generator]
    ) -> tuple[Tensor, dict[str, float]]:
        """The de-noising loss under drawn tokens, `true_share` of them the clips' own."""
        if self.drawn is None:
            tokens = self.draw(batch, chances)
        else:
            tokens = self.drawn[batch.numbers.cpu()].to(batch.clips.device)
        share = self.config.adaptation.true_share
        if share > 0:
            with torch.no_grad():
                true = self.tokenizer(batch.clips[:, list(SEEN_FRAMES)])
            drawn = torch.cat([torch.rand(1, generator=chance) for chance in chances])
            is_true = (drawn < share).to(tokens.device)
            tokens = torch.where(is_true[:, None, None], true.to(tokens), tokens)
        return denoising_loss(self.detokenizer, batch.clips, tokens, self.config, chances)


class AdaptationStage:
    """Adapts the de-tokenizer of a model to its language model."""

    def __init__(self, config: TrainConfig) -> None:
        assert config.init_model is not None
        language = replace(config.language, tasks={"generation": 1.0})
        self.config = replace(config, language=language)
        self.folder = ModelFolder.open(config.init_model)
        lm_name = self.folder.language_model_name(TASK)
        lm, detokenizer = self.folder.language_model(lm_name), self.folder.detokenizer(TASK)
        self.module = AdaptationModule(self.folder.tokenizer(), lm, detokenizer, self.config)
        if config.adaptation.cache is not None:
            self.module.drawn = self._cached(Path(config.adaptation.cache), lm_name)

    def _data(self, length: int, rejects_file: Path | None) -> AdaptationDataset:
        lm, size_px = self.module.lm, self.module.detokenizer.config.frame_size
        chat = lm.tokenizer if lm.config.uses_chat_template else None
        builder = lm.builder(self.config.language.max_length)
        language = LanguageDataset(self.config, builder, size_px, length, chat, rejects_file)
        settings = self.config.adaptation
        return AdaptationDataset(language, None if settings.cache is None else settings.cache_size)

    def _collate(self) -> Callable[[list[Any]], Any]:
        lm = self.module.lm
        return partial(to_adaptation_batch, lm.vocab.pad, (lm.config.num_tokens, lm.config.token_width))

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """Clips with their captions as prompts."""
        return self._data(length, rejects_file), self._collate()

    @torch.no_grad()
    def _cached(self, file: Path, lm_name: str) -> Tensor:
        """The tokens of the cache; they are drawn now if the file is not there."""
        settings = self.config.adaptation
        label = {
            "language_model": self.folder.language_model_hash(lm_name),
            "samples": f"{settings.cache_size} of seed {self.config.seed}, world {self.config.data.world_seed}",
            "sampling": f"{settings.temperature} {settings.component_temperature}",
        }
        if file.exists():
            with safe_open(file, "pt") as stored:
                if stored.metadata() != label:
                    raise CheckpointError(
                        file, "holds tokens of another model or run", "Give another file, or remove it"
                    )
                tokens: Tensor = stored.get_tensor("tokens")
                return tokens
        dataset, collate_fn = self._data(settings.cache_size, None), self._collate()
        generator = torch.Generator().manual_seed(self.config.seed)
        drawn = []
        for first in range(0, settings.cache_size, _DRAWN_AT_ONCE):
            numbers = range(first, min(first + _DRAWN_AT_ONCE, settings.cache_size))
            batch = collate_fn([dataset[number] for number in numbers])
            drawn.append(self.module.draw(batch, [generator] * len(numbers)))
        tokens = torch.cat(drawn)
        with written_whole(file) as beside:
            save_file({"tokens": tokens}, beside, metadata=label)
        return tokens

    @torch.no_grad()
    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """A contact sheet: clips, and what is made of the tokens drawn for their captions, in turn."""
        assert isinstance(module, AdaptationModule)
        from divot.video.sheets import contact_sheet

        generator = torch.Generator().manual_seed(0)
        decoded = module.detokenizer.decode(module.draw(batch, [generator] * len(batch.clips))[:NUM_SHOWN])
        pairs = zip(batch.clips[:NUM_SHOWN], decoded, strict=True)
        contact_sheet([to_uint8(video) for pair in pairs for video in pair], path.with_suffix(".png"))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a model folder: that of init_model with this de-tokenizer in it, float16 on disk."""
        assert isinstance(module, AdaptationModule)
        refuse_foreign_folder(folder)
        with written_whole(folder) as beside:
            shutil.copytree(self.folder.path, beside)
            add_detokenizer(beside, self.config.adaptation.name, module.detokenizer)
