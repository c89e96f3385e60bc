"""Data sets by name, as their publishers write them: `webvid:results_10M_train.csv` in the place of a file of our own.

The names are those of the paper's table 2, and of what they come from. docs/datasets.md has where each format is
described. Nothing is fetched: the files are there already.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from divot.config.errors import DataError
from divot.data import publishers
from divot.data.annotation_files import Found, file_lines, merged
from divot.data.annotations import Annotation
from divot.data.publishers import by_row, captioned_files
from divot.data.rows import MissingFieldError, json_rows, table_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A data set as it is published."""

    name: str
    title: str
    annotations: str
    """The file, or folder, that is given."""
    videos: str
    """Where a video or picture is, in the folder of the videos."""
    lines: Callable[[Path, Path], Iterable[Found]] | None
    """From the file and the folder of the videos; None if it cannot be read."""
    why_not: str = ""
    """Why not."""

    @property
    def is_supported(self) -> bool:
        """Whether it can be read."""
        return self.lines is not None


_TABS = partial(table_rows, delimiter="\t")
_BESIDE = "each file beside its NAME.txt"
_PICTURES = "folder that img2dataset wrote"

DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "webvid",
            "WebVid-10M",
            "results_10M_train.csv",
            "PAGE_DIR/VIDEOID.mp4",
            by_row(table_rows, publishers.webvid),
        ),
        Dataset(
            "panda70m",
            "Panda-70M",
            "csv file of a split",
            "YOUTUBE_ID.mp4, whole videos",
            by_row(table_rows, publishers.panda70m),
        ),
        Dataset("cc3m", "CC3M", _PICTURES, _BESIDE, captioned_files),
        Dataset("capsfusion", "CapsFusion-120M", _PICTURES, _BESIDE, captioned_files),
        Dataset("laion-coco", "LAION-COCO", _PICTURES, _BESIDE, captioned_files),
        Dataset(
            "journeydb",
            "JourneyDB",
            "folder of tar files, as for the official training",
            _BESIDE,
            captioned_files,
        ),
        Dataset(
            "captioned-files",
            "any files with captions",
            "folder of tar files or of files",
            _BESIDE,
            captioned_files,
        ),
        Dataset(
            "video-chatgpt",
            "Video-ChatGPT (100K instructions)",
            "json file of the instructions",
            "VIDEO_ID.mp4 (or mkv, webm, avi, mov)",
            by_row(json_rows, publishers.video_chatgpt),
        ),
        Dataset(
            "valley",
            "Valley-Instruct",
            "json file of the instructions",
            "SOURCE/VIDEO.mp4, webvid/ where no source is named",
            by_row(json_rows, publishers.valley),
        ),
        Dataset(
            "llava-video-178k",
            "LLaVA-Video-178K",
            "such as 0_30_s_academic_oe_v0_1_qa.json",
            "as the file names them",
            by_row(json_rows, publishers.llava),
        ),
        Dataset(
            "llava",
            "LLaVA, and others in its form",
            "json file",
            "as the file names them",
            by_row(json_rows, publishers.llava),
        ),
        Dataset(
            "videochat2",
            "VideoChat2-IT, each of its parts",
            "such as video/classification/k710/train.json",
            "as the file names them",
            by_row(json_rows, publishers.videochat2),
        ),
        Dataset(
            "kinetics",
            "Kinetics-400, -600, -700",
            "train.csv",
            "YOUTUBE_ID_000012_000022.mp4",
            by_row(table_rows, publishers.kinetics),
        ),
        Dataset(
            "ssv2",
            "Something-Something V2",
            "something-something-v2-train.json",
            "ID.webm",
            by_row(json_rows, publishers.ssv2),
        ),
        Dataset(
            "tgif",
            "TGIF",
            "tgif-v1.0.tsv",
            "NAME.gif, as in the address",
            by_row(partial(_TABS, columns=("url", "sentence")), publishers.tgif),
        ),
        Dataset(
            "tgif-qa",
            "TGIF-QA",
            "such as Train_frameqa_question.csv",
            "GIF_NAME.gif",
            by_row(_TABS, publishers.tgif_qa),
        ),
        Dataset(
            "nextqa",
            "NExT-QA and NExT-OE",
            "train.csv (map_vid_vidorID.json beside it)",
            "VIDEO.mp4, or as the map names it",
            by_row(publishers.nextqa_rows, publishers.nextqa),
        ),
        Dataset(
            "clevrer",
            "CLEVRER",
            "train.json",
            "video_00000-01000/video_00000.mp4, or without that folder",
            by_row(json_rows, publishers.clevrer),
        ),
        Dataset(
            "youcook2",
            "YouCook2",
            "youcookii_annotations_trainval.json",
            "SUBSET/RECIPE_TYPE/ID.mp4 (or mkv, webm, avi, mov)",
            by_row(partial(json_rows, inside="database"), publishers.youcook2),
        ),
        Dataset(
            "perceptiontest",
            "Perception Test",
            "mc_question_train.json",
            "VIDEO_ID.mp4",
            by_row(json_rows, publishers.perception_test),
        ),
        Dataset(
            "egoqa",
            "EgoQA, as in VideoChat2-IT",
            "video/vqa/ego_qa/train.json",
            "as the file names them",
            by_row(json_rows, publishers.videochat2),
        ),
        Dataset(
            "activitynetqa",
            "ActivityNet-QA",
            "train_q.json (train_a.json beside it)",
            "v_VIDEO_NAME.mp4 or VIDEO_NAME.mp4 (or mkv, webm, avi, mov)",
            by_row(publishers.activitynet_qa_rows, publishers.activitynet_qa),
        ),
        Dataset(
            "divot",
            "jsonl of the official Divot training (also without a name)",
            "annos.jsonl",
            "as the lines name them",
            file_lines,
        ),
        Dataset(
            "curious-george",
            "the paper's stories of Curious George",
            "",
            "",
            None,
            "it was made for the paper and is not published; `divot data story` makes stories out of films",
        ),
    )
}


