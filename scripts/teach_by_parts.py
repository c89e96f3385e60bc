"""Teach the language model of `tiny` on a CPU by parts: what one part does not change is not run for the other.

    python scripts/teach_by_parts.py OUT [--model tiny] [--clips 60000] [--connector-minutes 30] [--words-minutes 35]
        [--seed 0]

Encodes clips of Sprite World once (OUT/clips.pt). Then it teaches connector and head the tokens of clips from their
plans, without the backbone, some 30 clips a second on two cores. Then teaches the backbone questions, captions, plans
and stories, without the head. Writes OUT/model after each part. It takes a connector that hears the words alone, as
that of `tiny` does; `divot train lm` teaches everything at once, on any machine.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from divot.config.errors import DataError
from divot.config.files import written_whole
from divot.config.training import OptimizerConfig
from divot.data.clips import to_batch
from divot.data.records import world_record, world_story
from divot.data.tasks import task_turns
from divot.lm.batch import collate, padded_ids
from divot.lm.model import DivotLM
from divot.text import Turn, Words, WriteClip, conversation, planned
from divot.text.sequence import IGNORED, Sequence
from divot.tokenizer import VideoTokenizer
from divot.train.optimizers import build_optimizers, rate_share
from divot.video import SEEN_FRAMES
from divot.video.transform import signed
from divot.weights.store import DEFAULT_LANGUAGE_MODEL, ModelFolder, add_language_model

# Every tenth clip is a still one.
STILL_EVERY = 10
EMA_DECAY, SCHEDULE_STEPS = 0.995, 20_000
CONNECTOR_BATCH, CONNECTOR_RATE = 32, 2.5e-3
WORDS_BATCH, WORDS_RATE = 32, 8e-4
TASKS = {
    "caption": 1.0,
    "question": 2.5,
    "generation": 3.5,
    "image_generation": 0.4,
    "image_caption": 0.15,
    "story": 0.2,
}
MAX_QUESTIONS = 6
# Most of a plan is free to be one thing or another: a word of it is worth less than one of an answer.
WORTH = {"generation": 0.3, "image_generation": 0.3, "story": 0.5}
# Rows of about the same length go through the model together.
LENGTHS = (85, 135, 260, 500)
Sample = tuple[Sequence, list[Tensor], str]


@dataclass
class Clips:
    """Encoded clips of a world: tokens [K, N, D], and of each the plan."""

    seed: int
    tokens: Tensor
    plans: list[str]


def is_still(number: int) -> bool:
    """Whether a clip is a picture."""
    return number % STILL_EVERY == STILL_EVERY - 1


def encoded(tokenizer: VideoTokenizer, tokenizer_hash: str, seed: int, count: int, file: Path) -> Clips:
    """The first clips of a world, from the file if it is there.

    Raises:
        DataError: if the file holds others.
    """
    made_of = {"tokenizer": tokenizer_hash, "seed": seed, "count": count}
    if file.exists():
        kept = torch.load(file, weights_only=True)
        if kept.pop("made_of") != made_of:
            raise DataError(file, f"does not hold clips of {made_of}", "Remove it, or give another folder")
        return Clips(**kept)
    size_px, tokens, plans = tokenizer.config.frame_size, [], []
    for begin in range(0, count, 32):
        numbers = range(begin, min(begin + 32, count))
        records = [world_record(seed, number, size_px, is_still(number)) for number in numbers]
        plans += [record.plans[0] for record in records]
        tokens.append(tokens_of(tokenizer, np.concatenate([record.clips for record in records])).half())
        if begin % 3200 == 0:
            print(f"encoded {begin} of {count}", flush=True)
    clips = Clips(seed, torch.cat(tokens), plans)
    with written_whole(file) as beside:
        torch.save({"made_of": made_of, **vars(clips)}, beside)
    return clips


@torch.no_grad()
def tokens_of(tokenizer: VideoTokenizer, clips: np.ndarray) -> Tensor:
    """Clips uint8 [K, 16, S, S, 3] to tokens [K, N, D]."""
    tokens: Tensor = tokenizer(signed(to_batch(list(clips[:, list(SEEN_FRAMES)]))))
    return tokens


class Training:
    """The steps of some modules over the minutes of a part, with a moving average of the weights."""

    def __init__(self, modules: nn.ModuleList, rate: float, minutes: float) -> None:
        self.config = OptimizerConfig(rate, use_muon=True, muon_learning_rate=rate, final_share=0.02)
        self.optimizers = build_optimizers(modules, self.config)
        self.modules, self.minutes = modules, minutes
        self.average = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
        self.begun, self.steps = time.monotonic(), 0

    @property
    def share(self) -> float:
        """Of the minutes that have passed."""
        return (time.monotonic() - self.begun) / (60 * self.minutes)

    def step(self) -> None:
        """Take the gradients that are there."""
        # The schedule is one of steps; how many there will be nobody knows.
        share = rate_share(round(SCHEDULE_STEPS * self.share), SCHEDULE_STEPS, self.config)
        nn.utils.clip_grad_norm_(self.modules.parameters(), self.config.clip_norm)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group["highest_lr"]
            optimizer.step()
            optimizer.zero_grad()
        self.average.update_parameters(self.modules)
        self.steps += 1

    def finish(self) -> None:
        """Put the moving average in the place of the weights."""
        self.modules.load_state_dict(self.average.module.state_dict())


def teach_connector(lm: DivotLM, clips: Clips, minutes: float, rng: random.Random) -> None:
    """Plans to tokens, through connector and head alone."""
    assert lm.connector is not None
    assert not lm.connector.states_in.weight.any(), "the connector hears the backbone: use divot train lm"
    builder, embeddings = lm.builder(), lm.backbone.get_input_embeddings()
    embeddings.requires_grad_(False)
    width = embeddings.weight.shape[1]
    said = [
        builder.words(Words(planned(plan))) + builder.opening(is_still(number))[:1]
        for number, plan in enumerate(clips.plans)
    ]
    lm.connector.states_in.requires_grad_(False)
    training, losses = Training(nn.ModuleList([lm.connector, lm.head]), CONNECTOR_RATE, minutes), []
    for numbers in _batches([len(ids) for ids in said], rng):
        if training.share >= 1:
            break
        no_states = torch.zeros(len(numbers), lm.config.num_tokens, width)
        states = lm.connected(no_states, padded_ids([said[number] for number in numbers]))
        loss = lm.head.loss(states, lm.scaled(clips.tokens[numbers].float()))
        loss.backward()
        training.step()
        losses.append(loss.item())
        if training.steps % 100 == 0:
            told = f"{training.steps} steps, {100 * training.share:.0f} %"
            print(f"connector {told}, loss {np.mean(losses[-100:]):.4f}", flush=True)
    training.finish()
    embeddings.requires_grad_(True)


def _batches(lengths: list[int], rng: random.Random) -> Iterator[list[int]]:
    """Numbers in random order, those of about the same length together, without end."""
    while True:
        order = rng.sample(range(len(lengths)), len(lengths))
        parts = [
            sorted(order[at : at + 16 * CONNECTOR_BATCH], key=lengths.__getitem__)
            for at in range(0, len(order), 16 * CONNECTOR_BATCH)
        ]
        batches = [
            part[at : at + CONNECTOR_BATCH] for part in parts for at in range(0, len(part), CONNECTOR_BATCH)
        ]
        rng.shuffle(batches)
        yield from batches


def teach_words(
    lm: DivotLM, tokenizer: VideoTokenizer, clips: Clips, minutes: float, rng: random.Random
) -> None:
    """Answers, captions, plans and stories, through backbone and input projection."""
    training = Training(nn.ModuleList([lm.backbone, lm.input_projection]), WORDS_RATE, minutes)
    sums, counts = Counter[str](), Counter[str]()
    shape = (lm.config.num_tokens, lm.config.token_width)
    while training.share < 1:
        rows = [_sample(lm, tokenizer, clips, rng) for _ in range(WORDS_BATCH)]
        lengths = [sum(len(row[0]) >= border for border in LENGTHS) for row in rows]
        for group in sorted(set(lengths)):
            part = [row for row, length in zip(rows, lengths, strict=True) if length == group]
            read = [tokens for row in part for tokens in row[1]]
            batch = collate([row[0] for row in part], read, [], lm.vocab.pad, shape)
            labels = batch.labels[:, 1:]
            is_learned = labels != IGNORED
            scores = lm.logits(lm.states(batch)[:, :-1][is_learned])
            losses = F.cross_entropy(scores, labels[is_learned], reduction="none")
            numbers = is_learned.nonzero()[:, 0].tolist()
            worth = torch.tensor([WORTH.get(part[number][2], 1.0) for number in numbers])
            ((losses * worth).sum() / (16 * WORDS_BATCH)).backward()
            for number, loss in zip(numbers, losses.tolist(), strict=True):
                sums[part[number][2]] += loss
                counts[part[number][2]] += 1
        training.step()
        if training.steps % 25 == 0:
            means = ", ".join(f"{task} {sums[task] / counts[task]:.3f}" for task in sorted(counts))
            print(f"words {training.steps} steps, {100 * training.share:.0f} %, {means}", flush=True)
            sums.clear()
            counts.clear()
    training.finish()


def _sample(lm: DivotLM, tokenizer: VideoTokenizer, clips: Clips, rng: random.Random) -> Sample:
    """A sequence, the tokens of the clips that it reads, and its task."""
    task, builder = rng.choices(list(TASKS), list(TASKS.values()))[0], lm.builder()
    if task == "story":
        record = world_story(clips.seed + 1, rng.getrandbits(30), tokenizer.config.frame_size)
        sequence = builder.build(conversation(task_turns(record, task, rng, MAX_QUESTIONS)))
        return sequence, list(tokens_of(tokenizer, record.clips[sequence.clips_read])), task
    is_image = task.startswith("image")
    while is_still(number := rng.randrange(len(clips.plans))) != is_image:
        pass
    # Of the record the words alone are wanted: the smallest frames will do.
    record = world_record(clips.seed, number, 16, is_image)
    turns = task_turns(record, task, rng, MAX_QUESTIONS)
    if not isinstance(turns[0].answer, WriteClip):
        return builder.build(conversation(turns)), [clips.tokens[number].float()], task
    # Nothing follows the clip: its places are left out.
    sequence = builder.build(conversation([Turn(turns[0].request, is_image=is_image)]))
    sequence.add(builder.words(Words(planned(clips.plans[number]))), is_learned=True)
    sequence.add(builder.opening(is_image)[:1], is_learned=True)
    return sequence, [], task


def main() -> None:
    """Encode, and teach both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tiny", help="preset or model folder to go on from")
    parser.add_argument("--clips", type=int, default=60_000)
    parser.add_argument("--connector-minutes", type=float, default=30.0)
    parser.add_argument("--words-minutes", type=float, default=35.0)
    parser.add_argument("--seed", type=int, default=0, help="of the world and of the order")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    rng = random.Random(given.seed)
    folder, model = ModelFolder.open(given.model), given.out / "model"
    tokenizer, lm = folder.tokenizer(), folder.language_model().train()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "clips.pt"
    clips = encoded(tokenizer, folder.tokenizer_hash, given.seed, given.clips, file)

    def save() -> None:
        with written_whole(model) as beside:
            shutil.copytree(folder.path, beside)
            add_language_model(beside, DEFAULT_LANGUAGE_MODEL, lm)

    parts: list[tuple[float, Callable[[], None]]] = [
        (given.connector_minutes, lambda: teach_connector(lm, clips, given.connector_minutes, rng)),
        (given.words_minutes, lambda: teach_words(lm, tokenizer, clips, given.words_minutes, rng)),
    ]
    for minutes, teach in parts:
        if minutes > 0:
            teach()
            save()


if __name__ == "__main__":
    main()
