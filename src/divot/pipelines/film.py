"""Tokens of clips that follow each other to one film, with as little of a jump where they meet as can be.

Letters: B batch, K clips, N tokens a clip, D width of a token, C F h w latents, S side of a frame in pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from torch import Tensor
from typing_extensions import Unpack

from divot.config.errors import RecipeError
from divot.config.models import SamplerConfig
from divot.pipelines.fidelity import seam_jump
from divot.pipelines.load import SamplerChanges, resolve_sampler
from divot.video import to_uint8

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot

Seam = Literal["hold", "cut"]
"""How the clips of a film are joined: `hold` begins each clip with the last frame of the one before and shows it once;
`cut` puts them one behind the other as they are."""
HELD_STEPS = 8
"""Fewest steps of a clip that begins with a held frame, unless the caller says otherwise: the other frames see it from
the second step on, so a single step, as `tiny` takes, would change nothing."""


@dataclass(frozen=True)
class Joints:
    """How the clips of a film were joined.

    Attributes:
        seam: the way.
        first_frames: of each clip the number of its first frame in the film.
        num_steps: of each clip the de-noising steps.
        jump: see `divot.pipelines.fidelity.seam_jump`.
    """

    seam: Seam
    first_frames: tuple[int, ...]
    num_steps: tuple[int, ...]
    jump: float | None

    def record(self, num_frames: int, seed: int) -> dict[str, Any]:
        """For the sidecar of a film of so many frames whose first clip has this seed."""
        ends = (*self.first_frames[1:], num_frames)
        clips = [
            {"seed": seed + index, "first_frame": first, "frames": end - first, "num_steps": num_steps}
            for index, (first, end, num_steps) in enumerate(
                zip(self.first_frames, ends, self.num_steps, strict=True)
            )
        ]
        return {
            "seam": self.seam,
            "seam_jump": None if self.jump is None else round(self.jump, 3),
            "clips": clips,
        }


def held_sampler(settings: SamplerConfig, steps: int | None) -> SamplerConfig:
    """The sampler of a clip that begins with a held frame; `steps` as the caller gave them."""
    if steps is not None:
        return settings
    return dataclasses.replace(settings, num_steps=max(settings.num_steps, HELD_STEPS))


def decode_film(
    divot: Divot,
    tokens_KND: Tensor,
    seed: int = 0,
    seam: Seam = "cut",
    task: str = "generate",
    **changes: Unpack[SamplerChanges],
) -> tuple[np.ndarray, Joints]:
    """Tokens of two clips or more to one film.

    Args:
        divot: the model.
        tokens_KND: the clips in order.
        seed: clip k starts from the noise of seed + k.
        seam: how the clips are joined.
        task: chooses the de-tokenizer.
        **changes: to the sampler's settings; where `steps` is left out, there are at least `HELD_STEPS` after a held
            frame.

    Returns:
        Frames uint8 [T, S, S, 3] at 8 a second, and where and how the clips meet in them.

    Raises:
        CheckpointError: if there is no de-tokenizer for that task.
        RecipeError: if a setting is out of range.
        ValueError: if the tokens are not of the model's shape.
    """
    if seam not in get_args(Seam):
        raise RecipeError("seam", f"{seam!r} is not known", f"Give one of {', '.join(get_args(Seam))}")
    model = divot.detokenizer(task)
    settings = resolve_sampler(model.config, **changes)
    encode = divot.encoder_of(settings)
    held: Tensor | None = None
    parts: list[np.ndarray] = []
    num_steps: list[int] = []
    for index, tokens_ND in enumerate(tokens_KND):
        how = settings if held is None else held_sampler(settings, changes.get("steps"))
        latents = model.sample_latents(tokens_ND[None], seed + index, how, held_latents=held, encode=encode)
        frames = to_uint8(model.decode_latents(latents)[0])
        # The held frame is the last one of the clip before, once more.
        parts.append(frames if held is None else frames[1:])
        num_steps.append(how.num_steps)
        held = latents[:, :, -1:] if seam == "hold" else None
    firsts = np.cumsum([0, *map(len, parts[:-1])]).tolist()
    film = np.concatenate(parts)
    return film, Joints(seam, tuple(firsts), tuple(num_steps), seam_jump(film, firsts[1:]))
