"""The tables of a report, as text in cells; how they are printed is `formats`'s business."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asd.evaluate.dcase import mean_over_machines, mean_over_sections
from asd.evaluate.published import (
    DCASE2020,
    DCASE2022,
    MACHINES_2020,
    MACHINES_2022,
    Pair,
    Published,
    Split,
    split_2020,
)
from asd.report.clips import Section
from asd.report.machine import Machine
from asd.report.model import Report
from asd.report.verdict import VERDICT_WORDS, verdict
from asd.words import number

NONE = "–"

FEW = 10
"""Fewer normals or anomalies than this make an AUC no more than a hint."""


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns.

    Attributes:
        columns: heads; numbers are set to the right from column `texts` on.
        texts: columns of text before those of numbers.
        strong: rows that stand out (means, our own).
        note: what must be known to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    strong: frozenset[int] = frozenset()
    note: str = ""


def machines(report: Report) -> Table:
    """One row a machine ID: recordings, alarms, and what chance would give."""
    rows = []
    for m in report.machines:
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
        + (" Silent recordings are not counted." if any(m.health.silent for m in report.machines) else ""),
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


def figures(report: Report) -> Table:
    """AUC and pAUC of each machine ID, machine means and their mean, for every scorer; of domains for the primary."""
    systems: dict[str, Mapping[str, Any]] = {_primary(report): report.figures}
    systems |= report.figures["beside"]
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
    """Say which scorer has the higher mean AUC on the machines that both have scored; empty where there is only one.

    A run that claims a paper's setting also says what the paper leaves open, or what was changed of it.
    """
    sentences = []
    for name, other in report.figures["beside"].items():
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
    claims = {m.detector.get("left_open") for m in report.machines}
    return " ".join([*sentences, *sorted(str(claim) for claim in claims if claim)])


def published(report: Report) -> list[Table]:
    """Published rows beside ours: one table for each split, and none where nothing was published.

    Only rows of the split that was scored stand beside our figures. Where the recordings lie in the 2020 layout but
    are not a whole test set of the challenge, the rows are shown apart, for orientation. Synthetic machines bear the
    challenge's names but are not its machines: for them nothing is shown.
    """
    if _like_2020(report):
        return _published_2020(report)
    return _published_2022() if _like_2022(report) else []


def _published_2020(report: Report) -> list[Table]:
    ours = {m.machine: split_2020(m.machine, _counts(report, m.name)) for m in report.machines}
    splits = set(ours.values())
    scored: Split | None = splits.pop() if len(splits) == 1 else None
    machines = tuple(m for m in MACHINES_2020 if m in ours)
    tables = []
    for split in ("development", "evaluation", "not stated"):
        rows = [r for r in DCASE2020 if r.split == split]
        if split == scored:
            own = _own_row(report, machines)
            title = f"Published on the {split} set, the one that was scored here"
            tables.append(_table_of(title, machines, MACHINES_2020, rows, own))
        else:
            where = f"on the {split} set" if split != "not stated" else "without saying on which set"
            why = "another set of clips: not comparable" if scored else "not the clips that were scored here"
            tables.append(_table_of(f"Published {where} ({why})", machines, MACHINES_2020, rows, None))
    # The split that was scored first.
    return sorted(tables, key=lambda t: not t.strong)


def _published_2022() -> list[Table]:
    title = "Published for DCASE 2022 without saying on which set (not comparable)"
    table = _table_of(title, MACHINES_2022, MACHINES_2022, list(DCASE2022), None, pair="AUC source / AUC target")
    return [table]


def _table_of(
    title: str,
    machines: tuple[str, ...],
    every: tuple[str, ...],
    rows: Sequence[Published],
    own: tuple[str, ...] | None,
    pair: str = "AUC / pAUC",
) -> Table:
    lines = [own] if own else []
    for r in rows:
        if r.cells and not any(m in r.cells for m in machines):
            continue
        average = _pair(r.average) if r.average else NONE
        if not r.average_follows(every):
            average += f" [{_pair(r.recomputed(every))}]"
        elif r.average is None and r.recomputed(every):
            average = f"[{_pair(r.recomputed(every))}]"
        flag = {True: "yes", False: "no", None: "not stated"}[r.epoch_on_test]
        lines.append((r.method, r.source, *(_pair(r.cells.get(m)) for m in machines), average, flag))
    return Table(
        title,
        ("method", "source", *machines, "average", "epoch chosen on test clips"),
        tuple(lines),
        texts=2,
        strong=frozenset({0}) if own else frozenset(),
        note=f"{pair}, percent, in no order of merit. [ ]: recomputed from the printed cells, because the printed "
        f"average does not follow from them or is missing. The average is over {', '.join(every)}.",
    )


def _own_row(report: Report, machines: tuple[str, ...]) -> tuple[str, ...]:
    by_type: dict[str, dict[str, Any]] = {}
    for m in report.machines:
        by_type.setdefault(m.machine, {}).update(report.figures["machines"][_row_name(m)])
    cells = []
    for machine in machines:
        auc, pauc = (mean_over_sections(by_type[machine], key) for key in ("auc", "pauc"))
        cells.append(f"{_percent(auc)}/{_percent(pauc)}")
    mean = report.figures["mean"]
    whole = set(machines) == set(MACHINES_2020)
    average = f"{_percent(mean['auc'])}/{_percent(mean['pauc'])}" if whole else NONE
    epochs = "no" if any("network" in m.detector for m in report.machines) else "no epochs"
    return _primary(report), "this report", *cells, average, epochs


def _row_name(machine: Machine) -> str:
    return machine.rows[0].machine


def _pair(pair: Pair | None) -> str:
    if pair is None:
        return NONE
    # Half is rounded up, as it is in print.
    return "/".join(NONE if math.isnan(v) else f"{v + 1e-9:.2f}" for v in pair)


def _counts(report: Report, name: str) -> dict[str, tuple[int, int]]:
    machine = next(m for m in report.machines if m.name == name)
    counts = {}
    for s in machine.sections:
        labels = [c.label for c in s.clips]
        counts[s.name] = labels.count(0), labels.count(1)
    return counts


_NAME_2020 = re.compile(r"(?:.*/)?test/(?:(?:normal|anomaly)_)?id_\d\d_\d{8}\.\w+")
_NAME_2022 = re.compile(r"(?:.*/)?test/section_\d\d_.*\.\w+")


def _like_2020(report: Report) -> bool:
    """Say whether all recordings lie as in the 2020 challenge, bear its machines' names, and are not synthetic."""
    return _like(report, _NAME_2020, MACHINES_2020)


