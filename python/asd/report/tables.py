"""The tables of a report, as text in cells; how they are printed is `formats`'s business."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from asd.evaluate.dcase import mean_over_machines, mean_over_sections
from asd.report.clips import Section
from asd.report.machine import Machine
from asd.report.model import Report
from asd.report.verdict import VERDICT_WORDS, verdict
from asd.words import number

NONE = "–"

_DECIMAL = re.compile(r"(\d+\.\d+)")

FEW = 10
"""Fewer normals or anomalies than this make an AUC no more than a hint."""

Mark: TypeAlias = Literal["best", "second", ""]
"""Rank of a figure in its column."""


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns.

    Attributes:
        columns: heads; numbers are set to the right from column `texts` on.
        texts: columns of text before those of numbers.
        strong: rows that stand out (means, our own).
        note: what must be known to read it.
        marks: by row and column the ranks of the decimal numbers in a cell, in their order.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    strong: frozenset[int] = frozenset()
    note: str = ""
    marks: Mapping[tuple[int, int], tuple[Mark, ...]] = field(default_factory=dict)

    def pieces(self, row: int, column: int) -> list[tuple[str, Mark]]:
        """Return a cell's text cut into pieces of one rank."""
        text = self.rows[row][column]
        if (row, column) not in self.marks:
            return [(text, "")]
        marks = iter(self.marks[row, column])
        # Decimal numbers stand at the odd places.
        cut = enumerate(_DECIMAL.split(text))
        return [(part, next(marks, "") if i % 2 else "") for i, part in cut if part]


def ranks(values: Sequence[float]) -> tuple[Mark, ...]:
    """Return which values are the highest and the second, as printed with two decimals; NaN has no rank.

    Of a single value nothing is said.
    """
    printed = [NONE if math.isnan(v) else f"{v + 1e-9:.2f}" for v in values]
    order = sorted({p for p in printed if p != NONE}, key=float, reverse=True)
    if len(order) < 2:
        order = ["", ""]
    # Of two that are level at the top none is second.
    second = order[1] if printed.count(order[0]) <= 1 else ""
    found: list[Mark] = ["best" if p == order[0] else "second" if p == second else "" for p in printed]
    return tuple(found)


def machines(report: Report) -> Table:
    """One row a machine ID: recordings, alarms, and what chance would give."""
    rows = []
    for m in report.shown:
        for s in m.sections:
            low, high = (100 * r for r in s.interval)
            judged = VERDICT_WORDS[verdict([s])]
            rows.append(
                (
                    m.machine,
                    s.name,
                    judged,
                    f"{len(s.judged):,}",
                    f"{s.alarms:,}",
                    number(s.by_chance),
                    _limit(s),
                    f"{number(100 * s.rate)} ({number(low)} to {number(high)})",
                    f"{len(s.normals):,}",
                )
            )
    columns = ("machine", "ID", "verdict", "recordings", "alarms", "by chance", "limit")
    return Table(
        "Alarms by machine ID",
        (*columns, "false alarms, % (95 %)", "normals"),
        tuple(rows),
        texts=3,
        note="The verdict weighs the alarms of an ID against those that chance would give."
        + (" Silent recordings are not counted." if any(m.health.silent for m in report.shown) else ""),
    )


def _limit(section: Section) -> str:
    """Return the alarm limit of the recordings, or the range of limits: it depends on their length."""
    limits = sorted({f"{c.threshold:.4g}" for c in section.clips}, key=float)
    return limits[0] if len(limits) == 1 else f"{limits[0]}–{limits[-1]}"


def ranked(machine: Machine, top: int) -> Table:
    """The `top` highest-scored recordings of a machine, and after them the silent ones, up to `top` too."""
    silent = [c for c in machine.ranked if c.silent]
    clips = [c for c in machine.ranked if not c.silent][:top] + silent[:top]
    note = "In order of how far they are beyond what is typical, measured by their own ID's limit."
    if silent:
        more = f"; {len(silent) - top:,} more are not listed" if len(silent) > top else ""
        note += f" Silent recordings are not judged and stand last{more}."
    known = any(c.label is not None for c in machine.clips)
    timed = not machine.no_since and all(c.time is not None for c in machine.clips) and machine.alarms
    words = {0: "normal", 1: "anomaly", None: NONE}
    rows = tuple(
        (
            c.name,
            c.section,
            *((f"{c.time:%Y-%m-%d %H:%M}" if c.time else NONE,) if timed else ()),
            *((words[c.label],) if known else ()),
            f"{c.score:.4g}",
            f"{c.threshold:.4g}",
            "silent" if c.silent else "sounds wrong" if c.alarm else "",
        )
        for c in clips
    )
    columns = ("recording", "ID", *(("time",) if timed else ()), *(("known as",) if known else ()))
    return Table(
        f"Highest-scored of {len(machine.clips):,} recordings of {machine.name}",
        (*columns, "score", "limit", ""),
        rows,
        texts=len(columns),
        strong=frozenset(i for i, c in enumerate(clips) if c.alarm),
        note=note,
    )


