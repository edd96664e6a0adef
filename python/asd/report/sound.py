"""A window of a recording as the detector hears it, packed for an audio player in a page."""

from __future__ import annotations

import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asd import features
from asd.config import FeatureSpec

PEAK = 0.89
"""Peak of the louder sound after the common gain: 1 dB of headroom for the lossy codec."""

MOST_GAIN_DB = 60.0
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)


@dataclass(frozen=True, slots=True)
class Sound:
    """An encoded sound.

    Attributes:
        mime: media type.
        content: the file.
        gain_db: amplification over the recording.
    """

    mime: str
    content: bytes
    gain_db: float

    @property
    def uri(self) -> str:
        """The sound as a ``data:`` address, so that the page needs no other file."""
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"


def read_window(file: Path, start: float, spec: FeatureSpec) -> NDArray[np.float32]:
    """Return a window of a recording, (N,): the detector's channel and rate, not repeated when short.

    Args:
        start: seconds.

    Raises:
        AsdError: the file cannot be read; names it.
    """
    wave_CN, rate = features.read_audio(file)
    begin = round(start * rate)
    cut_CN = wave_CN[:, begin : begin + round(spec.clip_seconds * rate)]
    wave_N = cut_CN.mean(0) if spec.channel == "mix" else cut_CN[spec.channel]
    if rate != spec.sample_rate:
        wave_N = features.resample(np.ascontiguousarray(wave_N), rate, spec.sample_rate)
    return np.asarray(wave_N, dtype=np.float32)


def encode_alike(waves: list[NDArray[np.float32]], rate: int) -> list[Sound]:
    """Encode sounds with one common gain, so that their loudness can be compared.

    Args:
        waves: (N,) each; lengths may differ.
        rate: Hz.
    """
    peak = max((float(np.abs(w).max(initial=0.0)) for w in waves), default=0.0)
    gain = min(PEAK / peak, 10 ** (MOST_GAIN_DB / 20)) if peak > 0 else 1.0
    decibels = 20 * float(np.log10(gain))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda wave_N: _encode(wave_N * np.float32(gain), rate, decibels), waves))


def _encode(wave_N: NDArray[np.float32], rate: int, gain_db: float) -> Sound:
    opus = rate in OPUS_RATES and _has_opus()
    kind, subtype, mime = ("OGG", "OPUS", "audio/ogg") if opus else ("FLAC", "PCM_16", "audio/flac")
    packed = io.BytesIO()
    soundfile.write(packed, wave_N, rate, format=kind, subtype=subtype)
    return Sound(mime, packed.getvalue(), gain_db)


@cache
def _has_opus() -> bool:
    """Libsndfile may be built without it."""
    return "OPUS" in soundfile.available_subtypes("OGG")
