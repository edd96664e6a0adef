"""Speed beside what users have today: torchaudio, librosa, soundfile, torch, and a torch `DataLoader`.

    python benches/speed.py [--only SECTION ...] [--rounds N] [--quick] [--threads N] [--json FILE] [--markdown]
    python benches/speed.py --stream N [--json FILE]

Everything in one run, on the same generated recordings in memory (/dev/shm), on one thread and on all: jobs take
turns, once a round; printed are medians of the rounds' ratios, with quartiles. Peers run in the mode that is fastest
for them. $ASD_SIMD chooses our instruction set. --markdown prints the README's table alone; --stream tells what stays
in memory while that many draws are streamed from as many recordings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch
from threadpoolctl import threadpool_limits

import asd
import peers
from asd import augment, features
from asd.bench.clips import as_flac, samples_of, write_clips
from asd.bench.clock import Job, Spread, gain, pace, rounds
from asd.bench.feeding import RECORDINGS, feed_job, survey
from asd.cli._output import drive, say
from asd.train.environment import cpu_name
from asd.words import count as words

BATCH = 64
PEERS = ("torch", "torchaudio", "librosa", "soundfile", "numpy")
SHARED_MEMORY = Path("/dev/shm")
OURS = "asd"
CACHE_GB = 4.0
AHEAD = 3
"""Batches of a data loader, for each worker, that may be there before the clock starts."""
BATCHES_A_WORKER = 4
"""Taken from a data loader in a round."""
FEED_BATCHES = 32
"""Taken from our feed in a round."""
IN_A_ROW = 16
"""Batches of a job that tells how much a second thread gains."""
STREAM_DISTINCT = 2000
"""Different recordings behind the names of a long stream."""


@dataclass(frozen=True)
class Comparison:
    """We and a peer, in the mode that is fastest for it, at the same work on so many threads."""

    work: str
    threads: int
    peer: str
    mode: str
    peer_pace: Spread
    our_pace: Spread
    ratio: Spread


@dataclass(frozen=True)
class Scaling:
    """What independent threads of Python gain over one, what our pool gains in the same rounds, and the quotient."""

    work: str
    threads: int
    apart: Spread
    pool: Spread | None
    share: Spread | None


@dataclass
class Setting:
    """What all sections measure with."""

    wavs: list[Path]
    flacs: list[Path]
    count: int
    widths: list[int]

    def time(self, stage: str, jobs: dict[Any, Job], fewer: int = 1) -> dict[Any, list[float]]:
        """Time jobs in turn; `fewer` divides the rounds."""
        return drive(rounds(jobs, max(3, self.count // fewer), stage, busy_with_children))

    def batch(self) -> np.ndarray:
        """One batch of samples, float32 (B, N)."""
        return samples_of(self.wavs[:BATCH]).astype(np.float32) / np.float32(32768)


def main() -> None:
    """Measure, and print tables."""
    arguments = parse()
    count = arguments.rounds or (3 if arguments.quick else 21)
    widths = sorted({1, arguments.threads or features.available_threads()})
    # Threads of BLAS spin where they have nothing to do: librosa is ten times as fast with one.
    with (
        TemporaryDirectory(prefix="asd-speed-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder,
        threadpool_limits(1, user_api="blas"),
    ):
        if arguments.stream:
            results: list[Any] = [stream(Path(folder), arguments.stream, widths[-1])]
        else:
            wavs = drive(write_clips(Path(folder) / "clips", BATCH if arguments.quick else 512))
            setting = Setting(wavs, as_flac(wavs), count, widths)
            results = [r for name in arguments.only or SECTIONS for r in SECTIONS[name](setting)]
    facts = {"machine": machine(widths), "rounds": count, **grouped(results)}
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for line in markdown(facts, brief=arguments.markdown):
        print(line)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SECTIONS, nargs="+", help="a part of it")
    parser.add_argument("--rounds", type=int, help="default 21; long jobs take a third of them")
    parser.add_argument("--quick", action="store_true", help="3 rounds on few recordings: does it run?")
    parser.add_argument("--threads", type=int, help="beside 1; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--markdown", action="store_true", help="print the README's table alone")
    parser.add_argument("--stream", type=int, default=0, metavar="N", help="only the memory of N draws of N recordings")
    return parser.parse_args()


# --- sections


def logmels(setting: Setting) -> list[Comparison]:
    """Samples -> log-mels of a batch, from memory to memory."""
    spec = asd.FeatureSpec()
    waves_BN = setting.batch()
    out_BFT = asd.logmel(waves_BN)
    torch_BN, torch_out_BFT = torch.from_numpy(waves_BN), torch.from_numpy(out_BFT.copy()).share_memory_()
    torchaudio, librosa, transform = (
        peers.TorchLogMel(spec),
        peers.LibrosaLogMel(spec),
        peers.LibrosaSpectrumLogMel(spec),
    )

    def by_torchaudio(rows: Iterable[int]) -> None:
        for b in rows:
            torch_out_BFT[b] = torchaudio(torch_BN[b])

    def by_librosa(rows: Iterable[int]) -> None:
        for b in rows:
            torch_out_BFT[b] = torch.from_numpy(librosa(waves_BN[b]))

    def by_transform(rows: Iterable[int]) -> None:
        for b in rows:
            torch_out_BFT[b] = torch.from_numpy(transform(waves_BN[b]))

    every = range(len(waves_BN))
    jobs: dict[Any, Job] = {}
    with ExitStack() as stack:
        for n in setting.widths:
            jobs[OURS, "", n] = Job(len(every), partial(asd.logmel, waves_BN, spec, n, out_BFT))
            jobs["torchaudio", f"whole batch, {words(n, 'torch thread')}", n] = torch_job(
                n, partial(torchaudio, torch_BN)
            )
            if n == 1:
                jobs["torchaudio", "clip by clip", n] = torch_job(1, partial(by_torchaudio, every))
                jobs["librosa", "clip by clip", n] = torch_job(1, partial(by_librosa, every))
                jobs["librosa's transform, filters kept", "clip by clip", n] = torch_job(
                    1, partial(by_transform, every)
                )
                continue
            shares = [every[i::n] for i in range(n)]
            together = in_threads(stack, by_torchaudio, shares)
            jobs["torchaudio", f"clip by clip, {n} threads", n] = torch_job(1, together)
            for name, work in (
                ("torchaudio", by_torchaudio),
                ("librosa", by_librosa),
                ("librosa's transform, filters kept", by_transform),
            ):
                apart = in_processes(stack, work, shares)
                jobs[name, f"clip by clip, {n} processes", n] = torch_job(1, apart)
        times = setting.time("log-mels", jobs)
    return compare("samples → log-mel", jobs, times)


def views(setting: Setting) -> list[Comparison]:
    """Log-mels -> two views of a batch, with a full bank."""
    x_BFT, bank_KFT = normalised(setting)
    out_VBFT = np.empty((2, *x_BFT.shape), np.float32)
    position = itertools.count(0, BATCH)
    x, torch_out = torch.from_numpy(x_BFT), torch.from_numpy(out_VBFT.copy()).share_memory_()
    make = peers.TorchViews(peers.Bank(list(torch.from_numpy(bank_KFT))), seed=0)

    def by_torch(rows: Iterable[int]) -> None:
        for b in rows:
            torch_out[:, b] = make(x[b])

    def ours(n: int) -> None:
        asd.two_views(x_BFT, bank_KFT, position=next(position), threads=n, out=out_VBFT)

    def whole(work: Callable[[], object]) -> None:
        work()
        peers.post_normalise(torch_out)

    every = range(len(x_BFT))
    jobs: dict[Any, Job] = {}
    with ExitStack() as stack:
        for n in setting.widths:
            jobs[OURS, "", n] = Job(len(every), partial(ours, n))
            jobs["torch", words(n, "torch thread"), n] = torch_job(n, partial(whole, partial(by_torch, every)))
            if n > 1:
                apart = in_processes(stack, by_torch, [every[i::n] for i in range(n)])
                jobs["torch", f"{n} processes", n] = torch_job(n, partial(whole, apart))
        times = setting.time("two views", jobs)
    return compare("log-mel → two views", jobs, times)


def decoding(setting: Setting) -> list[Comparison]:
    """Files -> float32 samples, a call a file."""

    def by_soundfile(paths: Sequence[Path]) -> None:
        for path in paths:
            soundfile.read(path, dtype="float32")

    def ours(paths: Sequence[Path]) -> None:
        for path in paths:
            asd.read_audio(path)

    found = []
    for name, paths in (("WAV", setting.wavs[: 2 * BATCH]), ("FLAC", setting.flacs[: 2 * BATCH])):
        jobs: dict[Any, Job] = {}
        with ExitStack() as stack:
            for n in setting.widths:
                shares = [paths[i::n] for i in range(n)]
                jobs[OURS, "", n] = Job(len(paths), in_threads(stack, ours, shares))
                jobs["soundfile", words(n, "thread"), n] = Job(len(paths), in_threads(stack, by_soundfile, shares))
            times = setting.time(f"decoding {name}", jobs)
        found += compare(f"{name} → samples", jobs, times)
    return found


def from_files(setting: Setting) -> list[Comparison]:
    """Files -> two views, endlessly."""
    return feeding(setting, "WAV → two views", cached=False)


def from_cache(setting: Setting) -> list[Comparison]:
    """Log-mels in memory -> two views, endlessly."""
    return feeding(setting, "cached log-mel → two views", cached=True)


def feeding(setting: Setting, name: str, cached: bool) -> list[Comparison]:
    """A torch `DataLoader` with as many workers as we have threads, and our feed."""
    corpus = drive(survey(setting.wavs, CACHE_GB if cached else 0.0))
    decoded = peers.FromFiles(setting.wavs, asd.FeatureSpec(), corpus.survey.mean, corpus.survey.std)
    kept = [decoded[i].clone() for i in range(len(decoded))]
    dataset = peers.ViewsDataset(kept if cached else decoded, kept)
    jobs: dict[Any, Job] = {}
    with ExitStack() as feeds:
        for n in setting.widths:
            loader = peers.loader(dataset, BATCH, workers=n)
            take(loader, n)  # the workers are there, and their banks are full
            jobs["DataLoader", words(n, "worker"), n] = Job(
                n * BATCHES_A_WORKER * BATCH,
                partial(take, loader, n * BATCHES_A_WORKER),
                partial(prepare_loader, loader, n),
            )
        for n in setting.widths:
            jobs[OURS, "", n] = feed_job(feeds, corpus, BATCH, FEED_BATCHES, n)
        times = setting.time(name, jobs, fewer=3)
    return compare(name, jobs, times)


def ceiling(setting: Setting) -> list[Scaling]:
    """What the host gives to threads that have nothing to do with each other, and what our pool makes of it.

    Many batches in a row: after a pause, the kernel of a virtual machine first puts two threads on one processor.
    """
    n = setting.widths[-1]
    if n == 1:
        return []
    waves_BN = setting.batch()
    logmel_BFT = np.empty_like(asd.logmel(waves_BN))
    x_BFT, bank_KFT = normalised(setting)
    views_VBFT = np.empty((2, *x_BFT.shape), np.float32)
    position = itertools.count(0, BATCH)
    parts = [slice(i * len(x_BFT) // n, (i + 1) * len(x_BFT) // n) for i in range(n)]
    small = [waves_BN[part][:1] for part in parts]

    def logmel(rows: slice, threads: int) -> None:
        for _ in range(IN_A_ROW):
            asd.logmel(waves_BN[rows], threads=threads, out=logmel_BFT[rows])

    def in_cache(i: int) -> None:
        for _ in range(IN_A_ROW * BATCH // n):
            asd.logmel(small[i], threads=1, out=logmel_BFT[i : i + 1])

    def two_views(rows: slice, threads: int) -> None:
        out = (views_VBFT[0, rows], views_VBFT[1, rows])
        for _ in range(IN_A_ROW):
            asd.two_views(x_BFT[rows], bank_KFT, position=next(position), threads=threads, out=out)

    everything, clips = slice(0, len(x_BFT)), IN_A_ROW * BATCH
    jobs: dict[Any, Job] = {}
    with ExitStack() as stack:
        for name, work in (("samples → log-mel", logmel), ("log-mel → two views", two_views)):
            alone = partial(work, threads=1)
            jobs[name, "in turn"] = Job(clips, partial(each, alone, parts))
            jobs[name, "apart"] = Job(clips, in_threads(stack, alone, parts))
            jobs[name, "one"] = Job(clips, partial(work, everything, 1))
            jobs[name, "pool"] = Job(clips, partial(work, everything, n))
        name = "one clip in cache → log-mel"
        jobs[name, "in turn"] = Job(clips, partial(each, in_cache, range(n)))
        jobs[name, "apart"] = Job(clips, in_threads(stack, in_cache, range(n)))
        times = setting.time("ceiling", jobs)
    found = []
    for name in dict.fromkeys(name for name, _ in jobs):
        in_turn, apart = times[name, "in turn"], times[name, "apart"]
        pool = share = None
        if (name, "pool") in times:
            one, together = times[name, "one"], times[name, "pool"]
            pool = gain(one, together)
            share = Spread.of(a / b * c / d for a, b, c, d in zip(one, together, apart, in_turn, strict=True))
        found.append(Scaling(name, n, gain(in_turn, apart), pool, share))
    return found


def handover(setting: Setting) -> list[dict[str, Any]]:
    """Cost of a call without its work: medians of calls on 1, 2, 4 and 8 tiny clips, extrapolated to none."""
    say("hand-over")
    sizes = (1, 2, 4, 8)
    rng = np.random.default_rng(0)
    waves_BN = rng.uniform(-0.5, 0.5, (max(sizes), 1024)).astype(np.float32)
    x_BFT = rng.standard_normal((max(sizes), 8, 16)).astype(np.float32)
    logmel_BFT, views_VBFT = np.empty_like(asd.logmel(waves_BN)), np.empty((2, *x_BFT.shape), np.float32)
    spec = asd.FeatureSpec()

    def logmel(clips: int) -> Callable[[], object]:
        return partial(asd.logmel, waves_BN[:clips], spec, 1, logmel_BFT[:clips])

    def two_views(clips: int) -> Callable[[], object]:
        return partial(asd.two_views, x_BFT[:clips], x_BFT, 0, 0, 1, views_VBFT[:, :clips].copy())

    found = []
    for make in (logmel, two_views):
        calls = [make(clips) for clips in sizes]
        none = [np.polyfit(sizes, [microseconds(call) for call in calls], 1)[1] for _ in range(setting.count)]
        found.append({"call": f"asd.{make.__name__}", "microseconds": Spread.of(none).json()})
    return found


def memory(setting: Setting) -> list[dict[str, Any]]:
    """Memory of a feed from files, and of one from the cache."""
    draws = 4096 if setting.count <= 3 else 20_000  # of which the ring takes 2048
    folder = setting.wavs[0].parents[2] / "links"
    link(setting.wavs, folder, RECORDINGS)
    return [in_child(folder, draws, cache_gb, setting.widths[-1]) for cache_gb in (0.0, CACHE_GB)]


def stream(folder: Path, count: int, threads: int) -> dict[str, Any]:
    """Memory of many draws from many recordings, whose names lead to some distinct ones."""
    wavs = drive(write_clips(folder / "clips", min(count, STREAM_DISTINCT)))
    link(wavs, folder / "links", count)
    return in_child(folder / "links", count, 0.0, threads)


SECTIONS: dict[str, Callable[[Setting], list[Any]]] = {
    "logmel": logmels,
    "views": views,
    "decode": decoding,
    "feed": from_files,
    "cached": from_cache,
    "ceiling": ceiling,
    "handover": handover,
    "memory": memory,
}


# --- jobs


def microseconds(call: Callable[[], object], calls: int = 2000) -> float:
    """Return the median time of a call. A call that the host interrupts does not move it."""
    taken = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def torch_job(threads: int, work: Callable[[], object]) -> Job:
    """Work on a batch with so many threads of torch."""
    return Job(BATCH, work, partial(torch.set_num_threads, threads))


def in_threads(stack: ExitStack, work: Callable[[Any], object], parts: Sequence[Any]) -> Callable[[], object]:
    """Return the call that does the work on every part at the same time, in threads of Python."""
    pool = stack.enter_context(ThreadPoolExecutor(len(parts)))
    return lambda: list(pool.map(work, parts))


def in_processes(stack: ExitStack, work: Callable[[Any], object], parts: Sequence[Any]) -> Callable[[], object]:
    """Return the call that does the work on every part at the same time, in processes."""
    processes = peers.Processes(lambda i: work(parts[i]), len(parts))
    stack.callback(processes.close)
    return processes


def each(work: Callable[[Any], object], parts: Iterable[Any]) -> None:
    """Do the work on one part after the other."""
    for part in parts:
        work(part)


def take(batches: Iterator[Any], count: int) -> None:
    """Take so many batches."""
    for _ in range(count):
        next(batches)


def prepare_loader(loader: Iterator[Any], workers: int) -> None:
    """Take what was made ahead, so that as much is there when the clock starts as when it stops."""
    torch.set_num_threads(workers)
    take(loader, AHEAD * workers)


def normalised(setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of pre-normalised log-mels, (B, F, T), and a bank of them, (K, F, T)."""
    x_BFT = asd.logmel(setting.batch())
    x_BFT = (x_BFT - x_BFT.mean()) / x_BFT.std()
    return x_BFT, x_BFT[np.arange(augment.BANK_SIZE) % len(x_BFT)]


