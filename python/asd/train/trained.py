"""A trained detector, what it was made of, and its run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.config import Config
from asd.data.catalog import Clip
from asd.detect.detector import Detector, Score
from asd.detect.records import record, unscored
from asd.detect.threshold import aggregate
from asd.features import mel_centres
from asd.runs import write_jsonl, write_npz, write_text
from asd.train.environment import environment
from asd.train.normals import Table


@dataclass(frozen=True, slots=True)
class Trained:
    """A detector and what it was made of.

    Attributes:
        scores: of the primary scorer, for the rows of each modelled section: of fits that had not seen the row. NaN
            for normals that a network was trained on, which have no such score.
    """

    detector: Detector
    table: Table
    scores: dict[str, NDArray[np.float64]]

    def write(
        self, folder: Path, config: Config, others: Sequence[Clip] = (), facts: Mapping[str, Any] | None = None
    ) -> None:
        """Write everything of the run folder but its log.

        Args:
            others: recordings of other machines that a network was trained on, too.
            facts: for ``env.json``, JSON values.

        Raises:
            DataError: the folder cannot be written.
        """
        write_text(folder / "config.toml", config.to_toml())
        write_text(folder / "env.json", environment([*(r.clip for r in self.table.read), *others], facts))
        self.detector.save(folder / "detector")
        write_npz(folder / "profile.npz", self._profile())
        write_npz(folder / "embeddings.npz", self._embeddings())
        write_jsonl(folder / "normals.jsonl", self.normals())

    def normals(self) -> list[dict[str, Any]]:
        """Return a record of each training normal of the modelled sections, with a score that is never resubstitution.

        With the baselines that is the cross-fitted one. With a network, only the normals held out have one; the record
        of those that it was trained on tells the recording's health and time, and null for score and severity.
        """
        read, severity = self.table.read, self.detector.severity
        return [
            record(read[i].clip, s, severity(s), read[i].health)
            if s.windows
            else unscored(read[i].clip, s, read[i].health)
            for i, s in self._own_scores()
        ]

    def _own_scores(self) -> list[tuple[int, Score]]:
        """Return (index in `table.read`, score) of each recording of the modelled sections.

        Only windows with a score count; a recording that has none has no windows and score NaN.
        """
        scores = []
        for section, scores_N in self.scores.items():
            rows_N = self.table.rows.sections_N == section
            clip_N, starts_N = self.table.clip_N[rows_N], self.table.starts_N[rows_N]
            calibration = self.detector.calibrations[self.detector.primary, section]
            for i in np.unique(clip_N):
                own_N = (clip_N == i) & ~np.isnan(scores_N)
                heard = int(own_N.sum())
                score = aggregate(scores_N[own_N], calibration.how) if heard else np.nan
                windows_of = heard or int((clip_N == i).sum())
                threshold = self.detector.threshold(self.detector.primary, section, windows_of)
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
