"""Our modules against numbers recorded from the official code: `pytest tests/parity --golden DIR`."""
