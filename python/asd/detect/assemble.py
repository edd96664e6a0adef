"""From the name of a scorer to the scorer: put together from what was fitted, or from stored arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer
from asd.detect.fusion import Fused
from asd.detect.gaussian import Normals
from asd.detect.network import NetworkFacts
from asd.detect.scorers import (
    CLASSIFIER,
    ENSEMBLE,
    KINDS,
    SECOND_OF_ENSEMBLE,
    ClassifierScorer,
    EmbeddingScorer,
    Fusible,
    Scorer,
    ScorerName,
    parse_scorer,
)
from asd.errors import UsageError


def fit_scorer(
    name: ScorerName, normals: Mapping[str, Normals], about: NetworkFacts, machine: str, sections: Sequence[str]
) -> Fusible:
    """Fit a scorer on a network's embeddings, one that is no fusion.

    Args:
        normals: the embeddings of the normals of all sections, by the embedding's name.
        about: the network.

    Raises:
        DataError: the normals of a section do not vary, or are too few.
        UsageError: the classifier, of a network that has none for a section; or a summary, of one that has none.
    """
    if name.kind == CLASSIFIER:
        return ClassifierScorer.of(about.places, about.score_hop is not None, machine, sections)
    if KINDS[name.kind].of not in normals:
        raise UsageError(f"scorer {name.text!r}: {about.encoder} has no summary", "Choose another, such as knn.")
    return EmbeddingScorer.fit(name, normals[KINDS[name.kind].of], sections)


def parts_of(name: ScorerName, about: NetworkFacts, has_siblings: bool) -> tuple[ScorerName, ...]:
    """Return the scorers that one is fused of, the baseline among them; none for a scorer that is no fusion."""
    if name.fusion:
        return name.alone, parse_scorer(SIBLINGS if has_siblings else ALONE)
    if name.kind != ENSEMBLE:
        return ()
    with_summary, without = SECOND_OF_ENSEMBLE[:2], SECOND_OF_ENSEMBLE[2:]
    return parse_scorer("knn"), parse_scorer((with_summary if about.summary_size else without)[not has_siblings])


def load_scorer(text: str, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Scorer:
    """Rebuild the scorer of this name.

    Raises:
        KeyError, ValueError: no such scorer, or `arrays` are damaged.
    """
    return _load(parse_scorer(text), sections, arrays)


def _load(name: ScorerName, sections: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> Fusible:
    if name.is_baseline:
        return BaselineScorer.from_arrays(name.kind, sections, arrays)
    if name.fusion or name.kind == ENSEMBLE:
        scales = {s: arrays[f"{name.text}/{s}/scales"] for s in sections}
        parts = tuple(_load(part, sections, arrays) for part in _stored_parts(name, arrays))
        if any(scale_P2.shape != (len(parts), 2) for scale_P2 in scales.values()):
            raise ValueError(f"{name.text}/scales: expected a row for each of {len(parts)} parts")
        return Fused(name.text, parts, scales, name.fusion == "fused-min")
    if name.kind == CLASSIFIER:
        return ClassifierScorer.from_arrays(sections, arrays)
    return EmbeddingScorer.from_arrays(name, sections, arrays)


def _stored_parts(name: ScorerName, arrays: Mapping[str, NDArray[Any]]) -> tuple[ScorerName, ScorerName]:
    first = name.alone if name.fusion else parse_scorer("knn")
    for second in (SIBLINGS, ALONE) if name.fusion else SECOND_OF_ENSEMBLE:
        if any(key.startswith(f"{second}/") for key in arrays):
            return first, parse_scorer(second)
    raise KeyError(f"{name.text}: its parts")
