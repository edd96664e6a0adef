"""Runs `asd` commands in processes of their own that can be killed, forked from one that has imported everything."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import soundfile

BANDS, FRAMES = 16, 20
PATIENCE = 120.0
"""Seconds after which a command counts as hung, on a machine with much else to do."""

Hook = Callable[[Path], None]
"""Changes the program from within, before the command runs; it gets the folder of the command's output."""

MODULES = ["asd.cli", "asd.train.detector", "asd.train.pretrain", "asd.train.baseline", "asd.models.cost",
           "torch.utils.flop_counter", "torch._dynamo", __name__]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; below 0 the signal that killed it.
    """

    code: int
    out: str
    err: str


class Command:
    """A command that runs."""

    def __init__(
        self, folder: Path, words: Iterable[object], hook: Hook | None = None, environment: Mapping[str, str] = {}
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        arguments = ([str(w) for w in words], hook, folder, dict(environment))
        self._process: ForkServerProcess = _context().Process(target=_run, args=arguments)
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Wait until something is so, or the command has ended."""
        end = time.monotonic() + PATIENCE
        while not there() and self.running:
            assert time.monotonic() < end, f"nothing happens: {self._read('err')}"
            time.sleep(0.002)

    def end(self) -> Ended:
        """Wait for its end."""
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"the command hangs: {self._read('err')}")
        return Ended(self._process.exitcode, self._read("out"), self._read("err"))

    def _read(self, stream: str) -> str:
        file = self._folder / stream
        return file.read_text() if file.exists() else ""


def run(folder: Path, *words: object, hook: Hook | None = None) -> Ended:
    """Run a command to its end."""
    return Command(folder, words, hook).end()


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    os.environ["OMP_NUM_THREADS"] = "1"  # before it starts: nothing in it may have begun threads when it forks
    context.set_forkserver_preload(MODULES)
    return context


def _run(words: list[str], hook: Hook | None, folder: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.argv = ["asd", *words]
    import asd.cli._output
    from asd.__main__ import main

    for console in (asd.cli._output.console, asd.cli._output.out):
        console.quiet = not asd.cli._output.is_first()
    if hook is not None:
        hook(folder)
    main()


def log_mels(root: Path, sections: Mapping[str, int], layout: str = "normal_id_{section}_{i:08}.npy") -> Path:
    """Write a data root of one machine, fan: short log-mels, so many of each section."""
    folder = root / "fan" / "train"
    folder.mkdir(parents=True)
    recipe = {"sample_rate": 16_000, "n_fft": 1024, "hop_length": 512, "n_mels": BANDS, "mel_scale": "slaney"}
    (root / "features.json").write_text(json.dumps(recipe | {"unit": "dB"}))
    for place, (section, count) in enumerate(sections.items()):
        for i in range(count):
            np.save(folder / layout.format(section=section, i=i), one_log_mel(place, i))
    return root


def one_log_mel(place: int, i: int) -> np.ndarray:
    """A log-mel of the section at a place."""
    logmel_FT = np.random.default_rng([place, i]).normal(-40, 3, (BANDS, FRAMES))
    logmel_FT[3 * place + 2] += 10
    return logmel_FT.astype(np.float32)


def recordings(folder: Path, count: int, seconds: float = 0.5) -> Path:
    """Write short recordings of noise."""
    folder.mkdir(parents=True)
    for i in range(count):
        wave_N = np.random.default_rng(i).normal(scale=0.1, size=round(seconds * 16_000))
        soundfile.write(folder / f"{i:02}.wav", wave_N, 16_000)
    return folder


SMALL = ("--set", f"features.n_mels={BANDS}", "--set", "optimiser.least_steps=0", "--threads", 1, "--batch-size", 8,
         "--device", "cpu")  # fmt: skip
"""What makes a training short."""
