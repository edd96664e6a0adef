"""Speed of pre-training: fed live from WAV files, beside what bounds it and what else a GPU could be fed with.

    python benches/train.py [--encoders NAME ...] [--batch-size N] [--rounds N] [--steps N] [--compile | --no-compile]
                            [--minutes M] [--threads N] [--device cpu] [--quick] [--json FILE]

Steps of `asd pretrain` as its own loop makes them (preset audioset: MoCo, a queue of 65,536, batches of 256, bfloat16),
in one run on the same generated recordings in memory (/dev/shm):

    live       two views from WAV files that are read, decoded and varied on the processor while the network trains;
               so many files that none is kept
    resident   the same batch again and again, which lies on the device: as if data cost nothing
    on device  log-mels by torchaudio and views by torch on the GPU, from samples that lie there already
    compiled   as resident, through torch.compile

The ways take turns, once a round; printed are medians over rounds, with quartiles. The convolutions and products of an
encoder in a step, three passes of the query network (forward and backward) and one of the key network, are shown as
shares of two rates: that of a large matrix product, measured here, and, where the GPU is known, that of its data sheet
(MFU). All encoders are measured before any is compiled. What does not fit into --minutes is left out, and said; the
JSON is written anew after each. Without a GPU it measures small networks and batches on the processor, within a minute
or so: whether it runs, and what the feed costs there.

For a machine that has torch, but neither cargo nor the network, this one makes the wheels (dist/ is not tracked):

    python -m pip wheel --no-deps --wheel-dir dist .
    python -m pip download --only-binary :all: --python-version 3.12 --dest dist pydantic soundfile tomli-w

and that one, once benches/ and dist/ are there, takes what it lacks of them:

    python -m pip install --no-index --find-links dist machine-asd && python benches/train.py --json train.json
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import cycle, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import peers
from asd import features
from asd.bench.clips import samples_of, write_clips
from asd.bench.clock import Job, Spread, gain, pace, rounds
from asd.bench.feeding import RECORDINGS
from asd.cli._output import drive, say
from asd.config import Config, load_config, read_preset
from asd.corpus import Corpus
from asd.models.cost import cost
from asd.train import fit
from asd.train.contrastive import Contrastive
from asd.train.environment import cpu_name
from asd.train.held import Held
from asd.train.loop import Plan, train
from asd.train.supply import Supply, Views

SHARED_MEMORY = Path("/dev/shm")
PASSES = 4
"""Of an encoder in a step: a forward pass of each network, and a backward pass, which costs two."""
WARM = 3
"""Steps before the clock starts: they take what the feed made ahead in the meantime."""
ENDLESS = 2**39

COMPILING = 120.0
"""Seconds that a compiler may take: with less left it is not begun."""
LEFT_OUT = {"error": "left out: no time was left (--minutes)"}

DATA_SHEETS = dict.fromkeys(("NVIDIA H200", "NVIDIA H100 80GB HBM3"), 989e12)
"""Operations a second of products of dense bfloat16 matrices; of SXM modules, by torch's names for them."""

LIVE, RESIDENT, ON_DEVICE, COMPILED = "live", "resident", "on device", "compiled"


@dataclass(frozen=True)
class Size:
    """How much is measured: `clips` under the names of so many `recordings`, so that a feed has none of them still."""

    encoders: tuple[str, ...]
    clips: int
    recordings: int
    batch_size: int
    queue_size: int
    rounds: int
    steps: int
    matrix: int


ON_GPU = Size(("resnet50", "mobilenetv2", "mobilefacenet"), 512, RECORDINGS, 256, 65_536, 9, 20, 8192)
ON_CPU = Size(("small", "mobilenetv2"), 32, 1024, 8, 512, 3, 1, 1024)


