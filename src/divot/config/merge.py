"""Dataclasses from mappings and YAML, strictly: an unknown key or a value of the wrong kind is an error."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from divot.config.errors import RecipeError

T = TypeVar("T")


class Parts(dict[str, Any]):
    """Values that were named one by one: they are laid over those of a mapping, which a plain mapping replaces."""


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str | Path = "config") -> T:
    """Build the dataclass `cls`; what `values` does not name keeps its default.

    Raises:
        RecipeError: for a key that `cls` does not have or a value of another kind; names the key by its full path.
    """
    return overlay(cls(), values, source)


def overlay(base: T, values: Mapping[str, Any], source: str | Path = "config") -> T:
    """A copy of the dataclass `base` with `values` laid over it, nested mappings merged.

    Raises:
        RecipeError: for a key that `base` does not have or a value of another kind; names the key by its full path.
    """
    return _overlay(base, values, source, prefix="")


def _overlay(base: Any, values: Mapping[str, Any], source: str | Path, prefix: str) -> Any:
    hints = typing.get_type_hints(type(base))
    changes = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in hints:
            raise RecipeError(source, f"unknown key '{path}'", f"Known here: {', '.join(sorted(hints))}")
        current = getattr(base, key)
        if dataclasses.is_dataclass(current) and isinstance(value, Mapping):
            changes[key] = _overlay(current, value, source, f"{path}.")
        elif isinstance(current, dict) and isinstance(value, Parts):
            changes[key] = _checked({**current, **value}, hints[key], source, path)
        else:
            changes[key] = _checked(value, hints[key], source, path)
    return dataclasses.replace(base, **changes)


def _checked(value: Any, hint: Any, source: str | Path, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [a for a in arguments if a is not type(None)]
        return _checked(value, inner[0], source, path)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _overlay(typing.cast(Any, hint)(), value, source, f"{path}.")
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_checked(v, arguments[0], source, f"{path}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {name: _checked(v, arguments[1], source, f"{path}.{name}") for name, v in value.items()}
    if hint is float and isinstance(value, str):
        # YAML reads 1e-4 (no dot) as text.
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is str and value is False:
        # YAML reads a bare `no` so.
        return "no"
    if (
        isinstance(hint, type)
        and isinstance(value, hint)
        and (hint is not int or not isinstance(value, bool))
    ):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    raise RecipeError(source, f"'{path}' is {value!r}", f"Give a value of type {wanted}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        RecipeError: if the file is missing, not YAML, or not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            path, f"cannot be read ({error.strerror})", "Give the path of a YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(path, "is not YAML", "docs/training.md shows the form") from error
    if not isinstance(values, dict):
        raise RecipeError(path, "is not a mapping of settings", "Write 'key: value' lines")
    return values