def split_name(told: str | Path) -> tuple[Dataset | None, Path]:
    """The data set and the path of `NAME:PATH`; of a path alone, None and the path.

    Raises:
        DataError: if there is no such data set, or it cannot be read.
    """
    name, colon, path = str(told).partition(":")
    if not colon or Path(told).exists() or not re.fullmatch(r"[\w-]{2,}", name):
        return None, Path(told)
    dataset = DATASETS.get(name)
    if dataset is None:
        known = ", ".join(one.name for one in DATASETS.values() if one.is_supported)
        raise DataError(str(told), f"names no known data set: {name!r}", f"Known: {known}")
    if not dataset.is_supported:
        raise DataError(str(told), f"cannot be read: {dataset.why_not}", "Name another data set")
    return dataset, Path(path)


def annotation_lines(told: str | Path, root: str | Path | None) -> list[Found]:
    """The samples of an annotations file or of a data set, or in their place what is wrong; each with its line, from 1.

    Args:
        told: a file of our own form (docs/data.md), or NAME:PATH of a data set (docs/datasets.md).
        root: folder of the videos; None takes the one of the file.

    Raises:
        DataError: if the file cannot be read, is of another form, or holds no sample.
    """
    dataset, file = split_name(told)
    root = Path(root) if root is not None else (file if file.is_dir() else file.parent)
    if dataset is None:
        found = file_lines(file, root)
    else:
        assert dataset.lines is not None
        found = merged(_stopped_at_missing_fields(dataset, dataset.lines(file, root)))
    if not found:
        raise DataError(str(told), "holds no annotation", "Give a line for each video")
    return found


def _stopped_at_missing_fields(dataset: Dataset, lines: Iterable[Found]) -> Iterator[Found]:
    for line, one in lines:
        if isinstance(one, MissingFieldError):
            remedy = (
                f"Give {dataset.annotations} of {dataset.title} as it is published, or name another data set"
            )
            raise MissingFieldError(one.source, one.cause, remedy)
        yield line, one


def usable_lines(told: str | Path, root: str | Path | None) -> list[tuple[int, Annotation]]:
    """The samples of `annotation_lines`, each with its line.

    A wrong line in a file of our own stops; a row of a data set that holds nothing usable is left out, and the log
    says how many there are: `divot data check` names each.

    Raises:
        DataError: names the line.
    """
    dataset, _ = split_name(told)
    good: list[tuple[int, Annotation]] = []
    left_out: list[DataError] = []
    for line, one in annotation_lines(told, root):
        if not isinstance(one, DataError):
            good.append((line, one))
        elif dataset is None:
            raise one
        else:
            left_out.append(one)
    if not good:
        raise left_out[0]
    if left_out:
        total = len(left_out) + len(good)
        log.warning("left out: %d of %d rows of %s; the first: %s", len(left_out), total, told, left_out[0])
    return good


def read_annotations(told: str | Path, root: str | Path | None) -> list[Annotation]:
    """The samples of `usable_lines`."""
    return [annotation for _, annotation in usable_lines(told, root)]
