"""Distances to the nearest training normals of a section.

Where domains are labelled, the nearest normal of each domain is found by itself and the smallest distance counts; a
target domain of few normals is filled up between them (SMOTE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import normalize

from asd.detect.gaussian import Floats, Gaussian, Normals, fit_gaussian
from asd.errors import DataError

SMOTE_SHARE = 0.2
"""A target domain is tiny below this share of the section's other normals, and is filled up to it."""

SMOTE_NEIGHBOURS = 5

COPIES = 1e-9
"""Cosine distance below which two embeddings are copies of each other: float32 says no more."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """``knn``: mean cosine distance to the `count` nearest normals.

    Attributes:
        domains: the normals of each domain, rows of length 1, (R, D) each.
    """

    domains: Sequence[Floats]
    count: int

    @classmethod
    def fit(cls, normals: Normals, section: str, count: int) -> Self:
        """Keep the directions of a section's normals."""
        own = normals[normals.sections_N == section]
        return cls([normalize(rows_RD) for rows_RD in by_domain(normalize(own.features_ND), own.domains_N)], count)

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest over the domains, (N,), between 0 and 2."""
        return np.min([mean_distance(features_ND, r_RD, self.count, "cosine") for r_RD in self.domains], axis=0)  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        return _pack(self.domains) | {"count": np.array([self.count])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild it from `arrays`."""
        return cls(_unpack(arrays), int(arrays["count"][0]))


@dataclass(frozen=True, slots=True)
class WhitenedNearest:
    """``whitened-knn``: mean Mahalanobis distance to the `count` nearest normals, by the section's own covariance.

    Attributes:
        gaussian: of the section; its covariance is the Ledoit-Wolf estimate.
        domains: the whitened normals of each domain, (R, D) each.
    """

    gaussian: Gaussian
    domains: Sequence[Floats]
    count: int

    @classmethod
    def fit(cls, normals: Normals, section: str, count: int) -> Self:
        """Whiten a section's normals.

        Raises:
            DataError: they do not vary.
        """
        gaussian = fit_gaussian(normals, section, siblings=False)
        own = normals[normals.sections_N == section]
        return cls(gaussian, by_domain(gaussian.whiten(own.features_ND), own.domains_N), count)

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest over the domains, (N,)."""
        x_ND = self.gaussian.whiten(features_ND)
        return np.min([mean_distance(x_ND, r_RD, self.count, "euclidean") for r_RD in self.domains], axis=0)  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        return self.gaussian.arrays() | _pack(self.domains) | {"count": np.array([self.count])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild it from `arrays`."""
        return cls(Gaussian.from_arrays(arrays), _unpack(arrays), int(arrays["count"][0]))


@dataclass(frozen=True, slots=True)
class Density:
    """``density-knn``: cosine distance to a normal over how far that normal lies from its own neighbours; the smallest.

    Sparse regions, such as a domain of few normals, so count as near from farther away (Wilkinghoff et al., "Keeping
    the Balance: Anomaly Score Calculation for Domain Generalization", ICASSP 2025, and "Local Density-Based Anomaly
    Score Normalization for Domain Generalization", arXiv 2509.10951). There the neighbours of a normal are of any
    domain; here they are of its own, where domains are labelled.

    Attributes:
        domains: the normals of each domain, rows of length 1, (R, D) each.
        radii: of each of these normals the mean distance to its `count` nearest, (R,) each.
    """

    domains: Sequence[Floats]
    radii: Sequence[Floats]

    @classmethod
    def fit(cls, normals: Normals, section: str, count: int) -> Self:
        """Find how far a section's normals lie from each other.

        Raises:
            DataError: there is one only.
        """
        own = normals[normals.sections_N == section]
        rows = by_domain(normalize(own.features_ND), own.domains_N, section, least=2)
        domains = [normalize(rows_RD) for rows_RD in rows]
        return cls(domains, [np.maximum(mean_distance(None, r_RD, count, "cosine"), COPIES) for r_RD in domains])

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest ratio, (N,)."""
        each = []
        for rows_RD, radii_R in zip(self.domains, self.radii, strict=True):
            chunks = pairwise_distances_chunked(features_ND, rows_RD, metric="cosine")
            each.append(np.concatenate([(distances_NR / radii_R).min(1) for distances_NR in chunks]))
        return np.min(each, axis=0)  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        return _pack(self.domains) | {"radii": np.concatenate(self.radii)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild it from `arrays`."""
        return cls(_unpack(arrays), _split(arrays["radii"], arrays["lengths"]))


