"""Measure how much films jump where their clips meet, cut or held, against the change between frames inside clips.

    python benchmarks/seam_jumps.py --out benchmarks/results [--model tiny] [--films 20] [--smoke]

The films are stories of Sprite World's test split, whose clips go on from where the one before ended: as they are, and
rebuilt from their tokens; then films that the language model writes from captions, each clip after reading the one
before, and stories that it tells. Each is cut as the model draws it, and joined with either seam at the same steps.
Prints means with 95% intervals and writes them to a dated JSON in OUT.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from dated_results import write_result
from torch import Tensor

from divot.evaluation.intervals import bootstrap_interval
from divot.pipelines.divot import Divot
from divot.pipelines.fidelity import seam_jump
from divot.pipelines.film import HELD_STEPS, Seam, decode_film
from divot.pipelines.generate import TASK, write_film
from divot.pipelines.load import resolve_sampler
from divot.pipelines.story import TASK as STORY_TASK
from divot.pipelines.story import tell_story
from divot.video import CLIP_FRAMES
from divot.world import clip, render
from divot.world.stories import story

NUM_CLIPS = 3
"""Of a film."""


def true_clips(seed: int, number: int, num_clips: int, size_px: int) -> list[np.ndarray]:
    """The first clips of a story, uint8 [16, S, S, 3] each."""
    chapters = story(seed, number, "test").chapters[:num_clips]
    return [render(chapter.scene, size_px) for chapter in chapters]


def told_clips(divot: Divot, seed: int, number: int, num_clips: int) -> Tensor:
    """Tokens [K, N, D] of the first clips of a story, told after the same instruction."""
    told = tell_story(divot, story(seed, number, "test").instruction, num_clips, seed + number)
    return torch.stack([clip.tokens for clip in told])


def main() -> None:
    """Rebuild and make films, and compare their jumps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--smoke", action="store_true", help="a film of two clips, two steps, no corrections")
    given = parser.parse_args()
    divot = Divot.from_pretrained(given.model)
    tasks = {"rebuilt": "decode", "written": TASK, "told": STORY_TASK}
    lm, judge, size_px = divot.language_model(TASK), divot.judge(TASK), divot.tokenizer_config.frame_size
    jumps: dict[str, list[float]] = {}

    def note(kind: str, jump: float | None) -> None:
        # Of a film in which nothing moves there is no ratio.
        if jump is not None:
            jumps.setdefault(kind, []).append(jump)

    num_films, num_clips, steps = (1, 2, 2) if given.smoke else (given.films, NUM_CLIPS, HELD_STEPS)
    corrections = 0 if given.smoke else None
    own = resolve_sampler(divot.detokenizer(TASK).config).num_steps
    joined: list[tuple[Seam, int]] = [("cut", own), ("cut", steps), ("hold", steps)]
    for number in range(num_films):
        clips = true_clips(given.seed, number, num_clips, size_px)
        seams = [CLIP_FRAMES * index for index in range(1, len(clips))]
        note("true", seam_jump(np.concatenate(clips), seams))
        words = clip(given.seed, number, "test").caption
        tokens = {
            "rebuilt": torch.stack([divot.encode_clip(one) for one in clips]),
            "written": write_film(lm, words, num_clips, given.seed + number, judge=judge).tokens,
            "told": told_clips(divot, given.seed, number, num_clips),
        }
        for kind, rows in tokens.items():
            for seam, num_steps in joined:
                _, joints = decode_film(
                    divot, rows, number, seam, tasks[kind], steps=num_steps, corrections=corrections
                )
                note(f"{kind}, {seam}, {num_steps} steps", joints.jump)
    means = {kind: bootstrap_interval(values) for kind, values in jumps.items()}
    for kind, value in means.items():
        print(f"{kind:<22} {value.text(digits=2)}   {len(jumps[kind])} films")
    record = {
        "seam_jump": {kind: value.to_json() for kind, value in means.items()},
        "setting": {"clips": num_clips, "seed": given.seed},
        "model": given.model,
    }
    write_result(given.out, "seam_jumps", record, divot.device)


if __name__ == "__main__":
    main()
