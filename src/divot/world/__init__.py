"""Sprite World: a procedural world of two-second clips in which motion matters, with scenes and captions.

Files, in the order of the flow:

    vocabulary.py    the words: shapes, colours, motions, backgrounds
    scene.py         what a clip shows, as a typed value that goes to JSON and back
    split.py         which colour x shape x motion triples training never sees
    track.py         sprite -> its place, size, angle and colour in each frame
    distribution.py  seed and index -> scene: the one `standard` distribution
    shapes.py        shape -> anti-aliased mask
    background.py    background -> pixels
    rendering.py     scene -> frames uint8 [16, H, W, 3], masks, labels
    captioning.py    scene -> words
    plans.py         scene -> the words and numbers that it can be drawn from
    clips.py         seed and index -> frames, caption, scene
    preview.py       a folder of pictures to look at
    questions.py     scene -> questions with answers
    plots.py         who is in a story, and what happens to them clip by clip
    stories.py       seed and number -> a story: scenes that follow from each other, with their sentences
    facts.py         scene -> what its caption tells, and a text -> what it tells
    verifier.py      frames -> the scene they show, by reading_pixels, reading_motion and reading_shapes
"""

from divot.world.captioning import caption, captions, still_caption
from divot.world.clips import WorldClip, clip
from divot.world.distribution import sample_scene
from divot.world.preview import write_preview
from divot.world.rendering import render, render_labels, render_masks
from divot.world.scene import Background, Event, Scene, Sprite
from divot.world.split import is_held_out, scene_triples

__all__ = [
    "Background",
    "Event",
    "Scene",
    "Sprite",
    "WorldClip",
    "caption",
    "captions",
    "clip",
    "is_held_out",
    "render",
    "render_labels",
    "render_masks",
    "sample_scene",
    "scene_triples",
    "still_caption",
    "write_preview",
]
