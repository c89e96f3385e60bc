"""Every option that several commands share, with its help, once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class DtypeName(str, Enum):
    """Types that weights can have in memory."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class EngineName(str, Enum):
    """What encodes many videos."""

    local = "local"
    ray = "ray"


class FitName(str, Enum):
    """Ways to make a picture square."""

    crop = "crop"
    letterbox = "letterbox"
    stretch = "stretch"


class SamplingName(str, Enum):
    """Which clips of a video are read."""

    consecutive = "consecutive"
    spread = "spread"
    official_comprehension = "official-comprehension"
    official_reconstruction = "official-reconstruction"


class SeamName(str, Enum):
    """Ways to join the clips of a film."""

    hold = "hold"
    cut = "cut"


class SolverName(str, Enum):
    """Samplers of the de-tokenizer."""

    ddim = "ddim"
    dpm = "dpm++"
    euler = "euler"
    unipc = "unipc"


def _video_output(path: Path | None) -> Path | None:
    # Only here: it loads the libraries that read and write video.
    from divot.video.writer import SUFFIXES

    if path is not None and path.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"{path} ends in {path.suffix!r}; give a name in {', '.join(SUFFIXES)}")
    return path


Model = Annotated[
    str,
    typer.Option("--model", "--preset", "-m", help="Preset with bundled weights, model folder, or hub id."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Dtype = Annotated[DtypeName, typer.Option("--dtype", help="Type of the weights in memory.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Same seed, same result.")]
NoSeed = Annotated[int, typer.Option("--seed", min=0, help="Changes nothing: there is no chance in this.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors (and --json).")]
Fit = Annotated[FitName, typer.Option("--fit", help="How frames are made square.")]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="De-noising steps.", show_default="the model's")
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", min=0.0, help="Guidance scale, 1 for none.", show_default="the model's"),
]
Corrections = Annotated[
    int | None,
    typer.Option(
        "--corrections",
        min=0,
        help="Times that a clip is encoded again and what it lacks drawn anew.",
        show_default="the model's",
    ),
]
Refinements = Annotated[
    int,
    typer.Option(
        "--refinements", min=0, help="Steps that move the tokens of a clip to what shows it better."
    ),
]
Solver = Annotated[SolverName | None, typer.Option("--solver", help="Sampler.", show_default="the model's")]
Eta = Annotated[
    float | None,
    typer.Option(
        "--eta", min=0.0, max=1.0, help="Noise added at each ddim step.", show_default="the model's"
    ),
]
Detokenizer = Annotated[
    str | None,
    typer.Option("--detokenizer", help="Name of the de-tokenizer.", show_default="the task's"),
]
MaxClips = Annotated[
    int, typer.Option("--max-clips", min=1, help="Most clips of two seconds that are read, evenly spread.")
]
Views = Annotated[
    int | None,
    typer.Option(
        "--views",
        min=1,
        help="Times that each clip is read, each time moved by a little.",
        show_default="the model's",
    ),
]
VideoOut = Annotated[
    Path,
    typer.Option("--out", "-o", callback=_video_output, help="Video to write: .mp4, .gif or .webp."),
]
Mean = Annotated[bool, typer.Option("--mean", help="Take the mean of what is predicted, not a draw.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", min=0.0, help="Factor on the variances of a draw.", show_default="the model's"
    ),
]
ComponentTemperature = Annotated[
    float | None,
    typer.Option(
        "--component-temperature",
        min=0.0,
        help="Below 1 likelier parts of the mixture are drawn more often; 0 takes the likeliest.",
        show_default="the model's",
    ),
]
TextGuidance = Annotated[
    float | None,
    typer.Option(
        "--text-guidance",
        min=1.0,
        help="Above 1 each token leans towards what the words make likelier.",
        show_default="the model's",
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        "--candidates",
        min=1,
        help="Clips drawn for each, of which the one is kept that the model itself reads as the words say.",
        show_default="the model's",
    ),
]
