"""Every benchmark that can do its work in small does it, and leaves its result."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from divot.weights.store import ModelFolder

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


def test_a_language_model_with_more_layers_begins_where_it_was(tmp_path):
    spec = importlib.util.spec_from_file_location("train_tiny", FOLDER / "gpu" / "train_tiny.py")
    train_tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train_tiny)
    train_tiny.deepen("tiny", 9, tmp_path / "deeper")
    ids = torch.arange(40)[None]
    before, after = (ModelFolder.open(one).language_model().backbone for one in ("tiny", tmp_path / "deeper"))
    assert after.config.num_hidden_layers == len(after.get_decoder().layers) == 9
    with torch.no_grad():
        assert torch.equal(before(ids).logits, after(ids).logits)