def busy_with_children() -> float:
    """Return processor seconds of this process and of the workers that live."""
    spent = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def link(wavs: Sequence[Path], folder: Path, count: int) -> None:
    """Fill a folder with `count` names of recordings."""
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:08}.wav").symlink_to(wavs[i % len(wavs)])


def in_child(folder: Path, draws: int, cache_gb: float, threads: int) -> dict[str, Any]:
    """Measure a feed's memory in a process of its own."""
    say(f"memory of a feed, {draws} draws, {cache_gb:g} GB of cache")
    script = Path(__file__).with_name("memory.py")
    options = ["--draws", str(draws), "--cache-gb", str(cache_gb), "--threads", str(threads)]
    told = subprocess.run([sys.executable, script, folder, *options], stdout=subprocess.PIPE, text=True, check=True)
    return {"cache_gb": cache_gb, "threads": threads, **json.loads(told.stdout)}


# --- results


def compare(work: str, jobs: dict[Any, Job], times: dict[Any, list[float]]) -> list[Comparison]:
    """Compare us with the fastest mode of every peer, on each number of threads."""
    found = []
    for peer, n in dict.fromkeys((who, n) for who, _, n in jobs if who != OURS):
        modes = [key for key in jobs if key[0] == peer and key[2] == n]
        theirs = min(modes, key=lambda key: statistics.median(times[key]) / jobs[key].clips)
        ours = OURS, "", n
        # A round of theirs may be of another number of clips than one of ours.
        ratio = Spread.of(
            (a / jobs[theirs].clips) / (b / jobs[ours].clips) for a, b in zip(times[theirs], times[ours], strict=True)
        )
        paces = pace(jobs[theirs], times[theirs]), pace(jobs[ours], times[ours])
        found.append(Comparison(work, n, peer, theirs[1], *paces, ratio))
    return found


