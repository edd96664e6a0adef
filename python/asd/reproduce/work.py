"""Works through the cells of a grid: one after the other, each in a process of its own.

A cell that fails does not take the rest along, and its memory comes back. A worker that is killed takes its process
along, which saves what it can; the next one goes on from there.
"""

from __future__ import annotations

import fcntl
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from asd.config import load_config
from asd.errors import AsdError, DataError, RunFolderError, Stopped
from asd.reproduce.claims import Claim, Claims
from asd.reproduce.folder import Folder, Record, State, reason_of
from asd.reproduce.grid import Cell, Grid
from asd.reproduce.process import start
from asd.runs import LOCK, Run
from asd.words import hours

POLL = 0.2
"""Seconds between two looks at a process."""
WAIT = 2.0
"""Seconds between two looks at what other workers do."""
ORPHAN = 120.0
"""Seconds that a training whose worker was killed may take to save and end."""

ATTEMPTS = 3
"""At most, of a training with a checkpoint that is damaged: from the one before, and from none."""

LOST = -1000
"""In place of an exit code: the claim on the cell is another's by now."""

BY_SIGNAL = {n for number in (signal.SIGINT, signal.SIGTERM) for n in (-number, 128 + number)}

COMMANDS = """
import json, sys
from asd.cli import app
for words in json.loads(sys.argv[1]):
    sys.argv = ["asd", *words]
    if code := app(words, standalone_mode=False):
        sys.exit(code)
"""
"""Several commands in one process, which loads torch once."""

Stop: TypeAlias = Callable[[], int | None]
"""Returns the signal that asks for an end, or None."""

