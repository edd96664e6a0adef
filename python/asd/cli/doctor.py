"""`asd doctor`: is everything here that the other commands need?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from asd.cli._output import next_step, out, print_json

WORST_ERROR = 1e-3
"""ln units; float32 noise of the self-test lies far below, a wrong filter or window far above."""


class Finding(NamedTuple):
    """One line of the doctor."""

    what: str
    fine: bool
    says: str


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Check the installation: the front end against numpy, packages, threads, disk."""
    findings = [_examine(what, check) for what, check in CHECKS.items()]
    if json:
        print_json([f._asdict() for f in findings])
    else:
        for f in findings:
            mark = "[green]ok[/green]     " if f.fine else "[red]problem[/red]"
            out.print(f"{mark}  {f.what:<12}", end="")
            out.print(f.says, markup=False, soft_wrap=True)
    if not all(f.fine for f in findings):
        raise typer.Exit(3)
    next_step("asd demo")


def _examine(what: str, check: Callable[[], str]) -> Finding:
    # Whatever is broken is what this command is for: any failure becomes a finding.
    try:
        return Finding(what, True, check())
    except Exception as error:
        return Finding(what, False, f"{type(error).__name__}: {error}")


def _python() -> str:
    from asd import __version__

    return f"asd {__version__} on Python {sys.version.split()[0]}"


def _processor() -> str:
    from asd.features import available_threads, simd
    from asd.train.environment import cpu_name

    return f"{cpu_name()}, {available_threads()} threads and {simd()} for the front end"


def _front_end() -> str:
    """Compare the compiled log-mel with one written in numpy, in float64."""
    import numpy as np

    from asd import FeatureSpec, features

    spec = FeatureSpec()
    wave_N = np.random.default_rng(0).uniform(-0.5, 0.5, spec.sample_rate).astype(np.float32)
    pad = spec.n_fft // 2
    padded_N = np.pad(wave_N.astype(np.float64), pad, mode="reflect")
    frames_TN = np.lib.stride_tricks.sliding_window_view(padded_N, spec.n_fft)[:: spec.hop_length]
    window_N = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.n_fft) / spec.n_fft)
    power_TK = np.abs(np.fft.rfft(frames_TN * window_N)) ** 2
    expected_FT = np.log(features.filterbank(spec) @ power_TK.T + spec.eps)
    error = float(np.abs(features.logmel(wave_N[None], spec)[0] - expected_FT).max())
    if error > WORST_ERROR:
        raise ArithmeticError(f"log-mel differs from numpy's by {error:.1e}; install it again")
    return f"log-mel agrees with numpy within {error:.0e}"


def _training() -> str:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return "torch is not installed; the baseline does not need it"
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"torch {torch.__version__}, {device}"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 1:
        raise OSError(f"only {free:.1f} GB free in {Path.cwd()}")
    return f"{free:.0f} GB free in {Path.cwd()}"


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    return found or "not installed; only needed to convert .mp3, .m4a and the like"


CHECKS: dict[str, Callable[[], str]] = {
    "version": _python,
    "processor": _processor,
    "front end": _front_end,
    "training": _training,
    "disk": _disk,
    "ffmpeg": _ffmpeg,
}
