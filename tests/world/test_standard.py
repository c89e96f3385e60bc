"""The `standard` distribution never changes: scores taken on it compare only while no pixel moves."""

import hashlib
import json

from divot.world import caption, clip, sample_scene

STANDARD_HASH = "7a861f079b541d5f1db8b77196d3749f"
STANDARD_128_HASH = "e27546b97070a6d5a8ab5071d51a5112"


def digest(size: int, num_clips: int) -> str:
    total = hashlib.sha256()
    for seed in (0, 1):
        for split in ("train", "test"):
            for index in range(num_clips):
                frames, words, scene = clip(seed, index, split, size)
                total.update(frames.tobytes())
                total.update(words.encode())
                total.update(caption(scene, index, "short").encode())
                total.update(json.dumps(scene.to_dict(), sort_keys=True).encode())
    return total.hexdigest()[:32]


def test_frames_captions_and_scenes_of_the_standard_distribution_never_change():
    assert digest(64, 60) == STANDARD_HASH


def test_frames_at_128_never_change():
    assert digest(128, 10) == STANDARD_128_HASH


def test_a_clip_is_its_scene_rendered_whatever_came_before():
    again = clip(0, 7)
    for index in (3, 9, 7):
        last = clip(0, index)
    assert (last.frames == again.frames).all()
    assert last.caption == again.caption
    assert last.scene == sample_scene(0, 7)
