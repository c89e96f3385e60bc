"""Words to clips and films: the language model writes tokens, the de-tokenizer makes frames of them.

Letters: B clips, K clips of a film, N tokens a clip, D width of a token, S side of a frame in pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import Unpack

from divot.config.errors import RecipeError
from divot.config.files import refuse_unwritable, written_whole
from divot.lm.generate import PLAN_WORDS, Dialogue, Judge
from divot.lm.model import DivotLM
from divot.lm.sampling import TokenSampling, settled
from divot.pipelines.film import Joints, Seam, decode_film
from divot.pipelines.load import SamplerChanges, resolve_sampler
from divot.pipelines.reconstruct import shown_scale
from divot.pipelines.sidecar import describe_detokenizer, describe_language_model, write_sidecar
from divot.text import Segment, Words, story_segments
from divot.video import CLIP_RATE_FPS, contact_sheet, write_video
from divot.video.writer import enlarged

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot, Progress

__all__ = [
    "TASK",
    "GeneratedClip",
    "TokenSampling",
    "Written",
    "each_generated",
    "write_batch",
    "write_film",
    "write_generated",
]

TASK = "generate"
DEFAULT_SAMPLING = TokenSampling()
_SHEET_FRAMES = 8
_MAX_NAME, _MARK = 60, 6


@dataclass(frozen=True)
class GeneratedClip:
    """A clip, a film of several clips, or a picture, made from words.

    Attributes:
        frames: uint8 [16, S, S, 3] at 8 a second; of a picture [1, S, S, 3], of a film [T, S, S, 3].
        tokens: [N, D], what the language model wrote; of a film [K, N, D].
        prompt: the words.
        seed: of this clip alone; clip k of a film starts from the noise of seed + k.
        seconds: how long it took.
        joints: how the clips of a film were joined; None for a single clip.
        plans: what the model planned for each clip; none where it plans nothing.
    """

    frames: np.ndarray
    tokens: Tensor
    prompt: str
    seed: int
    seconds: float
    joints: Joints | None = None
    plans: tuple[str, ...] = ()


class Written(NamedTuple):
    """Clips as the language model wrote them."""

    tokens: Tensor
    """[K, N, D]."""
    plans: tuple[str, ...]
    """One a clip; none where the model plans nothing."""


def write_batch(
    lm: DivotLM,
    texts: Many[str],
    seeds: Many[int],
    sampling: TokenSampling = DEFAULT_SAMPLING,
    is_image: bool = False,
    judge: Judge | None = None,
) -> Written:
    """A clip for each of B texts, side by side: each as it would be written alone, but for rounding.

    Args:
        lm: the language model.
        texts: captions, put in the first wording of a request.
        seeds: of the draws.
        sampling: how tokens are drawn.
        is_image: ask for pictures.
        judge: what candidates show, see `divot.pipelines.judge`.
    """
    asked = [lm.segments([lm.clip_turn(text, is_image=is_image)]) for text in texts]
    chances = [torch.Generator().manual_seed(seed) for seed in seeds]
    return _written(lm, asked, texts, chances, sampling, is_image, judge=judge)


def write_film(
    lm: DivotLM,
    text: str,
    clips: int,
    seed: int,
    sampling: TokenSampling = DEFAULT_SAMPLING,
    judge: Judge | None = None,
) -> Written:
    """Clips that follow each other, told as a story is whose every sentence is the text: each clip is written after
    reading the one before it, and its plan if there is one, so that it begins where that ended.

    The first is that of `write_batch`; one chance runs through all of them.
    """
    chance, asked = torch.Generator().manual_seed(seed), lm.segments([lm.clip_turn(text)])
    written = [_written(lm, [asked], [text], [chance], sampling, judge=judge)]
    for _ in range(1, clips):
        last = written[-1]
        told = [*story_segments("", "".join(last.plans)), Words(text, is_learned=True)]
        written.append(
            _written(lm, [asked + told], [text], [chance], sampling, before=list(last.tokens), judge=judge)
        )
    plans = tuple(plan for one in written for plan in one.plans)
    return Written(torch.cat([one.tokens for one in written]), plans)


def _written(
    lm: DivotLM,
    asked: Many[list[Segment]],
    words: Many[str],
    chances: list[torch.Generator],
    sampling: TokenSampling,
    is_image: bool = False,
    before: Many[Tensor] = (),
    judge: Judge | None = None,
) -> Written:
    builder = lm.builder()
    prompts = [builder.build(segments) for segments in asked]
    longest = max(map(len, prompts))
    of_clip = lm.config.num_tokens + len(builder.opening()) + len(builder.closing())
    of_clip += PLAN_WORDS.max_new_tokens if lm.config.plans else 0
    room = None if lm.context is None else lm.context - of_clip
    if room is not None and longest > room:
        cause = (
            f"comes to {longest} positions; beside a clip the language model's context has room for {room}"
        )
        raise RecipeError("prompt", cause, "Say it in fewer words")
    # A clip that was written is read back.
    dialogue = Dialogue(lm, prompts, before, chances, before)
    tokens = dialogue.write_clip(sampling, is_image, words, judge).cpu()
    return Written(tokens, tuple(dialogue.plans) if lm.config.plans else ())


def each_generated(
    divot: Divot,
    text: str,
    count: int = 1,
    seed: int = 0,
    sampling: TokenSampling = DEFAULT_SAMPLING,
    is_image: bool = False,
    clips: int = 1,
    seam: Seam = "cut",
    on_progress: Progress | None = None,
    **changes: Unpack[SamplerChanges],
) -> Iterator[GeneratedClip]:
    """Clips, films or pictures that show what the text says, one after the other.

    Args:
        divot: the model.
        text: what they shall show.
        count: how many; clip k has seed + k, so that each can be made again alone.
        seed: of the first.
        sampling: how tokens are drawn.
        is_image: make pictures.
        clips: clips of two seconds in each film; 1 makes single clips.
        seam: how the clips of a film are joined, see `divot.pipelines.film.Seam`.
        on_progress: called after each clip, film or picture.
        **changes: to the sampler's settings, see `SamplerChanges`.

    Yields:
        Each as soon as it is made.

    Raises:
        CheckpointError: if the model has no language model or no de-tokenizer.
        RecipeError: if the text has no words, or a setting is out of range.
    """
    if not text.strip():
        raise RecipeError("prompt", "has no words", "Say what the clip shall show")
    if min(count, clips) < 1:
        raise RecipeError("count or clips", f"is {min(count, clips)}", "Give 1 or more")
    if is_image and clips > 1:
        raise RecipeError("clips", f"is {clips}, but a picture has no clips", "Leave out --clips or --image")
    # Before the language model works for long.
    resolve_sampler(divot.detokenizer(TASK).config, **changes)
    lm, judge = divot.language_model(TASK), divot.judge(TASK)
    for index in range(count):
        begin, own, joints = time.perf_counter(), seed + index, None
        if clips > 1:
            tokens, plans = write_film(lm, text, clips, own, sampling, judge)
            frames, joints = decode_film(divot, tokens, own, seam, **changes)
        else:
            written = write_batch(lm, [text], [own], sampling, is_image, judge)
            tokens, plans = written.tokens[0], written.plans
            frames = divot.decode(tokens, seed=own, task=TASK, **changes)
        # All frames of a still clip are the same picture; the middle one is the safest.
        frames = frames[len(frames) // 2][None] if is_image else frames
        yield GeneratedClip(frames, tokens, text, own, time.perf_counter() - begin, joints, plans)
        if on_progress is not None:
            on_progress((index + 1) / count, index + 1)


def write_generated(
    made: Iterable[GeneratedClip],
    out: str | Path,
    divot: Divot,
    sampling: TokenSampling,
    **changes: Unpack[SamplerChanges],
) -> list[dict[str, Any]]:
    """Write each clip (film, picture) with its record, and one sheet of all.

    Args:
        made: of one prompt; each is written before the next is asked for.
        out: folder; gets `<words>_seed<N>.mp4` (.png for pictures) and `<words>_sheet.png`.
        divot: the model.
        sampling: how their tokens were drawn.
        **changes: to the sampler's settings, as they were given.

    Returns:
        The records.

    Raises:
        DataError: if nothing can be written to the folder; before anything is made.
    """
    out = Path(out)
    # Whatever the files will be called.
    refuse_unwritable([out / "clip.mp4"])
    detokenizer = divot.folder.detokenizer_name(TASK)
    settings = resolve_sampler(divot.detokenizer(TASK).config, **changes)
    drawn = dataclasses.asdict(settled(divot.language_model(TASK), sampling))
    records, rows, labels = [], [], []
    for clip in made:
        is_image = len(clip.frames) == 1
        name = f"{_file_name(clip.prompt)}_seed{clip.seed}"
        path = out / f"{name}{'.png' if is_image else '.mp4'}"
        shown = enlarged(clip.frames, shown_scale(clip.frames))
        if is_image:
            with written_whole(path) as beside:
                Image.fromarray(shown[0]).save(beside)
        else:
            write_video(path, shown, CLIP_RATE_FPS)
        records.append(
            write_sidecar(
                path,
                "generate",
                divot,
                prompt=clip.prompt,
                seed=clip.seed,
                **({"plans": list(clip.plans)} if clip.plans else {}),
                tokens=list(clip.tokens.shape),
                language_model=describe_language_model(divot, TASK, sampling=drawn),
                detokenizer=describe_detokenizer(divot, detokenizer, TASK, settings),
                **({} if clip.joints is None else {"film": clip.joints.record(len(clip.frames), clip.seed)}),
                seconds=round(clip.seconds, 2),
            )
        )
        # A copy, so that the frames themselves are not kept.
        rows.append(clip.frames[:: max(1, len(clip.frames) // _SHEET_FRAMES)].copy())
        labels.append(f"{clip.prompt} (seed {clip.seed})")
    sheet = out / f"{_file_name(clip.prompt)}_sheet.png"
    contact_sheet(rows, sheet, labels=labels, scale=max(1, shown_scale(rows[0]) // 2))
    return records


def _file_name(words: str) -> str:
    """The words as the name of a file; with a mark of their own where words that differ in more than capitals and a
    last dot would have the same name."""
    name, plain = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_"), words.removesuffix(".").lower()
    if len(name) <= _MAX_NAME and re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", plain):
        return name
    mark = hashlib.sha256(words.encode(errors="backslashreplace")).hexdigest()[:_MARK]
    return f"{name[:_MAX_NAME] or 'clip'}_{mark}"
