"""The recordings of a run: what was scored, section by section, and how well it was recorded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from asd.features import CLIPPED_SHARE


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording with its score.

    Attributes:
        name: as in ``scores.csv``.
        file: where it was when it was scored.
        label: 0 normal, 1 anomaly, None unknown.
        threshold: of a recording of its length.
        severity: 0 for the typical normal of its section, 1 at the alarm limit.
        windows: (start in seconds, score) of each window. A normal that a network was trained on has none, and NaN for
            its score and its severity: a score of what was learnt by heart would say nothing.
        nearest: the training normal that is most like it.
    """

    name: str
    file: Path
    section: str
    label: int | None
    score: float
    threshold: float
    severity: float
    anomalous: bool
    windows: tuple[tuple[float, float], ...]
    nearest: Path | None
    time: datetime | None
    time_source: str | None
    seconds: float
    rate: int | None
    channels: int | None
    rms_dbfs: float | None
    clipped: float | None
    silent: bool
    truncated: bool

    @property
    def alarm(self) -> bool:
        """It sounds wrong. A silent recording is not judged: its score speaks of the microphone."""
        return self.anomalous and not self.silent

    @property
    def is_clipped(self) -> bool:
        """So many samples are at full scale that the sound is cut off."""
        return self.clipped is not None and self.clipped > CLIPPED_SHARE

    @property
    def loudest_alarm(self) -> float:
        """Start, in seconds, of the window with the highest score."""
        return max(self.windows, key=lambda w: w[1])[0] if self.windows else 0.0

    @property
    def most_normal(self) -> float:
        """Start, in seconds, of the window with the lowest score."""
        return min(self.windows, key=lambda w: w[1])[0] if self.windows else 0.0


@dataclass(frozen=True, slots=True)
class Section:
    """One machine ID: its alarms, its limit, and what stands behind it.

    Attributes:
        threshold: of a recording as long as its normals are.
        support: normals that stand behind the limit and count as independent.
        rate, interval: false-alarm rate that the threshold aims at, and the 95 % interval of what it is.
    """

    name: str
    clips: tuple[Clip, ...]
    normals: tuple[Clip, ...]
    threshold: float
    support: int
    rate: float
    interval: tuple[float, float]

    @property
    def judged(self) -> list[Clip]:
        """The recordings that are not silent."""
        return [c for c in self.clips if not c.silent]

    @property
    def labelled(self) -> bool:
        """Normals and anomalies are known among the recordings."""
        return {0, 1} <= {c.label for c in self.clips}

    @property
    def alarms(self) -> int:
        """Number of judged recordings above the limit."""
        return sum(c.alarm for c in self.clips)

    @property
    def by_chance(self) -> float:
        """Alarms expected if all judged recordings were normal."""
        return self.rate * len(self.judged)


@dataclass(frozen=True, slots=True)
class Health:
    """How well a set of recordings is recorded. Ready log-mels count in `recordings` and `unknown` only."""

    recordings: int
    unknown: int
    level: tuple[float, float, float] | None
    clipped: int
    silent: int
    truncated: int
    rates: Mapping[int, int]
    channels: Mapping[int, int]
    seconds: float

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Health:
        """Sum up clips; `level` is the lowest, the median and the highest RMS in dBFS, silent ones left out."""
        levels = [c.rms_dbfs for c in clips if c.rms_dbfs is not None and not c.silent]
        return cls(
            recordings=len(clips),
            unknown=sum(c.rate is None for c in clips),
            level=(min(levels), float(np.median(levels)), max(levels)) if levels else None,
            clipped=sum(c.is_clipped for c in clips),
            silent=sum(c.silent for c in clips),
            truncated=sum(c.truncated for c in clips),
            rates=Counter(c.rate for c in clips if c.rate is not None),
            channels=Counter(c.channels for c in clips if c.channels is not None),
            seconds=sum(c.seconds for c in clips),
        )

    def verdict(self) -> str:
        """Return the state in a word or two."""
        if self.unknown == self.recordings:
            return "Not known"
        faults = ((self.silent, "silent"), (self.clipped, "clipped"), (self.truncated, "cut short"))
        return ", ".join(f"{n:,} {what}" for n, what in faults if n) or "Good"

    def words(self) -> list[str]:
        """Return one plain fact an entry."""
        if self.unknown == self.recordings:
            return ["ready log-mels: level, clipping and rate of the sound are not known"]
        facts = []
        if self.level:
            low, middle, high = self.level
            facts.append(f"level {middle:.0f} dBFS ({low:.0f} to {high:.0f})".replace("-", "−"))
        for number, what in ((self.clipped, "clipped"), (self.silent, "silent"), (self.truncated, "cut short")):
            facts.append(f"{number or 'none'} {what}")
        facts.append(" and ".join(f"{r / 1000:g} kHz" for r in sorted(self.rates)))
        if set(self.channels) != {1}:
            facts.append(f"{' and '.join(map(str, sorted(self.channels)))} channels")
        return facts


def read_clip(row: Mapping[str, Any], ready_seconds: float) -> Clip:
    """Return a line of ``recordings.jsonl``; a ready log-mel, whose length is not noted, is as long as all are."""
    return Clip(
        name=row["path"],
        file=Path(row["file"]),
        section=row["section"],
        label=row["label"],
        score=_number(row["score"]),
        threshold=float(row["threshold"]),
        severity=_number(row["severity"]),
        anomalous=bool(row["anomalous"]),
        windows=tuple((float(start), float(score)) for start, score in row["windows"]),
        nearest=Path(row["nearest"]) if row["nearest"] else None,
        time=datetime.fromisoformat(row["time"]) if row["time"] else None,
        time_source=row["time_source"],
        seconds=ready_seconds if row["seconds"] is None else float(row["seconds"]),
        rate=row["rate"],
        channels=row["channels"],
        rms_dbfs=row["rms_dbfs"],
        clipped=row["clipped"],
        silent=bool(row["silent"]),
        truncated=bool(row["truncated"]),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def sections_of(clips: Sequence[Clip], normals: Sequence[Clip], detector: Mapping[str, Any]) -> tuple[Section, ...]:
    """Return the sections that were scored."""
    sections = []
    for name in sorted({c.section for c in clips}):
        own = tuple(n for n in normals if n.section == name)
        about = detector["sections"][name]
        low, high = about["interval"]
        sections.append(
            Section(
                name=name,
                clips=tuple(c for c in clips if c.section == name),
                normals=own,
                threshold=float(about["threshold"]),
                support=int(about["support"]),
                rate=float(about["false_alarm_rate"]),
                interval=(float(low), float(high)),
            )
        )
    return tuple(sections)
