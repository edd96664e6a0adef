"""A stretch of a window in place of the whole: less to compute, and no two looks alike."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from asd.train.draws import sent


def stretch(x_BFT: Tensor, frames: int, draw: np.random.Generator, hop: int = 1) -> Tensor:
    """Return of each clip `frames` frames, from a place that is drawn for it, a multiple of `hop`: (B, F, frames)."""
    clips, bands, there = x_BFT.shape
    if frames == there:
        return x_BFT
    first_B = hop * draw.integers(0, 1 + (there - frames) // hop, clips)
    frames_BT = sent(first_B[:, None] + np.arange(frames), x_BFT.device)
    return x_BFT.gather(2, frames_BT[:, None, :].expand(-1, bands, -1))


def part(x_BFT: Tensor, share: float, draw: np.random.Generator) -> Tensor:
    """Return a stretch of each clip that is `share` of its frames, but one frame at least."""
    return stretch(x_BFT, max(1, round(share * x_BFT.shape[2])), draw)
