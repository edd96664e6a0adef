"""What training draws at a step: a function of (seed, step, purpose) and of nothing that happened before."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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


def sent(drawn: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, without waiting for what a GPU has still to do."""
    tensor = torch.from_numpy(drawn)
    # From other memory a copy would wait until everything before it is done.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
