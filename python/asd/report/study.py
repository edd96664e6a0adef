"""How good a system is, for a researcher: official figures with intervals and seeds, beside the baselines."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from asd.errors import UsageError
from asd.evaluate.bootstrap import Interval, by_machine, intervals, paired
from asd.evaluate.challenge import year_of
from asd.evaluate.official import Figure, aggregate
from asd.evaluate.scored import Scored
from asd.report.systems import Key, Place, System, groups_of, key_of
from asd.runs import ScoreRow

Means: TypeAlias = Mapping[Figure, Interval]

SHOWN: tuple[Figure, ...] = ("official", "auc", "pauc", "auc_source", "auc_target")
"""Figures of a report, the most official first."""

NAMES: Mapping[str, str] = {
    "official": "official score",
    "auc": "AUC",
    "pauc": "pAUC",
    "auc_source": "AUC source",
    "auc_target": "AUC target",
}

RULES = {
    2020: "arithmetic, over IDs, then over machines (DCASE 2020, which has no single score)",
    2021: "harmonic, over machines, sections and domains, each domain with its own clips (DCASE 2021)",
    2022: "harmonic, over machines and sections; the AUC of a domain takes the anomalies of both (DCASE 2022 on)",
}

RESAMPLES = 1000


@dataclass(frozen=True)
class Study:
    """Figures of a system, fractions, with 95 % intervals over clips.

    Attributes:
        year: whose rules the means follow: 2020, 2021, or 2022 for all later ones.
        normals, anomalies: labelled recordings.
        mean: over everything, the mean over seeds.
        machines, sections: of each, likewise.
        seeds: the mean over everything, of each seed.
        beside: means of the scorers beside the deciding one.
        differences: the deciding scorer minus each of them, the same clips drawn for both.
    """

    system: System
    year: int
    normals: int
    anomalies: int
    mean: Means
    machines: Mapping[str, Means]
    sections: Mapping[Place, Means]
    seeds: Mapping[Figure, tuple[float, ...]]
    beside: Mapping[str, Means]
    differences: Mapping[str, Means]

    @property
    def leading(self) -> tuple[Figure, ...]:
        """The figures that open a report: the official score, or where the year has none AUC and pAUC."""
        return ("official", "auc", "pauc") if "official" in self.mean else ("auc", "pauc")

    def headline(self) -> tuple[str, str]:
        """Return the leading figures, and their intervals."""
        figures = [f for f in self.leading if f != "pauc" or "official" not in self.mean]
        values = [f"{NAMES[f]} {100 * self.mean[f].value:.1f} %" for f in figures]
        spans = [f"{NAMES[f]} {100 * self.mean[f].low:.1f} to {100 * self.mean[f].high:.1f}" for f in figures]
        machines = sorted(self.machines)
        where = ", ".join(machines) if len(machines) <= 3 else f"{len(machines)} machines"
        text = f"{', '.join(values)} on {where}."
        return text[0].upper() + text[1:], f"95 %: {'; '.join(spans)}."

    def deviation(self, figure: Figure) -> float | None:
        """Return the standard deviation over seeds, or None of a single one."""
        values = self.seeds.get(figure, ())
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def worst(self) -> Place:
        """Return the section with the lowest AUC."""
        return min(self.sections, key=lambda place: self.sections[place]["auc"].value)

    def gap(self) -> float | None:
        """Return the mean AUC of the source domain minus that of the target domain, or None without domains."""
        if not {"auc_source", "auc_target"} <= self.mean.keys():
            return None
        return self.mean["auc_source"].value - self.mean["auc_target"].value

    def json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        sections: dict[str, dict[str, Any]] = {}
        for (machine, section), own in self.sections.items():
            sections.setdefault(machine, {})[section] = _json(own)
        machine, section = self.worst()
        return {
            "year": self.year,
            "rules": RULES[self.year],
            "runs": [str(m.run.path) for m in self.system.runs],
            "seeds": [number for number, _ in self.system.seeds],
            "n_normal": self.normals,
            "n_anomaly": self.anomalies,
            "mean": _json(self.mean),
            "machines": {m: _json(own) for m, own in self.machines.items()},
            "sections": sections,
            "by_seed": {figure: list(values) for figure, values in self.seeds.items()},
            "beside": {name: _json(own) for name, own in self.beside.items()},
            "differences": {name: _json(own) for name, own in self.differences.items()},
            "worst_section": {"machine": machine, "section": section},
            "source_target_gap": self.gap(),
        }


def study_of(system: System, only: Container[Key] | None = None) -> Study | None:
    """Measure a system, or return None where no section has known normals and known anomalies.

    Args:
        only: recordings to measure it on; default: all that it has scored.
    """
    ours = groups_of(_rows(system, None, only))
    if not ours[0]:
        return None
    year = rules_of(ours[0], system.rows()[0])
    machines, mean = by_machine(ours, year=year, resamples=RESAMPLES)
    sections = {
        (own[0].machine, own[0].section): intervals([[g] for g in own], year=year, resamples=RESAMPLES)
        for own in zip(*ours, strict=True)
    }
    by_seed = [aggregate(groups, year).mean for groups in ours]
    beside, differences = _beside(system, mean, year, only)
    return Study(
        system=system,
        year=year,
        normals=sum(int((g.labels_B == 0).sum()) for g in ours[0]),
        anomalies=sum(int((g.labels_B == 1).sum()) for g in ours[0]),
        mean=_shown(mean),
        machines={m: _shown(own) for m, own in machines.items()},
        sections={place: _shown(own) for place, own in sections.items()},
        seeds={f: tuple(cast(float, own[f]) for own in by_seed) for f in SHOWN if f in mean},
        beside=beside,
        differences=differences,
    )


def rules_of(groups: Sequence[Scored], rows: Sequence[ScoreRow]) -> int:
    """Return the year whose rules fit: that of the names, else 2022 for recordings with domains and 2020 without."""
    try:
        year = year_of({r.path for r in rows})
    except UsageError:
        return 2022 if all(g.domains_B is not None for g in groups) else 2020
    # Without both domains in every section the later rules have no value.
    return year if year == 2020 or all(g.domains_B is not None for g in groups) else 2020


def _rows(system: System, scorer: str | None, only: Container[Key] | None) -> list[list[ScoreRow]]:
    tables = system.rows(scorer)
    return tables if only is None else [[r for r in rows if key_of(r) in only] for rows in tables]


def _beside(
    system: System, mean: Mapping[Figure, Interval], year: int, only: Container[Key] | None
) -> tuple[dict[str, Means], dict[str, Means]]:
    beside: dict[str, Means] = {}
    differences: dict[str, Means] = {}
    for name in system.beside:
        both = groups_of([*_rows(system, None, only), *_rows(system, name, only)])
        ours, theirs = both[: len(system.seeds)], both[len(system.seeds) :]
        beside[name] = _shown(intervals(theirs, year=year, resamples=RESAMPLES))
        differences[name] = {
            figure: paired(ours, theirs, figure, year=year, resamples=RESAMPLES)
            for figure in SHOWN
            if figure in mean and figure in beside[name]
        }
    return beside, differences


def _shown(means: Mapping[Figure, Interval]) -> dict[Figure, Interval]:
    return {figure: means[figure] for figure in SHOWN if figure in means}


def _json(means: Means) -> dict[str, dict[str, float]]:
    return {figure: {"value": own.value, "low": own.low, "high": own.high} for figure, own in means.items()}
