"""Tables of parameter names: ours beside another project's, used in both directions.

A table is a list of entries, made by walking a configuration: it names every parameter of a model of any
size, and none twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """One tensor of theirs and what it is in our model."""

    theirs: str
    ours: tuple[str, ...]
    """One name; or several, whose tensors lie one after another along the first axis of theirs."""
    leading: int = 0
    """Axes of length one that theirs has in front."""
    trailing: int = 0
    """Axes of length one that theirs has behind."""
    is_scalar: bool = False
    """Theirs has no axis, ours one of length one."""


@dataclass(frozen=True)
class Pair:
    """Two names of the same module; its parameters are listed by `of`."""

    theirs: str
    ours: str

    def of(self, theirs: str, ours: str | None = None) -> Pair:
        """The pair of a submodule; the same name on both sides unless two are given."""
        ours = theirs if ours is None else ours
        return Pair(_joined(self.theirs, theirs), _joined(self.ours, ours))

    def entry(self, leading: int = 0, trailing: int = 0, is_scalar: bool = False) -> Entry:
        """The entry of a parameter."""
        return Entry(self.theirs, (self.ours,), leading, trailing, is_scalar)

    def weight(self, trailing: int = 0) -> list[Entry]:
        """The weight alone."""
        return [self.of("weight").entry(trailing=trailing)]

    def both(self, trailing: int = 0) -> list[Entry]:
        """Weight and bias; `trailing` is about the weight."""
        return [*self.weight(trailing), self.of("bias").entry()]


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def under(entries: Iterable[Entry], theirs: str, ours: str) -> list[Entry]:
    """The same table with a prefix in front of the names of each side."""
    return [
        replace(e, theirs=_joined(theirs, e.theirs), ours=tuple(_joined(ours, name) for name in e.ours))
        for e in entries
    ]


@dataclass(frozen=True)
class Renamed:
    """Tensors under new names, and what did not fit the table."""

    tensors: dict[str, Tensor]
    missing: list[str]
    """Names of the table that were not among the tensors given."""
    unexpected: list[str]
    """Names given that the table does not know."""
    misshapen: list[str]
    """Names (with both shapes) of tensors that are not of the wanted shape."""


def to_ours(
    entries: Iterable[Entry], theirs: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> Renamed:
    """Their tensors under our names.

    Args:
        entries: the table.
        theirs: their tensors; not copied where a view will do.
        shapes: shape of every parameter of ours.
    """
    tensors: dict[str, Tensor] = {}
    missing, misshapen, known = [], [], set()
    for entry in entries:
        known.add(entry.theirs)
        if entry.theirs not in theirs:
            missing.append(entry.theirs)
            continue
        tensor, wanted = theirs[entry.theirs], _shape_of_theirs(entry, [shapes[name] for name in entry.ours])
        if tensor.shape != wanted:
            misshapen.append(f"{entry.theirs} {list(tensor.shape)}, wanted {list(wanted)}")
            continue
        axes = tensor.shape[entry.leading : tensor.ndim - entry.trailing]
        tensor = tensor.reshape([1] if entry.is_scalar else axes)
        parts = tensor.split([shapes[name][0] for name in entry.ours]) if len(entry.ours) > 1 else [tensor]
        tensors.update(zip(entry.ours, parts, strict=True))
    return Renamed(tensors, missing, sorted(theirs.keys() - known), misshapen)


def to_theirs(entries: Iterable[Entry], ours: Mapping[str, Tensor]) -> Renamed:
    """Our tensors under their names and in their shapes."""
    tensors: dict[str, Tensor] = {}
    known: set[str] = set()
    missing = []
    for entry in entries:
        known.update(entry.ours)
        absent = [name for name in entry.ours if name not in ours]
        missing += absent
        if absent:
            continue
        parts = [ours[name] for name in entry.ours]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensors[entry.theirs] = tensor.reshape(_shape_of_theirs(entry, [part.shape for part in parts]))
    return Renamed(tensors, missing, sorted(ours.keys() - known), [])


def _shape_of_theirs(entry: Entry, shapes: list[torch.Size]) -> torch.Size:
    if entry.is_scalar:
        return torch.Size([])
    rows = [sum(shape[0] for shape in shapes), *shapes[0][1:]] if len(shapes) > 1 else shapes[0]
    return torch.Size([1] * entry.leading + list(rows) + [1] * entry.trailing)
