"""A model folder whose language models carry a LoRA to one without."""

from __future__ import annotations

from pathlib import Path

from divot.config.errors import CheckpointError
from divot.weights.store import ModelFolder, add_language_model, changed_copy


def merge_model(source: str | Path, out: str | Path) -> list[str]:
    """Fold the LoRA of each language model into its weights; all else is copied.

    Args:
        source: model folder or hub id.
        out: model folder to write.

    Returns:
        Names of the language models that were merged.

    Raises:
        CheckpointError: if there is no such model or no LoRA in it, or `out` holds something else. Nothing is written
            then.
    """
    folder = ModelFolder.open(source)
    merged = []
    with changed_copy(folder, out) as beside:
        for name in folder.contents.language_models:
            lm = folder.language_model(name, dtype=None)
            if lm.has_lora:
                lm.merge_lora()
                add_language_model(beside, name, lm, dtype=None)
                merged.append(name)
        if not merged:
            raise CheckpointError(source, "has no language model with a LoRA", "There is nothing to merge")
    return merged
