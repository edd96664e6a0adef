"""Several systems on the same recordings: figures beside each other, paired differences, where they disagree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from asd.evaluate.bootstrap import Figure, paired
from asd.report.clips import Clip
from asd.report.study import RESAMPLES, SHOWN, Means, Study, rules_of, study_of
from asd.report.systems import Place, System, groups_of, key_of, shared
from asd.runs import ScoreRow
from asd.words import points

DISAGREEMENTS = 20
"""Recordings of a pair that JSON lists."""

LONGEST_NAME = 24
"""Letters of a system's name that a headline bears."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A recording and where two systems rank it among the recordings of its machine ID.

    Attributes:
        first, second: percentile by either system, the mean over seeds; 100 is the least normal.
    """

    clip: Clip
    machine: str
    first: float
    second: float

    @property
    def apart(self) -> float:
        """How much less normal the second system finds it, in percentiles."""
        return self.second - self.first

    @property
    def second_is_right(self) -> bool | None:
        """Whether the second system places it more on its label's side; None without a label."""
        if self.clip.label is None:
            return None
        return (self.apart > 0) == (self.clip.label == 1)


@dataclass(frozen=True)
class Pair:
    """Two systems on the recordings that both have scored.

    Attributes:
        differences: second minus first; empty without labels.
        placed: all of those recordings, the largest disagreement first.
    """

    first: System
    second: System
    differences: Means
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class Comparison:
    """Systems beside each other.

    Attributes:
        recordings: how many all systems have scored.
        studies: of each system on them; on its own recordings where there are none; None without labels.
        pairs: the first system with each other that shares recordings with it.
    """

    systems: tuple[System, ...]
    recordings: int
    studies: tuple[Study | None, ...]
    pairs: tuple[Pair, ...]

    @property
    def labelled(self) -> bool:
        """All systems could be measured."""
        return all(s is not None for s in self.studies)

    @property
    def places(self) -> list[Place]:
        """Machine IDs that a system was measured on."""
        return sorted({place for s in self.studies if s for place in s.sections})

    def headline(self) -> tuple[str, str]:
        """Return which system is ahead, and by how much that is known."""
        known = [s for s in self.studies if s is not None]
        if not self.labelled or not known:
            return f"{len(self.systems)} systems on {self.recordings:,} recordings.", "No labels are known: no AUC."
        figure: Figure = "official" if all("official" in s.mean for s in known) else "auc"
        name = "official score" if figure == "official" else "mean AUC"
        best = max(known, key=lambda s: s.mean[figure].value)
        if len(known) == 2 and self.pairs:
            d = self.pairs[0].differences[figure]
            if d.low <= 0 <= d.high:
                span = f"{points(d.value)} points of {name} (95 %: {points(d.low)} to {points(d.high)})"
                return "No difference that counts.", f"B − A: {span}."
            a, b = (f"{s.letter} ({s.name})" if len(s.name) <= LONGEST_NAME else s.letter for s in self.systems)
            ahead, behind, sign = (b, a, 1) if d.value > 0 else (a, b, -1)
            low, high = sorted((sign * d.low, sign * d.high))
            return (
                f"{ahead} is ahead of {behind} by {100 * abs(d.value):.2f} points of {name}.",
                f"95 %: {points(low)} to {points(high)}, the same recordings drawn for both.",
            )
        return (
            f"{best.system.letter} has the highest {name}: {100 * best.mean[figure].value:.2f} %.",
            f"The highest of {len(known)} is flattered by being the highest: the paired differences tell more.",
        )

    def json(self) -> dict[str, Any]:
        """Return all of it as JSON values, with the largest disagreements of each pair."""
        return {
            "recordings": self.recordings,
            "systems": {
                s.letter: {"name": s.name, **(study.json() if study else {})}
                for s, study in zip(self.systems, self.studies, strict=True)
            },
            "differences": {
                f"{p.second.letter} - {p.first.letter}": {
                    figure: {"value": d.value, "low": d.low, "high": d.high} for figure, d in p.differences.items()
                }
                for p in self.pairs
            },
            "disagreements": {
                f"{p.second.letter} - {p.first.letter}": [
                    {
                        "path": c.clip.name,
                        "section": c.clip.section,
                        "label": c.clip.label,
                        "percentiles": [c.first, c.second],
                    }
                    for c in p.placed[:DISAGREEMENTS]
                ]
                for p in self.pairs
            },
        }


def compare(systems: Sequence[System]) -> Comparison:
    """Set systems beside each other."""
    every = shared([rows for s in systems for rows in s.rows()])
    common = {key_of(r) for r in every[0]}
    studies = tuple(study_of(s, common or None) for s in systems)
    pairs = [_pair(systems[0], other) for other in systems[1:]]
    return Comparison(tuple(systems), len(common), studies, tuple(p for p in pairs if p.placed))


def _pair(first: System, second: System) -> Pair:
    tables = shared([*first.rows(), *second.rows()])
    ours, theirs = tables[: len(first.seeds)], tables[len(first.seeds) :]
    groups = groups_of(tables)
    differences: dict[Any, Any] = {}
    if groups[0]:
        year = rules_of(groups[0], tables[0])
        mine, others = groups[: len(first.seeds)], groups[len(first.seeds) :]
        for figure in SHOWN:
            try:
                differences[figure] = paired(others, mine, figure, year=year, resamples=RESAMPLES)
            except ValueError:  # no value by the rules of the year
                continue
    clips = {(m.machine, c.section, c.name): c for m in first.first for c in m.clips}
    placed = [
        Placed(clips[key_of(row)], row.machine, a, b)
        for row, a, b in zip(tables[0], _percentiles(ours), _percentiles(theirs), strict=True)
    ]
    return Pair(first, second, differences, tuple(sorted(placed, key=lambda p: -abs(p.apart))))


def _percentiles(tables: Sequence[Sequence[ScoreRow]]) -> list[float]:
    """Return each recording's percentile among those of its machine ID, the mean over tables; 0 to 100."""
    places: dict[Place, list[int]] = defaultdict(list)
    for i, row in enumerate(tables[0]):
        places[row.machine, row.section].append(i)
    sums = np.zeros(len(tables[0]))
    for rows in tables:
        for own in places.values():
            ranks = stats.rankdata([rows[i].score for i in own])
            sums[own] += 100 * (ranks - 0.5) / len(own)
    return [float(v) for v in sums / len(tables)]
