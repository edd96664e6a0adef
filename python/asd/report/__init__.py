"""What was found, from run folders alone: on the terminal, as Markdown, CSV, LaTeX, JSON, and as a page."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path

from asd.errors import DataError
from asd.events import Event, Progress
from asd.report import formats, html, tables
from asd.report.evidence import Evidence, gather
from asd.report.model import Report, read
from asd.runs import write_text

__all__ = ["Evidence", "Report", "look", "read", "write"]

TOP = 5


def look(report: Report, top: int = TOP) -> Generator[Event, None, list[Evidence]]:
    """Read the clips to be shown: a machine's `top` highest-scored ones, and the normal nearest to the first."""
    found = []
    for done, machine in enumerate(report.machines, 1):
        found.append(gather(machine, top))
        yield Progress("reading clips", done, len(report.machines))
    return found


def write(report: Report, evidence: Sequence[Evidence], folder: Path) -> Generator[Event, None, list[Path]]:
    """Write ``report.html``, ``report.md``, ``report.csv``, ``report.tex`` and ``report.json``.

    Args:
        evidence: from `look`, one for each machine.
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
    page = yield from html.page(report, evidence)
    every = list(tables_of(report))
    contents = {
        "report.html": page,
        "report.md": _markdown(report, evidence, every),
        "report.csv": formats.csv_text(report),
        "report.tex": formats.latex_document(report.headline(), every),
        "report.json": json.dumps(report.json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]


def tables_of(report: Report, brief: bool = False) -> list[tables.Table]:
    """Return the tables that a report has, the plant's first.

    Args:
        brief: without the clips of several machines and without published rows of splits that were not scored.
    """
    labelled = [tables.figures(report)] if report.labelled else []
    labelled += [t for t in tables.published(report) if t.strong or not brief]
    ranked = [tables.ranked(m, TOP) for m in report.machines] if len(report.machines) == 1 or not brief else []
    return [tables.machines(report), *ranked, *labelled]


def _markdown(report: Report, evidence: Sequence[Evidence], every: list[tables.Table]) -> str:
    """Return the report as Markdown."""
    parts = [f"# {report.headline()}", ""]
    for machine, seen in zip(report.machines, evidence, strict=True):
        lines = [*machine.lines(), *seen.lines()]
        parts += [f"## {formats.markdown_text(machine.name)}", ""]
        parts += [*(f"- {formats.markdown_text(line)}" for line in lines), ""]
    return "\n".join([*parts, *(formats.markdown(t) for t in every)])
