"""Measures: how near the frames that come back are to those that went in, and what a model understands and makes.

Files, in the order of the flow:

    clip_sets.py       the clips that are measured: of Sprite World, or of a folder of videos
    protocols.py       what is needed of a model
    frame_metrics.py   PSNR and SSIM of frames, and which pixels move
    baselines.py       what can be shown without a tokenizer: a colour, a still, the nearest seen frame
    intervals.py       a mean and its 95% interval
    measures.py        name and definition of every measure
    reconstruction.py  clips -> tokens -> frames -> measures
    results.py         what was measured, and the clips to look at
    run_info.py        where, when and with what it was measured
    report.py          measures to JSON, a page and a sheet of clips
    world_scores.py    questions, captions and generation of Sprite World, by the verifier
    story_scores.py    the same of stories
    world_report.py    these scores to JSON, a page and a sheet of clips
"""

from divot.evaluation.clip_sets import NamedClip, VideoClips, video_clips, world_clips
from divot.evaluation.intervals import Interval, bootstrap_interval
from divot.evaluation.reconstruction import (
    TASK,
    evaluate_reconstruction,
    evaluate_video_reconstruction,
    evaluate_world_reconstruction,
)
from divot.evaluation.report import write_report
from divot.evaluation.results import Example, ReconstructionResult

__all__ = [
    "TASK",
    "Example",
    "Interval",
    "NamedClip",
    "ReconstructionResult",
    "VideoClips",
    "bootstrap_interval",
    "evaluate_reconstruction",
    "evaluate_video_reconstruction",
    "evaluate_world_reconstruction",
    "video_clips",
    "world_clips",
    "write_report",
]
