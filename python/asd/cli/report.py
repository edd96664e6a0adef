"""`asd report`: run folders -> what was found, on the terminal, as files, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asd.cli._output import drive, next_page, out, print_json, say
from asd.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from asd.report import Evidence, Report
    from asd.runs import Run


def report(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, such as runs/fan-00. Default: all that were scored.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where the files go. Default: RUN/report, or RUNS/report of several.")
    ] = None,
    per_day: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Recordings a day of one machine ID. Default: by their time stamps, else without pause."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=50, help="Spectrograms of highest-scored clips a machine.")] = 5,
    runs_dir: Annotated[Path, typer.Option("--runs-dir", "--runs", help="Where run folders lie.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say which recordings sound wrong, since when and where, and how well that is known.

    [bold]asd report runs/fan-00[/bold]        one run
    [bold]asd report[/bold]                    all runs that were scored, in one report
    [bold]asd report runs/A runs/B[/bold]      on the same recordings: beside each other, with paired differences
    """
    from asd.report import figures_json, look, read, write

    opened = _open(runs or [], runs_dir)
    found = read(opened, per_day)
    evidence = drive(look(found, top))
    files = drive(write(found, evidence, folder or _default_folder(opened, runs_dir)))
    if json:
        print_json(figures_json(found, evidence))
    else:
        _show(found, evidence)
    say("Written: " + ", ".join([str(files[0]), *(f.name for f in files[1:])]))
    next_page(files[0])


def _open(paths: list[Path], runs_dir: Path) -> list[Run]:
    """Return the runs that are named, or all of `runs_dir` that were scored."""
    from asd.runs import Run

    if paths:
        # A bare name is looked up among the runs, so that `asd report fan-00` works.
        named = [runs_dir / p if not p.exists() and (runs_dir / p).is_dir() else p for p in paths]
        if len({p.resolve() for p in named}) < len(named):
            raise UsageError("a run is named twice", "Name each run once.")
        return [Run.open(p) for p in named]
    scored = sorted(p.parent for p in runs_dir.glob("*/scores.csv"))
    if not scored:
        trained = sorted(p.parent for p in runs_dir.glob("*/DONE"))
        hint = f"asd score {trained[0]}" if trained else "Make one: asd train --machine fan --id 00, or: asd demo"
        raise RunFolderError(f"{runs_dir}: no run here that was scored", hint)
    return [Run.open(p) for p in scored]


def _default_folder(runs: list[Run], runs_dir: Path) -> Path:
    return runs[0].path / "report" if len(runs) == 1 else runs_dir / "report"


def _show(report: Report, evidence: list[Evidence]) -> None:
    """Print the plant's summary, figures where labels are known, then the shorter tables; the files have all."""
    from asd.report import openings, tables_of
    from asd.report.formats import rich
    from asd.report.peers import incomparable
    from asd.report.tables import winner

    out.print(report.title(), style="bold", markup=False)
    opened = [] if report.compared else openings(report)
    for opening in opened:
        out.print()
        for fact in opening.every:
            out.print(f"  {fact.name}: {fact.text()}", markup=False, soft_wrap=True)
    if report.study:
        out.print()
        out.print(report.headline(), style="bold", markup=False)
    for machine, seen in zip(report.shown, evidence, strict=True) if not report.compared else ():
        out.print()
        out.print(machine.name, style="bold", markup=False)
        for line in [*machine.lines(), *seen.lines()]:
            out.print(f"  {line}", markup=False, soft_wrap=True)
    for table in tables_of(report, brief=True):
        out.print()
        out.print(rich(table))
    for text in (winner(report) if report.study else "", incomparable(report, shown=False)):
        if text:
            out.print(text, markup=False)
    for machine, seen in zip(report.shown, evidence, strict=True):
        if seen.bands:
            out.print(f"{machine.machine}: {seen.bands.words()}", markup=False)
