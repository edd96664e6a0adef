"""The folder of a grid, which workers share: run folders, and what is known of each cell.

::

    cells/<cell>/           the run folder that asd train and asd score leave
    records/<cell>.json     what it was made from, how it went, and the digests of its scores
    logs/<cell>.log         what the commands said
    claims/<cell>.<n>       who works on it
    table.md .csv .tex .json, provenance.json
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal

from asd.errors import DataError, RunFolderError
from asd.reproduce.grid import Cell, Grid
from asd.runs import ScoreRow, read_scores, write_text

FOLDERS = ("cells", "records", "logs", "claims")


class State(Enum):
    """How far a cell is."""

    waiting = "waiting"
    begun = "begun"
    trained = "trained"
    failed = "failed"
    done = "done"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a cell, whoever worked on it.

    Attributes:
        table, size, method, machine, seed: what it is.
        key, test: as of the `Cell` that it was made for.
        clips: training normals and test clips.
        state: how it went.
        reason: why it failed.
        commands: as they were run.
        invocation: the command that they came from.
        seconds: that it took, all attempts together.
        scorer: that decides; its scores are in ``scores.csv``.
        scores: name of a file of scores to its SHA-256.
    """

    table: str
    size: str
    method: str
    machine: str
    seed: int
    key: str
    test: str
    clips: tuple[int, int]
    state: Literal["begun", "failed", "done"] = "begun"
    reason: str = ""
    commands: tuple[str, ...] = ()
    invocation: str = ""
    seconds: float = 0.0
    scorer: str = ""
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Folder:
    """A grid's folder."""

    path: Path

    def make(self) -> None:
        """Make it, and see that it can be written to.

        Raises:
            DataError: it cannot.
            RunFolderError: something else is there.
        """
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "records").is_dir():
            raise RunFolderError(f"{self.path}: is in the way, and is no folder of a table", "Choose another --out.")
        try:
            for name in FOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
                if not os.access(self.path / name, os.W_OK | os.X_OK):
                    raise PermissionError(0, "no permission")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror})", "Choose another --out.") from error

    def run(self, cell: str) -> Path:
        """Return the run folder of a cell."""
        return self.path / "cells" / cell

    def log(self, cell: str) -> Path:
        """Return the log of a cell."""
        return self.path / "logs" / f"{cell}.log"

    def record(self, cell: str) -> Record | None:
        """Return what is known of a cell; None for nothing, or nothing that can be read."""
        try:
            said = json.loads((self.path / "records" / f"{cell}.json").read_text(encoding="utf-8"))
            return Record(**{**said, "clips": tuple(said["clips"]), "commands": tuple(said["commands"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def records(self) -> dict[str, Record]:
        """Return what is known of all cells, by name."""
        names = sorted(file.stem for file in (self.path / "records").glob("*.json"))
        found = {name: self.record(name) for name in names}
        return {name: record for name, record in found.items() if record is not None}

    def write(self, cell: str, record: Record) -> None:
        """Write what is known of a cell. Raises DataError."""
        text = json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n"
        write_text(self.path / "records" / f"{cell}.json", text)

    def state(self, cell: Cell) -> State:
        """Return how far a cell is, going by its files.

        Raises:
            RunFolderError: it was made from other settings or recordings.
        """
        record = self.record(cell.name)
        if record is None:
            return State.waiting
        self.require_same(cell, record)
        ended = (self.run(cell.name) / "DONE").is_file()
        if ended and record.state == "done" and record.test == cell.test and self.is_whole(cell.name, record):
            return State.done
        if record.state == "failed":
            return State.failed
        return State.trained if ended else State.begun

    def is_trained(self, cell: str) -> bool:
        """Return whether another cell can start from this one's network."""
        return all((self.run(cell) / name).is_file() for name in ("DONE", "encoder.safetensors"))

    def require_same(self, cell: Cell, record: Record) -> None:
        """Refuse to mix what was made from other settings or recordings with ours."""
        if record.key == cell.key:
            return
        what = "from other training recordings, or with other settings"
        if record.size != cell.size:
            what = f"with --preset {record.size}"
        raise RunFolderError(
            f"{self.run(cell.name)}: is in the way: it was made {what}",
            "Choose another --out, or remove the folder if it is no longer wanted.",
        )

    def is_whole(self, cell: str, record: Record) -> bool:
        """Return whether the scores of a cell are those that were written when it was done."""
        return all(_digest(self.run(cell) / name) == digest for name, digest in record.scores.items())

    def score_files(self, cell: str) -> dict[str, str]:
        """Return the files of scores of a run, with their digests.

        Raises:
            DataError: one that its detector promises is not there, or cannot be read.
        """
        run = self.run(cell)
        names = ["scores.csv", *sorted(file.name for file in run.glob("scores-*.csv"))]
        for name in names:
            read_scores(run / name)
        return {name: _digest(run / name) for name in names}

    def scores(self, cell: str, record: Record) -> dict[str, list[ScoreRow]]:
        """Return the scores of a finished cell by scorer, the one that decides first; nothing else of it is needed.

        Raises:
            DataError: a damaged file.
        """
        run = self.run(cell)
        names = {file.removesuffix(".csv").removeprefix("scores-"): file for file in record.scores}
        return {record.scorer if name == "scores" else name: read_scores(run / file) for name, file in names.items()}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other worker write tables meanwhile: who writes last has seen all records before."""
        with (self.path / ".tables").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def require_same(folder: Folder, grid: Grid) -> None:
    """Raise RunFolderError where a cell of the grid was made from other settings or recordings."""
    for name, record in folder.records().items():
        if (record.table, record.size) != (grid.challenge.name, grid.size):
            raise RunFolderError(
                f"{folder.path}: is in the way: {name} in it is of {record.table}, --preset {record.size}",
                "Choose another --out, or give the same preset.",
            )
    for cell in grid.cells:
        folder.state(cell)


def whole(folder: Folder, records: Mapping[str, Record]) -> tuple[dict[str, Record], dict[str, str]]:
    """Return the finished cells whose scores are whole, and why each other one is not there."""
    done, missing = {}, {}
    for name, record in records.items():
        if record.state != "done":
            missing[name] = record.reason or "not finished"
        elif not folder.is_whole(name, record):
            missing[name] = "its scores are damaged"
        else:
            done[name] = record
    return done, missing


def reason_of(log: Sequence[str]) -> str:
    """Return what a command's log says went wrong."""
    said = [line.removeprefix("asd: ") for line in log if line.startswith("asd: ")]
    return said[-1] if said else next((line for line in reversed(log) if line.strip()), "")


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