def _like_2022(report: Report) -> bool:
    """As `_like_2020`; from 2023 on there is only section 00, so another section must be there."""
    sections = {s.name for m in report.machines for s in m.sections}
    return _like(report, _NAME_2022, MACHINES_2022) and sections != {"00"}


def _like(report: Report, name: re.Pattern[str], machines: tuple[str, ...]) -> bool:
    return report.labelled and all(
        m.machine in machines and not _synthetic(m) and all(name.fullmatch(c.name) for c in m.clips)
        for m in report.machines
    )


def _synthetic(machine: Machine) -> bool:
    """Say whether the machine was made by `asd data synth`."""
    return bool(machine.detector["synthetic"])


def incomparable(report: Report, shown: bool = True) -> str:
    """Say plainly what figures do not compare with, or an empty string.

    Args:
        shown: published rows stand beside the sentence.
    """
    if not report.labelled:
        return ""
    if any(map(_synthetic, report.machines)):
        return "These machines are synthetic: their figures compare with no published ones."
    if _like_2020(report) and not any(t.strong for t in published(report)):
        return (
            "The recordings lie as in DCASE 2020 Task 2, but they are not one of its test sets: the figures compare "
            "within these recordings only." + (" Published rows are shown for orientation." if shown else "")
        )
    return ""
