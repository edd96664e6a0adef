"""The training-free baselines: published figures on real clips, and the formulas written out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

import asd
from asd.data.catalog import Clip, open_catalog
from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer, cross_fit
from asd.detect.gaussian import WEIGHTS, Normals, fit_gaussian
from asd.detect.pooled import pool
from asd.errors import DataError
from asd.features import Recording, read_recordings

Features = NDArray[np.float64]


@pytest.fixture(scope="session")
def toycar(data_root: Path) -> tuple[Normals, dict[str, tuple[Features, list[int]]]]:
    """Pooled training normals, and for each ID the pooled test clips with their labels."""
    catalog = open_catalog(data_root / "toycar_logmel")
    normals = of_clips(catalog.select("ToyCar", split="train"))
    tests = {}
    for section in catalog.sections("ToyCar"):
        clips = catalog.select("ToyCar", [section], "test")
        tests[section] = (pooled(clips), [c.label or 0 for c in clips])
    return normals, tests


def pooled(clips: list[Clip]) -> Features:
    rows = []
    for recording in read_recordings([c.path for c in clips], asd.FeatureSpec()):
        assert isinstance(recording, Recording)
        rows.append(pool(recording.logmel_WFT))
    return np.concatenate(rows)


def of_clips(clips: list[Clip]) -> Normals:
    return Normals(
        pooled(clips), np.array([c.section for c in clips]), np.array([""] * len(clips)), np.arange(len(clips))
    )


def means(scorer: BaselineScorer, tests: dict[str, tuple[Features, list[int]]]) -> tuple[float, float]:
    figures = []
    for section, (features_ND, labels) in tests.items():
        scores = scorer.score({"pooled": features_ND}, section)
        figures.append((asd.evaluate.auc(labels, scores), asd.evaluate.pauc(labels, scores)))
    return tuple(np.mean(figures, axis=0))


def test_siblings_on_real_clips(toycar: tuple[Normals, dict[str, tuple[Features, list[int]]]]) -> None:
    normals, tests = toycar
    auc, pauc = means(BaselineScorer.fit(SIBLINGS, normals, list(tests)), tests)
    assert auc == pytest.approx(0.981, abs=0.003)
    assert pauc == pytest.approx(0.918, abs=0.005)


def test_alone_on_real_clips(toycar: tuple[Normals, dict[str, tuple[Features, list[int]]]]) -> None:
    normals, tests = toycar
    auc, pauc = means(BaselineScorer.fit(ALONE, normals, list(tests)), tests)
    assert auc == pytest.approx(0.939, abs=0.005)
    assert pauc == pytest.approx(0.808, abs=0.005)


def test_plain_covariance_on_mean_and_deviation(
    toycar: tuple[Normals, dict[str, tuple[Features, list[int]]]],
) -> None:
    normals, tests = toycar
    n_mels = asd.FeatureSpec().n_mels
    plain = Normals(normals.features_ND[:, : 2 * n_mels], normals.sections_N, normals.domains_N, normals.units_N)
    shorter = {s: (x[:, : 2 * n_mels], y) for s, (x, y) in tests.items()}
    auc, pauc = means(BaselineScorer.fit(ALONE, plain, list(tests)), shorter)
    assert auc == pytest.approx(0.932, abs=0.001)
    assert pauc == pytest.approx(0.775, abs=0.001)


def test_pool_is_mean_deviation_and_deviation_of_the_difference() -> None:
    x_WFT = np.random.default_rng(0).normal(size=(2, 3, 50)).astype(np.float32)
    row_D = pool(x_WFT)[1]
    for band in range(3):
        frames = x_WFT[1, band].astype(float)
        assert row_D[band] == pytest.approx(frames.mean())
        assert row_D[3 + band] == pytest.approx(np.sqrt(((frames - frames.mean()) ** 2).mean()))
        step = frames[1:] - frames[:-1]
        assert row_D[6 + band] == pytest.approx(np.sqrt(((step - step.mean()) ** 2).mean()))


def test_pool_refuses_one_frame() -> None:
    with pytest.raises(ValueError, match="frames >= 2"):
        pool(np.zeros((1, 3, 1), np.float32))


def machines(rng: np.random.Generator, sections: int, each: int, size: int, spread: float) -> Normals:
    """Sections that share a covariance (small `spread`) or have each their own (large)."""
    shared_DD = rng.normal(size=(size, size))
    rows = []
    for _ in range(sections):
        own_DD = shared_DD + spread * rng.normal(size=(size, size))
        rows.append(rng.normal(size=(each, size)) @ own_DD.T + rng.normal(scale=5, size=size))
    sections_N = np.repeat([f"{i:02}" for i in range(sections)], each)
    return Normals(np.concatenate(rows), sections_N, np.full(sections * each, ""), np.arange(sections * each))


def weight_by_the_formula(normals: Normals, section: str) -> float:
    """The siblings' weight again, with scikit-learn's estimator and scipy's density."""
    own = np.flatnonzero(normals.sections_N == section)
    totals = []
    for a in WEIGHTS:
        total = 0.0
        for fold in range(5):
            held = own[np.arange(len(own)) % 5 == fold]
            kept = np.setdiff1d(np.arange(len(normals.units_N)), held)
            centred = []
            for s in np.unique(normals.sections_N):
                x = normals.features_ND[kept][normals.sections_N[kept] == s]
                centred.append(x - x.mean(0))
            mine = normals.features_ND[np.setdiff1d(own, held)]
            s_section = LedoitWolf(assume_centered=True).fit(mine - mine.mean(0)).covariance_
            s_type = LedoitWolf(assume_centered=True).fit(np.concatenate(centred)).covariance_
            density = multivariate_normal(mine.mean(0), (1 - a) * s_section + a * s_type)
            total += density.logpdf(normals.features_ND[held]).sum()
        totals.append(total)
    return WEIGHTS[int(np.argmax(totals))]


