"""What the front end is compared with: torch, torchaudio, librosa, soundfile, as a competent user puts them together.

Log-mixup-exp (with a FIFO bank of earlier clips), Random Resize Crop and the normalising of both views together are
written from their formulas, clip by clip, as data sets of BYOL-A-style training do it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, get_worker_info

from asd import FeatureSpec
from asd.augment import ALPHA, BANK_SIZE, EPS

# librosa is imported by what it is compared with: the bench of training has no need of it.

SIZES = 0.6, 1.5
"""Of a crop, in sizes of the log-mel."""

ENDLESS = 2**40
"""Draws of a data loader."""


class TorchLogMel:
    """Waves (..., N) -> log-mels (..., F, T), by torchaudio."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.eps = spec.eps
        self.mel = torchaudio.transforms.MelSpectrogram(
            spec.sample_rate,
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            f_min=spec.f_min,
            f_max=spec.f_max,
            n_mels=spec.n_mels,
            norm="slaney",
            mel_scale="slaney",
        )

    @torch.no_grad()
    def __call__(self, wave: Tensor) -> Tensor:
        return self.mel(wave).add_(self.eps).log_()


class LibrosaLogMel:
    """Waves (N,) -> log-mels (F, T), by librosa's own function for it."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.eps = spec.eps
        self.recipe = {
            "sr": spec.sample_rate,
            "n_fft": spec.n_fft,
            "hop_length": spec.hop_length,
            "n_mels": spec.n_mels,
            "fmin": spec.f_min,
            "fmax": spec.f_max,
            "pad_mode": "reflect",
        }

    def __call__(self, wave_N: NDArray[np.float32]) -> NDArray[np.float32]:
        import librosa

        return np.log(librosa.feature.melspectrogram(y=wave_N, **self.recipe) + self.eps)


class LibrosaSpectrumLogMel:
    """Waves (N,) -> log-mels (F, T), by librosa's transform and filters that are made once."""

    def __init__(self, spec: FeatureSpec) -> None:
        import librosa

        self.spec = spec
        self.filters_FK = librosa.filters.mel(
            sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.f_min, fmax=spec.f_max
        )

    def __call__(self, wave_N: NDArray[np.float32]) -> NDArray[np.float32]:
        import librosa

        n_fft, hop_length = self.spec.n_fft, self.spec.hop_length
        spectrum_KT = librosa.stft(wave_N, n_fft=n_fft, hop_length=hop_length, pad_mode="reflect")
        power_KT = spectrum_KT.real**2 + spectrum_KT.imag**2
        return np.log(self.filters_FK @ power_KT + self.spec.eps)


def mix(x_FT: Tensor, z_FT: Tensor, lam: float) -> Tensor:
    """Return ln((1 - λ) eˣ + λ eᶻ + eps)."""
    return torch.log((1 - lam) * x_FT.exp() + lam * z_FT.exp() + EPS)


class Crop(NamedTuple):
    """A part of the canvas, F × ⌊1.5 T⌋."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def draw(cls, bands: int, frames: int, rng: np.random.Generator) -> Crop:
        """Draw size and place."""
        wide = int(SIZES[1] * frames)
        height = min(max(int(rng.uniform(*SIZES) * bands), 1), bands)
        width = min(max(int(rng.uniform(*SIZES) * frames), 1), wide)
        top, left = rng.integers(bands - height + 1), rng.integers(wide - width + 1)
        return cls(int(top), int(left), height, width)


def resize_crop(x_FT: Tensor, crop: Crop) -> Tensor:
    """Crop from a canvas of zeros of 1.5 T frames, and resize to the whole."""
    bands, frames = x_FT.shape
    wide = int(SIZES[1] * frames)
    canvas = torch.zeros(1, 1, bands, wide)
    left = (wide - frames) // 2
    canvas[0, 0, :, left : left + frames] = x_FT
    part = canvas[:, :, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    return torch.nn.functional.interpolate(part, (bands, frames), mode="bicubic", align_corners=True)[0, 0]


def post_normalise(views: Tensor) -> Tensor:
    """Bring both views of a batch together to mean 0 and deviation 1."""
    return (views - views.mean()) / views.std().clamp_min(EPS)


class Bank:
    """The last clips, first in, first out."""

    def __init__(self, clips: Sequence[Tensor], size: int = BANK_SIZE) -> None:
        self.clips = list(clips)[-size:]
        self.size = size
        self.oldest = 0

    def push(self, clip: Tensor) -> None:
        """Put in a clip; a full bank loses its oldest."""
        if len(self.clips) < self.size:
            self.clips.append(clip)
        else:
            self.clips[self.oldest] = clip
            self.oldest = (self.oldest + 1) % self.size

    def draw(self, rng: np.random.Generator) -> Tensor:
        """Return one of them."""
        return self.clips[rng.integers(len(self.clips))]


class TorchViews:
    """A log-mel -> its two views, before normalising."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self.rng = np.random.default_rng(seed)

    @torch.no_grad()
    def __call__(self, x_FT: Tensor) -> Tensor:
        views_VFT = torch.stack([self.view(x_FT) for _ in range(2)])
        self.bank.push(x_FT)
        return views_VFT

    def view(self, x_FT: Tensor) -> Tensor:
        """Mix with an earlier clip, crop, resize."""
        mixed = mix(x_FT, self.bank.draw(self.rng), ALPHA * self.rng.random())
        return resize_crop(mixed, Crop.draw(*x_FT.shape, self.rng))


