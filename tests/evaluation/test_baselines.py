import numpy as np

from divot.evaluation.baselines import constant_colour, constant_frame, nearest_seen, still
from divot.pipelines.fidelity import psnr

from .fakes import flat_clip, random_clips


def test_constant_frame_is_the_mean_of_the_set():
    frame = constant_frame([flat_clip(0).frames, flat_clip(100).frames])
    assert frame.shape == (1, 16, 16, 3)
    assert (frame == 50).all()


def test_baselines_are_exact_where_a_clip_is_still():
    clip = np.repeat(random_clips(1)[0].frames[:1], 16, axis=0)
    assert (still(clip) == clip[:1]).all()
    assert (nearest_seen(clip) == clip).all()


def test_each_baseline_knows_more_than_the_one_before():
    picture = random_clips(1)[0].frames[0] // 2
    brightening = np.stack([picture + 8 * index for index in range(16)])
    psnrs = [psnr(brightening, baseline(brightening)) for baseline in (constant_colour, still, nearest_seen)]
    assert psnrs == sorted(psnrs)
