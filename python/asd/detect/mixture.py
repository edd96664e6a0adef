"""``gmm``: a mixture of Gaussians for each domain of a section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from asd.detect.gaussian import Floats, Gaussian, Normals, fit_gaussian
from asd.detect.neighbours import by_domain


@dataclass(frozen=True, slots=True)
class Mixture:
    """Mixtures of spheres in the space that the section's Ledoit-Wolf covariance whitens.

    There are too few normals for a covariance a component: each has a size of its own, and all one shape. With one
    component the score is that of ``mahalanobis`` times a constant.

    Attributes:
        gaussian: of the section, which whitens.
        weights_M, means_MD, variances_M: of the components, of all domains.
        domains_M: the domain of each component, counted from 0.
    """

    gaussian: Gaussian
    weights_M: Floats
    means_MD: Floats
    variances_M: Floats
    domains_M: NDArray[np.int64]

    @classmethod
    def fit(cls, normals: Normals, section: str, count: int) -> Self:
        """Fit `count` components a domain, with scikit-learn; as many as it has normals where that is less.

        Raises:
            DataError: the normals do not vary.
        """
        from sklearn.mixture import GaussianMixture

        gaussian = fit_gaussian(normals, section, siblings=False)
        own = normals[normals.sections_N == section]
        rows = by_domain(gaussian.whiten(own.features_ND), own.domains_N, section, least=2)
        fitted = [
            GaussianMixture(min(count, len(rows_RD)), covariance_type="spherical", random_state=0).fit(rows_RD)
            for rows_RD in rows
        ]
        return cls(
            gaussian,
            np.concatenate([f.weights_ for f in fitted]),
            np.concatenate([f.means_ for f in fitted]),
            np.concatenate([f.covariances_ for f in fitted]),
            np.repeat(np.arange(len(fitted)), [len(f.weights_) for f in fitted]),
        )

    def distances(self, features_ND: Floats) -> Floats:
        """Return the smallest over the domains of √(2·(log p̂ − log p(x))), (N,).

        p̂ is the sum of the components' peaks, which no density of the mixture exceeds. So this falls with the
        likelihood, is never negative, and is the distance to the centre, over its size, of one component.
        """
        x_ND = self.gaussian.whiten(features_ND)
        peaks_M = np.log(self.weights_M) - 0.5 * x_ND.shape[1] * np.log(self.variances_M)
        # Component by component, so that no array of (N, M, D) is needed.
        squares = [((x_ND - m) ** 2).sum(1) / v for m, v in zip(self.means_MD, self.variances_M, strict=True)]
        logs_NM = peaks_M - 0.5 * np.stack(squares, 1)
        each = []
        for domain in np.unique(self.domains_M):
            own_M = self.domains_M == domain
            below_N = logsumexp(peaks_M[own_M]) - logsumexp(logs_NM[:, own_M], axis=1)
            each.append(np.sqrt(2 * np.maximum(below_N, 0.0)))
        return np.min(each, axis=0)  # type: ignore[no-any-return]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        return {
            **{f"whitening-{key}": value for key, value in self.gaussian.arrays().items()},
            "weights": self.weights_M,
            "means": self.means_MD,
            "variances": self.variances_M,
            "domains": self.domains_M,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild it from `arrays`."""
        whitening = {key: arrays[f"whitening-{key}"] for key in ("mean", "cholesky", "weight")}
        mixture = (arrays[key] for key in ("weights", "means", "variances", "domains"))
        return cls(Gaussian.from_arrays(whitening), *mixture)
