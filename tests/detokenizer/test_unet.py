"""The video U-Net: shapes, how the context is split, and what a fresh one predicts."""

import pytest
import torch

from detokenizer.small import small_unet
from divot.config.presets import preset
from divot.detokenizer.unet import VideoUNet

TIMES = torch.tensor([10, 700])


def latents(side=8, num_frames=4):
    return torch.randn(2, 4, num_frames, side, side, generator=torch.Generator().manual_seed(1))


def context(length=6, batch=2):
    return torch.randn(batch, length, 12, generator=torch.Generator().manual_seed(2))


def cut(unet, *blocks):
    """Make the blocks of these classes the identity."""
    for block in unet.modules():
        if type(block).__name__ in blocks:
            block.forward = lambda x, num_frames: x


@pytest.mark.parametrize(("patch_size", "side"), [(1, 4), (1, 8), (2, 8), (4, 8), (4, 16)])
@torch.no_grad()
def test_prediction_has_the_shape_of_the_latents(patch_size, side):
    unet = small_unet(patch_size=patch_size)
    v = unet(latents(side), TIMES, context())
    assert v.shape == (2, 4, 4, side, side)
    assert v.isfinite().all()


@torch.no_grad()
def test_sides_may_differ():
    assert small_unet()(torch.randn(1, 4, 3, 4, 10), TIMES[:1], context(batch=1)).shape == (1, 4, 3, 4, 10)


def test_first_level_of_another_width_is_refused():
    with pytest.raises(ValueError, match="channel_mult begins with 2, wanted 1"):
        small_unet(channel_mult=(2, 4))


@pytest.mark.parametrize("changes", [{}, {"has_input_skip": True}, {"patch_size": 4}], ids=str)
@torch.no_grad()
def test_fresh_network_predicts_nothing(changes):
    unet = small_unet(is_fresh=True, **changes)
    assert not unet(latents(), TIMES, context()).any()


@torch.no_grad()
def test_input_skip_adds_the_noisy_latents_times_a_gain_of_channel_and_time():
    unet, x = small_unet(is_fresh=True, has_input_skip=True), latents()
    unet.input_gain.weight.normal_(generator=torch.Generator().manual_seed(0))
    unet.input_gain.bias.copy_(torch.tensor([1.0, 2, 3, 4]))
    v = unet(x, TIMES, context())
    gains = (v / x).flatten(2)
    torch.testing.assert_close(gains, gains[..., :1].expand_as(gains), atol=1e-4, rtol=1e-4)
    assert (gains[0, :, 0] - gains[1, :, 0]).abs().min() > 1e-3


@torch.no_grad()
def test_clips_of_a_batch_do_not_see_each_other():
    unet = small_unet(context_split=4, channel_mult=(1, 1), has_positions=True, has_initial_attention=True)
    x, tokens = latents(), context()
    together = unet(x, TIMES, tokens)
    for index in range(2):
        part = slice(index, index + 1)
        torch.testing.assert_close(
            together[part], unet(x[part], TIMES[part], tokens[part]), atol=1e-5, rtol=1e-4
        )


@torch.no_grad()
def test_time_and_context_matter():
    unet, x, tokens = small_unet(), latents(), context()
    v = unet(x, TIMES, tokens)
    assert (unet(x, TIMES.flip(0), tokens) - v).abs().max() > 1e-3
    assert (unet(x, TIMES, tokens.flip(0)) - v).abs().max() > 1e-3


@torch.no_grad()
def test_order_of_the_context_matters_only_across_the_split():
    tokens = context(80)
    swapped = tokens.clone()
    swapped[:, [0, 79]] = tokens[:, [79, 0]]
    for split, matters in ((None, False), (77, True)):
        unet = small_unet(context_split=split)
        difference = (unet(latents(), TIMES, swapped) - unet(latents(), TIMES, tokens)).abs().max()
        assert (difference > 1e-4) == matters


@torch.no_grad()
def test_context_that_ends_at_the_split_has_no_second_part():
    unet = small_unet(context_split=77)
    v = unet(latents(), TIMES, context(77))
    for name, parameter in unet.named_parameters():
        if "second_" in name:
            parameter.fill_(float("nan"))
    assert torch.equal(unet(latents(), TIMES, context(77)), v)
    assert unet(latents(), TIMES, context(78)).isnan().any()


@torch.no_grad()
def test_sixteen_tokens_a_frame_are_read_frame_by_frame():
    unet = small_unet(context_split=4, channel_mult=(1,), attention_resolutions=(1,))
    # Nothing else may carry a change from one frame to another.
    cut(unet, "TemporalTransformer", "TemporalConvolutions")
    tokens = context(4 + 16 * 4)
    changed = tokens.clone()
    changed[:, 4 + 16 : 4 + 32] += 1.0
    difference = (
        (unet(latents(), TIMES, changed) - unet(latents(), TIMES, tokens)).abs().amax(dim=(0, 1, 3, 4))
    )
    assert (difference > 1e-5).tolist() == [False, True, False, False]


@torch.no_grad()
def test_equal_frames_are_told_apart_only_by_positions():
    for has_positions in (False, True):
        unet = small_unet(has_positions=has_positions, channel_mult=(1, 1))
        cut(unet, "TemporalConvolutions")
        frame = latents(num_frames=1)
        v = unet(frame.expand(-1, -1, 4, -1, -1), TIMES, context())
        is_same = torch.allclose(v, v[:, :, :1].expand_as(v), atol=1e-5)
        assert is_same != has_positions


@torch.no_grad()
def test_positions_go_with_levels_of_other_widths():
    unet = small_unet(has_positions=True, channel_mult=(1, 2, 4))
    assert unet(latents(), TIMES, context()).isfinite().all()


@torch.no_grad()
def test_stride_not_named_is_the_default_one():
    unet = small_unet(default_frame_stride=3)
    v = unet(latents(), TIMES, context())
    assert torch.equal(unet(latents(), TIMES, context(), torch.tensor([3, 3])), v)
    assert not torch.equal(unet(latents(), TIMES, context(), torch.tensor([8, 8])), v)
    assert small_unet().stride_embedding is None


def test_no_parameter_is_a_scalar_so_that_all_can_be_sharded():
    with torch.device("meta"):
        unet = VideoUNet(preset("paper").detokenizer.unet)
    assert [name for name, parameter in unet.named_parameters() if parameter.ndim == 0] == []
