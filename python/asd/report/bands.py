"""In which frequencies the anomalies lie: how far each band deviates from the normals, and how well it alone tells.

Of each recording three numbers a band are taken, as the training-free baseline does: mean over time, standard
deviation over time, standard deviation of the first difference. Each is measured in standard deviations of the
section's training normals. The score of a region of frequency is the mean square over its bands; its AUC says how
well anomalies would be told by that region alone. Recordings must be there still; nothing of a network is used.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd import features
from asd.evaluate.bootstrap import Interval, intervals, paired
from asd.evaluate.scored import Scored
from asd.events import Event, Progress
from asd.report.clips import Clip
from asd.report.deviation import DB_PER_LN
from asd.report.machine import Machine

EDGES_HZ = (500.0, 1000.0, 2000.0, 4000.0)
"""Between regions; the outermost reach to the ends of the front end's range."""

HIGH_HZ = 4000.0
"""From here on frequencies are high: where the augmentation of arXiv 2509.15570 mixes at full strength."""

RESAMPLES = 500

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BandRegion:
    """A region of frequency.

    Attributes:
        auc, pauc: of its deviation alone, means over the machine IDs.
        share: of the anomalies, those that deviate most in this region; shares add up to 1.
        db: mean absolute level difference from the normals' mean, of test normals and of anomalies.
    """

    low_hz: float
    high_hz: float
    auc: Interval
    pauc: Interval
    share: float
    db: tuple[float, float]

    @property
    def high(self) -> bool:
        """It lies in the high frequencies."""
        return self.low_hz >= HIGH_HZ


@dataclass(frozen=True)
class Bands:
    """Where the anomalies of a machine lie.

    Attributes:
        regions: from low to high.
        hz_F: band centres.
        normal_F, anomaly_F: root mean square deviation of test normals and of anomalies, in standard deviations.
        lead: AUC of the high region minus that of the best other one, the same clips drawn for both; None where there
            are not both.
        recordings: labelled recordings that could be read.
    """

    regions: tuple[BandRegion, ...]
    lead: Interval | None
    hz_F: Floats
    normal_F: Floats
    anomaly_F: Floats
    recordings: int

    def words(self) -> str:
        """Say whether the anomalies lie in high frequencies, as the paper expects."""
        question = "Do the anomalies lie in high frequencies, as arXiv 2509.15570 expects?"
        high = [r for r in self.regions if r.high]
        if not high or self.lead is None:
            return f"{question} It cannot be told: nothing on both sides of {HIGH_HZ / 1000:g} kHz was heard."
        (top,) = high
        best = max((r for r in self.regions if not r.high), key=lambda r: r.auc.value)
        verdict = "yes" if self.lead.low > 0 else "no" if self.lead.high < 0 else "no more than elsewhere"
        signed = [f"{100 * v:+.1f}".replace("-", "−") for v in (self.lead.value, self.lead.low, self.lead.high)]
        above = f"above {HIGH_HZ / 1000:g} kHz"
        return (
            f"{question} Here: {verdict}. {100 * top.share:.0f} % of them deviate most {above}, and that region alone "
            f"has an AUC of {100 * top.auc.value:.1f} %; the best below it, {hz_words(best)}, has "
            f"{100 * best.auc.value:.1f} % (difference {signed[0]} points, 95 %: {signed[1]} to {signed[2]})."
        )

    def json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "recordings": self.recordings,
            "high_minus_best_other": None if self.lead is None else asdict(self.lead),
            "regions": [
                {
                    "low_hz": r.low_hz,
                    "high_hz": r.high_hz,
                    "auc": asdict(r.auc),
                    "pauc": asdict(r.pauc),
                    "share_of_anomalies": r.share,
                    "db_normals": r.db[0],
                    "db_anomalies": r.db[1],
                }
                for r in self.regions
            ],
        }


def hz_words(region: BandRegion) -> str:
    """Return ``"below 0.5 kHz"``, ``"1–2 kHz"``."""
    low, high = region.low_hz / 1000, region.high_hz / 1000
    return f"{low:g}–{high:g} kHz"


