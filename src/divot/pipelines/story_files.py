"""A story as a folder, and back, so that it can go on.

story.json            what was asked for, the sentences, how it was made
tokens.safetensors    `tokens` [K, N, D] of its clips; `first_clip` [N, D] of the one that it was given; the sentences
                      as a label, so that the clips of another story are told from its own
clip_01.mp4 (.webp)   each clip; clip_00 is the one that it was given, made of its tokens
story.mp4             all of them, each over its sentence
index.html            the same to read
sheet.png             the same on one sheet
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import Unpack

from divot.config.errors import DataError, RecipeError
from divot.config.files import refuse_overwriting, refuse_unwritable, write_json, written_whole
from divot.config.versions import versions
from divot.data.tokens import read_token_file
from divot.lm.sampling import settled
from divot.pipelines.load import SamplerChanges, resolve_sampler
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
    ToldClip,
    first_clip_tokens,
    tell_story,
)
from divot.video import CLIP_RATE_FPS, contact_sheet, write_video
from divot.video.sheets import captioned
from divot.video.writer import enlarged

if TYPE_CHECKING:
    from divot.lm.sampling import TextSampling, TokenSampling
    from divot.pipelines.divot import Divot
    from divot.video import Fit

STORY_FILE, TOKENS_FILE, FILM_FILE = "story.json", "tokens.safetensors", "story.mp4"
SHEET_FILE, PAGE_FILE = "sheet.png", "index.html"
FIRST_CLIP, SENTENCES = "first_clip", "sentences"
_SHEET_STEP = 3
_GIVEN = "The clip that the story was given."


@dataclass(frozen=True)
class EarlierStory:
    """What is needed to go on with a story.

    Attributes:
        instruction: what was asked for.
        parts: its clips.
        seeds: of the noise of its clips.
        first_clip: tokens [N, D] of the clip that it began with, if it was given one.
        first_clip_source: the file that it was taken from.
    """

    instruction: str
    parts: list[ToldClip] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    first_clip: Tensor | None = None
    first_clip_source: str | None = None


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
    on_sentence: OnText | None = None,
    on_clip: Callable[[Path], None] | None = None,
    **changes: Unpack[SamplerChanges],
) -> dict[str, Any]:
    """Tell a story, or go on with one, and write its folder; arguments that are not here are those of `tell_story`.

    Each clip is written before the next one is told. A story that is stopped midway has no film and no page, but can go
    on from the clips that it has.

    Args:
        divot: the model.
        out: the folder.
        instruction: what the story is about.
        go_on: folder of an earlier story, in place of an instruction; the new one holds its clips too.
        first_clip: a video whose first two seconds the story begins with.
        on_clip: called with each new clip's file when it is written.

    Returns:
        The record, which is in story.json too.

    Raises:
        DataError: if there is no earlier story, or the first clip would be overwritten.
        RecipeError: if there is neither or both of instruction and earlier story, or the instruction has no words.
    """
    if (instruction is None) == (go_on is None):
        raise RecipeError(
            "story", "needs words or an earlier story, one of them", "Give words, or --continue FOLDER"
        )
    if instruction is not None and not instruction.strip():
        raise RecipeError("story", "has no words", "Say what it shall be about")
    if go_on is not None and first_clip is not None:
        raise RecipeError(
            "first clip", "cannot begin a story that goes on", "Leave out --first-clip or --continue"
        )
    to_write = _files_to_write(Path(out), count, first_clip is not None)
    refuse_unwritable(to_write)
    if go_on is not None:
        before = read_story(go_on, divot)
    elif first_clip is not None:
        refuse_overwriting(first_clip, _files_of_story(Path(out)) | to_write)
        shown = first_clip_tokens(divot, str(first_clip), fit)
        before = EarlierStory(instruction or "", first_clip=shown, first_clip_source=str(first_clip))
    else:
        before = EarlierStory(instruction or "")
    settings = resolve_sampler(divot.detokenizer(TASK).config, **changes)
    described = describe_language_model(
        divot,
        TASK,
        words=dataclasses.asdict(words),
        sampling=dataclasses.asdict(settled(divot.language_model(TASK), sampling)),
    )
    record = {
        "seed": seed,
        "goes_on": None if go_on is None else str(go_on),
        "first_clip": before.first_clip_source,
        "fit": fit,
        "language_model": described,
        "detokenizer": describe_detokenizer(divot, divot.folder.detokenizer_name(TASK), TASK, settings),
    }
    new = tell_story(
        divot,
        before.instruction,
        count,
        seed,
        words,
        sampling,
        before.parts,
        before.first_clip,
        fit,
        on_sentence,
        **changes,
    )
    # What is wrong with the request shows here, before a file is touched.
    first = next(new)
    earlier = (
        StoryClip(
            part.sentence,
            part.tokens,
            divot.decode(part.tokens, seed=one, task=TASK, **changes),
            one,
            part.plan,
        )
        for part, one in zip(before.parts, before.seeds, strict=True)
    )
    told = chain(earlier, [first], new)
    given_frames = None
    if before.first_clip is not None:
        # A story that goes on shows it as it did.
        given_frames = divot.decode(
            before.first_clip, seed=next(iter(before.seeds), seed), task=TASK, **changes
        )
    return write_story(told, out, divot, before, record, on_clip, given_frames)


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
        plans = [str(one.get("plan", "")) for one in record["clips"]]
        instruction, tokenizer = str(record["instruction"]), record["model"]["tokenizer_hash"]
        source = record["first_clip"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(folder, f"holds no story ({error})", remedy) from error
    if tokenizer != divot.folder.tokenizer_hash:
        raise DataError(folder, "was told with another tokenizer", "Give its model with --model")
    # A story that was stopped may have one more clip than its record tells of.
    tokens = read_token_file(folder / TOKENS_FILE).tokens[: len(sentences)]
    if len(tokens) != len(sentences):
        raise DataError(folder, f"has {len(sentences)} sentences and {len(tokens)} clips", remedy)
    with safe_open(folder / TOKENS_FILE, "pt") as file:
        told = json.loads((file.metadata() or {}).get(SENTENCES, "null"))
        names = set(file.keys())
        first_clip = file.get_tensor(FIRST_CLIP) if FIRST_CLIP in names else None
    if told is not None and told[: len(sentences)] != sentences:
        # A new story was stopped between the two files.
        raise DataError(folder, "holds the words of one story and the clips of another", remedy)
    parts = [ToldClip(*part) for part in zip(sentences, tokens, plans, strict=True)]
    return EarlierStory(instruction, parts, seeds, first_clip, source)


def write_story(
    clips: Iterable[StoryClip],
    out: str | Path,
    divot: Divot,
    before: EarlierStory,
    settings: dict[str, Any],
    on_clip: Callable[[Path], None] | None = None,
    given_frames: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write a story's folder, clip by clip, and at the end what shows the whole of it.

    Args:
        clips: the whole story, one clip or more, those that were told before first; each is written before the next is
            asked for.
        out: the folder.
        divot: the model.
        before: what the story was asked for with, and what of it was told before: until there is more, the record of
            a story that stands in the folder stays.
        settings: how it was told, for the record.
        on_clip: called with the file of each clip that was not told before.
        given_frames: uint8 [16, S, S, 3], the clip that the story was given to begin with, as it is shown.

    Returns:
        The record, which is in story.json too.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    stale = _files_of_story(out)
    told: list[StoryClip] = []
    files: list[Path] = []
    record: dict[str, Any] = {}
    given = []
    if given_frames is not None:
        given.append((_GIVEN, given_frames, _write_clip(out, 0, given_frames, stale)))
    for clip in clips:
        path = _write_clip(out, len(told) + 1, clip.frames, stale)
        told.append(clip)
        files.append(path)
        if len(told) <= len(before.parts):
            continue
        record = _write_record(told, files, out, divot, before, settings)
        while stale:
            stale.pop().unlink(missing_ok=True)
        if on_clip is not None:
            on_clip(path)
    parts = given + [(clip.sentence, clip.frames, path) for clip, path in zip(told, files, strict=True)]
    note = f"{len(told)} clips, seed {settings['seed']}, model {divot.source}"
    _write_views(parts, out, before.instruction, note)
    return record


def _write_clip(out: Path, number: int, frames: np.ndarray, stale: set[Path]) -> Path:
    """Write a clip's files, which are not stale then."""
    path, shown = _clip_file(out, number), enlarged(frames, shown_scale(frames))
    for file in (path, path.with_suffix(".webp")):
        write_video(file, shown, CLIP_RATE_FPS)
        stale.discard(file)
    return path


