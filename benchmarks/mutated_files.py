"""Good videos among many damaged ones, through encoding and through the reading of training.

    python benchmarks/mutated_files.py --out benchmarks/results [--good 200] [--bad 1000] [--seed 1] [--smoke]

Damages copies in five ways (cut short, bytes flipped, no bytes at all, text under the name of a video, a container
under another's suffix), encodes all, and draws clips for training from all. Every good video has to be used, and every
file that is not used has to be named with its cause: exits with 1 otherwise. Tells how memory grew, and writes a dated
JSON in OUT.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dated_results import write_result

from divot.config.training import DataConfig
from divot.data.clips import ClipDataset
from divot.data.tokens import TokenStore
from divot.video import CLIP_RATE_FPS, write_video
from divot.world import clip

SIZE_PX = 64
# Draws a file, on average: the chance that a good one is not among them is below 1 in 10,000.
DRAWS_A_FILE = 14


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 10, 100, 1000))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def nothing(data: bytes, rng: random.Random) -> bytes:
    return b""


def text(data: bytes, rng: random.Random) -> bytes:
    return b"not a video\n" * rng.randrange(1, 500)


def same(data: bytes, rng: random.Random) -> bytes:
    return data


WAYS: dict[str, tuple[Callable[[bytes, random.Random], bytes], str]] = {
    "cut": (cut, ".mp4"),
    "flipped": (flipped, ".mp4"),
    "nothing": (nothing, ".mp4"),
    "text": (text, ".mp4"),
    "wrong_container": (same, ".avi"),
}


class Told(ClipDataset):
    """Training clips, with the names of the videos that they came from."""

    def __init__(self, videos: Path, length: int) -> None:
        super().__init__(DataConfig(0.0, 1, str(videos), max_reject_share=1.0), 1, SIZE_PX, length)
        self.used: set[str] = set()

    def _video_clip(self, path: Path, rng: np.random.Generator) -> np.ndarray:
        frames = super()._video_clip(path, rng)
        self.used.add(path.name)
        return frames


def resident_mb(process_id: int | str) -> float:
    """Resident memory of a process, MB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def write_files(folder: Path, num_good: int, num_bad: int, rng: random.Random) -> None:
    """good_NNNN.mp4, and WAY_NNNN with the suffix of the way."""
    for number in range(num_good):
        write_video(
            folder / f"good_{number:04d}.mp4", clip(1, number, "train", SIZE_PX).frames, CLIP_RATE_FPS
        )
    names = list(WAYS)
    for number in range(num_bad):
        way = names[number % len(names)]
        damage, suffix = WAYS[way]
        source = folder / f"good_{rng.randrange(num_good):04d}.mp4"
        (folder / f"{way}_{number:04d}{suffix}").write_bytes(damage(source.read_bytes(), rng))


def by_way(names: set[str]) -> dict[str, int]:
    return dict(collections.Counter(name.rsplit("_", 1)[0] for name in sorted(names)))


def encode(videos: Path, store: Path) -> tuple[set[str], set[str], list[float]]:
    """Names used, names told, and the resident memory while it ran."""
    rejects = store.with_suffix(".jsonl")
    command = [
        sys.executable,
        "-m",
        "divot",
        "encode",
        str(videos),
        "-o",
        str(store),
        "--rejects",
        str(rejects),
    ]
    process = subprocess.Popen([*command, "--quiet"], stderr=subprocess.PIPE)
    memory = []
    while True:
        try:
            _, said = process.communicate(timeout=1.0)
            break
        except subprocess.TimeoutExpired:
            memory.append(resident_mb(process.pid))
    if process.returncode < 0 or not store.is_dir():
        raise SystemExit(f"divot encode crashed ({process.returncode}): {said.decode()[-2000:]}")
    used = {Path(video.name).name for video in TokenStore(store).videos}
    lines = rejects.read_text(encoding="utf-8").splitlines()
    return used, {Path(json.loads(line)["file"]).name for line in lines}, memory


def train(videos: Path, num_files: int) -> tuple[set[str], set[str], list[float]]:
    """The same of the reading of training, whose draws are as many as make every file likely to come."""
    dataset = Told(videos, num_files * DRAWS_A_FILE)
    memory = []
    number = 0
    while dataset.rejects.num_read + dataset.rejects.num_failed < num_files * DRAWS_A_FILE:
        dataset[number]
        number += 1
        if number % 50 == 0:
            memory.append(resident_mb("self"))
    return dataset.used, {Path(path).name for path in dataset.rejects.causes}, memory


def growth(memory: list[float]) -> float:
    """How much more the last quarter took than the second, MB."""
    quarter = max(1, len(memory) // 4)
    return float(np.median(memory[-quarter:]) - np.median(memory[quarter : 2 * quarter] or memory[:1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--bad", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="6 good, 10 damaged")
    given = parser.parse_args()
    num_good, num_bad = (6, 10) if given.smoke else (given.good, given.bad)
    told, is_sound = {}, True
    with tempfile.TemporaryDirectory() as name:
        videos = Path(name) / "videos"
        videos.mkdir()
        write_files(videos, num_good, num_bad, random.Random(given.seed))
        everything = {path.name for path in videos.iterdir()}
        good = {name for name in everything if name.startswith("good")}
        hopeless = {name for name in everything if name.startswith(("nothing", "text"))}
        for way, (used, named, memory) in (
            ("encode", encode(videos, Path(name) / "store")),
            ("training", train(videos, num_good + num_bad)),
        ):
            told[way] = {
                "used": by_way(used),
                "named": by_way(named),
                "good_not_used": len(good - used),
                "neither_used_nor_named": len(everything - used - named),
                "hopeless_used": len(hopeless & used),
                "memory_growth_mb": growth(memory),
                "memory_peak_mb": max(memory, default=0.0),
            }
            faults = [told[way][key] for key in ("good_not_used", "neither_used_nor_named", "hopeless_used")]
            is_sound = is_sound and not any(faults)
            print(f"{way}: {json.dumps(told[way], indent=2)}")
    record = {
        "results": told,
        "setting": {"good": num_good, "bad": num_bad, "seed": given.seed},
    }
    write_result(given.out, "mutated_files", record)
    if not is_sound:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
