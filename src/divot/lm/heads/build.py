"""The head that the settings name."""

from __future__ import annotations

from typing import Any, cast

from divot.config.errors import RecipeError
from divot.config.models import PREDICTIONS, HeadConfig
from divot.lm.heads.diffusion import DiffusionHead
from divot.lm.heads.gmm import GaussianMixtureHead
from divot.lm.heads.regression import RegressionHead

Head = GaussianMixtureHead | RegressionHead | DiffusionHead


def build_head(config: HeadConfig, hidden_width: int, token_width: int) -> Head:
    """The head that the settings name.

    Raises:
        RecipeError: if there is none of that name.
    """
    if config.kind == "gmm":
        return GaussianMixtureHead(hidden_width, token_width, config.num_components, config.added_variance)
    if config.kind == "regression":
        return RegressionHead(hidden_width, token_width, config.cosine_weight)
    if config.kind == "diffusion" and config.prediction in PREDICTIONS:
        kind = cast(Any, config.prediction)
        return DiffusionHead(hidden_width, token_width, config.width, config.depth, kind, config.num_steps)
    named = f"head {config.kind!r} with prediction {config.prediction!r}"
    raise RecipeError(named, "is not one", "Take gmm, regression, or diffusion (v_prediction, epsilon)")
