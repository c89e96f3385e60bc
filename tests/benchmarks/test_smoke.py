"""Every benchmark that can do its work in small does it, and leaves its result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py") if "--smoke" in path.read_text()
)


def test_benchmarks_are_found():
    assert {"time_tiny.py", "gpu/train_tiny.py"} <= {*SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_runs_in_small(script, tmp_path):
    subprocess.run(
        [sys.executable, FOLDER / script, "--out", tmp_path, "--smoke"],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert list(tmp_path.glob("*.json"))