def figures(report: Report, brief: bool = False) -> Table:
    """AUC and pAUC of each machine ID, machine means and their mean, for every scorer; of domains for the primary.

    Args:
        brief: of the scorers beside the primary one only the baselines.
    """
    systems: dict[str, Mapping[str, Any]] = {_primary(report): report.figures}
    names = sorted(report.figures["beside"], key=lambda n: (not n.startswith("baseline"), n != "baseline-siblings", n))
    systems |= {n: report.figures["beside"][n] for n in names if not brief or n.startswith("baseline")}
    machines = report.figures["machines"]
    domains = _domains(machines)
    rows: list[tuple[str, ...]] = []
    strong = set()
    for m, sections in machines.items():
        for s, figure in sections.items():
            cells = [_cells(system["machines"].get(m, {}).get(s, {})) for system in systems.values()]
            own = (_percent(figure[d]) for d in domains)
            rows.append((m, s, *(c for pair in cells for c in pair), *own, *_support(figure)))
        if len(sections) > 1:
            strong.add(len(rows))
            own = (_percent(mean_over_sections(sections, d)) for d in domains)
            rows.append((m, "mean", *_means(systems.values(), m), *own, "", ""))
    if len(machines) > 1:
        strong.add(len(rows))
        means = [c for system in systems.values() for c in _mean_cells(report, system)]
        own = (_percent(mean_over_machines(machines, d)) for d in domains)
        rows.append(("mean of machines", "", *means, *own, "", ""))
    heads = [f"{head}\n{name}" for name in systems for head in ("AUC", "pAUC")]
    heads += [d.replace("auc_", "AUC ") for d in domains]
    return Table(
        "How well anomalies are told from normals",
        ("machine", "ID", *heads, "normals", "anomalies"),
        tuple(rows),
        texts=2,
        strong=frozenset(strong),
        note="Percent; p = 0.1, standardised: random is 50, perfect 100. Means are over IDs, then over machines. "
        f"{NONE}: normals or anomalies are not known."
        + (
            " AUC source: normals of the source domain against all anomalies; target likewise (DCASE 2022 on)."
            if domains
            else ""
        )
        + (
            " *: few clips: an interval of ±0.1 and more must be expected."
            if any(_is_few(f) for sections in machines.values() for f in sections.values())
            else ""
        ),
    )


def _domains(machines: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return the keys of the domains' AUCs, none where no domain is labelled."""
    keys = ["auc_source", "auc_target"]
    known = any(f[key] is not None for sections in machines.values() for f in sections.values() for key in keys)
    return keys if known else []


def _support(figure: Mapping[str, Any]) -> tuple[str, str]:
    """Return the numbers of normals and anomalies, marked where an AUC comes from few of them."""

    def cell(n: int) -> str:
        return f"{n:,} *" if _is_few(figure) and n < FEW else f"{n:,}"

    return cell(figure["n_normal"]), cell(figure["n_anomaly"])


def _is_few(figure: Mapping[str, Any]) -> bool:
    return figure["auc"] is not None and min(figure["n_normal"], figure["n_anomaly"]) < FEW


def _mean_cells(report: Report, system: Mapping[str, Any]) -> tuple[str, str]:
    """Return the means of a scorer, unless it lacks a machine that the others have: such means do not compare."""
    whole = set(system["machines"]) == set(report.figures["machines"])
    return _cells(system["mean"]) if whole else (NONE, NONE)


def _primary(report: Report) -> str:
    return " / ".join(sorted({str(m.detector["scorer"]) for m in report.machines}))


def _means(systems: Any, machine: str) -> list[str]:
    cells: list[str] = []
    for system in systems:
        sections = system["machines"].get(machine, {})
        cells += _cells({key: mean_over_sections(sections, key) for key in ("auc", "pauc")})
    return cells


def _cells(figure: Mapping[str, Any]) -> tuple[str, str]:
    return _percent(figure.get("auc")), _percent(figure.get("pauc"))


def _percent(fraction: float | None) -> str:
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def winner(report: Report) -> str:
    """Say which scorer has the higher mean AUC on the machines that both have scored.

    Of scorers that all runs have, the study tells the paired difference; they are left out here.
    """
    sentences = []
    for name, other in report.figures["beside"].items():
        if report.study and name in report.study.differences:
            continue
        shared = [m for m in other["machines"] if m in report.figures["machines"]]
        ours = mean_over_machines({m: report.figures["machines"][m] for m in shared}, "auc")
        theirs = mean_over_machines({m: other["machines"][m] for m in shared}, "auc")
        if ours is None or theirs is None:
            continue
        first = " / ".join(sorted({str(m.detector["scorer"]) for m in report.machines if name in m.beside}))
        ahead, behind = ((first, ours), (name, theirs)) if ours >= theirs else ((name, theirs), (first, ours))
        where = "" if len(shared) == len(report.figures["machines"]) else f" on {', '.join(shared)}"
        sentences.append(
            f"{ahead[0]} is ahead of {behind[0]} by {100 * (ahead[1] - behind[1]):.2f} points of mean AUC{where}."
            if ahead[1] > behind[1]
            else f"{first} and {name} are level in mean AUC{where}."
        )
    return " ".join(sentences)
