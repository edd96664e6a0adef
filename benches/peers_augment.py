"""Two views of a batch: `asd.two_views` against torch code that does the same work clip by clip.

    python benches/peers_augment.py [--clips 64] [--bank 2048] [--rounds 15] [--json FILE]

The torch code is written from the formulas (Log-mixup-exp with a bank of earlier clips, Random Resize Crop, both views
normalised together), clip by clip as data sets of BYOL-A-style training do it. Both do the whole job of one call on the
same batch, one after the other in each round; printed are medians of the rounds' ratios. $ASD_SIMD chooses our
instruction set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import asd
from asd.augment import ALPHA, EPS

BANDS, FRAMES = 128, 313
SIZES = 0.6, 1.5
"""Of a crop, in sizes of the log-mel."""


PAUSE_SECONDS = 0.3


class TorchViews:
    """Two views of log-mels, clip by clip: every clip is mixed with one of a bank, cropped and resized."""

    def __init__(self, bank_KFT: Tensor, seed: int = 0) -> None:
        self.bank_KFT = bank_KFT
        self.rng = np.random.default_rng(seed)

    def __call__(self, x_BFT: Tensor) -> tuple[Tensor, Tensor]:
        views = [torch.stack([self.crop(self.mix(x_FT)) for x_FT in x_BFT]) for _ in range(2)]
        both = torch.stack(views)
        both = (both - both.mean()) / both.std().clamp_min(EPS)
        return both[0], both[1]

    def mix(self, x_FT: Tensor) -> Tensor:
        """ln((1 - λ) eˣ + λ eᶻ + eps)."""
        lam = ALPHA * self.rng.random()
        z_FT = self.bank_KFT[self.rng.integers(len(self.bank_KFT))]
        return torch.log((1 - lam) * x_FT.exp() + lam * z_FT.exp() + EPS)

    def crop(self, x_FT: Tensor) -> Tensor:
        """Crop from a canvas of zeros of 1.5 T frames, and resize back."""
        bands, frames = x_FT.shape
        wide = int(SIZES[1] * frames)
        canvas = torch.zeros(1, 1, bands, wide)
        left = (wide - frames) // 2
        canvas[0, 0, :, left : left + frames] = x_FT
        height = min(max(int(self.rng.uniform(*SIZES) * bands), 1), bands)
        width = min(max(int(self.rng.uniform(*SIZES) * frames), 1), wide)
        i, j = self.rng.integers(bands - height + 1), self.rng.integers(wide - width + 1)
        part = canvas[:, :, i : i + height, j : j + width]
        return torch.nn.functional.interpolate(part, (bands, frames), mode="bicubic", align_corners=True)[0, 0]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rounds(jobs: dict[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Time every job once a round, in turn; the first round warms up.

    The pause lets torch's threads, which spin for a while after a call, fall asleep before the next is timed.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(count + 1):
        for name, job in jobs.items():
            time.sleep(PAUSE_SECONDS)
            took = seconds(job)
            if turn > 0:
                times[name].append(took)
    return times


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--bank", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    x_BFT = rng.standard_normal((arguments.clips, BANDS, FRAMES), np.float32)
    bank_KFT = rng.standard_normal((arguments.bank, BANDS, FRAMES), np.float32)
    out = np.zeros((2, *x_BFT.shape), np.float32)
    torch_views, x, position = TorchViews(torch.from_numpy(bank_KFT)), torch.from_numpy(x_BFT), 0

    def peer(threads: int) -> None:
        torch.set_num_threads(threads)
        torch_views(x)

    def ours(threads: int) -> None:
        nonlocal position
        asd.two_views(x_BFT, bank_KFT, position=position, threads=threads, out=out)
        position += arguments.clips

    jobs: dict[str, Callable[[], object]] = {}
    for threads in arguments.threads:
        jobs[f"torch {threads}"] = lambda n=threads: peer(n)
        jobs[f"asd {threads}"] = lambda n=threads: ours(n)
    times = rounds(jobs, arguments.rounds)
    figures = {"simd": os.environ.get("ASD_SIMD") or "auto", "clips": arguments.clips, "threads": {}}
    print(f"two views of {arguments.clips} clips, bank of {arguments.bank}, simd {figures['simd']}")
    print("| threads | torch, clips/s | asd, clips/s | asd / torch | asd, against 1 thread |")
    print("|---|---|---|---|---|")
    for n in arguments.threads:
        rate = {who: arguments.clips / statistics.median(times[f"{who} {n}"]) for who in ("torch", "asd")}
        ratio = median_ratio(times[f"torch {n}"], times[f"asd {n}"])
        gain = median_ratio(times[f"asd {arguments.threads[0]}"], times[f"asd {n}"])
        print(f"| {n} | {rate['torch']:.0f} | {rate['asd']:.0f} | {ratio:.1f} | {gain:.2f} |")
        figures["threads"][n] = {**rate, "ratio": ratio, "gain": gain}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def median_ratio(a: list[float], b: list[float]) -> float:
    """Median of the rounds' ratios a / b."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    main()
