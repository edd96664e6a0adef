"""Normalisation between layers."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn

GROUP = 16
"""Channels of a group of group normalisation (Wu & He, 2018); the widths of all our layers are multiples of 8."""

Norm = Callable[[int], nn.Module]
"""Makes the layer for so many channels."""


def group_norm(channels: int) -> nn.Module:
    """Return a layer that normalises each clip by itself."""
    return nn.GroupNorm(channels // math.gcd(channels, GROUP), channels)
