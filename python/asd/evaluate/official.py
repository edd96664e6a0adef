"""The means of the DCASE challenges, by the rules of each year.

- 2020: arithmetic, over the IDs of a machine, then over machines. No single score.
- 2021: harmonic, over all machines, sections and domains. A domain's AUC and pAUC take its own clips. Official score:
  the harmonic mean of all of them.
- 2022 on: harmonic. The AUC of a domain takes its normals and the anomalies of both domains, the pAUC all clips of the
  section. Official score: the harmonic mean of AUC source, AUC target and pAUC of all machines and sections.

Values below the float's epsilon count as that in a harmonic mean. Sources: the task descriptions and evaluators of
DCASE 2020 to 2025, Task 2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from asd.evaluate.roc import weighted_auc, weighted_decisions
from asd.evaluate.scored import Scored

Figure: TypeAlias = Literal["auc", "pauc", "auc_source", "auc_target", "precision", "recall", "f1", "official"]
FIGURES: tuple[Figure, ...] = get_args(Figure)

Cells: TypeAlias = Mapping[str, NDArray[np.float64]]
"""Figures of one section by name, each (R,): a value for each resample."""

MAX_FPR = 0.1
FIRST_YEAR, LAST_YEAR = 2020, 2026

_DOMAINS = ("source", "target")
_DECIDED = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Official:
    """Figures by the rules of a year; fractions, None where clips have no domains or no decisions.

    Attributes:
        sections: machine and section to its figures: ``auc``, ``pauc``, ``auc_source``, ``precision_target``, ...
        machines: machine to the means over its sections.
        mean: the means over everything; ``official`` is None in 2020.
    """

    year: int
    sections: Mapping[tuple[str, str], Mapping[str, float]]
    machines: Mapping[str, Mapping[Figure, float | None]]
    mean: Mapping[Figure, float | None]

    @property
    def score(self) -> float | None:
        """The official score."""
        return self.mean["official"]


def aggregate(groups: Sequence[Scored], year: int) -> Official:
    """Return the figures of each section and their means by the rules of `year`.

    Raises:
        ValueError: no section, one that is there twice, or a year without a challenge.
    """
    cells = {(g.machine, g.section): section_cells(g, np.ones((1, len(g.labels_B))), year) for g in groups}
    if len(cells) != len(groups) or not groups:
        raise ValueError(f"{len(groups)} sections, {len(cells)} of them different: wanted some, each once")
    machines = {m: [cells[key] for key in keys] for m, keys in _by_machine(cells)}
    return Official(
        year,
        {key: {name: float(value_R[0]) for name, value_R in own.items()} for key, own in cells.items()},
        {m: _means({m: own}, year) for m, own in machines.items()},
        _means(machines, year),
    )


def section_cells(group: Scored, weights_RB: NDArray[np.float64], year: int) -> dict[str, NDArray[np.float64]]:
    """Return the figures of a section that have a value, (R,) each, for R weightings of its clips."""
    everything = np.ones(len(group.labels_B), dtype=bool)
    cells = _areas(group, everything, weights_RB, "") | _decided(group, everything, weights_RB, "")
    if group.domains_B is None:
        return cells
    for domain in _DOMAINS:
        own_B = np.asarray(group.domains_B == domain)
        against_B = own_B if _rules(year) == 2021 else own_B | (group.labels_B == 1)
        if {0, 1} <= set(group.labels_B[against_B].tolist()):
            cells |= _areas(group, against_B, weights_RB, f"_{domain}")
        if own_B.any():
            cells |= _decided(group, own_B, weights_RB, f"_{domain}")
    return cells


def combine(machines: Mapping[str, Sequence[Cells]], figure: Figure, year: int) -> NDArray[np.float64] | None:
    """Return the mean of a figure by the rules of `year`, (R,), or None where a section lacks what it is made of.

    Args:
        machines: machine to the cells of its sections.
    """
    parts = _parts(figure, year)
    if not parts or not all(part in cells for own in machines.values() for cells in own for part in parts):
        return None
    by_machine = [np.stack([cells[part] for cells in own for part in parts]) for own in machines.values()]
    if _rules(year) == 2020:
        return np.asarray(np.mean([values_CR.mean(axis=0) for values_CR in by_machine], axis=0))
    return harmonic_mean(np.concatenate(by_machine))


def harmonic_mean(values_CR: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the harmonic mean over the first axis; values below the float's epsilon count as that."""
    return np.asarray(len(values_CR) / (1 / np.maximum(values_CR, sys.float_info.epsilon)).sum(axis=0))


def _rules(year: int) -> Literal[2020, 2021, 2022]:
    """Return the year that the rules of `year` come from."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"year = {year}: wanted {FIRST_YEAR} to {LAST_YEAR}")
    return 2020 if year == 2020 else 2021 if year == 2021 else 2022


def _parts(figure: Figure, year: int) -> tuple[str, ...]:
    """Return the figures of a section that enter a mean."""
    rules = _rules(year)
    if figure in ("auc_source", "auc_target"):
        return (figure,)
    if figure == "official":
        both = _parts("auc", year) + _parts("pauc", year)
        return () if rules == 2020 else both
    if rules == 2020 or (figure == "pauc" and rules == 2022):
        return (figure,)
    return tuple(f"{figure}_{domain}" for domain in _DOMAINS)


def _areas(
    group: Scored, taken_B: NDArray[np.bool_], weights_RB: NDArray[np.float64], suffix: str
) -> dict[str, NDArray[np.float64]]:
    scores, labels, weights = group.scores_B[taken_B], group.labels_B[taken_B], weights_RB[:, taken_B]
    return {
        f"auc{suffix}": weighted_auc(scores, labels, weights),
        f"pauc{suffix}": weighted_auc(scores, labels, weights, MAX_FPR),
    }


def _decided(
    group: Scored, taken_B: NDArray[np.bool_], weights_RB: NDArray[np.float64], suffix: str
) -> dict[str, NDArray[np.float64]]:
    if group.decisions_B is None:
        return {}
    values = weighted_decisions(group.labels_B[taken_B], group.decisions_B[taken_B], weights_RB[:, taken_B])
    return {f"{name}{suffix}": value_R for name, value_R in zip(_DECIDED, values, strict=True)}


def _by_machine(keys: Iterable[tuple[str, str]]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(m, list(own)) for m, own in groupby(sorted(keys), key=lambda key: key[0])]


def _means(machines: Mapping[str, Sequence[Cells]], year: int) -> dict[Figure, float | None]:
    means = {figure: combine(machines, figure, year) for figure in FIGURES}
    return {figure: None if mean_R is None else float(mean_R[0]) for figure, mean_R in means.items()}
