"""How hard the synthetic machines are: the training-free baseline and an oracle, on a written data set.

``python tests/synth_calibration.py [SEED ...]`` prints the table for the default set.

**The baseline** is `asd.detect`'s own (siblings), fitted on the training normals, from files.

**The oracle** knows, of each test clip, the waveform of the fault that it has, or, for a normal clip, of the fault that
it would have: the fault next in turn, of that severity, drawn from that clip's own chance and made for that clip's own
shaft angle or strokes, at its level at the microphone. It does not know whether it is there. It sees the recording
(16 bits) and the mean spectrum of 20 training normals of the ID. Its score is the generalised least squares
estimate of how much of the fault is in the recording, a matched filter after whitening:
a = Re sum(X S* / P) / sum(|S|² / P), 1 with the fault and 0 without. A missing stroke is known as minus the stroke;
a is then 0 with the fault and -1 without, so 1 is added.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from asd.config import FeatureSpec
from asd.data.synth import MACHINES, write_dataset
from asd.data.synth.clip import SEVERITIES, Unit, render
from asd.data.synth.dataset import DEFAULT_TEST, DEFAULT_TRAIN, file_name, plan
from asd.data.synth.room import RATE, grid
from asd.detect.baseline import SIBLINGS, BaselineScorer
from asd.detect.gaussian import Normals
from asd.detect.pooled import pool
from asd.evaluate.metrics import auc
from asd.features import Recording, read_audio, read_recordings

DEFAULT = {"train": DEFAULT_TRAIN, "test": DEFAULT_TEST}
SNR_DB = 6.0
WHITENING_CLIPS = 20


@dataclass(frozen=True)
class Hardness:
    """AUC of one machine type: means over its IDs."""

    baseline: float
    by_severity: dict[float, float]
    by_fault: dict[str, float]
    oracle: float


def write(root: Path, machines: Sequence[str], seed: int, **size: int) -> None:
    """Write a data set to the end."""
    for _ in write_dataset(root, machines=machines, seed=seed, **size):
        pass


def hardness(root: Path, machine: str, seed: int, train: int, test: int) -> Hardness:
    """Score the clips of one machine type with both."""
    with (root / "synth.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["machine"] == machine]
    sections = sorted({row["section"] for row in rows})
    baseline = _baseline_scores(root, rows, sections)
    oracle = {s: _oracle_scores(root, machine, s, seed, train, test) for s in sections}

    def mean_auc(scores: dict[str, dict[str, float]], column: str = "", value: str = "") -> float:
        per_section = []
        for s in sections:
            chosen = [
                row for row in rows
                if row["section"] == s and row["split"] == "test"
                and (row["label"] == "0" or not column or row[column] == value)
            ]  # fmt: skip
            labels = np.array([int(row["label"]) for row in chosen])
            per_section.append(auc(labels, np.array([scores[s][row["path"]] for row in chosen])))
        return float(np.mean(per_section))

    return Hardness(
        mean_auc(baseline),
        {severity: mean_auc(baseline, "severity", str(severity)) for severity in SEVERITIES},
        {fault: mean_auc(baseline, "fault", fault) for fault in MACHINES[machine].faults},
        mean_auc(oracle),
    )


def _baseline_scores(root: Path, rows: list[dict[str, str]], sections: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the score of each test clip by section and path."""
    rows = sorted(rows, key=lambda row: row["path"])
    features = []
    for recording in read_recordings([root / row["path"] for row in rows], FeatureSpec()):
        assert isinstance(recording, Recording), recording
        features.append(pool(recording.logmel_WFT)[0])
    features_ND = np.array(features)
    sections_N = np.array([row["section"] for row in rows])
    train_N = np.array([row["split"] == "train" for row in rows])
    normals = Normals(features_ND[train_N], sections_N[train_N], np.full(train_N.sum(), ""), np.arange(train_N.sum()))
    scorer = BaselineScorer.fit(SIBLINGS, normals, sections)
    scores: dict[str, dict[str, float]] = {}
    for s in sections:
        chosen_N = (sections_N == s) & ~train_N
        paths = [rows[i]["path"] for i in np.flatnonzero(chosen_N)]
        scores[s] = dict(zip(paths, scorer.score({"pooled": features_ND[chosen_N]}, s).tolist(), strict=True))
    return scores


def _oracle_scores(root: Path, machine: str, section: str, seed: int, train: int, test: int) -> dict[str, float]:
    clips = plan(machine, section, train, test, "dcase2020")
    g = grid(10 * RATE)
    unit = Unit.draw(machine, section, g, seed)

    def heard(path: str) -> NDArray[np.complex64]:
        wave_CN, _ = read_audio(root / path)
        return g.spectrum(wave_CN[0])

    normals = [file_name(c) for c in clips if c.split == "train"][:WHITENING_CLIPS]
    noise_K = uniform_filter1d(np.mean([np.abs(heard(path)) ** 2 for path in normals], axis=0), 21)
    anomalies = [c for c in clips if c.label]

    def amount(index: int) -> float:
        clip = tests[index]
        like = clip if clip.label else anomalies[index % len(anomalies)]
        fault_N = render(unit, replace(clip, fault=like.fault, severity=like.severity), seed, SNR_DB).fault_N
        assert fault_N is not None
        fault_K = g.spectrum(fault_N)
        energy = np.sum(np.abs(fault_K) ** 2 / noise_K)
        found = np.sum((heard(file_name(clip)) * fault_K.conj()).real / noise_K)
        return float(found / energy) + (like.fault == "missing-stroke")

    tests = [c for c in clips if c.split == "test"]
    with ThreadPoolExecutor(2) as threads:
        amounts = list(threads.map(amount, range(len(tests))))
    return {file_name(clip): a for clip, a in zip(tests, amounts, strict=True)}


def main(seeds: Sequence[int]) -> None:
    """Print a line for each machine and seed."""
    print("machine  seed  baseline  by severity            oracle   by fault")
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            write(Path(folder) / "data", tuple(MACHINES), seed, **DEFAULT)
            wrote = time.monotonic() - begun
            for machine in MACHINES:
                h = hardness(Path(folder) / "data", machine, seed, **DEFAULT)
                severities = "  ".join(f"{value:.3f}" for value in h.by_severity.values())
                faults = "  ".join(f"{fault} {value:.2f}" for fault, value in h.by_fault.items())
                print(
                    f"{machine:8} {seed:4}  {h.baseline:.3f}     {severities}    {h.oracle:.3f}   {faults}", flush=True
                )
            print(f"seed {seed}: written in {wrote:.1f} s, {time.monotonic() - begun:.1f} s in all", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0])
