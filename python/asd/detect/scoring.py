"""Scores a list of recordings with everything that a report needs beside the figure."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from asd import features
from asd.data.catalog import Clip
from asd.data.health import remarks
from asd.detect.blas import one_blas_thread
from asd.detect.detector import Detector, Score
from asd.detect.pooled import POOLED
from asd.detect.records import NearestNormal, record
from asd.errors import DataError
from asd.events import Caution, Event, Progress
from asd.runs import ScoreRow


@dataclass(slots=True)
class Scored:
    """What came out.

    Attributes:
        rows: by the primary scorer.
        beside: by each of the others.
        records: lines of ``recordings.jsonl``.
        skipped: recordings that could not be read.
    """

    rows: list[ScoreRow] = field(default_factory=list)
    beside: dict[str, list[ScoreRow]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[features.Unreadable] = field(default_factory=list)


def score_clips(
    detector: Detector,
    clips: Sequence[Clip],
    nearest: NearestNormal,
    *,
    skip_bad: bool = False,
    threads: int | None = None,
) -> Generator[Event, None, Scored]:
    """Score recordings whose sections the detector knows.

    Raises:
        DataError: a recording cannot be read (unless `skip_bad`), or none can.
    """
    scored = Scored(beside={name: [] for name in list(detector.scorers)[1:]})
    heard: list[features.Health] = []
    recordings = features.read_recordings([c.path for c in clips], detector.spec, threads)
    for done, (clip, recording) in enumerate(zip(clips, recordings, strict=True), 1):
        yield Progress("scoring", done, len(clips))
        if isinstance(recording, features.Unreadable):
            if not skip_bad:
                raise recording.error().or_else("go on without such recordings: --skip-bad")
            scored.skipped.append(recording)
            yield Caution(f"skipped {recording.path}: {recording.reason}")
            continue
        heard.append(recording.health)
        _judge(detector, clip, recording, nearest, scored)
    if not scored.rows:
        raise DataError(f"none of the {len(clips)} recordings can be read", "Look at them with: asd data verify")
    yield from remarks([r.path for r in scored.rows], heard, detector.spec)
    return scored


def _judge(
    detector: Detector, clip: Clip, recording: features.Recording, nearest: NearestNormal, scored: Scored
) -> None:
    """Score one recording with every scorer and note it in `scored`."""
    with one_blas_thread():
        embedded = detector.embeddings(recording)
        score = detector.judge(recording, clip.section, embedded=embedded)
        scored.rows.append(_row(clip, score))
        for name, rows in scored.beside.items():
            rows.append(_row(clip, detector.judge(recording, clip.section, name, embedded)))
        worst = max(range(len(score.windows)), key=lambda w: score.windows[w][1])
        file = nearest.find(clip.section, embedded[POOLED][worst])
    scored.records.append(record(clip, score, detector.severity(score), recording.health, file))


def _row(clip: Clip, score: Score) -> ScoreRow:
    return ScoreRow(
        path=clip.name,
        machine=score.machine,
        section=score.section,
        domain=clip.domain,
        label=clip.label,
        score=score.score,
        threshold=score.threshold,
        anomalous=score.anomalous,
    )
