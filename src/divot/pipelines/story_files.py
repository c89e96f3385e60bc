"""A story as a folder, and back, so that it can go on.

story.json            what was asked for, the sentences, how it was made
tokens.safetensors    `tokens` [K, N, D] of its clips; `first_clip` [N, D] of the one that it was given
clip_01.mp4 (.webp)   each clip
story.mp4             all of them, each over its sentence
index.html            the same to read
sheet.png             the same on one sheet
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from divot.config.errors import DataError, RecipeError
from divot.config.files import refuse_overwriting, write_json, written_whole
from divot.config.versions import versions
from divot.data.tokens import read_token_file
from divot.pipelines.load import resolve_sampler
from divot.pipelines.page import write_story_page
from divot.pipelines.reconstruct import shown_scale
from divot.pipelines.sidecar import (
    FORMAT,
    describe_detokenizer,
    describe_language_model,
    describe_model,
)
from divot.pipelines.story import (
    STORY_TOKENS,
    STORY_WORDS,
    TASK,
    OnText,
    StoryClip,
    first_clip_tokens,
    tell_story,
)
from divot.video import CLIP_RATE_FPS, contact_sheet, write_video
from divot.video.sheets import captioned
from divot.video.writer import enlarged

if TYPE_CHECKING:
    from divot.lm.generate import TextSampling, TokenSampling
    from divot.pipelines.divot import Divot
    from divot.video import Fit

STORY_FILE, TOKENS_FILE, FILM_FILE = "story.json", "tokens.safetensors", "story.mp4"
FIRST_CLIP = "first_clip"
_SHEET_STEP = 3


@dataclass(frozen=True)
class EarlierStory:
    """What is needed to go on with a story.

    Attributes:
        instruction: what was asked for.
        parts: sentences with the tokens [N, D] of their clips.
        seeds: of the noise of its clips.
        first_clip: tokens [N, D] of the clip that it began with, if it was given one.
    """

    instruction: str
    parts: list[tuple[str, Tensor]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    first_clip: Tensor | None = None


def make_story(
    divot: Divot,
    out: str | Path,
    instruction: str | None = None,
    count: int = 4,
    seed: int = 0,
    words: TextSampling = STORY_WORDS,
    sampling: TokenSampling = STORY_TOKENS,
    go_on: str | Path | None = None,
    first_clip: str | Path | None = None,
    fit: Fit = "crop",
    steps: int | None = None,
    guidance: float | None = None,
    on_sentence: OnText | None = None,
) -> dict[str, Any]:
    """Tell a story, or go on with one, and write its folder; arguments that are not here are those of `tell_story`.

    Args:
        divot: the model.
        out: the folder.
        instruction: what the story is about.
        go_on: folder of an earlier story, in place of an instruction; the new one holds its clips too.
        first_clip: a video whose first two seconds the story begins with.

    Returns:
        The record, which is in story.json too.

    Raises:
        DataError: if there is no earlier story, or the first clip would be overwritten.
        RecipeError: if there is neither or both of instruction and earlier story.
    """
    if (instruction is None) == (go_on is None):
        raise RecipeError(
            "story", "needs words or an earlier story, one of them", "Give words, or --continue FOLDER"
        )
    if go_on is not None and first_clip is not None:
        raise RecipeError(
            "first clip", "cannot begin a story that goes on", "Leave out --first-clip or --continue"
        )
    if go_on is not None:
        before = read_story(go_on, divot)
    elif first_clip is not None:
        clips_before = (Path(out) / file for file in _clip_files(Path(out)))
        refuse_overwriting(first_clip, [*clips_before, Path(out) / FILM_FILE])
        before = EarlierStory(instruction or "", first_clip=first_clip_tokens(divot, str(first_clip), fit))
    else:
        before = EarlierStory(instruction or "")
    new = list(
        tell_story(
            divot,
            before.instruction,
            count,
            seed,
            words,
            sampling,
            before.parts,
            before.first_clip,
            fit,
            steps,
            guidance,
            on_sentence,
        )
    )
    told = [
        StoryClip(
            sentence, tokens, divot.decode(tokens, seed=one, steps=steps, guidance=guidance, task=TASK), one
        )
        for (sentence, tokens), one in zip(before.parts, before.seeds, strict=True)
    ] + new
    settings = resolve_sampler(divot.detokenizer(TASK).config, steps, guidance)
    record = {
        "seed": seed,
        "goes_on": None if go_on is None else str(go_on),
        "first_clip": None if first_clip is None else str(first_clip),
        "fit": fit,
        "language_model": describe_language_model(
            divot, TASK, words=dataclasses.asdict(words), sampling=dataclasses.asdict(sampling)
        ),
        "detokenizer": describe_detokenizer(divot, divot.folder.detokenizer_name(TASK), TASK, settings),
    }
    return write_story(told, out, divot, before.instruction, before.first_clip, record)


def read_story(folder: str | Path, divot: Divot) -> EarlierStory:
    """A story that was written to a folder.

    Raises:
        DataError: if the folder holds none, or one of another tokenizer.
    """
    folder = Path(folder)
    remedy = "Give a folder that `divot story` wrote"
    try:
        record = json.loads((folder / STORY_FILE).read_text(encoding="utf-8"))
        sentences = [str(one["sentence"]) for one in record["clips"]]
        seeds = [int(one["seed"]) for one in record["clips"]]
        instruction, tokenizer = str(record["instruction"]), record["model"]["tokenizer_hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(folder, f"holds no story ({error})", remedy) from error
    if tokenizer != divot.folder.tokenizer_hash:
        raise DataError(folder, "was told with another tokenizer", "Give its model with --model")
    tokens = read_token_file(folder / TOKENS_FILE).tokens
    if len(tokens) != len(sentences):
        raise DataError(folder, f"has {len(sentences)} sentences and {len(tokens)} clips", remedy)
    first_clip = load_file(folder / TOKENS_FILE).get(FIRST_CLIP)
    return EarlierStory(instruction, list(zip(sentences, tokens, strict=True)), seeds, first_clip)


def write_story(
    clips: Sequence[StoryClip],
    out: str | Path,
    divot: Divot,
    instruction: str,
    first_clip: Tensor | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Write a story's folder; what goes on from it, last.

    Args:
        clips: the whole story, one clip or more.
        out: the folder.
        divot: the model.
        instruction: what was asked for.
        first_clip: tokens [N, D] of the clip that it was given.
        settings: how it was told, for the record.

    Returns:
        The record, which is in story.json too.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    files_before = _clip_files(out)
    scale = shown_scale(clips[0].frames)
    files, told = [], []
    for number, clip in enumerate(clips, start=1):
        shown = enlarged(clip.frames, scale)
        path = out / f"clip_{number:02d}.mp4"
        write_video(path, shown, CLIP_RATE_FPS)
        write_video(path.with_suffix(".webp"), shown, CLIP_RATE_FPS)
        files.append(path)
        told.append({"sentence": clip.sentence, "file": path.name, "seed": clip.seed})
    sentences = [clip.sentence for clip in clips]
    write_video(
        out / FILM_FILE, captioned([clip.frames for clip in clips], sentences, scale=scale), CLIP_RATE_FPS
    )
    rows = [clip.frames[::_SHEET_STEP] for clip in clips]
    contact_sheet(rows, out / "sheet.png", labels=sentences, scale=max(1, scale // 2))
    note = f"{len(clips)} clips, seed {settings['seed']}, model {divot.source}"
    moving = [(sentence, path.with_suffix(".webp")) for sentence, path in zip(sentences, files, strict=True)]
    write_story_page(out / "index.html", instruction, moving, note)
    record = {
        "format": FORMAT,
        "command": TASK,
        "instruction": instruction,
        "clips": told,
        **settings,
        "model": describe_model(divot),
        "versions": versions(),
    }
    tokens = {"tokens": torch.stack([clip.tokens for clip in clips]).contiguous()}
    if first_clip is not None:
        tokens[FIRST_CLIP] = first_clip.contiguous()
    label = {"divot": json.dumps({"tokenizer_hash": divot.folder.tokenizer_hash})}
    with written_whole(out / TOKENS_FILE) as beside:
        save_file(tokens, beside, metadata=label)
    write_json(out / STORY_FILE, record)
    # Of a longer story that stood here.
    for surplus in files_before - {file.name for path in files for file in (path, path.with_suffix(".webp"))}:
        (out / surplus).unlink(missing_ok=True)
    return record


def _clip_files(folder: Path) -> set[str]:
    """The files of the clips of a story that stands in a folder, if one does."""
    try:
        told = json.loads((folder / STORY_FILE).read_text(encoding="utf-8"))["clips"]
        names = {Path(one["file"]).name for one in told}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return names | {Path(name).with_suffix(".webp").name for name in names}
