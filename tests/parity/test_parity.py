"""Every golden of the folder given: our modules with the official weights give the official numbers."""

from parity.checks import CHECKS
from parity.golden import Golden


def test_outputs_equal_the_recorded_ones(golden_folder, record):
    golden = Golden.load(golden_folder)
    assert golden.kind in CHECKS, f"{golden_folder.name} is of no known kind"
    rows = CHECKS[golden.kind](golden)
    record(rows)
    assert rows, "nothing was recorded"
    assert not golden.unlisted(rows), "recorded, and not compared"
    beyond = [row.line() for row in rows if not row.ok]
    assert not beyond, "\n" + "\n".join(beyond)
