"""The stages of the front end, each measured through the public calls, on one thread and on more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from asd import augment, features
from asd.bench.clips import as_flac, samples_of, write_clips
from asd.bench.clock import Job, Spread, gain, pace, rounds
from asd.bench.feeding import feed_job, survey
from asd.config import FeatureSpec
from asd.events import Event

BATCH = 64
FEED_BATCHES = 8
"""What a feed gives a round."""

FULL_SCALE = 32768
CACHE_GB = 4.0

Jobs: TypeAlias = dict[tuple[str, int], Job]
"""By stage and threads."""


@dataclass(frozen=True, slots=True)
class Row:
    """A stage on so many threads.

    Attributes:
        pace: clips a second.
        gain: how many times as fast as on one thread.
    """

    stage: str
    threads: int
    pace: Spread
    gain: Spread


def measure(folder: Path, *, clips: int, count: int, threads: int) -> Generator[Event, None, list[Row]]:
    """Measure every stage.

    Args:
        folder: new or empty; the recordings are written there.
        clips: recordings.
        count: rounds.
        threads: beside 1.
    """
    wavs = yield from write_clips(folder, clips)
    flacs = as_flac(wavs)
    widths = sorted({1, threads})
    rows = yield from _rows(_kernels(wavs[:BATCH], widths), count, "measuring kernels")
    with ThreadPoolExecutor(threads) as pool:
        rows += yield from _rows(_files(wavs, flacs, widths, pool), count, "measuring files")
    for stage, cache_gb in (("WAV -> two views", 0.0), ("cached log-mels -> two views", CACHE_GB)):
        corpus = yield from survey(wavs, cache_gb, threads)
        # One after the other: every feed has a ring of its own in memory.
        with ExitStack() as feeds:
            jobs = {(stage, n): feed_job(feeds, corpus, BATCH, FEED_BATCHES, n) for n in widths}
            rows += yield from _rows(jobs, count, f"measuring {stage}")
    return rows


def _kernels(wavs: Sequence[Path], widths: Sequence[int]) -> Jobs:
    """Log-mels and views of one batch, from buffer to buffer."""
    spec = FeatureSpec()
    int_BN = samples_of(wavs)
    float_BN = int_BN.astype(np.float32) / np.float32(FULL_SCALE)
    x_BFT = features.logmel(float_BN)
    x_BFT = (x_BFT - x_BFT.mean()) / x_BFT.std()
    bank_KFT = x_BFT[np.arange(augment.BANK_SIZE) % len(x_BFT)]
    logmel_BFT = np.empty_like(x_BFT)
    views_VBFT = np.empty((2, *x_BFT.shape), np.float32)
    position = itertools.count(0, len(wavs))
    stages: dict[str, Callable[[int], object]] = {
        "samples (float32) -> log-mel": lambda n: features.logmel(float_BN, spec, n, logmel_BFT),
        "samples (int16) -> log-mel": lambda n: features.logmel(int_BN, spec, n, logmel_BFT),
        "log-mel -> two views": lambda n: augment.two_views(x_BFT, bank_KFT, 0, next(position), n, views_VBFT),
    }
    return {(stage, n): Job(len(wavs), partial(work, n)) for stage, work in stages.items() for n in widths}


def _files(wavs: Sequence[Path], flacs: Sequence[Path], widths: Sequence[int], pool: ThreadPoolExecutor) -> Jobs:
    """Decoding, a call a file, and log-mels of files, a call for all of them."""
    jobs: Jobs = {}
    for name, paths in (("WAV", wavs), ("FLAC", flacs)):
        for n in widths:
            shares = [paths[i::n] for i in range(n)]
            jobs[f"{name} -> samples", n] = Job(len(paths), partial(_share_out, pool, _decode, shares))
        for n in widths:
            jobs[f"{name} -> log-mel", n] = Job(len(paths), partial(_logmels, paths, n))
    return jobs


def _share_out(
    pool: ThreadPoolExecutor, work: Callable[[Sequence[Path]], None], shares: Sequence[Sequence[Path]]
) -> None:
    for _ in pool.map(work, shares):
        pass


def _decode(paths: Sequence[Path]) -> None:
    for path in paths:
        features.read_audio(path)


def _logmels(paths: Sequence[Path], threads: int) -> None:
    for recording in features.read_recordings(paths, FeatureSpec(), threads):
        assert isinstance(recording, features.Recording)


def _rows(jobs: Jobs, count: int, name: str) -> Generator[Event, None, list[Row]]:
    times = yield from rounds(jobs, count, name)
    return [
        Row(stage, n, pace(job, times[stage, n]), gain(times[stage, 1], times[stage, n]))
        for (stage, n), job in jobs.items()
    ]
