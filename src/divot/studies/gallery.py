"""What a model does, to look at: reconstructions, clips from words, answers, a story. Nothing is chosen by hand.

The clips are the first ones of a seed's test split, whatever becomes of them. `best.json` names the four for a front
page by a rule: of reconstructions and made clips, those in which the verifier reads everything right first, then those
of the highest PSNR against the true clip, two of each kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from divot import world
from divot.config.errors import DataError
from divot.config.files import write_json, write_text
from divot.lm.heads import GaussianMixtureHead
from divot.lm.sampling import TokenSampling
from divot.pipelines.demo import SAMPLE
from divot.pipelines.divot import Divot
from divot.pipelines.fidelity import psnr
from divot.pipelines.generate import TASK
from divot.pipelines.reconstruct import joined
from divot.pipelines.sidecar import describe_model
from divot.pipelines.story import tell_story
from divot.text import caption_request
from divot.video import CLIP_RATE_FPS, contact_sheet, write_video
from divot.video.sheets import captioned, side_by_side
from divot.world.questions import questions
from divot.world.stories import story
from divot.world.verifier import verify

NUM_CLIPS, NUM_ASKED, NUM_STORIES, NUM_BEST = 8, 3, 2, 2
_SCALE, _SHEET_STEP = 2, 3
SAMPLING_WAYS: tuple[tuple[str, TokenSampling, dict[str, Any]], ...] = (
    ("default", TokenSampling(), {}),
    ("--candidates 1", TokenSampling(candidates=1), {}),
    ("--mean", TokenSampling(is_mean=True), {}),
    ("--temperature 0.1", TokenSampling(temperature=0.1), {}),
    ("--temperature 1", TokenSampling(temperature=1.0), {}),
    ("--component-temperature 1", TokenSampling(component_temperature=1.0), {}),
    ("--steps 10", TokenSampling(), {"steps": 10}),
    ("--guidance 1.5", TokenSampling(), {"guidance": 1.5}),
    ("--corrections 0", TokenSampling(), {"corrections": 0}),
)


@dataclass(frozen=True)
class Picture:
    """A moving picture of the gallery.

    Attributes:
        file: its name in the folder.
        text: what it shows.
        is_right: what the verifier says; None where there is no scene to compare with.
        psnr_db: against the true clip.
    """

    file: str
    text: str
    is_right: bool | None = None
    psnr_db: float | None = None


def make_gallery(
    divot: Divot, out: str | Path, seed: int = 0, on_progress: Callable[[float, int], None] | None = None
) -> dict[str, Any]:
    """Write gifs, `README.md` and `best.json` to a folder.

    Args:
        divot: the model, with a language model.
        out: the folder.
        seed: of clips and draws.
        on_progress: called with the share of the work that is done, and the pictures made.

    Returns:
        What `best.json` holds.

    Raises:
        CheckpointError: if the model lacks a part.
        DataError: if the folder has a README.md of something else.
    """
    out = Path(out)
    page = out / "README.md"
    if page.exists() and not (out / "best.json").exists():
        raise DataError(page, "is not of a gallery, and would be overwritten", "Give another folder")
    divot.language_model(TASK)
    out.mkdir(parents=True, exist_ok=True)
    # Until all is there, no page tells of pictures that have been replaced.
    page.unlink(missing_ok=True)
    total = 1 + 2 * NUM_CLIPS + NUM_STORIES
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done / total, done)

    size_px = divot.tokenizer_config.frame_size
    clips = [world.clip(seed, index, "test", size_px) for index in range(NUM_CLIPS)]
    real = divot.reconstruct(SAMPLE, seed, max_clips=2)
    write_video(out / "real.gif", joined(real), CLIP_RATE_FPS)
    film = [Picture("real.gif", f"{SAMPLE.name}, {real.psnr_db:.1f} dB", None, real.psnr_db)]
    tell()
    redrawn = []
    for index, clip in enumerate(clips):
        result = divot.reconstruct(clip.frames, seed + index)
        write_video(out / f"clip_{index}.gif", joined(result), CLIP_RATE_FPS)
        is_right = verify(result.frames, clip.scene).all
        redrawn.append(Picture(f"clip_{index}.gif", clip.caption, is_right, result.psnr_db))
        tell()
    made = []
    for index, clip in enumerate(clips):
        frames = divot.generate(clip.caption, seed=seed + index)[0].frames
        pair = side_by_side(clip.frames, frames, labels=("true", "made"), scale=_SCALE)
        write_video(out / f"made_{index}.gif", pair, CLIP_RATE_FPS)
        is_right = verify(frames, clip.scene).all
        made.append(Picture(f"made_{index}.gif", clip.caption, is_right, psnr(frames, clip.frames)))
        tell()
    asked = [
        (f"clip_{index}.gif", _talk(divot, clip, seed + index))
        for index, clip in enumerate(clips[:NUM_ASKED])
    ]
    told = []
    for index in range(NUM_STORIES):
        told.append(_story(divot, out / f"story_{index}.gif", seed, index))
        tell()
    write_sampling_sheet(divot, clips[0], seed, out / "sampling.png")
    best = {
        "model": describe_model(divot),
        "seed": seed,
        "best": [dataclasses.asdict(picture) for kind in (redrawn, made) for picture in _best(kind)],
        "right": {
            "reconstructions": sum(bool(picture.is_right) for picture in redrawn),
            "made": sum(bool(picture.is_right) for picture in made),
            "of": NUM_CLIPS,
        },
    }
    write_json(out / "best.json", best)
    write_text(page, _page(divot, seed, film + redrawn, made, asked, told))
    return best


def write_sampling_sheet(divot: Divot, clip: world.WorldClip, seed: int, path: Path) -> None:
    """One sheet: a true clip, and what each way of drawing makes of its caption, all from one seed."""
    rows, labels = [clip.frames], [f"true: {clip.caption}"]
    lm = divot.language_model(TASK)
    is_mixture = isinstance(lm.head, GaussianMixtureHead)
    for label, sampling, settings in SAMPLING_WAYS:
        # The other heads do not know these options.
        if not is_mixture and sampling != TokenSampling():
            continue
        made = divot.generate(clip.caption, seed=seed, sampling=sampling, **settings)
        rows.append(made[0].frames)
        labels.append(label)
    contact_sheet([row[::_SHEET_STEP] for row in rows], path, labels=labels, scale=_SCALE)


def _best(pictures: Sequence[Picture]) -> list[Picture]:
    return sorted(pictures, key=lambda one: (not one.is_right, -(one.psnr_db or 0.0)))[:NUM_BEST]


def _talk(divot: Divot, clip: world.WorldClip, seed: int) -> list[tuple[str, str, str]]:
    """Request, what is said, what is right."""
    rows = [(caption_request(), divot.caption(clip.frames), clip.caption)]
    for one in questions(clip.scene, seed):
        rows.append((one.text, divot.ask(clip.frames, one.text), one.answer))
    return rows


def _story(divot: Divot, path: Path, seed: int, index: int) -> Picture:
    wanted = story(seed, index, "test")
    told = list(tell_story(divot, wanted.instruction, len(wanted.chapters), seed + index))
    parts = captioned([clip.frames for clip in told], [clip.sentence for clip in told], scale=2 * _SCALE)
    write_video(path, np.concatenate(parts), CLIP_RATE_FPS)
    return Picture(path.name, wanted.instruction)


def _page(
    divot: Divot,
    seed: int,
    redrawn: Sequence[Picture],
    made: Sequence[Picture],
    asked: Sequence[tuple[str, Sequence[tuple[str, str, str]]]],
    told: Sequence[Picture],
) -> str:
    lines = [
        "# Gallery",
        "",
        f"Made by `divot gallery --model {divot.source} --seed {seed}`: a film, and the first clips of the test split.",
        "",
        "## Five frames to 64 tokens to sixteen frames",
        "",
        "Left what went in, right what came back.",
        "",
        *_shown(redrawn),
        "## Clips from words",
        "",
        "Left the clip that the words were written about, right what the model made of the words alone. The verifier "
        f"reads {sum(bool(picture.is_right) for picture in made)} of {len(made)} right.",
        "",
        *_shown(made),
        "## Questions",
        "",
    ]
    for file, rows in asked:
        lines += [f"![clip]({file})", "", "| asked | said | right |", "|---|---|---|"]
        lines += [f"| {request} | {said} | {right} |" for request, said, right in rows] + [""]
    lines += [
        "## Stories",
        "",
        *_shown(told),
        "## Ways of drawing",
        "",
        "![Ways of drawing](sampling.png)",
        "",
    ]
    return "\n".join(lines)


def _shown(pictures: Sequence[Picture]) -> list[str]:
    lines = []
    for picture in pictures:
        verdict = {None: "", True: " *(read right by the verifier)*", False: " *(not read right)*"}[
            picture.is_right
        ]
        lines += [f"![{picture.text}]({picture.file})", "", f"{picture.text}{verdict}", ""]
    return lines
