"""Contrastive training: two views of a clip belong together, and where classes are known so do clips of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from asd.config import Config
from asd.models import ranks
from asd.models.moco import MoCo
from asd.train import probe
from asd.train.draws import Purpose, generator, sent
from asd.train.held import Held
from asd.train.precision import autocast
from asd.train.stretch import part
from asd.train.supply import Views
from asd.train.variants import kinds, varies, vary


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a class-conditioned training.

    Attributes:
        of_file: class of every recording, by file number.
        anchor: the class whose clips alone pass the query network; None: all do.
    """

    of_file: Sequence[int]
    anchor: int | None = None


class Contrastive:
    """Momentum contrast as a task of the loop.

    With variants of the spectrum each class falls into one for each kind of bump. In instance discrimination that
    leaves the rule that no key of the anchor's own recording is a negative: each recording and each variant of it is
    told from every other. Keys of the anchor's recording with its kind of bump are positives, with another kind
    negatives, or else nothing would teach a network how a bent spectrum differs from the straight one.

    Args:
        moco: on its device.
        config: of the run.
        classes: None is instance discrimination: every recording is its own class, or each of its variants.
        held: what is probed.
    """

    def __init__(self, moco: MoCo, config: Config, classes: Classes | None, held: Held) -> None:
        self.module: nn.Module = moco
        self._moco, self._config = moco, config
        self._device = next(moco.parameters()).device
        self._classes_F = None if classes is None else torch.tensor(classes.of_file, device=self._device)
        self._anchored_F = None
        if classes is not None and classes.anchor is not None:
            self._anchored_F = np.asarray(classes.of_file) == classes.anchor
        self._query: nn.Module = moco.query
        if ranks.world_size() > 1:
            self._query = DistributedDataParallel(moco.query)
        if config.optimiser.compile:
            self._query = torch.compile(self._query)  # type: ignore[assignment]
            moco.key.compile()
        self._plain = torch.from_numpy(held.plain_PFT).to(self._device)
        draw = generator(0, 0, Purpose.PROBE)
        views_VPFT = torch.from_numpy(held.views_VPFT).to(self._device)
        self._views = [part(x_PFT, config.views.stretch, draw) for x_PFT in views_VPFT]
        self._labels_P = torch.from_numpy(held.labels_P).to(self._device)
        self._brought: tuple[Tensor, Tensor, Tensor] | None = None
        moco.train()

    def loss(self, batch: Views, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the anchors of this process, and what to log."""
        seed, moco = self._config.seed, self._moco
        moco.follow()
        views_VBFT, files_B, sections_B = batch.views_VBFT, batch.files_B, self._sections(batch.files_B)
        if varies(self._config.variants):
            draw = generator(seed, step, Purpose.VARIANTS, ranks.rank())
            views_VBFT, kinds_B = vary(views_VBFT, self._config.variants, draw)
            sections_B = sections_B * kinds(self._config.variants) + kinds_B
        draw = generator(seed, step, Purpose.STRETCH, ranks.rank())
        first_BFT, second_BFT = (part(x_BFT, self._config.views.stretch, draw) for x_BFT in views_VBFT)
        rows_A, weight_A = self._anchors(batch.hosted_B)
        order = generator(seed, step, Purpose.KEYS).permutation(len(files_B) * ranks.world_size())
        with autocast(self._config.optimiser, self._device):
            keys_GD = moco.keys(second_BFT, sent(order, self._device))
            queries_AD = self._query(first_BFT if rows_A is None else first_BFT[rows_A]).float()
        first = ranks.rank() * len(files_B)
        own_BD = keys_GD[first : first + len(files_B)]
        pick = slice(None) if rows_A is None else rows_A
        conditioned = self._classes_F is not None or kinds(self._config.variants) > 1
        found = moco.contrast(
            queries_AD, own_BD[pick], files_B[pick], sections_B[pick] if conditioned else None, weight_A
        )
        self._brought = keys_GD, ranks.gather(files_B), ranks.gather(sections_B)
        return found.loss, {"positive": found.positive, "negative": found.negative}

    def after_step(self) -> None:
        """Put the keys of this step into the queue: the gradient no longer needs what they replace."""
        assert self._brought is not None
        self._moco.queue.push(*self._brought)
        self._brought = None

    def _sections(self, files_B: Tensor) -> Tensor:
        """Return the class of each row: without classes the recording itself."""
        return files_B if self._classes_F is None else self._classes_F[files_B]

    def _anchors(self, files_B: NDArray[np.int64]) -> tuple[Tensor | None, Tensor]:
        """Return the rows that pass the query network, None for all, and their weights.

        How many they are is found on the host: to ask a GPU would wait for all that it has still to do.
        """
        if self._anchored_F is None:
            return None, torch.ones(len(files_B), device=self._device)
        own_B = self._anchored_F[files_B]
        # Every process must take part in a step, and batch normalisation needs two rows: others stand in, of weight 0.
        rows_A = np.argsort(~own_B, kind="stable")[: max(2, own_B.sum())]
        return sent(rows_A, self._device), sent(own_B[rows_A].astype(np.float32), self._device)

    @torch.no_grad()
    def probe(self) -> dict[str, float]:
        """Return alignment and uniformity of projections, and nearest-neighbour figures of embeddings."""
        if len(self._plain) < 3:
            return {}
        branch = self._moco.query.eval()
        embedded = [_in_parts(branch.encoder, x_PFT) for x_PFT in (self._plain, *self._views)]
        first_PD, second_PD = branch.head(embedded[1]).float(), branch.head(embedded[2]).float()
        branch.train()
        found = {
            "alignment": probe.alignment(first_PD, second_PD),
            "uniformity": probe.uniformity(first_PD),
            "retrieval": probe.retrieval(embedded[1], embedded[2]),
        }
        if bool((self._labels_P != self._labels_P[0]).any()):
            found["knn"] = probe.knn_accuracy(embedded[0], self._labels_P)
        return found

    def warn(self, row: dict[str, Any]) -> str | None:
        """Say when all projections have become one point."""
        return probe.collapse(row, "projections")


def _in_parts(encoder: nn.Module, x_PFT: Tensor, size: int = 64) -> Tensor:
    return torch.cat([encoder(part_PFT).float() for part_PFT in torch.split(x_PFT, size)])


def anchor_shares(sections: Sequence[str], anchor: str) -> dict[str, int]:
    """Return shares of a batch: half for the anchor's section, the other half even over its siblings."""
    others = sorted(set(sections) - {anchor})
    return {anchor: len(others), **dict.fromkeys(others, 1)}


def numbers_of(names: Sequence[Any]) -> list[int]:
    """Return a number for every name, equal names alike, in the order of the names."""
    return np.unique(np.array([str(name) for name in names]), return_inverse=True)[1].tolist()  # type: ignore[no-any-return]
