"""A small network that trains in minutes on a CPU.

Two convolutions over time see all bands at once: the bands are channels, each with weights of its own, for where in the
spectrum a machine hums tells it from others. What they give is summarised by mean and standard deviation over time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

EMBEDDING_SIZE = 128
WIDTH = 256

VARIANCE_FLOOR = 1e-5
"""Added to variances over time: the root's slope is infinite at 0, which a steady clip has."""

Norm = Callable[[int], nn.Module]


class Small(nn.Module):
    """(B, 1, F, T) -> (B, 128), for one F and any T >= 1."""

    summary_size = 2 * WIDTH

    def __init__(self, bands: int, norm: Norm) -> None:
        super().__init__()
        self.first, self.second = _layer(bands, norm), _layer(WIDTH, norm)
        self.embedding = nn.Linear(2 * WIDTH, EMBEDDING_SIZE)

    def forward(self, x_B1FT: Tensor) -> Tensor:
        """Return the embeddings (B, 128)."""
        maps_BC1T = self.second(self.first(x_B1FT.transpose(1, 2)))
        embedding_BD: Tensor = self.embedding(_statistics(maps_BC1T))
        return embedding_BD

    def summary(self, x_B1FT: Tensor) -> Tensor:
        """Return mean and standard deviation over time of the first maps, (B, 512): nearer to the spectrum."""
        return _statistics(self.first(x_B1FT.transpose(1, 2)))


def _statistics(maps_BC1T: Tensor) -> Tensor:
    var_BC1, mean_BC1 = torch.var_mean(maps_BC1T.float(), 3, correction=0)
    return torch.cat([mean_BC1, (var_BC1 + VARIANCE_FLOOR).sqrt()], 1).flatten(1)


class _RepeatEdges(nn.Module):
    """One frame more at either end: zeros would not be what batch normalisation takes for silence.

    As `torch.nn.ReplicationPad2d`, which `torch.compile` cannot follow.
    """

    def forward(self, x_BC1T: Tensor) -> Tensor:
        return torch.cat([x_BC1T[..., :1], x_BC1T, x_BC1T[..., -1:]], 3)


def _layer(channels: int, norm: Norm) -> nn.Module:
    convolution = nn.Conv2d(channels, WIDTH, (1, 3), bias=False)
    return nn.Sequential(_RepeatEdges(), convolution, norm(WIDTH), nn.ReLU(inplace=True))
