"""The encoders: a log-mel becomes an embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import MobileNetV2, resnet50

from asd.models import mobilefacenet, small
from asd.models.norms import Norm, group_norm
from asd.models.pooling import build_pooling

NAMES = ("small", "mobilenetv2", "mobilefacenet", "resnet50")

OWN_POOLING = {"small": "statistics", "mobilenetv2": "mean", "mobilefacenet": "places", "resnet50": "mean"}
"""How each pools unless asked otherwise; MobileFaceNet's convolution has a weight for every place of the plane."""


class Encoder(nn.Module):
    """A network from log-mels to embeddings.

    Attributes:
        name: one of `NAMES`.
        bands, frames: F and T of the log-mels that it is built for.
        embedding_size: D.
        pooling: how maps become the embedding; see `asd.models.pooling`.
    """

    def __init__(self, name: str, bands: int, frames: int, net: nn.Module, embedding_size: int, pooling: str) -> None:
        super().__init__()
        self.name = name
        self.bands = bands
        self.frames = frames
        self.pooling = pooling
        self.embedding_size = embedding_size
        self.net = net

    @property
    def any_frames(self) -> bool:
        """Whether it takes any T >= 1, and not only `frames`."""
        return self.name != "mobilefacenet"

    def forward(self, x_BFT: Tensor) -> Tensor:
        """Return float32 embeddings (B, D) of pre-normalised log-mels (B, F, T).

        Raises:
            ValueError: another shape than the network was built for.
        """
        self._check(x_BFT)
        embedding_BD: Tensor = self.net(x_BFT.unsqueeze(1))
        return embedding_BD.float()

    @property
    def summary_size(self) -> int:
        """Size of the summary; 0 for a network without one."""
        return self.net.summary_size if isinstance(self.net, small.Small) else 0

    def summary(self, x_BFT: Tensor) -> Tensor:
        """Return what an early layer makes of log-mels, (B, `summary_size`): nearer to the spectrum than the embedding.

        Raises:
            ValueError: a network without one; or another shape than it was built for.
        """
        if not isinstance(self.net, small.Small):
            raise ValueError(f"{self.name} has no summary")
        self._check(x_BFT)
        return self.net.summary(x_BFT.unsqueeze(1)).float()

    def _check(self, x_BFT: Tensor) -> None:
        shape = tuple(x_BFT.shape)
        least, most = (1, math.inf) if self.any_frames else (self.frames, self.frames)
        if len(shape) != 3 or shape[1] != self.bands or not least <= shape[2] <= most:
            frames = "1 or more" if self.any_frames else self.frames
            raise ValueError(f"{self.name} takes log-mels of shape (clips, {self.bands}, {frames}), not {shape}")


def build_encoder(
    name: str, bands: int, frames: int, *, width: float = 1.0, norm: str = "batch", pooling: str | None = None
) -> Encoder:
    """Build an encoder with random weights, drawn from torch's generator.

    Args:
        name: one of `NAMES`.
        bands, frames: F and T of its log-mels.
        width: factor on the channels of ``"mobilenetv2"``.
        norm: ``"batch"``, or ``"group"``: each clip is normalised by itself, whatever its company in the batch.
        pooling: one of `asd.models.pooling.NAMES`; none: the network's own, by `OWN_POOLING`.

    Raises:
        ValueError: unknown name or norm, bands or frames below 1, a width or a pooling for a network that has none.
    """
    if name not in NAMES or norm not in ("batch", "group"):
        raise ValueError(f"no encoder {name!r} with norm {norm!r}: known are {', '.join(NAMES)}; batch, group")
    if min(bands, frames) < 1:
        raise ValueError(f"bands = {bands}, frames = {frames}: both must be at least 1")
    if width != 1 and name != "mobilenetv2":
        raise ValueError(f"width = {width:g}: only mobilenetv2 has a width, not {name}")
    pooling = pooling or OWN_POOLING[name]
    if name == "mobilefacenet" and pooling != OWN_POOLING[name]:
        raise ValueError("mobilefacenet pools by a convolution of its own")
    layer = nn.BatchNorm2d if norm == "batch" else group_norm
    net: nn.Module
    if name == "small":
        net, size = small.Small(bands, layer, pooling), small.EMBEDDING_SIZE
    elif name == "mobilefacenet":
        net, size = mobilefacenet.MobileFaceNet(bands, frames, layer), mobilefacenet.EMBEDDING_SIZE
    elif name == "mobilenetv2":
        net, size = _mobilenetv2(bands, width, layer, pooling)
    else:
        net, size = _resnet50(bands, layer, pooling)
    return Encoder(name, bands, frames, net, size, pooling)


def _resnet50(bands: int, norm: Norm, pooling: str) -> tuple[nn.Module, int]:
    net = resnet50(weights=None, num_classes=1, norm_layer=norm)
    _keep_one_channel(net.conv1)
    net.avgpool, size = build_pooling(pooling, net.fc.in_features, _remaining(bands))
    net.fc = nn.Identity()
    return net, size


def _mobilenetv2(bands: int, width: float, norm: Norm, pooling: str) -> tuple[nn.Module, int]:
    net = MobileNetV2(num_classes=1, width_mult=width, norm_layer=norm)
    _keep_one_channel(net.features[0][0])
    pool, size = build_pooling(pooling, net.last_channel, _remaining(bands))
    return nn.Sequential(net.features, pool), size


def _remaining(size: int) -> int:
    """Return what the five halvings of ResNet-50 and MobileNetV2 leave of `size` bands."""
    return -(-size // 32)


def _keep_one_channel(stem: nn.Conv2d) -> None:
    """Turn a first layer for pictures into one for log-mels; its random weights do not depend on how many come in."""
    stem.in_channels = 1
    stem.weight = nn.Parameter(stem.weight.detach()[:, :1].clone())


def adapt_weights(encoder: Encoder, state: Mapping[str, Tensor], frames: int) -> tuple[dict[str, Tensor], str]:
    """Fit weights that were trained on clips of `frames` frames to `encoder`, which may have another T.

    Only MobileFaceNet depends on T: the kernel of its global depthwise convolution is interpolated.

    Returns:
        The weights, and a remark on what was done to them; empty where nothing was.
    """
    adapted, key = dict(state), "net.global_depthwise.weight"
    kernel_C1FT, wanted = adapted.get(key), mobilefacenet.remaining(encoder.frames)
    if encoder.any_frames or kernel_C1FT is None or kernel_C1FT.shape[-1] == wanted:
        return adapted, ""
    adapted[key] = mobilefacenet.stretch(kernel_C1FT, wanted)
    remark = (
        f"{encoder.name}: weights of {frames} frames taken to {encoder.frames}; the kernel of the global depthwise "
        f"convolution was interpolated linearly along time, {kernel_C1FT.shape[-1]} to {wanted}, its sum kept"
    )
    return adapted, remark
