"""Scorers fused: the mean, or the minimum, of z-scored log distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.detect.gaussian import Floats
from asd.detect.scorers import Fusible

SMALLEST_SPREAD = 0.02
"""Standard deviation of log distances that is believed, at least. Held-out normals whose distances differ by less than
2 % are too few, or copies: with a smaller spread their scorer would decide alone."""

LARGEST_EXPONENT = 700.0
"""Beyond it, exp is no finite float64."""


@dataclass(frozen=True, slots=True)
class Fused:
    """exp of the mean, or of the minimum, of the parts' z-scores, times the mean of the parts' deviations.

    The order of a section's scores is that of the z-scores' mean or minimum. What is made of it brings them back to
    where distances are: positive, 1 for a typical normal, and spread as the distances of normals are spread.

    Attributes:
        parts: P scorers, each of which can be such a fusion itself.
        scales: of each section (P, 2): mean and deviation of the parts' log distances of held-out normals.
        minimum: take the minimum.
    """

    name: str
    parts: tuple[Fusible, ...]
    scales: Mapping[str, Floats]
    minimum: bool = False

    def score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the anomaly score of each window, (W,)."""
        return np.exp(self.log_score(embedded, section))

    def log_score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return its logarithm, (W,)."""
        logs_PW = np.stack([part.log_score(embedded, section) for part in self.parts])
        return fuse(logs_PW, self.scales[section], self.minimum)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage: that of the parts too."""
        scales = {f"{self.name}/{section}/scales": scale_P2 for section, scale_P2 in self.scales.items()}
        return {name: array for part in self.parts for name, array in part.arrays().items()} | scales


def fuse(logs_PW: Floats, scale_P2: Floats, minimum: bool) -> Floats:
    """Return the logarithm of the fused score, (W,)."""
    z_PW = (logs_PW - scale_P2[:, :1]) / scale_P2[:, 1:]
    exponent_W = scale_P2[:, 1].mean() * (z_PW.min(0) if minimum else z_PW.mean(0))
    return np.clip(exponent_W, -LARGEST_EXPONENT, LARGEST_EXPONENT)  # type: ignore[no-any-return]


def scale_of(logs_PW: Floats) -> Floats:
    """Return mean and deviation of log distances over held-out normals, (P, 2)."""
    return np.stack([logs_PW.mean(1), np.maximum(logs_PW.std(1), SMALLEST_SPREAD)], 1)
