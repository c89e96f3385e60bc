"""The language model stage: text and clips in one sequence, cross-entropy on words and the head's loss on tokens.

Letters: C clips, F frames that the tokenizer sees, S pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Many
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from divot.config.errors import CheckpointError, RecipeError
from divot.config.files import write_text
from divot.config.language import LanguageConfig
from divot.config.training import TrainConfig
from divot.lm.batch import LanguageBatch
from divot.lm.generate import Dialogue
from divot.lm.model import DivotLM
from divot.lm.sampling import TextSampling
from divot.text.sequence import IGNORED, Sequence
from divot.tokenizer import VideoTokenizer
from divot.train.lm_batch import MAX_GROUPS, TrainingBatch, to_training_batch
from divot.train.lm_start import language_dataset, starting_language_model, token_store
from divot.train.stage import Stage
from divot.video.transform import signed
from divot.weights.contents import DEFAULT_LANGUAGE_MODEL, LANGUAGE_TASKS
from divot.weights.store import (
    ModelFolder,
    add_language_model,
    changed_copy,
    remove_parts,
)

NUM_SHOWN = 4
# Of frames that are encoded at once: what the tokenizer makes on its way to their tokens is many times as large.
MAX_ENCODED_BYTES = 24 * 2**20
log = logging.getLogger(__name__)


class LanguageModule(nn.Module):
    """The language model over a frozen tokenizer, under both losses."""

    def __init__(self, tokenizer: VideoTokenizer, lm: DivotLM, config: LanguageConfig) -> None:
        super().__init__()
        self.tokenizer, self.lm, self.config = tokenizer, lm, config
        tokenizer.requires_grad_(False)
        self.usual_counts: tuple[float, float] | None = None
        """Words and written clips of a batch in the mean over all batches of the step; None: those of the batch."""
        self.num_encodings: int | None = None
        """Calls of the tokenizer for each batch of the step, the same in all processes; None: as many as it takes."""

    def train(self, mode: bool = True) -> LanguageModule:
        """The tokenizer stays in evaluation mode."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    @torch.no_grad()
    def with_tokens(self, batch: TrainingBatch) -> list[LanguageBatch]:
        """The groups of a batch with the tokens of their clips."""
        encoded = []
        count = num_encodings(batch) if self.num_encodings is None else self.num_encodings
        parts = _encoded_at_once(batch.seen)
        for number in range(count):
            if number < len(parts):
                encoded.append(self._encoded(parts[number]))
            else:
                # Sharded weights are gathered by all processes at once: this one helps the others.
                config = self.tokenizer.config
                shape = (1, config.num_frames, 3, config.frame_size, config.frame_size)
                self._encoded(torch.zeros(shape, dtype=torch.uint8, device=batch.given.device))
        tokens = torch.cat([*encoded, batch.given])
        return [group.with_tokens(tokens) for group in batch.groups]

    def _encoded(self, seen: Tensor) -> Tensor:
        tokens: Tensor = self.tokenizer(signed(seen).to(self.tokenizer.dtype))
        return tokens.float()

    def forward(
        self, batch: TrainingBatch, chances: list[torch.Generator]
    ) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of both losses, and each by itself: means over all words and all written clips.

        With `usual_counts` a loss counts as much as its batch has words, or clips, so that the mean over the batches of
        a step is that over all its words, and clips.
        """
        del chances  # What a head of diffusion draws is torch's own chance, seeded by the loop.
        groups = self.with_tokens(batch)
        losses = [self.lm(group) for group in groups]
        num_words, num_clips = sum(one.num_words for one in losses), sum(one.num_clips for one in losses)
        text = torch.stack([one.text * one.num_words for one in losses]).sum() / max(1, num_words)
        video = torch.stack([one.video * one.num_clips for one in losses]).sum() / max(1, num_clips)
        measures = {"shortened": float(len(batch.left_out))}
        if num_words:
            measures["text_loss"] = float(text.detach())
        if num_clips:
            measures["video_loss"] = float(video.detach())
        usual = self.usual_counts or (num_words, num_clips)
        counts = zip((num_words, num_clips), usual, strict=True)
        weights = [count / mean if mean else 0.0 for count, mean in counts]
        loss = weights[0] * text + weights[1] * self.config.video_weight * video
        # All parameters take part in every step, so that optimizers and other processes know of all of them.
        reads = any(len(group.read_tokens) for group in groups)
        parts = (
            (self.lm.head, num_clips > 0),
            (self.lm.connector, num_clips > 0),
            (self.lm.input_projection, reads),
        )
        for part, is_used in parts:
            if part is not None and not is_used:
                loss = loss + 0.0 * torch.stack([p.sum() for p in part.parameters()]).sum()
        return loss, measures


class LanguageStage(Stage):
    """Trains a language model under a frozen tokenizer, whole or through a LoRA.

    Source: Divot (arXiv 2412.04432), section 3.2; hyper-parameters of the official training scripts.
    """

    module: LanguageModule

    def __init__(self, config: TrainConfig) -> None:
        assert config.init_model is not None
        self.config = config
        self._has_warned = False
        self.folder = ModelFolder.open(config.init_model)
        known = {DEFAULT_LANGUAGE_MODEL, *LANGUAGE_TASKS.values()}
        if config.language.name not in known:
            remedy = f"Known: {', '.join(sorted(known))}"
            raise RecipeError("language.name", f"is {config.language.name!r}", remedy)
        tokenizer = self.folder.tokenizer()
        stores = {source.tokens for source in config.sources if source.tokens is not None}
        self.tokens = {place: token_store(place, self.folder) for place in stores}
        lm = starting_language_model(config, self.folder, tokenizer, self.tokens)
        if config.language.plans is not None:
            lm.take_plans(config.language.plans)
        for setting in ("unseen_share", "token_noise"):
            if getattr(config.language, setting) > 0 and lm.config.queries != "autoregressive":
                raise RecipeError(
                    f"language.{setting}",
                    f"is for clips written token by token, language.queries is {lm.config.queries}",
                    "Set it to 0, or language.queries=autoregressive",
                )
        if lm.has_lora:
            raise CheckpointError(
                config.init_model,
                "has a LoRA that is not folded in",
                "Run `divot merge` and give what it writes",
            )
        if config.language.lora.rank:
            lm.add_lora(config.language.lora)
        self.module = LanguageModule(tokenizer, lm, config.language)

    def data(self, length: int, rejects_file: Path) -> tuple[Any, Callable[[list[Any]], Any]]:
        """Sequences of the tasks, with the frames of their clips."""
        lm, tokenizer = self.module.lm, self.module.tokenizer
        shape = (lm.config.num_tokens, lm.config.token_width)
        size_px, language = tokenizer.config.frame_size, self.config.language
        # All processes have to run sharded blocks equally often.
        max_groups = 1 if self.config.sharded else MAX_GROUPS
        return (
            language_dataset(self.config, lm, size_px, length, rejects_file, self.tokens),
            partial(to_training_batch, lm.vocab.pad, shape, language, max_groups),
        )

    def begin_step(self, batches: Many[Any]) -> None:
        """Count words, written clips and encodings over all processes, and tell of sequences cut short."""
        left_out = [what for batch in batches for what in batch.left_out]
        if left_out and not self._has_warned:
            log.warning(
                "samples are longer than language.max_length (%d) and lose what does not fit; the first, of %s. "
                "shortened_mean in metrics.jsonl says how many there are in a batch",
                self.config.language.max_length,
                left_out[0],
            )
            self._has_warned = True
        counts = torch.tensor([batch.counts for batch in batches], dtype=torch.float64).mean(dim=0)
        if distributed.is_available() and distributed.is_initialized():
            # In float32, which all devices know.
            total = counts.to(self.module.lm.device, torch.float32)
            distributed.all_reduce(total)
            counts = total / distributed.get_world_size()
            if self.config.sharded:
                most = torch.tensor(max(map(num_encodings, batches)), device=self.module.lm.device)
                distributed.all_reduce(most, distributed.ReduceOp.MAX)
                self.module.num_encodings = int(most)
        words, clips = counts.tolist()
        self.module.usual_counts = (words, clips)

    @torch.no_grad()
    def show(self, module: nn.Module, batch: Any, path: Path) -> None:
        """A text file of what is wanted and what is said, for the first sequence of the first rows of a batch."""
        assert isinstance(module, LanguageModule)
        lines = []
        language = module.with_tokens(batch)[0]
        counts = language.reads.sum(dim=1) // module.lm.config.num_tokens
        starts = counts.cumsum(dim=0) - counts
        for row in range(min(NUM_SHOWN, len(language.ids))):
            lines += _said(module.lm, language, row, language.read_tokens[starts[row] :])
        write_text(path.with_suffix(".txt"), "\n".join(lines))

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write a model folder: that of init_model with this language model in it, float16 on disk."""
        assert isinstance(module, LanguageModule)
        name = self.config.language.name
        with changed_copy(self.folder, folder) as beside:
            contents = add_language_model(beside, name, module.lm).contents
            if name == DEFAULT_LANGUAGE_MODEL:
                # It is for every task: those of other names would go on serving theirs.
                remove_parts(beside, "language_models", contents.language_models.keys() - {name})


