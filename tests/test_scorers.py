"""Scorers on a network's embedding: against scikit-learn and formulas written out, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from asd.detect import DEFAULT_SCORER
from asd.detect.assemble import fit_scorer, load_scorer
from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer
from asd.detect.fusion import SMALLEST_SPREAD, Fused, fuse, scale_of
from asd.detect.gaussian import SMALLEST_DISTANCE, Normals, fit_gaussian, log
from asd.detect.mixture import Mixture
from asd.detect.neighbours import Nearest, by_domain, smote
from asd.detect.network import HeadFacts, NetworkFacts
from asd.detect.scorers import (
    ENSEMBLE,
    KINDS,
    ClassifierScorer,
    EmbeddingScorer,
    ScorerName,
    choose_scorer,
    parse_scorer,
)
from asd.errors import DataError, UsageError

Rows = NDArray[np.float64]
ABOUT = NetworkFacts(encoder="small", bands=8, frames=16, mean=0.0, std=1.0, embedding_size=6)


def normals_of(rows_ND: Rows, domains: list[str] | None = None) -> Normals:
    """One section, ``"00"``."""
    count = len(rows_ND)
    domains_N = np.array(domains or [""] * count)
    return Normals(rows_ND, np.full(count, "00"), domains_N, np.arange(count))


def cloud(seed: int, count: int, size: int = 6) -> Rows:
    """Rows around a direction of their own, each feature with another spread."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)) @ np.diag(np.linspace(0.2, 1.5, size)) + 3 * rng.normal(size=size)


def fit(name: str, normals: Normals, sections: tuple[str, ...] = ("00",)) -> EmbeddingScorer:
    both = {"network": normals, "summary": normals}
    scorer = fit_scorer(parse_scorer(name), both, ABOUT, "fan", sections)
    assert isinstance(scorer, EmbeddingScorer)
    return scorer


def score(scorer: EmbeddingScorer, rows_ND: Rows) -> Rows:
    return scorer.score({"network": rows_ND, "summary": rows_ND}, "00")


NORMALS, TESTS = cloud(0, 60), cloud(1, 9)


def cosines(rows_ND: Rows) -> Rows:
    """Cosine distances to the normals, (N, 60)."""
    return cdist(rows_ND, NORMALS, "cosine")


@pytest.mark.parametrize(("name", "count"), [("knn", 1), ("knn:1", 1), ("knn:5", 5), ("knn:9999", 60)])
def test_knn_is_the_mean_cosine_distance_to_the_nearest(name: str, count: int) -> None:
    expected_N = np.sort(cosines(TESTS), axis=1)[:, :count].mean(1)
    np.testing.assert_allclose(score(fit(name, normals_of(NORMALS)), TESTS), expected_N)


@pytest.mark.parametrize("count", [1, 3])
def test_whitened_knn_is_the_mahalanobis_distance_to_the_nearest(count: int) -> None:
    covariance_DD = LedoitWolf().fit(NORMALS).covariance_
    distances_NR = cdist(TESTS, NORMALS, "mahalanobis", VI=np.linalg.inv(covariance_DD))
    expected_N = np.sort(distances_NR, axis=1)[:, :count].mean(1)
    np.testing.assert_allclose(score(fit(f"whitened-knn:{count}", normals_of(NORMALS)), TESTS), expected_N)


def test_mahalanobis_is_the_root_of_the_quadratic_form() -> None:
    fitted = LedoitWolf().fit(NORMALS)
    expected_N = np.sqrt(fitted.mahalanobis(TESTS))
    np.testing.assert_allclose(score(fit("mahalanobis", normals_of(NORMALS)), TESTS), expected_N)


def test_mahalanobis_with_siblings_is_the_baseline_on_another_embedding() -> None:
    rows_ND = np.concatenate([cloud(0, 40), cloud(2, 40)])
    two = Normals(rows_ND, np.repeat(["00", "02"], 40), np.full(80, ""), np.arange(80))
    expected = BaselineScorer.fit(SIBLINGS, two, ["00", "02"]).score({"pooled": TESTS}, "02")
    scorer = fit("mahalanobis-siblings", two, ("00", "02"))
    assert scorer.score({"network": TESTS}, "02").tobytes() == expected.tobytes()


