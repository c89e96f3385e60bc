"""Every golden of the folder given: our modules with the official weights give the official numbers."""

import pytest

from parity.checks import CHECKS
from parity.golden import NOT_BUILT_YET, Golden


def test_outputs_equal_the_recorded_ones(golden_folder, record):
    golden = Golden.load(golden_folder)
    kind = golden.kind
    if kind in NOT_BUILT_YET:
        pytest.skip(f"{kind}: the language model is not built yet")
    assert kind in CHECKS, f"{golden_folder.name} is of no known kind"
    rows = CHECKS[kind](golden)
    record(rows)
    assert not golden.unlisted(rows), "recorded, but neither compared nor explained"
    beyond = [row.line() for row in rows if not row.ok]
    assert not beyond, "\n" + "\n".join(beyond)
