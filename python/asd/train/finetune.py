"""Fine-tuning: a network learns to tell machines, sections and operating conditions apart, from normals alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from asd.config import Config
from asd.data.catalog import Clip
from asd.models import ranks
from asd.train import probe
from asd.train.draws import Purpose, generator
from asd.train.held import Held
from asd.train.precision import autocast
from asd.train.supply import Views
from asd.train.variants import kinds, vary


class Classifier(nn.Module):
    """An encoder and the head that names classes."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x_BFT: Tensor, labels_B: Tensor | None = None) -> Tensor:
        """Return logits, (B, C); with labels the head's margin is in them."""
        return self.head(self.encoder(x_BFT), labels_B)  # type: ignore[no-any-return]


class Finetune:
    """Classification as a task of the loop.

    Args:
        classifier: on its device.
        config: of the run.
        labels: class of every recording, by file number.
        held: what is probed.
        waves: for ``mixup = "wave"``: returns pre-normalised log-mels of mixed waveforms, see `asd.train.waves`.
    """

    def __init__(
        self,
        classifier: Classifier,
        config: Config,
        labels: Sequence[int],
        held: Held,
        waves: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
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
        self._held_labels_P = torch.from_numpy(held.labels_P).to(self._device)
        classifier.train()

    def loss(self, batch: Views, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross entropy of a batch, of mixed labels where clips are mixed, and the accuracy."""
        settings, seed = self._config.classifier, self._config.seed
        x_BFT, labels_B = batch.views_VBFT[0], self._labels_F[batch.files_B]
        if kinds(self._config.variants) > 1:
            draw = generator(seed, step, Purpose.VARIANTS, ranks.rank())
            varied_VBFT, kinds_B = vary(x_BFT[None], self._config.variants, draw)
            x_BFT, labels_B = varied_VBFT[0], labels_B * kinds(self._config.variants) + kinds_B
        partner_B, share = None, 1.0
        if settings.mixup != "none":
            draw = generator(seed, step, Purpose.MIXUP, ranks.rank())
            share = float(draw.beta(settings.mixup_alpha, settings.mixup_alpha))
            partner_B = torch.from_numpy(draw.permutation(len(x_BFT))).to(self._device)
            x_BFT = share * x_BFT + (1 - share) * x_BFT[partner_B]
        if settings.frames is not None:
            x_BFT = self._stretches(x_BFT, step)
        with autocast(self._config.optimiser, self._device):
            # One pass of the encoder; the margin belongs to a label, so the head runs once a label.
            logits_BC, mixed_BC = self._logits(x_BFT, labels_B, partner_B)
        loss = functional.cross_entropy(logits_BC.float(), labels_B)
        if mixed_BC is not None and partner_B is not None:
            loss = share * loss + (1 - share) * functional.cross_entropy(mixed_BC.float(), labels_B[partner_B])
        accuracy = (logits_BC.detach().argmax(1) == labels_B).double().mean()
        return loss, {"accuracy": accuracy}
