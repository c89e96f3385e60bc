"""Records to what the model is taught: a task is drawn, its turns are worded, and the sequence is built.

Letters: C clips, F frames that the tokenizer sees, S side of a frame in pixels, N tokens a clip, D width of a token.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from divot.config.errors import DataError, RecipeError, VideoReadError
from divot.config.language import TASKS, SourceConfig
from divot.config.training import TrainConfig
from divot.data.annotations import Annotation
from divot.data.clips import MAX_DRAWS, Rejects
from divot.data.mixing import source_of_sample
from divot.data.records import Record, world_record, world_story
from divot.data.sources import RecordSource, record_source
from divot.data.tokens import TokenStore
from divot.text import (
    STORY_FROM_CLIP,
    SequenceBuilder,
    Turn,
    WriteClip,
    as_typed,
    caption_request,
    conversation,
    planned,
    video_request,
)
from divot.text.sequence import Sequence
from divot.video.clips import SEEN_FRAMES
from divot.world.questions import KINDS
from divot.world.stories import story

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


FROM_CLIP_SHARE = 0.2
"""Share of the stories whose first clip is given."""


@dataclass(frozen=True)
class LanguageSample:
    """A sequence with the frames, or the tokens, behind its places."""

    sequence: Sequence
    seen: np.ndarray
    """uint8 [C, F, S, S, 3]: the clips, each once. None (C = 0) where `tokens` are given."""
    read: tuple[int, ...]
    """Of the clips, those that are read, in the order of the sequence."""
    written: tuple[int, ...]
    """Of the clips, those that are written."""
    task: str
    tokens: Tensor | None = None
    """[C, N, D]: those of the clips, where they were made before."""
    noise_seed: int = 0
    """Of the noise on the tokens that are written."""


class _Shares:
    """Tasks that are drawn, each as often as its share."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        # In their own order: a file may name them in another, and the draws are the same.
        self.names = [task for task in TASKS if shares.get(task, 0) > 0]
        self.shares = [shares[task] for task in self.names]

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.names, self.shares)[0]

    def draw_among(self, tasks: set[str], rng: random.Random) -> str | None:
        """One of these; None if no task of theirs has a share."""
        pairs = [pair for pair in zip(self.names, self.shares, strict=True) if pair[0] in tasks]
        return rng.choices(*zip(*pairs, strict=True))[0] if pairs else None


class _Source:
    """Annotated videos, with the tasks that they have for themselves."""

    def __init__(self, config: SourceConfig, tokens: Mapping[str, TokenStore]) -> None:
        self.config = config
        self.tasks = None if config.tasks is None else _Shares(config.tasks)
        store = None if config.tokens is None else tokens[config.tokens]
        self.records: RecordSource = record_source(config.annotations, config.videos, store)


class LanguageDataset:
    """Sample number n of a run, the same for the same seed; a torch map-style dataset.

    Args:
        config: of the run.
        builder: with the model's tokenizer and number of tokens a clip.
        size_px: S.
        length: samples of the run.
        chat_tokenizer: takes its chat template instead of [INST].
        is_official: requests are laid out and worded for the released models.
        rejects_file: takes a line for each file that cannot be read.
        tokens: by its folder, each token store that the settings name.
        has_plans: before a clip its plan is said, where there is one.

    Raises:
        DataError: if the annotations cannot be used.
        RecipeError: if the settings name a kind of question that there is not.
    """

    def __init__(
        self,
        config: TrainConfig,
        builder: SequenceBuilder,
        size_px: int,
        length: int,
        chat_tokenizer: PreTrainedTokenizerBase | None = None,
        rejects_file: Path | None = None,
        tokens: Mapping[str, TokenStore] | None = None,
        has_plans: bool = False,
        is_official: bool = False,
    ) -> None:
        self.config, self.builder, self.size_px, self.length = config, builder, size_px, length
        self.chat_tokenizer, self.has_plans, self.is_official = chat_tokenizer, has_plans, is_official
        self.rejects = Rejects(rejects_file, config.data.max_reject_share)
        self.tasks = _Shares(config.language.tasks)
        self.kinds = config.language.question_kinds or KINDS
        unknown = set(self.kinds) - set(KINDS)
        if unknown:
            named = ", ".join(sorted(unknown))
            raise RecipeError("language.question_kinds", f"names {named}", f"Choose from {', '.join(KINDS)}")
        self.sources: list[_Source] = []
        if config.data.world_share < 1:
            self.sources = [_Source(source, tokens or {}) for source in config.sources]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> LanguageSample:
        """Sample `number`."""
        return self._sample(*self.draw(number))

    def draw(self, number: int) -> tuple[Record, str, random.Random]:
        """What sample `number` is made of: a record, a task that it has matter for, and the chance of the wordings.

        Raises:
            DataError: if draw after draw gives nothing.
        """
        rng = random.Random(f"{self.config.seed} {number}")
        for _ in range(MAX_DRAWS):
            task = self.tasks.draw(rng)
            source_number = source_of_sample(self.config, number, rng)
            if source_number is None:
                record = self._world_record(task, number)
                if task not in tasks_of(record):
                    continue
            elif (own := self._own_record(self.sources[source_number], task, rng)) is not None:
                record, task = own
            else:
                continue
            return record if self.has_plans else replace(record, plans=()), task, rng
        raise DataError(
            ", ".join(source.config.annotations for source in self.sources) or "Sprite World",
            f"{MAX_DRAWS} draws gave nothing for the tasks",
            "Add captions or questions, repair the files, or change language.tasks",
        )

    def _world_record(self, task: str, number: int) -> Record:
        if task == "story":
            return world_story(self.config.data.world_seed, number, self.size_px)
        seed, is_image = self.config.data.world_seed, task.startswith("image")
        return world_record(seed, number, self.size_px, is_image, self.kinds)

    def _own_record(self, source: _Source, task: str, rng: random.Random) -> tuple[Record, str] | None:
        """A record with the task, or with another of the source's tasks if it has nothing for this one."""
        shares = self.tasks if source.tasks is None else source.tasks
        task = task if source.tasks is None else shares.draw(rng)
        chosen = rng.randrange(len(source.records))
        try:
            # Before its file is read.
            tasks = tasks_of(source.records.annotation(chosen))
            fitting = task if task in tasks else shares.draw_among(tasks, rng)
            if fitting is None:
                self.rejects.num_read += 1
                return None
            most = 1 if fitting.endswith("generation") else self.config.language.max_clips
            record = source.records.record(chosen, self.size_px, most, rng.random())
        except VideoReadError as error:
            self.rejects.add(error.source, error)
            return None
        self.rejects.num_read += 1
        return record, fitting

    def _sample(self, record: Record, task: str, rng: random.Random) -> LanguageSample:
        language = self.config.language
        drop, blind = language.prompt_drop, language.blind_share
        if task.endswith("generation") and drop > 0 and rng.random() < drop:
            record = replace(record, captions=("",), prompts=(), plans=())
        if task == "question" and blind > 0 and rng.random() < blind:
            tokens = None if record.tokens is None else record.tokens[:0]
            record = replace(record, clips=record.clips[:0], tokens=tokens)
        official = self.is_official
        turns = task_turns(record, task, rng, language.max_questions, language.typed_share, official)
        sequence = self.builder.build(conversation(turns, self.chat_tokenizer, official))
        sequence.draw_bare(language.unseen_share, rng)
        seen = np.ascontiguousarray(record.clips[:, list(SEEN_FRAMES)])
        # A clip that is shown comes before those that are written.
        first = turns[0].clips
        written = tuple(range(first, first + sequence.clips_written))
        read, seed = tuple(sequence.clips_read), rng.getrandbits(32)
        return LanguageSample(sequence, seen, read, written, task, record.tokens, seed)


