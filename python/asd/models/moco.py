"""Momentum contrast: a query network, a key network that follows it, and a queue of keys to compare with.

He et al. 2020, "Momentum Contrast for Unsupervised Visual Representation Learning"; with classes, the supervised
contrastive loss of Khosla et al. 2020, mean over positives outside the logarithm.

Axes: A anchors (the rows that pass the query network), B clips, D size of the projection, K keys in the queue.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from asd.models import ranks
from asd.models.encoders import Encoder
from asd.models.heads import Projection

EMPTY = -1
"""File of a place in the queue that holds no key yet."""

SMALLEST_GROUP, GROUPS = 8, 8
"""Keys are encoded in groups of an eighth of the batch, of eight clips at least."""

SMALLEST_SPLIT = 4
"""Rows that make two groups, at least: batch normalisation needs two in each."""


class Branch(nn.Module):
    """An encoder and the head that projects its embedding to where views are compared."""

    def __init__(self, encoder: Encoder, projection: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = Projection(encoder.embedding_size, projection)

    def forward(self, x_BFT: Tensor) -> Tensor:
        """Return the projection, (B, D), of length 1."""
        return self.head(self.encoder(x_BFT))  # type: ignore[no-any-return]


class Queue(nn.Module):
    """The latest keys, each with its file and its section; a ring that starts empty.

    The same on every process of a training: each pushes the rows of all.
    """

    keys_KD: Tensor
    files_K: Tensor
    sections_K: Tensor
    at: Tensor

    def __init__(self, size: int, projection: int) -> None:
        super().__init__()
        self.register_buffer("keys_KD", torch.zeros(size, projection))
        self.register_buffer("files_K", torch.full((size,), EMPTY))
        self.register_buffer("sections_K", torch.full((size,), EMPTY))
        self.register_buffer("at", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys_BD: Tensor, files_B: Tensor, sections_B: Tensor) -> None:
        """Replace the oldest keys; B must divide the size of the queue."""
        size, count = len(self.keys_KD), len(keys_BD)
        if size % count:
            raise ValueError(f"queue_size {size} is not a multiple of the {count} keys that a step brings")
        # Indices, not a slice: where to write lies on the device, and nobody waits for it.
        rows_B = self.at + torch.arange(count, device=self.at.device)
        self.keys_KD[rows_B], self.files_K[rows_B], self.sections_K[rows_B] = keys_BD, files_B, sections_B
        self.at.add_(count).remainder_(size)


@dataclass(frozen=True, slots=True)
class Contrast:
    """What a step found; scalars.

    Attributes:
        loss: mean over the anchors of this process, weighted so that the mean over processes is that over all anchors.
        positive, negative: mean cosine between an anchor and its other view, and the keys that are its negatives.
    """

    loss: Tensor
    positive: Tensor
    negative: Tensor


class MoCo(nn.Module):
    """Query and key networks with their queue.

    Args:
        encoder: maps (B, F, T) to (B, ``embedding_size``).
        projection: D.
        queue_size: K.
        momentum: m of θ_k ← m·θ_k + (1−m)·θ_q.
        temperature: τ.
    """

    def __init__(
        self, encoder: Encoder, *, projection: int, queue_size: int, momentum: float, temperature: float
    ) -> None:
        super().__init__()
        self.query = Branch(encoder, projection)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        _forget_statistics(self.key)
        self.queue = Queue(queue_size, projection)
        self.momentum, self.temperature = momentum, temperature

    @torch.no_grad()
    def follow(self) -> None:
        """Move the key network towards the query network (eq. 2 of arXiv 2509.15570)."""
        keys: list[Tensor] = [*self.key.parameters()]
        queries: list[Tensor] = [*self.query.parameters()]
        torch._foreach_lerp_(keys, queries, 1 - self.momentum)

    @torch.no_grad()
    def keys(self, views_BFT: Tensor, order_G: Tensor) -> Tensor:
        """Return the keys of the rows of all processes, (G, D) for G = world_size · B rows.

        Batch normalisation would tell a query which keys belong to its batch, because both carry the traces of the
        same company. So the rows are permuted and encoded in small groups, whose members are not those of the query's
        batch; that holds over several processes, too, whose rows are permuted together. A batch of one process is cut
        in two at least: in one group every key would have its query's company. Below `SMALLEST_SPLIT` it cannot be.

        Args:
            views_BFT: second views of the rows of this process.
            order_G: a permutation of the rows of all processes, the same on each.
        """
        count, first = len(views_BFT), ranks.rank() * len(views_BFT)
        own_B = order_G[first : first + count]
        mixed_BFT = ranks.gather(views_BFT)[own_B]
        size = max(SMALLEST_GROUP, len(order_G) // GROUPS)
        least = 2 if count >= SMALLEST_SPLIT and count == len(order_G) else 1
        groups = torch.tensor_split(mixed_BFT, max(least, count // size))
        keys_GD = ranks.gather(torch.cat([self.key(group).float() for group in groups]))
        ordered_GD = torch.empty_like(keys_GD)
        ordered_GD[order_G] = keys_GD
        return ordered_GD

    def contrast(
        self, queries_AD: Tensor, own_AD: Tensor, files_A: Tensor, sections_A: Tensor | None, weight_A: Tensor
    ) -> Contrast:
        """Compare queries with their own keys and with the queue.

        Args:
            queries_AD: projections of the anchors' first views, of length 1.
            own_AD: keys of their second views.
            files_A: recording of each anchor. Without sections, keys of the same recording are no negatives.
            sections_A: class of each anchor: keys of the same class are positives, all others negatives. None: every
                recording is its own class, and the own key the only positive.
            weight_A: 1, or 0 for a row that only stands in where a process has no anchor.
        """
        own_A = (queries_AD * own_AD).sum(1)
        others_AK = queries_AD @ self.queue.keys_KD.T
        filled_K = self.queue.files_K != EMPTY
        if sections_A is None:
            loss_A, negatives_AK = instance_loss(
                own_A, others_AK, filled_K & (files_A[:, None] != self.queue.files_K), self.temperature
            )
        else:
            same_AK = filled_K & (sections_A[:, None] == self.queue.sections_K)
            loss_A, negatives_AK = class_loss(own_A, others_AK, same_AK, filled_K & ~same_AK, self.temperature)
        counted_A = weight_A * negatives_AK.any(1)
        everywhere = ranks.total(counted_A.sum())
        loss = (loss_A * counted_A).sum() * (ranks.world_size() / everywhere.clamp_min(1))
        with torch.no_grad():
            chosen_AK = negatives_AK * weight_A[:, None]
            negative = (others_AK * chosen_AK).sum() / chosen_AK.sum().clamp_min(1)
            positive = (own_A * weight_A).sum() / weight_A.sum().clamp_min(1)
        return Contrast(loss, positive, negative)


def _forget_statistics(network: nn.Module) -> None:
    """Keep no running statistics of a network that is only ever trained: they take time with each batch."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False


