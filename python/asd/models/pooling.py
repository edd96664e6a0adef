"""From the maps of a network to one vector: what is kept of frequency and time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NAMES = ("mean", "statistics", "bands")

VARIANCE_FLOOR = 1e-5
"""Added to variances: the root's slope is infinite at 0, which a steady clip has."""


class Mean(nn.Module):
    """(B, C, F, T) -> (B, C): mean over the plane, in float32 whatever the maps are in."""

    def forward(self, maps_BCFT: Tensor) -> Tensor:
        """Return the means."""
        return maps_BCFT.mean((2, 3), dtype=torch.float32)


class Statistics(nn.Module):
    """(B, C, F, T) -> (B, 2 C): mean and standard deviation over the plane, in float32."""

    def forward(self, maps_BCFT: Tensor) -> Tensor:
        """Return the means, then the deviations."""
        var_BC, mean_BC = torch.var_mean(maps_BCFT.float(), (2, 3), correction=0)
        return torch.cat([mean_BC, (var_BC + VARIANCE_FLOOR).sqrt()], 1)


class Bands(nn.Module):
    """(B, C, F, T) -> (B, C · F): mean over time alone, so that every band that is left keeps features of its own."""

    def forward(self, maps_BCFT: Tensor) -> Tensor:
        """Return the means."""
        return maps_BCFT.mean(3, dtype=torch.float32).flatten(1)


def build_pooling(name: str, channels: int, bands: int) -> tuple[nn.Module, int]:
    """Return a pooling, and the size of what it gives.

    Args:
        name: one of `NAMES`.
        channels, bands: C and F of the maps.

    Raises:
        ValueError: unknown name.
    """
    if name == "mean":
        return Mean(), channels
    if name == "statistics":
        return Statistics(), 2 * channels
    if name == "bands":
        return Bands(), channels * bands
    raise ValueError(f"no pooling {name!r}: known are {', '.join(NAMES)}")
