"""Which normals are held out of training, and what a probe needs of them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd import augment, features
from asd.config import Config
from asd.corpus import Survey
from asd.data.catalog import Clip, session_of
from asd.events import Event, Progress
from asd.train.fit import views_settings

SHARE = 0.1
FEWEST = 10
PROBED = 512
"""Held-out windows that a probe looks at, at most."""


def hold_out(clips: Sequence[Clip], session_regex: str) -> tuple[list[Clip], list[Clip]]:
    """Return the normals to train on, and max(10, 10 %) of each section, at most half, that no network sees.

    They are the first in the order of a hash of their file names, so that a recording that is added moves few others;
    or of their sessions, which stay together, in all sections of a machine.
    """
    units: dict[tuple[str, str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        session = session_of(clip, session_regex or None)
        unit = (clip.machine, "", session) if session_regex else (clip.machine, clip.section, clip.path.name)
        units[unit].append(clip)
    sizes = Counter(map(_section, clips))
    taken: Counter[tuple[str, str]] = Counter()
    held: set[Clip] = set()
    for unit in sorted(units, key=lambda unit: _hash(unit[2])):
        own = Counter(map(_section, units[unit]))
        wanted = any(taken[s] < max(FEWEST, math.ceil(SHARE * sizes[s])) for s in own)
        if wanted and all(taken[s] + count <= sizes[s] // 2 for s, count in own.items()):
            taken += own
            held.update(units[unit])
    return [c for c in clips if c not in held], [c for c in clips if c in held]


def _section(clip: Clip) -> tuple[str, str]:
    return clip.machine, clip.section


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()


@dataclass(frozen=True, slots=True)
class Held:
    """Windows of held-out normals.

    Attributes:
        plain_PFT: pre-normalised log-mels, the first window of each recording.
        views_VPFT: two views of each, or (2, 0, F, T) where nobody looks at them.
        labels_P: class of each, as numbers.
    """

    plain_PFT: NDArray[np.float32]
    views_VPFT: NDArray[np.float32]
    labels_P: NDArray[np.int64]


def read_held(clips: Sequence[Clip], survey: Survey, config: Config, views: bool) -> Generator[Event, None, Held]:
    """Read held-out recordings for a probe; those that cannot be read are left out.

    Args:
        views: make views of them.
    """
    chosen = sorted(clips, key=lambda clip: _hash(clip.path.name))[:PROBED]
    kept: list[Clip] = []
    windows = []
    recordings = features.read_recordings([c.path for c in chosen], config.features, config.threads)
    for done, (clip, recording) in enumerate(zip(chosen, recordings, strict=True), 1):
        yield Progress("reading held-out normals", done, len(chosen))
        if isinstance(recording, features.Unreadable) or recording.logmel_WFT.shape[2] != survey.frames:
            continue
        kept.append(clip)
        windows.append(recording.logmel_WFT[0])
    shape = (0, config.features.n_mels, survey.frames)
    plain_PFT = np.ascontiguousarray(np.stack(windows) if windows else np.empty(shape), dtype=np.float32)
    features.pre_normalise(plain_PFT, survey.mean, survey.std, out=plain_PFT)
    classes = [(c.machine, c.section) for c in kept]
    numbers = {name: i for i, name in enumerate(sorted(set(classes)))}
    labels_P = np.array([numbers[name] for name in classes], np.int64)
    return Held(plain_PFT, _views(plain_PFT if views else plain_PFT[:0], survey, config), labels_P)


def _views(plain_PFT: NDArray[np.float32], survey: Survey, config: Config) -> NDArray[np.float32]:
    """Return views as training has them, drawn once and for all."""
    views_VPFT = np.empty((2, *plain_PFT.shape), np.float32)
    if len(plain_PFT):
        mean, std = survey.mean, survey.std
        augment.two_views(
            plain_PFT, None, out=views_VPFT, mean=mean, std=std, spec=config.features, **views_settings(config)
        )
    return views_VPFT