def tasks_of(sample: Record | Annotation) -> set[str]:
    """The tasks that a sample has matter for."""
    tasks = {"question"} if sample.questions else set()
    sentences = sample.sentences if isinstance(sample, Record) else sample.story
    if len(sentences) > 1:
        tasks.add("story")
    if sample.captions:
        tasks |= {"image_caption", "image_generation"} if sample.is_image else {"caption", "generation"}
    return tasks


def task_turns(
    record: Record,
    task: str,
    rng: random.Random,
    max_questions: int,
    typed_share: float = 0.0,
    is_official: bool = False,
) -> list[Turn]:
    """The turns of one task about a record.

    Args:
        record: has the task's matter.
        task: one of `TASKS`.
        rng: chooses wordings and questions.
        max_questions: most turns of questions.
        typed_share: of the requests that are put as people type them in haste.
        is_official: clips are also asked for as of the released models.
    """

    def put(words: str) -> str:
        return as_typed(words, rng) if typed_share > 0 and rng.random() < typed_share else words

    count, is_image, plans = record.num_clips, record.is_image, record.plans
    if task == "story":
        if rng.random() < FROM_CLIP_SHARE:
            request = STORY_FROM_CLIP.format(instruction=put(record.instruction))
            return [Turn(request, record.sentences[1:], clips=1, plans=plans[1:])]
        return [Turn(put(record.instruction), record.sentences, plans=plans)]
    if task == "question":
        if record.is_conversation:
            asked = list(record.questions[:max_questions])
        else:
            asked = rng.sample(record.questions, min(max_questions, len(record.questions)))
        return [
            Turn(put(question), answer, clips=count if number == 0 else 0, is_image=is_image)
            for number, (question, answer) in enumerate(asked)
        ]
    if task.endswith("generation"):
        wanted = rng.choice(record.captions + record.prompts)
        request = video_request(put(wanted), rng, is_image, is_official)
        return [Turn(request, WriteClip(is_image), is_image=is_image, plans=plans)]
    caption = rng.choice(record.captions)
    return [Turn(put(caption_request(rng, is_image)), caption, clips=count, is_image=is_image)]


def world_corpus(seed: int, count: int, size_px: int, has_plans: bool = False) -> list[str]:
    """Texts of Sprite World's training split, for a tokenizer to learn its pieces from, plans of clips among them."""
    texts: list[str] = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        record = world_record(seed, number, size_px)
        record = record if has_plans else replace(record, plans=())
        for task in ("caption", "question", "generation"):
            texts += _words(task_turns(record, task, rng, max_questions=6))
        told = story(seed, number)
        texts += [f"[INST] {told.instruction} [/INST]", *(chapter.sentence for chapter in told.chapters)]
    return texts


def _words(turns: Many[Turn]) -> list[str]:
    said = [f"[INST] {turn.request} [/INST]" for turn in turns]
    said += [turn.answer for turn in turns if isinstance(turn.answer, str)]
    return said + [planned(plan) for turn in turns for plan in turn.plans]