@pytest.mark.parametrize("count", [3, 20, 59, 200])
def test_lof_by_the_formula(count: int) -> None:
    """The mean density of the K nearest normals over the own density, the inverse of the mean reachability."""
    k = min(count, 59)
    among_RR = cosines(NORMALS)
    np.fill_diagonal(among_RR, np.inf)
    reaches_R = np.sort(among_RR, axis=1)[:, k - 1]

    def density(distances_R: Rows) -> tuple[float, Rows]:
        nearest_K = np.argsort(distances_R)[:k]
        return 1 / float(np.maximum(distances_R[nearest_K], reaches_R[nearest_K]).mean()), nearest_K

    densities_R = np.array([density(distances_R)[0] for distances_R in among_RR])
    found = [density(distances_R) for distances_R in cosines(TESTS)]
    expected = [densities_R[nearest_K].mean() / own for own, nearest_K in found]
    np.testing.assert_allclose(score(fit(f"lof:{count}", normals_of(NORMALS)), TESTS), expected, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 4])
def test_density_knn_by_the_formula(count: int) -> None:
    def distance(x_D: Rows, y_D: Rows) -> float:
        return float(1 - x_D @ y_D / np.linalg.norm(x_D) / np.linalg.norm(y_D))

    radii = []
    for i, row_D in enumerate(NORMALS):
        others = sorted(distance(row_D, other_D) for j, other_D in enumerate(NORMALS) if j != i)
        radii.append(np.mean(others[:count]))
    expected = [min(distance(x_D, n_D) / r for n_D, r in zip(NORMALS, radii, strict=True)) for x_D in TESTS]
    np.testing.assert_allclose(score(fit(f"density-knn:{count}", normals_of(NORMALS)), TESTS), expected)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gmm_falls_with_the_likelihood_of_scikit_learns_mixture(count: int) -> None:
    gaussian = fit_gaussian(normals_of(NORMALS), "00", siblings=False)
    mixture = GaussianMixture(count, covariance_type="spherical", random_state=0).fit(gaussian.whiten(NORMALS))
    scores_N = score(fit(f"gmm:{count}", normals_of(NORMALS)), TESTS)
    log_p_N = mixture.score_samples(gaussian.whiten(TESTS))
    np.testing.assert_allclose(-np.square(scores_N[1:]) / 2 + np.square(scores_N[0]) / 2, log_p_N[1:] - log_p_N[0])
    at_means_K = mixture.score_samples(mixture.means_)
    peak = (np.square(scores_N[0]) / 2 + log_p_N[0]) - at_means_K.max()
    assert peak >= -1e-9
    if count == 1:
        assert peak == pytest.approx(0, abs=1e-9)


def test_gmm_of_one_component_is_mahalanobis_but_for_a_factor() -> None:
    one, plain = fit("gmm:1", normals_of(NORMALS)), fit("mahalanobis", normals_of(NORMALS))
    ratios_N = score(one, TESTS) / score(plain, TESTS)
    np.testing.assert_allclose(ratios_N, ratios_N[0])


@given(st.lists(st.floats(1e-3, 1e3), min_size=9, max_size=9), st.floats(1e-3, 1e3), st.sampled_from(["knn:3", "lof"]))
@settings(deadline=None, max_examples=25)
def test_the_length_of_an_embedding_does_not_matter_to_cosines(factors: list[float], scale: float, name: str) -> None:
    plain = score(fit(name, normals_of(NORMALS)), TESTS)
    scaled = score(fit(name, normals_of(scale * NORMALS)), np.array(factors)[:, None] * TESTS)
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)


ORDERLESS = [name for name in KINDS if name not in ("gmm", "mahalanobis-siblings", "summary")]
"""k-means starts from rows by their place, and folds go by place."""


