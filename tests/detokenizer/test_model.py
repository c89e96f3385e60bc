"""The de-tokenizer: tokens to frames, each clip by its own seed."""

import dataclasses

import pytest
import torch

from detokenizer.small import small_detokenizer
from divot.config.models import SamplerConfig
from divot.detokenizer import VideoDetokenizer


@pytest.fixture(scope="module")
def model():
    return small_detokenizer()


@pytest.fixture(scope="module")
def tokens():
    return torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(5))


def test_frames_have_the_configured_shape_and_range(model, tokens):
    frames = model.decode(tokens)
    assert frames.shape == (2, 4, 3, 16, 16)
    assert frames.abs().max() <= 1


def test_same_seed_gives_the_same_clip_and_another_seed_another(model, tokens):
    one = model.sample_latents(tokens, seed=4)
    assert torch.equal(model.sample_latents(tokens, seed=4), one)
    assert not torch.equal(model.sample_latents(tokens, seed=6), one)


@pytest.mark.parametrize(
    "settings",
    [
        SamplerConfig(num_steps=3),
        SamplerConfig(num_steps=2, eta=1.0, guidance_scale=3.0, guidance_rescale=0.7),
    ],
    ids=["plain", "noisy and guided"],
)
def test_clip_of_a_batch_does_not_depend_on_its_neighbours(model, tokens, settings):
    together = model.sample_latents(tokens, seed=4, sampler=settings)
    second = model.sample_latents(tokens[1:], seed=5, sampler=settings)
    torch.testing.assert_close(together[1:], second, atol=1e-5, rtol=1e-5)
    changed = model.sample_latents(torch.stack([-tokens[0], tokens[1]]), seed=4, sampler=settings)
    torch.testing.assert_close(changed[1:], together[1:], atol=1e-5, rtol=1e-5)


