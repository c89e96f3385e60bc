"""Whole journeys, the Python API: file to tokens, tokens to frames, and both.

load.py          words to device and type; options that contradict each other are refused here
clips.py         a video file or frames -> clips, as the models take them
divot.py         Divot: encode, decode, reconstruct with one model
fidelity.py      PSNR and SSIM of a reconstruction, the jump at the seams of a film
film.py          tokens of clips that follow each other -> one film
reconstruct.py   a reconstruction to files: video, side by side, contact sheet
encode.py        many videos -> a token store; encode_workers.py and encode_ray.py, in several processes
decode.py        a token store or file -> a video
sidecar.py       the record beside each output: settings, seed, versions, model
info.py          what is installed
describe.py      a video and words -> words: questions, captions, conversations
generate.py      words -> clips
judge.py         which of several clips shows what the words name
story.py         words -> a story in words and clips
story_files.py   a story as a folder, and back
story_data.py    films -> stories to learn from
page.py          the pages of the demo and of a story, in one html file each
demo.py          the whole of it on a filmed clip and on Sprite World; demo_language.py has its words
"""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Divot": "divot.pipelines.divot",
    "Reconstruction": "divot.pipelines.divot",
    "decode_tokens": "divot.pipelines.decode",
    "encode_videos": "divot.pipelines.encode",
    "write_reconstruction": "divot.pipelines.reconstruct",
}
__all__ = ["Divot", "Reconstruction", "decode_tokens", "encode_videos", "write_reconstruction"]


def __getattr__(name: str) -> Any:
    # On first use: a command that needs one journey does not load the others' libraries.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
