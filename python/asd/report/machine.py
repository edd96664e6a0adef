"""One run as a report sees it: counts, verdicts, times, health, advice, from its folder alone.

Sentences are made here and in the modules beside, once, so that the terminal, Markdown and the page say the same.
Drawing and laying out is the business of `plots`, `tables`, `formats` and `html`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asd.config import FeatureSpec, feature_spec
from asd.errors import DataError
from asd.report.advice import advice
from asd.report.clips import Clip, Health, Section, read_clip, sections_of
from asd.report.verdict import VERDICT_WORDS, FalseAlarms, Since, Verdict, false_alarms, no_times, since, verdict
from asd.runs import Run, ScoreRow
from asd.words import are, count, headline, hours


@dataclass(frozen=True)
class Machine:
    """Everything that the report says about one run.

    Attributes:
        name: machine type, with the run's name where two runs share sections.
        since: for each section with alarms the latest run of them; empty where times say nothing.
        no_since: why there is no `since`, or an empty string.
        detector: ``detector.json``.
        beside: the same recordings by the scorers beside the primary one.
        skipped: a sentence for each file that could not be read, in training and in scoring.
    """

    name: str
    run: Run
    machine: str
    sections: tuple[Section, ...]
    spec: FeatureSpec
    verdict: Verdict
    since: tuple[Since, ...]
    no_since: str
    health: Health
    normal_health: Health
    false_alarms: FalseAlarms
    advice: tuple[str, ...]
    detector: Mapping[str, Any]
    rows: tuple[ScoreRow, ...]
    beside: Mapping[str, tuple[ScoreRow, ...]]
    skipped: tuple[str, ...]

    @property
    def clips(self) -> list[Clip]:
        """All scored recordings, in the order of ``scores.csv`` within each section."""
        return [c for s in self.sections for c in s.clips]

    @property
    def ranked(self) -> list[Clip]:
        """Scored recordings, the least normal first by their own limit; silent ones, not judged, are last."""
        return sorted(self.clips, key=lambda c: (c.silent, -c.severity))

    @property
    def judged(self) -> list[Clip]:
        """Scored recordings that are not silent."""
        return [c for s in self.sections for c in s.judged]

    @property
    def alarms(self) -> int:
        """Number of judged recordings above their limit."""
        return sum(s.alarms for s in self.sections)

    @property
    def by_chance(self) -> float:
        """Alarms expected if all judged recordings were normal."""
        return sum(s.by_chance for s in self.sections)

    @property
    def known(self) -> tuple[int, int]:
        """Numbers of labelled normals and labelled anomalies."""
        labels = [c.label for c in self.clips]
        return labels.count(0), labels.count(1)

    def headline(self) -> str:
        """Return how many sound wrong, and how many would by chance."""
        return " ".join(headline_of([self])).rstrip()

    def unjudged(self) -> str:
        """Return how many recordings are silent, and the name of the first, or an empty string."""
        silent = [c for c in self.clips if c.silent]
        if not silent:
            return ""
        more = f" (and {len(silent) - 1:,} more)" if len(silent) > 1 else ""
        n = len(silent)
        return f"{count(n, 'recording')} {are(n)} silent and not judged: {silent[0].name}{more}."

    def faulty(self) -> str:
        """Return how many alarms are those of faulty recordings, or an empty string."""
        alarms = [c for c in self.clips if c.alarm]
        kinds = {
            "clipped": [c for c in alarms if c.is_clipped],
            "cut short": [c for c in alarms if c.truncated],
        }
        parts = [f"{len(clips)} {are(len(clips))} {what}" for what, clips in kinds.items() if clips]
        if not parts:
            return ""
        return f"Of the alarms {' and '.join(parts)}: the fault may be the recording's, not the machine's."

    def found(self) -> str:
        """Return what became of the labelled recordings that were judged, or an empty string."""
        alarms = {label: [c.alarm for c in self.judged if c.label == label] for label in (0, 1)}
        normals, anomalies = len(alarms[0]), len(alarms[1])
        if not anomalies:
            return ""
        false, hits = sum(alarms[0]), sum(alarms[1])
        text = f"Known anomalies: {hits} of {anomalies} found."
        return f"{text} Known normals: {false} of {normals} raised a false alarm." if normals else text

    def lines(self) -> list[str]:
        """Return what a plant wants to know, a sentence or two an entry."""
        expected = self.false_alarms
        lines = [f"{VERDICT_WORDS[self.verdict]}. {self.headline()}", self.unjudged(), self.faulty(), self.found()]
        lines += [f"ID {s.section}: {s.words()}" if len(self.sections) > 1 else s.words() for s in self.since]
        lines += [
            self.no_since,
            f"False alarms to expect a day: {expected.expected()} {expected.range()}. {expected.basis()}",
            f"Recordings: {'; '.join(self.health.words())}.",
            f"Behind it: {', '.join(self.behind())}.",
        ]
        lines += [*self.skipped, *(f"To record next: {text}" for text in self.advice)]
        return [line for line in lines if line]

    def behind(self) -> tuple[str, str]:
        """Return how much normal data stands behind the verdict: the recordings, and what is in them."""
        total = self.normal_health
        ids = f", {count(len(self.sections), 'machine ID')}" if len(self.sections) > 1 else ""
        return count(total.recordings, "normal recording"), f"{hours(total.seconds)} of sound{ids}"

    @property
    def timed(self) -> bool:
        """The recordings' times can be believed."""
        return not no_times(self.clips)


