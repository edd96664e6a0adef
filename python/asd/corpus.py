"""The recordings of a training set: one look at each, their windows, and a cache of their log-mels.

Axes: N windows of all recordings together, P recordings.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from asd import _dsp, features, ready
from asd.config import FeatureSpec
from asd.errors import DataError, UsageError
from asd.events import Caution, Event, Progress
from asd.survey import Looks, Skipped, Survey

__all__ = ["CACHE_GB", "Corpus", "Paths", "Survey"]

CACHE_GB = 4.0
"""Memory for log-mels, in units of 10^9 bytes: a float32 log-mel of 10 s takes 160 KB, a float16 one half."""

CHUNK = 64
"""Recordings that are looked at between two reports of progress."""

SAVE_SECONDS = 30.0
"""Work that a look loses at most when it is killed, where it has a file for what was found so far."""

SAVE_SHARE = 0.05
"""Of its time that it spends on that file, at most; where writing takes seconds, it is written less often."""

_DEFAULT = FeatureSpec()


class Paths(Sequence[Path]):
    """Paths as a folder and names below it, or absolute ones: a set may have millions, and a `Path` takes 400 bytes."""

    def __init__(self, root: str | Path, names: Sequence[str]) -> None:
        self._root, self._names = os.fspath(root), names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Paths: ...
    def __getitem__(self, place: int | slice) -> Path | Paths:
        """Return one, or a part of them."""
        if isinstance(place, slice):
            return Paths(self._root, self._names[place])
        return Path(self._root, self._names[place])

    def strings(self) -> Iterator[str]:
        """Yield them as the system takes them."""
        below = f"{self._root.rstrip('/')}/" if self._root else ""
        return (name if name.startswith("/") else below + name for name in self._names)


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
        self.paths = paths if isinstance(paths, Paths) else Paths("", [os.fspath(path) for path in paths])
        if not self.paths:
            raise UsageError("no recordings to train on", "Name at least one.")
        if not (math.isfinite(cache_gb) and 0 <= cache_gb <= 1e6):
            raise UsageError(f"cache_gb = {cache_gb}: expected 0 or more", "0 keeps no log-mels in memory.")
        self.spec = spec
        self.survey = survey
        self._looks = Looks("")
        self._cache_bytes, self._half, self._threads = int(cache_gb * 1e9), half, threads
        self.kernel: _dsp.Corpus | None = None
        if survey is not None:
            files = (survey.files_N, survey.unreadable)
            if survey.subject != self._subject() or any((array >= len(self.paths)).any() for array in files):
                raise UsageError(
                    "a survey of other recordings, or of these read in another way",
                    "Look at the recordings again, or give the spec and `half` that they were looked at with.",
                )
            units_P, no_recipe = self._units(without=set(survey.unreadable.tolist()))
            for missing in no_recipe.values():
                raise missing
            self.kernel = self._open(units_P)

    def look(self, *, skip_bad: bool = False, part: str | Path | None = None) -> Generator[Event, None, Survey]:
        """Decode every recording once, fill the cache, and return what was found; also as `survey`.

        What was kept before is forgotten; feeds that are at work go on with it.

        Args:
            skip_bad: go on without recordings that cannot be read, with a Caution for each.
            part: a file that holds what was found so far, about twice a minute: a look that ended before its time is
                gone on with by the next one that names it, and finds the same, bit for bit. One that is damaged, or
                of something else, is started again with a Caution. It stays when the look ends.

        Raises:
            DataError: a recording that cannot be read, log-mels of several lengths, or nothing but silence; or `part`
                cannot be written.
        """
        total, width, subject = len(self.paths), features.threads_or_all(self._threads), self._subject()
        looks = Looks(subject)
        if part is not None and Path(part).exists():
            try:
                looks = Looks.load(Path(part), subject, total)
                yield Progress("reading", len(looks), total)
            except DataError as error:
                yield Caution(f"{error.message}; every recording is looked at again")
        units_P, no_recipe = self._units()
        if not skip_bad:
            for skipped in looks.skipped:  # by a look that went on without
                raise features.Unreadable(self.paths[skipped.file], skipped.reason, skipped.hint).error()
            for missing in no_recipe.values():
                raise missing
        kernel = self._open(units_P)
        save_at = time.monotonic() + SAVE_SECONDS
        for first in range(len(looks), total, CHUNK):
            found: list[_dsp.Found | Skipped] = []
            for file, result in enumerate(kernel.survey(first, min(first + CHUNK, total), width), first):
                if isinstance(result, _dsp.Found) and file not in no_recipe:
                    found.append(result)
                    continue
                bad = self._bad(file, no_recipe.get(file, result))
                if not skip_bad:
                    raise bad.error()
                found.append(Skipped(file, bad.reason, bad.hint))
                yield Caution(f"skipped {bad.path}: {bad.reason}")
            looks.add(found)
            if part is not None and (now := time.monotonic()) >= save_at:
                looks.save(Path(part))
                saved = time.monotonic()
                save_at = saved + max(SAVE_SECONDS, (saved - now) / SAVE_SHARE)
            yield Progress("reading", len(looks), total)
        self._looks = looks
        self.survey, self.kernel = self._surveyed(looks), kernel
        return self.survey

    @property
    def health(self) -> list[features.Health | None]:
        """Of every recording, once it was looked at here; None where it cannot be read, or cannot say."""
        looks = self._looks
        return [looks.health(file) if file < len(looks) else None for file in range(len(self.paths))]

    @property
    def skipped(self) -> list[features.Unreadable]:
        """The recordings that the last look here could not read."""
        return [features.Unreadable(self.paths[s.file], s.reason, s.hint) for s in self._looks.skipped]

    @property
    def room(self) -> int:
        """Bytes of the cache that are still free."""
        return self._cache_bytes if self.kernel is None else self.kernel.room()

    def _units(self, without: Collection[int] = ()) -> tuple[NDArray[np.float64], dict[int, DataError]]:
        """Return what makes natural logarithms of ready log-mels, NaN for audio; and why there is none.

        Args:
            without: recordings that are not looked at.
        """
        units_P = np.full(len(self.paths), np.nan)
        no_recipe: dict[int, DataError] = {}
        of_folder: dict[Path, float] = {}
        for file, name in enumerate(self.paths.strings()):
            if name[-4:].lower() != ".npy" or file in without:
                continue
            path = self.paths[file]
            try:
                if path.parent not in of_folder:
                    of_folder[path.parent] = ready.ln_per_unit(path, self.spec)
                units_P[file] = of_folder[path.parent]
            except DataError as error:
                no_recipe[file] = error
        return units_P, no_recipe

    def _bad(self, file: int, what: DataError | _dsp.Found | _dsp.Failure) -> features.Unreadable:
        path = self.paths[file]
        if isinstance(what, DataError):
            return features.Unreadable(path, what.message.removeprefix(f"{path}: "), what.hint)
        assert isinstance(what, _dsp.Failure)
        return features.Unreadable(path, what.reason, what.hint)

    def _open(self, units_P: NDArray[np.float64]) -> _dsp.Corpus:
        """Return the recordings with an empty cache."""
        units = (None if unit != unit else unit for unit in units_P.tolist())
        return _dsp.Corpus(
            features.kernel(self.spec),
            list(zip(self.paths.strings(), units, strict=True)),
            self.spec.clip_samples,
            None if self.spec.channel == "mix" else self.spec.channel,
            self.spec.allow_upsampling,
            self._cache_bytes,
            self._half,
        )

    def _subject(self) -> str:
        names = [path.rpartition("/")[2] for path in self.paths.strings()]
        what = json.dumps([names, self.spec.model_dump(mode="json"), self._half])
        return hashlib.blake2b(what.encode(errors="surrogateescape"), digest_size=16).hexdigest()

    def _surveyed(self, looks: Looks) -> Survey:
        table_P = looks.table()
        files = np.flatnonzero(table_P["windows"])
        if not len(files):
            first = self.skipped[0]
            raise DataError(
                f"none of the {len(self.paths)} recordings can be read, the first: {first.path}: {first.reason}",
                first.hint,
            )
        found = table_P[files]
        frames = int(found["frames"][0])
        for file in files[found["frames"] != frames]:
            raise DataError(
                f"{self.paths[file]}: its log-mel has {table_P['frames'][file]} frames, "
                f"that of {self.paths[files[0]]} has {frames}",
                "One training set has log-mels of one shape; leave the others out.",
            )
        counts = found["windows"]
        values = int(counts.sum()) * frames * self.spec.n_mels
        mean = math.fsum(found["sum"].tolist()) / values
        std = math.sqrt(max(math.fsum(found["squares"].tolist()) / values - mean**2, 0.0))
        if std < 1e-6 * max(1.0, abs(mean)):
            raise DataError(
                "all recordings sound alike: every value of every log-mel is the same",
                "Is there a signal? Look at the recordings with: asd data verify",
            )
        firsts = np.cumsum(counts) - counts
        return Survey(
            files_N=np.repeat(files, counts),
            indices_N=np.arange(counts.sum()) - np.repeat(firsts, counts),
            counts_N=np.repeat(counts, counts),
            starts_N=looks.starts(),
            frames=frames,
            mean=mean,
            std=std,
            seconds=math.fsum(found["seconds"].tolist()),
            unreadable=np.flatnonzero(table_P["windows"] == 0),
            subject=looks.subject,
        )
