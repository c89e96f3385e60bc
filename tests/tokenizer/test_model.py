"""The video tokenizer: shapes, what its tokens depend on and what they do not."""

import dataclasses

import pytest
import torch

from divot.config.models import TokenizerConfig, ViTConfig
from divot.tokenizer import VideoTokenizer
from divot.tokenizer.temporal import pool_patches

VIT = ViTConfig(image_size=16, patch_size=4, width=16, num_layers=1, num_heads=2, mlp_width=24)
CONFIG = TokenizerConfig(
    vit=VIT,
    num_frames=3,
    temporal_width=16,
    temporal_depth=1,
    temporal_heads=2,
    hidden_width=16,
    pool_size=2,
    spatiotemporal_depth=1,
    spatiotemporal_heads=2,
    resampler_depth=1,
    resampler_heads=2,
    resampler_head_width=8,
    num_tokens=8,
    token_width=6,
)


def build(**changes):
    torch.manual_seed(0)
    return VideoTokenizer(dataclasses.replace(CONFIG, **changes)).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return build()


@pytest.fixture(scope="module")
def frames():
    return torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_frames": 5, "pool_size": 3},
        {"num_tokens": 1, "token_width": 4},
        {"num_tokens": 11},
        {"num_frames": 1, "hidden_width": 24, "temporal_width": 20},
    ],
    ids=str,
)
@torch.no_grad()
def test_tokens_have_the_configured_shape(changes):
    model = build(**changes)
    config = model.config
    tokens = model(torch.rand(2, config.num_frames, 3, 12, 20))
    assert tokens.shape == (2, config.num_tokens, config.token_width)
    assert tokens.isfinite().all()


@pytest.mark.parametrize("family", [("siglip_vision_model", 0), ("dinov2", 1)], ids=lambda family: family[0])
@torch.no_grad()
def test_another_vision_transformer_can_stand_in_front(family, frames):
    vit = dataclasses.replace(VIT, model_type=family[0], num_prefix_tokens=family[1])
    assert build(vit=vit)(frames).shape == (2, 8, 6)


@pytest.mark.parametrize("family", ["clip_vision_model", "siglip_vision_model", "dinov2"])
@torch.no_grad()
def test_saved_tokenizer_gives_equal_tokens(family, frames, tmp_path):
    vit = dataclasses.replace(VIT, model_type=family, num_prefix_tokens=int("siglip" not in family))
    model = build(vit=vit)
    model.save_pretrained(tmp_path / "tokenizer")
    loaded = VideoTokenizer.from_pretrained(tmp_path / "tokenizer")
    torch.testing.assert_close(loaded(frames), model(frames))


@pytest.mark.parametrize("shape", [(1, 4, 3, 16, 16), (3, 3, 16, 16), (1, 2, 3, 16, 16)])
def test_wrong_number_of_frames_is_refused_with_both_numbers(tokenizer, shape):
    with pytest.raises(ValueError, match=r"wanted \[B, 3, 3, H, W\]") as caught:
        tokenizer(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@torch.no_grad()
def test_order_of_the_frames_matters(tokenizer, frames):
    assert (tokenizer(frames.flip(1)) - tokenizer(frames)).abs().max() > 1e-3


@torch.no_grad()
def test_every_frame_matters(tokenizer, frames):
    tokens = tokenizer(frames)
    for index in range(3):
        changed = frames.clone()
        changed[:, index] *= -1
        assert (tokenizer(changed) - tokens).abs().amax(dim=(1, 2)).min() > 1e-3


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other(tokenizer, frames):
    torch.testing.assert_close(tokenizer(frames)[1:], tokenizer(frames[1:]))


@torch.no_grad()
def test_null_tokens_are_the_tokens_of_zeros_of_any_size(tokenizer):
    assert tokenizer.null_tokens().shape == (1, 8, 6)
    torch.testing.assert_close(tokenizer.null_tokens(), tokenizer(torch.zeros(1, 3, 3, 20, 28)))


@torch.no_grad()
def test_half_precision_gives_about_the_same_tokens(frames):
    tokens = build()(frames)
    model = build().bfloat16()
    half = model(frames.bfloat16())
    assert half.dtype == torch.bfloat16
    assert model(torch.zeros(1, 3, 3, 24, 40, dtype=torch.bfloat16)).isfinite().all()
    assert model.null_tokens().dtype == torch.bfloat16
    assert (half.float() - tokens).pow(2).mean() < 0.01 * tokens.pow(2).mean()


def test_every_parameter_of_use_gets_a_gradient(frames):
    model = build()
    model.vit.freeze_unused()
    model(frames).pow(3).sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_pooling_averages_cells_of_the_grid():
    grid = torch.arange(16.0).view(1, 16, 1)
    assert pool_patches(grid, 4, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_pooling_windows_overlap_where_the_sizes_do_not_divide():
    row = torch.arange(3.0).repeat(3).view(1, 9, 1)
    assert pool_patches(row, 3, 2).flatten().tolist() == [0.5, 1.5, 0.5, 1.5]