def headline_of(machines: Sequence[Machine]) -> tuple[str, str]:
    """Return how many of the judged recordings sound wrong, and how many would by chance."""
    judged = sum(len(m.judged) for m in machines)
    if not judged:
        return "No recording could be judged: all are silent.", ""
    return headline(sum(m.alarms for m in machines), judged, sum(m.by_chance for m in machines))


def read_machine(run: Run, per_day: float | None) -> Machine:
    """Compute what a report says of one run.

    Args:
        per_day: recordings a day of one machine ID; default: by their time stamps, else listening without pause.

    Raises:
        RunFolderError: the run was not scored; names the command that does.
        DataError: a file of the run folder is damaged; names it.
    """
    rows, recordings, beside = run.scores(), run.recordings(), run.beside()
    scored = [(r.path, r.score) for r in rows]
    others = {"recordings.jsonl": scored == [(r.get("path"), r.get("score")) for r in recordings]}
    others |= {f"scores-{name}.csv": [r.path for r in rows] == [r.path for r in own] for name, own in beside.items()}
    for name, belongs in others.items():
        if not belongs:  # a scoring was interrupted between its files, or two ran at once
            raise DataError(
                f"{run.path / name}: lists other recordings or scores than scores.csv",
                f"Score the run again: {shlex.join(['asd', 'score', str(run.path)])}",
            )
    if not rows:
        raise DataError(f"{run.path / 'scores.csv'}: no recording in it", f"asd score {run.path}")
    try:
        detector = run.detector()
        spec = feature_spec(**detector["spec"])
        ready_seconds = detector["frames"] * spec.hop_length / spec.sample_rate
        clips = [read_clip(r, ready_seconds) for r in recordings]
        sections = sections_of(clips, [read_clip(r, ready_seconds) for r in run.normals()], detector)
        skipped = _skipped(run, detector)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{run.path}: a file of this run is damaged or of another version ({error!r})",
            f"Score the run again: asd score {run.path}",
        ) from error
    normals = [c for s in sections for c in s.normals]
    spans, no_since = since(sections)
    health, normal_health = Health.of(clips), Health.of(normals)
    return Machine(
        name=str(detector["machine"]),
        run=run,
        machine=str(detector["machine"]),
        sections=sections,
        spec=spec,
        verdict=verdict(sections),
        since=spans,
        no_since=no_since,
        health=health,
        normal_health=normal_health,
        false_alarms=false_alarms(sections, clips, per_day, spec.clip_seconds),
        advice=tuple(advice(sections, health, normal_health, normals, spec)),
        detector=detector,
        rows=tuple(rows),
        beside={name: tuple(own) for name, own in beside.items()},
        skipped=tuple(skipped),
    )


def _skipped(run: Run, detector: Mapping[str, Any]) -> list[str]:
    """Return what was left out because it cannot be read (`--skip-bad`)."""
    metrics = run.path / "metrics.json"
    scoring = json.loads(metrics.read_text(encoding="utf-8")).get("skipped", []) if metrics.is_file() else []
    skipped = [("training", s) for s in detector.get("skipped", [])] + [("scoring", s) for s in scoring]
    return [f"{s['file']}: left out of {stage} ({s['reason']})." for stage, s in skipped]