@pytest.mark.parametrize("spread", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("each", [12, 60])
def test_weight_is_the_most_likely_one(spread: float, each: int) -> None:
    normals = machines(np.random.default_rng(int(spread * 10) + each), 3, each, 8, spread)
    for section in ("00", "02"):
        assert fit_gaussian(normals, section, siblings=True).weight == weight_by_the_formula(normals, section)


def test_siblings_help_where_they_are_alike_and_not_where_they_differ() -> None:
    alike = machines(np.random.default_rng(1), 3, 15, 12, 0.0)
    different = machines(np.random.default_rng(1), 3, 200, 12, 20.0)
    assert fit_gaussian(alike, "00", siblings=True).weight >= 0.75
    assert fit_gaussian(different, "00", siblings=True).weight == 0.0


def test_distance_is_the_root_of_the_quadratic_form() -> None:
    rng = np.random.default_rng(2)
    normals = machines(rng, 1, 50, 6, 0.0)
    g = fit_gaussian(normals, "00", siblings=False)
    covariance_DD = g.cholesky_DD @ g.cholesky_DD.T
    x_ND = rng.normal(size=(7, 6)) * 10
    d_ND = x_ND - normals.features_ND.mean(0)
    expected_N = np.sqrt(np.einsum("nd,de,ne->n", d_ND, np.linalg.inv(covariance_DD), d_ND))
    np.testing.assert_allclose(g.distances(x_ND), expected_N)


def test_each_domain_has_its_mean_and_the_nearer_counts() -> None:
    rng = np.random.default_rng(3)
    source_ND, target_ND = rng.normal(size=(40, 4)), rng.normal(size=(5, 4)) + 50
    domains_N = np.array(["source"] * 40 + ["target"] * 5)
    normals = Normals(np.concatenate([source_ND, target_ND]), np.full(45, "00"), domains_N, np.arange(45))
    g = fit_gaussian(normals, "00", siblings=False)
    assert g.mean_KD.shape == (2, 4)
    near = g.distances(np.stack([source_ND.mean(0), target_ND.mean(0)]))
    np.testing.assert_allclose(near, 0, atol=1e-9)
    assert g.distances(np.full((1, 4), 25.0))[0] > 10


def test_cross_fit_never_sees_its_fold() -> None:
    """A lone far outlier is far from the others; resubstitution would make it look near."""
    normals = machines(np.random.default_rng(4), 2, 40, 5, 0.0)
    normals.features_ND[3] += 1_000.0
    seen = fit_gaussian(normals, "00", siblings=False).distances(normals.features_ND[3:4])[0]
    unseen = cross_fit(ALONE, normals, "00")[3]
    assert unseen > 10 * seen


def test_cross_fit_equals_fits_by_hand_and_does_not_depend_on_threads() -> None:
    normals = machines(np.random.default_rng(5), 2, 23, 5, 0.3)
    scores_N = cross_fit(SIBLINGS, normals, "01", threads=1)
    for rank in (0, 7, 22):
        row = 23 + rank
        held_N = (normals.sections_N == "01") & (np.arange(46) % 23 % 10 == rank % 10)
        expected = fit_gaussian(normals[~held_N], "01", siblings=True).distances(normals.features_ND[row : row + 1])
        assert scores_N[rank] == pytest.approx(expected[0], rel=1e-9)
    assert cross_fit(SIBLINGS, normals, "01", threads=4).tobytes() == scores_N.tobytes()


def test_a_session_is_held_out_of_all_sections() -> None:
    apart = machines(np.random.default_rng(8), 2, 30, 5, 0.3)
    days_N = np.arange(60) % 30 // 3  # ten days, on which both machines were recorded
    normals = Normals(apart.features_ND, apart.sections_N, apart.domains_N, days_N)
    scores_N = cross_fit(SIBLINGS, normals, "01")
    for day in range(10):
        fitted = fit_gaussian(normals[days_N != day], "01", siblings=True)
        own_N = (normals.sections_N == "01") & (days_N == day)
        np.testing.assert_allclose(scores_N[days_N[30:] == day], fitted.distances(normals.features_ND[own_N]))


def test_folds_keep_the_windows_of_a_unit_together() -> None:
    units_N = np.repeat(np.arange(11), 3)
    normals = Normals(np.zeros((33, 2)), np.full(33, "00"), np.full(33, ""), units_N)
    folds_N = normals.folds("00", 10)
    assert all(len(set(folds_N[units_N == u].tolist())) == 1 for u in range(11))
    assert folds_N[0] == folds_N[-1] == 0


def test_normals_that_do_not_differ_are_refused() -> None:
    normals = Normals(np.ones((20, 4)), np.full(20, "00"), np.full(20, ""), np.arange(20))
    with pytest.raises(DataError, match="too much alike"):
        fit_gaussian(normals, "00", siblings=False)


def test_arrays_hold_everything() -> None:
    normals = machines(np.random.default_rng(6), 2, 30, 4, 0.1)
    scorer = BaselineScorer.fit(SIBLINGS, normals, ["00", "01"])
    again = BaselineScorer.from_arrays(SIBLINGS, ["00", "01"], scorer.arrays())
    x_ND = np.random.default_rng(7).normal(size=(5, 4))
    assert again.score({"pooled": x_ND}, "01").tobytes() == scorer.score({"pooled": x_ND}, "01").tobytes()
