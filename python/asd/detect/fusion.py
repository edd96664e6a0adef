"""A network's scorer and the baseline, fused: the sum, or the minimum, of z-scored log distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.detect.baseline import BaselineScorer, Floats
from asd.detect.scorers import SMALLEST_DISTANCE, Fusible

SMALLEST_SPREAD = 0.02
"""Standard deviation of log distances that is believed, at least. Held-out normals whose distances differ by less than
2 % are too few, or copies: with a smaller spread their scorer would decide alone."""

LARGEST_EXPONENT = 700.0
"""Beyond it, exp is no finite float64."""


@dataclass(frozen=True, slots=True)
class Fused:
    """exp of the mean, or of the minimum, of both z-scores, times the mean of both deviations.

    The order of a section's scores is that of the z-scores' sum or minimum. What is made of it brings them back to
    where distances are: positive, 1 for a typical normal, and spread as the distances of normals are spread.

    Attributes:
        part: the scorer on the network's embedding.
        baseline: the one that would decide without a network.
        scales: of each section [[mean, deviation] of `part`, [mean, deviation] of `baseline`] of the log distances of
            held-out normals, (2, 2).
        minimum: take the minimum.
    """

    name: str
    part: Fusible
    baseline: BaselineScorer
    scales: Mapping[str, Floats]
    minimum: bool

    def score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the anomaly score of each window, (W,)."""
        logs_2W = [self.part.log_score(embedded, section), log(self.baseline.score(embedded, section))]
        return fuse(np.stack(logs_2W), self.scales[section], self.minimum)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage: that of both parts too."""
        scales = {f"{self.name}/{section}/scales": scale_22 for section, scale_22 in self.scales.items()}
        return {**self.part.arrays(), **self.baseline.arrays(), **scales}


def log(distances_W: Floats) -> Floats:
    """Return the logarithm of distances."""
    return np.log(np.maximum(distances_W, SMALLEST_DISTANCE))


def fuse(logs_2W: Floats, scale_22: Floats, minimum: bool) -> Floats:
    """Return the fused score, (W,)."""
    z_2W = (logs_2W - scale_22[:, :1]) / scale_22[:, 1:]
    exponent_W = scale_22[:, 1].mean() * (z_2W.min(0) if minimum else z_2W.mean(0))
    return np.exp(np.clip(exponent_W, -LARGEST_EXPONENT, LARGEST_EXPONENT))  # type: ignore[no-any-return]


def scale_of(logs_2W: Floats) -> Floats:
    """Return the mean and the deviation of both log distances over held-out normals, (2, 2)."""
    return np.stack([logs_2W.mean(1), np.maximum(logs_2W.std(1), SMALLEST_SPREAD)], 1)
