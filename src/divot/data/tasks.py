"""Records to what the model is taught: a task is drawn, its turns are worded, and the sequence is built.

Letters: C clips, F frames that the tokenizer sees, S side of a frame in pixels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from divot.config.errors import DataError, VideoReadError
from divot.config.training import TrainConfig
from divot.data.clips import MAX_DRAWS, Rejects
from divot.data.records import Record, read_annotations, read_record, world_record
from divot.text import SequenceBuilder, Turn, WriteClip, caption_request, conversation, video_request
from divot.text.sequence import Sequence
from divot.video.clips import SEEN_FRAMES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class LanguageSample:
    """A sequence with the frames behind its places."""

    sequence: Sequence
    seen: np.ndarray
    """uint8 [C, F, S, S, 3]: the clips, each once."""
    read: tuple[int, ...]
    """Of `seen`, those that are read, in the order of the sequence."""
    written: tuple[int, ...]
    """Of `seen`, those that are written."""
    task: str


class LanguageDataset:
    """Sample number n of a run, the same for the same seed; a torch map-style dataset.

    Args:
        config: of the run.
        builder: with the model's tokenizer and number of tokens a clip.
        size_px: S.
        length: samples of the run.
        chat_tokenizer: takes its chat template instead of [INST].
        rejects_file: takes a line for each file that cannot be read.

    Raises:
        DataError: if the annotations cannot be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        builder: SequenceBuilder,
        size_px: int,
        length: int,
        chat_tokenizer: PreTrainedTokenizerBase | None = None,
        rejects_file: Path | None = None,
    ) -> None:
        self.config, self.builder, self.size_px, self.length = config, builder, size_px, length
        self.chat_tokenizer = chat_tokenizer
        self.rejects = Rejects(rejects_file)
        shares = config.language.tasks
        self.tasks = [task for task, share in shares.items() if share > 0]
        self.shares = [shares[task] for task in self.tasks]
        self.annotations = []
        if config.data.world_share < 1:
            assert config.language.annotations is not None
            self.annotations = read_annotations(config.language.annotations, config.data.videos)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> LanguageSample:
        """Sample `number`."""
        rng = random.Random(f"{self.config.seed} {number}")
        for _ in range(MAX_DRAWS):
            task = rng.choices(self.tasks, self.shares)[0]
            record = self._record(task, number, rng)
            if record is not None and has_matter(record, task):
                return self._sample(record, task, rng)
        raise DataError(
            str(self.config.language.annotations),
            f"{MAX_DRAWS} draws in a row gave nothing for the tasks {', '.join(self.tasks)}",
            "Add captions or questions, repair the files, or change language.tasks",
        )

    def _record(self, task: str, number: int, rng: random.Random) -> Record | None:
        if rng.random() < self.config.data.world_share:
            return world_record(self.config.data.world_seed, number, self.size_px, task.startswith("image"))
        annotation = rng.choice(self.annotations)
        most = 1 if task.endswith("generation") else self.config.language.max_clips
        try:
            return read_record(annotation, self.size_px, most)
        except VideoReadError as error:
            self.rejects.add(annotation.path, error)
            return None

    def _sample(self, record: Record, task: str, rng: random.Random) -> LanguageSample:
        turns = task_turns(record, task, rng, self.config.language.max_questions)
        sequence = self.builder.build(conversation(turns, self.chat_tokenizer))
        seen = np.ascontiguousarray(record.clips[:, list(SEEN_FRAMES)])
        return LanguageSample(sequence, seen, tuple(sequence.clips_read), (0,) * sequence.clips_written, task)


def has_matter(record: Record, task: str) -> bool:
    """Whether a record has what a task is about."""
    if task == "question":
        return bool(record.questions)
    return bool(record.captions) and record.is_image == task.startswith("image")


def task_turns(record: Record, task: str, rng: random.Random, max_questions: int) -> list[Turn]:
    """The turns of one task about a record.

    Args:
        record: has the task's matter.
        task: one of `TASKS`.
        rng: chooses wordings and questions.
        max_questions: most turns of questions.
    """
    count, is_image = len(record.clips), record.is_image
    if task == "question":
        asked = rng.sample(record.questions, min(max_questions, len(record.questions)))
        return [
            Turn(question, answer, clips=count if number == 0 else 0, is_image=is_image)
            for number, (question, answer) in enumerate(asked)
        ]
    caption = rng.choice(record.captions)
    if task.endswith("generation"):
        return [Turn(video_request(caption, rng, is_image), WriteClip(is_image), is_image=is_image)]
    return [Turn(caption_request(rng, is_image), caption, clips=count, is_image=is_image)]


def world_corpus(seed: int, count: int, size_px: int) -> list[str]:
    """Texts of Sprite World's training split, for a tokenizer to learn its pieces from."""
    texts: list[str] = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        record = world_record(seed, number, size_px)
        for task in ("caption", "question", "generation"):
            texts += _words(task_turns(record, task, rng, max_questions=6))
    return texts


def _words(turns: Many[Turn]) -> list[str]:
    said = [f"[INST] {turn.request} [/INST]" for turn in turns]
    return said + [turn.answer for turn in turns if isinstance(turn.answer, str)]
