"""Changed spectra as classes: a network that tells where a spectrum was bent knows how the straight one looks.

Every clip gets a smooth bump, up or down, in one of R regions of frequency, or none; its class is (own class, region).
What a machine's fault does to a spectrum then has a direction in the embedding, although no fault was ever heard. This
is ours, of no paper.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from asd.config import VariantsConfig
from asd.train.draws import sent


def kinds(settings: VariantsConfig) -> int:
    """Return into how many classes each class falls: one without a bump, and one a region."""
    return 1 + settings.regions


def varies(settings: VariantsConfig) -> bool:
    """Say whether clips are changed at all."""
    return settings.regions > 0 or settings.gain > 0


def vary(x_VBFT: Tensor, settings: VariantsConfig, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return the clips with their bumps, and the kind of each row, (B,): 0 without a bump, else its region from 1.

    All views of a row get the same bump. Its centre is uniform in its region, its width (the deviation of a Gaussian)
    and height vary by half, its sign is drawn. The log-mels are pre-normalised; where
    they were mixed or cropped, they are post-normalised.
    """
    views, clips, bands, _ = x_VBFT.shape
    kinds_B = draw.integers(0, kinds(settings), clips)
    centre_B = (kinds_B - 1 + draw.random(clips)) * bands / max(1, settings.regions)
    width_B = settings.width * (0.5 + draw.random(clips))
    height_B = settings.strength * (0.5 + draw.random(clips)) * draw.choice([-1.0, 1.0], clips) * (kinds_B > 0)
    bump_BF = height_B[:, None] * np.exp(-0.5 * ((np.arange(bands) - centre_B[:, None]) / width_B[:, None]) ** 2)
    level_VB = settings.gain * draw.standard_normal((views, clips))
    change_VBF = (level_VB[:, :, None] + bump_BF).astype(np.float32)
    device = x_VBFT.device
    return x_VBFT + sent(change_VBF, device)[..., None], sent(kinds_B, device)
