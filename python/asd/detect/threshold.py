"""Where an alarm begins: thresholds from the cross-fitted scores of normals, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from scipy import stats

from asd.detect.gaussian import Floats

TOP_SHARE = 0.05
"""Share of the windows of a recording that ``aggregate="top"`` averages."""

FEWEST_NORMALS = 10
FEW_NORMALS = 50

SIMULATED_RECORDINGS = 4_000
MOST_DRAWS = 2**24
REPEATS = 32
"""Recordings put together for a threshold, windows drawn for them at most, and drawings from one normal recording."""

DECIDED_AT = 0.9
"""Share of normals below the threshold of a challenge's submission."""

NO_SPREAD = 1e-6
"""Relative range of scores below which they are one score."""


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
        scores: for each normal recording, or stretch of a long one, the scores (W,) of its windows.
        rate: share of normal recordings that may lie above the threshold.
        how: how window scores become that of a recording, see `aggregate`.
        stretches: `scores` are those of stretches of time, of too few recordings to count by recording.
    """

    scores: Sequence[Floats]
    rate: float
    how: str
    stretches: bool = False

    @cached_property
    def support(self) -> int:
        """Number of normals that count as independent.

        Whole recordings are. Of stretches of time it is their windows that do not overlap (every other one), as many
        as are left after the design effect 1 + (m − 1)·ICC: windows of one stretch resemble each other (Kish 1965,
        "Survey Sampling"; ICC from the one-way analysis of variance, m windows a stretch).
        """
        if not self.stretches:
            return len(self.scores)
        apart = [s[::2] for s in self.scores]
        total = sum(map(len, apart))
        size = (total - sum(len(s) ** 2 for s in apart) / total) / (len(apart) - 1)
        if size <= 1 or np.ptp(np.concatenate(apart)) == 0:
            return len(apart)
        f = float(stats.f_oneway(*apart).statistic)
        alike = np.clip((f - 1) / (f - 1 + size), 0.0, 1.0)
        return max(len(apart), int(total / (1 + (size - 1) * alike)))

    @cached_property
    def windows(self) -> int:
        """Number of windows that a recording like the normals has."""
        return 1 if self.stretches else int(np.median([len(s) for s in self.scores]))

    @cached_property
    def typical(self) -> float:
        """The score of a typical normal recording."""
        if self.stretches:
            return float(np.median(np.concatenate(self.scores)))
        return float(np.median([aggregate(s, self.how) for s in self.scores]))

    def severity(self, score: float, threshold: float) -> float:
        """Return where a score lies: 0 at the typical normal, 1 at its threshold. By it, sections are comparable."""
        span = threshold - self.typical
        return (score - self.typical) / span if span > 0 else float(score > threshold)

    def threshold(self, windows: int = 1) -> float:
        """Return the threshold for a recording of so many windows.

        A recording of many windows scores higher than one of few, because its score is drawn from its highest
        windows; so the threshold follows the number of windows. Where the normals at hand are of other lengths,
        recordings of that length are put together from their windows in two ways, between which the truth lies: of
        windows that have nothing to do with each other, and of windows of one normal recording. The higher of both
        thresholds counts.
        """
        lengths = {len(s) for s in self.scores}
        if lengths == {windows}:
            return self._limit(_aggregate_rows(np.stack(self.scores), self.how))
        if windows == 1:
            return self._limit(np.concatenate(self.scores))
        # A fixed seed: the same detector must give the same threshold every time.
        rng = np.random.default_rng(0)
        return max(self._limit(self._of_any_windows(windows, rng)), self._limit(self._of_own_windows(windows, rng)))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % Clopper-Pearson interval of the false-alarm rate, from the normals above the threshold."""
        if self.stretches:  # what was observed is their windows
            above = round(float((np.concatenate(self.scores) > self.threshold(1)).mean()) * self.support)
        else:
            above = sum(aggregate(s, self.how) > self.threshold(len(s)) for s in self.scores)
        found = stats.binomtest(above, self.support).proportion_ci(0.95, "exact")
        return float(found.low), float(found.high)

    def _limit(self, scores_B: Floats) -> float:
        return float(_quantile(scores_B, np.array([1 - self.rate]))[0])

    def _of_any_windows(self, windows: int, rng: np.random.Generator) -> Floats:
        """Return scores of recordings put together from windows of all normals, drawn independently."""
        pool_W = np.concatenate(self.scores)
        count = int(np.clip(MOST_DRAWS // windows, SIMULATED_RECORDINGS // 4, SIMULATED_RECORDINGS))
        return _aggregate_rows(_quantile(pool_W, rng.random((count, windows))), self.how)

    def _of_own_windows(self, windows: int, rng: np.random.Generator) -> Floats:
        """Return for each normal the score that it has, on average, with `windows` of its own windows."""
        return np.array([_aggregate_rows(rng.choice(s, (REPEATS, windows)), self.how).mean() for s in self.scores])


def challenge_threshold(scores_B: Floats) -> float:
    """Return where the decisions of a challenge's submission begin: the point below which 90 % of normals lie.

    By a gamma distribution with location 0, as in the baselines of DCASE; scores that can be 0 or less, or are all
    alike, fit none and give their empirical quantile.

    Args:
        scores_B: of normals that no fit has seen; at least one.
    """
    if scores_B.min() <= 0 or np.ptp(scores_B) < NO_SPREAD * scores_B.max():
        return float(np.quantile(scores_B, DECIDED_AT))
    shape, _, scale = stats.gamma.fit(scores_B, floc=0)
    return float(stats.gamma.ppf(DECIDED_AT, shape, scale=scale))


def _quantile(scores_N: Floats, shares: Floats) -> Floats:
    """Return the scores below which a further normal lies with these probabilities.

    They are the order statistics that hold the share for exchangeable normals (split conformal prediction). Where
    the normals are too few for that, a gamma distribution with location 0 extrapolates, as in the DCASE challenge,
    and never below their highest score.
    """
    rank = np.ceil((len(scores_N) + 1) * shares).astype(np.int64)
    found = np.sort(scores_N)[np.clip(rank, 1, len(scores_N)) - 1]
    beyond = rank > len(scores_N)
    highest = float(scores_N.max())
    if not beyond.any() or scores_N.min() <= 0 or np.ptp(scores_N) < NO_SPREAD * highest:
        return found  # no gamma distribution fits zeros, or scores that are all alike
    shape, _, scale = stats.gamma.fit(scores_N, floc=0)
    found[beyond] = np.maximum(stats.gamma.ppf(shares[beyond], shape, scale=scale), highest)
    return found
