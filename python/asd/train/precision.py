"""In which numbers a network computes."""

from __future__ import annotations

import torch

from asd.config import OptimiserConfig


def autocast(settings: OptimiserConfig, device: torch.device) -> torch.autocast:
    """Return the context in which a network runs: bfloat16 where it is wanted, or ``"auto"`` on a GPU that has it."""
    half = settings.precision == "bfloat16"
    if settings.precision == "auto" and device.type == "cuda":
        half = torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)
