"""Thresholds: the promised rate of false alarms, also for long recordings, and honest intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from asd.detect.threshold import Calibration, aggregate


def singles(scores: np.ndarray, rate: float = 0.01) -> Calibration:
    return Calibration([np.array([s]) for s in scores], rate, "top")


def test_aggregate() -> None:
    scores_W = np.arange(1.0, 41.0)
    assert aggregate(scores_W, "max") == 40
    assert aggregate(scores_W, "mean") == 20.5
    assert aggregate(scores_W, "top") == 39.5  # the highest 2 of 40
    assert aggregate(scores_W[:3], "top") == 3


def test_threshold_is_the_conformal_order_statistic() -> None:
    calibration = singles(np.arange(1.0, 200.0), rate=0.05)
    assert calibration.threshold() == 190  # ceil(200 · 0.95)


def test_rate_holds_on_average_over_exchangeable_normals() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        threshold = singles(rng.gamma(9, size=120), rate=0.05).threshold()
        rates.append(stats.gamma(9).sf(threshold))
    assert 0.03 < np.mean(rates) <= 0.05 + 0.005


def test_few_normals_are_extrapolated_and_never_below_the_highest() -> None:
    scores = np.random.default_rng(1).gamma(20, size=30)
    calibration = singles(scores, rate=0.01)
    shape, _, scale = stats.gamma.fit(scores, floc=0)
    assert calibration.threshold() == max(stats.gamma.ppf(0.99, shape, scale=scale), scores.max())
    spiked = singles(np.append(scores, 1_000.0), rate=0.01)
    assert spiked.threshold() >= 1_000.0


def test_interval_is_clopper_pearson() -> None:
    calibration = singles(np.arange(1.0, 201.0), rate=0.05)
    above = sum(s > calibration.threshold() for s in range(1, 201))
    expected = stats.beta.ppf([0.025, 0.975], [above, above + 1], [201 - above, 200 - above])
    assert calibration.interval == pytest.approx(tuple(expected))


def test_long_recordings_have_a_higher_threshold_with_the_same_rate() -> None:
    rng = np.random.default_rng(2)
    calibration = singles(rng.gamma(20, size=2_000), rate=0.02)
    longer = calibration.threshold(40)
    simulated = [aggregate(rng.gamma(20, size=40), "top") for _ in range(4_000)]
    assert longer > calibration.threshold(1)
    assert np.mean(np.array(simulated) > longer) == pytest.approx(0.02, abs=0.015)


@pytest.mark.parametrize("how", ["top", "mean", "max"])
@pytest.mark.parametrize("between", [0.0, 0.7])
@pytest.mark.parametrize(("trained", "scored"), [(11, 11), (11, 120), (1, 11)])
def test_rate_holds_for_recordings_of_other_lengths(how: str, between: float, trained: int, scored: int) -> None:
    """Windows of one recording are alike (`between`: how much), and one normal is longer than the others."""
    rng = np.random.default_rng(5)

    def recording(windows: int) -> np.ndarray:
        return 10 + between * rng.normal() + np.sqrt(1 - between**2) * rng.normal(size=windows)

    alarms = []
    for _ in range(10):
        calibration = Calibration([recording(trained + (i == 0)) for i in range(100)], 0.01, how)
        threshold = calibration.threshold(scored)
        alarms += [aggregate(recording(scored), how) > threshold for _ in range(200)]
    assert np.mean(alarms) < 0.025


def test_recordings_of_the_same_length_are_compared_directly() -> None:
    rng = np.random.default_rng(3)
    scores = [rng.gamma(20, size=7) for _ in range(120)]
    calibration = Calibration(scores, 0.05, "max")
    assert calibration.threshold(7) == np.sort([s.max() for s in scores])[int(np.ceil(121 * 0.95)) - 1]


def test_threshold_is_the_same_every_time() -> None:
    calibration = singles(np.random.default_rng(4).gamma(20, size=50))
    assert calibration.threshold(12) == calibration.threshold(12)


@given(st.lists(st.floats(0.01, 1e6), min_size=3, max_size=300), st.sampled_from([0.001, 0.01, 0.1, 0.3]))
def test_threshold_is_finite_and_not_below_the_median(scores: list[float], rate: float) -> None:
    threshold = singles(np.array(scores), rate).threshold()
    assert np.isfinite(threshold)
    assert threshold >= np.sort(scores)[(len(scores) - 1) // 2]


def test_support_counts_recordings() -> None:
    rng = np.random.default_rng(5)
    assert Calibration([rng.gamma(20, size=11) for _ in range(30)], 0.01, "top").support == 30


def stretches(rng: np.random.Generator, likeness: float) -> Calibration:
    """20 stretches of 18 windows, whose scores share a part with those of their stretch."""
    own, shared = rng.normal(size=(20, 18)), rng.normal(size=(20, 1))
    scores = 20 + np.sqrt(likeness) * shared + np.sqrt(1 - likeness) * own
    return Calibration(list(scores), 0.01, "top", stretches=True)


def test_support_of_stretches_falls_with_the_likeness_of_their_windows() -> None:
    rng = np.random.default_rng(6)
    independent = np.mean([stretches(rng, 0.0).support for _ in range(50)])
    half = np.mean([stretches(rng, 0.5).support for _ in range(50)])
    alike = np.mean([stretches(rng, 0.999).support for _ in range(50)])
    assert independent > 120  # of 180 windows that do not overlap
    assert half == pytest.approx(180 / (1 + 8 * 0.5), rel=0.2)
    assert alike == pytest.approx(20, abs=1)


def test_interval_covers_the_rate_of_long_recordings() -> None:
    """Windows that resemble each other within a recording count once."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(100):
        normals = [rng.normal() + 0.3 * rng.normal(size=11) + 20 for _ in range(100)]
        calibration = Calibration(normals, 0.05, "mean")
        # The mean of a further recording is normal with this deviation.
        true_rate = stats.norm(20, np.sqrt(1 + 0.09 / 11)).sf(calibration.threshold(11))
        covered += calibration.interval[0] <= true_rate <= calibration.interval[1]
    assert covered >= 90


def test_severity_is_0_at_the_typical_normal_and_1_at_the_threshold() -> None:
    calibration = singles(np.arange(1.0, 202.0), rate=0.05)
    assert calibration.typical == 101
    assert calibration.severity(101, calibration.threshold()) == 0
    assert calibration.severity(calibration.threshold(), calibration.threshold()) == 1
