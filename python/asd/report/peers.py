"""Published rows beside ours: a table for each split, best and second marked where the clips are the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asd.evaluate.published import DCASE2020, DCASE2022, MACHINES_2020, MACHINES_2022, Pair, Published, Split
from asd.report.model import Report
from asd.report.split import test_of
from asd.report.study import Study
from asd.report.tables import NONE, Mark, Table, ranks

NAN = float("nan")

AUTOENCODER = "Autoencoder (challenge baseline)"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row, ours or a published one.

    Attributes:
        average: as printed.
        recomputed: the mean of the cells, where it is not what is printed.
        flag: whether the epoch was chosen on test clips; such rows are not ranked.
    """

    method: str
    source: str
    cells: Mapping[str, Pair]
    average: Pair | None
    recomputed: Pair | None
    flag: str

    @property
    def mean(self) -> Pair | None:
        """The average that follows from the cells."""
        return self.recomputed or self.average


def published(report: Report) -> list[Table]:
    """Return one table for each split, the scored one first, and none where nothing was published.

    Only rows of the split that was scored stand beside our figures. Where the recordings lie in the 2020 layout but
    are not a whole test set of the challenge, the rows are shown apart, for orientation. Synthetic machines bear the
    challenge's names but are not its machines: for them nothing is shown.
    """
    test = test_of(report.machines)
    if test.challenge == 2020:
        return _published_2020(report, test.split)
    return [_published_2022()] if test.challenge == 2022 else []


def incomparable(report: Report, shown: bool = True) -> str:
    """Say plainly what figures do not compare with, or an empty string.

    Args:
        shown: published rows stand beside the sentence.
    """
    if not report.labelled:
        return ""
    test = test_of(report.machines)
    if test.synthetic:
        return "These machines are synthetic: their figures compare with no published ones."
    if test.challenge == 2020 and test.split is None:
        return (
            "The recordings lie as in DCASE 2020 Task 2, but they are not one of its test sets: the figures compare "
            "within these recordings only." + (" Published rows are shown for orientation." if shown else "")
        )
    return ""


def beside(report: Report) -> str:
    """Say which published means of the same split stand highest, and that of the challenge's baseline."""
    test = test_of(report.machines)
    if test.challenge != 2020 or test.split is None:
        return "None: no published figures are of these recordings."
    rows = [_of(r, MACHINES_2020) for r in DCASE2020 if r.split == test.split and r.epoch_on_test is not True]
    whole = [r for r in rows if r.mean]
    best = max(whole, key=lambda r: (r.mean or (0.0, 0.0))[0])
    named = [best, *(r for r in whole if r.method == AUTOENCODER and r is not best)]
    means = " and ".join(f"{r.method} {_pair(r.mean)}" for r in named)
    machines = {m.machine for m in report.machines}
    part = "" if machines == set(MACHINES_2020) else f"; ours is over {', '.join(sorted(machines))} only"
    return f"Mean AUC / pAUC on the {test.split} set, over all six machines: {means}{part}."


def _published_2020(report: Report, scored: Split | None) -> list[Table]:
    machines = tuple(m for m in MACHINES_2020 if any(m == own.machine for own in report.machines))
    tables = []
    for split in ("development", "evaluation", "not stated"):
        rows = [_of(r, MACHINES_2020) for r in DCASE2020 if r.split == split]
        if split == scored:
            title = f"Published on the {split} set, the one that was scored here"
            tables.append(_table(title, machines, MACHINES_2020, [_own(s, report) for s in report.studies], rows))
        else:
            where = f"on the {split} set" if split != "not stated" else "without saying on which set"
            why = "another set of clips: not comparable" if scored else "not the clips that were scored here"
            title = f"Published {where} ({why})"
            tables.append(_table(title, machines, MACHINES_2020, [], rows, ranked=split != "not stated"))
    return sorted(tables, key=lambda t: not t.strong)


def _published_2022() -> Table:
    title = "Published for DCASE 2022 without saying on which set (not comparable)"
    rows = [_of(r, MACHINES_2022) for r in DCASE2022]
    return _table(title, MACHINES_2022, MACHINES_2022, [], rows, pair="AUC source / AUC target", ranked=False)


def _own(study: Study, report: Report) -> _Row:
    cells = {m: (100 * means["auc"].value, 100 * means["pauc"].value) for m, means in study.machines.items()}
    whole = set(cells) == set(MACHINES_2020)
    average = (100 * study.mean["auc"].value, 100 * study.mean["pauc"].value) if whole else None
    system = study.system
    name = f"{system.letter}: {system.name}" if system.letter else system.scorer
    epochs = "no" if any("network" in m.detector for m in system.runs) else "no epochs"
    return _Row(name, "this report", cells, average, None, epochs)


def _of(row: Published, every: tuple[str, ...]) -> _Row:
    recomputed = row.recomputed(every)
    odd = recomputed if row.average is None or not row.average_follows(every) else None
    flag = {True: "yes", False: "no", None: "not stated"}[row.epoch_on_test]
    return _Row(row.method, row.source, row.cells, row.average, odd, flag)


def _table(
    title: str,
    machines: tuple[str, ...],
    every: tuple[str, ...],
    own: Sequence[_Row],
    rows: Sequence[_Row],
    pair: str = "AUC / pAUC",
    ranked: bool = True,
) -> Table:
    shown = [*own, *(r for r in rows if not r.cells or any(m in r.cells for m in machines))]
    texts = []
    for r in shown:
        average = _pair(r.average) if r.average else NONE
        if r.recomputed:
            average = f"{average} [{_pair(r.recomputed)}]" if r.average else f"[{_pair(r.recomputed)}]"
        texts.append((r.method, r.source, *(_pair(r.cells.get(m)) for m in machines), average, r.flag))
    how = "best bold, second underlined, epochs chosen on test clips left out" if ranked else "in no order of merit"
    return Table(
        title,
        ("method", "source", *machines, "average", "epoch chosen on test clips"),
        tuple(texts),
        texts=2,
        strong=frozenset(range(len(own))),
        note=f"{pair}, percent; {how}. [ ]: recomputed from the printed cells, because the printed "
        f"average does not follow from them or is missing. The average is over {', '.join(every)}.",
        marks=_marks(shown, machines) if ranked else {},
    )


def _marks(rows: Sequence[_Row], machines: tuple[str, ...]) -> dict[tuple[int, int], tuple[Mark, ...]]:
    """Return the ranks of both figures of each cell; of an average that does not follow, those of the recomputed."""
    marks: dict[tuple[int, int], tuple[Mark, ...]] = {}
    fair = [r.flag != "yes" for r in rows]
    columns = [[r.cells.get(m) for r in rows] for m in machines] + [[r.mean for r in rows]]
    for c, pairs in enumerate(columns, 2):
        both = [ranks([p[part] if p and ok else NAN for p, ok in zip(pairs, fair, strict=True)]) for part in (0, 1)]
        for i, found in enumerate(zip(*both, strict=True)):
            behind = c == len(machines) + 2 and rows[i].average is not None and rows[i].recomputed is not None
            if any(found):
                marks[i, c] = ("", "", *found) if behind else found
    return marks


def _pair(pair: Pair | None) -> str:
    if pair is None:
        return NONE
    # Half is rounded up, as it is in print.
    return "/".join(NONE if math.isnan(v) else f"{v + 1e-9:.2f}" for v in pair)
