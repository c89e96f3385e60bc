"""Sampling: a predictor that knows the answer is believed, guidance is a formula, and noise has its order."""

import itertools

import pytest
import torch

from detokenizer.small import Oracle
from divot.config.models import SamplerConfig, ScheduleConfig
from divot.detokenizer.sampler import guided, sample
from divot.detokenizer.schedule import SPACINGS, NoiseSchedule

SCHEDULE = NoiseSchedule(ScheduleConfig())
SHAPE = (1, 4, 2, 3, 3)


@pytest.fixture
def x0():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)) * 0.7


@pytest.fixture
def noise():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))


def generator():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize(("spacing", "eta"), itertools.product(SPACINGS, [0.0, 0.5, 1.0]))
@pytest.mark.parametrize("num_steps", [1, 6])
def test_ddim_recovers_what_the_predictor_knows(x0, noise, spacing, eta, num_steps):
    settings = SamplerConfig(num_steps=num_steps, spacing=spacing, eta=eta)
    found = sample(Oracle(SCHEDULE, x0), SCHEDULE, noise, settings, generator())
    torch.testing.assert_close(found, x0, atol=1e-5, rtol=0)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("solver", ["dpm++", "euler", "unipc"])
def test_solvers_of_diffusers_recover_what_the_predictor_knows(x0, noise, solver, spacing):
    settings = SamplerConfig(solver=solver, num_steps=6, spacing=spacing)
    oracle, predicted = Oracle(SCHEDULE, x0), []
    found = sample(oracle, SCHEDULE, noise, settings, on_step=lambda _done, _x, x0: predicted.append(x0))
    assert len(set(oracle.times)) == 6
    assert (oracle.times[0] == 999) == (spacing == "trailing")
    # They are float32 throughout, and blow up the little that rounding leaves of the signal at the last time.
    torch.testing.assert_close(found, x0, atol=2e-3, rtol=0)
    for step in predicted:
        torch.testing.assert_close(step, x0, atol=2e-3, rtol=0)


def test_schedule_that_keeps_some_signal_is_sampled_too(x0, noise):
    schedule = NoiseSchedule(ScheduleConfig(has_zero_terminal_snr=False))
    for solver in ("ddim", "dpm++", "euler", "unipc"):
        found = sample(Oracle(schedule, x0), schedule, noise, SamplerConfig(solver=solver, num_steps=6))
        torch.testing.assert_close(found, x0, atol=2e-3, rtol=0)


def test_unknown_solver_is_refused_with_the_known_ones(x0, noise):
    with pytest.raises(ValueError, match=r"solver is 'heun', wanted one of ddim, dpm\+\+, euler, unipc"):
        sample(Oracle(SCHEDULE, x0), SCHEDULE, noise, SamplerConfig(solver="heun"))


def test_uniform_spacing_is_for_ddim_alone(x0, noise):
    settings = SamplerConfig(solver="euler", spacing="uniform")
    with pytest.raises(ValueError, match="spacing 'uniform' is for the ddim solver"):
        sample(Oracle(SCHEDULE, x0), SCHEDULE, noise, settings)


@pytest.mark.parametrize("solver", ["ddim", "unipc"])
def test_each_step_is_told_with_its_number_and_the_picture_so_far(x0, noise, solver):
    steps = []
    settings = SamplerConfig(solver=solver, num_steps=3)
    final = sample(Oracle(SCHEDULE, x0), SCHEDULE, noise, settings, on_step=lambda *step: steps.append(step))
    assert [done for done, _, _ in steps] == [1, 2, 3]
    assert torch.equal(steps[-1][1], final)
    assert all((predicted - x0).abs().max() < 2e-3 for _, _, predicted in steps)


