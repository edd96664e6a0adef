"""Memory of a feed, in a process of its own: resident before, with a full ring, and after many draws.

    python benches/memory.py FOLDER --draws 100000 [--cache-gb 0] [--threads N]

FOLDER holds recordings. Prints JSON, in MB: what was resident before the recordings were read; after the ring of
earlier clips was full; at the end; the most there ever was; and how large ring and cache are by design.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

import asd
from asd import augment, features
from asd.bench.feeding import PREFETCH

BATCH = 64
MB = 1e6


def main() -> None:
    """Feed, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--cache-gb", type=float, default=0.0)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.iterdir())
    features.read_logmel(paths[0])
    before = resident()
    corpus = asd.Corpus(paths, cache_gb=arguments.cache_gb, threads=arguments.threads)
    for _ in corpus.look():
        pass
    surveyed = resident()
    full, steady = -(-augment.BANK_SIZE // BATCH), []
    with asd.Feed(corpus, batch_size=BATCH, seed=0, threads=arguments.threads, prefetch=PREFETCH) as feed:
        for number, batch in enumerate(islice(feed, max(full + 1, arguments.draws // BATCH))):
            clip = batch.views_VBFT[0, 0].nbytes
            if number >= full:
                steady.append(resident())
    cached = clip * len(corpus.survey.files_N) if arguments.cache_gb else 0
    figures = {
        "clips": len(paths),
        "draws": BATCH * (full + len(steady)),
        "before": before,
        "surveyed": surveyed,
        "ring_full": steady[0],
        "end": steady[-1],
        "steady_least": min(steady),
        "steady_most": max(steady),
        "most": resident("VmHWM"),
        "ring": augment.BANK_SIZE * clip,
        "cache": min(cached, arguments.cache_gb * 1e9),
    }
    in_mb = {k: v if k in ("clips", "draws") else round(v / MB, 1) for k, v in figures.items()}
    print(json.dumps(in_mb))


def resident(field: str = "VmRSS") -> int:
    """Return the bytes of this process that are in memory now, or ever were (`VmHWM`).

    The kernel's own count of the latter, `ru_maxrss`, begins with that of whoever started this process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
