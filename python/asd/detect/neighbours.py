"""Distances to the nearest training normals of a section.

Where domains are labelled, the nearest normal of each domain is found by itself and the smallest distance counts; a
target domain of few normals is filled up between them (SMOTE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asd.detect.baseline import Floats, Gaussian, Normals, fit_gaussian
from asd.errors import DataError

SMOTE_SHARE = 0.2
"""A target domain is tiny below this share of the section's other normals, and is filled up to it."""

SMOTE_NEIGHBOURS = 5

BLOCK_CELLS = 2**23
"""Distances that are in memory at a time."""

COPIES = 1e-9
"""Cosine distance below which two embeddings are copies of each other: float32 says no more."""

Metric: TypeAlias = Callable[[Floats, Floats], Floats]


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
        return cls([unit(rows_RD) for rows_RD in by_domain(unit(own.features_ND), own.domains_N)], count)

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest over the domains, (N,), between 0 and 2."""
        x_ND = unit(features_ND)
        return np.min([nearest(x_ND, r_RD, self.count, cosine)[0].mean(1) for r_RD in self.domains], axis=0)  # type: ignore[no-any-return]

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
        return np.min([nearest(x_ND, r_RD, self.count, euclidean)[0].mean(1) for r_RD in self.domains], axis=0)  # type: ignore[no-any-return]

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

    Sparse regions, such as a domain of few normals, so count as near from farther away (Wilkinghoff et al. 2025,
    "Keeping the balance: anomaly score calculation for domain generalization").

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
        domains = [unit(rows_RD) for rows_RD in by_domain(unit(own.features_ND), own.domains_N, section, least=2)]
        near = [nearest(r_RD, r_RD, count, cosine, others=True)[0] for r_RD in domains]
        return cls(domains, [np.maximum(distances_RK.mean(1), COPIES) for distances_RK in near])

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest ratio, (N,)."""
        x_ND = unit(features_ND)
        each = []
        for rows_RD, radii_R in zip(self.domains, self.radii, strict=True):
            ratios = [(cosine(x_ND[block], rows_RD) / radii_R).min(1) for block in _blocks(len(x_ND), len(rows_RD))]
            each.append(np.concatenate(ratios))
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
    """``lof``: the local outlier factor by cosine distance (Breunig et al. 2000); scikit-learn's, kept as arrays.

    The reachability of a normal o from x is max(distance, o's distance to its k-th neighbour), the density of x the
    inverse of the mean reachability of its k nearest, and its factor their mean density over its own.

    Attributes:
        domains: the normals of each domain, rows of length 1, (R, D) each.
        reaches: of each of these normals the distance to its k-th neighbour, (R,) each.
        densities: of each of these normals, (R,) each.
        count: k.
    """

    domains: Sequence[Floats]
    reaches: Sequence[Floats]
    densities: Sequence[Floats]
    count: int

    @classmethod
    def fit(cls, normals: Normals, section: str, count: int) -> Self:
        """Find how densely a section's normals lie.

        Raises:
            DataError: there is one only.
        """
        own = normals[normals.sections_N == section]
        domains = [unit(rows_RD) for rows_RD in by_domain(unit(own.features_ND), own.domains_N, section, least=2)]
        reaches, densities = [], []
        for rows_RD in domains:
            distances_RK, indices_RK = nearest(rows_RD, rows_RD, count, cosine, others=True)
            reaches.append(distances_RK[:, -1])
            densities.append(_density(distances_RK, indices_RK, reaches[-1]))
        return cls(domains, reaches, densities, count)

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest factor over the domains, (N,); about 1 among the normals."""
        x_ND = unit(features_ND)
        each = []
        for rows_RD, reaches_R, densities_R in zip(self.domains, self.reaches, self.densities, strict=True):
            # Like the normals, x is compared with others than itself: a domain of R has R - 1 of them.
            distances_NK, indices_NK = nearest(x_ND, rows_RD, min(self.count, len(rows_RD) - 1), cosine)
            own_N = _density(distances_NK, indices_NK, reaches_R)
            each.append(densities_R[indices_NK].mean(1) / own_N)
        return np.min(each, axis=0)  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        kept = {"reaches": np.concatenate(self.reaches), "densities": np.concatenate(self.densities)}
        return _pack(self.domains) | kept | {"count": np.array([self.count])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild it from `arrays`."""
        reaches, densities = (_split(arrays[key], arrays["lengths"]) for key in ("reaches", "densities"))
        return cls(_unpack(arrays), reaches, densities, int(arrays["count"][0]))


def _density(distances_NK: Floats, indices_NK: NDArray[np.int64], reaches_R: Floats) -> Floats:
    reachability_N = np.maximum(distances_NK, reaches_R[indices_NK]).mean(1)
    return 1 / np.maximum(reachability_N, COPIES)  # type: ignore[no-any-return]


def unit(rows_ND: Floats) -> Floats:
    """Return the rows scaled to length 1; a row of zeros stays."""
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return rows_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)


def cosine(x_ND: Floats, references_RD: Floats) -> Floats:
    """Return 1 − cosine of all pairs of rows of length 1, (N, R)."""
    return np.maximum(1 - x_ND @ references_RD.T, 0.0)


def euclidean(x_ND: Floats, references_RD: Floats) -> Floats:
    """Return the distances of all pairs of rows, (N, R)."""
    squares_NR = np.square(x_ND).sum(1)[:, None] + np.square(references_RD).sum(1) - 2 * x_ND @ references_RD.T
    return np.sqrt(np.maximum(squares_NR, 0.0))  # type: ignore[no-any-return]


def nearest(
    x_ND: Floats, references_RD: Floats, count: int, metric: Metric, *, others: bool = False
) -> tuple[Floats, NDArray[np.int64]]:
    """Return the distances and rows of the nearest references, the nearest first, (N, K) each.

    Args:
        count: K; all there are where that is less.
        others: `x_ND` are the references themselves, and each is compared with the others only.
    """
    count = min(count, len(references_RD) - others)
    distances, indices = [], []
    for block in _blocks(len(x_ND), len(references_RD)):
        all_NR = metric(x_ND[block], references_RD)
        if others:
            all_NR[np.arange(len(all_NR)), np.arange(len(x_ND))[block]] = np.inf
        found_NK = np.argpartition(all_NR, count - 1, axis=1)[:, :count]
        kept_NK = np.take_along_axis(all_NR, found_NK, 1)
        order_NK = kept_NK.argsort(1)
        distances.append(np.take_along_axis(kept_NK, order_NK, 1))
        indices.append(np.take_along_axis(found_NK, order_NK, 1))
    return np.concatenate(distances), np.concatenate(indices)


def _blocks(rows: int, references: int) -> Iterator[slice]:
    size = max(1, BLOCK_CELLS // references)
    return (slice(start, start + size) for start in range(0, rows, size))


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
    near_RK = nearest(rows_RD, rows_RD, SMOTE_NEIGHBOURS, euclidean, others=True)[1]
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
