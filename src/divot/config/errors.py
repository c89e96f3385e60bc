"""What can be wrong with the things a user brings: one family of errors, each naming file, cause and remedy."""

from __future__ import annotations

from pathlib import Path


class DivotError(Exception):
    """Something the user brought cannot be used; the message says which, why and what to do.

    Args:
        source: the file, folder or option in question.
        cause: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, source: str | Path, cause: str, remedy: str) -> None:
        self.source, self.cause, self.remedy = str(source), cause, remedy
        super().__init__(f"{source}: {cause}. {remedy}")

    def __reduce__(self) -> tuple[type[DivotError], tuple[str, str, str]]:
        # Errors cross process borders (data workers): rebuild from the three parts, not from the message.
        return (type(self), (self.source, self.cause, self.remedy))


class VideoReadError(DivotError):
    """A video file cannot be read, or holds no usable picture."""


class CheckpointError(DivotError):
    """A model folder, weight file or run state is missing, damaged or of another shape."""


class RecipeError(DivotError):
    """A recipe, preset or option is not one that exists, or contradicts another."""


class DataError(DivotError):
    """A data source or token store cannot be used."""
