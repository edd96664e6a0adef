"""Intervals of the challenges' figures by a stratified bootstrap over clips, alone and of two systems in pairs.

Normals and anomalies of each section, and of each domain where it is known, are drawn with replacement, each in their
number. A resample is a weight for each clip, so that all resamples are computed at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from asd.evaluate.official import FIGURES, Cells, Figure, combine, section_cells
from asd.evaluate.scored import Scored

__all__ = ["Figure", "Interval", "Runs", "Scored", "by_machine", "drawn", "interval", "intervals", "paired"]

Runs: TypeAlias = Sequence[Scored] | Sequence[Sequence[Scored]]
"""The sections of one run, or those of several runs (seeds) on the same clips, whose figures are averaged."""

TAILS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval, fractions."""

    value: float
    low: float
    high: float


def interval(groups: Runs, figure: Figure, *, year: int = 2020, resamples: int = 1000, seed: int = 0) -> Interval:
    """Return a figure's mean by the rules of `year`, with the 2.5 and 97.5 percentiles of its bootstrap.

    Raises:
        ValueError: the figure has no value by those rules; or the runs of several seeds differ in their clips.
    """
    found = intervals(groups, year=year, resamples=resamples, seed=seed)
    if figure not in found:
        raise ValueError(f"{figure} has no value by the rules of {year}: domains, decisions or the rule are missing")
    return found[figure]


def intervals(groups: Runs, *, year: int = 2020, resamples: int = 1000, seed: int = 0) -> dict[Figure, Interval]:
    """Return every figure that has a value, with its interval; one set of draws serves all."""
    return _intervals(_values(_drawn_cells(_seeds(groups), year, resamples, seed), year))


def by_machine(
    groups: Runs, *, year: int = 2020, resamples: int = 1000, seed: int = 0
) -> tuple[dict[str, dict[Figure, Interval]], dict[Figure, Interval]]:
    """Return as `intervals` for each machine alone, and for all of them, from the same draws."""
    runs = _drawn_cells(_seeds(groups), year, resamples, seed)
    machines = {m: _intervals(_values([{m: own[m]} for own in runs], year)) for m in runs[0]}
    return machines, _intervals(_values(runs, year))


def paired(
    ours: Runs, theirs: Runs, figure: Figure, *, year: int = 2020, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the difference of two systems, ours minus theirs: the same clips are drawn for both.

    It counts when the interval excludes 0.

    Raises:
        ValueError: the clips differ, or the figure has no value by the rules of `year`.
    """
    mine, others = _seeds(ours), _seeds(theirs)
    _require_same_clips([mine[0], others[0]])
    both = [_values(_drawn_cells(runs, year, resamples, seed), year) for runs in (mine, others)]
    if not all(figure in found for found in both):
        raise ValueError(f"{figure} has no value by the rules of {year}: domains, decisions or the rule are missing")
    return _interval(both[0][figure] - both[1][figure])


def drawn(group: Scored, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each clip of a section is drawn, (R, B): each stratum with replacement, in its number."""
    weights_RB = np.zeros((resamples, len(group.labels_B)))
    for stratum in np.unique(group.strata):
        places = np.flatnonzero(group.strata == stratum)
        n = len(places)
        picks_RN = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
        weights_RB[:, places] = np.bincount(picks_RN.ravel(), minlength=n * resamples).reshape(resamples, n)
    return weights_RB


def _drawn_cells(
    runs: Sequence[Sequence[Scored]], year: int, resamples: int, seed: int
) -> list[dict[str, list[Cells]]]:
    """Return for each run and machine the figures of its sections, (1 + R,): of the clips as they are, then drawn."""
    if resamples < 1:
        raise ValueError(f"resamples = {resamples}: wanted 1 at least")
    _require_same_clips(runs)
    machines: list[dict[str, list[Cells]]] = [defaultdict(list) for _ in runs]
    rng = np.random.default_rng(seed)
    for same in zip(*(sorted(run, key=lambda g: (g.machine, g.section)) for run in runs), strict=True):
        once_B = np.ones((1, len(same[0].labels_B)))
        weights_RB = np.concatenate([once_B, drawn(same[0], resamples, rng)])
        for own, group in zip(machines, same, strict=True):
            own[group.machine].append(section_cells(group, weights_RB, year))
    return machines


def _values(runs: Sequence[Mapping[str, Sequence[Cells]]], year: int) -> dict[Figure, NDArray[np.float64]]:
    """Return (1 + R,) values of each figure that has some, the mean over runs."""
    values = {figure: [combine(own, figure, year) for own in runs] for figure in FIGURES}
    return {
        figure: np.mean(cast("list[NDArray[np.float64]]", own), axis=0)
        for figure, own in values.items()
        if all(value is not None for value in own)
    }


def _intervals(values: Mapping[Figure, NDArray[np.float64]]) -> dict[Figure, Interval]:
    return {figure: _interval(own) for figure, own in values.items()}


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values[1:], TAILS)
    return Interval(float(values[0]), float(low), float(high))


def _seeds(runs: Runs) -> Sequence[Sequence[Scored]]:
    if not runs:
        raise ValueError("no section to compute a figure of")
    if isinstance(runs[0], Scored):
        return [cast("Sequence[Scored]", runs)]
    return cast("Sequence[Sequence[Scored]]", runs)


def _require_same_clips(runs: Sequence[Sequence[Scored]]) -> None:
    """Refuse runs whose sections, labels or domains differ: their clips cannot be drawn in pairs."""
    first, *others = [{(g.machine, g.section): g for g in run} for run in runs]
    if not first or len(first) != len(runs[0]):
        raise ValueError("wanted sections, each once")
    for other in others:
        if other.keys() != first.keys():
            raise ValueError(f"the sections differ: {sorted(other.keys() ^ first.keys())}")
        for (machine, section), group in first.items():
            if not np.array_equal(group.strata, other[machine, section].strata):
                raise ValueError(f"{machine} {section}: the clips differ in their labels or domains")
