"""The main job, shown: videos to tokens and back with one model, and a page to look at."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import divot.weights
from divot import world
from divot.config.files import refuse_overwriting, written_whole
from divot.pipelines.clips import Source, count_clips
from divot.pipelines.demo_language import has_language, make_clips, talk_about
from divot.pipelines.divot import Divot, Progress, Reconstruction
from divot.pipelines.page import Section, write_page
from divot.pipelines.reconstruct import check_outputs, joined, measures, write_reconstruction
from divot.pipelines.sidecar import describe_detokenizer, write_sidecar
from divot.video import CLIP_DURATION_S, CLIP_FRAMES, CLIP_RATE_FPS, write_video

SAMPLE = Path(divot.weights.__file__).parent / "samples" / "bbb_looking_up.mp4"
SAMPLE_CREDIT = (
    "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0; cut and reduced"
)
ONLY_SPRITES = ". The language model of tiny knows Sprite World alone: here too it tells of sprites"
# A long video would make a slow demo and a heavy page.
MAX_CLIPS = 5
_HEAT_SCALE = 5
_HEAT_GAP_PX = 6
# Colours for the lowest, the middle and the highest number of a token.
_COLD, _ZERO, _HOT = (np.array(c, float) for c in ((38, 84, 160), (247, 247, 244), (190, 52, 38)))


@dataclass(frozen=True)
class DemoSummary:
    """What the demo made.

    Attributes:
        page: the page to open.
        examples: title, files and numbers of each video.
        seconds: of all reconstructions and clips made.
        record: what stands beside the page.
    """

    page: Path
    examples: list[dict[str, Any]]
    seconds: float
    record: dict[str, Any]


@dataclass(frozen=True)
class _Example:
    name: str
    """Of its files, without their endings."""
    title: str
    note: str
    source: Source
    scene: world.Scene | None = None


def run_demo(
    divot: Divot,
    out: str | Path,
    video: str | Path | None = None,
    seed: int = 0,
    num_world_clips: int = 3,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> DemoSummary:
    """Reconstruct a video and a few clips of Sprite World, ask about them and make clips from words, where the model
    speaks; write videos, sheets, records and `index.html`.

    Args:
        divot: the model.
        out: folder, made if it is not there.
        video: a video file, of which the first clips are taken; None takes the bundled one.
        seed: of the noise and of Sprite World.
        num_world_clips: 0 or more.
        steps: de-noising steps; None keeps the model's.
        on_progress: called as the work goes on.

    Raises:
        DataError: if the video is one of the files to be written.
        VideoReadError: if the video cannot be read.
    """
    out = Path(out)
    examples = _examples(divot, video, seed, num_world_clips)
    if video is not None:
        for example in examples:
            check_outputs(video, _video_file(out, example))
            refuse_overwriting(video, _pictures(out, example))
    counts = [min(MAX_CLIPS, count_clips(example.source)) for example in examples]
    sections, records, done = [], [], 0
    for example, count in zip(examples, counts, strict=True):
        watch = _part(on_progress, done, count, sum(counts))
        result = divot.reconstruct(example.source, seed, max_clips=MAX_CLIPS, on_progress=watch, steps=steps)
        done += count
        section, record = _write_example(divot, out, example, result, seed)
        if has_language(divot):
            # Of what the page shows, not of the rest of a long video.
            talk = talk_about(divot, result.original, example.scene, seed)
            is_unknown = example.scene is None and divot.source == "tiny"
            note = example.note + (ONLY_SPRITES if is_unknown else "")
            section = dataclasses.replace(section, note=note, talk=talk)
            record["said"] = [dataclasses.asdict(said) for said in talk]
        sections.append(section)
        records.append(record)
    page = out / "index.html"
    seconds = sum(record["seconds"] for record in records)
    made, clips = make_clips(divot, out, seed, steps) if has_language(divot) else ([], [])
    seconds += sum(clip.seconds for clip in clips)
    write_page(page, sections, _facts(divot, result, seed, seconds), made)
    record = write_sidecar(
        page,
        "demo",
        divot,
        detokenizer=describe_detokenizer(divot, result.detokenizer, "reconstruct", result.sampler),
        seed=seed,
        examples=records,
        made=[clip.prompt for clip in clips],
        seconds=round(seconds, 2),
    )
    return DemoSummary(page, records, seconds, record)


def token_picture(tokens: torch.Tensor) -> np.ndarray:
    """Tokens drawn as a map of colours, uint8 [H, W, 3]: a column a token, a row a number, clip by clip.

    Args:
        tokens: [K, N, D].
    """
    values = tokens.float().numpy()
    limit = float(np.quantile(np.abs(values), 0.98)) or 1.0
    level = np.clip(values / limit, -1, 1)[..., None]
    colours = np.where(level < 0, _ZERO + (_COLD - _ZERO) * -level, _ZERO + (_HOT - _ZERO) * level)
    # [K, N, D, 3] to one picture a clip, tokens from left to right.
    maps = colours.round().astype(np.uint8).transpose(0, 2, 1, 3)
    maps = maps.repeat(_HEAT_SCALE, axis=1).repeat(_HEAT_SCALE, axis=2)
    gap = np.full((maps.shape[1], _HEAT_GAP_PX, 3), 255, np.uint8)
    parts = [part for picture in maps for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _examples(divot: Divot, video: str | Path | None, seed: int, num_world_clips: int) -> list[_Example]:
    size_px = divot.detokenizer("reconstruct").config.frame_size
    if video is None:
        examples = [_Example("a_film_clip", "A film clip", SAMPLE_CREDIT, SAMPLE)]
    else:
        # No file of the others begins so.
        name = "_".join(["video", *re.findall(r"[a-z0-9]+", Path(video).stem.lower())])
        note = f"the first {MAX_CLIPS * CLIP_DURATION_S:g} seconds at most"
        examples = [_Example(name, Path(video).name, note, video)]
    for number in range(1, num_world_clips + 1):
        clip = world.clip(seed, number - 1, split="test", size=size_px)
        title = f"Sprite World {number}"
        examples.append(_Example(f"sprite_world_{number}", title, clip.caption, clip.frames, clip.scene))
    return examples


def _video_file(out: Path, example: _Example) -> Path:
    return out / f"{example.name}.mp4"


def _pictures(out: Path, example: _Example) -> tuple[Path, Path]:
    """Both videos side by side, moving, and the tokens."""
    return out / f"{example.name}_side_by_side.webp", out / f"{example.name}_tokens.png"


def _write_example(
    divot: Divot, out: Path, example: _Example, result: Reconstruction, seed: int
) -> tuple[Section, dict[str, Any]]:
    path, (moving, heat) = _video_file(out, example), _pictures(out, example)
    record = write_reconstruction(result, path, divot, example.source, seed, note=example.note)
    write_video(moving, joined(result), CLIP_RATE_FPS)
    with written_whole(heat) as beside:
        Image.fromarray(token_picture(result.tokens)).save(beside)
    numbers = measures(result)
    sheet = Path(record["files"]["sheet"])
    section = Section(
        example.title,
        example.note,
        moving,
        sheet,
        heat,
        [
            ("clips of 2 s", str(numbers["clips"])),
            ("tokens", f"{numbers['clips']} x {result.tokens.shape[1]} of width {result.tokens.shape[2]}"),
            ("PSNR", f"{result.psnr_db:.2f} dB"),
            ("SSIM", f"{result.ssim:.3f}"),
            ("time", f"{result.seconds:.1f} s"),
        ],
    )
    return section, {"title": example.title, "note": example.note, "files": record["files"], **numbers}


def _facts(divot: Divot, result: Reconstruction, seed: int, seconds: float) -> list[tuple[str, str]]:
    _, num_tokens, width = result.tokens.shape
    side = result.frames.shape[1]
    num_pixels, num_numbers = CLIP_FRAMES * side * side * 3, num_tokens * width
    settings = dataclasses.asdict(result.sampler)
    return [
        ("model", f"{divot.source} (tokenizer {divot.folder.tokenizer_hash[:12]})"),
        ("one clip", f"{CLIP_FRAMES} frames of {side} x {side} pixels = {num_pixels:,} numbers"),
        (
            "as tokens",
            f"{num_tokens} x {width} = {num_numbers:,}, {num_pixels / num_numbers:.0f} times fewer",
        ),
        ("de-tokenizer", f"{result.detokenizer}: {settings['solver']}, {settings['num_steps']} steps"),
        ("seed", str(seed)),
        ("device", f"{divot.device}, {str(divot.dtype).removeprefix('torch.')}"),
        ("time in all", f"{seconds:.1f} s"),
    ]


def _part(on_progress: Progress | None, before: int, count: int, total: int) -> Progress | None:
    if on_progress is None:
        return None
    return lambda share, done: on_progress((before + share * count) / total, before + done)
