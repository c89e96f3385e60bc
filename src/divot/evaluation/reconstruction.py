"""Clips to tokens to frames, and how near those are to the clips.

Letters: B batch of clips, F frames, C channels, H W pixels, N tokens, D width.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from divot.config.models import SamplerConfig
from divot.evaluation.baselines import constant_colour, constant_frame, nearest_seen, still
from divot.evaluation.clip_sets import NamedClip, video_clips, world_clips
from divot.evaluation.frame_metrics import (
    MOVING_THRESHOLD,
    UNSEEN_FRAMES,
    moving_pixels,
)
from divot.evaluation.intervals import NUM_RESAMPLES, bootstrap_interval
from divot.evaluation.measures import DEFINITIONS, GAINS, OF_WORLD
from divot.evaluation.protocols import Detokenizer, Model, Tokenizer
from divot.evaluation.results import Example, ReconstructionResult
from divot.evaluation.run_info import hardware, now, versions, weights_sha256
from divot.pipelines.clips import whole_clip_encoder
from divot.pipelines.fidelity import MAX_PSNR_DB, psnr, ssim
from divot.pipelines.load import corrections_beside, resolve_sampler, shared_frame_size
from divot.video import CLIP_FRAMES, SEEN_FRAMES, Fit, from_uint8, to_uint8
from divot.world import Scene
from divot.world.verifier import verify

TASK = "reconstruct"
"""Chooses the de-tokenizer that is measured, unless it is named."""
Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


def evaluate_world_reconstruction(
    model: Model,
    *,
    seed: int,
    count: int,
    split: str = "test",
    detokenizer: str | None = None,
    sampler: SamplerConfig | None = None,
    refinements: int = 0,
    batch_size: int = 8,
    on_progress: Progress | None = None,
) -> ReconstructionResult:
    """Measure reconstruction on clips of Sprite World, in the model's own frame size.

    Args:
        model: tokenizer and de-tokenizer.
        seed: which clips, and from which noise they are decoded.
        count: how many clips.
        split: `test` holds sprites that training never sees; clips of `train` may have been trained on.
        detokenizer: name of the de-tokenizer; None takes the one for reconstruction.
        sampler: settings; None takes those of the model.
        refinements: steps by which the tokens of each clip are refined, see `divot.detokenizer.refinement`.
        batch_size: clips encoded at once.
        on_progress: called after each clip.

    Raises:
        ValueError: if a number is out of range.
        CheckpointError: if there is no such de-tokenizer, or it is for frames of another size than the tokenizer.
    """
    chosen_model, facts = _chosen(model, detokenizer)
    size_px = chosen_model.config.frame_size
    chosen = {"source": "world", "seed": seed, "count": count, "split": split, "size_px": size_px}
    return evaluate_reconstruction(
        model.tokenizer,
        chosen_model,
        world_clips(seed, count, split, size_px),
        seed=seed,
        sampler=sampler,
        refinements=refinements,
        batch_size=batch_size,
        on_progress=on_progress,
        model_source=getattr(model, "source", None),
        run={"detokenizer": facts, "set": chosen},
    )


def evaluate_video_reconstruction(
    model: Model,
    videos_dir: str | Path,
    *,
    seed: int = 0,
    max_clips_per_video: int | None = None,
    fit: Fit = "crop",
    detokenizer: str | None = None,
    sampler: SamplerConfig | None = None,
    refinements: int = 0,
    batch_size: int = 8,
    on_progress: Progress | None = None,
) -> ReconstructionResult:
    """Measure reconstruction on the clips of all videos in a folder, in the model's own frame size.

    All clips are held in memory, before and after: 6 MB a clip of 256 x 256 pixels.

    Args:
        model: tokenizer and de-tokenizer.
        videos_dir: folder of videos, see `divot.evaluation.video_clips`.
        seed: from which noise clips are decoded.
        max_clips_per_video: takes the first so many of each; None takes all.
        fit: how the picture is made square, see `divot.video.SquareFit`.
        detokenizer: name of the de-tokenizer; None takes the one for reconstruction.
        sampler: settings; None takes those of the model.
        refinements: steps by which the tokens of each clip are refined, see `divot.detokenizer.refinement`.
        batch_size: clips encoded at once.
        on_progress: called after each clip.

    Raises:
        ValueError: if a number is out of range.
        DataError: if there is no such folder, or not one clip in it can be read.
        CheckpointError: if there is no such de-tokenizer, or it is for frames of another size than the tokenizer.
    """
    chosen_model, facts = _chosen(model, detokenizer)
    size_px = chosen_model.config.frame_size
    found = video_clips(videos_dir, size_px=size_px, fit=fit, max_clips_per_video=max_clips_per_video)
    chosen = {
        "source": "videos",
        "folder": str(videos_dir),
        "max_clips_per_video": max_clips_per_video,
        "fit": fit,
        "size_px": size_px,
        "clips_of_video": found.num_clips,
        "partial_clips": found.partial,
    }
    return evaluate_reconstruction(
        model.tokenizer,
        chosen_model,
        found.clips,
        seed=seed,
        sampler=sampler,
        refinements=refinements,
        batch_size=batch_size,
        on_progress=on_progress,
        model_source=getattr(model, "source", None),
        run={"detokenizer": facts, "set": chosen, "rejected": found.rejected},
    )


def _chosen(model: Model, name: str | None) -> tuple[Any, dict[str, Any]]:
    """The de-tokenizer, and the task, name and hash that tell which it was."""
    folder = getattr(model, "folder", None)
    if folder is not None and name is None:
        name = folder.detokenizer_name(TASK)
    detokenizer = model.detokenizer(TASK, name)
    shared_frame_size(getattr(model, "source", "model"), model.tokenizer.config, detokenizer.config)
    digest = None if folder is None else folder.detokenizer_hash(name)
    return detokenizer, {"task": TASK, "name": name, "detokenizer_hash": digest}


@torch.no_grad()
def evaluate_reconstruction(
    tokenizer: Tokenizer,
    detokenizer: Detokenizer,
    clips: Iterable[NamedClip],
    *,
    seed: int = 0,
    sampler: SamplerConfig | None = None,
    refinements: int = 0,
    batch_size: int = 8,
    on_progress: Progress | None = None,
    model_source: str | None = None,
    run: dict[str, Any] | None = None,
) -> ReconstructionResult:
    """Encode and decode clips and take every measure; docs/evaluation.md says what each one is.

    Clip i is decoded from the noise of seed + i. For one seed everything but the seconds is the same again.

    Args:
        tokenizer: frames to tokens.
        detokenizer: tokens to frames.
        clips: the set, all of one size; held in memory.
        seed: of the noise and of the intervals.
        sampler: settings; None takes those of the de-tokenizer.
        refinements: steps by which the tokens of each clip are refined; with any, the settings of the de-tokenizer are
            taken without corrections.
        batch_size: clips encoded at once; decoding is clip by clip.
        on_progress: called after each clip.
        model_source: what the user called the model.
        run: further facts for the result's `run`.

    Raises:
        ValueError: if there is no clip, the clips differ in size, or a number is out of range.
        RecipeError: if there cannot be so many refinements.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, wanted 1 or more")
    if sampler is None and refinements:
        sampler = resolve_sampler(detokenizer.config, corrections=corrections_beside(refinements, None))
    clips = _checked(clips)
    tokens, encode_s = _encode(tokenizer, clips, batch_size)
    reconstructions, decode_s = [], []
    for index in range(len(clips)):
        if refinements:
            tokens[index], seconds = _refine(
                detokenizer, tokens[index], clips[index].frames, refinements, seed + index, sampler
            )
            encode_s[index] += seconds
        decoded, seconds = _decode(tokenizer, detokenizer, tokens[index], seed + index, sampler)
        reconstructions.append(decoded)
        decode_s.append(seconds)
        if on_progress is not None:
            on_progress(index + 1, len(clips))
    shift = len(clips) // 2
    rows = _measures_of_set(clips, reconstructions, shift)
    for index, clip in enumerate(clips):
        coded = _through_vae(detokenizer, clip.frames)
        rows[index]["psnr_vae"] = psnr(coded, clip.frames)
        if clip.scene is not None:
            rows[index]["verifier_all_vae"] = float(verify(coded, clip.scene).all)
        rows[index]["seconds_encode"] = encode_s[index]
        if index > 0 or len(clips) == 1:
            # The first call sets things up.
            rows[index]["seconds_decode"] = decode_s[index]
    has_scenes = any(clip.scene is not None for clip in clips)
    measures = {
        name: bootstrap_interval([row[name] for row in rows if name in row], seed)
        for name in DEFINITIONS
        if has_scenes or name not in OF_WORLD
    }
    facts = {
        "task": "reconstruction",
        "date": now(),
        "seed": seed,
        "clips": len(clips),
        "clips_without_motion": sum("psnr_moving" not in row for row in rows),
        "rejected": {},
        "settings": {
            "batch_size": batch_size,
            "refinements": refinements,
            "psnr_cap_db": MAX_PSNR_DB,
            "moving_threshold_levels": MOVING_THRESHOLD,
            "seen_frames": list(SEEN_FRAMES),
            "swap_shift": shift,
            "interval": f"95%, percentile bootstrap over clips, {NUM_RESAMPLES} draws",
        },
        "sampler": dataclasses.asdict(sampler or detokenizer.config.sampler),
        "model": {
            "source": model_source,
            "tokenizer_sha256": weights_sha256(tokenizer),
            "detokenizer_sha256": weights_sha256(detokenizer),
            "dtype": str(detokenizer.dtype).removeprefix("torch."),
        },
        "hardware": hardware(detokenizer.device),
        "versions": versions(),
        **(run or {}),
    }
    return ReconstructionResult(
        measures, facts, _examples(clips, reconstructions, [row["psnr"] for row in rows])
    )