def instance_loss(own_A: Tensor, others_AK: Tensor, negatives_AK: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return −log exp(own/τ) / (exp(own/τ) + Σ exp(negatives/τ)) of each anchor, (A,), and its negatives, (A, K)."""
    logits_AK = (others_AK / temperature).masked_fill(~negatives_AK, -torch.inf)
    logits_AL = torch.cat([own_A[:, None] / temperature, logits_AK], 1)
    loss_A = functional.cross_entropy(logits_AL, own_A.new_zeros(len(own_A), dtype=torch.int64), reduction="none")
    return loss_A, negatives_AK


def class_loss(
    own_A: Tensor, others_AK: Tensor, same_AK: Tensor, negatives_AK: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the mean over positives p of −log exp(p/τ) / Σ exp(·/τ) over all keys, (A,), and the negatives, (A, K)."""
    own_A, others_AK = own_A / temperature, others_AK / temperature
    all_AK = others_AK.masked_fill(~(same_AK | negatives_AK), -torch.inf)
    denominator_A = torch.logsumexp(torch.cat([own_A[:, None], all_AK], 1), 1)
    positives_A = own_A + torch.where(same_AK, others_AK, 0).sum(1)
    return denominator_A - positives_A / (1 + same_AK.sum(1)), negatives_AK
