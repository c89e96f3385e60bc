"""Refinements: what is drawn of a clip's tokens comes nearer to the clip."""

from itertools import count

import numpy as np
import pytest
import torch

from divot import world
from divot.config.errors import RecipeError
from divot.evaluation import evaluate_world_reconstruction, reconstruction
from divot.pipelines.divot import Divot
from divot.pipelines.reconstruct import measures


@pytest.fixture(scope="module")
def tiny():
    return Divot.from_pretrained("tiny", device="cpu")


def test_refined_tokens_draw_a_clip_that_is_nearer(tiny):
    frames = world.clip(0, 3, "test").frames
    shares = []
    plain = tiny.reconstruct(frames)
    better = tiny.reconstruct(frames, refinements=6, on_progress=lambda share, _: shares.append(share))
    # Six steps, the drawing, and the end.
    assert shares == pytest.approx([*(step / 7 for step in range(1, 8)), 1.0])
    assert better.psnr_db > tiny.reconstruct(frames, corrections=0).psnr_db
    assert measures(better)["refinements"] == 6
    # What the tokenizer reads in a drawn clip is no measure of tokens that say more.
    assert better.sampler.num_corrections == 0
    assert plain.sampler.num_corrections == 1
    torch.testing.assert_close(plain.tokens[0], tiny.encode_clip(frames))
    np.testing.assert_array_equal(
        better.frames, tiny.decode(better.tokens, task="reconstruct", corrections=0)
    )
    with pytest.raises(RecipeError, match="refinements"):
        tiny.reconstruct(frames, refinements=-1)


def test_evaluation_refines_and_says_so(tiny, monkeypatch):
    # A clock that goes on by a second each time it is read.
    monkeypatch.setattr(reconstruction, "_clock", lambda _, seconds=count(): float(next(seconds)))
    results = [evaluate_world_reconstruction(tiny, seed=3, count=2, refinements=steps) for steps in (0, 3)]
    assert [result.run["settings"]["refinements"] for result in results] == [0, 3]
    assert [result.run["sampler"]["num_corrections"] for result in results] == [1, 0]
    seconds = [result.measures["seconds_encode"].mean for result in results]
    # Both clips are encoded at once, and refined each by itself.
    assert seconds == [0.5, 1.5]
    assert results[0].measures["psnr"].mean != results[1].measures["psnr"].mean
