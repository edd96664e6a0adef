"""MobileFaceNet for spectrograms.

Chen et al., "MobileFaceNets" (2018), with the table of Liu et al., "Anomalous sound detection using spectral-temporal
information fusion" (ICASSP 2022), which has fewer and wider bottlenecks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from asd.models.norms import Norm

EMBEDDING_SIZE = 128

BOTTLENECKS = ((2, 128, 2, 2), (4, 128, 2, 2), (4, 128, 2, 2))
"""Expansion t, channels c, repeats n, stride s of the first repeat."""


def remaining(size: int) -> int:
    """Return what the four halvings before the global depthwise convolution leave of `size` bands or frames."""
    return -(-size // 16)


class MobileFaceNet(nn.Module):
    """(B, 1, F, T) -> (B, 128), for one F and one T.

    Its last convolution has a weight for every place of the plane, instead of averaging over them.
    """

    def __init__(self, bands: int, frames: int, norm: Norm) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(1, 64, 3, norm, stride=2), _conv(64, 64, 3, norm, groups=64)]
        channels = 64
        for expansion, width, repeats, stride in BOTTLENECKS:
            for repeat in range(repeats):
                layers.append(_Bottleneck(channels, width, expansion, stride if repeat == 0 else 1, norm))
                channels = width
        self.features = nn.Sequential(*layers, _conv(channels, 512, 1, norm))
        kernel = (remaining(bands), remaining(frames))
        self.global_depthwise = nn.Conv2d(512, 512, kernel, groups=512, bias=False)
        self.embedding = nn.Sequential(norm(512), nn.Conv2d(512, EMBEDDING_SIZE, 1, bias=False), norm(EMBEDDING_SIZE))

    def forward(self, x_B1FT: Tensor) -> Tensor:
        """Return the embeddings (B, 128)."""
        embedding_BD11: Tensor = self.embedding(self.global_depthwise(self.features(x_B1FT)))
        return embedding_BD11.flatten(1)


class _Bottleneck(nn.Module):
    """Widen by `expansion`, filter each channel, narrow again without a non-linearity."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int, norm: Norm) -> None:
        super().__init__()
        hidden = channels * expansion
        self.residual = stride == 1 and channels == width
        self.layers = nn.Sequential(
            _conv(channels, hidden, 1, norm),
            _conv(hidden, hidden, 3, norm, stride=stride, groups=hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            norm(width),
        )

    def forward(self, x_BCFT: Tensor) -> Tensor:
        y_BCFT: Tensor = self.layers(x_BCFT)
        return x_BCFT + y_BCFT if self.residual else y_BCFT


def _conv(channels: int, width: int, kernel: int, norm: Norm, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, norm(width), nn.PReLU(width))


def stretch(kernel_C1FT: Tensor, frames: int) -> Tensor:
    """Interpolate a kernel linearly along time to `frames`, keeping the sum of each of its rows.

    Each old tap hands out its whole weight to the new taps around it (a wider neighbourhood when the kernel shrinks,
    so that none is skipped). Equal sums keep the response to a steady sound.
    """
    old = kernel_C1FT.shape[-1]
    taps_11OO = torch.eye(old, dtype=torch.float64)[None, None]
    shares_ON = functional.interpolate(taps_11OO, (old, frames), mode="bilinear", antialias=True)[0, 0]
    shares_ON /= shares_ON.sum(1, keepdim=True)
    return (kernel_C1FT.double() @ shares_ON.to(kernel_C1FT.device)).to(kernel_C1FT.dtype)
