"""What a scorer is, the names they go by, and those that look at a network's embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from asd.detect import DEFAULT_SCORER
from asd.detect.baseline import ALONE, SIBLINGS
from asd.detect.blas import one_blas_thread
from asd.detect.gaussian import Floats, Gaussian, Normals, fit_gaussian, log
from asd.detect.mixture import Mixture
from asd.detect.neighbours import Density, Nearest, Outlier, WhitenedNearest
from asd.detect.network import CLASSES, NETWORK, SUMMARY
from asd.errors import UsageError, nearest

FUSIONS = ("fused", "fused-min")
CLASSIFIER = "classifier"
ENSEMBLE = "ensemble"
"""The nearest normal by embedding, and the Mahalanobis distance of the summary, or of the embedding without one."""

SECOND_OF_ENSEMBLE = ("summary", "summary-alone", "mahalanobis-siblings", "mahalanobis")
"""What may stand beside ``"knn"`` in the ensemble: with a network's summary or without, with siblings or without."""


class Scorer(Protocol):
    """Tells how unlike the normals of its section a window is."""

    @property
    def name(self) -> str:
        """What it is called in files and reports; see `parse_scorer`."""
        ...

    def score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the anomaly score of each window, (W,); larger is more anomalous.

        Args:
            embedded: by name, the embeddings of the windows, (W, D) each; see `asd.detect.Detector.embeddings`.
        """
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return everything that was fitted, for storage, under names that begin with the scorer's."""
        ...


class Fusible(Scorer, Protocol):
    """A scorer whose score can be fused with another's."""

    def log_score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the logarithm of the distance that the score is, (W,)."""
        ...


class Model(Protocol):
    """What was learnt of the normals of one section."""

    def distances(self, features_ND: Floats) -> Floats:
        """Return how far each row is from them, (N,)."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Rebuild it. Raises KeyError or ValueError where `arrays` are damaged."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to score embeddings.

    Attributes:
        count: K where the name does not say it; None: there is no K.
        of: the embedding that it looks at.
    """

    model: type[Model]
    fit: Callable[[Normals, str, int], Model]
    count: int | None = None
    of: str = NETWORK


def _own(normals: Normals, section: str, _: int) -> Gaussian:
    return fit_gaussian(normals, section, siblings=False)


def _shared(normals: Normals, section: str, _: int) -> Gaussian:
    return fit_gaussian(normals, section, siblings=True)


KINDS: Mapping[str, Kind] = {
    "knn": Kind(Nearest, Nearest.fit, 1),
    "whitened-knn": Kind(WhitenedNearest, WhitenedNearest.fit, 1),
    "mahalanobis": Kind(Gaussian, _own),
    "mahalanobis-siblings": Kind(Gaussian, _shared),
    "gmm": Kind(Mixture, Mixture.fit, 2),
    "lof": Kind(Outlier, Outlier.fit, 20),
    "density-knn": Kind(Density, Density.fit, 4),
    "summary": Kind(Gaussian, _shared, of=SUMMARY),
    "summary-alone": Kind(Gaussian, _own, of=SUMMARY),
}
"""The scorers on a network's embeddings but the classifier; each is documented with its model."""


@dataclass(frozen=True, slots=True)
class ScorerName:
    """The parts of a scorer's name.

    Attributes:
        text: the name.
        kind: of `KINDS`, ``"classifier"``, ``"ensemble"``, or the name of a baseline.
        count: K, 0 where there is none.
        fusion: of `FUSIONS`, or an empty string.
    """

    text: str
    kind: str
    count: int
    fusion: str

    @property
    def alone(self) -> ScorerName:
        """The scorer that is fused with the baseline."""
        return ScorerName(self.text.removeprefix(f"{self.fusion}:"), self.kind, self.count, "")

    @property
    def is_baseline(self) -> bool:
        """It needs no network."""
        return self.kind in (SIBLINGS, ALONE)


def parse_scorer(text: str) -> ScorerName:
    """Take apart the name of a scorer: ``[fused: | fused-min:] kind [:K]``, or that of a baseline.

    Raises:
        UsageError: it is none; names the nearest.
    """
    fusion, _, rest = text.partition(":")
    if fusion not in FUSIONS:
        fusion, rest = "", text
    kind, colon, digits = rest.partition(":")
    names = [*KINDS, CLASSIFIER, ENSEMBLE] + ([] if fusion else [SIBLINGS, ALONE])
    if kind not in names:
        prefix = f"{fusion}:" if fusion else ""
        known = [prefix + name for name in names]
        more = "" if fusion else " Fused with the baseline: fused:NAME, fused-min:NAME."
        raise UsageError(f"scorer {text!r} is not known.{nearest(text, known)}", f"Known: {', '.join(known)}.{more}")
    default = KINDS[kind].count if kind in KINDS else None
    if colon and (default is None or not digits.isascii() or not digits.isdecimal() or not 1 <= int(digits) <= 9999):
        counted = [name for name, k in KINDS.items() if k.count is not None]
        raise UsageError(
            f"scorer {text!r}: {digits!r} is no number of neighbours or components from 1",
            f"For example: knn:5. A number goes with {', '.join(counted)}.",
        )
    return ScorerName(text, kind, int(digits) if colon else default or 0, fusion)