def test_deterministic_sampling_draws_nothing(x0, noise):
    source = generator()
    sample(Oracle(SCHEDULE, x0), SCHEDULE, noise, SamplerConfig(num_steps=4), source)
    assert torch.equal(source.get_state(), generator().get_state())


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_quirk_draws_noise_at_every_step_also_where_it_is_not_used(x0, noise, eta):
    source, wanted = generator(), generator()
    settings = SamplerConfig(num_steps=4, eta=eta)
    sample(Oracle(SCHEDULE, x0), SCHEDULE, noise, settings, source, official_quirks=True)
    for _ in range(4):
        torch.randn(SHAPE, generator=wanted)
    assert torch.equal(source.get_state(), wanted.get_state())


def test_noise_of_the_steps_is_that_of_the_generator(noise):
    settings = SamplerConfig(num_steps=4, eta=1.0)
    one, again = (sample(lambda x, _t: 0.1 * x, SCHEDULE, noise, settings, generator()) for _ in range(2))
    other = sample(lambda x, _t: 0.1 * x, SCHEDULE, noise, settings, torch.Generator().manual_seed(4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def never(_x, _times):
    raise AssertionError("called")


def test_scale_of_one_never_asks_the_unconditional_branch(noise):
    times = torch.zeros(1, dtype=torch.long)
    for rescale in (0.0, 0.7):
        assert torch.equal(guided(lambda x, _t: 2 * x, never, 1.0, rescale)(noise, times), 2 * noise)


def test_scale_of_nothing_is_the_unconditional_branch(x0, noise):
    predict = guided(lambda _x, _t: x0, lambda x, _t: x, 0.0, 0.0)
    assert torch.equal(predict(noise, torch.zeros(1, dtype=torch.long)), noise)


def test_guidance_goes_beyond_the_conditional_branch_and_rescale_pulls_its_deviation_back():
    with_tokens, without = torch.randn(2, 3, *SHAPE[1:], generator=generator()).unbind()
    times = torch.zeros(3, dtype=torch.long)

    def mix(rescale):
        return guided(lambda _x, _t: with_tokens, lambda _x, _t: without, 7.5, rescale)(with_tokens, times)

    mixed = without + 7.5 * (with_tokens - without)
    torch.testing.assert_close(mix(0.0), mixed)
    ratio = with_tokens.flatten(1).std(dim=1) / mixed.flatten(1).std(dim=1)
    ratio = ratio.view(3, 1, 1, 1, 1)
    torch.testing.assert_close(mix(1.0), mixed * ratio)
    torch.testing.assert_close(mix(0.7), 0.7 * mixed * ratio + 0.3 * mixed)
    torch.testing.assert_close(mix(1.0).flatten(1).std(dim=1), with_tokens.flatten(1).std(dim=1))


@pytest.mark.parametrize("solver", ["ddim", "dpm++", "euler", "unipc"])
def test_held_frames_are_kept_and_the_others_are_predicted_beside_them(x0, noise, solver):
    held, seen = x0[:, :, :1], []

    def predict(x, times):
        seen.append(SCHEDULE.noise_from_clean(x[:, :, :1], held, times))
        # Knows nothing of the first frame, all of the second.
        return torch.cat([torch.zeros_like(held), Oracle(SCHEDULE, x0[:, :, 1:])(x[:, :, 1:], times)], dim=2)

    settings = SamplerConfig(solver=solver, num_steps=6)
    found = sample(predict, SCHEDULE, noise, settings, held=held)
    assert torch.equal(found[:, :, :1], held)
    torch.testing.assert_close(found, x0, atol=2e-3, rtol=0)
    if solver == "ddim":
        # In each step they bear the noise of its time, the same from beginning to end.
        for now in seen:
            torch.testing.assert_close(now, noise[:, :, :1], atol=1e-3, rtol=0)


def test_noise_from_clean_undoes_add_noise(x0, noise):
    times = torch.tensor([400])
    x_t = SCHEDULE.add_noise(x0, noise, times)
    torch.testing.assert_close(SCHEDULE.noise_from_clean(x_t, x0, times), noise, atol=1e-5, rtol=0)
