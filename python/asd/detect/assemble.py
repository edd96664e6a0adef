"""From the name of a scorer to the scorer: put together from what was fitted, or from stored arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer, Normals
from asd.detect.fusion import Fused
from asd.detect.network import NetworkFacts
from asd.detect.scorers import CLASSIFIER, ClassifierScorer, EmbeddingScorer, Fusible, Scorer, ScorerName, parse_scorer


def fit_scorer(
    name: ScorerName, normals: Normals, about: NetworkFacts, machine: str, sections: Sequence[str]
) -> Fusible:
    """Fit a scorer on a network's embedding, one that is not fused.

    Args:
        normals: ``"network"`` embeddings of the normals of all sections.
        about: the network.

    Raises:
        DataError: the normals of a section do not vary, or are too few.
        UsageError: the classifier, of a network that has none for a section.
    """
    if name.kind == CLASSIFIER:
        return ClassifierScorer.of(about.places, about.score_hop is not None, machine, sections)
    return EmbeddingScorer.fit(name, normals, sections)


def load_scorer(text: str, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Scorer:
    """Rebuild the scorer of this name.

    Raises:
        KeyError, ValueError: no such scorer, or `arrays` are damaged.
    """
    name = parse_scorer(text)
    if name.is_baseline:
        return BaselineScorer.from_arrays(name.kind, sections, arrays)
    if not name.fusion:
        return _load_part(name, sections, arrays)
    deciding = SIBLINGS if any(key.startswith(f"{SIBLINGS}/") for key in arrays) else ALONE
    return Fused(
        text,
        _load_part(name.alone, sections, arrays),
        BaselineScorer.from_arrays(deciding, sections, arrays),
        {s: arrays[f"{text}/{s}/scales"] for s in sections},
        name.fusion == "fused-min",
    )


def _load_part(name: ScorerName, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Fusible:
    if name.kind == CLASSIFIER:
        return ClassifierScorer.from_arrays(sections, arrays)
    return EmbeddingScorer.from_arrays(name, sections, arrays)