def choose_scorer(wanted: str) -> ScorerName:
    """Return the scorer that decides where there is a network.

    Args:
        wanted: a scorer's name, or ``"auto"`` for `asd.detect.DEFAULT_SCORER`.

    Raises:
        UsageError: it is no scorer.
    """
    return parse_scorer(DEFAULT_SCORER if wanted == "auto" else wanted)


@dataclass(frozen=True, slots=True)
class EmbeddingScorer:
    """A model of `KINDS` for each section, on the embedding that its kind looks at."""

    name: str
    models: Mapping[str, Model]

    @classmethod
    def fit(cls, name: ScorerName, normals: Normals, sections: Sequence[str]) -> Self:
        """Fit the sections that are wanted; with siblings, all rows of `normals` help.

        Raises:
            DataError: the normals of a section do not vary, or are too few.
        """
        with one_blas_thread():
            return cls(name.text, {s: KINDS[name.kind].fit(normals, s, name.count) for s in sections})

    def score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the anomaly score of each window, (W,)."""
        return self.models[section].distances(embedded[KINDS[parse_scorer(self.name).kind].of])

    def log_score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return its logarithm, (W,)."""
        return log(self.score(embedded, section))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that was fitted, for storage."""
        return {f"{self.name}/{s}/{key}": value for s, m in self.models.items() for key, value in m.arrays().items()}

    @classmethod
    def from_arrays(cls, name: ScorerName, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a scorer from `arrays`.

        Raises:
            KeyError, ValueError: an array is missing, or of another shape.
        """
        own = {
            s: {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
            for s in sections
            for start in [f"{name.text}/{s}/"]
        }
        with one_blas_thread():  # as when it was fitted, for some fit again
            return cls(name.text, {s: KINDS[name.kind].model.from_arrays(own[s]) for s in sections})


@dataclass(frozen=True, slots=True)
class ClassifierScorer:
    """How little the network's classifier believes that a window is of its own section.

    The score is −log p; for a network that looks at stretches of a window the mean over them of
    log(1 − p) − log(p), as in the DCASE 2022 baseline.

    Attributes:
        columns: of the ``"classes"`` embedding, for each section.
        stretches: the network looks at stretches.
    """

    columns: Mapping[str, int]
    stretches: bool
    name: str = CLASSIFIER

    @classmethod
    def of(cls, places: Sequence[str], stretches: bool, machine: str, sections: Sequence[str]) -> Self:
        """Find the sections among the `places` of a network; see `asd.detect.network.NetworkFacts`.

        Raises:
            UsageError: one is not there.
        """
        missing = [s for s in sections if f"{machine}/{s}" not in places]
        if missing:
            raise UsageError(
                f"scorer 'classifier': the network was not trained to tell {machine} {missing[0]} from others",
                "Choose another scorer, such as knn, or --method finetune on several sections.",
            )
        return cls({s: places.index(f"{machine}/{s}") for s in sections}, stretches)

    def score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return the anomaly score of each window, (W,)."""
        odds_W = embedded[CLASSES][:, self.columns[section]]
        return odds_W if self.stretches else np.logaddexp(0.0, odds_W)

    def log_score(self, embedded: Mapping[str, Floats], section: str) -> Floats:
        """Return log(−log p), (W,); of stretches their score, a mean of log-odds, which has no logarithm."""
        score_W = self.score(embedded, section)
        # Far smaller than a distance, −log p still tells one normal from another.
        return score_W if self.stretches else np.log(np.maximum(score_W, np.finfo(np.float64).tiny))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what it needs to know, for storage."""
        return {f"{self.name}/{s}/column": np.array([c, self.stretches]) for s, c in self.columns.items()}

    @classmethod
    def from_arrays(cls, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a scorer from `arrays`.

        Raises:
            KeyError: an array is missing.
        """
        stored = {s: arrays[f"{CLASSIFIER}/{s}/column"].tolist() for s in sections}
        return cls({s: column for s, (column, _) in stored.items()}, any(flag for _, flag in stored.values()))
