"""Normals of a machine type as rows, and a Gaussian of one section's: Mahalanobis distance.

The covariance of a section can borrow from its siblings: it is (1−a)·S_section + a·S_type then, both Ledoit-Wolf
estimates, with the weight a chosen by the likelihood of held-out normals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from sklearn.covariance import ledoit_wolf

from asd.errors import DataError

SMALLEST_DISTANCE = 1e-12
"""What the logarithm takes a distance of 0 for: that of a copy of a training normal."""

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""The weights a of the siblings' covariance that compete."""

WEIGHT_FOLDS = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Normals:
    """Embeddings of the windows of normal recordings, all sections of one machine type.

    Attributes:
        features_ND: one row a window.
        sections_N: section of each row.
        domains_N: ``"source"``, ``"target"`` or ``""``.
        units_N: what folds keep together (a recording, or a session); sorted as the file names are.
    """

    features_ND: Floats
    sections_N: NDArray[np.str_]
    domains_N: NDArray[np.str_]
    units_N: NDArray[np.int64]

    def __getitem__(self, rows_N: NDArray[np.bool_]) -> Normals:
        return Normals(self.features_ND[rows_N], self.sections_N[rows_N], self.domains_N[rows_N], self.units_N[rows_N])

    def folds(self, section: str, count: int) -> NDArray[np.int64]:
        """Return the fold of each row of `section`: rank of its unit modulo `count`; −1 for other sections."""
        folds_N = np.full(len(self.units_N), -1)
        own_N = self.sections_N == section
        folds_N[own_N] = np.unique(self.units_N[own_N], return_inverse=True)[1] % count
        return folds_N

    def without(self, held_N: NDArray[np.bool_]) -> Normals:
        """Return the rows that share no unit with those held out; a session may span several sections."""
        return self[~np.isin(self.units_N, self.units_N[held_N])]

    def centred(self) -> Floats:
        """Return the rows minus the mean of their section and domain."""
        centred_ND = np.empty_like(self.features_ND)
        keys_N = np.char.add(np.char.add(self.sections_N, "\n"), self.domains_N)
        for key in np.unique(keys_N):
            rows_N = keys_N == key
            centred_ND[rows_N] = self.features_ND[rows_N] - self.features_ND[rows_N].mean(0)
        return centred_ND


@dataclass(frozen=True, slots=True)
class Gaussian:
    """One section: a mean for each domain, one covariance.

    Attributes:
        mean_KD: a row for each of the K domains (one where domains are not labelled).
        cholesky_DD: lower factor L of the covariance L·Lᵀ.
        weight: a, the share of the siblings' covariance.
    """

    mean_KD: Floats
    cholesky_DD: Floats
    weight: float

    def distances(self, features_ND: Floats) -> Floats:
        """Return the Mahalanobis distance (square root) to the nearest domain's mean, (N,)."""
        each_KN = [np.sqrt(np.square(self.whiten(features_ND, mean_D)).sum(1)) for mean_D in self.mean_KD]
        return np.min(each_KN, axis=0)  # type: ignore[no-any-return]

    def whiten(self, features_ND: Floats, mean_D: Floats | None = None) -> Floats:
        """Return L⁻¹·(x − mean), in which Euclidean distance is Mahalanobis distance, (N, D)."""
        centred_ND = features_ND - (self.mean_KD[0] if mean_D is None else mean_D)
        return solve_triangular(self.cholesky_DD, centred_ND.T, lower=True).T  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, Floats]:
        """Return everything that was fitted, for storage."""
        return {"mean": self.mean_KD, "cholesky": self.cholesky_DD, "weight": np.array([self.weight])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Gaussian:
        """Rebuild it from `arrays`."""
        return cls(arrays["mean"], arrays["cholesky"], float(arrays["weight"][0]))


def log(distances_W: Floats) -> Floats:
    """Return the logarithm of distances."""
    return np.log(np.maximum(distances_W, SMALLEST_DISTANCE))


def fit_gaussian(normals: Normals, section: str, siblings: bool) -> Gaussian:
    """Fit one section.

    Raises:
        DataError: its normals do not vary, so that no distance can be told.
    """
    own = normals[normals.sections_N == section]
    own_DD = _covariance(own.centred())
    weight = 0.0
    if siblings:
        weight = _best_weight(normals, section)
        own_DD = (1 - weight) * own_DD + weight * _covariance(normals.centred())
    means_KD = np.stack([own.features_ND[own.domains_N == d].mean(0) for d in np.unique(own.domains_N)])
    return Gaussian(means_KD, _cholesky(own_DD, section), weight)


def _best_weight(normals: Normals, section: str) -> float:
    """Return the weight a under which held-out normals of the section are most likely; ties to the smaller."""
    folds_N = normals.folds(section, WEIGHT_FOLDS)
    likelihood_A = np.zeros(len(WEIGHTS))
    for fold in range(folds_N.max() + 1):
        held_N = folds_N == fold
        kept = normals.without(held_N)
        own = kept[kept.sections_N == section]
        if not len(own.units_N):
            continue  # a section of one unit says nothing about held-out normals
        own_DD, type_DD = _covariance(own.centred()), _covariance(kept.centred())
        residual_ND = normals.features_ND[held_N] - _domain_means(own, normals.domains_N[held_N])
        for i, a in enumerate(WEIGHTS):
            likelihood_A[i] += _log_likelihood((1 - a) * own_DD + a * type_DD, residual_ND)
    return WEIGHTS[int(likelihood_A.argmax())]


def _domain_means(own: Normals, domains_N: NDArray[np.str_]) -> Floats:
    """Return for each row the mean of its domain, or of the section where the fold holds all of a domain."""
    rows = []
    for domain in domains_N:
        same_N = own.domains_N == domain
        rows.append(own.features_ND[same_N if same_N.any() else slice(None)].mean(0))
    return np.stack(rows)


def _covariance(centred_ND: Floats) -> Floats:
    """Return the Ledoit-Wolf estimate for rows that are centred already."""
    return ledoit_wolf(centred_ND, assume_centered=True)[0]  # type: ignore[no-any-return]


def _log_likelihood(covariance_DD: Floats, residual_ND: Floats) -> float:
    """Return the Gaussian log-likelihood up to a constant; minus infinity where the covariance is singular."""
    try:
        factor_DD = cholesky(covariance_DD, lower=True)
    except LinAlgError:
        return -np.inf
    whitened_DN = solve_triangular(factor_DD, residual_ND.T, lower=True)
    return float(-0.5 * np.square(whitened_DN).sum() - len(residual_ND) * np.log(np.diag(factor_DD)).sum())


def _cholesky(covariance_DD: Floats, section: str) -> Floats:
    try:
        # In the order of stored arrays: the last bits of a distance depend on it.
        return np.ascontiguousarray(cholesky(covariance_DD, lower=True))
    except LinAlgError:
        raise DataError(
            f"section {section}: its normals are too few or too much alike to tell a distance (silence, or copies)",
            "Look at them with: asd data verify",
        ) from None
