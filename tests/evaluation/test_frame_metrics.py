import sys

import numpy as np
import pytest
import torch

from divot.config.errors import DivotError
from divot.evaluation.frame_metrics import (
    MAX_PSNR_DB,
    MOVING_THRESHOLD,
    NEAREST_SEEN,
    UNSEEN_FRAMES,
    moving_pixels,
    psnr,
    require_torchmetrics,
    ssim,
)
from divot.video import from_uint8


def random_frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 12, 12, 3)).astype(np.uint8)


def test_psnr_is_that_of_frames_in_minus_one_to_one():
    frames, reference = random_frames(0), random_frames(1)
    mse = torch.mean((from_uint8(frames) - from_uint8(reference)) ** 2)
    assert psnr(frames, reference) == pytest.approx(float(10 * torch.log10(4 / mse)), abs=1e-3)


def test_psnr_of_equal_frames_is_the_cap():
    assert psnr(random_frames(), random_frames()) == MAX_PSNR_DB


def test_psnr_under_a_mask_sees_only_the_mask():
    reference = random_frames()
    frames, mask = reference.copy(), np.zeros(reference.shape[:3], bool)
    frames[0], mask[1] = 0, True
    assert psnr(frames, reference, mask) == MAX_PSNR_DB
    assert psnr(frames, reference, ~mask) < 30


def test_psnr_refuses_an_empty_mask():
    with pytest.raises(ValueError, match="got no pixel"):
        psnr(random_frames(), random_frames(), np.zeros((16, 12, 12), bool))


def test_ssim_is_one_for_equal_frames_and_near_zero_for_strangers():
    frames = random_frames()
    assert ssim(frames, frames) == pytest.approx(1, abs=1e-6)
    assert abs(ssim(frames, random_frames(1))) < 0.1


def test_missing_torchmetrics_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(DivotError, match=r"divot-video\[eval\]"):
        require_torchmetrics()


def test_nearest_seen_frame_is_the_earlier_of_two_as_near():
    assert NEAREST_SEEN == (0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 15, 15)
    assert len(UNSEEN_FRAMES) == 11


def test_still_pixels_do_not_move():
    frames = np.repeat(random_frames()[:1], 16, axis=0)
    assert not moving_pixels(frames).any()


def test_changes_up_to_the_threshold_do_not_move_and_larger_ones_do():
    frames = np.full((16, 4, 4, 3), 100, np.uint8)
    frames[5, 0, 0, 2] += MOVING_THRESHOLD
    frames[5, 1, 1, 2] -= MOVING_THRESHOLD + 1
    assert np.argwhere(moving_pixels(frames)).tolist() == [[5, 1, 1]]


def test_seen_frames_have_no_moving_pixels():
    frames = np.full((16, 4, 4, 3), 100, np.uint8)
    frames[4] = 200
    # Frame 2, as near to 0 as to 4, is held against 0; 3, 5 and 6 against 4, which looks like no other.
    assert np.flatnonzero(moving_pixels(frames).any(axis=(1, 2))).tolist() == [3, 5, 6]
