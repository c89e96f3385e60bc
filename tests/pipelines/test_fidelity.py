import numpy as np
import pytest
import torch

from divot.pipelines.fidelity import MAX_PSNR_DB, psnr_db, ssim


@pytest.fixture
def videos():
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (3, 24, 20, 3), np.uint8)
    noisy = np.clip(original + rng.normal(0, 20, original.shape), 0, 255).astype(np.uint8)
    return noisy, original


def test_equal_frames_have_the_highest_scores(videos):
    _, original = videos
    assert psnr_db(original, original) == MAX_PSNR_DB
    assert ssim(original, original) == pytest.approx(1.0)


def test_scores_match_torchmetrics(videos):
    metrics = pytest.importorskip("torchmetrics.functional.image")
    ours, theirs = (torch.from_numpy(v).permute(0, 3, 1, 2).double() for v in videos)
    psnr = metrics.peak_signal_noise_ratio(ours, theirs, data_range=255.0)
    likeness = metrics.structural_similarity_index_measure(ours, theirs, data_range=255.0)
    assert psnr_db(*videos) == pytest.approx(float(psnr), abs=1e-4)
    assert ssim(*videos) == pytest.approx(float(likeness), abs=1e-5)


def test_other_shapes_are_refused(videos):
    with pytest.raises(ValueError, match="original"):
        psnr_db(videos[0], videos[1][:2])
    with pytest.raises(ValueError, match="at least 11"):
        ssim(videos[0][:, :8], videos[1][:, :8])
