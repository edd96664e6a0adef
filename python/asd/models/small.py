"""A small network that trains in a minute on a CPU: convolutions over time that see all bands at once.

What a machine's fault changes is mostly which bands sound, and how they move together; where on the frequency axis that
is matters. So bands are channels, as in a linear model of the spectrum, and nothing is shared among them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

EMBEDDING_SIZE = 128
WIDTH = 256
LAYERS = 2
KERNEL = 3

VARIANCE_FLOOR = 1e-5
"""Added to variances over time: the root's slope is infinite at 0, which a silent clip has."""

Norm = Callable[[int], nn.Module]


class Small(nn.Module):
    """(B, 1, F, T) -> (B, 128), for one F and any T >= 1."""

    summary_size = 2 * WIDTH

    def __init__(self, bands: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(WIDTH if layer else bands, WIDTH, (1, KERNEL), padding=(0, KERNEL // 2), bias=False),
                norm(WIDTH),
                nn.ReLU(inplace=True),
            )
            for layer in range(LAYERS)
        )
        self.embedding = nn.Linear(2 * WIDTH, EMBEDDING_SIZE)

    def forward(self, x_B1FT: Tensor) -> Tensor:
        """Return the embeddings (B, 128)."""
        maps_BC1T = x_B1FT.transpose(1, 2)
        for layer in self.layers:
            maps_BC1T = layer(maps_BC1T)
        return self.embedding(_statistics(maps_BC1T))  # type: ignore[no-any-return]

    def summary(self, x_B1FT: Tensor) -> Tensor:
        """Return mean and standard deviation over time of the first layer's maps, (B, 512)."""
        return _statistics(self.layers[0](x_B1FT.transpose(1, 2)))


def _statistics(maps_BC1T: Tensor) -> Tensor:
    variance_BC, mean_BC = torch.var_mean(maps_BC1T.float()[:, :, 0], 2, correction=0)
    return torch.cat([mean_BC, (variance_BC + VARIANCE_FLOOR).sqrt()], 1)
