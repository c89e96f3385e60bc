import numpy as np
import pytest

from divot.evaluation import Interval, bootstrap_interval


def test_interval_holds_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(20, 3, 60), seed) for seed in range(60)]
    assert np.mean([i.low <= 20 <= i.high for i in intervals]) > 0.85


def test_interval_is_about_four_standard_errors_wide():
    values = np.random.default_rng(1).normal(size=400)
    interval = bootstrap_interval(values)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low < interval.mean < interval.high


def test_one_seed_gives_one_interval():
    values = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(values, 3) == bootstrap_interval(values, 3)
    assert bootstrap_interval(values, 3) != bootstrap_interval(values, 4)


def test_too_few_clips_give_no_interval():
    assert bootstrap_interval([]) == Interval(None, None, None, 0)
    assert bootstrap_interval([5.0]) == Interval(5.0, None, None, 1)


def test_infinite_values_are_refused():
    with pytest.raises(ValueError, match="got inf"):
        bootstrap_interval([1.0, float("inf")])


def test_values_of_one_clip_are_drawn_together():
    rng = np.random.default_rng(0)
    clips = np.repeat(np.arange(40), 10)
    values = np.repeat(rng.integers(2, size=40), 10).astype(float)
    together, alone = bootstrap_interval(values, 0, clips), bootstrap_interval(values, 0)
    assert together.mean == alone.mean
    assert together.n == 40
    # Ten equal values tell no more than one.
    assert together == bootstrap_interval(values[::10], 0)
    assert together.high - together.low > 2.5 * (alone.high - alone.low)