def _checked(clips: Iterable[NamedClip]) -> list[NamedClip]:
    clips = list(clips)
    if not clips:
        raise ValueError("clips: got none, wanted one or more")
    wanted = (CLIP_FRAMES, *clips[0].frames.shape[1:])
    for clip in clips:
        if clip.frames.shape != wanted:
            raise ValueError(f"clip {clip.name}: got shape {clip.frames.shape}, wanted {wanted}")
    return clips


def _encode(
    tokenizer: Tokenizer, clips: Sequence[NamedClip], batch_size: int
) -> tuple[list[Tensor], list[float]]:
    """Tokens [1, N, D] and seconds of each clip."""

    def seen(batch: Sequence[NamedClip]) -> Tensor:
        frames = torch.stack([from_uint8(clip.frames[list(SEEN_FRAMES)]) for clip in batch])
        return frames.to(tokenizer.device, tokenizer.dtype)

    # Once before the clock runs: the first call sets things up.
    tokenizer(seen(clips[:1]))
    tokens: list[Tensor] = []
    seconds: list[float] = []
    for first in range(0, len(clips), batch_size):
        batch = seen(clips[first : first + batch_size])
        start_s = _clock(tokenizer.device)
        tokens_BND = tokenizer(batch)
        passed_s = _clock(tokenizer.device) - start_s
        tokens += tokens_BND.split(1)
        seconds += [passed_s / len(batch)] * len(batch)
    return tokens, seconds


