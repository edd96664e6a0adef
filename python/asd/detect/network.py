"""The network of a detector: windows become embeddings, and log-odds of the machines that a classifier tells apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asd.config import Frozen
from asd.detect.gaussian import Floats
from asd.errors import UsageError
from asd.features import pre_normalise

if TYPE_CHECKING:
    import torch

    from asd.models.encoders import Encoder

NETWORK = "network"
SUMMARY = "summary"
CLASSES = "classes"
"""The embeddings that a network gives, by name."""

BATCH = 64
"""Log-mels that pass the network at a time, at most."""

VARIANT = "/~"
"""Before the number of a variant, at the end of a class's name."""


class HeadFacts(Frozen):
    """The classifier that the network was trained with; see `asd.models.heads`.

    Attributes:
        classes: what each output stands for: ``"machine/section"``, or ``"machine/section/attributes"``; variants of
            a class, with a bent spectrum, end with ``"/~n"``.
        scale, margin, subcentres: as they were in training.
    """

    kind: Literal["softmax", "arcface", "subcentre-arcface", "adacos"]
    classes: tuple[str, ...] = Field(min_length=2)
    scale: float = Field(30.0, gt=0)
    margin: float = Field(0.7, ge=0)
    subcentres: int = Field(3, ge=1, le=64)


