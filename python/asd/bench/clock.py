"""Timing jobs side by side: each once a round, in turn, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from asd.events import Progress

K = TypeVar("K")

NAP_SECONDS = 0.02
IDLE = 0.1
"""A process that used less than this share of a nap is idle."""
PATIENCE_SECONDS = 5.0


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Job:
    """Work to be timed.

    Attributes:
        clips: what one call of `work` does.
        work: is timed.
        prepare: is called before, and is not timed.
    """

    clips: int
    work: Callable[[], object]
    prepare: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds' figures, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise one value or more."""
        low, median, high = np.percentile(list(values), [25, 50, 75])
        return cls(float(median), float(low), float(high))

    def json(self) -> dict[str, float]:
        """Return four significant digits of each."""
        return {name: float(f"{getattr(self, name):.4g}") for name in ("median", "low", "high")}


def pace(job: Job, seconds: Sequence[float]) -> Spread:
    """Return clips a second, from the seconds of the rounds."""
    return Spread.of(job.clips / s for s in seconds)


def gain(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """Return how many times as fast the second is, round by round."""
    return Spread.of(a / b for a, b in zip(slow, fast, strict=True))


def rounds(
    jobs: Mapping[K, Job],
    count: int,
    stage: str,
    busy: Callable[[], float] = time.process_time,
    until: float = math.inf,
) -> Generator[Progress, None, dict[K, list[float]]]:
    """Time every job once a round; a round before the first warms up.

    Args:
        jobs: by name.
        count: rounds.
        stage: what progress calls it.
        busy: processor time that was used so far, by all that the jobs leave running, in seconds.
        until: what `time.monotonic` tells when no round begins any more, after the first that counts.

    Returns:
        Seconds of every round.
    """
    times: dict[K, list[float]] = {name: [] for name in jobs}
    for turn in range(count + 1):
        if turn > 1 and time.monotonic() > until:
            break
        for name, job in jobs.items():
            _settle(busy)
            job.prepare()
            start = time.perf_counter()
            job.work()
            took = time.perf_counter() - start
            if turn > 0:
                times[name].append(took)
        yield Progress(stage, turn, count)
    return times


def _settle(busy: Callable[[], float]) -> None:
    """Wait until what the last job left running is done: threads that spin for a while, batches made ahead."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    before = busy()
    while time.monotonic() < deadline:
        time.sleep(NAP_SECONDS)
        now = busy()
        if now - before < IDLE * NAP_SECONDS:
            return
        before = now
