"""Corrections: what is drawn comes nearer to the tokens that it is drawn from."""

import numpy as np

from divot import world
from divot.pipelines.divot import Divot


def test_a_correction_brings_a_clip_nearer_to_its_tokens():
    divot = Divot.from_pretrained("tiny", device="cpu")
    tokens = divot.encode_clip(world.clip(0, 3, "test").frames)
    drawn = [divot.decode(tokens, corrections=count) for count in (0, 1, 2)]
    errors = [float((divot.encode_clip(frames) - tokens).square().mean()) for frames in drawn]
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < errors[1]
    np.testing.assert_array_equal(divot.decode(tokens), drawn[1])


def test_progress_goes_on_through_corrections():
    divot = Divot.from_pretrained("tiny", device="cpu")
    told = []
    tokens = divot.encode_clip(world.clip(0, 3, "test").frames)[None].repeat(2, 1, 1)
    divot.decode(tokens, corrections=1, on_progress=lambda share, done: told.append((share, done)))
    assert told == [(0.25, 0), (0.5, 0), (0.5, 1), (0.75, 1), (1.0, 1), (1.0, 2)]
