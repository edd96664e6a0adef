"""Fits the training-free detector and writes its run folder."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.config import Config
from asd.data.catalog import Clip
from asd.data.synth import is_synthetic
from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer, cross_fit
from asd.detect.detector import Detector, Score
from asd.detect.records import record
from asd.detect.threshold import FEW_NORMALS, FEWEST_NORMALS, Calibration, aggregate
from asd.errors import DataError
from asd.events import Caution, Event, Note, Progress
from asd.features import available_threads, mel_centres
from asd.runs import write_jsonl, write_npz, write_text
from asd.train.environment import environment
from asd.train.normals import Table, read_normals
from asd.words import are, count

SMALLEST_FIT = 3
"""Normals without which nothing can be held out, whatever the user accepts."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A detector and what it was made of.

    Attributes:
        scores: of the primary scorer, for the rows of each section: cross-fitted.
    """

    detector: Detector
    table: Table
    scores: dict[str, NDArray[np.float64]]

    def write(self, folder: Path, config: Config) -> None:
        """Write everything of the run folder but its log.

        Raises:
            DataError: the folder cannot be written.
        """
        write_text(folder / "config.toml", config.to_toml())
        write_text(folder / "env.json", environment([r.clip for r in self.table.read]))
        self.detector.save(folder / "detector")
        write_npz(folder / "profile.npz", self._profile())
        write_npz(folder / "embeddings.npz", self._embeddings())
        write_jsonl(folder / "normals.jsonl", self.normals())

    def normals(self) -> list[dict[str, Any]]:
        """Return a record of each training normal of the modelled sections, with its cross-fitted score."""
        read, severity = self.table.read, self.detector.severity
        return [record(read[i].clip, s, severity(s), read[i].health) for i, s in self._own_scores()]

    def _own_scores(self) -> list[tuple[int, Score]]:
        """Return (index in `table.read`, score) of each recording of the modelled sections."""
        scores = []
        for section, scores_N in self.scores.items():
            rows_N = self.table.rows.sections_N == section
            clip_N, starts_N = self.table.clip_N[rows_N], self.table.starts_N[rows_N]
            calibration = self.detector.calibrations[self.detector.primary, section]
            for i in np.unique(clip_N):
                own_N = clip_N == i
                score = aggregate(scores_N[own_N], calibration.how)
                threshold = self.detector.threshold(self.detector.primary, section, int(own_N.sum()))
                windows = tuple(zip(starts_N[own_N].tolist(), scores_N[own_N].tolist(), strict=True))
                path = self.table.read[i].clip.path
                machine = self.detector.machine
                anomalous = score > threshold
                scores.append((int(i), Score(path, machine, section, score, threshold, anomalous, windows)))
        return scores

    def _profile(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {"hz": mel_centres(self.detector.spec)}
        for section in self.detector.sections:
            arrays |= self.table.profiles[section].arrays(section)
        return arrays

    def _embeddings(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        files = np.array([str(r.clip.path) for r in self.table.read])
        for section in self.detector.sections:
            rows_N = self.table.rows.sections_N == section
            arrays[f"{section}/train"] = self.table.rows.features_ND[rows_N].astype(np.float32)
            arrays[f"{section}/train_files"] = files[self.table.clip_N[rows_N]]
        return arrays


def train_baseline(clips: Sequence[Clip], config: Config, sections: Sequence[str]) -> Generator[Event, None, Trained]:
    """Fit both training-free baselines and their thresholds.

    The detector decides by ``baseline-siblings`` where the machine type has other sections to borrow from, else by
    ``baseline-alone``.

    Args:
        clips: training normals of all sections of one machine type.
        sections: those to model.

    Raises:
        DataError: a recording cannot be read, too few normals.
    """
    table = yield from read_normals(clips, config)
    for section in sections:
        yield from _enough(table, section, config)
    has_siblings = len(set(table.rows.sections_N.tolist())) > 1
    names = [SIBLINGS, ALONE] if has_siblings else [ALONE]
    scorers = {}
    calibrations = {}
    held_out: dict[str, NDArray[np.float64]] = {}
    threads = config.threads or available_threads()
    steps = len(names) * len(sections)
    for name in names:
        scorers[name] = BaselineScorer.fit(name, table.rows, sections)
        for section in sections:
            scores_N = cross_fit(name, table.rows, section, threads)
            calibrations[name, section] = _calibrate(table, section, scores_N, config)
            if name == names[0]:
                held_out[section] = scores_N
                yield from _worth(f"{clips[0].machine} {section}", calibrations[name, section])
            yield Progress("fitting", len(calibrations), steps)
    detector = Detector(
        machine=clips[0].machine,
        sections=tuple(sections),
        spec=config.features,
        frames=table.frames,
        scorers=scorers,
        calibrations=calibrations,
        notes={
            "method": config.method,
            "data_root": config.data.root or config.data.normal,
            "synthetic": is_synthetic(Path(config.data.root or config.data.normal)),
            "skipped": [{"file": str(u.path), "reason": u.reason} for u in table.skipped],
        },
    )
    return Trained(detector, table, held_out)


def _enough(table: Table, section: str, config: Config) -> Generator[Event, None, None]:
    """Refuse what no threshold can stand on."""
    rows_N = table.rows.sections_N == section
    windows_G = np.unique(table.groups_N[rows_N], return_counts=True)[1]
    recordings = len(np.unique(table.clip_N[rows_N]))
    # Of few but long recordings, every other window counts: its neighbours overlap it.
    normals = recordings if recordings == len(windows_G) else int(np.ceil(windows_G / 2).sum())
    units = len(np.unique(table.rows.units_N[rows_N]))
    machine = table.read[0].clip.machine
    if units < SMALLEST_FIT:
        raise DataError(
            f"{machine} {section}: {count(units, 'normal recording or session', 'normal recordings or sessions')} "
            "cannot be held out to set a threshold",
            f"Record at least {FEWEST_NORMALS} while the machine is well.",
        )
    if normals < FEWEST_NORMALS and not config.force:
        raise DataError(
            f"{machine} {section}: {count(normals, 'normal recording')} {are(normals)} too few for a threshold "
            f"(wanted {FEWEST_NORMALS}, better {FEW_NORMALS})",
            "Record more while the machine is well, or accept a rough threshold with --force.",
        )
    if len(windows_G) != recordings:
        yield Note(
            f"{machine} {section}: few but long recordings, so {len(windows_G)} stretches of time take turns "
            "in being held out"
        )


def _worth(place: str, calibration: Calibration) -> Generator[Event, None, None]:
    """Say what rate of false alarms the normals at hand cannot show."""
    normals = calibration.support
    if normals < 1 / calibration.rate - 1:
        few = "only " if normals < FEW_NORMALS else ""
        yield Caution(
            f"{place}: {few}{normals} normals can show a false-alarm rate of {1 / (normals + 1):.1%} at the lowest; "
            f"the threshold for {calibration.rate:.1%} is extrapolated"
        )


def _calibrate(table: Table, section: str, scores_N: NDArray[np.float64], config: Config) -> Calibration:
    groups_N = table.groups_N[table.rows.sections_N == section]
    by_group = [scores_N[groups_N == g] for g in np.unique(groups_N)]
    stretches = len(by_group) != len(np.unique(table.clip_N[table.rows.sections_N == section]))
    return Calibration(by_group, config.false_alarm_rate, config.aggregate, stretches)
