"""Area under the ROC curve, whole and at low false-alarm rates; precision, recall and F1 of decisions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve: the chance that an anomaly scores above a normal.

    Args:
        labels: (B,) 0 normal, 1 anomaly.
        scores: (B,) larger is more anomalous.

    Raises:
        ValueError: shapes differ, a score is not finite, or one of the classes is missing.
    """
    return float(roc_auc_score(*_checked(labels, scores)))


def pauc(labels: ArrayLike, scores: ArrayLike, max_fpr: float = 0.1) -> float:
    """Return the partial AUC below a false-alarm rate, McClish-standardised as the DCASE challenge does.

    Random is 0.5, perfect 1, the worst 0.4737 at ``max_fpr=0.1``. Source: McClish (1989), "Analyzing a portion of
    the ROC curve".

    Args:
        labels: (B,) 0 normal, 1 anomaly.
        scores: (B,) larger is more anomalous.
        max_fpr: the false-alarm rate p up to which the area is taken, in (0, 1].

    Raises:
        ValueError: shapes differ, a score is not finite, or one of the classes is missing.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr = {max_fpr}: wanted 0 < max_fpr <= 1")
    return float(roc_auc_score(*_checked(labels, scores), max_fpr=max_fpr))


class PrecisionRecall(NamedTuple):
    """What decisions are worth, fractions."""

    precision: float
    recall: float
    f1: float


def precision_recall_f1(labels: ArrayLike, decisions: ArrayLike) -> PrecisionRecall:
    """Return the share of alarms that are anomalies, of anomalies that raise an alarm, and their harmonic mean.

    A share of nothing is 0, as the challenge's evaluators have it.

    Args:
        labels: (B,) 0 normal, 1 anomaly.
        decisions: (B,) 0 normal, 1 anomaly.

    Raises:
        ValueError: shapes differ, or another value.
    """
    labels_B, decisions_B = np.asarray(labels), np.asarray(decisions)
    if labels_B.ndim != 1 or labels_B.shape != decisions_B.shape:
        raise ValueError(f"labels {labels_B.shape} and decisions {decisions_B.shape}: wanted two vectors of one length")
    for name, values_B in (("labels", labels_B), ("decisions", decisions_B)):
        if others := set(np.unique(values_B).tolist()) - {0, 1}:
            raise ValueError(f"{name}: wanted 0 (normal) and 1 (anomaly) only, got {sorted(others)}")
    hits = float(((labels_B == 1) & (decisions_B == 1)).sum())
    alarms, anomalies = float((decisions_B == 1).sum()), float((labels_B == 1).sum())
    precision, recall = hits / max(alarms, 1), hits / max(anomalies, 1)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return PrecisionRecall(precision, recall, f1)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels_B = np.asarray(labels)
    scores_B = np.asarray(scores, dtype=np.float64)
    if labels_B.ndim != 1 or labels_B.shape != scores_B.shape:
        raise ValueError(f"labels {labels_B.shape} and scores {scores_B.shape}: wanted two vectors of one length")
    if not np.isfinite(scores_B).all():
        raise ValueError(f"scores: entry {int(np.flatnonzero(~np.isfinite(scores_B))[0])} is not finite")
    classes = set(np.unique(labels_B).tolist())
    if classes != {0, 1}:
        raise ValueError(f"labels: wanted both 0 (normal) and 1 (anomaly), got {sorted(classes)}")
    return labels_B.astype(np.int64), scores_B