Listen: TypeAlias = Callable[[], AbstractContextManager[Stop]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cells are worked on, and with what.

    Attributes:
        data: the data root.
        labels: a challenge's list, or None.
        pretrain_data: recordings to pre-train on, or None.
        threads, device: as `asd train` takes them; None: its own choice.
        invocation: the command that asked for all this.
        listen: a context in which signals end nothing; it gives a function that returns the one that asks for an end.
    """

    folder: Folder
    data: Path
    labels: Path | None
    pretrain_data: Path | None
    threads: int | None
    device: str | None
    invocation: str
    listen: Listen


@dataclass(frozen=True, slots=True)
class Step:
    """Something happened to a cell.

    Attributes:
        text: what, in words: why it failed, how far it is, who has it.
    """

    cell: Cell
    what: Literal["begins", "at work", "note", "done", "failed", "waits"]
    text: str = ""


def work(grid: Grid, place: Place, shard: int = 1, shards: int = 1) -> Generator[Step, None, list[str]]:
    """Finish the cells that are dealt to one of several workers. Each is tried once.

    Returns:
        The names of its cells that failed.

    Raises:
        Stopped: a signal asked for an end; what was done is saved.
        DataError: the grid's folder cannot be written.
    """
    own = {cell.name for cell in grid.cells[shard - 1 :: shards]}
    worker = _Worker(grid, place, Claims(place.folder.path / "claims"))
    with place.listen() as stop:
        yield from worker.run(grid.dealt(shard, shards), own, stop)
    return [name for name in worker.failed if name in own]


class _Worker:
    def __init__(self, grid: Grid, place: Place, claims: Claims) -> None:
        self._grid, self._place, self._claims = grid, place, claims
        self._folder = place.folder
        self._done: set[str] = set()
        self.failed: list[str] = []

    def run(self, cells: Sequence[Cell], own: set[str], stop: Stop) -> Generator[Step, None, None]:
        """Go through the cells until all of `own` have been done or have failed."""
        while True:
            self._done |= {c.name for c in cells if c.name not in self._done and self._folder.state(c) == State.done}
            still = [c for c in cells if c.name not in self._done and c.name not in self.failed]
            if not any(cell.name in own for cell in still):
                return
            self._stop_if_asked(stop)
            tried = False
            for cell in still:
                if tried := (yield from self._try(cell, stop)):
                    break
            if not tried:
                waited_for = next((c for c in still if self._claims.owner(c.name)), still[0])
                yield Step(waited_for, "waits", self._claims.owner(waited_for.name))
                time.sleep(WAIT)

    def _try(self, cell: Cell, stop: Stop) -> Generator[Step, None, bool]:
        """Work on a cell, if it can be and nobody else does; return whether anything was done."""
        if cell.needs in self.failed:
            yield self._fail(cell, f"{cell.needs} failed, whose network it starts from", self._record(cell))
            return True
        if cell.needs and not self._folder.is_trained(cell.needs):
            return False
        if (claim := self._claims.take(cell.name)) is None:
            return False
        try:
            if self._folder.state(cell) != State.done:  # it may be by now
                yield from self._finish(cell, claim, stop)
        finally:
            claim.release()
        return True

    def _finish(self, cell: Cell, claim: Claim, stop: Stop) -> Generator[Step, None, None]:
        record = self._record(cell)
        self._await_orphan(cell, stop)
        yield Step(cell, "begins")
        yield from self._notes(cell)
        began = time.monotonic()
        for _ in range(ATTEMPTS):
            commands = self._commands(cell)
            resumes = "--resume" in commands[0]
            record = replace(record, commands=tuple(shlex.join(["asd", *words]) for words in commands))
            self._folder.write(cell.name, record)
            code, reason = yield from self._process(cell, commands, claim, stop)
            if code != RunFolderError.exit_code or not resumes or _is_locked(self._folder.run(cell.name)):
                break
            yield from self._step_back(cell, reason)
        record = replace(record, seconds=record.seconds + time.monotonic() - began)
        if code == LOST:
            yield Step(cell, "note", "another worker took it over")
        elif code:
            self._folder.write(cell.name, record)
            self._stop_if_asked(stop)
            yield self._fail(cell, reason, record)
        else:
            self._end(cell, record)
            yield Step(cell, "done", hours(record.seconds))

    def _end(self, cell: Cell, record: Record) -> None:
        """Write that a cell is finished. Its checkpoints, the largest files by far, are of no more use."""
        run = self._folder.run(cell.name)
        if cell.machine:
            scorer = str(Run.open(run).detector()["scorer"])
            record = replace(record, scorer=scorer, scores=self._folder.score_files(cell.name))
        self._folder.write(cell.name, replace(record, state="done"))
        shutil.rmtree(run / "checkpoint", ignore_errors=True)

    def _record(self, cell: Cell) -> Record:
        """Return a new record of a cell, with the time that went into it before."""
        before = self._folder.record(cell.name)
        return Record(
            cell.table,
            cell.size,
            cell.method.name,
            cell.machine,
            cell.seed,
            cell.key,
            cell.test,
            cell.clips,
            invocation=self._place.invocation,
            seconds=before.seconds if before else 0.0,
        )

    def _notes(self, cell: Cell) -> Generator[Step, None, None]:
        """Say what became of an earlier attempt; clear away a run folder that is of no use."""
        before, run = self._folder.record(cell.name), self._folder.run(cell.name)
        if before is None and run.exists():
            yield from self._remove(cell, "nothing is known of its run folder")
        elif (run / "config.toml").is_file():
            ended = (run / "DONE").is_file()
            try:
                load_config(run / "config.toml")
                if ended and cell.machine:
                    Run.open(run).detector()
            except AsdError as error:
                yield from self._remove(cell, error.message)
            else:
                if ended and before is not None and before.state == "done":
                    yield Step(cell, "note", "its test recordings, their labels or its scores changed: scored again")
        elif run.exists() and not _is_locked(run):
            yield from self._remove(cell, "no settings in its run folder")

    def _step_back(self, cell: Cell, reason: str) -> Generator[Step, None, None]:
        """After a checkpoint that cannot be gone on from, take the one before, or none."""
        *before, last = sorted((self._folder.run(cell.name) / "checkpoint").glob("*.safetensors"))
        if not before:
            yield from self._remove(cell, reason)
            return
        yield Step(cell, "note", f"goes on from the checkpoint before: {reason}")
        last.unlink()

    def _remove(self, cell: Cell, reason: str) -> Generator[Step, None, None]:
        """Remove a run folder that cannot be used, which only this grid can have made."""
        yield Step(cell, "note", f"trained anew: {reason}")
        try:
            shutil.rmtree(self._folder.run(cell.name))
        except OSError as error:
            raise DataError(
                f"{self._folder.run(cell.name)}: cannot be removed ({error.strerror})", "Remove it, or change --out."
            ) from error

    def _commands(self, cell: Cell) -> list[list[str]]:
        """Return the commands that are still to be run, as words."""
        place, run = self._place, self._folder.run(cell.name)
        where = ["--runs", str(run.parent), "--name", run.name]
        threads = ["--threads", str(place.threads)] if place.threads else []
        commands = []
        if (run / "DONE").is_file():
            pass
        elif any((run / "checkpoint").glob("*.safetensors")):
            commands.append(["train" if cell.machine else "pretrain", *where, "--resume"])
        else:
            commands.append([*self._training(cell), *where, *threads])
        if cell.machine:
            labels = ["--labels", str(place.labels)] if place.labels else []
            commands.append(["score", str(run), "--data", str(place.data), *labels, *threads])
        return commands

    def _training(self, cell: Cell) -> list[str]:
        place, method = self._place, cell.method
        if cell.machine:
            words = ["train", "--machine", cell.machine, "--id", "all", "--data", str(place.data)]
        else:
            words = ["pretrain", "--data", str(place.pretrain_data)]
        words += ["--preset", method.preset, "--seed", str(cell.seed)]
        for assignment in method.assignments(cell.size):
            words += ["--set", assignment]
        if cell.needs:
            words += ["--from", str(self._folder.run(cell.needs))]
        if cell.takes_over:
            words += ["--epochs", "0"]
        return [*words, "--device", place.device] if place.device and method.chance else words

    def _process(
        self, cell: Cell, commands: list[list[str]], claim: Claim, stop: Stop
    ) -> Generator[Step, None, tuple[int, str]]:
        """Run the commands; return the exit code, and what went wrong in words."""
        file = self._folder.log(cell.name)
        told = None
        with file.open("a", encoding="utf-8") as log:
            log.writelines(f"$ {shlex.join(['asd', *words])}\n" for words in commands)
            log.flush()
            begins = log.tell()
            process = start([sys.executable, "-c", COMMANDS, json.dumps(commands)], stdout=log, stderr=log)
            try:
                while process.poll() is None:
                    if not claim.keep():
                        return LOST, ""
                    if told is None and (told := stop()):
                        process.send_signal(told)
                    yield Step(cell, "at work", _last_line(self._folder.run(cell.name) / "train.log"))
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(POLL)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode in BY_SIGNAL and stop() is None:
            time.sleep(1)  # whoever ended it may have us in mind too
        if process.returncode < 0:
            return process.returncode, f"killed by {signal.Signals(-process.returncode).name}" + (
                " (out of memory?)" if process.returncode == -signal.SIGKILL else ""
            )
        with file.open(encoding="utf-8", errors="replace") as log:
            log.seek(begins)
            return process.returncode, reason_of(log.read().splitlines())

    def _fail(self, cell: Cell, reason: str, record: Record) -> Step:
        self._folder.write(cell.name, replace(record, state="failed", reason=reason))
        self.failed.append(cell.name)
        return Step(cell, "failed", reason)

    def _stop_if_asked(self, stop: Stop) -> None:
        if number := stop():
            hint = f"Go on with the same command: {self._place.invocation}"
            raise Stopped(number, f"{self._folder.path}: stopped; what was done is saved", hint)

    def _await_orphan(self, cell: Cell, stop: Stop) -> None:
        """Wait while a training whose worker was killed saves and ends."""
        end = time.monotonic() + ORPHAN
        while _is_locked(self._folder.run(cell.name)) and time.monotonic() < end:
            self._stop_if_asked(stop)
            time.sleep(POLL)


def _is_locked(run: Path) -> bool:
    """Return whether a training is at work in a run folder."""
    try:
        with (run / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _last_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 300))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
