"""The noise schedule: what noise, velocity and clean latents have to do with each other, and the times of a run."""

import numpy as np
import pytest
import torch

from divot.config.models import ScheduleConfig
from divot.detokenizer.schedule import SPACINGS, NoiseSchedule, zero_terminal_snr

SCHEDULE = NoiseSchedule(ScheduleConfig())
TIMES = torch.tensor([0, 1, 500, 998, 999])


@pytest.fixture
def latents():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, len(TIMES), 3, 4, generator=generator).unbind()


def test_last_time_holds_no_signal_and_the_first_keeps_its_own():
    plain = NoiseSchedule(ScheduleConfig(has_zero_terminal_snr=False))
    assert SCHEDULE.alphas_cumprod[-1] == 0
    assert SCHEDULE.alphas_cumprod[0] == plain.alphas_cumprod[0]
    assert plain.alphas_cumprod[-1] > 0
    assert (SCHEDULE.alphas_cumprod.diff() < 0).all()


def test_rescaling_a_schedule_that_ends_in_noise_changes_nothing():
    np.testing.assert_allclose(zero_terminal_snr(SCHEDULE.betas), SCHEDULE.betas, atol=1e-12)


def test_signal_and_noise_shares_have_unit_power():
    power = SCHEDULE.sqrt_alphas_cumprod**2 + SCHEDULE.sqrt_one_minus_alphas_cumprod**2
    torch.testing.assert_close(power, torch.ones(1000))


def test_velocity_gives_back_the_clean_latents_and_the_noise(latents):
    x0, noise = latents
    x_t, v = SCHEDULE.add_noise(x0, noise, TIMES), SCHEDULE.velocity(x0, noise, TIMES)
    torch.testing.assert_close(SCHEDULE.x0_from_velocity(x_t, v, TIMES), x0)
    torch.testing.assert_close(SCHEDULE.noise_from_velocity(x_t, v, TIMES), noise)


def test_at_the_last_time_there_is_noise_alone_and_the_velocity_is_the_picture(latents):
    x0, noise = latents
    last = torch.full_like(TIMES, 999)
    assert torch.equal(SCHEDULE.add_noise(x0, noise, last), noise)
    assert torch.equal(SCHEDULE.velocity(x0, noise, last), -x0)


def test_each_sample_has_its_own_time(latents):
    x0, noise = latents
    together = SCHEDULE.add_noise(x0, noise, TIMES)
    for index, time in enumerate(TIMES):
        alone = SCHEDULE.add_noise(x0[index : index + 1], noise[index : index + 1], time[None])
        assert torch.equal(together[index : index + 1], alone)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 50, 300, 333, 501, 801, 999])
def test_spacing_gives_as_many_rising_times_as_asked_for(spacing, num_steps):
    times = SCHEDULE.timesteps(num_steps, spacing)
    assert times.dtype == np.int64
    assert len(times) == num_steps
    assert times[0] >= 0
    assert times[-1] <= 999
    assert (np.diff(times) > 0).all()
    # No step is longer than another by more than one, and the last time is as near as a step.
    assert times[-1] >= 999 - 1000 / num_steps
    strides = np.diff(times)
    assert len(strides) == 0 or np.ptp(strides) <= 1


def test_only_trailing_takes_as_many_steps_as_there_are_times():
    assert SCHEDULE.timesteps(1000, "trailing").tolist() == list(range(1000))
    for spacing in ("leading", "uniform"):
        with pytest.raises(ValueError, match="leaves the schedule"):
            SCHEDULE.timesteps(1000, spacing)


def test_trailing_ends_at_the_last_time_and_the_others_begin_near_the_first():
    assert SCHEDULE.timesteps(4, "trailing").tolist() == [249, 499, 749, 999]
    assert SCHEDULE.timesteps(4, "leading").tolist() == [1, 251, 501, 751]
    assert SCHEDULE.timesteps(4, "uniform").tolist() == [1, 251, 501, 751]


def test_uniform_takes_more_steps_than_asked_for_only_with_the_quirk():
    assert SCHEDULE.timesteps(3, "uniform").tolist() == [1, 334, 667]
    with pytest.raises(ValueError, match="leaves the schedule"):
        SCHEDULE.timesteps(3, "uniform", official_quirks=True)
    assert len(SCHEDULE.timesteps(30, "uniform", official_quirks=True)) == 31


@pytest.mark.parametrize(("num_steps", "wanted"), [(0, "1 to 1000"), (-3, "1 to 1000"), (1001, "1 to 1000")])
def test_number_of_steps_outside_the_schedule_is_refused(num_steps, wanted):
    with pytest.raises(ValueError, match=f"num_steps is {num_steps}, wanted {wanted}"):
        SCHEDULE.timesteps(num_steps, "trailing")


def test_unknown_spacing_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="spacing is 'linear', wanted one of trailing, leading, uniform"):
        SCHEDULE.timesteps(10, "linear")


@pytest.mark.parametrize("num_steps", [3, 1000])
def test_quirk_that_leaves_the_schedule_is_refused_with_both_ends(num_steps):
    with pytest.raises(ValueError, match=r"1 to 1000 of 0 to 999"):
        SCHEDULE.timesteps(num_steps, "uniform", official_quirks=True)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_eta_scales_the_noise_of_each_step(spacing):
    times = SCHEDULE.timesteps(10, spacing)
    alphas, previous, none = SCHEDULE.ddim_coefficients(times, 0.0)
    _, _, full = SCHEDULE.ddim_coefficients(times, 1.0)
    _, _, half = SCHEDULE.ddim_coefficients(times, 0.5)
    assert not none.any()
    np.testing.assert_allclose(half, full / 2)
    # Equation 16 of DDIM, and never more noise than there is room for.
    np.testing.assert_allclose(full**2, (1 - previous) / (1 - alphas) * (1 - alphas / previous), atol=1e-15)
    assert (full**2 <= 1 - previous).all()


def test_quirk_rounds_the_coefficients_to_half_precision():
    times = SCHEDULE.timesteps(10, "uniform")
    rounded, _, _ = SCHEDULE.ddim_coefficients(times, 1.0, official_quirks=True)
    exact, _, _ = SCHEDULE.ddim_coefficients(times, 1.0)
    assert np.array_equal(rounded, rounded.astype(np.float16))
    assert np.array_equal(rounded, exact.astype(np.float32).astype(np.float16))
