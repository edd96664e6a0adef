"""The table that the challenge's own evaluator writes, line by line, with its slips, and the right values beside them.

Two slips, of which the output carries no trace:

- ``official score ci95`` (2022 on) is a jackknife over all clips whose variance is divided by N·(N − 1) instead of
  multiplied by (N − 1)/N: too small by (N − 1)². Besides, it is that of the AUC and pAUC over the clips of all machines
  together, not of the official score.
- ``source harmonic mean`` and ``target harmonic mean`` of a machine (2022 only) split the list of its source and target
  values at half the number of sections, not after the source values.

The figures come from scikit-learn and SciPy, as the evaluators' own do.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from asd.evaluate.metrics import auc, pauc, precision_recall_f1
from asd.evaluate.official import MAX_FPR
from asd.evaluate.roc import weighted_auc
from asd.evaluate.scored import Scored

Line = list[str | float]

MEANS = ("AUC", "pAUC", "precision", "recall", "F1 score")
DOMAINS = ("source", "target")
_DECIDED = ("precision", "recall", "F1 score")
_EVERYTHING = " over all machine types, sections, and domains"
_CHUNK = 256
"""Clips left out at once."""


@dataclass(frozen=True, slots=True)
class Slip:
    """Values of the evaluator that are not what they are called.

    Attributes:
        machine: empty for a line about all machines.
        line: its title in the table.
        printed: the evaluator's value, by column; NaN where it has none.
        right: what the title promises.
    """

    machine: str
    line: str
    printed: Mapping[str, float]
    right: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EvaluatorTable:
    """The evaluator's output: its lines, and which of them not to believe."""

    lines: list[Line]
    slips: tuple[Slip, ...]

    def csv(self) -> str:
        """Return the lines as the evaluator writes them."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows(self.lines)
        return stream.getvalue()


def evaluator_table(groups: Sequence[Scored], year: int) -> EvaluatorTable:
    """Return what the evaluator of `year` would write for these sections.

    Raises:
        ValueError: decisions or domains are missing that it needs; names machine and section.
    """
    machines = [(m, list(own)) for m, own in groupby(groups, key=lambda g: g.machine)]
    if year == 2020:
        return EvaluatorTable([line for m, own in machines for line in _lines_2020(m, own)], ())
    for group in groups:
        _require_domains(group)
    if year == 2021:
        return _table_2021(machines)
    return _table_2022(machines, groups, year)


def _lines_2020(machine: str, groups: Sequence[Scored]) -> list[Line]:
    figures = [(auc(g.labels_B, g.scores_B), pauc(g.labels_B, g.scores_B, MAX_FPR)) for g in groups]
    rows: list[Line] = [[g.section, *pair] for g, pair in zip(groups, figures, strict=True)]
    return [[machine], ["id", "AUC", "pAUC"], *rows, ["Average", *_floats(np.mean(figures, axis=0))], []]


def _table_2021(machines: Sequence[tuple[str, Sequence[Scored]]]) -> EvaluatorTable:
    lines: list[Line] = []
    everything = []
    for machine, groups in machines:
        lines += [[machine], ["section", "domain", *MEANS]]
        columns = []
        for domain in DOMAINS:
            for group in groups:
                own_B = group.domains_B == domain
                column = [auc(group.labels_B[own_B], group.scores_B[own_B])]
                column += [pauc(group.labels_B[own_B], group.scores_B[own_B], MAX_FPR), *_decided(group, domain)]
                lines.append([group.section, domain, *column])
                columns.append(column)
        values_FC = np.array(columns).T
        lines += [["arithmetic mean", "", *_arithmetic(values_FC)], ["harmonic mean", "", *_harmonic(values_FC)], []]
        everything.append(values_FC)
    values_FC = np.concatenate(everything, axis=1)
    lines += [["", "", *MEANS], [f"arithmetic mean{_EVERYTHING}", "", *_arithmetic(values_FC)]]
    lines += [[f"harmonic mean{_EVERYTHING}", "", *_harmonic(values_FC)], []]
    return EvaluatorTable(lines, ())


def _table_2022(
    machines: Sequence[tuple[str, Sequence[Scored]]], groups: Sequence[Scored], year: int
) -> EvaluatorTable:
    lines: list[Line] = []
    slips = []
    everything = []
    for machine, own in machines:
        cells = [_cells_2022(group) for group in own]
        lines += [[machine], ["section", *cells[0]]]
        lines += [[group.section, *row.values()] for group, row in zip(own, cells, strict=True)]
        values_FDS = _by_domain(cells)
        lines += [["", "", *MEANS], *_means(values_FDS, len(own) // 2 if year == 2022 else len(own)), []]
        if year == 2022:
            slips += _split_slips(machine, values_FDS)
        everything.append(values_FDS)
    values_FDS = np.concatenate(everything, axis=2)
    means = _means(values_FDS, values_FDS.shape[2])
    lines += [["", "", *MEANS], *([f"{title}{_EVERYTHING}", *rest] for title, *rest in means), []]
    official = float(stats.hmean(_clamped(np.concatenate([*values_FDS[0], values_FDS[1, 0]]))))
    ci95, right = _jackknife(groups)
    lines += [["official score", "", official], ["official score ci95", "", ci95], []]
    slips.append(Slip("", "official score ci95", {"AUC and pAUC": ci95}, {"AUC and pAUC": right}))
    return EvaluatorTable(lines, tuple(slips))


def _cells_2022(group: Scored) -> dict[str, float]:
    """Return the columns of a section's line, in their order."""
    cells = {"AUC (all)": auc(group.labels_B, group.scores_B)}
    for domain in DOMAINS:
        against_B = (group.domains_B == domain) | (group.labels_B == 1)
        cells[f"AUC ({domain})"] = auc(group.labels_B[against_B], group.scores_B[against_B])
    cells["pAUC"] = pauc(group.labels_B, group.scores_B, MAX_FPR)
    decided = {domain: _decided(group, domain) for domain in DOMAINS}
    for place, name in enumerate(_DECIDED):
        cells |= {f"{name} ({domain})": decided[domain][place] for domain in DOMAINS}
    return cells