def test_random_numbers_of_the_program_are_left_alone(model, tokens):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model.sample_latents(tokens, sampler=SamplerConfig(num_steps=2, eta=1.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_tokens_of_another_width_are_refused_with_both_shapes(model):
    for shape in ((1, 3, 6), (3, 5)):
        with pytest.raises(ValueError, match=r"wanted \[B, N, 5\]") as caught:
            model.sample_latents(torch.zeros(shape))
        assert str(shape) in str(caught.value)


def test_null_tokens_are_read_only_under_guidance(tokens):
    plain, other = small_detokenizer(), small_detokenizer()
    other.null_tokens.add_(1.0)
    guided = SamplerConfig(num_steps=2, guidance_scale=2.0)
    assert torch.equal(plain.sample_latents(tokens), other.sample_latents(tokens))
    assert not torch.equal(
        plain.sample_latents(tokens, sampler=guided), other.sample_latents(tokens, sampler=guided)
    )


def test_guidance_of_clips_without_content_changes_nothing(model):
    null = model.null_tokens[None]
    guided = SamplerConfig(num_steps=2, guidance_scale=5.0)
    plain = model.sample_latents(null, sampler=SamplerConfig(num_steps=2))
    torch.testing.assert_close(model.sample_latents(null, sampler=guided), plain, atol=1e-4, rtol=1e-4)


def test_order_of_the_tokens_matters_only_with_positions(tokens):
    plain = small_detokenizer()
    settings = dataclasses.replace(plain.config.projector, num_queries=3, has_positions=True)
    placed = small_detokenizer(projector=settings)
    for model, matters in ((plain, False), (placed, True)):
        difference = model.sample_latents(tokens.flip(1)) - model.sample_latents(tokens)
        assert (difference.abs().max() > 1e-4) == matters


def test_saved_model_gives_equal_frames(model, tokens, tmp_path):
    model.save_pretrained(tmp_path / "detokenizer")
    loaded = VideoDetokenizer.from_pretrained(tmp_path / "detokenizer")
    assert loaded.config == model.config
    assert torch.equal(loaded.null_tokens, model.null_tokens)
    # Not bit by bit: loaded weights lie elsewhere in memory, and kernels depend on that.
    torch.testing.assert_close(loaded.decode(tokens, seed=3), model.decode(tokens, seed=3))


def test_half_precision_weights_keep_float32_latents_and_give_about_the_same(tokens):
    latents = small_detokenizer().sample_latents(tokens)
    model = small_detokenizer().bfloat16()
    half = model.sample_latents(tokens)
    assert half.dtype == torch.float32
    assert (half - latents).pow(2).mean() < 0.02 * latents.pow(2).mean()
    assert model.decode(tokens).isfinite().all()


def test_steps_are_told_for_each_clip(model, tokens):
    told = []
    model.sample_latents(tokens, on_step=lambda done, x, x0: told.append((done, x.shape, x0.shape)))
    shape = (1, 4, 4, 8, 8)
    assert told == [(done, shape, shape) for _ in range(2) for done in (1, 2, 3)]


def test_a_correction_asks_again_for_what_was_not_shown(model, tokens):
    settings = dataclasses.replace(model.config.sampler, num_corrections=2)
    plain = model.sample_latents(tokens, seed=4)
    assert torch.equal(model.sample_latents(tokens, seed=4, sampler=settings), plain)
    shown = []

    def encode(frames):
        shown.append(frames)
        return torch.full((1, 3, 5), 0.5)

    corrected = model.sample_latents(tokens, seed=4, sampler=settings, encode=encode)
    # Twice half a unit is lacking of what is wanted: 3 x tokens - 2 x 0.5.
    torch.testing.assert_close(corrected, model.sample_latents(3 * tokens - 1.0, seed=4))
    assert [frames.shape for frames in shown] == [(1, 4, 3, 16, 16)] * 4
    torch.testing.assert_close(shown[0], model.decode(tokens[:1], seed=4))
    torch.testing.assert_close(shown[3], model.decode(2 * tokens[1:] - 0.5, seed=5))


def test_steps_of_corrections_are_counted_on(model, tokens):
    told = []
    settings = dataclasses.replace(model.config.sampler, num_corrections=1)
    model.sample_latents(
        tokens,
        sampler=settings,
        on_step=lambda done, x, x0: told.append(done),
        encode=lambda frames: torch.zeros(1, 3, 5),
    )
    assert told == [1, 2, 3, 4, 5, 6] * 2


def test_refined_tokens_show_their_clip_better(model, tokens):
    frames = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents, seen, once = model.encode_frames(frames), [0, 3], SamplerConfig(num_steps=1)

    def error(these, frame):
        drawn = model.sample_latents(these, seed=9, sampler=once)
        return float((drawn - latents)[:, :, frame].square().mean())

    better = model.refine(tokens, frames, seen, steps=20, seed=4, sampler=once)
    assert better.shape == tokens.shape
    assert error(better, seen) < error(tokens, seen)
    assert torch.equal(model.refine(tokens, frames, seen, steps=20, seed=4, sampler=once), better)
    alone = model.refine(tokens[1:], frames[1:], seen, steps=20, seed=5, sampler=once)
    torch.testing.assert_close(alone, better[1:], atol=1e-4, rtol=1e-3)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frames_that_are_not_seen_do_not_refine_at_the_last_time(model, tokens):
    frames = torch.rand(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    others = frames.clone()
    others[:, 1:3] = 0
    at_last = SamplerConfig(num_steps=1)
    one, two = (model.refine(tokens[:1], clip, [0, 3], 3, sampler=at_last) for clip in (frames, others))
    assert torch.equal(one, two)
    assert not torch.equal(one, tokens[:1])


def test_latents_of_frames_are_scaled_and_come_back(model):
    frames = torch.rand(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = model.encode_frames(frames)
    assert latents.shape == (1, 4, 4, 8, 8)
    with torch.no_grad():
        mean = model.vae.encode(frames[0]).latent_dist.mean
    torch.testing.assert_close(latents[0].transpose(0, 1), mean * 0.18215)
    assert model.decode_latents(latents).shape == frames.shape


def test_held_latents_are_the_first_frames_and_the_others_follow_them(model, tokens):
    plain = model.sample_latents(tokens)
    held = model.sample_latents(tokens, held_latents=-plain[:, :, -1:])
    assert torch.equal(held[:, :, :1], -plain[:, :, -1:])
    assert not torch.allclose(held[:, :, 1:], plain[:, :, 1:], atol=1e-3)
    second = model.sample_latents(tokens[1:], seed=1, held_latents=-plain[1:, :, -1:])
    torch.testing.assert_close(held[1:], second, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (1, 4, 1, 8, 8), (2, 4, 5, 8, 8), (2, 4, 1, 8, 4)])
def test_held_latents_of_another_shape_are_refused(model, tokens, shape):
    with pytest.raises(ValueError, match=r"wanted \[2, 4, 1 to 4, 8, 8\]"):
        model.sample_latents(tokens, held_latents=torch.zeros(shape))
