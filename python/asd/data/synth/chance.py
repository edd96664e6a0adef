"""Named sources of chance: what is drawn for one thing never depends on what is drawn for another."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the random generator of a name: independent of every other name's, the same on every machine."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in name]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, *words])))
