"""A small residual network that trains in minutes on a CPU.

Frames are thinned out early, bands hardly: where in the spectrum a machine hums tells it from others. The last maps are
summarised by mean and standard deviation over time, band by band, so the embedding knows the place of what it saw.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING_SIZE = 128

STEM = 16
BLOCKS = ((32, (1, 2)), (64, (2, 2)), (64, (1, 2)))
"""Channels, and stride over bands and frames. With the stem's (2, 4): a quarter of the bands, a 32nd of the frames."""

VARIANCE_FLOOR = 1e-5
"""Added to variances over time: the root's slope is infinite at 0, which a silent clip has."""

Norm = Callable[[int], nn.Module]


class Small(nn.Module):
    """(B, 1, F, T) -> (B, 128), for one F and any T >= 1."""

    def __init__(self, bands: int, norm: Norm) -> None:
        super().__init__()
        stem = nn.Conv2d(1, STEM, 5, (2, 4), 2, bias=False)
        layers: list[nn.Module] = [stem, norm(STEM), nn.ReLU(inplace=True)]
        channels, rows = STEM, -(-bands // 2)
        for width, stride in BLOCKS:
            layers.append(_Block(channels, width, stride, norm))
            channels, rows = width, -(-rows // stride[0])
        self.features = nn.Sequential(*layers)
        self.embedding = nn.Linear(2 * channels * rows, EMBEDDING_SIZE)

    def forward(self, x_B1FT: Tensor) -> Tensor:
        """Return the embeddings (B, 128)."""
        maps_BCFT: Tensor = self.features(x_B1FT)
        var_BCF, mean_BCF = torch.var_mean(maps_BCFT.float(), 3, correction=0)
        std_BCF = (var_BCF + VARIANCE_FLOOR).sqrt()
        embedding_BD: Tensor = self.embedding(torch.cat([mean_BCF, std_BCF], 1).flatten(1))
        return embedding_BD


class _Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al., 2016)."""

    def __init__(self, channels: int, width: int, stride: tuple[int, int], norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            norm(width),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), norm(width))

    def forward(self, x_BCFT: Tensor) -> Tensor:
        y_BCFT: Tensor = self.layers(x_BCFT) + self.shortcut(x_BCFT)
        return functional.relu(y_BCFT)
