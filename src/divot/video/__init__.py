"""File to frames to clips, and back. The files, in the order in which the data goes:

    upright.py      the display matrix: stored pictures turned the way they are meant to be seen
    frame_table.py  when each frame is shown, and what the file promised
    packets.py      that table from a stream's packets, without decoding
    stream.py       frames of a video stream by number (PyAV)
    pictures.py     frames of a still or animated picture (Pillow)
    reader.py       VideoReader: frames by number, by time, one after another
    clips.py        16 frames at 8 a second, 5 of them seen: which frames make a clip
    transform.py    uint8 frames to float32 in [-1, 1] of one size, and back
    views.py        a clip moved by a little, to be read more than once
    folders.py      which files of a folder are videos
    shots.py        where a film is cut (PySceneDetect)
    load.py         file to clips in one call
    writer.py       frames to mp4, gif, webp
    sheets.py       frames side by side, to be looked at

At the edges frames are uint8 [T, H, W, 3]; inside, float32 [T, 3, S, S] in [-1, 1].
"""

from divot.video.clips import (
    CLIP_DURATION_S,
    CLIP_FRAMES,
    CLIP_RATE_FPS,
    SEEN_FRAMES,
    Clip,
    consecutive_clips,
    official_comprehension_indices,
    official_reconstruction_indices,
    random_clip,
    spread_clips,
)
from divot.video.load import iterate_clips, load_clip
from divot.video.reader import VideoReader
from divot.video.sheets import contact_sheet, side_by_side
from divot.video.transform import Fit, SquareFit, from_uint8, square_frames, to_uint8
from divot.video.views import MAX_VIEWS, views_of
from divot.video.writer import write_video

__all__ = [
    "CLIP_DURATION_S",
    "CLIP_FRAMES",
    "CLIP_RATE_FPS",
    "MAX_VIEWS",
    "SEEN_FRAMES",
    "Clip",
    "Fit",
    "SquareFit",
    "VideoReader",
    "consecutive_clips",
    "contact_sheet",
    "from_uint8",
    "iterate_clips",
    "load_clip",
    "official_comprehension_indices",
    "official_reconstruction_indices",
    "random_clip",
    "side_by_side",
    "spread_clips",
    "square_frames",
    "to_uint8",
    "views_of",
    "write_video",
]