def read_bands(machine: Machine) -> Generator[Event, None, Bands | None]:
    """Read the labelled recordings of a machine; None where normals or anomalies are missing."""
    sections = [s for s in machine.sections if s.labelled]
    clips = [c for s in sections for c in s.clips if c.label is not None]
    if not clips:
        return None
    rows: list[Floats] = []
    heard: list[Clip] = []
    for done, recording in enumerate(features.read_recordings([c.file for c in clips], machine.spec), 1):
        if not isinstance(recording, features.Unreadable):
            rows.append(_pooled(recording.logmel_WFT))
            heard.append(clips[done - 1])
        yield Progress("looking at bands", done, len(clips))
    if not rows:
        return None
    return _bands(machine, heard, np.stack(rows))


def _pooled(logmel_WFT: NDArray[np.float32]) -> Floats:
    """Return (3, F): mean, standard deviation, and that of the first difference, over time; means over windows."""
    x_WFT = logmel_WFT.astype(np.float64)
    jumps_WF = np.diff(x_WFT, axis=2).std(2) if x_WFT.shape[2] > 1 else np.zeros(x_WFT.shape[:2])
    return np.asarray(np.stack([x_WFT.mean(2), x_WFT.std(2), jumps_WF]).mean(1))


def _bands(machine: Machine, clips: Sequence[Clip], pooled_B3F: Floats) -> Bands | None:
    bands = machine.spec.n_mels
    embeddings, hz_F = machine.run.embeddings(), machine.run.profile()["hz"].astype(np.float64)
    z_B3F, db_BF = np.zeros_like(pooled_B3F), np.zeros_like(pooled_B3F[:, 0])
    names_B = np.array([c.section for c in clips])
    for section in set(names_B.tolist()):
        own_B = names_B == section
        normals_N3F = embeddings[f"{section}/train"].astype(np.float64).reshape(-1, 3, bands)
        spread_3F = np.maximum(normals_N3F.std(0), 1e-3)
        z_B3F[own_B] = (pooled_B3F[own_B] - normals_N3F.mean(0)) / spread_3F
        db_BF[own_B] = np.abs(pooled_B3F[own_B, 0] - normals_N3F[:, 0].mean(0)) * DB_PER_LN
    squares_BF = (z_B3F**2).mean(1)
    labels_B = np.array([c.label for c in clips], dtype=np.int64)
    spans = _spans(machine, hz_F)
    scores_RB = np.stack([squares_BF[:, mask_F].mean(1) for _, _, mask_F in spans])
    scored = [_groups(machine.machine, names_B, labels_B, score_B) for score_B in scores_RB]
    if not scored[0]:
        return None
    most_B = scores_RB.argmax(0)[labels_B == 1]
    regions = []
    for r, (low, high, mask_F) in enumerate(spans):
        found = intervals(scored[r], resamples=RESAMPLES)
        normal, anomaly = (float(db_BF[labels_B == label][:, mask_F].mean()) for label in (0, 1))
        share = float((most_B == r).mean())
        regions.append(BandRegion(low, high, found["auc"], found["pauc"], share, (normal, anomaly)))
    normal_F, anomaly_F = (np.sqrt(np.median(squares_BF[labels_B == label], axis=0)) for label in (0, 1))
    return Bands(tuple(regions), _lead(regions, scored), hz_F, normal_F, anomaly_F, len(clips))


def _spans(machine: Machine, hz_F: Floats) -> list[tuple[float, float, NDArray[np.bool_]]]:
    """Return edges and bands of the regions that have some."""
    low, high = machine.spec.f_min, machine.spec.f_max
    edges = [low, *(e for e in EDGES_HZ if low < e < high), high]
    spans = [(a, b, (hz_F >= a) & (hz_F < b)) for a, b in pairwise(edges)]
    return [span for span in spans if span[2].any()]


def _lead(regions: Sequence[BandRegion], scored: Sequence[Sequence[Scored]]) -> Interval | None:
    high = [r for r, region in enumerate(regions) if region.high]
    others = [r for r, region in enumerate(regions) if not region.high]
    if not high or not others:
        return None
    best = max(others, key=lambda r: regions[r].auc.value)
    return paired(scored[high[-1]], scored[best], "auc", resamples=RESAMPLES)


def _groups(machine: str, names_B: NDArray[Any], labels_B: NDArray[np.int64], scores_B: Floats) -> list[Scored]:
    groups = []
    for section in sorted(set(names_B.tolist())):
        own_B = names_B == section
        if set(labels_B[own_B].tolist()) == {0, 1}:
            groups.append(Scored(machine, section, scores_B[own_B], labels_B[own_B]))
    return groups
