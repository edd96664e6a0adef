"""Recordings -> log-mels: the door to `asd._dsp`, where decoding, resampling and log-mels are computed.

Axes: B clips, W windows of a recording, F mel bands, T frames, N samples, C channels.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from asd import _dsp, ready
from asd.config import FeatureSpec
from asd.errors import DataError, UsageError

CHUNK_FILES = 64
CHUNK_BYTES = 256 * 2**20
"""What is read at a time: so much is in memory at most, whatever the number of recordings."""

SILENT_PEAK = 2.0**-15
"""A recording whose loudest sample is smaller than one step of 16 bits is silent."""

CLIPPED_SHARE = 1e-4
"""A recording with a larger share of its samples at full scale is clipped."""

DBFS_FLOOR = -200.0
"""Level given to digital silence, which has none in dB; below the last bit of 32-bit samples."""

_DEFAULT = FeatureSpec()


@dataclass(frozen=True, slots=True)
class Health:
    """What a recording is like as stored, on the channel that is used. None where a ready log-mel cannot say.

    Attributes:
        rate: Hz, of the file.
        channels: in the file.
        seconds: length.
        peak, rms: 1 is full scale.
        clipped: share of the samples at full scale.
        truncated: the header promises more samples than the file holds.
        digest: equal for recordings of the same samples.
    """

    rate: int | None
    channels: int | None
    seconds: float | None
    peak: float | None
    rms: float | None
    clipped: float | None
    truncated: bool
    digest: str | None

    @property
    def rms_dbfs(self) -> float | None:
        """Level in dB below full scale."""
        return _dbfs(self.rms)

    @property
    def peak_dbfs(self) -> float | None:
        """Largest magnitude in dB below full scale."""
        return _dbfs(self.peak)

    @property
    def is_silent(self) -> bool:
        """Nothing reaches one step of 16 bits."""
        return self.peak is not None and self.peak < SILENT_PEAK

    @property
    def is_clipped(self) -> bool:
        """More than one sample in 10,000 is at full scale."""
        return self.clipped is not None and self.clipped > CLIPPED_SHARE


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that was read.

    Attributes:
        logmel_WFT: natural logarithm, float32.
        starts_W: where each window starts, in seconds.
    """

    path: Path
    logmel_WFT: NDArray[np.float32]
    starts_W: NDArray[np.float64]
    health: Health


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no usable recording: why, and what to do about it."""

    path: Path
    reason: str
    hint: str

    def error(self) -> DataError:
        """Return the error that names the file."""
        return DataError(f"{self.path}: {self.reason}", self.hint)


def logmel(
    waves_BN: NDArray[np.float32] | NDArray[np.int16],
    spec: FeatureSpec = _DEFAULT,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return the log-mels of a batch of waves, float32 (B, F, T), T = 1 + N // hop_length; nothing is cropped.

    ln(mel + eps) of the power spectrum of centred, reflect-padded frames under a periodic Hann window. The bytes
    do not depend on `threads`.

    Args:
        waves_BN: C-contiguous samples at ``spec.sample_rate``: float32 in [-1, 1], or int16.
        spec: the recipe.
        threads: 1 to 1024; None takes all that this process may use.
        out: C-contiguous float32 (B, F, T) to write into, and to return.

    Raises:
        ValueError: an argument of another type, shape or layout, N not above n_fft / 2, or NaN or infinite
            samples; `out` is then undefined.
    """
    front = kernel(spec)
    if not isinstance(waves_BN, np.ndarray) or waves_BN.ndim != 2:
        got = f"shape {waves_BN.shape}" if isinstance(waves_BN, np.ndarray) else type(waves_BN).__name__
        raise ValueError(f"waves: expected float32 or int16 of shape (B, N), got {got}")
    if out is None:
        clips, samples = waves_BN.shape
        out = np.empty((clips, spec.n_mels, front.frames(samples)), np.float32)
    front.batch(waves_BN, out, threads_or_all(threads))
    return out


