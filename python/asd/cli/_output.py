"""How the commands speak: results on stdout, everything else on stderr, one `Next:` line at the end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from asd.errors import DataError
from asd.events import Caution, Event, Note, Progress
from asd.words import size

T = TypeVar("T")


def is_first() -> bool:
    """Return whether this process speaks and writes: alone, or the first of ``torchrun``'s."""
    return os.environ.get("RANK", "0") == "0"


console = Console(stderr=True, highlight=False, emoji=False, quiet=not is_first())
"""Progress, notes, hints."""

out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120, quiet=not is_first())
"""Results. Into a file or a pipe they are as wide as tables need."""


def say(text: str, style: str = "") -> None:
    """Print one line on stderr, unwrapped and without markup: it may hold paths."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def next_step(command: str) -> None:
    """Print the command that usually follows."""
    say(f"Next: {command}", "bold")


def next_page(file: Path) -> None:
    """Print the command that shows a page."""
    opener = next((o for o in ("xdg-open", "open") if shutil.which(o)), f"{sys.executable} -m webbrowser -t")
    next_step(f"{opener} {shell(file)}")


def shell(*words: object) -> str:
    """Join words into a command line that a shell reads back as the same words."""
    return shlex.join(str(w) for w in words)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; NaN is a bug, so it is refused."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def data_root(argument: Path | None) -> Path:
    """Return the data root: the argument, else ``$ASD_DATA``, else ``./data``."""
    root = argument or Path(os.environ.get("ASD_DATA") or "data")
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "no such folder"
        hint = "Name the folder with --data or $ASD_DATA, or make one: asd data synth data"
        raise DataError(f"{root}: {what}", hint)
    return root


def tell_all(remarks: Iterable[Note | Caution]) -> None:
    """Show remarks."""
    for remark in remarks:
        say(_line(remark), "yellow" if isinstance(remark, Caution) else "")


def channel_of(text: str) -> int | str:
    """Read what ``--channel`` was given: a number, or a word for `asd.config.FeatureSpec` to check."""
    return int(text) if text.isdecimal() else text


def drive(work: Generator[Event, None, T], log: Callable[[str], None] | None = None) -> T:
    """Run `work` to its end, show its events, and return its result.

    A bar on a terminal; otherwise a plain line for each stage and at most one every ten seconds.

    Args:
        work: a generator of events.
        log: takes such lines as well (the run folder's ``train.log``), and where each stage begins.
    """
    view = _Bar() if console.is_terminal else _Lines()
    pace = _Pace()
    with view:
        while True:
            try:
                event = next(work)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(event, Progress):
                view.progress(event)
            else:
                tell_all([event])
            if log is not None and (not isinstance(event, Progress) or pace.begins(event) or pace.due(event)):
                log(_line(event))


def _line(event: Event) -> str:
    match event:
        case Progress(stage, done, total, "bytes"):
            return f"{stage} {size(done)} of {size(total)}"
        case Progress(stage, done, total):
            return f"{stage} {done}/{total}"
        case Note(message):
            return message
        case Caution(message):
            return f"caution: {message}"


class _Bar:
    """Rich progress, one bar a stage."""

    def __enter__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(),
        )
        self._bars = RichProgress(*columns, console=console, transient=True)
        self._tasks: dict[str, Any] = {}
        self._speed = _Speed()
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def progress(self, event: Progress) -> None:
        amount = f"{event.done}/{event.total}"
        if event.unit == "bytes":
            amount = f"{size(event.done)} of {size(event.total)}{self._speed.of(event)}"
        state: dict[str, Any] = {"total": event.total, "completed": event.done, "amount": amount}
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bars.add_task(event.stage, **state)
        self._bars.update(self._tasks[event.stage], **state)


class _Lines:
    """Plain lines for pipes."""

    def __enter__(self) -> None:
        self._pace = _Pace()
        self._speed = _Speed()

    def __exit__(self, *_: object) -> None:
        pass

    def progress(self, event: Progress) -> None:
        speed = self._speed.of(event)
        if self._pace.due(event):
            say(_line(event) + speed)


class _Speed:
    """How many bytes a second there were, on average since a stage was first heard of."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, int]] = {}

    def of(self, event: Progress) -> str:
        """Return ``", 12.3 MB/s"``; nothing for other units, and before there is an average."""
        now = time.monotonic()
        since, before = self._first.setdefault(event.stage, (now, event.done))
        if event.unit != "bytes" or now - since < 1.0 or event.done <= before:
            return ""
        return f", {size((event.done - before) / (now - since))}/s"


class _Pace:
    """Which steps of progress deserve a line: the end of a stage, and one every ten seconds."""

    EVERY_SECONDS = 10.0

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._stages: set[str] = set()

    def begins(self, event: Progress) -> bool:
        """Return whether `event` is the first of its stage."""
        known = event.stage in self._stages
        self._stages.add(event.stage)
        return not known

    def due(self, event: Progress) -> bool:
        """Return whether it is time for a line."""
        now = time.monotonic()
        if event.done < event.total and now - self._last <= self.EVERY_SECONDS:
            return False
        self._last = now
        return True
