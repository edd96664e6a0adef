"""`asd reproduce`: a data root -> the paper's table of every machine, method and seed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asd.cli._output import console, data_root, drive, next_step, out, print_json, say, shell, tell_all
from asd.cli._training import INSTALL, Device, listening
from asd.errors import DataError, UsageError
from asd.words import count, hours

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from asd.reproduce.folder import Folder
    from asd.reproduce.grid import Grid
    from asd.reproduce.methods import Challenge
    from asd.reproduce.plan import Line
    from asd.reproduce.results import Results
    from asd.reproduce.work import Step


class TableName(StrEnum):
    """The paper's tables."""

    dcase2020 = "dcase2020"
    dcase2022 = "dcase2022"
    paper = "paper"


class Size(StrEnum):
    """The paper's settings, or a few steps of small networks."""

    full = "full"
    quick = "quick"


@dataclass(frozen=True)
class Part:
    """One table: its recordings, labels, folder, and grid."""

    challenge: Challenge
    data: Path
    labels: Path | None
    folder: Folder
    grid: Grid


def reproduce(
    table: Annotated[TableName, typer.Argument(help="dcase2020: Table 1; dcase2022: Table 2; paper: both.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data root. Default: $ASD_DATA, else ./data. For paper: with folders dcase2020 and dcase2022."
        ),
    ] = None,
    machine: Annotated[str | None, typer.Option(help="Some of the machines: fan,pump. [all]")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Some of the rows. 2020: baseline, contrastive, default; 2022: baseline, mn, mn+p, mfn, mfn+p, "
            "mn-official, default. [all]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trainings of each, with seeds 0, 1, ...")] = 3,
    preset: Annotated[
        Size, typer.Option(help="full: the paper's settings. quick: minutes, and figures that tell nothing.")
    ] = Size.full,
    pretrain_data: Annotated[
        Path | None, typer.Option(help="Recordings to pre-train on, for the rows +P. Without them there are none.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="A challenge's list of the evaluation files' labels, or a folder of such lists."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the grid, to be shared by all workers. [runs/reproduce-TABLE]"),
    ] = None,
    shard: Annotated[str, typer.Option(help="This worker of several, such as 2/8; all of them share --out.")] = "1/1",
    from_scores: Annotated[
        bool, typer.Option(help="Make the tables again from the scores in --out; no audio.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads. Default: all there are.")] = None,
    device: Annotated[Device | None, typer.Option(help="[auto: a GPU where there is one]")] = None,
    dry_run: Annotated[bool, typer.Option(help="Show the plan, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train and score a paper's whole table, and put each figure beside the published one.

    Finished cells are kept: the same command goes on where it was stopped or killed.

    [bold]asd reproduce dcase2020 --labels eval_data_list_2020.csv[/bold]     Table 1, hours on a GPU
    [bold]asd reproduce dcase2020 --preset quick[/bold]                       the same grid in minutes
    """
    number, shards = _shard(shard)
    where = folder or Path("runs") / f"reproduce-{table.value}"
    both = table is TableName.paper
    places = {name: where / name if both else where for name in (BOTH if both else (table.value,))}
    if from_scores:
        _show([_from_scores(name, place) for name, place in places.items()], list(places.values()), json)
        return
    if method != "baseline":
        _need_torch()
    root = data_root(data)
    asked = {
        "size": preset.value,
        "machines": _listed(machine),
        "methods": _listed(method),
        "seeds": seeds,
        "pretrain_data": pretrain_data,
    }
    roots = {name: root / name if both else root for name in places}
    parts = [_part(name, roots[name], place, labels, asked, both) for name, place in places.items()]
    for part in parts if not dry_run else []:
        part.folder.make()
    lines = _plan(parts, shards, threads, device, pretrain_data, out if dry_run and not json else console)
    if dry_run:
        if json:
            print_json({"plan": lines})
        next_step(shell("asd", *(word for word in sys.argv[1:] if word != "--dry-run")))
        return
    failed = []
    for part in parts:
        failed += _work(part, (number, shards), threads, device, pretrain_data)
    results = [_publish(p) for p in parts]
    _show([r for r in results if r], list(places.values()), json)
    _tell_failed(parts, failed)
    next_step(shell("asd", "report", "--runs", parts[0].folder.path / "cells"))


BOTH = ("dcase2020", "dcase2022")


def _shard(text: str) -> tuple[int, int]:
    """Read ``2/8``."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    number, shards = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= shards:
        raise UsageError(f"--shard {text}: wanted i/n, i from 1 to n", "For example: --shard 2/8")
    return number, shards


def _listed(text: str | None) -> list[str]:
    """Read ``fan,pump``; nothing names all."""
    if text is None:
        return []
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{text!r} names nothing", "For example: --machine fan,pump")
    return names


def _need_torch() -> None:
    """Make sure that networks can be trained, without waiting for torch here."""
    from importlib.util import find_spec

    if find_spec("torch") is None or find_spec("torchvision") is None:
        raise UsageError("training networks needs PyTorch", f"{INSTALL}; or take --method baseline")


def _part(name: str, root: Path, place: Path, labels: Path | None, asked: dict[str, Any], both: bool) -> Part:
    """Return the grid of a table, and where it is worked on. Nothing is written."""
    from asd.data.catalog import open_catalog
    from asd.reproduce.folder import Folder, require_same
    from asd.reproduce.grid import build
    from asd.reproduce.methods import CHALLENGES

    challenge = CHALLENGES[name]
    if both and not root.is_dir():
        raise DataError(f"{root}: no such folder", "For paper, --data has the folders dcase2020 and dcase2022.")
    if labels is not None and (own := labels / f"eval_data_list_{challenge.year}.csv").is_file():
        labels = own
    catalog = open_catalog(root, labels)
    tell_all(catalog.notes)
    if both:  # what only one of the tables has is not asked of the other
        asked = {**asked, "machines": [m for m in asked["machines"] if m in catalog.machines()] or asked["machines"]}
        known = [m.name for m in challenge.methods]
        asked = {**asked, "methods": [m for m in asked["methods"] if m in known] or asked["methods"]}
    grid = build(challenge, catalog, **asked)
    tell_all(grid.cautions)
    require_same(Folder(place), grid)
    return Part(challenge, catalog.root, labels and labels.resolve(), Folder(place.absolute()), grid)


def _plan(
    parts: list[Part],
    shards: int,
    threads: int | None,
    device: Device | None,
    pretrain_data: Path | None,
    stream: Console,
) -> list[dict[str, Any]]:
    """Print what is to be done, and how long it will take."""
    from dataclasses import asdict

    from asd.reproduce.plan import plan

    said = []
    for part in parts:
        lines = drive(plan(part.grid, part.folder, threads, device and device.value, pretrain_data))
        stream.print(_plan_table(part, lines, shards))
        said.append({"table": part.challenge.name, "out": str(part.folder.path), "lines": [asdict(x) for x in lines]})
    return said


def _plan_table(part: Part, lines: list[Line], shards: int) -> Table:
    from rich.markup import escape
    from rich.table import Table

    machines = ", ".join(part.grid.machines)
    table = Table(title=escape(f"{part.challenge.name}: {machines}; in {part.folder.path}"), title_justify="left")
    for column in ("method", "cells", "to do", "expected"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for line in lines:
        table.add_row(escape(line.title), str(line.cells), str(line.open), _expected(line.seconds))
    total = sum(line.seconds or 0 for line in lines)
    known = all(line.seconds is not None for line in lines)
    told = _expected(total / shards) if known else f"more than {_expected(total / shards)}"
    each = f", on each of {shards} workers" if shards > 1 else ""
    cells, todo = sum(x.cells for x in lines), sum(x.open for x in lines)
    table.add_row(f"all{each}", str(cells), str(todo), told, style="bold")
    return table


def _expected(seconds: float | None) -> str:
    return "not known" if seconds is None else hours(seconds) if seconds else "–"


def _work(
    part: Part, shard: tuple[int, int], threads: int | None, device: Device | None, pretrain_data: Path | None
) -> list[str]:
    """Work through the cells, and show it; return those that failed."""
    from asd.reproduce.work import Place, work

    place = Place(
        part.folder,
        part.data,
        part.labels,
        pretrain_data and pretrain_data.absolute(),
        threads,
        device and device.value,
        shell("asd", *sys.argv[1:]),
        listening,
    )
    return _watch(work(part.grid, place, *shard), part)


def _watch(steps: Generator[Step, None, list[str]], part: Part) -> list[str]:
    """Show the grid while it is worked on: as a picture on a terminal, else a line for each thing that happens."""
    from contextlib import nullcontext

    from rich.live import Live

    view = _GridView(part)
    with Live(view, console=console, refresh_per_second=4) if console.is_terminal else nullcontext():
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                failed: list[str] = end.value
                break
            if line := view.line(step):
                say(line, "red" if step.what == "failed" else "")
    out_of = len(part.grid.cells)
    say(f"{part.challenge.name}: {view.finished()} of {count(out_of, 'cell')} finished")
    return failed


MARKS = {"waiting": "·", "begun": "~", "trained": "~", "failed": "✗", "done": "✓", "at work": "▶"}
QUIET_SECONDS = 60.0
"""Between two lines of a cell that is at work, where there is no terminal."""


class _GridView:
    """A method a row, a machine a column, and in it a mark for each seed."""

    LOOK_SECONDS = 10.0

    def __init__(self, part: Part) -> None:
        self._part = part
        self._marks: dict[str, str] = {}
        self._looked = self._said = -self.LOOK_SECONDS
        self._now = self._waits = ""
        self._look()

    def line(self, step: Step) -> str:
        """Take note of a step, and return what to say of it; empty for nothing."""
        name, now = step.cell.name, time.monotonic()
        if step.what == "at work":
            self._now = f"{name}: {step.text or 'begins'}"
            if now - self._looked > self.LOOK_SECONDS:
                self._look()
                self._marks[name] = "at work"
            if console.is_terminal or now - self._said < QUIET_SECONDS:
                return ""
            self._said = now
            return f"  {self._now}"
        self._now, self._said = "", now
        self._marks[name] = {"begins": "at work", "done": "done", "failed": "failed"}.get(step.what, "begun")
        if step.what == "waits":
            self._look()
            before, self._now = self._waits, f"{name}: waits for {step.text or 'its turn'}"
            self._waits = self._now
            return "" if console.is_terminal or before == self._now else self._now
        self._waits = ""
        what = {"begins": "begins", "done": f"done, {step.text}", "failed": f"failed: {step.text}"}
        return f"{name}: {what.get(step.what, step.text)}"

    def finished(self) -> int:
        """Return how many cells are finished."""
        self._look()
        return sum(mark == "done" for mark in self._marks.values())

    def _look(self) -> None:
        """See what other workers have done."""
        self._looked = time.monotonic()
        for cell in self._part.grid.cells:
            if self._marks.get(cell.name) != "done":
                self._marks[cell.name] = self._part.folder.state(cell).value

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        grid = self._part.grid
        table = Table(title=self._part.challenge.name, title_justify="left", caption=escape(self._now))
        table.caption_justify = "left"
        for column in ("", *grid.machines):
            table.add_column(escape(column), overflow="fold")
        for method in dict.fromkeys(cell.method for cell in grid.cells):
            own = [cell for cell in grid.cells if cell.method == method]
            cells = ["".join(MARKS[self._marks[c.name]] for c in own if c.machine == m) for m in grid.machines]
            if not own[0].machine:
                cells = ["".join(MARKS[self._marks[c.name]] for c in own)]
            table.add_row(escape(method.title), *cells)
        return table


def _publish(part: Part) -> Results | None:
    """Make the tables of a folder; None where nothing is finished yet."""
    from asd.errors import RunFolderError
    from asd.reproduce.provenance import inventory
    from asd.reproduce.tables import publish as make

    try:
        known = inventory(part.grid.catalog, str(part.labels) if part.labels else None)
        return make(part.folder, part.challenge, part.grid, known)
    except RunFolderError as error:
        say(error.message, "yellow")
        return None


def _from_scores(name: str, place: Path) -> Results:
    from asd.reproduce.folder import Folder
    from asd.reproduce.methods import CHALLENGES
    from asd.reproduce.tables import publish as make

    if not (place / "records").is_dir():
        raise DataError(f"{place}: no scores here", f"Make them: {shell('asd', 'reproduce', name, '--out', place)}")
    return make(Folder(place), CHALLENGES[name], None, None)


def _show(results: list[Results], places: list[Path], json: bool) -> None:
    from asd.report.formats import rich
    from asd.reproduce.tables import FILES, as_json, headline, tables_of

    if json:
        print_json([as_json(found) for found in results] if len(places) > 1 else as_json(results[0]) if results else {})
    for found in results if not json else []:
        out.print(headline(found), style="bold", markup=False)
        for table in tables_of(found, brief=True):
            out.print()
            out.print(rich(table))
    if results:
        for place in places:
            say("Written: " + ", ".join([str(place / FILES[0]), *FILES[1:], "provenance.json"]))


def _tell_failed(parts: list[Part], failed: list[str]) -> None:
    """Name the cells that failed, with their logs. Raises DataError where there are any."""
    for part in parts:
        for cell in part.grid.cells:
            record = part.folder.record(cell.name) if cell.name in failed else None
            if record is not None:
                say(f"failed: {cell.name}: {record.reason}", "red")
                say(f"  {part.folder.log(cell.name)}")
    if failed:
        total = sum(len(part.grid.cells) for part in parts)
        raise DataError(
            f"{count(len(failed), 'cell')} of {total} failed",
            "Mend what their logs name; the same command tries again.",
        )
