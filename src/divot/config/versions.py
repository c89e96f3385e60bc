"""The versions that belong into the record of a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "divot-video",
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "torchmetrics",
    "av",
    "numpy",
    "pillow",
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that have a say in a result; None for one that is absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
