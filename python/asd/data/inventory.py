"""How much there is of each machine, without decoding: counts from the catalog, rates and lengths from file headers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from asd.data.catalog import Catalog, Clip, Layout
from asd.data.names import ANOMALY, NORMAL
from asd.events import Event, Progress

HEADER_READERS = 8
"""Files that are open at a time: headers wait for the disk, not for the CPU."""

LONGEST = 2**48
"""Samples; a FLAC stream of unknown length is said to have more."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a WAV or FLAC file says: rate in Hz, channels, length in seconds."""

    rate: int
    channels: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stock:
    """The recordings of one section of a machine.

    Attributes:
        train: training normals by domain; the domain None where the layout has none.
        test_normal, test_anomaly, test_unknown: test clips by label.
        rates, channels: how many files have each.
        domains: of all recordings.
        seconds: length of all recordings with a header.
        logmels: ready log-mels, whose length in seconds is not looked up.
        unreadable: files whose header says nothing that can be read.
    """

    machine: str
    section: str
    layout: Layout
    train: dict[str | None, int]
    test_normal: int
    test_anomaly: int
    test_unknown: int
    rates: dict[int, int]
    channels: dict[int, int]
    domains: frozenset[str | None]
    seconds: float
    logmels: int
    unreadable: int


def take_stock(catalog: Catalog) -> Generator[Event, None, list[Stock]]:
    """Read the header of every file and count. Yields Progress.

    Returns:
        A `Stock` for each section, in the catalog's order.
    """
    by_section: dict[tuple[str, str], list[tuple[Clip, Header | None]]] = defaultdict(list)
    every = max(1, len(catalog.clips) // 100)
    readers = ThreadPoolExecutor(HEADER_READERS)
    try:
        headers = readers.map(read_header, (clip.path for clip in catalog.clips))
        for done, (clip, header) in enumerate(zip(catalog.clips, headers, strict=True), 1):
            by_section[clip.machine, clip.section].append((clip, header))
            if done % every == 0 or done == len(catalog.clips):
                yield Progress("reading headers", done, len(catalog.clips))
    finally:
        readers.shutdown(cancel_futures=True)  # an interrupted list must not read on to its end
    return [_stock(catalog.layouts[machine], found) for (machine, _), found in by_section.items()]


def read_header(path: Path) -> Header | None:
    """Return what the header of a WAV or FLAC file says; None for a log-mel or a header that cannot be read."""
    if _is_logmel(path) or not path.is_file():  # opening a pipe would wait for its writer
        return None
    import soundfile

    try:
        info = soundfile.info(path)
    except (OSError, RuntimeError):  # soundfile's own error is a RuntimeError
        return None
    if info.frames > LONGEST:
        return None
    return Header(info.samplerate, info.channels, info.frames / info.samplerate)


def _stock(layout: Layout, found: Iterable[tuple[Clip, Header | None]]) -> Stock:
    clips = [clip for clip, _ in found]
    headers = [header for _, header in found if header is not None]
    labels = Counter(clip.label for clip in clips if clip.split == "test")
    logmels = sum(_is_logmel(clip.path) for clip in clips)
    return Stock(
        clips[0].machine,
        clips[0].section,
        layout,
        train=dict(Counter(clip.domain for clip in clips if clip.split == "train")),
        test_normal=labels[NORMAL],
        test_anomaly=labels[ANOMALY],
        test_unknown=labels[None],
        rates=dict(sorted(Counter(header.rate for header in headers).items())),
        channels=dict(sorted(Counter(header.channels for header in headers).items())),
        domains=frozenset(clip.domain for clip in clips),
        seconds=sum(header.seconds for header in headers),
        logmels=logmels,
        unreadable=len(clips) - len(headers) - logmels,
    )


def _is_logmel(path: Path) -> bool:
    return path.suffix.lower() == ".npy"
