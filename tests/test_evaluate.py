"""Means of each year and bootstrap intervals, against scikit-learn on clips that are really drawn again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import hmean
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

import asd
from asd.evaluate.bootstrap import Interval, Scored, by_machine, drawn, interval, intervals, paired
from asd.evaluate.official import FIGURES, aggregate
from asd.evaluate.roc import weighted_auc, weighted_decisions
from asd.evaluate.scored import scored_of
from asd.runs import ScoreRow

EPSILON = np.finfo(float).eps


def section(
    machine: str = "fan", name: str = "00", *, clips: int = 60, seed: int = 0, domains: bool = True, gain: float = 1.0
) -> Scored:
    """A section with ties among its scores."""
    rng = np.random.default_rng([seed, clips])
    kinds = np.tile([0, 1, 2, 3], clips // 4)  # label and domain
    labels_B, domains_B = kinds % 2, np.where(kinds > 1, "target", "source")
    scores_B = np.round(rng.normal(size=len(kinds)) + gain * labels_B, 1)
    return Scored(machine, name, scores_B, labels_B, domains_B if domains else None, (scores_B > 0.5).astype(np.int64))


@st.composite
def sections(draw: st.DrawFn) -> Scored:
    """Any section with both labels; scores with ties, of any size."""
    score = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False))
    clips = draw(
        st.lists(st.tuples(score, st.integers(0, 1), st.booleans(), st.integers(0, 1)), min_size=2, max_size=40).filter(
            lambda rows: {y for _, y, _, _ in rows} == {0, 1}
        )
    )
    scores, labels, targets, decisions = zip(*clips, strict=True)
    domains = np.where(targets, "target", "source") if draw(st.booleans()) else None
    return Scored("fan", "00", np.array(scores), np.array(labels), domains, np.array(decisions))


def repeated(weights_B: NDArray[np.float64], *values: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    return [np.repeat(v, weights_B.astype(int)) for v in values]


# ---- one section ----------------------------------------------------------------------------------------------------


@given(sections(), st.integers(0, 2**32), st.sampled_from([1.0, 0.1, 0.5, 0.037]))
def test_weighted_areas_are_those_of_repeated_clips(group: Scored, seed: int, max_fpr: float) -> None:
    weights_RB = drawn(group, 5, np.random.default_rng(seed))
    areas = weighted_auc(group.scores_B, group.labels_B, weights_RB, max_fpr)
    for area, weights_B in zip(areas, weights_RB, strict=True):
        scores, labels = repeated(weights_B, group.scores_B, group.labels_B)
        assert area == pytest.approx(roc_auc_score(labels, scores, max_fpr=max_fpr), abs=1e-12)


@given(sections(), st.integers(0, 2**32))
def test_weighted_decisions_are_those_of_repeated_clips(group: Scored, seed: int) -> None:
    assert group.decisions_B is not None
    weights_RB = drawn(group, 5, np.random.default_rng(seed))
    found = weighted_decisions(group.labels_B, group.decisions_B, weights_RB)
    for *ours, weights_B in zip(*found, weights_RB, strict=True):
        labels, decisions = repeated(weights_B, group.labels_B, group.decisions_B)
        theirs = [score(labels, decisions, zero_division=0.0) for score in (precision_score, recall_score, f1_score)]
        assert ours == pytest.approx(theirs, abs=1e-12)
        assert asd.evaluate.precision_recall_f1(labels, decisions) == pytest.approx(theirs, abs=1e-12)


@given(sections(), st.integers(0, 2**32))
def test_each_stratum_keeps_its_number(group: Scored, seed: int) -> None:
    weights_RB = drawn(group, 7, np.random.default_rng(seed))
    domains_B = np.zeros(len(group.labels_B)) if group.domains_B is None else group.domains_B
    for label, domain in itertools.product((0, 1), np.unique(domains_B)):
        own_B = (group.labels_B == label) & (domains_B == domain)
        assert (weights_RB[:, own_B].sum(axis=1) == own_B.sum()).all()


def test_every_clip_of_a_stratum_is_drawn_equally_often() -> None:
    weights_RB = drawn(section(clips=40), 20_000, np.random.default_rng(1))
    assert weights_RB.mean(axis=0) == pytest.approx(1, abs=0.05)
    assert weights_RB.var(axis=0) == pytest.approx(0.9, abs=0.05)  # binomial: n = 10, p = 1/10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores_B": np.array([0.0, np.inf])}, "fan 00: score 1 is not finite"),
        ({"labels_B": np.array([0, 0])}, "fan 00: wanted labels 0"),
        ({"labels_B": np.array([0, 1, 1])}, "of one length"),
        ({"domains_B": np.array(["source", "moon"])}, "the domains source and target only"),
        ({"decisions_B": np.array([0, 2])}, "decisions 0"),
    ],
)
def test_what_is_no_section(change: dict[str, NDArray[np.generic]], message: str) -> None:
    right = {"scores_B": np.array([0.0, 1.0]), "labels_B": np.array([0, 1])}
    with pytest.raises(ValueError, match=message):
        Scored("fan", "00", **(right | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "decisions", "message"),
    [([0, 1], [0], "one length"), ([0, 1], [0, 2], "decisions"), ([0, 3], [0, 1], "labels"), ([[0]], [[0]], "vectors")],
)
def test_decisions_that_are_none(labels: list[int], decisions: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asd.evaluate.precision_recall_f1(labels, decisions)


def test_nothing_decided_is_worth_nothing() -> None:
    assert asd.evaluate.precision_recall_f1([0, 1], [0, 0]) == (0, 0, 0)


# ---- the rules of the years -----------------------------------------------------------------------------------------


def test_2020_is_arithmetic_over_ids_then_machines() -> None:
    groups = [section("fan", "00", seed=1), section("fan", "02", seed=2, gain=3), section("pump", "00", seed=3)]
    found = aggregate(groups, 2020)
    aucs = [roc_auc_score(g.labels_B, g.scores_B) for g in groups]
    assert found.mean["auc"] == pytest.approx(((aucs[0] + aucs[1]) / 2 + aucs[2]) / 2, abs=1e-12)
    assert found.machines["pump"]["auc"] == pytest.approx(aucs[2], abs=1e-12)
    assert found.score is None


@pytest.mark.parametrize("year", [2021, 2022, 2023, 2026])
def test_later_years_are_harmonic_over_everything(year: int) -> None:
    groups = [section("fan", "00", seed=1), section("fan", "01", seed=2, gain=3), section("pump", "00", seed=3)]
    aucs, paucs = [], []
    for g in groups:
        for domain in ("source", "target"):
            own_B = (g.domains_B == domain) | ((g.labels_B == 1) & (year > 2021))
            aucs.append(roc_auc_score(g.labels_B[own_B], g.scores_B[own_B]))
            if year == 2021:
                paucs.append(roc_auc_score(g.labels_B[own_B], g.scores_B[own_B], max_fpr=0.1))
        if year > 2021:
            paucs.append(roc_auc_score(g.labels_B, g.scores_B, max_fpr=0.1))
    found = aggregate(groups, year)
    assert found.mean["auc"] == pytest.approx(hmean(aucs), abs=1e-12)
    assert found.mean["pauc"] == pytest.approx(hmean(paucs), abs=1e-12)
    assert found.mean["auc_source"] == pytest.approx(hmean(aucs[::2]), abs=1e-12)
    assert found.mean["auc_target"] == pytest.approx(hmean(aucs[1::2]), abs=1e-12)
    assert found.score == pytest.approx(hmean(aucs + paucs), abs=1e-12)


def test_a_figure_of_zero_does_not_divide() -> None:
    labels_B = np.tile([0, 1], 4)
    worst = Scored("fan", "00", -labels_B.astype(float), labels_B, np.repeat(["source", "target"], 4), labels_B)
    assert aggregate([worst], 2022).mean["auc"] == pytest.approx(EPSILON)


def test_without_domains_or_decisions_their_figures_are_none() -> None:
    bare = section(domains=False)
    found = aggregate([Scored("fan", "00", bare.scores_B, bare.labels_B)], 2022)
    assert {f for f in FIGURES if found.mean[f] is not None} == {"pauc"}
    assert aggregate([bare], 2020).mean["f1"] is not None


def test_a_domain_without_normals_has_no_figure() -> None:
    labels_B = np.array([0, 0, 1, 1])
    group = Scored("fan", "00", np.arange(4.0), labels_B, np.array(["source", "source", "source", "target"]))
    assert aggregate([group], 2022).score is None
    assert "auc_target" not in aggregate([group], 2022).sections["fan", "00"]


@pytest.mark.parametrize("groups", [[], [section(), section()]])
def test_sections_are_there_once(groups: list[Scored]) -> None:
    with pytest.raises(ValueError, match="each once"):
        aggregate(groups, 2022)


def test_a_year_without_a_challenge() -> None:
    with pytest.raises(ValueError, match="2020 to 2026"):
        aggregate([section()], 2019)


# ---- intervals ------------------------------------------------------------------------------------------------------


def test_an_interval_is_the_percentiles_of_really_drawn_clips() -> None:
    """The same by another road: indices, arrays, scikit-learn; as exact as so many draws are."""
    group, rng = section(clips=80, seed=4), np.random.default_rng(5)
    strata = [
        np.flatnonzero((group.labels_B == y) & (group.domains_B == d)) for y in (0, 1) for d in ("source", "target")
    ]
    values = []
    for _ in range(2000):
        picked = np.concatenate([rng.choice(places, len(places)) for places in strata])
        values.append(roc_auc_score(group.labels_B[picked], group.scores_B[picked], max_fpr=0.1))
    found = interval([group], "pauc", year=2020, resamples=20_000)
    assert found.value == pytest.approx(roc_auc_score(group.labels_B, group.scores_B, max_fpr=0.1), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.02)


@settings(max_examples=20)
@given(st.lists(sections(), min_size=1, max_size=3), st.sampled_from([2020, 2021, 2022]), st.integers(0, 99))
def test_intervals_are_those_of_the_means_of_drawn_sections(groups: list[Scored], year: int, seed: int) -> None:
    """Each resample, taken out of the draws and aggregated as a set of clips of its own, gives the same means."""
    groups = [Scored("fan", str(i), g.scores_B, g.labels_B, g.domains_B, g.decisions_B) for i, g in enumerate(groups)]
    resamples = 6
    rng = np.random.default_rng(seed)
    weights = [drawn(g, resamples, rng) for g in groups]
    means = []
    for r in range(resamples):
        again = []
        for g, weights_RB in zip(groups, weights, strict=True):
            arrays = (g.scores_B, g.labels_B, g.domains_B, g.decisions_B)
            again.append(
                Scored("fan", g.section, *(None if a is None else repeated(weights_RB[r], a)[0] for a in arrays))
            )  # type: ignore[arg-type]
        means.append(aggregate(again, year).mean)
    found = intervals(groups, year=year, resamples=resamples, seed=seed)
    whole = aggregate(groups, year).mean
    assert found.keys() == {figure for figure in FIGURES if whole[figure] is not None}
    for figure, own in found.items():
        low, high = np.quantile([mean[figure] for mean in means], [0.025, 0.975])
        assert (own.value, own.low, own.high) == pytest.approx((whole[figure], low, high), abs=1e-12)


def test_the_same_seed_gives_the_same_interval_in_any_order() -> None:
    groups = [section("fan", "00", seed=1), section("pump", "00", seed=2)]
    assert intervals(groups, year=2022, seed=3) == intervals(groups[::-1], year=2022, seed=3)
    assert intervals(groups, year=2022, seed=3) != intervals(groups, year=2022, seed=4)


def test_machines_have_intervals_of_their_own() -> None:
    groups = [section("fan", "00", seed=1), section("fan", "01", seed=3), section("pump", "00", seed=2)]
    machines, mean = by_machine(groups, year=2022)
    assert mean == intervals(groups, year=2022)
    assert machines["fan"] == intervals(groups[:2], year=2022)  # drawn first, so from the same numbers
    assert machines["pump"]["auc"].value == aggregate(groups[2:], 2022).mean["auc"]


def test_a_system_does_not_differ_from_itself() -> None:
    groups = [section(seed=1)]
    assert paired(groups, groups, "auc") == Interval(0, 0, 0)


def test_a_pair_is_narrower_than_its_systems_apart() -> None:
    """Both are drawn together: what they share cancels."""
    ours = section(clips=200, seed=1)
    rng = np.random.default_rng(2)
    theirs = Scored("fan", "00", ours.scores_B + rng.normal(scale=0.1, size=200), ours.labels_B, ours.domains_B)
    together, alone = paired([ours], [theirs], "auc"), interval([ours], "auc")
    assert together.high - together.low < (alone.high - alone.low) / 3
    expected = interval([ours], "auc").value - interval([theirs], "auc").value
    assert together.value == pytest.approx(expected, abs=1e-12)


def test_a_better_system_is_found_better() -> None:
    ours, theirs = section(clips=200, gain=2.0), section(clips=200, gain=0.5)
    assert paired([ours], [theirs], "official", year=2022).low > 0
    assert paired([theirs], [ours], "official", year=2022).high < 0


def test_seeds_are_averaged_before_they_are_compared() -> None:
    seeds = [[section(seed=s)] for s in range(3)]
    found = interval(seeds, "auc")
    assert found.value == pytest.approx(np.mean([interval(run, "auc").value for run in seeds]), abs=1e-12)
    single = [section(seed=9)]
    assert paired(seeds, single, "auc").value == pytest.approx(found.value - interval(single, "auc").value, abs=1e-12)


def test_runs_on_other_clips_are_not_compared() -> None:
    ours = section(clips=40)
    with pytest.raises(ValueError, match="the sections differ"):
        paired([ours], [section(name="01", clips=40)], "auc")
    with pytest.raises(ValueError, match="fan 00: the clips differ"):
        paired([ours], [section(clips=44)], "auc")
    with pytest.raises(ValueError, match="fan 00: the clips differ"):
        interval([[ours], [section(clips=40, domains=False)]], "auc")


@pytest.mark.parametrize("runs", [[], [[]]])
def test_nothing_has_no_interval(runs: list[Scored]) -> None:
    with pytest.raises(ValueError, match="section"):
        interval(runs, "auc")


def test_a_figure_without_a_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="official has no value by the rules of 2020"):
        interval([section()], "official", year=2020)
    with pytest.raises(ValueError, match="auc_source has no value"):
        paired([section(domains=False)], [section(domains=False)], "auc_source")
    with pytest.raises(ValueError, match="resamples = 0"):
        interval([section()], "auc", resamples=0)


def test_rows_of_two_runs_stand_in_the_same_places() -> None:
    rows = [
        ScoreRow(f"fan/test/{i}.wav", "fan", "00", "source", label, float(i), 1.0, i > 2)
        for i, label in enumerate([0, 1, 0, 1, None])
    ]
    alone = ScoreRow("pump/a.wav", "pump", "00", None, 0, 1.0, 1.0, False)
    (group,) = scored_of([*rows, alone])
    (other,) = scored_of(rows[::-1])
    assert group.scores_B.tolist() == other.scores_B.tolist() == [0, 1, 2, 3]
    assert group.decisions_B is not None and group.decisions_B.tolist() == [0, 0, 0, 1]
    assert group.domains_B is not None
