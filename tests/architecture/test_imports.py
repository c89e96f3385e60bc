"""What is loaded when: the command line answers before any model library is loaded."""

import subprocess
import sys

import pytest

HEAVY = "{'torch', 'numpy', 'transformers', 'diffusers', 'av', 'PIL'}"


@pytest.mark.parametrize("module", ["divot", "divot.cli.main", "divot.config.presets", "divot.pipelines"])
def test_import_loads_no_heavy_library(module):
    code = f"import sys, {module}; print(sorted({HEAVY} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_help_loads_no_heavy_library():
    code = (
        "import sys\nfrom divot.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"