@dataclass(frozen=True, slots=True)
class Outlier:
    """``lof``: the local outlier factor by cosine distance (Breunig et al. 2000), scikit-learn's.

    Attributes:
        domains: the normals of each domain, rows of length 1, (R, D) each.
        count: K.
        fitted: to each domain, with as many neighbours as a normal of it has.
    """

    domains: Sequence[Floats]
    count: int
    fitted: Sequence[LocalOutlierFactor]

    @classmethod
    def fit(cls, normals: Normals, section: str, count: int) -> Self:
        """Find how densely a section's normals lie.

        Raises:
            DataError: there is one only.
        """
        own = normals[normals.sections_N == section]
        rows = by_domain(normalize(own.features_ND), own.domains_N, section, least=2)
        return cls._of([normalize(rows_RD) for rows_RD in rows], count)

    @classmethod
    def _of(cls, domains: Sequence[Floats], count: int) -> Self:
        def factor(rows_RD: Floats) -> LocalOutlierFactor:
            neighbours = min(count, len(rows_RD) - 1)
            return LocalOutlierFactor(neighbours, algorithm="brute", metric="cosine", novelty=True).fit(rows_RD)

        return cls(domains, count, [factor(rows_RD) for rows_RD in domains])

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest factor over the domains, (N,); about 1 among the normals."""
        return np.min([-factor.score_samples(features_ND) for factor in self.fitted], axis=0)  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what it is fitted to, for storage."""
        return _pack(self.domains) | {"count": np.array([self.count])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild it from `arrays`: fit it again."""
        return cls._of(_unpack(arrays), int(arrays["count"][0]))


def mean_distance(x_ND: Floats | None, references_RD: Floats, count: int, metric: str) -> Floats:
    """Return the mean distance to the `count` nearest references, all there are where that is less, (N,).

    Args:
        x_ND: None: each of the references is compared with the others, (R,).
        metric: of scikit-learn.
    """
    distances_NK, _ = _nearest(x_ND, references_RD, count, metric)
    return distances_NK.mean(1)  # type: ignore[no-any-return]


def _nearest(x_ND: Floats | None, references_RD: Floats, count: int, metric: str) -> tuple[Floats, NDArray[np.int64]]:
    """Return the distances and rows of the nearest references, the nearest first, (N, K) each."""
    count = min(count, len(references_RD) - (x_ND is None))
    search = NearestNeighbors(n_neighbors=count, algorithm="brute", metric=metric).fit(references_RD)
    return search.kneighbors(x_ND)  # type: ignore[no-any-return]


def by_domain(rows_ND: Floats, domains_N: NDArray[np.str_], section: str = "", least: int = 1) -> list[Floats]:
    """Return the rows of each domain, a tiny target domain filled up.

    Args:
        section: for the error.
        least: a domain of fewer rows joins the others.

    Raises:
        DataError: there are fewer rows than `least` altogether.
    """
    if len(rows_ND) < least:
        raise DataError(
            f"section {section}: {len(rows_ND)} normal is too few to tell how densely normals lie",
            "Record more, or choose another scorer, such as knn.",
        )
    names, counts = np.unique(domains_N, return_counts=True)
    if len(names) == 1 or counts.min() < least:
        return [rows_ND]
    others = int(len(rows_ND) - (domains_N == "target").sum())
    domains = []
    for name in names:
        own_RD = rows_ND[domains_N == name]
        domains.append(smote(own_RD, int(SMOTE_SHARE * others)) if name == "target" else own_RD)
    return domains


def smote(rows_RD: Floats, wanted: int) -> Floats:
    """Return the rows, and as many points between them as make `wanted` (Chawla et al. 2002).

    Each lies at random on the line from a row, taken in turn, to one of its nearest. One row alone stays alone.
    """
    missing = wanted - len(rows_RD)
    if missing <= 0 or len(rows_RD) < 2:
        return rows_RD
    rng = np.random.default_rng(0)  # a fixed seed: the same normals must give the same detector
    _, near_RK = _nearest(None, rows_RD, SMOTE_NEIGHBOURS, "euclidean")
    start_M = np.arange(missing) % len(rows_RD)
    end_M = near_RK[start_M, rng.integers(near_RK.shape[1], size=missing)]
    points_MD = rows_RD[start_M] + rng.random((missing, 1)) * (rows_RD[end_M] - rows_RD[start_M])
    return np.concatenate([rows_RD, points_MD])


def _pack(domains: Sequence[Floats]) -> dict[str, NDArray[Any]]:
    return {"references": np.concatenate(domains), "lengths": np.array([len(rows_RD) for rows_RD in domains])}


def _unpack(arrays: Mapping[str, NDArray[Any]]) -> list[Floats]:
    return _split(arrays["references"], arrays["lengths"])


def _split(rows: NDArray[Any], lengths: NDArray[np.int64]) -> list[Floats]:
    if lengths.sum() != len(rows) or lengths.min() < 1:
        raise ValueError(f"{len(rows)} rows for domains of {lengths.tolist()}")
    return np.split(rows, np.cumsum(lengths)[:-1])
