"""A feed as a job: batches of two views, taken in its steady state."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import asd
from asd.augment import BANK_SIZE
from asd.bench.clock import Job
from asd.events import Event

PREFETCH = 2

RECORDINGS = 8192
"""In a set that feeds are measured with: so many that almost no draw is of one of the last 2048, which a feed still
has in its ring and need not read. The files come round again and again."""


def survey(paths: Sequence[Path], cache_gb: float, threads: int | None = None) -> Generator[Event, None, asd.Corpus]:
    """Read a set of `RECORDINGS` once, and return its `asd.Corpus`; `cache_gb` of 0 keeps no log-mels."""
    paths = list(islice(cycle(paths), RECORDINGS))
    corpus = asd.Corpus(paths, cache_gb=cache_gb, threads=threads)
    yield from corpus.look()
    return corpus


def feed_job(open_feeds: ExitStack, corpus: asd.Corpus, batch_size: int, batches: int, threads: int) -> Job:
    """Open a feed, fill its ring, and return the job of taking `batches`.

    What was made ahead while nobody looked is taken before the clock starts; as much has been made ahead when it
    stops as when it starts.
    """
    feed = open_feeds.enter_context(asd.Feed(corpus, batch_size=batch_size, seed=0, threads=threads, prefetch=PREFETCH))
    stream = iter(feed)

    def take(count: int) -> None:
        for _ in range(count):
            next(stream)

    take(-(-BANK_SIZE // batch_size))
    return Job(batches * batch_size, lambda: take(batches), lambda: take(PREFETCH + 1))
