"""Mixed waveforms: samples of two recordings are added, and their log-mel is that of the sum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd import features, ready
from asd.config import FeatureSpec
from asd.corpus import Survey
from asd.errors import UsageError


class Waves:
    """The samples behind the windows of a training set.

    Args:
        paths: the recordings of the survey.
        survey: where their windows lie.
        spec: how they are read.
        threads: of the log-mels.

    Raises:
        UsageError: ready log-mels, which have no samples.
    """

    def __init__(self, paths: Sequence[Path], survey: Survey, spec: FeatureSpec, threads: int | None) -> None:
        if any(ready.is_ready(path) for path in paths):
            raise UsageError("ready log-mels have no samples to mix", "Take --set classifier.mixup=logmel.")
        self._paths, self._survey, self._spec, self._threads = paths, survey, spec, threads

    def mixed(self, windows_B: NDArray[np.int64], partners_B: NDArray[np.int64], share: float) -> NDArray[np.float32]:
        """Return pre-normalised log-mels (B, F, T) of share · window + (1 − share) · partner."""
        known = {int(w): self._read(int(w)) for w in np.unique(np.concatenate([windows_B, partners_B]))}
        waves_BN = np.stack(
            [
                np.float32(share) * known[int(a)] + np.float32(1 - share) * known[int(b)]
                for a, b in zip(windows_B, partners_B, strict=True)
            ]
        )
        logmel_BFT = features.logmel(waves_BN, self._spec, self._threads)
        return features.pre_normalise(logmel_BFT, self._survey.mean, self._survey.std, out=logmel_BFT)

    def _read(self, window: int) -> NDArray[np.float32]:
        """Return the samples of a window, at the spec's rate; a short recording is repeated."""
        path, start = self._paths[self._survey.files_N[window]], int(self._survey.starts_N[window])
        wave_CN, rate = features.read_audio(path)
        channel = self._spec.channel
        wave_N = wave_CN.mean(0) if channel == "mix" else wave_CN[channel]
        if rate != self._spec.sample_rate:
            wave_N = features.resample(wave_N, rate, self._spec.sample_rate)
        return np.resize(wave_N[start:], self._spec.clip_samples)