@given(st.permutations(range(60)), st.sampled_from(ORDERLESS))
@settings(deadline=None, max_examples=25)
def test_the_order_of_normals_does_not_matter(order: list[int], name: str) -> None:
    expected_N = score(fit(name, normals_of(NORMALS)), TESTS)
    np.testing.assert_allclose(score(fit(name, normals_of(NORMALS[order])), TESTS), expected_N, rtol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_normals_score_low_and_what_is_far_away_high(name: str) -> None:
    scorer = fit(name, normals_of(NORMALS))
    usual = np.median(score(scorer, cloud(0, 200)[60:]))  # of the same cloud
    assert np.median(score(scorer, NORMALS)) <= usual
    assert score(scorer, -10 * NORMALS[:5]).min() > 1.5 * usual


@pytest.mark.parametrize("name", ["knn", "whitened-knn", "density-knn"])
def test_a_normal_is_no_distance_from_itself(name: str) -> None:
    scorer = fit(name, normals_of(NORMALS))
    assert score(scorer, NORMALS).max() < 1e-5 * score(scorer, TESTS).max()


@pytest.mark.parametrize("name", KINDS)
def test_a_score_does_not_depend_on_its_company(name: str) -> None:
    scorer = fit(name, normals_of(NORMALS))
    alone = np.concatenate([score(scorer, TESTS[i : i + 1]) for i in range(len(TESTS))])
    np.testing.assert_allclose(alone, score(scorer, TESTS), rtol=1e-9)


@pytest.mark.parametrize("domains", [None, ["source"] * 55 + ["target"] * 5])
@pytest.mark.parametrize("name", KINDS)
def test_arrays_hold_everything(name: str, domains: list[str] | None) -> None:
    scorer = fit(f"{name}:3" if KINDS[name].count else name, normals_of(NORMALS, domains))
    again = load_scorer(scorer.name, ["00"], scorer.arrays())
    assert again.name == scorer.name
    assert again.score({"network": TESTS, "summary": TESTS}, "00").tobytes() == score(scorer, TESTS).tobytes()
    assert {k: v.tobytes() for k, v in again.arrays().items()} == {k: v.tobytes() for k, v in scorer.arrays().items()}


@pytest.mark.parametrize("name", KINDS)
def test_an_array_that_is_missing_is_noticed(name: str) -> None:
    arrays = fit(name, normals_of(NORMALS)).arrays()
    for key in arrays:
        with pytest.raises((KeyError, ValueError)):
            load_scorer(name, ["00"], {k: v for k, v in arrays.items() if k != key})


@pytest.mark.parametrize("name", ["knn", "whitened-knn", "gmm:1", "lof:5", "density-knn"])
def test_each_domain_is_asked_by_itself_and_the_smaller_distance_counts(name: str) -> None:
    source_ND, target_ND = cloud(3, 40), cloud(4, 30)  # large enough not to be filled up
    both = fit(name, normals_of(np.concatenate([source_ND, target_ND]), ["source"] * 40 + ["target"] * 30))
    if name in ("whitened-knn", "gmm:1"):  # the covariance is common, of rows centred by domain
        assert (
            score(both, source_ND.mean(0)[None])[0] < score(both, (source_ND.mean(0) + target_ND.mean(0))[None] / 2)[0]
        )
        return
    each = [score(fit(name, normals_of(rows_ND)), TESTS) for rows_ND in (source_ND, target_ND)]
    np.testing.assert_allclose(score(both, TESTS), np.minimum(*each), rtol=1e-9)


def test_a_tiny_target_domain_is_filled_up_between_its_normals() -> None:
    source_ND, target_ND = (normalize(cloud(seed, count)) for seed, count in ((3, 100), (4, 3)))
    source, target = by_domain(np.concatenate([source_ND, target_ND]), np.array(["source"] * 100 + ["target"] * 3))
    assert source.tobytes() == source_ND.tobytes()
    assert len(target) == 20
    assert target[:3].tobytes() == target_ND.tobytes()
    for point_D in target[3:]:  # on the line between two of the three
        gaps = [
            np.linalg.norm(point_D - a_D) + np.linalg.norm(point_D - b_D) - np.linalg.norm(a_D - b_D)
            for a_D in target_ND
            for b_D in target_ND
            if a_D is not b_D
        ]
        assert min(gaps) < 1e-9
    between_D = (target_ND[0] + target_ND[1]) / 2
    domains = ["source"] * 100 + ["target"] * 3
    filled = Nearest.fit(normals_of(np.concatenate([source_ND, target_ND]), domains), "00", 1)
    plain = Nearest.fit(normals_of(target_ND), "00", 1)
    assert filled.distances(between_D[None])[0] < plain.distances(between_D[None])[0]


def test_filling_up_leaves_enough_and_one_alone() -> None:
    rows_RD = cloud(0, 10)
    assert smote(rows_RD, 10) is rows_RD
    assert smote(rows_RD[:1], 10).shape == (1, 6)
    assert smote(rows_RD, 30).tobytes() == smote(rows_RD, 30).tobytes()


@pytest.mark.parametrize("name", ["lof", "density-knn", "gmm"])
def test_a_domain_of_one_joins_the_others(name: str) -> None:
    rows_ND = np.concatenate([NORMALS, cloud(4, 1)])
    apart = fit(name, normals_of(rows_ND, ["source"] * 60 + ["target"]))
    if name != "gmm":  # whose covariance is centred by domain
        together = fit(name, normals_of(rows_ND))
        assert score(apart, TESTS).tobytes() == score(together, TESTS).tobytes()
    assert np.isfinite(score(apart, TESTS)).all()


@pytest.mark.parametrize("name", ["lof", "density-knn"])
def test_one_normal_has_no_density(name: str) -> None:
    with pytest.raises(DataError, match="section 00: 1 normal is too few"):
        fit(name, normals_of(NORMALS[:1]))


@pytest.mark.parametrize("name", ["lof", "density-knn", "knn"])
def test_copies_and_silence_give_finite_scores(name: str) -> None:
    copies = fit(name, normals_of(np.repeat(NORMALS[:2], 10, axis=0)))
    silent = fit(name, normals_of(np.zeros((10, 6))))
    for scorer in (copies, silent):
        assert np.isfinite(score(scorer, np.concatenate([NORMALS[:3], np.zeros((1, 6))]))).all()


@pytest.mark.parametrize("name", ["mahalanobis", "whitened-knn", "gmm"])
def test_embeddings_that_do_not_differ_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="too much alike"):
        fit(name, normals_of(np.ones((20, 6))))