def _by_domain(cells: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """Return (figures of `MEANS`, domains, sections). The pAUC, which takes all clips, is that of both domains."""
    named = [["pAUC"] * 2 if name == "pAUC" else [f"{name} ({domain})" for domain in DOMAINS] for name in MEANS]
    return np.array([[[row[column] for row in cells] for column in columns] for columns in named])


def _means(values_FDS: NDArray[np.float64], split: int) -> list[Line]:
    """Return the lines of means; `split` is where the target's values begin, for the evaluator."""
    values_FC = values_FDS.reshape(len(MEANS), -1)
    return [
        ["arithmetic mean", "", *_arithmetic(values_FC)],
        ["harmonic mean", "", *_harmonic(values_FC)],
        ["source harmonic mean", "", *_harmonic(values_FC[:, :split])],
        ["target harmonic mean", "", *_harmonic(values_FC[:, split:])],
    ]


def _split_slips(machine: str, values_FDS: NDArray[np.float64]) -> list[Slip]:
    sections = values_FDS.shape[2]
    both = zip(_means(values_FDS, sections // 2)[2:], _means(values_FDS, sections)[2:], strict=True)
    return [
        Slip(
            machine,
            str(title),
            dict(zip(MEANS, map(float, printed), strict=True)),
            dict(zip(MEANS, map(float, right), strict=True)),
        )
        for (title, _, *printed), (_, _, *right) in both
    ]


def _jackknife(groups: Sequence[Scored]) -> tuple[float, float]:
    """Return half the 95 % interval of AUC and pAUC over the clips of all machines, their mean: printed, and right.

    Mesaros et al. (2019), "Sound Event Detection in the DCASE 2017 Challenge", section IV.
    """
    scores_B = np.concatenate([g.scores_B for g in groups])
    labels_B = np.concatenate([g.labels_B for g in groups])
    n = len(scores_B)
    printed = []
    for max_fpr in (1.0, MAX_FPR):
        without_B = np.concatenate([_left_out(scores_B, labels_B, max_fpr, first) for first in range(0, n, _CHUNK)])
        printed.append(math.sqrt(np.square(without_B - without_B.mean()).sum() / (n * (n - 1))))
    half = float(stats.t.ppf(0.975, n - 1) * np.mean(printed))
    return half, half * (n - 1)


def _left_out(
    scores_B: NDArray[np.float64], labels_B: NDArray[np.int64], max_fpr: float, first: int
) -> NDArray[np.float64]:
    """Return the areas without one clip each, from the clip `first` on."""
    count = min(_CHUNK, len(scores_B) - first)
    weights_RB = np.ones((count, len(scores_B)))
    weights_RB[np.arange(count), first + np.arange(count)] = 0
    return weighted_auc(scores_B, labels_B, weights_RB, max_fpr)


def _decided(group: Scored, domain: str) -> list[float]:
    if group.decisions_B is None:
        raise ValueError(f"{group.machine} {group.section}: no decisions, which the challenge's evaluator needs")
    own_B = group.domains_B == domain
    return list(precision_recall_f1(group.labels_B[own_B], group.decisions_B[own_B]))


def _require_domains(group: Scored) -> None:
    known = (
        set() if group.domains_B is None else set(zip(group.domains_B.tolist(), group.labels_B.tolist(), strict=True))
    )
    if known != {(domain, label) for domain in DOMAINS for label in (0, 1)}:
        where = f"{group.machine} {group.section}"
        raise ValueError(f"{where}: normals and anomalies of both domains are needed by the challenge's evaluator")


def _arithmetic(values_FC: NDArray[np.float64]) -> list[float]:
    return _floats(np.mean(values_FC, axis=1))


def _harmonic(values_FC: NDArray[np.float64]) -> list[float]:
    """Return the harmonic mean of each row, NaN of nothing."""
    if not values_FC.shape[1]:
        return [math.nan] * len(values_FC)
    return _floats(stats.hmean(_clamped(values_FC), axis=1))


def _clamped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(values, sys.float_info.epsilon)


def _floats(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values]
