"""`asd bench`: how many clips a second the front end manages on this machine, stage by stage."""

from __future__ import annotations

import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asd.cli._output import drive, next_step, out, print_json

if TYPE_CHECKING:
    from asd.bench.stages import Row


def bench(
    clips: Annotated[int, typer.Option(min=1, max=100_000, help="Recordings of 10 s to generate.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Times that each stage is measured.")] = 10,
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="To measure beside 1. Default: all.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the front end on generated recordings: decoding, log-mels, two views, and all of it together.

    Stages take turns; given are medians over the rounds. Nothing of what is generated stays.
    """
    from pathlib import Path

    from asd.bench.stages import measure
    from asd.features import available_threads, simd

    simd()  # whose error has a way out
    width = threads or available_threads()
    with TemporaryDirectory(prefix="asd-bench-") as folder:
        rows = drive(measure(Path(folder) / "clips", clips=clips, count=rounds, threads=width))
    if json:
        print_json({"machine": _machine(), "clips": clips, "rounds": rounds, "stages": [_row(row) for row in rows]})
    else:
        _show(rows, rounds, width)
    next_step("asd demo")


def _machine() -> dict[str, Any]:
    import numpy as np

    from asd import __version__
    from asd.features import available_threads, simd
    from asd.train.environment import cpu_name

    versions = {"asd": __version__, "python": sys.version.split()[0], "numpy": np.__version__}
    return {"cpu": cpu_name(), "simd": simd(), "threads": available_threads(), "versions": versions}


def _row(row: Row) -> dict[str, Any]:
    figures = {"clips_per_second": row.pace.json(), "times_one_thread": row.gain.json()}
    return {"stage": row.stage, "threads": row.threads, **figures}


def _show(rows: list[Row], rounds: int, threads: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    machine = _machine()
    title = f"Clips of 10 s at 16 kHz a second; {escape(machine['cpu'])}, {machine['simd']}; median of {rounds} rounds"
    table = Table(title=title, title_justify="left")
    table.add_column("stage")
    widths = sorted({1, threads})
    for n in widths:
        table.add_column("1 thread" if n == 1 else f"{n} threads", justify="right")
    if threads > 1:
        table.add_column(f"{threads} against 1 (quartiles)", justify="right")
    for stage in dict.fromkeys(row.stage for row in rows):
        by_width = {row.threads: row for row in rows if row.stage == stage}
        cells = [f"{by_width[n].pace.median:,.0f}" for n in widths]
        if threads > 1:
            gain = by_width[threads].gain
            cells.append(f"{gain.median:.2f} × ({gain.low:.2f} to {gain.high:.2f})")
        table.add_row(stage, *cells)
    out.print(table)
