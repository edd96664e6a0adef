"""AUC and pAUC against published figures, and their means."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asd
from asd.evaluate.dcase import section_figures, summarise
from asd.runs import ScoreRow


def published(golden: Path) -> dict[str, tuple[float, float]]:
    """AUC and pAUC of each line of the authors' own table."""
    rows = csv.reader((golden / "metrics" / "toycar2020" / "result.csv").read_text().splitlines())
    return {r[0]: (float(r[1]), float(r[2])) for r in rows if len(r) == 3 and r[0] != "id"}


def clip_scores(golden: Path, section: str) -> tuple[list[int], list[float]]:
    file = golden / "metrics" / "toycar2020" / f"anomaly_score_ToyCar_id_{section}.csv"
    rows = [line.split(",") for line in file.read_text().split()]
    return [int(name.startswith("anomaly")) for name, _ in rows], [float(score) for _, score in rows]


def test_reproduces_every_published_figure(golden: Path) -> None:
    figures = published(golden)
    sections = [s for s in figures if s != "Average"]
    assert len(sections) == 4
    ours = {
        s: (asd.evaluate.auc(*clip_scores(golden, s)), asd.evaluate.pauc(*clip_scores(golden, s))) for s in sections
    }
    ours["Average"] = (np.mean([v[0] for v in ours.values()]), np.mean([v[1] for v in ours.values()]))
    for name, expected in figures.items():
        assert ours[name] == pytest.approx(expected, abs=1e-12), name


def test_pauc_of_chance_perfection_and_the_worst() -> None:
    labels = [0] * 50 + [1] * 50
    assert asd.evaluate.pauc(labels, labels) == 1
    assert asd.evaluate.pauc(labels, [1 - y for y in labels]) == pytest.approx(0.4737, abs=1e-4)
    assert asd.evaluate.pauc(labels, [0.0] * 100) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=2))
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, int]]) -> None:
    normals = [s for y, s in pairs if y == 0]
    anomalies = [s for y, s in pairs if y == 1]
    labels, scores = [y for y, _ in pairs], [float(s) for _, s in pairs]
    if not normals or not anomalies:
        with pytest.raises(ValueError, match="both 0"):
            asd.evaluate.auc(labels, scores)
        return
    won = sum((a > n) + 0.5 * (a == n) for a in anomalies for n in normals)
    assert asd.evaluate.auc(labels, scores) == pytest.approx(won / (len(normals) * len(anomalies)))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [1.0, float("nan")], "entry 1 is not finite"),
        ([0, 1], [1.0], "one length"),
        ([0, 2], [1.0, 2.0], "both 0"),
    ],
)
def test_refuses_what_has_no_auc(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asd.evaluate.auc(labels, scores)


def test_max_fpr_out_of_range() -> None:
    with pytest.raises(ValueError, match="max_fpr"):
        asd.evaluate.pauc([0, 1], [0.0, 1.0], max_fpr=0)


def row(machine: str, section: str, label: int | None, score: float, domain: str | None = None) -> ScoreRow:
    return ScoreRow(f"{machine}/{section}/{score}", machine, section, domain, label, score, 1.0, score > 1.0)


def test_mean_is_over_machines_of_means_over_sections() -> None:
    perfect = [row("fan", "00", 0, 0.0), row("fan", "00", 1, 1.0)]
    chance = [row("fan", "02", 0, 1.0), row("fan", "02", 1, 1.0)]
    wrong = [row("pump", "00", 0, 1.0), row("pump", "00", 1, 0.0)]
    summary = summarise(perfect + chance + wrong)
    assert summary["mean"]["auc"] == pytest.approx(((1 + 0.5) / 2 + 0) / 2)


def test_without_anomalies_a_figure_is_none() -> None:
    summary = summarise([row("fan", "00", 0, 0.0), row("fan", "00", None, 5.0)])
    assert summary["mean"] == {"auc": None, "pauc": None}
    assert summary["machines"]["fan"]["00"]["n_normal"] == 1


def test_a_domain_has_its_own_normals_and_all_anomalies() -> None:
    rows = [
        row("fan", "00", 0, 0.0, "source"),
        row("fan", "00", 0, 2.0, "target"),
        row("fan", "00", 1, 1.0, "source"),
        row("fan", "00", 1, 3.0, "target"),
    ]
    figures = section_figures(rows)
    assert figures["auc_source"] == 1.0
    assert figures["auc_target"] == 0.5