def test_mixtures_of_fewer_normals_than_components() -> None:
    mixture = Mixture.fit(normals_of(NORMALS[:3]), "00", 9)
    assert len(mixture.weights_M) == 3


@pytest.mark.parametrize(
    ("text", "kind", "count", "fusion", "alone"),
    [
        ("knn", "knn", 1, "", "knn"),
        ("knn:12", "knn", 12, "", "knn:12"),
        ("fused:lof", "lof", 20, "fused", "lof"),
        ("fused-min:density-knn:7", "density-knn", 7, "fused-min", "density-knn:7"),
        ("fused:classifier", "classifier", 0, "fused", "classifier"),
        ("baseline-alone", "baseline-alone", 0, "", "baseline-alone"),
    ],
)
def test_names_are_taken_apart(text: str, kind: str, count: int, fusion: str, alone: str) -> None:
    name = parse_scorer(text)
    assert name == ScorerName(text, kind, count, fusion)
    assert name.alone == parse_scorer(alone)
    assert name.is_baseline == text.startswith("baseline")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nkn", "Did you mean 'knn'?"),
        ("mahalonobis", "Did you mean 'mahalanobis'?"),
        ("fused:mahalanobis-sibling", "Did you mean 'fused:mahalanobis-siblings'?"),
        ("fused:baseline-alone", "is not known"),
        ("fused", "is not known"),
        ("fused:fused:knn", "is not known"),
        ("", "is not known"),
        ("knn:0", "'0' is no number"),
        ("knn:", "'' is no number"),
        ("knn:-1", "'-1' is no number"),
        ("knn:1:2", "'1:2' is no number"),
        ("knn:²", "'²' is no number"),
        ("knn:99999", "is no number"),
        ("mahalanobis:3", "'3' is no number"),
        ("classifier:3", "'3' is no number"),
    ],
)
def test_unknown_names_are_refused(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scorer(text)
    assert hint in caught.value.message
    assert caught.value.hint


def test_the_default_suits_a_machine_without_siblings() -> None:
    assert choose_scorer("auto").text == DEFAULT_SCORER
    assert choose_scorer("auto").kind in (*KINDS, ENSEMBLE)
    assert "siblings" not in choose_scorer("auto").text
    assert choose_scorer("knn:3").text == "knn:3"


CLASSES = ("fan/00/speed_1", "fan/00/speed_2", "fan/02", "pump/00")


def facts_with(classes: tuple[str, ...], score_hop: int | None = None) -> NetworkFacts:
    return ABOUT.model_copy(update={"head": HeadFacts(kind="softmax", classes=classes), "score_hop": score_hop})


def test_the_classifier_scores_its_own_section() -> None:
    about = facts_with(CLASSES)
    assert about.places == ("fan/00", "fan/02", "pump/00")
    scorer = fit_scorer(parse_scorer("classifier"), {}, about, "fan", ["02"])
    p_W = np.array([0.5, 0.999, 1e-6])
    odds_WP = np.stack([np.zeros(3), np.log((1 - p_W) / p_W), np.ones(3)], 1)
    np.testing.assert_allclose(scorer.score({"classes": odds_WP}, "02"), -np.log(p_W))
    again = load_scorer("classifier", ["02"], scorer.arrays())
    assert again.score({"classes": odds_WP}, "02").tobytes() == scorer.score({"classes": odds_WP}, "02").tobytes()


def test_the_classifier_does_not_saturate() -> None:
    scorer = ClassifierScorer({"00": 0}, stretches=False)
    scores_W = scorer.score({"classes": np.array([[-40.0], [-60.0], [-200.0]])}, "00")
    assert (np.diff(scores_W) < 0).all()
    assert scores_W.min() > 0
    np.testing.assert_allclose(scores_W, np.exp([-40.0, -60.0, -200.0]))
    logs_W = scorer.log_score({"classes": np.array([[-40.0], [-60.0], [-200.0], [-1e4]])}, "00")
    np.testing.assert_allclose(logs_W[:3], [-40.0, -60.0, -200.0])
    assert np.isfinite(logs_W).all()


def test_what_is_fused_of_the_classifier_is_the_logarithm_of_its_score() -> None:
    """Where a window is strange, the log-odds are the score itself, and far above its logarithm."""
    odds_WP = np.linspace(-20, 50, 8)[:, None]
    scorer = ClassifierScorer({"00": 0}, stretches=False)
    logs_W = scorer.log_score({"classes": odds_WP}, "00")
    np.testing.assert_allclose(np.exp(logs_W), scorer.score({"classes": odds_WP}, "00"))
    assert logs_W[-1] == pytest.approx(np.log(50))
    of_stretches = ClassifierScorer({"00": 0}, stretches=True)
    np.testing.assert_array_equal(of_stretches.log_score({"classes": odds_WP}, "00"), odds_WP[:, 0])


def test_the_classifier_of_stretches_scores_log_odds() -> None:
    scorer = fit_scorer(parse_scorer("classifier"), {}, facts_with(CLASSES, 1), "pump", ["00"])
    odds_WP = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(scorer.score({"classes": odds_WP}, "00"), odds_WP[:, 2])
    again = load_scorer("classifier", ["00"], scorer.arrays())
    np.testing.assert_array_equal(again.score({"classes": odds_WP}, "00"), odds_WP[:, 2])


@pytest.mark.parametrize(
    "about", [ABOUT, facts_with(CLASSES), facts_with(("valve/00/fast", "valve/00/slow"))], ids=["none", "others", "one"]
)
def test_a_section_that_the_classifier_does_not_tell_is_refused(about: NetworkFacts) -> None:
    with pytest.raises(UsageError, match="valve 00"):
        fit_scorer(parse_scorer("classifier"), {}, about, "valve", ["00"])


def fused_of(name: str) -> Fused:
    """A network's scorer and a baseline on other features, with scales from ten held-out normals."""
    parsed = parse_scorer(name)
    part = fit_scorer(parsed.alone, {"network": normals_of(NORMALS[:50])}, ABOUT, "fan", ["00"])
    baseline = BaselineScorer.fit(ALONE, normals_of(cloud(5, 60, 4)), ["00"])
    held = {"network": NORMALS[50:], "pooled": cloud(5, 60, 4)[50:]}
    logs_2N = np.stack([part.log_score(held, "00"), log(baseline.score(held, "00"))])
    return Fused(name, (part, baseline), {"00": scale_of(logs_2N)}, parsed.fusion == "fused-min")


@pytest.mark.parametrize("name", ["fused:knn", "fused-min:knn", "fused:mahalanobis", "fused-min:gmm:2"])
def test_fusion_by_the_formula(name: str) -> None:
    fused = fused_of(name)
    x = {"network": TESTS, "pooled": cloud(6, 9, 4)}
    held = {"network": NORMALS[50:], "pooled": cloud(5, 60, 4)[50:]}
    z, deviations = [], []
    for scorer in fused.parts:
        logs_H, logs_N = np.log(scorer.score(held, "00")), np.log(scorer.score(x, "00"))
        z.append((logs_N - logs_H.mean()) / logs_H.std())
        deviations.append(logs_H.std())
    together_N = np.minimum(*z) if name.startswith("fused-min") else (z[0] + z[1]) / 2
    expected_N = np.exp(together_N * (deviations[0] + deviations[1]) / 2)
    np.testing.assert_allclose(fused.score(x, "00"), expected_N, rtol=1e-9)
    again = load_scorer(name, ["00"], fused.arrays())
    assert again.score(x, "00").tobytes() == fused.score(x, "00").tobytes()


def test_fusion_of_what_does_not_spread_leaves_the_other_a_say() -> None:
    scale_22 = scale_of(np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]))
    np.testing.assert_allclose(scale_22, [[1, SMALLEST_SPREAD], [1, np.std([0, 1, 2])]])
    assert fuse(np.array([[1.0], [1.0]]), scale_22, minimum=False) == pytest.approx(0.0)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.booleans())
def test_fused_scores_are_finite_and_positive(of_network: float, of_baseline: float, minimum: bool) -> None:
    scale_22 = scale_of(np.zeros((2, 1)))
    logs_2W = log(np.array([[of_network], [of_baseline]]))
    assert logs_2W.min() >= np.log(SMALLEST_DISTANCE)
    (fused,) = np.exp(fuse(logs_2W, scale_22, minimum))
    assert 0 < fused < np.inf


def test_what_is_fused_can_be_fused_again() -> None:
    """Its logarithm is z-scored like that of any other scorer."""
    inner = fused_of("fused:knn")
    x = {"network": TESTS, "pooled": cloud(6, 9, 4)}
    scale_22 = np.array([[0.1, 0.3], [1.0, 0.2]])
    outer = Fused("outer", (inner, inner.parts[1]), {"00": scale_22})
    z = [(np.log(p.score(x, "00")) - m) / s for p, (m, s) in zip(outer.parts, scale_22, strict=True)]
    np.testing.assert_allclose(outer.score(x, "00"), np.exp(0.25 * (z[0] + z[1]) / 2))
