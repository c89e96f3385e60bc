"""Encode a long video and ask about it as a user would, each in its own process: how long, and how much memory.

    python benchmarks/encode_film.py VIDEO --out benchmarks/results [--model tiny] [--stop-after 20]

First the whole video by `divot encode`; then again, stopped by SIGINT after some seconds and started anew: both stores
must hold the same. Then `divot ask`, which reads clips spread over all of it. Prints seconds and peak resident memory,
and writes them to a dated JSON in OUT.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from dated_results import write_result

from divot.data.tokens import TokenStore
from divot.video import VideoReader

QUESTION = "What happens first?"
COMMAND = "from divot.cli.main import main; main()"


def divot(*arguments: object, stop_after_s: float | None = None) -> dict[str, float | int]:
    """Seconds, exit code and peak resident memory of one `divot` command."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", COMMAND, *map(str, arguments), "-q"])
    if stop_after_s is not None:
        time.sleep(stop_after_s)
        child.send_signal(signal.SIGINT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": round(time.perf_counter() - start, 2),
        "exit_code": child.returncode,
        "peak_rss_mb": round(usage.ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Encode, stop, resume, compare, ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--stop-after", type=float, default=20.0)
    parser.add_argument("--max-clips", type=int, default=20, help="clips that are read for the question")
    given = parser.parse_args()
    model = ("--model", given.model)
    with VideoReader(given.video) as reader:
        facts = {"name": given.video.name, "duration_s": reader.duration_s, "frames": reader.num_frames}
    with tempfile.TemporaryDirectory() as scratch:
        whole, resumed = Path(scratch) / "whole", Path(scratch) / "resumed"
        runs = {
            "whole": divot("encode", given.video, "-o", whole, *model),
            "stopped": divot("encode", given.video, "-o", resumed, *model, stop_after_s=given.stop_after),
            "resumed": divot("encode", given.video, "-o", resumed, *model),
            "ask": divot("ask", given.video, QUESTION, "--max-clips", given.max_clips, *model),
        }
        stores = [TokenStore(folder) for folder in (whole, resumed)]
        tokens = [store.read(store.videos[0].name) for store in stores]
        is_same = torch.equal(*tokens)
    for name, run in runs.items():
        print(
            f"{name:<8} {run['seconds']:8.2f} s  exit {run['exit_code']:>3}  peak {run['peak_rss_mb']:.0f} MB"
        )
    print(f"{len(tokens[0])} clips; the resumed store holds the same tokens: {is_same}")
    record = {
        "runs": runs,
        "clips": len(tokens[0]),
        "clips_asked_about": given.max_clips,
        "same_tokens": is_same,
        "video": facts,
        "model": given.model,
    }
    write_result(given.out, "encode_film", record)


if __name__ == "__main__":
    main()
