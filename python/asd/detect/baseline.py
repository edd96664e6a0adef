"""The training-free baselines: Mahalanobis distance on pooled log-mels.

``baseline-siblings`` borrows from the other sections of the machine type, see `asd.detect.gaussian`;
``baseline-alone`` does not, for a machine without siblings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.detect.blas import one_blas_thread
from asd.detect.gaussian import Floats, Gaussian, Normals, fit_gaussian, log
from asd.detect.pooled import POOLED

SIBLINGS = "baseline-siblings"
ALONE = "baseline-alone"

CROSS_FIT_FOLDS = 10


@dataclass(frozen=True, slots=True)
class BaselineScorer:
    """A Gaussian for each section, on the ``"pooled"`` embedding.

    Attributes:
        name: ``"baseline-siblings"`` or ``"baseline-alone"``.
    """

    name: str
    gaussians: Mapping[str, Gaussian]

    @classmethod
    def fit(cls, name: str, normals: Normals, sections: Sequence[str]) -> BaselineScorer:
        """Fit the sections that are wanted; with siblings, all rows of `normals` help.

        Raises:
            DataError: the normals of a section do not vary.
        """
        with one_blas_thread():
            return cls(name, {s: fit_gaussian(normals, s, siblings=name == SIBLINGS) for s in sections})

    def score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the anomaly score of each window, (W,); larger is more anomalous."""
        return self.gaussians[section].distances(embedded[POOLED])

    def log_score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return its logarithm, (W,)."""
        return log(self.score(embedded, section))

    def arrays(self) -> dict[str, Floats]:
        """Return everything that was fitted, for storage."""
        return {f"{self.name}/{s}/{key}": v for s, g in self.gaussians.items() for key, v in g.arrays().items()}

    @classmethod
    def from_arrays(cls, name: str, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> BaselineScorer:
        """Rebuild a scorer from `arrays`.

        Raises:
            KeyError: an array is missing.
        """
        keys = ("mean", "cholesky", "weight")
        return cls(name, {s: Gaussian.from_arrays({k: arrays[f"{name}/{s}/{k}"] for k in keys}) for s in sections})


def cross_fit(name: str, normals: Normals, section: str, threads: int | None = None) -> Floats:
    """Return the scores of a section's normals, each from a fit that did not see its fold.

    Everything is refitted without the fold, the weight a too.

    Args:
        threads: how many folds are fitted at a time; the result does not depend on it.

    Returns:
        (N,) for the rows of `section`, in their order.
    """
    folds_N = normals.folds(section, CROSS_FIT_FOLDS)
    scores_N = np.full(len(folds_N), np.nan)

    def score_fold(fold: int) -> None:
        held_N = folds_N == fold
        gaussian = fit_gaussian(normals.without(held_N), section, siblings=name == SIBLINGS)
        scores_N[held_N] = gaussian.distances(normals.features_ND[held_N])

    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        list(pool.map(score_fold, range(folds_N.max() + 1)))
    return scores_N[folds_N >= 0]
