"""What is kept of every recording that was heard: its score by window, its health, its time, its nearest normal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.data.catalog import Clip
from asd.data.names import recorded_at
from asd.detect.detector import Score
from asd.detect.gaussian import Floats, Gaussian
from asd.features import Health


class NearestNormal:
    """Finds the training normal that a window resembles most, in the whitened space of its section."""

    def __init__(self, embeddings: Mapping[str, NDArray[Any]], gaussians: Mapping[str, Gaussian]) -> None:
        """Whiten the training normals once.

        Args:
            embeddings: ``"<section>/train"`` (N, D) and ``"<section>/train_files"`` (N,), as in
                ``embeddings.npz``.
            gaussians: of the detector's baseline.
        """
        self._gaussians = gaussians
        self._files = {s: embeddings[f"{s}/train_files"] for s in gaussians}
        self._whitened = {s: g.whiten(embeddings[f"{s}/train"].astype(np.float64)) for s, g in gaussians.items()}

    def find(self, section: str, features_D: Floats) -> str:
        """Return the file of the nearest normal."""
        whitened_D = self._gaussians[section].whiten(features_D[None])[0]
        squares_N = np.square(self._whitened[section] - whitened_D).sum(1)
        return str(self._files[section][squares_N.argmin()])


def record(clip: Clip, score: Score, severity: float, health: Health, nearest: str | None = None) -> dict[str, Any]:
    """Return the line of ``recordings.jsonl`` or ``normals.jsonl`` for a recording."""
    time, source = recorded_at(clip.path)
    return {
        "path": clip.name,
        "file": str(clip.path),
        "machine": score.machine,
        "section": score.section,
        "domain": clip.domain,
        "label": clip.label,
        "score": score.score,
        "threshold": score.threshold,
        "severity": severity,
        "anomalous": score.anomalous,
        "windows": [list(w) for w in score.windows],
        "nearest": nearest,
        "time": time.isoformat() if time else None,
        "time_source": source,
        "seconds": health.seconds,
        "rate": health.rate,
        "channels": health.channels,
        "rms_dbfs": health.rms_dbfs,
        "peak_dbfs": health.peak_dbfs,
        "clipped": health.clipped,
        "silent": health.is_silent,
        "truncated": health.truncated,
    }


def unscored(clip: Clip, score: Score, health: Health) -> dict[str, Any]:
    """Return the line of a normal that has no score, because a network was trained on it."""
    return record(clip, score, 0.0, health) | {"score": None, "severity": None}
