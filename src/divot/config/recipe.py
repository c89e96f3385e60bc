"""Recipes: the settings of a training run from a YAML file, with single values laid over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from divot.config.errors import RecipeError
from divot.config.merge import Parts, from_mapping, overlay, read_yaml
from divot.config.training import TrainConfig

RECIPES = Path(__file__).parents[1] / "recipes"


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with the package."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def read_recipe(
    name_or_path: str, changes: Mapping[str, Any] | None = None, is_draft: bool = False
) -> TrainConfig:
    """The settings of a recipe.

    Args:
        name_or_path: one of `recipe_names()`, or a YAML file.
        changes: values laid over it, nested as the settings are.
        is_draft: the folders and files that a recipe leaves to the user may still be missing.

    Raises:
        RecipeError: if there is no such recipe, a key is unknown, a value of the wrong kind, or two contradict.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{name_or_path}.yaml"
        if not path.is_file():
            known = ", ".join(recipe_names())
            raise RecipeError(name_or_path, "is not a recipe", f"Give a YAML file or one of {known}")
    config = from_mapping(TrainConfig, read_yaml(path), path)
    config = overlay(config, changes or {}, "option")
    config.check(str(path), is_draft)
    return config


def parse_changes(assignments: Sequence[str]) -> dict[str, Any]:
    """`a.b=1` and the like as a nested mapping; values are read as YAML.

    Raises:
        RecipeError: if one is not of the form name=value.
    """
    import yaml

    changes = Parts()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise RecipeError(
                assignment, "is not of the form name=value", "Write for example optimizer.learning_rate=1e-4"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(assignment, "has a value that is not YAML", "Quote the value") from error
        place = changes
        *parents, last = name.split(".")
        for parent in parents:
            place = place.setdefault(parent, Parts())
            if not isinstance(place, dict):
                raise RecipeError(
                    assignment, f"'{parent}' was given a value of its own", "Give its parts one by one"
                )
        place[last] = value
    return changes