class FromFiles:
    """Index -> pre-normalised log-mel, from a recording."""

    def __init__(self, paths: Sequence[Path], spec: FeatureSpec, mean: float, std: float) -> None:
        self.paths, self.logmel, self.mean, self.std = paths, TorchLogMel(spec), mean, std

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        wave_N, _ = soundfile.read(self.paths[index], dtype="float32")
        return self.logmel(torch.from_numpy(wave_N)).sub_(self.mean).div_(self.std)


class ViewsDataset(Dataset):  # type: ignore[type-arg]
    """Two views of each of `logmels`; every worker has a bank of its own, which is full from the start."""

    def __init__(self, logmels: FromFiles | list[Tensor], earlier: Sequence[Tensor]) -> None:
        self.logmels = logmels
        self.earlier = earlier
        self.views: TorchViews | None = None

    def __len__(self) -> int:
        return len(self.logmels)

    def __getitem__(self, index: int) -> Tensor:
        if self.views is None:
            worker = get_worker_info()
            bank = [self.earlier[i % len(self.earlier)].clone() for i in range(BANK_SIZE)]
            self.views = TorchViews(Bank(bank), worker.id if worker else 0)
        return self.views(self.logmels[index])


def loader(dataset: ViewsDataset, batch_size: int, workers: int) -> Iterator[Tensor]:
    """Return batches of two views, (2, B, F, T), without end; the main process normalises them."""
    batches = DataLoader(
        dataset,
        batch_size,
        sampler=RandomSampler(dataset, replacement=True, num_samples=ENDLESS),
        num_workers=workers,
        persistent_workers=True,
    )
    return (post_normalise(views_BVFT).transpose(0, 1) for views_BVFT in batches)


class Processes:
    """The same work in several processes, each on its own part; forked, so that parts are there without a copy."""

    def __init__(self, work: Callable[[int], object], parts: int) -> None:
        fork = multiprocessing.get_context("fork")
        self.pipes: list[Connection] = []
        for part in range(parts):
            ours, theirs = fork.Pipe()
            fork.Process(target=_serve, args=(work, part, theirs), daemon=True).start()
            self.pipes.append(ours)

    def __call__(self) -> None:
        """Let each do its part, and wait for all."""
        for pipe in self.pipes:
            pipe.send(True)
        for pipe in self.pipes:
            pipe.recv()

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            pipe.send(False)


