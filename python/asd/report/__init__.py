"""What was found, from run folders alone: on the terminal, as Markdown, CSV, LaTeX, JSON, and as a page."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from asd.errors import DataError
from asd.events import Event, Progress
from asd.report import formats, html, measured, peers, tables
from asd.report.bands import read_bands
from asd.report.evidence import Evidence, gather, listen
from asd.report.model import Report, read
from asd.report.opening import Opening, opening_of
from asd.runs import write_text

__all__ = ["Evidence", "Report", "figures_json", "look", "openings", "read", "tables_of", "write"]

TOP = 5

SOUNDS, SOUNDS_EACH = 32, 8
"""Recordings to listen to in a page, and of a machine ID, at most: 40 kB each."""


def look(report: Report, top: int = TOP) -> Generator[Event, None, list[Evidence]]:
    """Read the clips to be shown: a machine's `top` highest-scored ones, and the normal nearest to the first.

    Where systems with labels are compared: the clips that the first two disagree on, and the bands.
    """
    if report.compared:
        return (yield from _look_compared(report))
    found = []
    each = min(SOUNDS_EACH, max(1, SOUNDS // sum(len(m.sections) for m in report.shown)))
    for done, machine in enumerate(report.shown, 1):
        found.append((yield from gather(machine, top, each)))
        yield Progress("reading clips", done, len(report.shown))
    return found


def _look_compared(report: Report) -> Generator[Event, None, list[Evidence]]:
    assert report.comparison is not None
    pairs = report.comparison.pairs
    apart = pairs[0].placed[:SOUNDS_EACH] if pairs else ()
    found = []
    for machine in report.shown:
        own = [p for p in apart if p.machine == machine.machine]
        heard = listen(machine, [(p.clip, f"percentiles {p.first:.0f} and {p.second:.0f}") for p in own])
        bands = yield from read_bands(machine)
        found.append(Evidence((), None, None, None, (), heard, bands))
    return found


def write(report: Report, evidence: Sequence[Evidence], folder: Path) -> Generator[Event, None, list[Path]]:
    """Write ``report.html``, ``report.md``, ``report.csv``, ``report.tex`` and ``report.json``.

    Args:
        evidence: from `look`, one for each machine that is shown.
        folder: is made if it is not there.

    Returns:
        The files, the page first.

    Raises:
        DataError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})", "Choose another with --out.") from error
    opened = openings(report)
    page = yield from html.page(report, evidence, opened)
    every = tables_of(report, evidence)
    contents = {
        "report.html": page,
        "report.md": _markdown(report, evidence, opened, every),
        "report.csv": formats.csv_text(report),
        "report.tex": formats.latex_document(report.title(), every, opened),
        "report.json": json.dumps(figures_json(report, evidence), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]


def openings(report: Report) -> list[Opening]:
    """Return what a report with labels opens with: one for the system measured, or for each of those compared."""
    return [opening_of(study, partial(peers.beside, report)) for study in report.studies]


def figures_json(report: Report, evidence: Sequence[Evidence]) -> dict[str, Any]:
    """Return ``metrics.json``'s structure, and beside it all that a report says in figures.

    ``plant``: alarms by machine and section; ``study``: intervals, differences, origin and cost, where labels are
    known; ``bands``: by machine; ``comparison``: where systems are compared.
    """
    opened = openings(report)
    bands = {m.name: seen.bands.json() for m, seen in zip(report.shown, evidence, strict=True) if seen.bands}
    found = report.json()
    if report.comparison:
        for opening, study in zip(opened, report.studies, strict=True):
            found["comparison"]["systems"][study.system.letter] |= opening.data
    elif opened:
        found["study"] = opened[0].data
    return {**found, **({"bands": bands} if bands else {})}


def tables_of(report: Report, evidence: Sequence[Evidence] = (), brief: bool = False) -> list[tables.Table]:
    """Return the tables that a report has.

    Args:
        evidence: from `look`; without it there is no table of bands.
        brief: for a terminal: the deciding scorer and the baselines, no clips of several machines, no published rows of
            splits that were not scored. Figures of every run of systems compared are in the CSV file alone.
    """
    comparison = report.comparison
    compared = [measured.systems(comparison, brief), measured.pairs(comparison)] if comparison else []
    if comparison and not brief:
        compared += [measured.ids(comparison)] if comparison.labelled else []
        compared += [measured.disagreements(pair) for pair in comparison.pairs]
    seeds = report.study is not None and len(report.study.system.seeds) > 1
    by_run = report.labelled and not report.compared and not (brief and seeds)
    labelled = [tables.figures(report, brief)] if by_run else []
    if report.study and (seeds or not brief):
        labelled += [measured.by_id(report.study), *measured.differences(report.study)]
    labelled += [t for t in peers.published(report) if t.strong or not brief]
    seen = zip(report.shown, evidence, strict=True) if evidence and not brief else ()
    labelled += [measured.bands(m.machine if report.compared else m.name, e.bands) for m, e in seen if e.bands]
    ranked = [tables.ranked(m, TOP) for m in report.shown] if len(report.shown) == 1 or not brief else []
    if report.compared:
        return [*compared, *labelled, *([] if brief else [tables.machines(report)])]
    return [tables.machines(report), *ranked, *compared, *labelled]


def _markdown(
    report: Report, evidence: Sequence[Evidence], opened: Sequence[Opening], every: Sequence[tables.Table]
) -> str:
    """Return the report as Markdown."""
    parts = [f"# {report.title()}", ""]
    for opening in opened:
        parts += [f"## {formats.markdown_text(opening.title)}", ""]
        parts += [*(f"- **{f.name}**: {formats.markdown_text(f.text())}" for f in opening.every), ""]
    for machine, seen in zip(report.shown, evidence, strict=True):
        lines = [*machine.lines(), *seen.lines()]
        parts += [f"## {formats.markdown_text(machine.name)}", ""]
        parts += [*(f"- {formats.markdown_text(line)}" for line in lines), ""]
    return "\n".join([*parts, *(formats.markdown(t) for t in every)])
