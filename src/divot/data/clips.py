"""Clips for training, by number: the same seed and number give the same clip, so a run can stop and go on anywhere.

Letters: F frames, H W pixels.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from divot.config.errors import DataError, VideoReadError
from divot.config.training import DataConfig
from divot.video.folders import list_videos
from divot.world import clip as world_clip

# A clip whose file cannot be read is replaced by another draw, this often at most.
MAX_DRAWS = 1000
# Draws after which the share of those that failed is judged.
MIN_JUDGED = 20
log = logging.getLogger(__name__)


class Rejects:
    """Files that could not be read, with the reason; each is told once.

    Args:
        file: a jsonl file that takes a line for each.
        max_share: of the draws, that may fail.
    """

    def __init__(self, file: Path | None = None, max_share: float = 1.0) -> None:
        self.file, self.max_share = file, max_share
        self.causes: dict[str, str] = {}
        self.num_read = self.num_failed = 0

    def add(self, path: str | Path, error: VideoReadError) -> None:
        """Take note of a file that was drawn; `path` may be an address.

        Raises:
            DataError: if more than `max_share` of the draws have failed.
        """
        self.num_failed += 1
        if str(path) not in self.causes:
            self._tell(str(path), error)
        num_drawn = self.num_read + self.num_failed
        if num_drawn >= MIN_JUDGED and self.num_failed > self.max_share * num_drawn:
            raise DataError(
                os.path.dirname(path) or ".",
                f"{self.num_failed} of {num_drawn} files drawn could not be read (the last: {error})",
                "Repair or remove them (`divot data check` names all), or raise data.max_reject_share",
            )

    def _tell(self, path: str, error: VideoReadError) -> None:
        self.causes[path] = error.cause
        log.warning("left out: %s", error)
        if self.file is not None:
            # A line each, from whichever worker met it.
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"file": path, "cause": error.cause}) + "\n")


class ClipDataset:
    """Clip number n of a run: a Sprite World clip of the training split, or a random clip of a random video.

    A torch map-style dataset. A video that cannot be read is named with its reason in `rejects`, and another is drawn
    in its place.
    """

    def __init__(
        self, config: DataConfig, seed: int, size_px: int, length: int, rejects_file: Path | None = None
    ) -> None:
        self.config, self.seed, self.size_px, self.length = config, seed, size_px, length
        self.rejects = Rejects(rejects_file, config.max_reject_share)
        self.videos: list[Path] = []
        if config.videos and config.world_share < 1:
            if not Path(config.videos).exists():
                raise DataError(
                    config.videos,
                    "is not there",
                    "Give a folder of videos (--videos), or data.world_share=1 and data.videos=null for Sprite World "
                    "alone",
                )
            self.videos = list_videos([config.videos])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> np.ndarray:
        """Clip `number`: uint8 [F, H, W, 3], 16 frames at 8 fps."""
        rng = np.random.default_rng([self.seed, number])
        if rng.random() < self.config.world_share:
            return world_clip(self.config.world_seed, number, "train", self.size_px).frames
        for _ in range(MAX_DRAWS):
            path = self.videos[rng.integers(len(self.videos))]
            try:
                frames = self._video_clip(path, rng)
            except VideoReadError as error:
                self.rejects.add(path, error)
                continue
            self.rejects.num_read += 1
            return frames[:, :, ::-1] if self.config.flip and rng.random() < 0.5 else frames
        raise DataError(
            str(self.config.videos),
            f"{MAX_DRAWS} videos in a row could not be read (last: {path})",
            "Remove or repair the files",
        )

    def _video_clip(self, path: Path, rng: np.random.Generator) -> np.ndarray:
        # Only here: world clips need no video library.
        from divot.video.clips import random_clip
        from divot.video.reader import VideoReader
        from divot.video.transform import SquareFit

        with VideoReader(path) as reader:
            place = random_clip(reader.duration_s, rng)
            return reader.frames_at_times(place.times_s, SquareFit(self.size_px))


def to_batch(clips: list[np.ndarray]) -> Any:
    """Clips uint8 [F, H, W, 3] to one tensor uint8 [B, F, 3, H, W]: from the data workers to the device as bytes."""
    import torch

    return torch.from_numpy(np.stack([clip.transpose(0, 3, 1, 2) for clip in clips]))
