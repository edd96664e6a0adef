"""Fine-tuning: a network learns to tell machines, sections and operating conditions apart, from normals alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from asd.config import Config
from asd.models import ranks
from asd.models.heads import Head
from asd.train import probe
from asd.train.draws import Purpose, generator, sent
from asd.train.held import Held
from asd.train.precision import autocast
from asd.train.stretch import part, stretch
from asd.train.supply import Views
from asd.train.variants import kinds, varies, vary
from asd.train.waves import Waves


class Classifier(nn.Module):
    """An encoder and the head that names classes."""

    def __init__(self, encoder: nn.Module, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x_BFT: Tensor, *labels: Tensor) -> list[Tensor]:
        """Return logits (B, C) for each set of labels (B,): the head's margin is in those of the labels.

        Clips that were mixed have two sets, and the head follows the first: that of the larger share.
        """
        embedding_BD = self.encoder(x_BFT)
        self.head.follow(embedding_BD, labels[0])
        return [self.head(embedding_BD, labels_B).float() for labels_B in labels]


class Finetune:
    """Classification as a task of the loop.

    Args:
        classifier: on its device.
        config: of the run.
        labels: class of every recording, by file number.
        held: what is probed.
        waves: for ``mixup = "wave"``.
    """

    def __init__(
        self,
        classifier: Classifier,
        config: Config,
        labels: Sequence[int],
        held: Held,
        waves: Waves | None = None,
    ) -> None:
        self.module: nn.Module = classifier
        self._classifier, self._config, self._waves = classifier, config, waves
        self._device = next(classifier.parameters()).device
        self._labels_F = torch.tensor(labels, device=self._device)
        self._run: nn.Module = classifier
        if ranks.world_size() > 1:
            self._run = DistributedDataParallel(classifier)
        if config.optimiser.compile:
            self._run = torch.compile(self._run)  # type: ignore[assignment]
        self._plain = torch.from_numpy(held.plain_PFT).to(self._device)
        self._labels_P = torch.from_numpy(held.labels_P).to(self._device)
        classifier.train()

    def loss(self, batch: Views, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross entropy of a batch, and the accuracy.

        Where clips are mixed so are labels, and the accuracy goes by those of the larger share.
        """
        settings, seed = self._config.classifier, self._config.seed
        # One view is enough. The feed makes two, which it normalises together; the other is not even copied to a GPU.
        x_BFT, labels_B = batch.views_VBFT[0], self._labels_F[batch.files_B]
        sets, shares = [labels_B], [1.0]
        if settings.mixup != "none":
            draw = generator(seed, step, Purpose.MIXUP, ranks.rank())
            share = float(draw.beta(settings.mixup_alpha, settings.mixup_alpha))
            partners_B = draw.permutation(len(x_BFT))
            x_BFT = self._mix(batch, x_BFT, partners_B, share)
            sets, shares = [labels_B, labels_B[sent(partners_B, self._device)]], [share, 1 - share]
            if share < 0.5:
                sets, shares = sets[::-1], shares[::-1]
        if varies(self._config.variants):
            draw = generator(seed, step, Purpose.VARIANTS, ranks.rank())
            varied_VBFT, kinds_B = vary(x_BFT[None], self._config.variants, draw)
            x_BFT, sets = varied_VBFT[0], [own_B * kinds(self._config.variants) + kinds_B for own_B in sets]
        x_BFT = self._stretch(x_BFT, step)
        with autocast(self._config.optimiser, self._device):
            logits = self._run(x_BFT, *sets)
        losses = [functional.cross_entropy(own_BC, own_B) for own_BC, own_B in zip(logits, sets, strict=True)]
        loss = torch.stack([share * own for share, own in zip(shares, losses, strict=True)]).sum()
        accuracy = (logits[0].detach().argmax(1) == sets[0]).double().mean()
        return loss, {"accuracy": accuracy}

    def after_step(self) -> None:
        """Nothing follows."""

    def _mix(self, batch: Views, x_BFT: Tensor, partners_B: NDArray[np.int64], share: float) -> Tensor:
        """Return share of each clip and the rest of its partner: of log-mels, or of the samples behind them.

        Labels are mixed alike (mixup, Zhang et al., 2018).
        """
        if self._waves is None:
            return share * x_BFT + (1 - share) * x_BFT[sent(partners_B, self._device)]
        return sent(self._waves.mixed(batch.windows_B, batch.windows_B[partners_B], share), self._device)

    def _stretch(self, x_BFT: Tensor, step: int) -> Tensor:
        """Return of each clip one of the stretches that a network of few frames scores by, or a part of the whole."""
        settings = self._config.classifier
        draw = generator(self._config.seed, step, Purpose.STRETCH, ranks.rank())
        if settings.frames is not None:
            return stretch(x_BFT, settings.frames, draw, settings.hop)
        return part(x_BFT, self._config.views.stretch, draw)

    @torch.no_grad()
    def probe(self) -> dict[str, float]:
        """Return how often the nearest held-out normals are of the same machine and section, by embedding."""
        if len(self._plain) < 3 or not bool((self._labels_P != self._labels_P[0]).any()):
            return {}
        encoder = self._classifier.encoder.eval()
        frames = self._config.classifier.frames
        plain_PFT = self._plain if frames is None else self._plain[:, :, :frames]
        embedded_PD = torch.cat([encoder(part_PFT).float() for part_PFT in torch.split(plain_PFT, 64)])
        encoder.train()
        return {"knn": probe.knn_accuracy(embedded_PD, self._labels_P), "uniformity": _spread(embedded_PD)}

    def warn(self, row: dict[str, Any]) -> str | None:
        """Say when all embeddings have become one point."""
        return probe.collapse(row, "embeddings")


def _spread(embedded_PD: Tensor) -> float:
    return probe.uniformity(functional.normalize(embedded_PD, dim=1))
