"""Everything that can be said of a submission with its labels: figures, means by the year's rules, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asd.evaluate.bootstrap import Interval, by_machine
from asd.evaluate.official import Figure, Official, aggregate
from asd.evaluate.scored import Scored


@dataclass(frozen=True)
class Assessment:
    """Figures of a submission, fractions.

    Attributes:
        official: of each section, and means by the rules of the year.
        machines: for each machine its means with 95 % intervals.
        mean: the means over everything with 95 % intervals.
    """

    groups: tuple[Scored, ...]
    official: Official
    machines: Mapping[str, Mapping[Figure, Interval]]
    mean: Mapping[Figure, Interval]

    def json(self) -> dict[str, Any]:
        """Return ``machines`` and ``mean`` in the shape of ``metrics.json``, and ``intervals`` of both."""
        sections: dict[str, dict[str, dict[str, float | int]]] = {}
        for group in self.groups:
            figures = self.official.sections[group.machine, group.section]
            counts = {"n_normal": int((group.labels_B == 0).sum()), "n_anomaly": int((group.labels_B == 1).sum())}
            sections.setdefault(group.machine, {})[group.section] = {**figures, **counts}
        return {
            "year": self.official.year,
            "machines": sections,
            "mean": dict(self.official.mean),
            "machine_means": {m: dict(means) for m, means in self.official.machines.items()},
            "intervals": {
                "mean": _ranges(self.mean),
                "machines": {m: _ranges(own) for m, own in self.machines.items()},
            },
        }


def assess(groups: Sequence[Scored], year: int, resamples: int = 1000) -> Assessment:
    """Return the figures of scored sections by the rules of `year`, with intervals over so many resamples."""
    machines, mean = by_machine(groups, year=year, resamples=resamples)
    return Assessment(tuple(groups), aggregate(groups, year), machines, mean)


def _ranges(intervals: Mapping[Figure, Interval]) -> dict[str, list[float]]:
    return {figure: [own.low, own.high] for figure, own in intervals.items()}
