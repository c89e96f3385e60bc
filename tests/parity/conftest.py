"""The `--golden` option, and a table of every comparison at the end of the run."""

from pathlib import Path

import pytest
import torch

from parity.golden import Row, golden_folders

COMMITTED = Path(__file__).parents[1] / "golden"
ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser):
    parser.addoption("--golden", default=None, help="folder of golden folders (default: tests/golden)")


def golden_root(config) -> Path:
    return Path(config.getoption("--golden", default=None) or COMMITTED).resolve()


def pytest_generate_tests(metafunc):
    if "golden_folder" in metafunc.fixturenames:
        folders = golden_folders(golden_root(metafunc.config))
        metafunc.parametrize("golden_folder", folders, ids=[folder.name for folder in folders])


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    # The recorded models are tiny: several threads only wait for each other.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def record(request):
    """Adds rows to the table."""
    return request.config.stash.setdefault(ROWS, []).extend


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.write_sep("=", f"parity with {golden_root(config).name}")
    write(f"{'golden':<14} {'output':<68} {'max error':>10} {'tolerance':>10}")
    for row in rows:
        write(row.line(), red=not row.ok)
    write(f"{len(rows)} outputs compared, {sum(not row.ok for row in rows)} beyond tolerance")
