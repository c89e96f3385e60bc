"""The vision transformer in front, of any Hugging Face family, and the frames it is given."""

import pytest
import torch

from divot.config.models import ViTConfig
from divot.tokenizer.vit import FrameEncoder, resize_frames

SIZES = {"image_size": 16, "patch_size": 4, "width": 16, "num_layers": 1, "num_heads": 2, "mlp_width": 24}


def encoder(**changes):
    torch.manual_seed(0)
    return FrameEncoder(ViTConfig(**(SIZES | changes))).eval()


@pytest.mark.parametrize(
    "family",
    [
        {},
        {"model_type": "siglip_vision_model", "num_prefix_tokens": 0},
        {"model_type": "dinov2", "extra": {"mlp_ratio": 2}},
    ],
    ids=["clip", "siglip", "dinov2"],
)
def test_each_family_gives_a_feature_for_each_patch(family):
    model = encoder(**family)
    with torch.no_grad():
        features = model(torch.rand(2, 3, 16, 16))
    assert features.shape == (2, 16, 16)
    assert features.isfinite().all()


@pytest.mark.parametrize(
    "family", [{}, {"model_type": "siglip_vision_model", "num_prefix_tokens": 0}, {"model_type": "dinov2"}]
)
def test_what_only_the_pooled_output_needs_gets_no_gradient_and_the_rest_does(family):
    model = encoder(**family)
    model.freeze_unused()
    model(torch.rand(1, 3, 16, 16)).sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_patches_come_row_by_row():
    model, frame = encoder(), torch.zeros(1, 3, 16, 16)
    model.backbone.encoder.layers = model.backbone.encoder.layers[:0]
    marked = frame.clone()
    marked[..., :4, 8:12] = 1
    with torch.no_grad():
        difference = (model(marked) - model(frame)).abs().sum(dim=-1)[0]
    assert difference.nonzero().flatten().tolist() == [2]


def test_frames_are_normalised_with_the_mean_and_deviation_of_the_family():
    model = encoder(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    frame = torch.zeros(1, 3, 16, 16)
    wanted = torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1).expand_as(frame)
    torch.testing.assert_close(model.preprocess(frame), wanted)


def test_frames_of_the_right_size_stay_as_they_are():
    frames = torch.rand(2, 3, 16, 16)
    assert resize_frames(frames, 16) is frames


@pytest.mark.parametrize("shape", [(8, 8), (40, 24), (10, 40), (16, 17)])
def test_frames_of_any_shape_are_stretched_and_keep_a_flat_colour(shape):
    frames = torch.tensor([-1.0, 0.0, 0.5]).view(1, 3, 1, 1).expand(2, 3, *shape)
    torch.testing.assert_close(
        resize_frames(frames, 16), frames[..., :1, :1].expand(2, 3, 16, 16), atol=1e-5, rtol=0
    )


def test_shrinking_blurs_away_what_is_finer_than_a_pixel():
    stripes = torch.tensor([1.0, -1.0]).repeat(32).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    # Not at the border, where reflection doubles a stripe.
    assert resize_frames(stripes, 16)[..., 2:-2].abs().max() < 0.02