class NetworkFacts(Frozen):
    """Everything but the weights; stored in ``detector.json``.

    Attributes:
        encoder: name of the architecture; see `asd.models.encoders`.
        bands, frames: F and T of the log-mels that it takes.
        width, norm, pooling: of the encoder.
        mean, std: for pre-normalising.
        embedding_size: D.
        summary_size: S; 0 for an encoder without a summary.
        head: the classifier, where one was trained.
        score_hop: the encoder takes stretches of a window, which start every so many frames; their embeddings and
            log-odds are averaged. None: it takes whole windows.
    """

    encoder: Literal["small", "mobilenetv2", "mobilefacenet", "resnet50"]
    bands: int = Field(ge=1, le=512)
    frames: int = Field(ge=1, le=2**20)
    width: float = Field(1.0, ge=0.1, le=4)
    norm: Literal["batch", "group"] = "batch"
    pooling: Literal["mean", "statistics", "bands"] | None = None
    mean: float
    std: float = Field(gt=0)
    embedding_size: int = Field(ge=1, le=2**16)
    summary_size: int = Field(0, ge=0, le=2**16)
    head: HeadFacts | None = None
    score_hop: int | None = Field(None, ge=1)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The ``"machine/section"`` of each column of the ``"classes"`` embedding; empty where there is none.

        There is none without a classifier, and where all of its classes are of one section: then there are no odds.
        """
        classes = self.head.classes if self.head else ()
        places = tuple(dict.fromkeys(map(_place, classes)))
        return places if len(places) > 1 else ()

    def takes(self, bands: int, frames: int) -> bool:
        """Say whether windows of this shape suit the network."""
        return bands == self.bands and (frames == self.frames or (self.score_hop is not None and frames > self.frames))


@dataclass(frozen=True, eq=False)
class Network:
    """An encoder, and perhaps a classifier, for use only: both are put into evaluation mode.

    It works on the device that the encoder lies on, in float32. A recording's embedding depends on no other recording.
    """

    about: NetworkFacts
    encoder: Encoder
    head: torch.nn.Module | None = None

    def __post_init__(self) -> None:
        self.encoder.eval()
        if self.head is not None:
            self.head.eval()

    def embed(self, logmel_WFT: NDArray[np.float32]) -> dict[str, Floats]:
        """Return the embeddings of windows.

        Args:
            logmel_WFT: W >= 1, natural logarithm, as read: this pre-normalises them.

        Returns:
            ``"network"`` (W, D); of an encoder that has one ``"summary"`` (W, S); with a classifier ``"classes"``
            (W, P): for each of the P sections of `NetworkFacts.places` log(1 − p) − log(p), p the probability of all
            its classes together. Its own spectrum when bent is none of them: that is what a fault may do.
        """
        import torch

        found: dict[str, list[torch.Tensor]] = {}
        with torch.inference_mode(), _exact():
            for x_BFT in self._inputs(logmel_WFT):
                batches = [self._pass(x_BFT[start : start + BATCH]) for start in range(0, len(x_BFT), BATCH)]
                for name in batches[0]:
                    rows_B = torch.cat([batch[name] for batch in batches])
                    found.setdefault(name, []).append(rows_B if self.about.score_hop is None else rows_B.mean(0)[None])
        return {name: torch.cat(rows).numpy() for name, rows in found.items()}

    def _inputs(self, logmel_WFT: NDArray[np.float32]) -> Iterator[torch.Tensor]:
        """Yield windows, some at a time, or the stretches of one window after the other."""
        import torch

        hop, size = self.about.score_hop, BATCH if self.about.score_hop is None else 1
        for start in range(0, len(logmel_WFT), size):
            x_BFT = pre_normalise(logmel_WFT[start : start + size], self.about.mean, self.about.std)
            windows_BFT = torch.from_numpy(x_BFT)
            yield windows_BFT if hop is None else windows_BFT[0].unfold(1, self.about.frames, hop).transpose(0, 1)

    def _pass(self, x_BFT: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the embeddings of one batch, float64 on the CPU."""
        import torch

        device = next(self.encoder.parameters()).device
        embedding_BD = self.encoder(x_BFT.contiguous().to(device))
        embeddings = {NETWORK: embedding_BD.double().cpu()}
        if self.about.summary_size:
            embeddings[SUMMARY] = self.encoder.summary(x_BFT.contiguous().to(device)).double().cpu()
        if self.head is not None and self.about.places:
            logits_BC = self.head(embedding_BD).double().cpu()
            odds = [
                logits_BC[:, ~own_C].logsumexp(1) - logits_BC[:, own_C].logsumexp(1)
                for own_C in self._classes_of_places
            ]
            embeddings[CLASSES] = torch.stack(odds, 1)
        return embeddings

    @cached_property
    def _classes_of_places(self) -> list[torch.Tensor]:
        """For each place, which classes are its own and no variants, (C,) bool."""
        import torch

        classes = self.about.head.classes if self.about.head else ()
        return [torch.tensor([_place(c) == place and VARIANT not in c for c in classes]) for place in self.about.places]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all weights, for storage."""
        stored = {}
        for prefix, module in self._modules().items():
            for key, value in module.state_dict().items():
                stored[f"{NETWORK}/{prefix}/{key}"] = value.detach().cpu().numpy()
        return stored

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"encoder": self.encoder} | ({"head": self.head} if self.head is not None else {})

    @classmethod
    def from_arrays(cls, about: NetworkFacts, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild a network from `arrays`, on the first GPU where there is one.

        Raises:
            UsageError: PyTorch is not installed.
            ValueError: weights are missing, too many, not finite, or of another shape or type.
        """
        check_torch()
        import torch

        from asd.models import encoders, heads

        head = None
        with torch.device("meta"):  # draws no random weights
            shape = about.encoder, about.bands, about.frames
            encoder = encoders.build_encoder(*shape, width=about.width, norm=about.norm, pooling=about.pooling)
            for size in ("embedding_size", "summary_size"):
                if getattr(encoder, size) != getattr(about, size):
                    raise ValueError(f"{size} {getattr(about, size)}, the encoder's is {getattr(encoder, size)}")
            if facts := about.head:
                head = heads.build_head(
                    facts.kind,
                    about.embedding_size,
                    len(facts.classes),
                    scale=facts.scale,
                    margin=facts.margin,
                    subcentres=facts.subcentres,
                )
        network = cls(about, encoder, head)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        for prefix, module in network._modules().items():
            start = f"{NETWORK}/{prefix}/"
            _fill(module, {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)})
            module.requires_grad_(False).to(device)
        return network


def check_torch() -> None:
    """Make sure that networks can be used.

    Raises:
        UsageError: PyTorch is not installed.
    """
    try:
        for module in ("torch", "torchvision"):
            import_module(module)
    except ImportError as error:
        raise UsageError(
            f"this detector has a network, which needs PyTorch ({error})",
            "Install it: pip install 'machine-asd[train]'",
        ) from error


@contextmanager
def _exact() -> Iterator[None]:
    """Compute in float32 throughout: TF32 keeps 10 bits of 23, and a threshold made on a GPU must hold on a CPU."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def _fill(module: torch.nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give a module without weights those of `arrays`. Raises ValueError where they do not fit."""
    import torch

    weights = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    for key, value in module.state_dict().items():
        if key not in weights:
            raise ValueError(f"no weights {key}")
        if weights[key].dtype != value.dtype or not weights[key].isfinite().all():
            raise ValueError(f"weights {key}: {weights[key].dtype}, or not finite")
    try:
        module.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _place(name: str) -> str:
    """Return the ``"machine/section"`` of a class."""
    return "/".join(name.split("/")[:2])
