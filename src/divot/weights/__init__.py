"""Names of parameters on disk: store (model folders), official and dynamicrafter (others' names), inspect.

`tiny/` holds the bundled weights of the preset of that name.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ModelFolder", "write_model_folder"]


def __getattr__(name: str) -> Any:
    # On first use: looking at a file need not load the models' libraries.
    if name in __all__:
        from divot.weights import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
