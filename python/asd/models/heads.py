"""What follows the embedding in training: a projection for contrast, or class logits.

Logits are computed in float32, under autocast too; cross entropy is taken outside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from asd.models import ranks

KINDS = ("softmax", "arcface", "subcentre-arcface", "adacos")

SINE_FLOOR = 1e-3
"""Least sine of an angle: the slope of cos(θ + m) along cos θ grows like 1/sin θ."""

SCALE_RANGE = (math.sqrt(2) * math.log(2), 1000.0)
"""Bounds of AdaCos's scale: that of three classes (with few, the formula can fall below 0), and no overflow."""


class Projection(nn.Module):
    """MLP d -> d -> size; its output has length 1 (SimCLR, Chen et al., 2020; in MoCo v2, arXiv 2003.04297)."""

    def __init__(self, embedding_size: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(embedding_size, embedding_size), nn.ReLU(inplace=True), nn.Linear(embedding_size, size)
        )

    def forward(self, embedding_BD: Tensor) -> Tensor:
        """Return float32 vectors (B, size) of length 1."""
        projected_BP: Tensor = self.layers(embedding_BD)
        return functional.normalize(projected_BP.float())


class Head(nn.Module):
    """Logits of classes, from embeddings.

    Attributes:
        classes: C.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, embedding_BD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """Return float32 logits (B, C); with int64 labels, those that training compares (a margin is applied)."""
        raise NotImplementedError

    def follow(self, embedding_BD: Tensor, labels_B: Tensor) -> None:
        """Adapt to a batch, once a step of training and before its logits: where the head has something to adapt."""


def build_head(
    kind: str, embedding_size: int, classes: int, *, scale: float = 30.0, margin: float = 0.7, subcentres: int = 3
) -> Head:
    """Build a head with random weights, drawn from torch's generator.

    Args:
        kind: one of `KINDS`.
        embedding_size: D.
        classes: C, at least 2.
        scale, margin: s and m (radians, below π) of ``"arcface"`` and ``"subcentre-arcface"``.
        subcentres: centres of a class of ``"subcentre-arcface"``.

    Raises:
        ValueError: unknown kind, or fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"classes = {classes}: a classifier needs at least two")
    if kind == "softmax":
        return Softmax(embedding_size, classes)
    if kind == "adacos":
        return AdaCos(embedding_size, classes)
    if kind in ("arcface", "subcentre-arcface"):
        return ArcFace(embedding_size, classes, scale, margin, 1 if kind == "arcface" else subcentres)
    raise ValueError(f"no head {kind!r}: known are {', '.join(KINDS)}")


class Softmax(Head):
    """A linear layer."""

    def __init__(self, embedding_size: int, classes: int) -> None:
        super().__init__(classes)
        self.linear = nn.Linear(embedding_size, classes)

    def forward(self, embedding_BD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """Return the logits (B, C); labels change nothing."""
        with torch.autocast(embedding_BD.device.type, enabled=False):
            logits_BC: Tensor = self.linear(embedding_BD.float())
        return logits_BC


class ArcFace(Head):
    """Scaled cosines to the centres of the classes, with an angular margin (Deng et al., 2019).

    The logit of the label is s·cos(θ + m). Where θ + m > π that would rise again: there it is s·(cos θ − m·sin m), as
    in the authors' implementation, and the logit falls with θ everywhere. Of several centres of a class the nearest
    counts (sub-centre ArcFace, Deng et al., 2020).
    """

    def __init__(self, embedding_size: int, classes: int, scale: float, margin: float, subcentres: int) -> None:
        super().__init__(classes)
        self.scale = scale
        self.margin = margin
        self.subcentres = subcentres
        self.centres = _centres(classes * subcentres, embedding_size)

    def forward(self, embedding_BD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """Return the logits (B, C)."""
        cosines_BC = _cosines(embedding_BD, self.centres).view(len(embedding_BD), self.classes, self.subcentres).amax(2)
        if labels_B is not None:
            own_B1 = cosines_BC.gather(1, labels_B[:, None])
            cosines_BC = cosines_BC.scatter(1, labels_B[:, None], self._with_margin(own_B1))
        return self.scale * cosines_BC

    def _with_margin(self, cosines: Tensor) -> Tensor:
        sines = (1 - cosines.square()).clamp_min(SINE_FLOOR**2).sqrt()
        shifted = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = cosines - self.margin * math.sin(self.margin)
        return torch.where(cosines > -math.cos(self.margin), shifted, beyond)


class AdaCos(Head):
    """Cosines to the centres of the classes, with a scale that follows the training (Zhang et al., 2019).

    The scale starts at √2·ln(C−1), with C = 2 as with three classes. `follow` sets it to ln(B) / cos(min(π/4, θ)): B
    the mean over clips of the sum of exp(s·cos) over other classes, θ the median angle to the own class (the lower of
    two middle ones). Where several processes train together, the batch is that of all.
    """

    scale: Tensor

    def __init__(self, embedding_size: int, classes: int) -> None:
        super().__init__(classes)
        self.centres = _centres(classes, embedding_size)
        self.register_buffer("scale", torch.tensor(math.sqrt(2) * math.log(max(classes - 1, 2))))

    def forward(self, embedding_BD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """Return the logits (B, C); labels change nothing."""
        # A copy: the next update must not reach into this batch's backward pass.
        logits_BC: Tensor = self.scale.clone() * _cosines(embedding_BD, self.centres)
        return logits_BC

    @torch.no_grad()
    def follow(self, embedding_BD: Tensor, labels_B: Tensor) -> None:
        """Set the scale by a batch."""
        cosines_BC = _cosines(embedding_BD, self.centres)
        angles_B = ranks.gather(cosines_BC.gather(1, labels_B[:, None])[:, 0].clamp(-1, 1).acos())
        others_BC = cosines_BC.scatter(1, labels_B[:, None], -math.inf)
        logs_B = ranks.gather((self.scale * others_BC).logsumexp(1))
        log_b = logs_B.logsumexp(0) - math.log(len(logs_B))
        self.scale.copy_((log_b / angles_B.median().clamp_max(math.pi / 4).cos()).clamp(*SCALE_RANGE))


def _centres(count: int, size: int) -> nn.Parameter:
    """Return random directions, all equally likely."""
    return nn.Parameter(torch.randn(count, size) / math.sqrt(size))


def _cosines(embedding_BD: Tensor, centres_CD: Tensor) -> Tensor:
    with torch.autocast(embedding_BD.device.type, enabled=False):
        return functional.linear(functional.normalize(embedding_BD.float()), functional.normalize(centres_CD))
