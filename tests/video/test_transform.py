import numpy as np
import pytest
import torch
from PIL import Image

from divot.video.transform import SquareFit, from_uint8, square_frames, to_uint8


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_crop_is_short_side_resize_and_centre_crop_of_pillow():
    frame = noise(27, 48, 3)
    # 16 * 48 / 27 = 28.4 is cut to 28; the crop begins at (28 - 16) / 2 = 6.
    resized = np.asarray(Image.fromarray(frame).resize((28, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(SquareFit(16)(frame), resized[:, 6:22])


@pytest.mark.parametrize(("width", "left"), [(17, 0), (19, 2), (21, 2), (23, 4)])
def test_crop_corner_is_rounded_half_to_even(width, left):
    frame = noise(16, width, 3)
    np.testing.assert_array_equal(SquareFit(16)(frame), frame[:, left : left + 16])


@pytest.mark.parametrize("shape", [(8, 8), (7, 31), (101, 3), (1, 1), (270, 480)])
@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
def test_every_fit_gives_the_square(shape, fit):
    assert SquareFit(16, fit)(noise(*shape, 3)).shape == (16, 16, 3)


def test_letterbox_keeps_the_whole_picture_between_black_bars():
    out = SquareFit(16, "letterbox")(np.full((8, 16, 3), 200, np.uint8))
    assert (out[4:12] == 200).all()
    assert (out[:4] == 0).all()
    assert (out[12:] == 0).all()


def test_numbers_are_those_of_to_tensor_and_normalise():
    frames = noise(2, 4, 5, 3)
    expected = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    assert torch.equal(from_uint8(frames), expected)


def test_every_level_survives_the_way_there_and_back():
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(to_uint8(from_uint8(frames)), frames)


def test_to_uint8_rounds_and_clamps():
    video = torch.tensor([-3.0, -1.0, 0.0, 0.999, 1.0, 7.0]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert to_uint8(video)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]


def test_square_frames_are_float32_in_range():
    video = square_frames(noise(3, 20, 30, 3), 16)
    assert video.shape == (3, 3, 16, 16)
    assert video.dtype == torch.float32
    assert -1 <= video.min() <= video.max() <= 1


def test_wrong_input_is_a_value_error_that_tells_the_shape():
    with pytest.raises(ValueError, match=r"float64 \[2, 4, 4, 3\]"):
        from_uint8(np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match="wanted uint8"):
        square_frames(np.zeros((0, 4, 4, 3), np.uint8), 16)
    with pytest.raises(ValueError, match="wanted one of crop, letterbox, stretch"):
        SquareFit(16, "squash")
    with pytest.raises(ValueError, match="size_px: got 0"):
        SquareFit(0)
    with pytest.raises(ValueError, match=r"wanted \[T, 3, H, W\]"):
        to_uint8(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="not finite"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))
