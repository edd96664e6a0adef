"""The scored clips of one section, as arrays: what every figure is computed from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.runs import ScoreRow


@dataclass(frozen=True, eq=False)
class Scored:
    """Clips of one section with their labels.

    Attributes:
        machine: type of the machine.
        section: machine ID (2020) or section (2021 on).
        scores_B: float64, finite; larger is more anomalous.
        labels_B: int64, 0 normal, 1 anomaly; both are there.
        domains_B: ``"source"`` or ``"target"`` for each clip, or None where no domains are known.
        decisions_B: int64, 0 normal, 1 anomaly, or None where nothing was decided.

    Raises:
        ValueError: lengths differ, a score is not finite, a class is missing, or another value; names machine and
            section.
    """

    machine: str
    section: str
    scores_B: NDArray[np.float64]
    labels_B: NDArray[np.int64]
    domains_B: NDArray[np.str_] | None = None
    decisions_B: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        lengths = [a.shape for a in (self.labels_B, self.domains_B, self.decisions_B) if a is not None]
        if self.scores_B.ndim != 1 or any(shape != self.scores_B.shape for shape in lengths):
            raise self._wrong(f"scores {self.scores_B.shape} and {lengths}: wanted vectors of one length")
        if not np.isfinite(self.scores_B).all():
            raise self._wrong(f"score {int(np.flatnonzero(~np.isfinite(self.scores_B))[0])} is not finite")
        if set(np.unique(self.labels_B).tolist()) != {0, 1}:
            raise self._wrong("wanted labels 0 (normal) and 1 (anomaly), both")
        if self.domains_B is not None and not set(np.unique(self.domains_B).tolist()) <= {"source", "target"}:
            raise self._wrong("wanted the domains source and target only")
        if self.decisions_B is not None and not set(np.unique(self.decisions_B).tolist()) <= {0, 1}:
            raise self._wrong("wanted decisions 0 (normal) and 1 (anomaly) only")

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"{self.machine} {self.section}: {what}")

    @property
    def strata(self) -> NDArray[np.int64]:
        """Which clips are drawn from as one: those of a label, and of a domain where it is known."""
        target_B = np.zeros_like(self.labels_B) if self.domains_B is None else self.domains_B == "target"
        return 2 * self.labels_B + target_B


def scored_of(rows: Iterable[ScoreRow]) -> list[Scored]:
    """Return the labelled rows as sections, in the order of machine and section, clips in that of their paths.

    So the clips of two runs on the same recordings stand in the same places. Sections without both normals and
    anomalies are left out. Domains count where all clips of the section have one.
    """
    sections: dict[tuple[str, str], list[ScoreRow]] = defaultdict(list)
    for row in rows:
        if row.label is not None:
            sections[row.machine, row.section].append(row)
    return [
        _scored(sorted(own, key=lambda r: r.path))
        for _, own in sorted(sections.items())
        if {r.label for r in own} == {0, 1}
    ]


def _scored(rows: list[ScoreRow]) -> Scored:
    domains = [r.domain for r in rows if r.domain in ("source", "target")]
    return Scored(
        rows[0].machine,
        rows[0].section,
        np.array([r.score for r in rows], dtype=np.float64),
        np.array([r.label for r in rows], dtype=np.int64),
        np.array(domains) if len(domains) == len(rows) else None,
        np.array([r.anomalous for r in rows], dtype=np.int64),
    )
