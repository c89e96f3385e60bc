"""Words to things: the device, the type of the weights, the sampler's settings."""

from __future__ import annotations

import dataclasses

import torch

from divot.config.errors import RecipeError
from divot.config.models import DetokenizerConfig, SamplerConfig
from divot.detokenizer.sampler import SOLVERS

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


def resolve_sampler(
    config: DetokenizerConfig,
    steps: int | None = None,
    guidance: float | None = None,
    solver: str | None = None,
    eta: float | None = None,
) -> SamplerConfig:
    """The model's sampler settings with changes; None keeps the model's.

    Raises:
        RecipeError: if a value is out of range.
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
    wanted = {"num_steps": steps, "guidance_scale": guidance, "solver": solver, "eta": eta}
    settings = dataclasses.replace(config.sampler, **{k: v for k, v in wanted.items() if v is not None})  # type: ignore[arg-type]
    if settings.solver != "ddim" and settings.spacing == "uniform":
        # Only our own loop knows the official spacing.
        settings = dataclasses.replace(settings, spacing="trailing")
    return settings
