"""Time `tiny` (or another model): encode, decode, ask about and make one clip, cold and loaded, and a training step.

    python benchmarks/time_tiny.py --out benchmarks/results [--model tiny] [--repeats 9] [--smoke]

Prints the medians with the smallest and largest run, and writes them to a dated JSON in OUT. Also a job for a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dated_results import write_result

from divot.config.recipe import read_recipe
from divot.pipelines.divot import Divot
from divot.train.diffusion_stage import DiffusionStage
from divot.train.optimizers import build_optimizers
from divot.world import clip

QUESTION, CAPTION = "What happens first?", "A red star moves left."
COLD = "from divot import Divot; from divot.world import clip; d = Divot.from_pretrained({model!r}); "


def seconds(action: Callable[[], object], repeats: int, device: torch.device) -> dict[str, float | int]:
    """Median, smallest and largest of `repeats` runs after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    kept = taken[1:]
    return {"median_s": statistics.median(kept), "min_s": min(kept), "max_s": max(kept), "n": repeats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="one repeat, no cold start")
    given = parser.parse_args()
    repeats = 1 if given.smoke else given.repeats
    divot = Divot.from_pretrained(given.model)
    detokenizer = divot.detokenizer("reconstruct")
    device = detokenizer.device
    frames = clip(1, 0, "test", detokenizer.config.frame_size).frames
    tokens = divot.encode_clip(frames)
    world_only = {"world_share": 1.0, "videos": None}
    config = read_recipe("tiny_tokenizer", {"init_model": given.model, "data": world_only})
    module = DiffusionStage(config).module.to(device).train()
    optimizers = build_optimizers(module, config.optimizer)
    batch = torch.rand(8, 16, 3, frames.shape[1], frames.shape[2], device=device) * 2 - 1

    def step() -> None:
        loss, _ = module(batch, [torch.Generator().manual_seed(number) for number in range(len(batch))])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    times = {
        "encode_one_clip": seconds(lambda: divot.encode_clip(frames), repeats, device),
        "decode_one_clip": seconds(lambda: divot.decode(tokens), repeats, device),
        "ask_about_one_clip": seconds(lambda: divot.ask(frames, QUESTION), repeats, device),
        "make_one_clip": seconds(lambda: divot.generate(CAPTION), repeats, device),
        "training_step_of_8_clips": seconds(step, repeats, device),
    }
    if not given.smoke:
        encode = "d.encode_clip(clip(1, 0).frames)"
        actions = {
            "encode": encode,
            "decode": f"d.decode({encode})",
            "ask": f"d.ask(clip(1, 0).frames, {QUESTION!r})",
            "make": f"d.generate({CAPTION!r})",
        }
        for name, action in actions.items():
            command = [sys.executable, "-c", COLD.format(model=given.model) + action]
            times[f"cold_process_{name}"] = seconds(
                lambda c=command: subprocess.run(c, check=True), 3, device
            )
    for name, value in times.items():
        print(f"{name:<28} {value['median_s']:8.3f} s  [{value['min_s']:.3f}, {value['max_s']:.3f}]")
    record = {
        "times": times,
        "model": given.model,
    }
    write_result(given.out, "time_tiny", record, device)


if __name__ == "__main__":
    main()
