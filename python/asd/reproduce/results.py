"""From the scores of a grid's cells to the table's rows: figures with intervals, each beside what was published.

A row is a method on one of the two parts of a challenge, its development or its evaluation clips. A figure is the mean
over the sections of a machine, and over seeds; its interval is a bootstrap over clips, which are drawn alike for all
seeds. Means are arithmetic, as in the paper's averages; the official score goes by the rules of its year.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asd.errors import DataError
from asd.evaluate.bootstrap import Interval, intervals
from asd.evaluate.official import Figure, aggregate
from asd.evaluate.published import Published, Split, part_of, sections_of, split_2020, split_2022
from asd.evaluate.scored import Scored, scored_of
from asd.reproduce.folder import Folder, Record
from asd.reproduce.methods import Challenge
from asd.runs import ScoreRow

Verdict = Literal["reproduced", "above", "below", "not comparable"]

PARTS: tuple[Split, ...] = ("development", "evaluation")
BASELINES = ("baseline-siblings", "baseline-alone")
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of one machine, or of all; fractions.

    Attributes:
        interval: the mean over seeds, and its 95 % interval over clips.
        std: over seeds; None for one seed.
        seeds: that it is the mean of.
        published: the paper's figure, or None.
        verdict: None where nothing was published.
        reason: why it does not compare.
    """

    interval: Interval
    std: float | None
    seeds: int
    published: float | None = None
    verdict: Verdict | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A method on a part.

    Attributes:
        whole: the clips are those of the part, as the challenge published them; else only their IDs are.
        cells: machine and figure to what was found.
        sections: machine, section and figure to the mean over seeds.
        mean: figure to the mean over machines, where all are there.
        official: the official score by the rules of the year, where it has one and all machines are there.
        missing: machines that are not finished.
    """

    method: str
    title: str
    part: Split
    whole: bool
    published: str
    cells: Mapping[tuple[str, str], Cell]
    sections: Mapping[tuple[str, str, str], float]
    mean: Mapping[str, Cell]
    official: Interval | None
    missing: tuple[str, ...]

    @property
    def clips(self) -> str:
        """Return which clips these are, in words."""
        return self.part if self.whole else f"{self.part} IDs"


@dataclass(frozen=True, slots=True)
class Results:
    """All rows of a table.

    Attributes:
        machines: the columns.
        done: the cells that the rows come from.
        missing: cells that are not there, and why.
        unlabelled: test clips without a label, of machines of which some are.
    """

    challenge: Challenge
    size: str
    machines: tuple[str, ...]
    rows: tuple[Row, ...]
    done: Mapping[str, Record]
    missing: Mapping[str, str]
    unlabelled: int


Runs = dict[str, dict[int, list[ScoreRow]]]
"""Machine and seed to the rows of scores."""


def read_results(
    challenge: Challenge,
    folder: Folder,
    done: Mapping[str, Record],
    missing: Mapping[str, str],
    machines: Sequence[str],
    resamples: int = RESAMPLES,
) -> Results:
    """Return the rows of a table from the scores of its finished cells.

    Args:
        done: finished cells; their scores are whole.
        missing: other cells, and why they are not there.
        machines: the columns.
        resamples: of each bootstrap.

    Raises:
        DataError: scores that cannot be read, or that contradict each other.
    """
    runs, baselines = _read(folder, {n: r for n, r in done.items() if r.machine in machines})
    sizes = {record.size for record in done.values()}
    maker = _Maker(challenge, tuple(machines), "quick" if "quick" in sizes else "full", resamples)
    rows = [maker.row(name, name, "", baselines[name], part) for name in BASELINES for part in PARTS]
    for method in challenge.methods:
        rows += [maker.row(method.name, method.title, method.published, runs[method.name], p) for p in PARTS]
    unlabelled = {
        (r.machine, r.path) for own in baselines.values() for s in own.values() for r in s[0] if r.label is None
    }
    found = tuple(row for row in rows if row is not None)
    return Results(challenge, maker.size, tuple(machines), found, done, missing, len(unlabelled))


def _read(folder: Folder, done: Mapping[str, Record]) -> tuple[dict[str, Runs], dict[str, Runs]]:
    """Return the scores of each method, and of the baselines, which stand beside every method."""
    runs: dict[str, Runs] = defaultdict(lambda: defaultdict(dict))
    baselines: dict[str, Runs] = defaultdict(dict)
    for name, record in done.items():
        for place, (scorer, rows) in enumerate(folder.scores(name, record).items()):
            if scorer in BASELINES:
                baselines[scorer].setdefault(record.machine, {0: rows})
            elif place == 0:
                runs[record.method][record.machine][record.seed] = rows
    return runs, baselines


@dataclass(frozen=True, slots=True)
class _Maker:
    challenge: Challenge
    machines: tuple[str, ...]
    size: str
    resamples: int

    def row(self, name: str, title: str, published: str, runs: Runs, part: Split) -> Row | None:
        """Return the row of a method on a part, or None where there is nothing."""
        year = self.challenge.year
        scored: dict[str, dict[int, list[Scored]]] = {}
        for machine, seeds in runs.items():
            own = {s: [r for r in rows if part_of(year, machine, r.section) == part] for s, rows in seeds.items()}
            groups_of = {s: scored_of(rows) for s, rows in own.items()}
            if any(groups_of.values()):
                scored[machine] = groups_of
        if not scored:
            return None
        paper = next((p for p in self.challenge.published if published and p.method == published), None)
        cells: dict[tuple[str, str], Cell] = {}
        sections: dict[tuple[str, str, str], float] = {}
        whole = True
        for machine, found in scored.items():
            groups = list(found.values())
            own_whole = self._is_whole(machine, part, groups[0])
            whole &= own_whole
            reason = self._reason(part, own_whole, paper)
            found_cells = self._cells(groups, f"{title}, {machine}")
            for place, figure in enumerate(self.challenge.figures):
                if figure in found_cells:
                    told = paper.cells[machine][place] / 100 if paper and machine in paper.cells else None
                    cells[machine, figure] = _judged(found_cells[figure], told, reason)
            sections |= self._sections(machine, groups)
        missing = tuple(m for m in self.machines if m not in scored)
        mean, official = ({}, None) if missing else self._means(scored, cells, paper, title)
        return Row(name, title, part, whole, published, cells, sections, mean, official, missing)

    def _cells(self, seeds: Sequence[Sequence[Scored]], what: str) -> dict[str, Cell]:
        """Return both figures over some sections, by the rules of 2020: arithmetic means."""
        try:
            found = intervals(seeds, year=2020, resamples=self.resamples)
            singles = [aggregate(run, 2020).mean for run in seeds]
        except ValueError as error:
            raise DataError(f"{what}: the scores of several seeds do not go together ({error})", _AGAIN) from error
        return {
            figure: Cell(found[figure], _std([s[figure] for s in singles]), len(seeds))
            for figure in _figures(self.challenge)
            if figure in found
        }

    def _sections(self, machine: str, seeds: Sequence[Sequence[Scored]]) -> dict[tuple[str, str, str], float]:
        values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for run in seeds:
            for (_, section), own in aggregate(run, 2020).sections.items():
                for figure in self.challenge.figures:
                    if figure in own:
                        values[machine, section, figure].append(own[figure])
        return {key: float(np.mean(own)) for key, own in values.items()}

    def _means(
        self,
        scored: Mapping[str, Mapping[int, list[Scored]]],
        cells: Mapping[tuple[str, str], Cell],
        paper: Published | None,
        title: str,
    ) -> tuple[dict[str, Cell], Interval | None]:
        """Return the means over machines, of the seeds that all of them have, and the official score."""
        common = set.intersection(*(set(seeds) for seeds in scored.values()))
        runs = [[g for m in self.machines for g in scored[m][seed]] for seed in sorted(common)]
        if not runs:
            return {}, None
        told = paper.recomputed(self.machines) if paper else None
        mean = {}
        for place, figure in enumerate(self.challenge.figures):
            reasons = [cells[m, figure].reason for m in self.machines if (m, figure) in cells]
            found = self._cells(runs, title).get(figure)
            if found is not None:
                mean[figure] = _judged(found, told and told[place] / 100, next(filter(None, reasons), ""))
        official = intervals(runs, year=self.challenge.year, resamples=self.resamples).get("official")
        return mean, official

    def _is_whole(self, machine: str, part: Split, groups: Sequence[Scored]) -> bool:
        """Return whether the clips are all those of the challenge's set."""
        counts = {g.section: (int((g.labels_B == 0).sum()), int((g.labels_B == 1).sum())) for g in groups}
        split = (split_2020 if self.challenge.year == 2020 else split_2022)(machine, counts)
        return split == part and set(counts) == sections_of(self.challenge.year, machine, part)

    def _reason(self, part: Split, whole: bool, paper: Published | None) -> str:
        """Return why figures compare with none of the paper's; empty where they do."""
        if self.size == "quick":
            return "quick settings"
        if not whole:
            return f"other split: not the clips of the {part} set"
        if paper is not None and paper.split not in (part, "not stated"):
            return f"other split: published on {paper.split}"
        return ""


_AGAIN = "Score them again: remove the records of these cells, and give the same command."


def _figures(challenge: Challenge) -> list[Figure]:
    every: tuple[Figure, ...] = ("auc", "pauc", "auc_source", "auc_target")
    return [figure for figure in every if figure in challenge.figures]


def _judged(cell: Cell, published: float | None, reason: str) -> Cell:
    """Return a figure with what was published, and the verdict on it."""
    if published is None or np.isnan(published):
        return Cell(cell.interval, cell.std, cell.seeds, reason=reason)
    verdict = "not comparable" if reason else judge(cell.interval, published)
    return Cell(cell.interval, cell.std, cell.seeds, published, verdict, reason)


def judge(ours: Interval, published: float) -> Verdict:
    """Return whether a published figure (a fraction) lies within our interval, or we above or below it."""
    if ours.low <= published <= ours.high:
        return "reproduced"
    return "above" if ours.low > published else "below"


def _std(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def verdicts(results: Results) -> Counter[Verdict]:
    """Return how often each verdict was given, over machines and figures."""
    return Counter(c.verdict for row in results.rows for c in row.cells.values() if c.verdict is not None)
