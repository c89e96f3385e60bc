"""Seed and index -> a whole clip: frames, caption and the scene behind them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from divot.world.captioning import caption
from divot.world.distribution import clip_generator, sample_scene
from divot.world.rendering import render
from divot.world.scene import Scene
from divot.world.vocabulary import REFERENCE_SIZE_PX


class WorldClip(NamedTuple):
    """Two seconds of Sprite World: frames uint8 [16, size, size, 3], what they show, and the scene itself."""

    frames: np.ndarray
    caption: str
    scene: Scene


def clip(
    seed: int, index: int, split: str = "train", size: int = REFERENCE_SIZE_PX, style: str = "full"
) -> WorldClip:
    """Clip `index` of a seed's endless set, in any order.

    Args:
        seed: of the whole set, 0 or more.
        index: of the clip, 0 or more.
        split: `train` or `test`, see `sample_scene`.
        size: height and width of a frame in pixels.
        style: of the caption, `full` or `short`; the wording is drawn from seed and index too.

    Raises:
        ValueError: for an unknown split or style, a negative seed or index, or a size below 16.
    """
    scene = sample_scene(seed, index, split)
    words = caption(scene, clip_generator(seed, index, split, part=1), style)
    return WorldClip(render(scene, size), words, scene)