def _decode(
    tokenizer: Tokenizer,
    detokenizer: Detokenizer,
    tokens_BND: Tensor,
    seed: int,
    sampler: SamplerConfig | None,
) -> tuple[np.ndarray, float]:
    """Frames of one clip, uint8 [16, H, W, 3], and seconds."""
    start_s = _clock(detokenizer.device)
    encode = whole_clip_encoder(tokenizer, tokenizer.dtype)
    frames_BFCHW = detokenizer.decode(tokens_BND, seed=seed, sampler=sampler, encode=encode)
    return to_uint8(frames_BFCHW[0]), _clock(detokenizer.device) - start_s


def _refine(
    detokenizer: Detokenizer,
    tokens_1ND: Tensor,
    frames: np.ndarray,
    steps: int,
    seed: int,
    sampler: SamplerConfig | None,
) -> tuple[Tensor, float]:
    """Refined tokens [1, N, D] of one clip, and seconds."""
    start_s = _clock(detokenizer.device)
    better = detokenizer.refine(tokens_1ND, from_uint8(frames)[None], SEEN_FRAMES, steps, seed, sampler)
    return better, _clock(detokenizer.device) - start_s


def _through_vae(detokenizer: Detokenizer, frames: np.ndarray) -> np.ndarray:
    frames_BFCHW = from_uint8(frames)[None].to(detokenizer.device, detokenizer.dtype)
    return to_uint8(detokenizer.decode_latents(detokenizer.encode_frames(frames_BFCHW))[0])


