"""Where an alarm begins: thresholds from the cross-fitted scores of normals, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import stats

TOP_SHARE = 0.05
"""Share of the windows of a recording that ``aggregate="top"`` averages."""

FEWEST_NORMALS = 10
FEW_NORMALS = 50

SIMULATED_RECORDINGS = 4_000

NO_SPREAD = 1e-6
"""Relative range of scores below which they are one score."""

Floats = NDArray[np.float64]


def aggregate(scores_W: Floats, how: str) -> float:
    """Return the score of a recording from those of its windows.

    Args:
        scores_W: (W,) at least one.
        how: ``"top"``: mean of the highest ceil(5 %); ``"mean"``; ``"max"``.
    """
    return float(_aggregate_rows(scores_W[None], how)[0])


def _aggregate_rows(scores_BW: Floats, how: str) -> Floats:
    kept = {"max": 1, "mean": scores_BW.shape[1], "top": ceil(TOP_SHARE * scores_BW.shape[1])}[how]
    return np.sort(scores_BW, axis=1)[:, -kept:].mean(1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Calibration:
    """Scores of normals that no fit has seen, and the threshold that they support.

    Attributes:
        scores: for each normal recording the scores (W,) of its windows.
        rate: share of normal recordings that may lie above the threshold.
        how: how window scores become that of a recording, see `aggregate`.
    """

    scores: Sequence[Floats]
    rate: float
    how: str

    @property
    def support(self) -> int:
        """Number of normals that count as independent: windows that do not overlap, about every other one."""
        return sum(ceil(len(s) / 2) for s in self.scores)

    def threshold(self, windows: int = 1) -> float:
        """Return the threshold for a recording of so many windows.

        A recording of many windows scores higher than one of few, because its score is drawn from its highest
        windows; so the threshold follows the number of windows. Where no normals of that length are at hand,
        recordings are put together from the windows of all normals.

        The threshold is the order statistic that holds the rate for exchangeable normals (split conformal
        prediction). Normals too few for that are extrapolated by a gamma distribution with location 0, as in the
        DCASE challenge, and never below their highest score.
        """
        scores_B = self._recordings(windows)
        rank = ceil((len(scores_B) + 1) * (1 - self.rate))
        if rank <= len(scores_B):
            return float(np.sort(scores_B)[rank - 1])
        highest = float(scores_B.max())
        if scores_B.min() <= 0 or np.ptp(scores_B) < NO_SPREAD * highest:
            return highest  # no gamma distribution fits zeros, or scores that are all alike
        shape, _, scale = stats.gamma.fit(scores_B, floc=0)
        return max(float(stats.gamma.ppf(1 - self.rate, shape, scale=scale)), highest)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % Clopper-Pearson interval of the false-alarm rate, from the normals above the threshold."""
        if max(map(len, self.scores)) == 1 or self.support < FEWEST_NORMALS:
            above = sum(aggregate(s, self.how) > self.threshold(len(s)) for s in self.scores)
            total = len(self.scores)
        else:  # long recordings: what was observed is their windows
            total = self.support
            above = round(float((np.concatenate(self.scores) > self.threshold(1)).mean()) * total)
        found = stats.binomtest(above, total).proportion_ci(0.95, "exact")
        return float(found.low), float(found.high)

    def _recordings(self, windows: int) -> Floats:
        """Return scores of normal recordings of so many windows."""
        alike = [s for s in self.scores if len(s) == windows]
        if len(alike) == len(self.scores):
            return _aggregate_rows(np.stack(alike), self.how)
        pool_W = np.concatenate(self.scores)
        if windows == 1:
            return pool_W
        # A fixed seed: the same detector must give the same threshold every time.
        drawn_BW = np.random.default_rng(0).choice(pool_W, (SIMULATED_RECORDINGS, windows))
        return _aggregate_rows(drawn_BW, self.how)
