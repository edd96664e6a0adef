"""What is shared among the processes of one training, where there are several (``torchrun``)."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the place of this process among them."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def gather(x_B: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; carries no gradient.

    Args:
        x_B: (B, ...) the same shape everywhere.

    Returns:
        (world_size · B, ...).
    """
    if world_size() == 1:
        return x_B
    each = [torch.empty_like(x_B) for _ in range(world_size())]
    distributed.all_gather(each, x_B.contiguous())
    return torch.cat(each)


def total(x: Tensor) -> Tensor:
    """Return the sum over all processes; carries no gradient."""
    if world_size() == 1:
        return x
    x = x.clone()
    distributed.all_reduce(x)
    return x
