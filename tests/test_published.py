"""The published figures, against the averages that can be computed from their own cells."""

from __future__ import annotations

import math
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from asd.evaluate.published import DCASE2020, DCASE2022, MACHINES_2020, MACHINES_2022, Published, split_2020

TABLES = [(MACHINES_2020, row) for row in DCASE2020] + [(MACHINES_2022, row) for row in DCASE2022]


def row(method: str, source: str = "") -> Published:
    (found,) = [r for _, r in TABLES if r.method == method and source in r.source]
    return found


def rounded(value: float) -> str:
    return str(Decimal(f"{value:.6f}").quantize(Decimal("0.01"), ROUND_HALF_UP))


@pytest.mark.parametrize(
    ("method", "source", "auc", "second"),
    [
        ("Glow-Aff", "", "84.67", "73.33"),
        ("STgram-MFN", "arXiv", "90.64", "87.76"),
        ("Contrastive learning with spectrum augmentation", "", "93.87", "87.60"),
        ("MN+P", "", "70.79", "64.08"),
        ("MFN", "", "67.46", "60.40"),
    ],
)
def test_averages_that_do_not_follow_from_the_cells(method: str, source: str, auc: str, second: str) -> None:
    found = row(method, source)
    machines = MACHINES_2020 if found in DCASE2020 else MACHINES_2022
    assert not found.average_follows(machines)
    mean = found.recomputed(machines)
    assert mean is not None
    assert (rounded(mean[0]), rounded(mean[1])) == (auc, second)


def test_all_other_averages_follow_from_the_cells() -> None:
    differing = {
        (r.method, r.source) for machines, r in TABLES if r.average is not None and not r.average_follows(machines)
    }
    assert len(differing) == 5
    mean = row("MFN+P").recomputed(MACHINES_2022)
    assert mean is not None
    assert (rounded(mean[0]), rounded(mean[1])) == ("74.82", "66.69")
    assert row("GeCo").average_follows(MACHINES_2020)
    assert row("STgram-MFN", "repository").average_follows(MACHINES_2020)


def test_the_baseline_prints_no_average() -> None:
    baseline = row("Autoencoder (challenge baseline)")
    assert baseline.average is None
    mean = baseline.recomputed(MACHINES_2020)
    assert mean is not None
    assert (rounded(mean[0]), rounded(mean[1])) == ("73.66", "59.67")


def test_without_toyconveyor_the_order_turns() -> None:
    five = tuple(m for m in MACHINES_2020 if m != "ToyConveyor")
    ours, geco = (row(m).recomputed(five) for m in ("Contrastive learning with spectrum augmentation", "GeCo"))
    assert ours is not None and geco is not None
    assert (rounded(ours[0]), rounded(ours[1])) == ("92.87", "86.00")
    assert (rounded(geco[0]), rounded(geco[1])) == ("96.02", "90.44")


def test_every_row_carries_split_and_source() -> None:
    assert len(DCASE2020) == 12
    assert len(DCASE2022) == 4
    for machines, r in TABLES:
        assert r.split in ("development", "evaluation", "not stated")
        assert r.source
        assert set(r.cells) <= set(machines)
        for first, second in r.cells.values():
            assert 40 < first <= 100
            assert math.isnan(second) or 40 < second <= 100
    assert row("Top-1 of the challenge (Giri)").split == "evaluation"
    assert {row(m).split for m in ("GeCo", "Glow-Aff", "Noisy-ArcMix", "OS-SCL")} == {"development"}
    assert row("STgram-MFN", "repository").epoch_on_test is True


def test_a_missing_cell_has_no_mean() -> None:
    assert row("SSAAD").recomputed(MACHINES_2020) is None
    assert row("SSAAD").cells["fan"][0] == 80.11
    assert "ToyCar" not in row("SSAAD").cells


def test_which_set_was_scored() -> None:
    assert split_2020("fan", {"00": (100, 407), "02": (100, 359)}) == "development"
    assert split_2020("ToyCar", {"01": (350, 264)}) == "development"
    assert split_2020("ToyCar", {"01": (75, 132)}) is None  # a part of the development set
    assert split_2020("fan", {"01": (100, 326)}) == "evaluation"
    assert split_2020("fan", {"01": (100, 325)}) is None
    assert split_2020("fan", {"00": (100, 407), "01": (100, 326)}) is None
    assert split_2020("gearbox", {"00": (100, 100)}) is None
    assert split_2020("fan", {}) is None


def test_evaluation_counts_are_those_of_the_label_list(golden: Path) -> None:
    counts: Counter[tuple[str, str, int]] = Counter()
    machine = ""
    for line in (golden / "eval_labels" / "eval_data_list_2020.csv").read_text().splitlines():
        name, *rest = line.split(",")
        if not rest or not rest[0]:
            machine = name
        else:
            counts[machine, name.split("_")[1], int(rest[-1])] += 1
    sections = {(m, s) for m, s, _ in counts}
    assert len(sections) == 18
    for m, s in sections:
        assert split_2020(m, {s: (counts[m, s, 0], counts[m, s, 1])}) == "evaluation"
