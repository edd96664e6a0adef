"""What looking at every recording of a training set finds, and half a look that a later one goes on with.

Axes: N windows of all recordings together, P recordings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from asd import features, runs
from asd.errors import DataError

if TYPE_CHECKING:
    from asd import _dsp

_PER_WINDOW = ("files_N", "indices_N", "counts_N", "starts_N")

_HEALTH = {
    "rate": "i8",
    "channels": "i8",
    "seconds": "f8",
    "peak": "f8",
    "rms": "f8",
    "clipped": "f8",
    "truncated": "?",
    "digest": "u8",
}
_LOOK = np.dtype(
    [("windows", "i8"), ("frames", "i8"), ("sum", "f8"), ("squares", "f8"), ("heard", "?"), *_HEALTH.items()]
)
"""One recording: how many windows (0: it cannot be read), sums over its log-mels, and its health if it was `heard`."""


@dataclass(frozen=True)
class Survey:
    """What a look at every recording found: all that a feed must know before its first draw.

    Attributes:
        files_N: which recording a window belongs to, as its place among the paths.
        indices_N: which of its windows it is.
        counts_N: how many the recording has.
        starts_N: first sample of the window, at the spec's rate.
        frames: T of every log-mel.
        mean, std: of all values of all log-mels: what pre-normalising takes off, and divides by.
        seconds: length of all recordings together; ready log-mels do not count.
        unreadable: places of the recordings that cannot be read.
        subject: what was looked at: a digest of the recordings' names, in order, and of how they are read.
    """

    files_N: NDArray[np.int64]
    indices_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]
    starts_N: NDArray[np.int64]
    frames: int
    mean: float
    std: float
    seconds: float
    unreadable: NDArray[np.int64]
    subject: str

    def __post_init__(self) -> None:
        """Check that it can be true, and let nobody write to it. Raises ValueError."""
        arrays = {name: getattr(self, name) for name in (*_PER_WINDOW, "unreadable")}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != 1:
                raise ValueError(f"{name}: expected int64 of shape (N,)")
            array.flags.writeable = False
        if len({len(arrays[name]) for name in _PER_WINDOW}) != 1 or not len(self.files_N):
            raise ValueError("expected as many files_N, indices_N, counts_N and starts_N, and at least one")
        if any((array < 0).any() for array in arrays.values()) or (self.indices_N >= self.counts_N).any():
            raise ValueError("a window that its recording does not have")
        if self.frames < 1 or not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError("frames, mean and std: expected finite numbers, frames and std above 0")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError("seconds: expected 0 or more")

    def save(self, path: str | Path) -> None:
        """Write it as ``.npz``, so that a later run need not look at every recording again.

        Raises:
            DataError: the file cannot be written.
        """
        runs.write_npz(Path(path), {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: it is something else, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values: dict[str, Any] = {f.name: np.ascontiguousarray(stored[f.name]) for f in fields(cls)}
            scalars = {"frames": int, "mean": float, "std": float, "seconds": float, "subject": str}
            values.update({name: kind(values[name].item()) for name, kind in scalars.items()})
            return cls(**values)
        except Exception as error:  # a damaged archive brings out whatever zipfile and numpy stumble over
            raise DataError(
                f"{path}: no survey of recordings ({_first_line(error)})", "Look at the recordings again."
            ) from None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A recording that cannot be read: its place among the paths, and why."""

    file: int
    reason: str
    hint: str


class Looks:
    """What was found in the first recordings of a set, in their order: arrays, as sets may have millions.

    Attributes:
        subject: as of a `Survey`.
        skipped: those that cannot be read.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.skipped: list[Skipped] = []
        self._tables: list[NDArray[Any]] = [np.empty(0, _LOOK)]
        self._starts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        self._done = 0

    def __len__(self) -> int:
        """Recordings that were looked at."""
        return self._done

    def add(self, found: Sequence[_dsp.Found | Skipped]) -> None:
        """Append what was found in the next recordings."""
        table = np.zeros(len(found), _LOOK)
        for row, look in zip(table, found, strict=True):
            if isinstance(look, Skipped):
                self.skipped.append(look)
                continue
            health = look.health
            row["windows"], row["frames"] = len(look.starts), look.frames
            row["sum"], row["squares"], row["heard"] = look.sum, look.squares, health is not None
            if health is not None:
                for name in _HEALTH:
                    row[name] = getattr(health, name)
        starts = [start for look in found if not isinstance(look, Skipped) for start in look.starts]
        self._starts.append(np.array(starts, np.int64))
        self._tables.append(table)
        self._done += len(found)

    def table(self) -> NDArray[Any]:
        """Return one `_LOOK` for each recording."""
        return _joined(self._tables)

    def starts(self) -> NDArray[np.int64]:
        """Return the first sample of every window."""
        return _joined(self._starts)

    def health(self, file: int) -> features.Health | None:
        """Return what a recording is like; None where it cannot be read, or cannot say."""
        row = self.table()[file]
        if not row["heard"]:
            return None
        health = {name: row[name].item() for name in _HEALTH}
        return features.Health(**health | {"digest": f"{health['digest']:016x}"})

    def save(self, path: Path) -> None:
        """Write it as ``.npz``, whole or not at all. Raises DataError where that cannot be."""
        skipped = json.dumps([[s.file, s.reason, s.hint] for s in self.skipped]).encode()
        arrays = {"subject": self.subject, "looks": self.table(), "starts": self.starts()}
        runs.write_npz(path, {**arrays, "skipped": np.frombuffer(skipped, np.uint8)})

    @classmethod
    def load(cls, path: Path, subject: str, most: int) -> Self:
        """Read what `save` wrote of `subject`, which has at most so many recordings.

        Raises:
            DataError: it is something else, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                subject_of, table, starts = stored["subject"].item(), stored["looks"], stored["starts"]
                skipped = [Skipped(*entry) for entry in json.loads(stored["skipped"].tobytes())]
            if subject_of != subject:
                raise ValueError("of other recordings, or of these read in another way")
            if table.dtype != _LOOK or table.ndim != 1 or len(table) > most or (table["windows"] < 0).any():
                raise ValueError("a table of another kind")
            if starts.dtype != np.int64 or starts.shape != (table["windows"].sum(),):
                raise ValueError("windows are missing")
            if [s.file for s in skipped] != np.flatnonzero(table["windows"] == 0).tolist():
                raise ValueError("a recording without a window, and without a reason")
        except Exception as error:  # as for a survey
            raise DataError(f"{path}: no part of a survey ({_first_line(error)})", "Delete it.") from None
        looks = cls(subject)
        looks.skipped, looks._tables, looks._starts, looks._done = skipped, [table], [starts], len(table)
        return looks


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Return all of `arrays` as one, which takes their place."""
    if len(arrays) > 1:
        arrays[:] = [np.concatenate(arrays)]
    return arrays[0]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
