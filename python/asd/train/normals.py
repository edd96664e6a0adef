"""Reads the normal recordings of a machine type once, and keeps what fitting and reports need of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asd import features
from asd.config import Config
from asd.data.catalog import Clip, session_of
from asd.data.health import remarks
from asd.detect.baseline import CROSS_FIT_FOLDS
from asd.detect.gaussian import Normals
from asd.detect.pooled import pool
from asd.errors import DataError
from asd.events import Caution, Event, Progress

BLOCKS = 2 * CROSS_FIT_FOLDS
"""Into how many stretches of time, at most, a section is cut where it has too few recordings to hold some out."""

SKIP = "go on without such recordings: --skip-bad"


@dataclass(slots=True)
class Profile:
    """Running mean and deviation of a section's log-mels, band by band."""

    count: int = 0
    sum_F: NDArray[np.float64] | float = 0.0
    square_F: NDArray[np.float64] | float = 0.0
    means_WF: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, logmel_WFT: NDArray[np.float32]) -> None:
        """Take in the windows of one recording."""
        for window_FT in logmel_WFT:
            x_FT = window_FT.astype(np.float64)
            self.count += x_FT.shape[1]
            self.sum_F = self.sum_F + x_FT.sum(1)
            self.square_F = self.square_F + np.square(x_FT).sum(1)
            self.means_WF.append(x_FT.mean(1))

    def arrays(self, section: str) -> dict[str, NDArray[np.float32]]:
        """Return mean, deviation over frames, and deviation over windows of a window's time mean, (F,) each."""
        mean_F = np.asarray(self.sum_F) / self.count
        variance_F = np.maximum(np.asarray(self.square_F) / self.count - mean_F**2, 0.0)
        arrays = {
            "mean": mean_F,
            "std": np.sqrt(variance_F),
            "clip_std": np.stack(self.means_WF).std(0),
        }
        return {f"{section}/{name}": values_F.astype(np.float32) for name, values_F in arrays.items()}


@dataclass(frozen=True, slots=True)
class Read:
    """One recording, read and pooled."""

    clip: Clip
    health: features.Health
    starts_W: NDArray[np.float64]
    features_WD: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """The normals of all sections of one machine type, window by window.

    Attributes:
        read: the recordings, sorted by section and name.
        rows: a row a window, for fitting.
        clip_N: which recording a row belongs to.
        starts_N: where in it the window starts, in seconds.
        groups_N: which rows are calibrated as one recording: a recording, or a block of a long one.
        profiles: of each section.
        frames: T of every log-mel.
        skipped: recordings that could not be read.
    """

    read: Sequence[Read]
    rows: Normals
    clip_N: NDArray[np.int64]
    starts_N: NDArray[np.float64]
    groups_N: NDArray[np.int64]
    profiles: dict[str, Profile]
    frames: int
    skipped: Sequence[features.Unreadable]


def read_normals(clips: Sequence[Clip], config: Config) -> Generator[Event, None, Table]:
    """Read and pool recordings.

    Raises:
        DataError: a recording cannot be read (unless ``skip_bad``), or log-mels of several lengths.
        UsageError: a session regex that is none, or that does not match a path.
    """
    read: list[Read] = []
    skipped: list[features.Unreadable] = []
    profiles: dict[str, Profile] = defaultdict(Profile)
    shape: tuple[int, ...] = ()
    recordings = features.read_recordings([c.path for c in clips], config.features, config.threads)
    for done, (clip, recording) in enumerate(zip(clips, recordings, strict=True), 1):
        yield Progress("reading", done, len(clips))
        if isinstance(recording, features.Unreadable):
            if not config.data.skip_bad:
                raise recording.error().or_else(SKIP)
            skipped.append(recording)
            yield Caution(f"skipped {recording.path}: {recording.reason}")
            continue
        shape = shape or recording.logmel_WFT.shape[1:]
        if recording.logmel_WFT.shape[1:] != shape:
            raise _mixed(read[0].clip, shape, clip, recording.logmel_WFT.shape[1:])
        profiles[clip.section].add(recording.logmel_WFT)
        read.append(Read(clip, recording.health, recording.starts_W, pool(recording.logmel_WFT)))
    if not read:
        raise DataError(f"none of the {len(clips)} recordings can be read", "Look at them with: asd data verify")
    read.sort(key=lambda r: (r.clip.section, r.clip.name))
    yield from remarks([r.clip.name for r in read], [r.health for r in read], config.features)
    return _table(read, config.data.session_regex, profiles, shape[1], skipped)


def _mixed(first: Clip, shape: tuple[int, ...], other: Clip, other_shape: tuple[int, ...]) -> DataError:
    return DataError(
        f"{other.path}: its log-mel is {other_shape[0]} × {other_shape[1]}, that of {first.path} is "
        f"{shape[0]} × {shape[1]}",
        "One training set has log-mels of one shape; leave the others out with --exclude.",
    )


def _table(
    read: Sequence[Read],
    session_regex: str,
    profiles: dict[str, Profile],
    frames: int,
    skipped: Sequence[features.Unreadable],
) -> Table:
    clip_N = np.repeat(np.arange(len(read)), [len(r.starts_W) for r in read])
    sections_N = np.array([r.clip.section for r in read])[clip_N]
    domains_N = np.array([r.clip.domain or "" for r in read])[clip_N]
    groups_N, whole_N = _groups(clip_N, sections_N)
    units_N = groups_N
    if session_regex:
        sessions = [session_of(r.clip, session_regex) for r in read]
        units_N = np.unique(sessions, return_inverse=True)[1][clip_N]
    rows = Normals(np.concatenate([r.features_WD for r in read]), sections_N, domains_N, units_N)
    starts_N = np.concatenate([r.starts_W for r in read])
    return Table(
        read,
        rows[whole_N],
        clip_N[whole_N],
        starts_N[whole_N],
        groups_N[whole_N],
        profiles,
        frames,
        skipped,
    )


def _groups(clip_N: NDArray[np.int64], sections_N: NDArray[np.str_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return what is held out together, and which rows may stay.

    That is a recording. A section with fewer recordings than folds, but long ones, is cut into stretches of time
    instead; of two neighbouring stretches the windows that overlap both are left out, so that no held-out window
    shares a sample with the fit.
    """
    groups_N, keep_N = clip_N.copy(), np.ones(len(clip_N), dtype=bool)
    following = int(clip_N.max()) + 1
    for section in np.unique(sections_N):
        rows_N = sections_N == section
        recordings = np.unique(clip_N[rows_N])
        windows = int(rows_N.sum())
        if len(recordings) >= CROSS_FIT_FOLDS or windows < 2 * CROSS_FIT_FOLDS:
            continue
        # A stretch has two windows at least, since it may lose its last one.
        wanted = min(BLOCKS, windows // 2)
        for recording in recordings:
            own = np.flatnonzero(clip_N == recording)
            blocks = np.array_split(own, max(1, wanted * len(own) // windows))
            for block in blocks:
                groups_N[block] = following
                following += 1
            for block in blocks[:-1]:
                keep_N[block[-1]] = False
    return groups_N, keep_N
