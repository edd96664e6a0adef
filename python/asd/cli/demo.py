"""`asd demo`: the main job end to end on synthetic machines, with the commands that a user would type."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from asd.cli._output import next_page, say, shell
from asd.errors import RunFolderError, UsageError

MARK = ".asd-demo"
"""A file that says: this folder was made by the demo, and may be made anew."""


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put recordings, runs and the report.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the synthetic machines.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Make an older demo anew.")] = False,
) -> None:
    """Make synthetic machines, train, score and report, in a few minutes.

    Without PyTorch the machines get the training-free detector only.
    """
    from asd.data.catalog import open_catalog

    _prepare(folder, overwrite)
    begun = time.monotonic()
    data, runs = folder / "data", folder / "runs"
    _run("data", "synth", data, "--seed", seed)
    machines = open_catalog(data).machines()
    method = _method()
    for machine in machines:
        _run("train", "--machine", machine, "--data", data, "--runs", runs, *method)
        _run("score", runs / f"{machine}-all")
    report = folder / "report"
    _run("report", *(runs / f"{machine}-all" for machine in machines), "--out", report)
    say(f"The whole demo took {time.monotonic() - begun:.0f} s.")
    next_page(report / "report.html")


def _method() -> tuple[str, ...]:
    from asd.cli._training import INSTALL, need_torch

    try:
        need_torch()
    except UsageError:
        say(f"PyTorch is not installed ({INSTALL}): the demo shows the training-free detector only.", "yellow")
        return "--method", "baseline"
    return ()


def _prepare(folder: Path, overwrite: bool) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise RunFolderError(f"{folder}: is in the way and no demo", "Choose another folder: asd demo FOLDER")
        if not overwrite:
            raise RunFolderError(
                f"{folder}: an older demo is in the way", f"{shell('asd', 'demo', folder)} --overwrite"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _run(*words: object) -> None:
    """Show a command and run it, in this process."""
    from asd.cli import app

    say(f"\n$ {shell('asd', *words)}", "bold")
    code = typer.main.get_command(app).main([str(w) for w in words], prog_name="asd", standalone_mode=False)
    if code:
        raise typer.Exit(code)
