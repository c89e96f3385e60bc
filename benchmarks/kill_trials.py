"""Kill the long commands with SIGKILL at random moments, start them again, and compare what they leave.

    python benchmarks/kill_trials.py --out benchmarks/results [--trials 4] [--seed 1] [--smoke]

Each of `data check`, `data shards`, `encode`, `train tokenizer` and `train lm` is run once unbroken, and `trials` times
with a kill at a random moment of that time and a second start. Prints a line a trial, exits with 1 if one of them
differs, and writes a dated JSON in OUT.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dated_results import write_result
from time_lm_data import write_samples

from divot.data.tokens import TokenStore

DIVOT = (sys.executable, "-m", "divot")
TRAINING = (
    "--init-model",
    "tiny",
    "--steps",
    "6",
    "--batch-size",
    "2",
    "--set",
    "checkpoint_every=1",
    "--set",
    "log_every=1",
)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too: what a kill left half written would show."""
    return {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def store_of(folder: Path) -> dict[str, str]:
    """The videos of a token store with the digests of their tokens."""
    store = TokenStore(folder / "out")
    tokens = {v.name: hashlib.sha256(store.read(v.name).numpy().tobytes()).hexdigest() for v in store.videos}
    return {**tokens, "files": " ".join(sorted(p.name for p in (folder / "out").rglob("*")))}


def model_of(folder: Path) -> dict[str, str]:
    """The weights of a run, and its losses step by step."""
    lines = (folder / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [(row["step"], row["loss"]) for row in map(json.loads, lines)]
    weights = {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("model/**/*.safetensors"))}
    return {**weights, "losses": json.dumps(losses)}


def commands(source: Path) -> dict[str, tuple[Callable[[Path], list[str]], Callable[[Path], dict[str, str]]]]:
    """Command -> its arguments in a folder of its own, and what it leaves there."""
    words = str(source / "words.jsonl")
    return {
        "data check": (
            lambda f: [
                "data",
                "check",
                words,
                "--json",
                str(f / "counts.json"),
                "--rejects",
                str(f / "rejects.jsonl"),
            ],
            files_of,
        ),
        "data shards": (
            lambda f: ["data", "shards", words, "-o", str(f / "out"), "--samples-per-shard", "3"],
            files_of,
        ),
        "encode": (lambda f: ["encode", str(source), "-o", str(f / "out")], store_of),
        "train tokenizer": (
            lambda f: ["train", "tokenizer", str(f / "out"), *TRAINING, "--set", "data.world_share=1"],
            model_of,
        ),
        "train lm": (
            lambda f: ["train", "lm", str(f / "out"), *TRAINING, "--set", "language.is_new=false"],
            model_of,
        ),
    }


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*DIVOT, *arguments, "--quiet"], stderr=subprocess.PIPE)


def finish(arguments: list[str]) -> None:
    process = start(arguments)
    _, said = process.communicate()
    # `data check` leaves with 1 where a sample is unfit; none of these is.
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed: {said.decode()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="one trial of the fastest command")
    given = parser.parse_args()
    rng, rows = random.Random(given.seed), []
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        source.mkdir()
        write_samples(source, 4 if given.smoke else 12)
        chosen = commands(source)
        if given.smoke:
            chosen = {"data shards": chosen["data shards"]}
        for command, (arguments, left) in chosen.items():
            whole = Path(name) / command / "unbroken"
            whole.mkdir(parents=True)
            begun = time.perf_counter()
            finish(arguments(whole))
            seconds = time.perf_counter() - begun
            for trial in range(1 if given.smoke else given.trials):
                broken = Path(name) / command / str(trial)
                broken.mkdir()
                process = start(arguments(broken))
                moment = rng.uniform(0, seconds)
                try:
                    process.wait(timeout=moment)
                except subprocess.TimeoutExpired:
                    process.kill()
                process.communicate()
                was_killed = process.returncode < 0
                finish(arguments(broken))
                is_same = left(broken) == left(whole)
                rows.append(
                    {
                        "command": command,
                        "killed_after_s": moment if was_killed else None,
                        "unbroken_s": seconds,
                        "is_same": is_same,
                    }
                )
                when = f"killed after {moment:5.1f} s" if was_killed else "ended before its kill"
                print(
                    f"{command:<16} of {seconds:5.1f} s, {when}: {'the same' if is_same else 'DIFFERS'}",
                    flush=True,
                )
    record = {
        "trials": rows,
        "num_killed": sum(row["killed_after_s"] is not None for row in rows),
        "num_same": sum(row["is_same"] for row in rows),
        "setting": {"seed": given.seed, "trials_a_command": given.trials},
    }
    write_result(given.out, "kill_trials", record)
    if record["num_same"] < len(rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