def machine(widths: list[int]) -> dict[str, Any]:
    """Say where this was measured."""
    versions = {name: metadata.version(name) for name in PEERS}
    versions |= {"asd": asd.__version__, "python": platform.python_version()}
    return {"cpu": cpu_name(), "simd": features.simd(), "threads": widths[-1], "versions": versions}


def grouped(results: list[Any]) -> dict[str, Any]:
    """Return results as JSON takes them."""

    def plain(value: Any) -> dict[str, Any]:
        return {k: v.json() if isinstance(v, Spread) else v for k, v in vars(value).items()}

    dicts = [r for r in results if isinstance(r, dict)]
    return {
        "comparisons": [plain(r) for r in results if isinstance(r, Comparison)],
        "scaling": [plain(r) for r in results if isinstance(r, Scaling)],
        "handover": [r for r in dicts if "call" in r],
        "memory_mb": [r for r in dicts if "ring" in r],
    }


def markdown(facts: dict[str, Any], brief: bool) -> Iterator[str]:
    """Yield the lines of the tables."""
    where = facts["machine"]
    if not brief:
        versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
        yield f"{where['cpu']}, {where['simd']}, {where['threads']} threads; {versions}; {facts['rounds']} rounds\n"
    if facts["comparisons"]:
        yield "| work | threads | peer | peer, clips/s | asd, clips/s | asd / peer (quartiles) |"
        yield "|---|---|---|---|---|---|"
    for row in facts["comparisons"]:
        theirs, ours = row["peer_pace"]["median"], row["our_pace"]["median"]
        peer = row["peer"] if brief else f"{row['peer']}, {row['mode']}"
        yield f"| {row['work']} | {row['threads']} | {peer} | {theirs:,.0f} | {ours:,.0f} | {spread(row['ratio'], 1)} |"
    if brief:
        return
    if facts["scaling"]:
        n = where["threads"]
        yield f"\n| work | {n} independent threads / 1 | our pool of {n} / 1 | pool / independent |"
        yield "|---|---|---|---|"
    for row in facts["scaling"]:
        yield f"| {row['work']} | {' | '.join(spread(row[k], 2) for k in ('apart', 'pool', 'share'))} |"
    for row in facts["handover"]:
        yield f"\nhand-over of a call of {row['call']}: {spread(row['microseconds'], 2)} µs"
    for row in facts["memory_mb"]:
        beyond = row["most"] - row["ring"] - row["cache"]
        yield (
            f"\nfeed of {row['clips']:,} clips, {row['draws']:,} draws, ring {row['ring']:.0f} MB, "
            f"cache {row['cache']:.0f} MB: most {row['most']:.0f} MB, {beyond:.0f} MB beyond ring and cache, of which "
            f"{row['before']:.0f} MB were there before; {row['ring_full']:.0f} MB when the ring was full, "
            f"{row['end']:.0f} MB at the end ({row['steady_least']:.0f} to {row['steady_most']:.0f} between)"
        )


def spread(figure: dict[str, float] | None, digits: int) -> str:
    """Return a median and its quartiles."""
    if figure is None:
        return "–"
    return f"{figure['median']:.{digits}f} ({figure['low']:.{digits}f}–{figure['high']:.{digits}f})"


if __name__ == "__main__":
    main()
