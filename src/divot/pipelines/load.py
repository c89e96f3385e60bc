"""Words to things: the device, the type of the weights, the sampler's settings."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, TypedDict

import torch

from divot.config.errors import CheckpointError, RecipeError
from divot.config.models import DetokenizerConfig, SamplerConfig, TokenizerConfig
from divot.detokenizer.sampler import SOLVERS

# Frames begin as noise alone; fewer steps that are not `trailing` begin before three quarters of the schedule.
_FEWEST_STEPS = 4
log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name; `auto` takes a GPU if there is one.

    Raises:
        RecipeError: if there is no such device here.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RecipeError(
            "device", f"{name!r} is no device", "Give auto, cpu, cuda, cuda:1 or mps"
        ) from error
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    is_here = {"cpu": True, "cuda": (device.index or 0) < num_gpus, "mps": torch.backends.mps.is_available()}
    if not is_here.get(device.type, False):
        raise RecipeError("device", f"{name!r} is not on this machine", "Give auto or cpu")
    return device


def resolve_dtype(name: str | torch.dtype = "float32") -> torch.dtype:
    """The type of that name.

    Raises:
        RecipeError: if it is none that weights can have.
    """
    if isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise RecipeError("dtype", f"{name!r} is not known", f"Give one of {', '.join(DTYPES)}")
    return DTYPES[name]


def shared_frame_size(source: str, tokenizer: TokenizerConfig, detokenizer: DetokenizerConfig) -> int:
    """Pixels along each side of the frames that go into the tokenizer and come out of the de-tokenizer.

    Raises:
        CheckpointError: if the two differ.
    """
    if tokenizer.frame_size != detokenizer.frame_size:
        raise CheckpointError(
            source,
            f"has a tokenizer for frames of {tokenizer.frame_size} pixels and a de-tokenizer for "
            f"{detokenizer.frame_size}",
            "Put together parts that were trained together (frame_size in their config.json)",
        )
    return tokenizer.frame_size


class SamplerChanges(TypedDict, total=False):
    """How a clip is drawn from its tokens, where it is not as the model's settings say.

    What is left out, or None, stays the model's.
    """

    steps: int | None
    """De-noising steps."""
    guidance: float | None
    """Scale of classifier-free guidance, 1 for none."""
    solver: str | None
    """`ddim`, `dpm++`, `euler` or `unipc`."""
    eta: float | None
    """Noise added at each step of ddim, 0 to 1."""
    corrections: int | None
    """Times that what was drawn is encoded again and drawn anew under what it lacked, 0 for none."""


def resolve_sampler(
    config: DetokenizerConfig,
    *,
    steps: int | None = None,
    guidance: float | None = None,
    solver: str | None = None,
    eta: float | None = None,
    corrections: int | None = None,
) -> SamplerConfig:
    """The model's sampler settings with `SamplerChanges`.

    Another solver than ddim knows neither eta nor the spacing `uniform`: it takes 0 and `trailing` in place of
    the model's.

    Raises:
        RecipeError: if a value is out of range, or eta is given to a solver that does not know it.
    """
    limit = config.schedule.num_timesteps
    if steps is not None and not 1 <= steps <= limit:
        raise RecipeError("steps", f"{steps} is out of range", f"Give 1 to {limit}")
    if guidance is not None and not 0 <= guidance < float("inf"):
        raise RecipeError("guidance", f"{guidance} is out of range", "Give 1 (none) or more, such as 7.5")
    if solver is not None and solver not in SOLVERS:
        raise RecipeError("solver", f"{solver!r} is not known", f"Give one of {', '.join(SOLVERS)}")
    if eta is not None and not 0 <= eta <= 1:
        raise RecipeError("eta", f"{eta} is out of range", "Give 0 (no noise) to 1")
    if corrections is not None and corrections < 0:
        raise RecipeError("corrections", f"{corrections} is out of range", "Give 0 (none) or more, such as 2")
    wanted: dict[str, Any] = {"num_steps": steps, "guidance_scale": guidance, "solver": solver, "eta": eta}
    wanted["num_corrections"] = corrections
    settings = dataclasses.replace(config.sampler, **{k: v for k, v in wanted.items() if v is not None})
    if settings.solver == "ddim":
        if steps is not None and settings.spacing != "trailing" and steps < _FEWEST_STEPS:
            log.warning(
                "%d %s steps begin past much of the schedule, so noise stays in the frames: take %d or more",
                steps,
                settings.spacing,
                _FEWEST_STEPS,
            )
        return settings
    if eta is not None:
        cause = f"{eta} means nothing to the solver {settings.solver}"
        raise RecipeError("eta", cause, "Leave it out, or take the solver ddim")
    spacing = "trailing" if settings.spacing == "uniform" else settings.spacing
    return dataclasses.replace(settings, eta=0.0, spacing=spacing)


def corrections_beside(refinements: int, corrections: int | None) -> int | None:
    """Corrections of tokens that were refined: none, unless so many are asked for.

    Refined tokens say more than the tokenizer would say of the clip, so what it says of the drawn one is no measure of
    what they lack.

    Raises:
        RecipeError: if there cannot be so many refinements.
    """
    if refinements < 0:
        raise RecipeError("refinements", f"{refinements} is out of range", "Give 0 (none) or more, such as 6")
    return 0 if refinements and corrections is None else corrections
