"""A small network that trains in minutes on a CPU; ours, of no paper.

Two convolutions over time see all bands at once: the bands are channels, each with weights of its own, for where in the
spectrum a machine hums tells it from others. What they give is pooled over time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asd.models.norms import Norm
from asd.models.pooling import Statistics, build_pooling

EMBEDDING_SIZE = 128
WIDTH = 256


class Small(nn.Module):
    """(B, 1, F, T) -> (B, 128), for one F and any T >= 1."""

    summary_size = 2 * WIDTH

    def __init__(self, bands: int, norm: Norm, pooling: str = "statistics") -> None:
        super().__init__()
        self.first, self.second = _layer(bands, norm), _layer(WIDTH, norm)
        self.pooling, size = build_pooling(pooling, WIDTH, 1)
        self.embedding = nn.Linear(size, EMBEDDING_SIZE)

    def forward(self, x_B1FT: Tensor) -> Tensor:
        """Return the embeddings (B, 128)."""
        maps_BC1T = self.second(self.first(x_B1FT.transpose(1, 2)))
        embedding_BD: Tensor = self.embedding(self.pooling(maps_BC1T))
        return embedding_BD

    def summary(self, x_B1FT: Tensor) -> Tensor:
        """Return mean and standard deviation over time of the first maps, (B, 512): nearer to the spectrum."""
        summary_BS: Tensor = Statistics()(self.first(x_B1FT.transpose(1, 2)))
        return summary_BS


class _RepeatEdges(nn.Module):
    """One frame more at either end: zeros would not be what batch normalisation takes for silence.

    As `torch.nn.ReplicationPad2d`, which `torch.compile` cannot follow.
    """

    def forward(self, x_BC1T: Tensor) -> Tensor:
        return torch.cat([x_BC1T[..., :1], x_BC1T, x_BC1T[..., -1:]], 3)


def _layer(channels: int, norm: Norm) -> nn.Module:
    convolution = nn.Conv2d(channels, WIDTH, (1, 3), bias=False)
    return nn.Sequential(_RepeatEdges(), convolution, norm(WIDTH), nn.ReLU(inplace=True))
