"""What became of every tensor of a conversion."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from divot.config.errors import CheckpointError
from divot.config.files import write_json
from divot.config.versions import versions

REPORT_FILE = "conversion.json"


@dataclass
class FileReport:
    """One file that was read."""

    file: str
    used: int = 0
    """Tensors that went into our model."""
    kept: list[str] = field(default_factory=list)
    """Names set aside because no part of our model uses them."""
    copied: int = 0
    """Tensors dropped because they equal the tokenizer's."""
    unexpected: list[str] = field(default_factory=list)
    """Names nobody knows; set aside with the others."""


@dataclass
class ConversionReport:
    """A whole conversion."""

    source: str
    out: str
    preset: str | None = None
    """Preset whose sizes the model has, if it is one."""
    files: list[FileReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user should know, in words."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "versions": versions()}

    def lines(self) -> list[str]:
        """The report in words, a line a file and a note."""
        lines = []
        for file in self.files:
            parts = [
                f"{file.used} tensors used",
                f"{len(file.kept)} kept aside",
                f"{file.copied} copies dropped",
                f"{len(file.unexpected)} unexpected",
            ]
            lines.append(f"{file.file}: {', '.join(parts)}")
        return lines + self.notes

    def write(self, folder: Path) -> None:
        """Write conversion.json."""
        write_json(folder / REPORT_FILE, self.as_dict())


def refuse_unfitting(source: str | Path, missing: list[str], misshapen: list[str]) -> None:
    """Stop when tensors are missing or of another shape.

    Raises:
        CheckpointError: names the first few.
    """
    if not missing and not misshapen:
        return
    parts = []
    for what, names in (("missing", missing), ("misshapen", misshapen)):
        if names:
            more = ", ..." if len(names) > 3 else ""
            parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{more})")
    raise CheckpointError(
        source, f"does not fit: {'; '.join(parts)}", "Check that the file is whole, and the sizes"
    )
