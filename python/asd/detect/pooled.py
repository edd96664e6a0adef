"""The training-free embedding: a log-mel pooled over time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

POOLED = "pooled"
"""Name of this embedding."""


def pool(logmel_WFT: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return [mean over T, std over T, std over T of the first difference] of each window.

    The means hold the spectrum, the deviations how much each band moves, those of the difference how fast.

    Args:
        logmel_WFT: (W, F, T) natural-log mel energies, T >= 2.

    Returns:
        (W, 3·F).

    Raises:
        ValueError: fewer than two frames.
    """
    if logmel_WFT.ndim != 3 or logmel_WFT.shape[2] < 2:
        raise ValueError(f"logmel_WFT {logmel_WFT.shape}: wanted (windows, bands, frames >= 2)")
    # Window by window: in float64, a day of recording at once would not fit in memory.
    return np.stack([_pool_window(x_FT.astype(np.float64)) for x_FT in logmel_WFT])


def _pool_window(x_FT: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([x_FT.mean(1), x_FT.std(1), np.diff(x_FT, axis=1).std(1)])
