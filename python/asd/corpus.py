"""The recordings of a training set: one look at each, their windows, and a cache of their log-mels.

Axes: N windows of all recordings together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from asd import _dsp, features, ready
from asd.config import FeatureSpec
from asd.errors import DataError, UsageError
from asd.events import Caution, Event, Progress

CACHE_GB = 4.0
"""Memory for log-mels, in units of 10^9 bytes: a float32 log-mel of 10 s takes 160 KB, a float16 one half."""

CHUNK = 64
"""Recordings that are looked at between two reports of progress."""

_DEFAULT = FeatureSpec()


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
    """

    files_N: NDArray[np.int64]
    indices_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]
    starts_N: NDArray[np.int64]
    frames: int
    mean: float
    std: float
    unreadable: NDArray[np.int64]

    def save(self, path: str | Path) -> None:
        """Write it as ``.npz``, so that a later run need not look at every recording again."""
        with Path(path).open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values = {field.name: stored[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: no survey of a training set ({error})", "Look at the recordings again.") from None
        values.update(frames=int(values["frames"]), mean=float(values["mean"]), std=float(values["std"]))
        return cls(**values)


class Corpus:
    """The recordings of a training set and their log-mels, which are computed when they are wanted.

    Log-mels are kept in memory while there is room, those that come first; none is ever thrown out for another. With
    `half` they are rounded to float16 whether they are kept or not: the cache changes no value.

    Args:
        paths: WAV, FLAC, or ready log-mels (``.npy``).
        spec: how they are read.
        cache_gb: room for log-mels, in units of 10^9 bytes; 0 keeps none.
        half: keep float16, twice as many.
        threads: of the survey, 1 to 1024; None takes all that this process may use.
        survey: of the same paths, made before; None: run `look` before the first feed.

    Raises:
        UsageError: no recordings, or a value out of range.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        spec: FeatureSpec = _DEFAULT,
        *,
        cache_gb: float = CACHE_GB,
        half: bool = False,
        threads: int | None = None,
        survey: Survey | None = None,
    ) -> None:
        if not paths:
            raise UsageError("no recordings to train on", "Name at least one.")
        if not (math.isfinite(cache_gb) and 0 <= cache_gb <= 1e6):
            raise UsageError(f"cache_gb = {cache_gb}: expected 0 or more", "0 keeps no log-mels in memory.")
        self.paths = [Path(path) for path in paths]
        self.spec = spec
        self.survey = survey
        self._threads = threads
        units = [ready.ln_per_unit(path, spec) if ready.is_ready(path) else None for path in self.paths]
        self.kernel = _dsp.Corpus(
            features.kernel(spec),
            [(os.fspath(path), unit) for path, unit in zip(self.paths, units, strict=True)],
            spec.clip_samples,
            None if spec.channel == "mix" else spec.channel,
            spec.allow_upsampling,
            int(cache_gb * 1e9),
            half,
        )

    def look(self, *, skip_bad: bool = False) -> Generator[Event, None, Survey]:
        """Decode every recording once, fill the cache, and return what was found; also as `survey`.

        Args:
            skip_bad: go on without recordings that cannot be read, with a Caution for each.

        Raises:
            DataError: a recording that cannot be read, log-mels of several lengths, or nothing but silence.
        """
        found: list[_dsp.Found | None] = []
        total, width = len(self.paths), features.threads_or_all(self._threads)
        for first in range(0, total, CHUNK):
            for file, result in enumerate(self.kernel.survey(first, min(first + CHUNK, total), width), first):
                if isinstance(result, _dsp.Failure):
                    bad = features.Unreadable(self.paths[file], result.reason, result.hint)
                    if not skip_bad:
                        raise bad.error()
                    yield Caution(f"skipped {bad.path}: {bad.reason}")
                    found.append(None)
                else:
                    found.append(result)
            yield Progress("reading", min(first + CHUNK, total), total)
        self.survey = self._surveyed(found)
        return self.survey

    @property
    def room(self) -> int:
        """Bytes of the cache that are still free."""
        return self.kernel.room()

    def _surveyed(self, found: Sequence[_dsp.Found | None]) -> Survey:
        good = [(file, look) for file, look in enumerate(found) if look is not None]
        if not good:
            raise DataError(f"none of the {len(found)} recordings can be read", "Look at them with: asd data verify")
        frames = good[0][1].frames
        for file, look in good:
            if look.frames != frames:
                raise DataError(
                    f"{self.paths[file]}: its log-mel has {look.frames} frames, that of {self.paths[good[0][0]]} has "
                    f"{frames}",
                    "One training set has log-mels of one shape; leave the others out.",
                )
        counts = np.array([len(look.starts) for _, look in good])
        values = int(counts.sum()) * frames * self.spec.n_mels
        mean = math.fsum(look.sum for _, look in good) / values
        std = math.sqrt(max(math.fsum(look.squares for _, look in good) / values - mean**2, 0.0))
        if std < 1e-6 * max(1.0, abs(mean)):
            raise DataError(
                "all recordings sound alike: every value of every log-mel is the same",
                "Is there a signal? Look at the recordings with: asd data verify",
            )
        return Survey(
            files_N=np.repeat([file for file, _ in good], counts),
            indices_N=np.concatenate([np.arange(count) for count in counts]),
            counts_N=np.repeat(counts, counts),
            starts_N=np.concatenate([np.array(look.starts, np.int64) for _, look in good]),
            frames=frames,
            mean=mean,
            std=std,
            unreadable=np.array([file for file, look in enumerate(found) if look is None], np.int64),
        )
