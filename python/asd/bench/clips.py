"""Recordings to measure with: synthetic machines, which compress and sound about as real ones do."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asd.data.synth.dataset import DEFAULT_MACHINES, write_dataset
from asd.events import Event


def write_clips(folder: Path, count: int, seconds: float = 10.0) -> Generator[Event, None, list[Path]]:
    """Write `count` WAV files, 16 bit and 16 kHz, below `folder`, which must be new or empty.

    Returns:
        Their paths, the machines in turn.
    """
    each = math.ceil(count / len(DEFAULT_MACHINES))
    yield from write_dataset(folder, ids=1, train=each, test=0, seconds=seconds)
    by_machine = [sorted((folder / machine).rglob("*.wav")) for machine in DEFAULT_MACHINES]
    return [path for clips in zip(*by_machine, strict=True) for path in clips][:count]


def as_flac(paths: Iterable[Path]) -> list[Path]:
    """Write every recording as FLAC beside it, and return the new paths."""
    compressed = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="int16")
        compressed.append(path.with_suffix(".flac"))
        soundfile.write(compressed[-1], samples, rate)
    return compressed


def samples_of(paths: Iterable[Path]) -> NDArray[np.int16]:
    """Return the samples of recordings of one length, (B, N)."""
    return np.stack([soundfile.read(path, dtype="int16")[0] for path in paths])
