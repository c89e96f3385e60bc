"""Films to stories that a language model can learn from: shots in a row, of each a clip and a sentence.

What is written are lines of an annotations file, as `divot.data.annotations` reads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from divot.config.errors import DataError, RecipeError, VideoReadError
from divot.config.files import refuse_overwriting, refuse_unwritable, write_json_lines
from divot.video import Clip, SquareFit, VideoReader
from divot.video.shots import find_shots

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot, Progress

Teller = Callable[[VideoReader, Clip], str | None]
"""Gives the sentence of a clip; None if there is none for it."""
_Told = tuple[float, str]
"""Start and sentence of a clip."""
INSTRUCTION = "Tell a story that begins like this: {sentence}"
_NO_STORY_REMEDY = "Give films of more shots, captions that name these files, or fewer clips a story"
_CAPTION_REMEDY = 'Write {"video": "a.mp4", "start_s": 0.0, "end_s": 4.5, "caption": "..."}'


@dataclass
class StoryDataSummary:
    """What became of the videos.

    Attributes:
        stories: name of each video that gave stories -> how many.
        failed: name of each that was left out -> why.
        num_shots: shots found.
        num_short: of these, shorter than a clip.
        num_untold: of the others, those without a sentence.
        num_unused: of the rest, those in a row that were too few for a story.
    """

    stories: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    num_shots: int = 0
    num_short: int = 0
    num_untold: int = 0
    num_unused: int = 0

    @property
    def num_stories(self) -> int:
        """Lines that were written."""
        return sum(self.stories.values())


def model_teller(divot: Divot) -> Teller:
    """A model's caption of each clip."""
    fit = SquareFit(divot.tokenizer_config.frame_size)

    def tell(reader: VideoReader, place: Clip) -> str | None:
        return divot.caption(reader.frames_at_times(place.times_s, fit)).strip() or None

    return tell


