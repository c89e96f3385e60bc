"""The training objective and the times it is taken at."""

import torch

from detokenizer.small import Oracle
from divot.config.models import ScheduleConfig
from divot.detokenizer.objective import draw_timesteps, velocity_loss
from divot.detokenizer.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule(ScheduleConfig())


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 2, 5, 5, generator=generator).unbind()


def test_loss_of_a_predictor_that_knows_the_answer_is_nothing():
    x0, noise = batch()
    times = torch.tensor([0, 400, 999])
    loss, clean = velocity_loss(Oracle(SCHEDULE, x0), SCHEDULE, x0, noise, times)
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-8, rtol=0)
    torch.testing.assert_close(clean, x0, atol=1e-4, rtol=0)


def test_loss_is_the_mean_square_of_the_error_of_each_sample():
    x0, noise = batch()
    times, off = torch.tensor([3, 400, 999]), torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1, 1)
    oracle = Oracle(SCHEDULE, x0)
    loss, _ = velocity_loss(lambda x, t: oracle(x, t) + off, SCHEDULE, x0, noise, times)
    torch.testing.assert_close(loss, torch.tensor([0.0, 1.0, 9.0]), atol=1e-5, rtol=1e-5)


def test_loss_of_half_precision_is_float32():
    x0, noise = (x.bfloat16() for x in batch())
    loss, clean = velocity_loss(lambda x, _times: x, SCHEDULE, x0, noise, torch.tensor([1, 2, 3]))
    assert loss.dtype == clean.dtype == torch.float32


def test_asked_share_of_the_times_is_the_last_one():
    times = draw_timesteps(4000, 1000, 0.3, torch.Generator().manual_seed(0))
    assert abs((times == 999).float().mean() - 0.3) < 0.03
    assert times.dtype == torch.int64
    assert 0 <= times.min() < 10


def test_times_are_uniform_without_a_share_and_all_the_last_with_the_whole():
    times = draw_timesteps(8000, 4, 0.0, torch.Generator().manual_seed(0))
    assert (times.bincount(minlength=4) / 8000 - 0.25).abs().max() < 0.02
    assert (draw_timesteps(50, 1000, 1.0, torch.Generator().manual_seed(0)) == 999).all()


def test_share_does_not_change_the_other_times():
    plain = draw_timesteps(100, 1000, 0.0, torch.Generator().manual_seed(3))
    some = draw_timesteps(100, 1000, 0.5, torch.Generator().manual_seed(3))
    assert ((some == plain) | (some == 999)).all()
