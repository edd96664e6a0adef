"""Every setting of the system: frozen models, TOML in, resolved TOML out.

Precedence: preset < ``-c file.toml`` < ``--set a.b=c`` < flags. Unknown keys are refused with the nearest name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from asd.errors import UsageError, nearest

LOG_EPS = 1.1920929e-07
"""Added to the mel energies before the logarithm: the float32 machine epsilon."""


class Frozen(BaseModel):
    """Immutable, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeatureSpec(Frozen):
    """How a recording becomes log-mels.

    Short-time Fourier transform (periodic Hann, centred, reflect padding, power 2), mel filters, natural
    logarithm of (mel + eps).

    Attributes:
        sample_rate: Hz; recordings at another rate are resampled to it.
        n_fft: samples of a frame, a power of two from 256 to 4096.
        hop_length: samples from one frame to the next.
        n_mels: mel bands F.
        f_min, f_max: Hz; the edges of the lowest and the highest band.
        mel_scale: ``"slaney"`` (librosa's default, area-normalised) or ``"htk"`` (torchaudio's, not normalised).
        eps: added to the mel energies.
        clip_seconds: length of a window; longer recordings (over 1.5 windows) are cut, shorter ones repeated.
        channel: which channel of several, counted from 0, or ``"mix"`` for their mean.
        allow_upsampling: accept sources below `sample_rate`, whose upper bands are then empty.
    """

    sample_rate: int = Field(16_000, ge=1_000, le=192_000)
    n_fft: int = Field(1024, ge=256, le=4096)
    hop_length: int = Field(512, ge=1, le=4096)
    n_mels: int = Field(128, ge=1, le=512)
    f_min: float = Field(0.0, ge=0)
    f_max: float = Field(8_000.0, gt=0)
    mel_scale: Literal["slaney", "htk"] = "slaney"
    eps: float = Field(LOG_EPS, gt=0)
    clip_seconds: float = Field(10.0, gt=0, le=600)
    channel: int | Literal["mix"] = 0
    allow_upsampling: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> FeatureSpec:
        if self.n_fft & (self.n_fft - 1):
            raise ValueError(f"n_fft = {self.n_fft} is not a power of two")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length = {self.hop_length} is larger than n_fft = {self.n_fft}: samples would be skipped")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"f_min = {self.f_min:g}, f_max = {self.f_max:g}: wanted f_min < f_max <= "
                f"{self.sample_rate / 2:g}, half the sample rate"
            )
        if self.clip_samples < self.n_fft:
            raise ValueError(f"clip_seconds = {self.clip_seconds:g} is shorter than one frame of {self.n_fft} samples")
        if isinstance(self.channel, int) and self.channel < 0:
            raise ValueError(f"channel = {self.channel}: channels are counted from 0")
        return self

    @property
    def clip_samples(self) -> int:
        """Samples of one window."""
        return round(self.clip_seconds * self.sample_rate)

    @property
    def frames(self) -> int:
        """Frames T of one window: 1 + samples // hop."""
        return 1 + self.clip_samples // self.hop_length
