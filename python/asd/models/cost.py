"""What an encoder costs, found without running it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from asd.models.encoders import Encoder


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of an encoder.

    Attributes:
        parameters: weights and biases.
        flops: floating-point operations of one clip of its (F, T), forward; a multiplication and an addition are two.
            Convolutions and matrix products only.
    """

    parameters: int
    flops: int


def cost(encoder: Encoder) -> Cost:
    """Count on torch's meta device, where tensors have shapes and no memory; `encoder` is left as it is."""
    tensors = {**dict(encoder.named_parameters()), **dict(encoder.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    # Two clips: in training mode a single one may leave batch normalisation a single value.
    x_BFT = torch.empty(2, encoder.bands, encoder.frames, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        functional_call(encoder, shapes, (x_BFT,))
    return Cost(sum(p.numel() for p in encoder.parameters()), counter.get_total_flops() // 2)


def training_bytes(encoder: Encoder, frames: int) -> int:
    """Return the memory that a clip of `frames` frames takes in training: what backpropagation keeps of it, in float32.

    Found on the meta device; weights and what is computed on the way do not count.
    """
    net = copy.deepcopy(encoder).to("meta").train()
    weights = {tensor.untyped_storage()._cdata for tensor in (*net.parameters(), *net.buffers())}
    kept: dict[int, UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that no other storage takes its place
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        embedding_BD = net(torch.empty(2, encoder.bands, frames, device="meta"))
    assert embedding_BD.requires_grad
    return sum(storage.nbytes() for storage in kept.values()) // 2