def num_encodings(batch: TrainingBatch) -> int:
    """How often the tokenizer runs for a batch."""
    return len(_encoded_at_once(batch.seen))


def _encoded_at_once(seen: Tensor) -> tuple[Tensor, ...]:
    """Clips, uint8 [C, F, 3, S, S], in the parts in which they go through the tokenizer."""
    return seen.split(max(1, MAX_ENCODED_BYTES // seen[0].numel())) if len(seen) else ()


def _said(lm: DivotLM, batch: LanguageBatch, row: int, clips: Tensor) -> list[str]:
    """What was asked, wanted and said in the first sequence of a row; `clips` are those from its first on."""
    begins = batch.is_present[row] & (batch.positions[row] == 0)
    end = int(begins.nonzero().flatten().tolist()[1]) if begins.sum() > 1 else len(begins)
    labels = batch.labels[row, :end]
    learned = (labels != IGNORED).nonzero().flatten().tolist()
    if not learned:
        # Its answer did not fit.
        return []
    first = learned[0]
    ids, reads = batch.ids[row, :first].tolist(), batch.reads[row, :first].tolist()
    shown = list(clips[: sum(reads) // lm.config.num_tokens])
    prompt = Sequence(clips_read=list(range(len(shown))))
    for id_, is_read in zip(ids, reads, strict=True):
        prompt.add([id_], reads=is_read)
    wanted = labels[labels != IGNORED].tolist()
    dialogue = Dialogue(lm, [prompt], shown)
    sampling = TextSampling(max_new_tokens=40)
    told = [step[0] for step in dialogue.write_text(sampling, may_write_clip=True) if step[0] is not None]
    asked, answer, said = (lm.words(part) for part in (ids, wanted, told))
    return [f"asked:  {asked}", f"wanted: {answer or '(a clip)'}", f"said:   {said}", ""]