def _write_record(
    told: Sequence[StoryClip],
    files: Sequence[Path],
    out: Path,
    divot: Divot,
    before: EarlierStory,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Write what the story can go on from: its tokens, then story.json."""
    record = {
        "format": FORMAT,
        "command": TASK,
        "instruction": before.instruction,
        "clips": [
            {
                "sentence": clip.sentence,
                **({"plan": clip.plan} if clip.plan else {}),
                "file": path.name,
                "seed": clip.seed,
            }
            for clip, path in zip(told, files, strict=True)
        ],
        **settings,
        "model": describe_model(divot),
        "versions": versions(),
    }
    tokens = {"tokens": torch.stack([clip.tokens for clip in told]).contiguous()}
    if before.first_clip is not None:
        tokens[FIRST_CLIP] = before.first_clip.contiguous()
    label = {"divot": json.dumps({"tokenizer_hash": divot.folder.tokenizer_hash})}
    label[SENTENCES] = json.dumps([clip.sentence for clip in told])
    with written_whole(out / TOKENS_FILE) as beside:
        save_file(tokens, beside, metadata=label)
    write_json(out / STORY_FILE, record)
    return record


def _write_views(
    parts: Sequence[tuple[str, np.ndarray, Path]], out: Path, instruction: str, note: str
) -> None:
    """Write the film, the sheet and the page of the whole story, given its sentences, clips and their files."""
    sentences, clips, files = zip(*parts, strict=True)
    scale = shown_scale(clips[0])
    write_video(out / FILM_FILE, captioned(clips, sentences, scale=scale), CLIP_RATE_FPS)
    rows = [frames[::_SHEET_STEP] for frames in clips]
    contact_sheet(rows, out / SHEET_FILE, labels=sentences, scale=max(1, scale // 2))
    moving = [(sentence, path.with_suffix(".webp")) for sentence, path in zip(sentences, files, strict=True)]
    write_story_page(out / PAGE_FILE, instruction, moving, note)


def _clip_file(folder: Path, number: int) -> Path:
    return folder / f"clip_{number:02d}.mp4"


def _files_of_story(folder: Path) -> set[Path]:
    """The clips, the film, the sheet and the page of a story that stands in a folder, if one does."""
    try:
        record = json.loads((folder / STORY_FILE).read_text(encoding="utf-8"))
        return _files_to_write(folder, len(record["clips"]), record["first_clip"] is not None)
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _files_to_write(folder: Path, count: int, is_given_one: bool) -> set[Path]:
    """Those of a story of so many clips, and of one that it was given."""
    clips = {_clip_file(folder, number) for number in range(0 if is_given_one else 1, count + 1)}
    views = {folder / name for name in (FILM_FILE, SHEET_FILE, PAGE_FILE)}
    return clips | {clip.with_suffix(".webp") for clip in clips} | views
