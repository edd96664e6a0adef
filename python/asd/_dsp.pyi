"""What the Rust extension offers to `asd.features`, `asd.augment`, `asd.survey`, `asd.corpus` and `asd.feed`."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import final

import numpy as np
from numpy.typing import NDArray

_Path = str | PathLike[str]

class DspError(Exception): ...

@final
class LogMel:
    def __new__(
        cls,
        sample_rate: int,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        f_min: float,
        f_max: float,
        mel_scale: str,
        eps: float,
    ) -> LogMel: ...
    def frames(self, samples: int) -> int: ...
    def filterbank(self) -> NDArray[np.float64]: ...
    def centres(self) -> NDArray[np.float64]: ...
    def batch(self, waves: NDArray[np.float32] | NDArray[np.int16], out: NDArray[np.float32], threads: int) -> None: ...
    def read(
        self,
        paths: Sequence[_Path],
        clip_samples: int,
        channel: int | None,
        allow_upsampling: bool,
        threads: int,
    ) -> list[Recording | Failure]: ...

@final
class Augment:
    def __new__(
        cls,
        bands: int,
        frames: int,
        alpha: float,
        crop: bool,
        bank_size: int,
        eps: float,
        raw: tuple[float, float] | None,
        centres: NDArray[np.float64] | None,
    ) -> Augment: ...
    def draws(
        self, seed: int, position: int, clips: int, history: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]: ...
    def two_views(
        self,
        x: NDArray[np.float32],
        bank: NDArray[np.float32],
        first: NDArray[np.float32],
        second: NDArray[np.float32],
        seed: int,
        position: int,
        post_normalise: bool,
        threads: int,
    ) -> None: ...
    def log_mixup_exp(
        self,
        x: NDArray[np.float32],
        z: NDArray[np.float32],
        lam: NDArray[np.float32],
        out: NDArray[np.float32],
        threads: int,
    ) -> None: ...
    def random_resize_crop(
        self, x: NDArray[np.float32], crops: NDArray[np.int64], out: NDArray[np.float32], threads: int
    ) -> None: ...

@final
class Corpus:
    def __new__(
        cls,
        front: LogMel,
        paths: Sequence[tuple[_Path, float | None]],
        clip_samples: int,
        channel: int | None,
        allow_upsampling: bool,
        cache_bytes: int,
        half: bool,
    ) -> Corpus: ...
    def survey(self, first: int, last: int, threads: int) -> list[Found | Failure]: ...
    def room(self) -> int: ...

@final
class Found:
    @property
    def starts(self) -> list[int]: ...
    @property
    def frames(self) -> int: ...
    @property
    def health(self) -> Health | None: ...
    @property
    def sum(self) -> float: ...
    @property
    def squares(self) -> float: ...

@final
class Feed:
    def __new__(
        cls,
        corpus: Corpus,
        augment: Augment,
        windows: Sequence[NDArray[np.int64]],
        groups: Sequence[NDArray[np.int64]],
        pattern: Sequence[int],
        seed: int,
        position: int,
        ranks: tuple[int, int],
        normalise: tuple[float, float, bool],
        threads: int,
        buffers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    ) -> Feed: ...
    def take(self) -> tuple[int, int, NDArray[np.int64]]: ...
    def seek(self, draw: int) -> None: ...
    def close(self) -> None: ...

@final
class Recording:
    @property
    def logmel(self) -> NDArray[np.float32]: ...
    @property
    def starts(self) -> NDArray[np.float64]: ...
    @property
    def health(self) -> Health: ...

@final
class Health:
    @property
    def rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def peak(self) -> float: ...
    @property
    def rms(self) -> float: ...
    @property
    def clipped(self) -> float: ...
    @property
    def truncated(self) -> bool: ...
    @property
    def digest(self) -> int: ...

@final
class Failure:
    @property
    def reason(self) -> str: ...
    @property
    def hint(self) -> str: ...

def available_threads() -> int: ...
def read_audio(path: _Path) -> tuple[NDArray[np.float32], int]: ...
def resample(wave: NDArray[np.float32], rate_in: int, rate_out: int) -> NDArray[np.float32]: ...
def scan(paths: Sequence[_Path], channel: int | None, threads: int) -> list[Health | Failure]: ...
def simd() -> str: ...
