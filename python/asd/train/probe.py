"""Measures a network on recordings that it is not trained on, so that learning and collapse are seen.

Axes: P held-out recordings, D size of an embedding or projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

NEIGHBOURS = 5

COLLAPSED = -0.08
"""Uniformity above which projections are one point: their mean squared distance is below 0.04, their cosine 0.98."""


def collapse(row: Mapping[str, float], what: str) -> str | None:
    """Return what to say where the `what` of all recordings have become one point, by their uniformity."""
    found = row.get("uniformity", -math.inf)
    if found <= COLLAPSED:
        return None
    return (
        f"the network has collapsed: its {what} of different recordings are one point (uniformity {found:.3f}); try a "
        "lower --set optimiser.learning_rate, or another --seed"
    )


def alignment(first_PD: Tensor, second_PD: Tensor) -> float:
    """Return the mean squared distance of two views of a recording (Wang & Isola 2020, α = 2); 0 is perfect."""
    return float((first_PD - second_PD).square().sum(1).mean())


def uniformity(x_PD: Tensor) -> float:
    """Return log mean exp(−2·squared distance) over pairs (Wang & Isola 2020, t = 2); 0 is collapse, −4 the best."""
    return float(torch.pdist(x_PD).square().mul(-2).exp().mean().log())


def knn_accuracy(x_PD: Tensor, labels_P: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """Return how often most of a recording's nearest others (by cosine) are of its class."""
    unit_PD = functional.normalize(x_PD.float(), dim=1)
    close_PP = (unit_PD @ unit_PD.T).fill_diagonal_(-torch.inf)
    nearest_PN = close_PP.topk(min(neighbours, len(x_PD) - 1)).indices
    votes_PN = labels_P[nearest_PN]
    return float((votes_PN.mode(1).values == labels_P).double().mean())


def retrieval(first_PD: Tensor, second_PD: Tensor) -> float:
    """Return how often the second view nearest to a first view (by cosine) is its own."""
    first_PD, second_PD = functional.normalize(first_PD, dim=1), functional.normalize(second_PD, dim=1)
    nearest_P = (first_PD @ second_PD.T).argmax(1)
    return float((nearest_P == torch.arange(len(first_PD), device=nearest_P.device)).double().mean())
