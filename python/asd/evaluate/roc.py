"""Areas under many ROC curves at once: one score a clip, many weightings of the clips.

A resample of clips is a weight for each: how often it was drawn. So the clips are ranked once, and the curves of all
resamples are cumulated sums of weights in that order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def weighted_auc(
    scores_B: NDArray[np.float64], labels_B: NDArray[np.int64], weights_RB: NDArray[np.float64], max_fpr: float = 1.0
) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each resample, McClish-standardised below a `max_fpr` under 1.

    The curve is that of scikit-learn: straight between the points of distinct scores, so ties count half.

    Args:
        scores_B: larger is more anomalous.
        labels_B: 0 normal, 1 anomaly.
        weights_RB: how often each clip counts, for R resamples; each resample has normals and anomalies.
        max_fpr: the false-alarm rate up to which the area is taken, in (0, 1].

    Returns:
        (R,) areas; as `asd.evaluate.auc` and `asd.evaluate.pauc` of the clips repeated.
    """
    normal_B = labels_B == 0
    levels_L, place = np.unique(
        -scores_B[normal_B], return_inverse=True
    )  # distinct scores of normals, the highest first
    order_N = np.argsort(place, kind="stable")
    starts_L = np.searchsorted(place[order_N], np.arange(len(levels_L)))
    widths_RL = np.add.reduceat(weights_RB[:, normal_B][:, order_N], starts_L, axis=1)
    anomalies_A = -scores_B[~normal_B]
    order_A = np.argsort(anomalies_A, kind="stable")
    hits = np.pad(np.cumsum(weights_RB[:, ~normal_B][:, order_A], axis=1), ((0, 0), (1, 0)))
    before_RL = hits[:, np.searchsorted(anomalies_A[order_A], levels_L, side="left")]
    after_RL = hits[:, np.searchsorted(anomalies_A[order_A], levels_L, side="right")]
    normals_R, anomalies_R = widths_RL.sum(axis=1), hits[:, -1]
    if max_fpr == 1:
        area_R = (widths_RL * (before_RL + after_RL)).sum(axis=1) / 2
        return np.asarray(area_R / (normals_R * anomalies_R))
    room_RL = max_fpr * normals_R[:, None] - (np.cumsum(widths_RL, axis=1) - widths_RL)
    taken_RL = np.clip(room_RL, 0, widths_RL)  # the part of a level's width that lies below max_fpr
    share_RL = np.divide(taken_RL, widths_RL, out=np.zeros_like(taken_RL), where=widths_RL > 0)
    area_R = (taken_RL * (before_RL + share_RL * (after_RL - before_RL) / 2)).sum(axis=1) / (normals_R * anomalies_R)
    chance = max_fpr**2 / 2
    return np.asarray(0.5 * (1 + (area_R - chance) / (max_fpr - chance)))


def weighted_decisions(
    labels_B: NDArray[np.int64], decisions_B: NDArray[np.int64], weights_RB: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision, recall and F1 of each resample, as `asd.evaluate.precision_recall_f1` of the clips repeated."""
    tp_R = weights_RB @ ((labels_B == 1) & (decisions_B == 1))
    found_R, anomalies_R = weights_RB @ (decisions_B == 1), weights_RB @ (labels_B == 1)
    precision_R, recall_R = _ratio(tp_R, found_R), _ratio(tp_R, anomalies_R)
    return precision_R, recall_R, _ratio(2 * precision_R * recall_R, precision_R + recall_R)


def _ratio(top_R: NDArray[np.float64], bottom_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return top / bottom, 0 where nothing stands below."""
    return np.divide(top_R, bottom_R, out=np.zeros_like(bottom_R), where=bottom_R > 0)
