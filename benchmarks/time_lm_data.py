"""Time the language stage on videos encoded on the fly, on a token store of them, and on packed rows from the store.

    python benchmarks/time_lm_data.py --out benchmarks/results [--model tiny] [--steps 3] [--smoke]

Writes Sprite World clips as mp4 with annotations, encodes them once, and times the three ways in turns: a batch up to
its tokens, and whole training steps. Prints samples a second and the share of positions that are padding, and writes
them to a dated JSON in OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from dated_results import write_result

from divot.config.recipe import read_recipe
from divot.data.records import world_record
from divot.pipelines.divot import Divot
from divot.pipelines.encode import encode_videos
from divot.train.lm_stage import LanguageStage
from divot.train.optimizers import build_optimizers
from divot.video import CLIP_RATE_FPS, write_video
from divot.video.folders import list_videos

SIZE_PX, BATCH_SIZE = 256, 24
# Positions of a packed row.
PACKED_LENGTH = 1024


def write_samples(folder: Path, count: int) -> Path:
    """Videos, and the file of what is said about them."""
    lines = []
    for number in range(count):
        record = world_record(1, number, SIZE_PX)
        write_video(folder / f"{number:04d}.mp4", record.clips[0], CLIP_RATE_FPS)
        line = {"video": f"{number:04d}.mp4", "caption": record.captions, "questions": record.questions}
        lines.append(json.dumps(line) + "\n")
    (folder / "words.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder / "words.jsonl"


class Turn:
    """One way to the tokens: a stage with its samples and optimizers."""

    def __init__(
        self, model: str, annotations: Path, tokens: Path | None, packed: int, folder: Path, batch_size: int
    ) -> None:
        language = {
            "annotations": str(annotations),
            "tokens": tokens and str(tokens),
            "packed_length": packed,
            "is_new": False,
        }
        tasks = {"caption": 1.0, "question": 3.0, "generation": 1.2}
        config = read_recipe(
            "tiny_lm",
            {"init_model": model, "data": {"world_share": 0.0}, "language": {**language, "tasks": tasks}},
        )
        stage = LanguageStage(config)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.module = stage.module.to(self.device).train()
        self.optimizers = build_optimizers(self.module, config.optimizer)
        # More than any number of steps takes.
        self.samples, self.collate = stage.data(1 << 20, folder / "rejects.jsonl")
        self.next, self.batch_size = 0, batch_size
        self.seconds: dict[str, list[float]] = {"batch_with_tokens": [], "training_step": []}
        self.num_positions = self.num_padding = 0

    def batch(self) -> Any:
        numbers = range(self.next, self.next + self.batch_size)
        self.next += self.batch_size
        batch = self.collate([self.samples[number] for number in numbers])
        for group in batch.groups:
            self.num_positions += group.language.is_present.numel()
            self.num_padding += int((~group.language.is_present).sum())
        return batch.to(self.device)

    def step(self) -> None:
        loss, _ = self.module(self.batch(), [])
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def time(self) -> None:
        for name, action in (
            ("batch_with_tokens", lambda: self.module.with_tokens(self.batch())),
            ("training_step", self.step),
        ):
            start = time.perf_counter()
            action()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds[name].append(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="four videos, one step of four")
    given = parser.parse_args()
    steps, num_videos, batch_size = (1, 4, 4) if given.smoke else (given.steps, 12, BATCH_SIZE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        annotations = write_samples(folder, num_videos)
        divot = Divot.from_pretrained(given.model)
        encoded = encode_videos(divot, list_videos([folder]), folder / "store")
        ways = {
            way: Turn(given.model, annotations, tokens, packed, folder, batch_size)
            for way, tokens, packed in (
                ("on_the_fly", None, 0),
                ("from_store", folder / "store", 0),
                ("from_store_packed", folder / "store", PACKED_LENGTH),
            )
        }
        for _ in range(steps + 1):
            for turn in ways.values():
                turn.time()
    # The first of each is not counted: it loads what later ones find loaded.
    rates = {
        way: {what: batch_size / statistics.median(taken[1:]) for what, taken in turn.seconds.items()}
        for way, turn in ways.items()
    }
    padding = {way: turn.num_padding / turn.num_positions for way, turn in ways.items()}
    for way, rate in rates.items():
        told = "   ".join(f"{what} {value:8.2f} samples/s" for what, value in rate.items())
        print(f"{way:<18} {told}   padding {padding[way]:.1%}")
    record = {
        "samples_per_s": rates,
        "padding_share": padding,
        "seconds": {way: turn.seconds for way, turn in ways.items()},
        "encode_once": {"videos": len(encoded.encoded), "seconds": encoded.seconds},
        "setting": {
            "videos": num_videos,
            "size_px": SIZE_PX,
            "batch_size": batch_size,
            "steps": steps,
            "packed_length": PACKED_LENGTH,
        },
        "load_average": os.getloadavg(),
        "model": given.model,
    }
    write_result(given.out, "time_lm_data", record, divot.device)


if __name__ == "__main__":
    main()
