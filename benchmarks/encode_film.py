"""Encode a long video as a user would, and say how long it took and how much memory: `divot encode` in its own process.

    python benchmarks/encode_film.py VIDEO --out benchmarks/results [--model tiny] [--stop-after 20]

First the whole video; then again, stopped by SIGINT after some seconds and started anew: both stores must hold the
same. Prints seconds and peak resident memory, and writes them to a dated JSON in OUT.
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

COMMAND = "from divot.cli.main import main; main()"


def encode(video: Path, store: Path, model: str, stop_after_s: float | None = None) -> dict[str, float | int]:
    """Seconds, exit code and peak resident memory of one `divot encode`."""
    command = [sys.executable, "-c", COMMAND, "encode", str(video), "-o", str(store), "-q"]
    start = time.perf_counter()
    child = subprocess.Popen([*command, "--model", model])
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
    """Encode, stop, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--stop-after", type=float, default=20.0)
    given = parser.parse_args()
    with VideoReader(given.video) as reader:
        facts = {"name": given.video.name, "duration_s": reader.duration_s, "frames": reader.num_frames}
    with tempfile.TemporaryDirectory() as scratch:
        whole, resumed = Path(scratch) / "whole", Path(scratch) / "resumed"
        runs = {
            "whole": encode(given.video, whole, given.model),
            "stopped": encode(given.video, resumed, given.model, given.stop_after),
            "resumed": encode(given.video, resumed, given.model),
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
        "same_tokens": is_same,
        "video": facts,
        "model": given.model,
    }
    write_result(given.out, "encode_film", record)


if __name__ == "__main__":
    main()
