"""In which numbers a network computes, and how they lie in memory."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from asd.config import OptimiserConfig

M = TypeVar("M", bound=nn.Module)


def autocast(settings: OptimiserConfig, device: torch.device) -> torch.autocast:
    """Return the context in which a network runs: bfloat16 where it is wanted, or ``"auto"`` on a GPU that has it."""
    half = settings.precision == "bfloat16"
    if settings.precision == "auto" and device.type == "cuda":
        half = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


def placed(module: M, device: torch.device) -> M:
    """Move a network to its device; on a GPU with channels last, as its matrix units take them.

    Convolutions hand on what the weights ask for, so that inputs may lie as they do.
    """
    if device.type == "cuda":
        return module.to(device, memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]
    return module.to(device)