def _measures_of_set(
    clips: Sequence[NamedClip], reconstructions: Sequence[np.ndarray], shift: int
) -> list[dict[str, float]]:
    """The measures of each clip by name, those that compare it with the set too.

    Each clip is held against what the tokens of the clip `shift` places on decode to; 0 leaves that out.
    """
    mean_frame = constant_frame(clip.frames for clip in clips)
    rows = []
    for index, clip in enumerate(clips):
        row = _measures_of_clip(clip.frames, reconstructions[index])
        row["psnr_constant_frame"] = psnr(clip.frames, mean_frame)
        if shift:
            row["psnr_swapped"] = psnr(reconstructions[(index + shift) % len(clips)], clip.frames)
        if clip.scene is not None:
            swapped = reconstructions[(index + shift) % len(clips)] if shift else None
            row.update(_verdicts(clip.frames, clip.scene, reconstructions[index], swapped))
        for name, (measure, baseline) in GAINS.items():
            if measure in row and baseline in row:
                row[name] = row[measure] - row[baseline]
        rows.append(row)
    return rows


def _verdicts(
    original: np.ndarray, scene: Scene, decoded: np.ndarray, swapped: np.ndarray | None
) -> dict[str, float]:
    """What the verifier says of a clip of Sprite World."""
    verdict = verify(decoded, scene)
    row = {f"verifier_{part}": float(getattr(verdict, part)) for part in ("all", "shape", "colour", "motion")}
    row["verifier_all_true"] = float(verify(original, scene).all)
    if swapped is not None:
        row["verifier_all_swapped"] = float(verify(swapped, scene).all)
    return row


def _measures_of_clip(original: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """The measures of clip and reconstruction alone; a clip without motion has no moving ones."""
    repeated, unseen = nearest_seen(original), list(UNSEEN_FRAMES)
    row = {
        "psnr": psnr(decoded, original),
        "ssim": ssim(decoded, original),
        "psnr_constant_colour": psnr(original, constant_colour(original)),
        "psnr_still": psnr(original, still(original)),
        "psnr_nearest_seen": psnr(repeated, original),
        "psnr_unseen": psnr(decoded[unseen], original[unseen]),
    }
    moving = moving_pixels(original)
    if moving.any():
        row["psnr_moving"] = psnr(decoded, original, moving)
        row["psnr_moving_nearest_seen"] = psnr(repeated, original, moving)
    return row


def _examples(
    clips: Sequence[NamedClip], reconstructions: Sequence[np.ndarray], psnrs: Sequence[float]
) -> tuple[Example, ...]:
    order = [int(index) for index in np.argsort(psnrs, kind="stable")]
    places = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    # Of one or two clips there is no median, or no worst, apart from the best.
    named: dict[int, str] = {}
    for place, index in places.items():
        named.setdefault(index, place)
    return tuple(
        Example(place, clips[index].name, psnrs[index], clips[index].frames, reconstructions[index])
        for index, place in named.items()
    )


def _clock(device: torch.device) -> float:
    """Seconds, once all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
