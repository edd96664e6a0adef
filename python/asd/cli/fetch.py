"""`asd data fetch`: a challenge's data sets from Zenodo, verified, extracted, ready to train on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asd.cli._errors import Terminated
from asd.cli._output import drive, next_step, out, print_json, say, shell, tell_all
from asd.cli.data import show_list, train_command
from asd.errors import AsdError, DataError, Stopped
from asd.words import count, size

if TYPE_CHECKING:
    from asd.data.fetch.plan import Plan
    from asd.data.fetch.records import Remote

JOBS, TIMEOUT = 4, 30


def fetch(
    challenge: Annotated[str, typer.Argument(help="dcase2020, dcase2021, … dcase2026.")],
    machine: Annotated[
        list[str] | None, typer.Option(help="A machine type; may be given several times. Default: all.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="development, additional, evaluation or labels; may be given several times. Default: all."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder that becomes a data root. Default: named like the challenge, in $ASD_DATA or ./data."
        ),
    ] = None,
    mirror: Annotated[str | None, typer.Option(help="Another server with Zenodo's interface.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Files at a time.")] = JOBS,
    timeout: Annotated[
        int, typer.Option(min=1, max=3600, help="Seconds of silence before a connection is given up.")
    ] = TIMEOUT,
    keep_archives: Annotated[bool, typer.Option(help="Keep the archives beside what comes out of them.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only show files, sizes and the room that they need.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Fetch a challenge's data sets from Zenodo, verify and extract them.

    What was interrupted is gone on with by the same command; what is there whole is not fetched again.
    """
    from asd.data.fetch.client import ZENODO, Patience, Server
    from asd.data.fetch.ledger import Ledger
    from asd.data.fetch.plan import make_plan, parts_of
    from asd.data.fetch.work import fetch as bring
    from asd.data.tree import absolute

    parts = parts_of(challenge, part or ())
    root = absolute(data or Path(os.environ.get("ASD_DATA") or "data") / challenge)
    options: dict[str, Any] = {"machine": machine, "part": part, "data": data, "mirror": mirror}
    options |= {
        "jobs": jobs != JOBS and jobs,
        "timeout": timeout != TIMEOUT and timeout,
        "keep-archives": keep_archives,
    }
    command = shell("asd", "data", "fetch", challenge, *_words(options))
    with (
        _going_on(root, command),
        Server(
            ZENODO if mirror is None else mirror, Patience(timeout), jobs, lambda caution: tell_all([caution])
        ) as server,
    ):
        plan = drive(make_plan(server, Ledger(root), challenge, parts, machine or ()))
        room = {"to_fetch": plan.to_fetch, "needed": plan.needed(jobs, keep_archives), "free": plan.free()}
        say(f"{root}: {_room(room)}")
        failures = [] if dry_run else drive(bring(plan, server, jobs, keep_archives))
    errors = [*plan.failures, *(failure.error for failure in failures)]
    if json:
        print_json(_as_json(plan, room, errors))
    elif dry_run:
        _show_plan(plan)
    try:
        following = command if dry_run else _look_at(plan, show=not json)
    except DataError as error:
        errors.append(error)
    if errors:
        raise _together(errors, len(plan.items) + len(plan.failures))
    next_step(following)


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    """Return options as the words of a command."""
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None and one is not False:
                yield f"--{name}"
                yield from () if one is True else (str(one),)


@contextmanager
def _going_on(root: Path, command: str) -> Iterator[None]:
    """Say how to go on when a signal ends the block."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT, f"{root}: interrupted; what has come is kept", f"Go on with: {command}") from None
    except Terminated:
        raise Stopped(signal.SIGTERM, f"{root}: terminated; what has come is kept", f"Go on with: {command}") from None


def _room(room: Mapping[str, int]) -> str:
    return f"{size(room['to_fetch'])} to fetch, about {size(room['needed'])} needed, {size(room['free'])} free"


def _show_plan(plan: Plan) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, side in {"part": "left", "record": "right", "file": "left", "size": "right", "": "left"}.items():
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    for item in plan.items:
        file = item.file
        table.add_row(file.part, str(file.record), escape(file.key), size(file.size), _STATES[item.state])
    out.print(table)


_STATES = {"absent": "", "begun": "begun", "here": "here", "changed": "here, in an earlier version"}


def _look_at(plan: Plan, show: bool) -> str:
    """Open what was fetched as any other command would, and return the command that usually follows."""
    from asd.data.catalog import open_catalog
    from asd.data.inventory import take_stock
    from asd.data.labels import read_labels

    here = [item.file for item in plan.items if plan.ledger.state(item.file)[0] in ("here", "changed")]
    parts = {file.part for file in here}
    labels = next((plan.root / f.part / f.key for f in here if f.part == "labels" and f.key.endswith(".csv")), None)
    if labels is not None:
        listed = read_labels(labels)
        say(f"labels of {', '.join(listed.machines)}: --labels {shell(labels)}")
    if not parts - {"labels"}:
        return shell("asd", "data", "fetch", plan.challenge)
    catalog = open_catalog(plan.root, labels if "evaluation" in parts else None)
    tell_all(catalog.notes)
    stocks = drive(take_stock(catalog))
    if show:
        show_list(catalog, stocks)
    return train_command(catalog.clips, plan.root) or shell("asd", "data", "list", plan.root)


def _together(errors: Sequence[AsdError], files: int) -> AsdError:
    """Return one error for all; each was said when it happened."""
    if len(errors) == 1:
        return errors[0]
    first = errors[0]
    return DataError(f"{len(errors)} of {count(files, 'file')} could not be fetched; {first.message}", first.hint)


def _as_json(plan: Plan, room: Mapping[str, int], errors: Sequence[AsdError]) -> dict[str, Any]:
    def row(file: Remote) -> dict[str, Any]:
        state, have = plan.ledger.state(file)
        keys = ("part", "record", "key", "machine", "size", "checksum")
        return {key: getattr(file, key) for key in keys} | {"state": state, "to_fetch": file.size - have}

    return {
        "challenge": plan.challenge,
        "root": str(plan.root),
        "files": [row(item.file) for item in plan.items],
        "bytes": dict(room),
        "errors": [{"message": error.message, "hint": error.hint} for error in errors],
    }
