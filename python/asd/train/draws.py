"""What training draws at a step: a function of (seed, step, purpose) and of nothing that happened before."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Streams that must not meet."""

    KEYS = 0
    VARIANTS = 1
    MIXUP = 2
    STRETCH = 3
    PROBE = 4


def generator(seed: int, step: int, purpose: Purpose, rank: int = 0) -> np.random.Generator:
    """Return the generator of a step; Philox, keyed."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, step << 24 | rank << 8 | purpose], np.uint64)))