def caption_teller(file: str | Path) -> Teller:
    """The captions of a jsonl file with lines of `video`, `start_s`, `end_s` and `caption`.

    A clip gets the caption that overlaps it longest. Paths are beside the file.

    Raises:
        DataError: if the file cannot be read, or a line is of another form; names the line.
    """
    file = Path(file)
    try:
        # Not `splitlines`: JSON may hold other ends of lines inside its words.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, f"cannot be read ({error})", "Give a jsonl file") from error
    spans: dict[Path, list[tuple[float, float, str]]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, from_s, until_s, caption = _caption_line(line, f"{file}:{number}")
            spans.setdefault((file.parent / name).resolve(), []).append((from_s, until_s, caption))

    def tell(reader: VideoReader, place: Clip) -> str | None:
        end_s = place.start_s + place.duration_s
        told = [
            (min(end_s, until_s) - max(place.start_s, from_s), caption)
            for from_s, until_s, caption in spans.get(reader.path.resolve(), [])
        ]
        overlap_s, caption = max(told, key=lambda one: one[0], default=(0.0, ""))
        return caption if overlap_s > 0 else None

    return tell


def _caption_line(line: str, where: str) -> tuple[str, float, float, str]:
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(where, "is not JSON", _CAPTION_REMEDY) from error
    if not isinstance(values, dict):
        raise DataError(where, "is no JSON object", _CAPTION_REMEDY)
    name, start_s, end_s, caption = (values.get(key) for key in ("video", "start_s", "end_s", "caption"))
    if not isinstance(name, str):
        raise DataError(where, "names no video", _CAPTION_REMEDY)
    if not isinstance(caption, str) or not caption.strip():
        raise DataError(where, "has no caption", _CAPTION_REMEDY)
    if (
        not isinstance(start_s, (int, float))
        or not isinstance(end_s, (int, float))
        or not 0 <= start_s < end_s < math.inf
    ):
        raise DataError(
            where, f"runs from {start_s} to {end_s}", "Give start_s and a later end_s, in seconds"
        )
    return name, float(start_s), float(end_s), caption.strip()


def write_stories(
    videos: Sequence[str | Path],
    out: str | Path,
    tell: Teller,
    num_clips: int = 3,
    instruction: str | None = None,
    on_progress: Progress | None = None,
    on_failure: Callable[[str, str], None] | None = None,
) -> StoryDataSummary:
    """Write a line for each story: `num_clips` shots of one video in a row, of each the two seconds in its middle.

    Shots shorter than that are passed over; one without a sentence ends a row. A video that cannot be read to its end,
    or has too few shots for a story, is left out. Paths are written relative to the folder of `out` if they are in it,
    else absolute.

    Args:
        videos: files.
        out: the jsonl file; written whole or not at all.
        tell: gives the sentences.
        num_clips: clips of a story, 2 or more.
        instruction: what each story is asked for with; None makes it of the story's first sentence.
        on_progress: called with the share of the work that is done and the number of clips that stand in stories.
        on_failure: called with the name of a video that is left out, and why.

    Raises:
        DataError: if no video gives a story, or `out` is one of them.
        RecipeError: if the instruction has no words.
        ValueError: if `num_clips` is below 2.
    """
    if num_clips < 2:
        raise ValueError(f"num_clips: got {num_clips}, wanted 2 or more")
    if instruction is not None and not instruction.strip():
        raise RecipeError("instruction", "has no words", "Give some, or leave it out")
    for video in videos:
        refuse_overwriting(video, [out])
    refuse_unwritable([out])
    summary = StoryDataSummary()
    lines: list[dict[str, Any]] = []
    for index, video in enumerate(map(Path, videos)):
        show = _shares(on_progress, index, len(videos), len(lines) * num_clips)
        try:
            stories = _stories(video, tell, num_clips, summary, show)
        except (VideoReadError, DataError) as error:
            summary.failed[video.as_posix()] = error.cause
            if on_failure is not None:
                on_failure(video.as_posix(), error.cause)
            continue
        summary.stories[video.as_posix()] = len(stories)
        name = _name_beside(video, Path(out))
        lines += [_story_line(name, told, instruction) for told in stories]
    if not lines:
        causes = "; ".join(f"{name}: {cause}" for name, cause in summary.failed.items())
        raise DataError(out, f"no video gives a story ({causes})", _NO_STORY_REMEDY)
    write_json_lines(out, lines)
    return summary


def _shares(
    on_progress: Progress | None, index: int, total: int, num_found: int
) -> Callable[[float], None] | None:
    if on_progress is None:
        return None
    return lambda share: on_progress((index + share) / total, num_found)


def _stories(
    video: Path, tell: Teller, num_clips: int, summary: StoryDataSummary, show: Callable[[float], None] | None
) -> list[list[_Told]]:
    """The stories of one video.

    Raises:
        DataError: if there is none.
    """
    with VideoReader(video) as reader:
        shots = find_shots(reader, show)
        places = [place for shot in shots if (place := shot.middle_clip()) is not None]
        sentences = [tell(reader, place) for place in places]
    stories: list[list[_Told]] = []
    row: list[_Told] = []
    num_short, num_untold, num_unused = len(shots) - len(places), 0, 0
    for place, sentence in zip(places, sentences, strict=True):
        if sentence is None:
            num_untold += 1
            num_unused += len(row)
            row = []
            continue
        row.append((place.start_s, sentence))
        if len(row) == num_clips:
            stories.append(row)
            row = []
    summary.num_shots += len(shots)
    summary.num_short += num_short
    summary.num_untold += num_untold
    summary.num_unused += num_unused + len(row)
    if not stories:
        cause = (
            f"of its {len(shots)} shots {num_short} are shorter than a clip and {num_untold} have no sentence: "
            f"no {num_clips} in a row are left"
        )
        raise DataError(video, cause, _NO_STORY_REMEDY)
    return stories


def _story_line(name: str, told: Sequence[_Told], instruction: str | None) -> dict[str, Any]:
    # Microseconds: rounded more, a clip might begin with the last frame of the shot before.
    clips = [{"video": name, "start_s": round(start_s, 6), "text": text} for start_s, text in told]
    asked = INSTRUCTION.format(sentence=told[0][1]) if instruction is None else instruction
    return {"story": asked, "clips": clips}


def _name_beside(video: Path, out: Path) -> str:
    video, folder = video.resolve(), out.parent.resolve()
    return (video.relative_to(folder) if video.is_relative_to(folder) else video).as_posix()