def _serve(work: Callable[[int], object], part: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    while pipe.recv():
        work(part)
        pipe.send(None)


class OnDevice:
    """Waves that lie on a device -> batches of two views that are made there, a whole batch at a time.

    Nothing is read, decoded or copied while it works: no feed that computes on a GPU can do with less.

    Args:
        waves_PN: int16 samples of recordings of one length.
        spec: of the log-mels.
        mean, std: for pre-normalising them.
        seed: of what is drawn.
    """

    def __init__(self, waves_PN: Tensor, spec: FeatureSpec, mean: float, std: float, seed: int) -> None:
        device = waves_PN.device
        self.waves_PN, self.mean, self.std, self.oldest = waves_PN, mean, std, 0
        self.logmel = TorchLogMel(spec)
        self.logmel.mel.to(device)
        self.random = torch.Generator(device).manual_seed(seed)
        logmels_PFT = torch.cat([self.normalised(part_BN) for part_BN in waves_PN.split(64)])
        self.bank_KFT = logmels_PFT[torch.arange(BANK_SIZE, device=device) % len(waves_PN)]

    def normalised(self, waves_BN: Tensor) -> Tensor:
        """Return pre-normalised log-mels, (B, F, T)."""
        return self.logmel(waves_BN.float().div_(32768)).sub_(self.mean).div_(self.std)

    @torch.no_grad()
    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return two views of `size` recordings that are drawn, (2, B, F, T), and which they are, (B,)."""
        device = self.waves_PN.device
        rows_B = torch.randint(len(self.waves_PN), (size,), generator=self.random, device=device)
        partners_VB = torch.randint(BANK_SIZE, (2, size), generator=self.random, device=device)
        lam_VB11 = ALPHA * self._uniform(2, size, 1, 1)
        x_BFT = self.normalised(self.waves_PN[rows_B])
        mixed_VBFT = torch.log((1 - lam_VB11) * x_BFT.exp() + lam_VB11 * self.bank_KFT[partners_VB].exp() + EPS)
        cropped_BFT = resize_crops(mixed_VBFT.flatten(0, 1), *self._crops(2 * size, *x_BFT.shape[1:]))
        places_B = (self.oldest + torch.arange(size, device=device)) % BANK_SIZE
        self.bank_KFT[places_B] = x_BFT
        self.oldest = (self.oldest + size) % BANK_SIZE
        return post_normalise(cropped_BFT.view_as(mixed_VBFT)), rows_B

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=self.waves_PN.device)

    def _crops(self, count: int, bands: int, frames: int) -> list[Tensor]:
        """Return top, left, height and width of crops, (B,) each, as `Crop.draw` draws them."""
        wide = int(SIZES[1] * frames)
        low, high = SIZES
        size_2B = low + (high - low) * self._uniform(2, count)
        height_B, width_B = (size_2B[0] * bands).long().clamp(1, bands), (size_2B[1] * frames).long().clamp(1, wide)
        top_B, left_B = (
            (u_B * (room - part_B + 1)).long()
            for u_B, room, part_B in zip(self._uniform(2, count), (bands, wide), (height_B, width_B), strict=True)
        )
        return [top_B, left_B, height_B, width_B]


def resize_crops(x_BFT: Tensor, top_B: Tensor, left_B: Tensor, height_B: Tensor, width_B: Tensor) -> Tensor:
    """Do `resize_crop` on a batch, as products with matrices of weights; the zeros of the canvas need no product."""
    bands, frames = x_BFT.shape[1:]
    wide = int(SIZES[1] * frames)
    rows_BFF = bicubic(top_B, height_B, bands, bands)
    columns_BTW = bicubic(left_B, width_B, frames, wide)
    first = (wide - frames) // 2
    return rows_BFF @ x_BFT @ columns_BTW[:, :, first : first + frames].mT


def bicubic(first_B: Tensor, size_B: Tensor, places: int, length: int) -> Tensor:
    """Return weights, (B, `places`, `length`), that resize the part of an axis from `first` on, ends aligned."""
    a, device = -0.75, first_B.device
    at_BP = torch.arange(places, device=device) * ((size_B - 1) / (places - 1))[:, None]
    base_BP = at_BP.floor()
    near_BP4 = base_BP[..., None] + torch.arange(-1, 3, device=device)
    d_BP4 = (at_BP[..., None] - near_BP4).abs()
    inner = ((a + 2) * d_BP4 - (a + 3)) * d_BP4**2 + 1
    outer = ((a * d_BP4 - 5 * a) * d_BP4 + 8 * a) * d_BP4 - 4 * a
    last_B11 = (size_B - 1)[:, None, None]
    taps_BP4 = first_B[:, None, None] + near_BP4.long().clamp_min(0).minimum(last_B11)
    weights = torch.zeros(len(first_B), places, length, device=device)
    return weights.scatter_add_(2, taps_BP4, torch.where(d_BP4 <= 1, inner, outer))
