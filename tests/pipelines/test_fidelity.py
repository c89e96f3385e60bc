import numpy as np
import pytest
import torch

from divot.pipelines.fidelity import MAX_PSNR_DB, psnr, seam_jump, ssim
from divot.video import from_uint8


def random_frames(seed=0, count=16):
    return np.random.default_rng(seed).integers(0, 256, (count, 12, 12, 3)).astype(np.uint8)


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


def test_scores_of_a_long_video_do_not_depend_on_the_parts_it_is_read_in():
    frames, reference = random_frames(0, 150), random_frames(1, 150)
    mse = np.mean((frames.astype(float) - reference) ** 2)
    assert psnr(frames, reference) == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-6)
    each = [ssim(frames[t : t + 1], reference[t : t + 1]) for t in range(150)]
    assert ssim(frames, reference) == pytest.approx(np.mean(each), abs=1e-6)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="reference"):
        ssim(random_frames(), random_frames(1, 2))


def test_seam_jump_is_the_change_at_a_seam_over_the_change_elsewhere():
    levels = np.array([0, 2, 4, 6, 16, 18, 20, 18])
    frames = np.broadcast_to(levels[:, None, None, None], (8, 4, 4, 3)).astype(np.uint8)
    assert seam_jump(frames, [4]) == pytest.approx(5)
    assert seam_jump(frames, [2]) == pytest.approx(2 / (20 / 6))
    assert seam_jump(frames[[0, 0, 5, 5]], [2]) is None


@pytest.mark.parametrize("seams", [[], [0], [16], list(range(1, 16))])
def test_seam_jump_refuses_seams_that_are_none(seams):
    with pytest.raises(ValueError, match="seams"):
        seam_jump(random_frames(), seams)
