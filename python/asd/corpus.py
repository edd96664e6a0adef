"""The recordings of a training set: one look at each, their windows, and a cache of their log-mels.

Axes: N windows of all recordings together.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from asd import _dsp, features, ready, runs
from asd.config import FeatureSpec
from asd.errors import DataError, UsageError
from asd.events import Caution, Event, Progress

CACHE_GB = 4.0
"""Memory for log-mels, in units of 10^9 bytes: a float32 log-mel of 10 s takes 160 KB, a float16 one half."""

CHUNK = 64
"""Recordings that are looked at between two reports of progress."""

_DEFAULT = FeatureSpec()
_PER_WINDOW = ("files_N", "indices_N", "counts_N", "starts_N")


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
            scalars = {"frames": int, "mean": float, "std": float, "subject": str}
            values.update({name: kind(values[name].item()) for name, kind in scalars.items()})
            return cls(**values)
        except Exception as error:  # a damaged archive brings out whatever zipfile and numpy stumble over
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise DataError(f"{path}: no survey of recordings ({reason})", "Look at the recordings again.") from None


class Corpus:
    """The recordings of a training set and their log-mels, which are computed when they are wanted.

    Log-mels are kept in memory while there is room, those that come first; none is ever thrown out for another. With
    `half` they are rounded to float16 whether they are kept or not: the cache changes no value. (A feed has a memory of
    its own beside it, for the clips of its last draws: 160 KB each, 2048 by default.)

    Recordings must stay what they are while they are fed. One whose windows lie elsewhere than before is an error;
    other sound in a file of the same length goes unnoticed. A path that is named twice counts as two recordings.

    Attributes:
        paths, spec: as given.
        survey: what `look` found; None before.
        health: of every recording, once it was looked at here; None where it cannot be read, or cannot say.

    Args:
        paths: WAV, FLAC, or ready log-mels (``.npy``).
        spec: how they are read.
        cache_gb: room for log-mels, in units of 10^9 bytes; 0 keeps none.
        half: keep float16, twice as many.
        threads: of the survey, 1 to 1024; None takes all that this process may use.
        survey: of the same recordings, made before; None: run `look` before the first feed.

    Raises:
        UsageError: no recordings, a value out of range, or a survey of something else.
        DataError: with a survey: a log-mel without a recipe.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        spec: FeatureSpec = _DEFAULT,
        *,
        cache_gb: float = CACHE_GB,
        half: bool = False,
        threads: int | None = None,
        survey: Survey | None = None,
    ) -> None:
        if isinstance(paths, str | Path):
            raise UsageError(f"paths: expected several, got {str(paths)!r} alone", "Name them in a list.")
        self.paths = [Path(path) for path in paths]
        if not self.paths:
            raise UsageError("no recordings to train on", "Name at least one.")
        if not (math.isfinite(cache_gb) and 0 <= cache_gb <= 1e6):
            raise UsageError(f"cache_gb = {cache_gb}: expected 0 or more", "0 keeps no log-mels in memory.")
        self.spec = spec
        self.survey = survey
        self.health: list[features.Health | None] = [None] * len(self.paths)
        self._cache_bytes, self._half, self._threads = int(cache_gb * 1e9), half, threads
        self.kernel: _dsp.Corpus | None = None
        if survey is not None:
            files = (survey.files_N, survey.unreadable)
            if survey.subject != self._subject() or any((array >= len(self.paths)).any() for array in files):
                raise UsageError(
                    "a survey of other recordings, or of these read in another way",
                    "Look at the recordings again, or give the spec and `half` that they were looked at with.",
                )
            bad = set(survey.unreadable.tolist())
            self.kernel = self._open({i: self._unit(path) for i, path in enumerate(self.paths) if i not in bad})

    def look(self, *, skip_bad: bool = False) -> Generator[Event, None, Survey]:
        """Decode every recording once, fill the cache, and return what was found; also as `survey`.

        What was kept before is forgotten; feeds that are at work go on with it.

        Args:
            skip_bad: go on without recordings that cannot be read, with a Caution for each.

        Raises:
            DataError: a recording that cannot be read, log-mels of several lengths, or nothing but silence.
        """
        found: dict[int, _dsp.Found] = {}
        total, width = len(self.paths), features.threads_or_all(self._threads)
        units: dict[int, float | None] = {}
        for file, path in enumerate(self.paths):
            try:
                units[file] = self._unit(path)
            except DataError as error:
                if not skip_bad:
                    raise
                yield Caution(f"skipped {error.message}")
        kernel = self._open(units)
        for first in range(0, total, CHUNK):
            for file, result in enumerate(kernel.survey(first, min(first + CHUNK, total), width), first):
                if isinstance(result, _dsp.Found):
                    found[file] = result
                elif file in units:
                    bad = features.Unreadable(self.paths[file], result.reason, result.hint)
                    if not skip_bad:
                        raise bad.error()
                    yield Caution(f"skipped {bad.path}: {bad.reason}")
            yield Progress("reading", min(first + CHUNK, total), total)
        survey = self._surveyed(found)
        looks = (found.get(file) for file in range(total))
        self.health = [features.as_health(look.health) if look and look.health else None for look in looks]
        self.kernel, self.survey = kernel, survey
        return survey

    @property
    def room(self) -> int:
        """Bytes of the cache that are still free."""
        return self._cache_bytes if self.kernel is None else self.kernel.room()

    def _unit(self, path: Path) -> float | None:
        return ready.ln_per_unit(path, self.spec) if ready.is_ready(path) else None

    def _open(self, units: Mapping[int, float | None]) -> _dsp.Corpus:
        """Return the recordings with an empty cache; those without an entry in `units` are never read."""
        return _dsp.Corpus(
            features.kernel(self.spec),
            [(os.fspath(path), units.get(file)) for file, path in enumerate(self.paths)],
            self.spec.clip_samples,
            None if self.spec.channel == "mix" else self.spec.channel,
            self.spec.allow_upsampling,
            self._cache_bytes,
            self._half,
        )

    def _subject(self) -> str:
        names = [path.name for path in self.paths]
        what = json.dumps([names, self.spec.model_dump(mode="json"), self._half])
        return hashlib.blake2b(what.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def _surveyed(self, found: Mapping[int, _dsp.Found]) -> Survey:
        if not found:
            raise DataError(
                f"none of the {len(self.paths)} recordings can be read", "Look at them with: asd data verify"
            )
        first = next(iter(found))
        frames = found[first].frames
        for file, look in found.items():
            if look.frames != frames:
                raise DataError(
                    f"{self.paths[file]}: its log-mel has {look.frames} frames, "
                    f"that of {self.paths[first]} has {frames}",
                    "One training set has log-mels of one shape; leave the others out.",
                )
        files, looks = np.array(list(found), np.int64), list(found.values())
        counts = np.array([len(look.starts) for look in looks])
        values = int(counts.sum()) * frames * self.spec.n_mels
        mean = math.fsum(look.sum for look in looks) / values
        std = math.sqrt(max(math.fsum(look.squares for look in looks) / values - mean**2, 0.0))
        if std < 1e-6 * max(1.0, abs(mean)):
            raise DataError(
                "all recordings sound alike: every value of every log-mel is the same",
                "Is there a signal? Look at the recordings with: asd data verify",
            )
        return Survey(
            files_N=np.repeat(files, counts),
            indices_N=np.concatenate([np.arange(count) for count in counts]),
            counts_N=np.repeat(counts, counts),
            starts_N=np.concatenate([np.array(look.starts, np.int64) for look in looks]),
            frames=frames,
            mean=mean,
            std=std,
            unreadable=np.array([file for file in range(len(self.paths)) if file not in found], np.int64),
            subject=self._subject(),
        )