def now(device: torch.device) -> Any:
    """Return the time: on a GPU that when it is done with all it was given so far."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(begun: Any, ended: Any) -> float:
    """Return the seconds between two times; waits for the second."""
    if isinstance(begun, float):
        return ended - begun
    ended.synchronize()
    return begun.elapsed_time(ended) / 1000


class Turns:
    """Batches of whichever source has its turn; notes how long the device waits for each, or works on it."""

    def __init__(self, device: torch.device) -> None:
        self.source: Iterator[Views] = iter(())
        self.device = device
        self.waits: list[tuple[Any, Any]] = []

    def __iter__(self) -> Turns:
        return self

    def __next__(self) -> Views:
        asked = now(self.device)
        batch = next(self.source)
        self.waits.append((asked, now(self.device)))
        return batch

    def seconds(self) -> float:
        """Return the time from the end of a step to its batch being there, summed over steps; begin anew."""
        waits, self.waits = self.waits, []
        return sum(between(asked, there) for asked, there in waits)


@dataclass
class Training:
    """The loop of a training, advanced some steps at a time."""

    config: Config
    device: torch.device
    turns: Turns
    loop: Generator[Any, None, None]

    @classmethod
    def of(cls, config: Config, corpus: Corpus, device: torch.device, folder: Path) -> Training:
        """Build a network and begin."""
        assert corpus.survey is not None
        frames = corpus.survey.frames
        encoder, _ = fit.make_encoder(config, frames, fresh=True)
        blank = np.empty((0, config.features.n_mels, frames), np.float32)
        held = Held(blank, np.empty((2, *blank.shape), np.float32), np.empty(0, np.int64))
        task = Contrastive(fit.make_moco(encoder, config, device), config, None, held)
        folder.mkdir()
        plan = Plan(ENDLESS, ENDLESS, folder, {}, [str(path) for path in corpus.paths], ENDLESS, stop=lambda: None)
        turns = Turns(device)
        return cls(config, device, turns, train(task, turns, plan, config.optimiser, None))

    def advance(self, steps: int) -> None:
        """Make so many steps, to the end."""
        for _ in range(steps):
            next(self.loop)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def job(self, source: Iterator[Views], steps: int) -> Way:
        """Return the way of so many steps on batches of a source."""
        waited: list[float] = []

        def prepare() -> None:
            self.turns.source = source
            self.advance(WARM if self.device.type == "cuda" else 1)
            self.turns.seconds()

        def work() -> None:
            self.advance(steps)
            waited.append(self.turns.seconds())

        size = self.config.optimiser.batch_size
        assert size is not None
        return Way(Job(steps * size, work, prepare), waited)


@dataclass(frozen=True)
class Way:
    """The job of a way, and the seconds of each of its rounds in which the device waited for data, or made it."""

    job: Job
    waited: list[float]


@dataclass(frozen=True)
class Bench:
    """What all encoders are measured with."""

    device: torch.device
    corpus: Corpus
    samples_PN: torch.Tensor
    size: Size
    threads: int
    matmul: float
    data_sheet: float | None
    folder: Path

    def measure(self, name: str, until: float) -> dict[str, Any]:
        """Measure an encoder as it is; no round begins after `until`."""
        before = allocated(self.device)
        config = self.config(name, compile=False)
        eager = Training.of(config, self.corpus, self.device, self.folder / name)
        supply = Supply(self.corpus, self.size.batch_size, self.device, fit.views_settings(config))
        with supply:
            live = iter(supply)
            eager.turns.source = live
            eager.advance(1)  # cuDNN tries its ways, which take memory of their own
            allocated(self.device)
            eager.advance(WARM)
            memory_gb = (peak(self.device) - before) / 1e9
            batch = next(live)
            kept = repeat(Views(batch.views_VBFT.clone(), batch.files_B.clone(), batch.hosted_B, batch.windows_B, 0))
            sources = {LIVE: live, RESIDENT: kept, ON_DEVICE: self.made_on_device()}
            ways = {way: eager.job(source, self.size.steps) for way, source in sources.items()}
            times = self.times(ways, name, until)
        return {
            "encoder": name,
            "gflop_a_clip": round(self.flops(name) / 1e9, 3),
            "memory_gb": round(memory_gb, 2) or None,
            "rounds": len(times[LIVE]),
            "ways": {way: self.figures(ways[way], times[way], self.flops(name)) for way in ways},
            "waiting": Spread.of(1 - a / b for a, b in zip(times[RESIDENT], times[LIVE], strict=True)).json(),
            "live_over_on_device": gain(times[ON_DEVICE], times[LIVE]).json(),
            "compiled_over_eager": None,
        }

    def compile(self, name: str, row: dict[str, Any], until: float) -> dict[str, Any]:
        """Measure an encoder through torch.compile beside itself, and return its row with that added."""
        say(f"{name}: compiling")
        torch._dynamo.reset()
        kept = repeat(next(self.made_on_device()))
        ways = {}
        for way, compile in ((RESIDENT, False), (COMPILED, True)):
            config = self.config(name, compile)
            training = Training.of(config, self.corpus, self.device, self.folder / f"{name}, {way}")
            training.turns.source = kept
            training.advance(1)
            ways[way] = training.job(kept, self.size.steps)
        times = self.times(ways, f"{name}, compiled", until)
        figures = self.figures(ways[COMPILED], times[COMPILED], self.flops(name))
        ratio = gain(times[RESIDENT], times[COMPILED]).json()
        return row | {"ways": row["ways"] | {COMPILED: figures}, "compiled_over_eager": ratio}

    def times(self, ways: dict[str, Way], stage: str, until: float) -> dict[str, list[float]]:
        """Let the ways take turns."""
        return drive(rounds({way: ways[way].job for way in ways}, self.size.rounds, stage, until=until))

    def flops(self, name: str) -> int:
        """Return the operations that a clip takes in a step."""
        assert self.corpus.survey is not None
        encoder, _ = fit.make_encoder(self.config(name, compile=False), self.corpus.survey.frames, fresh=True)
        return PASSES * cost(encoder).flops

    def config(self, name: str, compile: bool) -> Config:
        """Return the settings of a run."""
        flags = {
            "encoder.name": name,
            "device": self.device.type,
            "threads": self.threads,
            "optimiser.schedule": "constant",
            "optimiser.warmup": 0.0,
            "optimiser.batch_size": self.size.batch_size,
            "optimiser.compile": compile,
            "moco.queue_size": self.size.queue_size,
        }
        return load_config(flags=flags, base=read_preset("audioset"))

    def made_on_device(self) -> Iterator[Views]:
        """Yield batches whose log-mels and views are made on the device."""
        survey = self.corpus.survey
        assert survey is not None
        feed = peers.OnDevice(self.samples_PN, self.corpus.spec, survey.mean, survey.std, seed=0)
        while True:
            views_VBFT, files_B = feed.batch(self.size.batch_size)
            unknown_B = np.full(self.size.batch_size, -1)  # on the host, where nobody asks which they are
            yield Views(views_VBFT, files_B, unknown_B, unknown_B, 0)

    def figures(self, way: Way, times: list[float], flops: int) -> dict[str, Any]:
        """Return what the rounds of a way say."""
        # The first one warmed up, and does not count.
        shares = [waited / s for waited, s in zip(way.waited[1:], times, strict=True)]
        rates = [flops * way.job.clips / s for s in times]
        return {
            "steps_per_second": Spread.of(self.size.steps / s for s in times).json(),
            "clips_per_second": pace(way.job, times).json(),
            "share_of_matmul": Spread.of(rate / self.matmul for rate in rates).json(),
            "mfu": Spread.of(rate / self.data_sheet for rate in rates).json() if self.data_sheet else None,
            "data_share": Spread.of(shares).json(),
        }


def allocated(device: torch.device) -> int:
    """Return the bytes of a GPU that tensors take, from which `peak` begins anew; 0 without one."""
    if device.type != "cuda":
        return 0
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak(device: torch.device) -> int:
    """Return the most bytes that tensors took since then."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def main() -> None:
    """Measure, and print tables."""
    arguments = parse()
    until = time.monotonic() + 60 * arguments.minutes
    on_gpu = arguments.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    size = sized(arguments, ON_GPU if on_gpu else ON_CPU)
    threads = arguments.threads or features.available_threads()
    with TemporaryDirectory(prefix="asd-train-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        wavs = drive(write_clips(Path(folder) / "clips", size.clips))
        place = fit.Place(Path(folder), False, lambda: nullcontext(lambda: None))
        fit.prepare(Config(device=device.type, threads=threads), place)
        samples_PN = torch.from_numpy(samples_of(wavs)).to(device)
        corpus = Corpus(list(islice(cycle(wavs), size.recordings)), cache_gb=0.0, threads=threads)
        drive(corpus.look())
        half = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = torch.bfloat16 if half else torch.float32
        matmul = matmul_rate(device, precision, size.matrix)
        rows: list[dict[str, Any]] = []
        facts = {
            "machine": machine(device, threads, precision, matmul),
            "batch_size": size.batch_size,
            "queue_size": size.queue_size,
            "rounds": size.rounds,
            "steps": size.steps,
            "results": rows,
        }
        data_sheet = DATA_SHEETS.get(facts["machine"]["device"]) if half else None
        bench = Bench(device, corpus, samples_PN, size, threads, matmul, data_sheet, Path(folder))
        for _ in measured(bench, rows, until, on_gpu if arguments.compile is None else arguments.compile):
            if arguments.json:
                arguments.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for line in markdown(facts):
        print(line)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", metavar="NAME", help="default: resnet50 mobilenetv2 mobilefacenet")
    parser.add_argument("--batch-size", type=int, help="default 256")
    parser.add_argument("--clips", type=int, help="different recordings; default 512")
    parser.add_argument("--rounds", type=int, help="default 9")
    parser.add_argument("--steps", type=int, help="of a round; default 20")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on a GPU")
    parser.add_argument("--minutes", type=float, default=7.0, help="what does not fit is left out; default 7")
    parser.add_argument("--threads", type=int, help="of feed and processor; default: all")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 5 steps: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


def sized(arguments: argparse.Namespace, usual: Size) -> Size:
    """Return how much is to be measured."""
    batch_size = arguments.batch_size or usual.batch_size
    quick = arguments.quick
    return Size(
        encoders=tuple(arguments.encoders or usual.encoders),
        clips=arguments.clips or usual.clips,
        recordings=usual.recordings,
        batch_size=batch_size,
        queue_size=max(1, usual.queue_size // batch_size) * batch_size,
        rounds=arguments.rounds or (min(3, usual.rounds) if quick else usual.rounds),
        steps=arguments.steps or (min(5, usual.steps) if quick else usual.steps),
        matrix=usual.matrix,
    )


def measured(bench: Bench, rows: list[dict[str, Any]], until: float, compile: bool) -> Iterator[None]:
    """Measure all encoders, then all compiled; yield after each, with `rows` as far as they are known."""
    names = bench.size.encoders
    for done, name in enumerate(names):
        left = until - time.monotonic()
        row = {"encoder": name}
        # Each may take as much as each after it.
        share = time.monotonic() + left / (len(names) - done)
        rows.append(attempt(row, partial(bench.measure, name, share)) if left > 0 else row | LEFT_OUT)
        yield
    for at, row in enumerate(rows):
        if not compile or "ways" not in row:
            continue
        if until - time.monotonic() < COMPILING:
            rows[at] = row | {"error": "not compiled: too little time was left (--minutes)"}
        else:
            rows[at] = attempt(row, partial(bench.compile, row["encoder"], row, until))
        yield


def attempt(row: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the row of an encoder; what torch cannot do here is told, and leaves the others their turn."""
    try:
        return work()
    except Exception as error:  # compilers have many of their own
        say(f"{row['encoder']}: {error}", "red")
        return row | {"error": f"{type(error).__name__}: {error}"}


def matmul_rate(device: torch.device, precision: torch.dtype, size: int) -> float:
    """Return the operations a second of products of two large matrices of random numbers.

    On a GPU that of 50 in a row, as hot as a training makes it; on a processor, which is shared, the fastest of 10.
    """
    a, b = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
    in_a_row, times = (50, 1) if device.type == "cuda" else (1, 10)
    out = torch.empty_like(a)

    def seconds() -> float:
        begun = now(device)
        for _ in range(in_a_row):
            torch.mm(a, b, out=out)
        return between(begun, now(device))

    seconds()
    return in_a_row * 2 * size**3 / min(seconds() for _ in range(times))


def machine(device: torch.device, threads: int, precision: torch.dtype, matmul: float) -> dict[str, Any]:
    """Say where this was measured."""
    versions = {name: version(name) for name in ("torch", "torchvision", "torchaudio", "numpy")}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_name(),
        "simd": features.simd(),
        "threads": threads,
        "precision": str(precision).removeprefix("torch."),
        "matmul_tflops": float(f"{matmul / 1e12:.4g}"),
        "versions": {**versions, "asd": version("machine-asd"), "python": platform.python_version()},
    }


def version(package: str) -> str:
    """Return the version of a package, which may only lie on the path."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def markdown(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables."""
    where, done = facts["machine"], [row for row in facts["results"] if "ways" in row]
    yield (
        f"{where['device']}; {where['cpu']}, {where['simd']}, {where['threads']} threads; "
        + ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    )
    yield (
        f"batches of {facts['batch_size']}, a queue of {facts['queue_size']:,}; {facts['rounds']} rounds of "
        f"{facts['steps']} steps; a large product of {where['precision']} matrices: {where['matmul_tflops']:g} "
        "TFLOP/s\n"
    )
    yield "| encoder | way | steps/s | clips/s | share of the product's rate | MFU | share of time for data |"
    yield "|---|---|---|---|---|---|---|"
    for row in done:
        for way, figures in row["ways"].items():
            cells = (
                _spread(figures["steps_per_second"], ".2f"),
                _spread(figures["clips_per_second"], ",.0f"),
                *(_spread(figures[key], ".1%") for key in ("share_of_matmul", "mfu", "data_share")),
            )
            yield f"| {row['encoder']} | {way} | {' | '.join(cells)} |"
    yield "\n| encoder | GFLOP a clip | waiting: 1 − live / resident | live / on device | compiled / eager | GB |"
    yield "|---|---|---|---|---|---|"
    for row in done:
        yield (
            f"| {row['encoder']} | {row['gflop_a_clip']:g} | {_spread(row['waiting'], '.1%')} | "
            f"{_spread(row['live_over_on_device'], '.2f')} | {_spread(row['compiled_over_eager'], '.2f')} | "
            f"{row['memory_gb'] or '–'} |"
        )
    for row in facts["results"]:
        if "error" in row:
            yield f"\n{row['encoder']}: {row['error']}"


def _spread(figure: dict[str, float] | None, digits: str) -> str:
    if figure is None:
        return "–"
    return f"{figure['median']:{digits}} ({figure['low']:{digits}} to {figure['high']:{digits}})"


if __name__ == "__main__":
    main()