def pre_normalise(
    logmel: NDArray[np.float32], mean: float, std: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return (logmel - mean) · (1 / std) in float32, of any shape: what encoders and augmentation take."""
    factor = np.float32(1) / np.float32(std)
    out = np.subtract(logmel, np.float32(mean), out=out)
    return np.multiply(out, factor, out=out)


def read_logmel(path: str | Path, spec: FeatureSpec = _DEFAULT) -> NDArray[np.float32]:
    """Return the log-mel of a recording's first window, float32 (F, T), natural logarithm.

    The file is decoded, one channel chosen, resampled, its first ``clip_seconds`` taken (or, if it is shorter,
    itself repeated). An ``.npy`` is a ready log-mel.

    Raises:
        DataError: the file cannot be read.
    """
    (recording,) = read_recordings([path], spec)
    if isinstance(recording, Unreadable):
        raise recording.error()
    return np.ascontiguousarray(recording.logmel_WFT[0])


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Return the samples of a WAV or FLAC file as stored, float32 (C, N) in [-1, 1], and their rate in Hz.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return _dsp.read_audio(path)
    except _dsp.DspError as error:
        reason, hint = error.args
        raise Unreadable(Path(path), reason, hint).error() from None


def read_recordings(
    paths: Iterable[str | Path], spec: FeatureSpec, threads: int | None = None
) -> Iterator[Recording | Unreadable]:
    """Yield every recording with the log-mels of all its windows, in order; memory does not grow with their number.

    Args:
        paths: WAV, FLAC, or ready log-mels (``.npy``).
        threads: 1 to 1024; None takes all that this process may use.
    """
    front, width = kernel(spec), threads_or_all(threads)
    channel = None if spec.channel == "mix" else spec.channel
    for chunk in _chunks(map(Path, paths)):
        audio = [path for path in chunk if not ready.is_ready(path)]
        results = iter(
            front.read([os.fspath(p) for p in audio], spec.clip_samples, channel, spec.allow_upsampling, width)
        )
        for path in chunk:
            yield _ready(path, spec) if ready.is_ready(path) else _recording(path, next(results))


def scan(
    paths: Iterable[str | Path], channel: int | Literal["mix"] = 0, threads: int | None = None
) -> Iterator[tuple[Path, Health | Unreadable]]:
    """Yield the health of every recording, in order, from decoding all of it.

    Args:
        paths: WAV, FLAC, or ready log-mels (``.npy``).
        channel: whose level and clipping are measured, or ``"mix"`` for the mean of all.
        threads: 1 to 1024; None takes all that this process may use.
    """
    index, width = (None if channel == "mix" else channel), threads_or_all(threads)
    for chunk in _chunks(map(Path, paths)):
        audio = [path for path in chunk if not ready.is_ready(path)]
        results = iter(_dsp.scan([os.fspath(p) for p in audio], index, width))
        for path in chunk:
            if ready.is_ready(path):
                recording = _ready(path, None)
                yield path, recording if isinstance(recording, Unreadable) else recording.health
            else:
                result = next(results)
                yield path, _unreadable(path, result) if isinstance(result, _dsp.Failure) else as_health(result)


def resample(wave_N: NDArray[np.float32], rate_in: int, rate_out: int) -> NDArray[np.float32]:
    """Return a C-contiguous float32 wave at another rate (Hz).

    Raises:
        ValueError: another type or shape, or a rate out of range.
    """
    return _dsp.resample(wave_N, rate_in, rate_out)


def filterbank(spec: FeatureSpec = _DEFAULT) -> NDArray[np.float64]:
    """Return the mel filters, (F, n_fft // 2 + 1)."""
    return kernel(spec).filterbank()


def available_threads() -> int:
    """Return how many threads this process may use: its affinity and its cgroup's share."""
    return _dsp.available_threads()


def simd() -> str:
    """Return the instruction set of the kernels: ``avx512``, ``avx2``, ``neon`` or ``scalar``.

    It is the best that this CPU has, or what ``$ASD_SIMD`` asks for.

    Raises:
        UsageError: ``$ASD_SIMD`` is nothing that this CPU can do.
    """
    try:
        return _dsp.simd()
    except ValueError as error:
        raise UsageError(str(error), "unset ASD_SIMD, and the best one is taken") from None


def mel_centres(spec: FeatureSpec = _DEFAULT) -> NDArray[np.float64]:
    """Return the centre of every mel band in Hz, (F,): where its triangle peaks."""
    return kernel(spec).centres()


def kernel(spec: FeatureSpec) -> _dsp.LogMel:
    """Return the front end of `spec`, built once."""
    return _built(
        spec.sample_rate,
        spec.n_fft,
        spec.hop_length,
        spec.n_mels,
        spec.f_min,
        spec.f_max,
        spec.mel_scale,
        spec.eps,
    )


@lru_cache(maxsize=16)
def _built(*recipe: Any) -> _dsp.LogMel:
    simd()  # whose error has a way out
    return _dsp.LogMel(*recipe)


def threads_or_all(threads: int | None) -> int:
    """Return `threads`, or for None all that this process may use."""
    return _dsp.available_threads() if threads is None else threads


def _chunks(paths: Iterable[Path]) -> Iterator[Sequence[Path]]:
    chunk: list[Path] = []
    total = 0
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError:
            size = 0  # whoever reads it says what is wrong
        if chunk and (len(chunk) == CHUNK_FILES or total + size > CHUNK_BYTES):
            yield chunk
            chunk, total = [], 0
        chunk.append(path)
        total += size
    if chunk:
        yield chunk


def _recording(path: Path, result: _dsp.Recording | _dsp.Failure) -> Recording | Unreadable:
    if isinstance(result, _dsp.Failure):
        return _unreadable(path, result)
    return Recording(path, result.logmel, result.starts, as_health(result.health))


def _unreadable(path: Path, failure: _dsp.Failure) -> Unreadable:
    return Unreadable(path, failure.reason, failure.hint)


def as_health(health: _dsp.Health) -> Health:
    """Return what the extension says of a recording as a `Health`."""
    return Health(
        rate=health.rate,
        channels=health.channels,
        seconds=health.seconds,
        peak=health.peak,
        rms=health.rms,
        clipped=health.clipped,
        truncated=health.truncated,
        digest=f"{health.digest:016x}",
    )


def _ready(path: Path, spec: FeatureSpec | None) -> Recording | Unreadable:
    try:
        logmel_FT = ready.read(path, spec)
    except DataError as error:
        return Unreadable(path, error.message.removeprefix(f"{path}: "), error.hint)
    digest = hashlib.blake2b(logmel_FT.tobytes(), digest_size=8).hexdigest()
    health = Health(None, None, None, None, None, None, truncated=False, digest=digest)
    return Recording(path, logmel_FT[None], np.zeros(1), health)


def _dbfs(value: float | None) -> float | None:
    if value is None:
        return None
    return max(DBFS_FLOOR, 20 * math.log10(value)) if value > 0 else DBFS_FLOOR
