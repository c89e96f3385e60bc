"""The parts around the released language models: their names in the official `agent` file, and ours.

The backbone itself is in Hugging Face form on both sides.
"""

from __future__ import annotations

from divot.weights.names import Entry

AGENT_LLM = "llm."
"""Where the agent's file has the backbone, if it has it."""
_PARTS = (
    ("input_resampler.proj.0", "input_projection.0"),
    ("input_resampler.proj.2", "input_projection.2"),
    ("output_resampler.proj.0", "head.layers.0"),
    ("output_resampler.proj.2", "head.layers.2"),
)


def agent_names() -> list[Entry]:
    """The input projection and the mixture head."""
    return [
        Entry(f"{theirs}.{kind}", (f"{ours}.{kind}",))
        for theirs, ours in _PARTS
        for kind in ("weight", "bias")
    ]
