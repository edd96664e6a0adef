"""Quality of the training-free baselines on real clips: the figures of the README.

    python benches/baselines.py --data FOLDER

FOLDER is a data root of ready log-mels or of audio in the DCASE 2020 layout, with training normals of several IDs.
Prints mean AUC and pAUC over the IDs with 95 % intervals (bootstrap over clips, stratified by label), with all the
training normals and with fewer. Nothing is chosen by these scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import asd
from asd.data.catalog import Catalog, Clip, open_catalog
from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer
from asd.detect.gaussian import Normals
from asd.detect.pooled import pool
from asd.evaluate.bootstrap import intervals
from asd.evaluate.official import aggregate
from asd.evaluate.scored import Scored
from asd.features import Unreadable, read_recordings

DRAWS = 5
"""Random subsets of the normals, where fewer than all are used."""

Features = NDArray[np.float64]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--machine", help="default: the first machine of the data root")
    arguments = parser.parse_args()
    catalog = open_catalog(arguments.data)
    machine = arguments.machine or catalog.machines()[0]
    normals, tests = read(catalog, machine)
    print(f"{machine} in {arguments.data}, IDs {', '.join(tests)}\n")
    print("| system | normals an ID | AUC (95 %) | pAUC (95 %) |")
    print("|---|---|---|---|")
    every = min(np.unique(normals.sections_N, return_counts=True)[1])
    halves = 2 * asd.FeatureSpec().n_mels
    row(
        "per-ID covariance on [mean, std]",
        ALONE,
        cut(normals, halves),
        {s: (x[:, :halves], y) for s, (x, y) in tests.items()},
    )
    for count in (every, 50, 20):
        for name in (SIBLINGS, ALONE):
            if count == every:
                row(name, name, normals, tests)
            elif count < every:
                few(name, normals, tests, count)


def read(catalog: Catalog, machine: str) -> tuple[Normals, dict[str, tuple[Features, NDArray[np.int64]]]]:
    """Pool every clip of the machine."""
    train = catalog.select(machine, split="train")
    normals = Normals(
        pooled(train), np.array([c.section for c in train]), np.full(len(train), ""), np.arange(len(train))
    )
    tests = {}
    for section in catalog.sections(machine):
        clips = [c for c in catalog.select(machine, [section], "test") if c.label is not None]
        tests[section] = pooled(clips), np.array([c.label for c in clips])
    return normals, tests


def pooled(clips: list[Clip]) -> Features:
    """Return the pooled log-mel of each clip's first window, (B, 3·F)."""
    rows = []
    for recording in read_recordings([c.path for c in clips], asd.FeatureSpec()):
        if isinstance(recording, Unreadable):
            raise recording.error()
        rows.append(pool(recording.logmel_WFT)[0])
    return np.stack(rows)


def cut(normals: Normals, size: int) -> Normals:
    """Keep the first `size` features."""
    return Normals(normals.features_ND[:, :size], normals.sections_N, normals.domains_N, normals.units_N)


def scored(name: str, normals: Normals, tests: dict[str, tuple[Features, NDArray[np.int64]]]) -> list[Scored]:
    """Score the test clips of every ID."""
    scorer = BaselineScorer.fit(name, normals, list(tests))
    return [Scored("", s, scorer.score({"pooled": x}, s), y) for s, (x, y) in tests.items()]


def row(label: str, name: str, normals: Normals, tests: dict[str, tuple[Features, NDArray[np.int64]]]) -> None:
    """Print a system with all its normals, and its bootstrap interval."""
    found = intervals(scored(name, normals, tests))
    cells = [f"{own.value:.3f} ({own.low:.3f}–{own.high:.3f})" for own in (found["auc"], found["pauc"])]
    count = min(np.unique(normals.sections_N, return_counts=True)[1])
    print(f"| {label} | {count} | {' | '.join(cells)} |", flush=True)


def few(name: str, normals: Normals, tests: dict[str, tuple[Features, NDArray[np.int64]]], count: int) -> None:
    """Print a system with a part of its normals: mean ± standard deviation over random parts."""
    figures = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        kept_N = np.zeros(len(normals.units_N), dtype=bool)
        for section in tests:
            kept_N[rng.choice(np.flatnonzero(normals.sections_N == section), count, replace=False)] = True
        mean = aggregate(scored(name, normals[kept_N], tests), 2020).mean
        figures.append((mean["auc"], mean["pauc"]))
    cells = [f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" for values in zip(*figures, strict=True)]
    print(f"| {name} | {count} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
