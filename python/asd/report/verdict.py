"""What the alarms mean: against chance, in time, and a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from asd.report.clips import Clip, Section
from asd.words import count, day_and_time, number, percent

Verdict: TypeAlias = Literal["wrong", "listen", "normal", "unjudged"]

VERDICT_WORDS: Mapping[Verdict, str] = {
    "wrong": "Sounds wrong",
    "listen": "Listen to the alarms",
    "normal": "Sounds normal",
    "unjudged": "Not judged",
}

SURPRISING = 0.01
"""So unlikely a number of alarms, if all recordings were normal, is said to mean something."""

FAR = 2.0
"""Severity of an alarm that says something alone."""

SECONDS_A_DAY = 86_400

Basis: TypeAlias = Literal["given", "stamps", "assumed"]

BASIS_WORDS: Mapping[Basis, str] = {
    "given": "as given",
    "stamps": "by their time stamps",
    "assumed": "as if listening without pause; --per-day N tells how many there are",
}

ENOUGH_STAMPS = 3
"""Time stamps of a section from which the pace of recording is told."""


@dataclass(frozen=True, slots=True)
class Since:
    """The latest run of alarms without a normal recording in between; silent recordings are passed over.

    Attributes:
        after: recordings after the run, all of them normal.
    """

    section: str
    first: datetime
    last: datetime
    count: int
    after: int
    source: str

    def words(self) -> str:
        """Return the finding as a sentence."""
        source = "time stamp in the name" if self.source == "name" else "time of the file"
        recordings = f"{self.count} in a row" if self.count > 1 else "one recording"
        if self.after:
            span = day_and_time(self.first)
            if self.last != self.first:
                span += f" to {day_and_time(self.last, self.first)}"
            rest = f"the {count(self.after, 'recording')} after that {'sound' if self.after > 1 else 'sounds'} normal"
            return f"Last alarm {span} ({recordings}; {source}); {rest}."
        return f"Since {day_and_time(self.first)} ({recordings}, up to the latest; {source})."


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Alarms a day to expect from a machine that is well.

    Attributes:
        per_day: recordings a day, of one machine ID.
        source: where `per_day` comes from; "assumed" is listening without pause.
        several: the machine has several IDs, of which this is one.
    """

    rate: float
    interval: tuple[float, float]
    per_day: float
    source: Basis
    several: bool

    def expected(self) -> str:
        """Return the number of alarms."""
        return number(self.rate * self.per_day)

    def range(self) -> str:
        """Return the 95 % interval of `expected`."""
        low, high = (number(rate * self.per_day) for rate in self.interval)
        return f"(95 %: {low} to {high})"

    def basis(self) -> str:
        """Return what the expectation rests on."""
        of = " of one machine ID" if self.several else ""
        return f"{percent(self.rate)} of {number(self.per_day)} recordings a day{of}, {BASIS_WORDS[self.source]}."


def verdict(sections: Sequence[Section]) -> Verdict:
    """Weigh the alarms against chance.

    ``"wrong"``: so many alarms in a section that chance would give them less than once in a hundred times even at the
    upper end of the false-alarm rate's interval (binomial; Bonferroni for several sections), or an alarm as far above
    the limit as the limit is above the typical normal. ``"listen"``: more alarms than chance gives. ``"normal"``: no
    more than that. Silent recordings do not count; ``"unjudged"``: there are no others.
    """
    if not any(s.judged for s in sections):
        return "unjudged"

    def surprising(s: Section) -> bool:
        chance = stats.binom.sf(s.alarms - 1, len(s.judged), s.interval[1])
        return s.alarms > 0 and bool(chance < SURPRISING / len(sections))

    far = any(c.severity >= FAR and c.alarm for s in sections for c in s.clips)
    if far or any(map(surprising, sections)):
        return "wrong"
    more = sum(s.alarms for s in sections) > sum(s.by_chance for s in sections)
    return "listen" if more else "normal"


def since(sections: Sequence[Section]) -> tuple[tuple[Since, ...], str]:
    """Return the latest run of alarms of each section, or why the times do not tell."""
    if not any(s.alarms for s in sections):
        return (), ""
    reason = no_times([c for s in sections for c in s.judged])
    if reason:
        return (), f"Since when is not known: {reason}."
    return tuple(_latest_run(s) for s in sections if s.alarms), ""


def no_times(clips: Sequence[Clip]) -> str:
    """Return why the recordings' times cannot be used, or an empty string."""
    times = [c.time for c in clips if c.time is not None]
    if len(times) < len(clips):
        return "not every recording bears a time"
    if len({c.time_source for c in clips}) > 1:
        return "some times stand in names and some are those of the files"
    if len({t.tzinfo is None for t in times}) > 1:
        return "some times have a time zone and some have none"
    if len(clips) > 1 and len(set(times)) == 1:
        return "all recordings bear the same time"
    sound = sum(c.seconds for c in clips[1:])
    if clips[0].time_source == "file" and max(times) - min(times) < timedelta(seconds=sound / 2):
        return "the files' times are those of a copy, closer together than their sound is long"
    return ""


def _latest_run(section: Section) -> Since:
    """Return the last run of consecutive alarms in the order of time; the section has an alarm and times."""
    clips = sorted(section.judged, key=_time)
    last = max(i for i, c in enumerate(clips) if c.alarm)
    first = last
    while first and clips[first - 1].alarm:
        first -= 1
    return Since(
        section=section.name,
        first=_time(clips[first]),
        last=_time(clips[last]),
        count=last - first + 1,
        after=len(clips) - 1 - last,
        source=str(clips[first].time_source),
    )


def by_time(section: Section) -> list[Clip]:
    """Return the clips of a section in the order of time; all of them bear one."""
    return sorted(section.clips, key=_time)


def _time(clip: Clip) -> datetime:
    assert clip.time is not None
    return clip.time


def false_alarms(
    sections: Sequence[Section], clips: Sequence[Clip], per_day: float | None, window_seconds: float
) -> FalseAlarms:
    """Return the expectation of one machine ID; the interval spans those of all sections.

    Args:
        per_day: recordings a day; default: by the time stamps in the names, else listening without pause.
        window_seconds: a recording counts as at least that long, for the detector hears no less.
    """
    interval = min(s.interval[0] for s in sections), max(s.interval[1] for s in sections)
    rate = max(s.rate for s in sections)
    pace, source = _pace(sections, clips, window_seconds)
    if per_day is not None:
        pace, source = per_day, "given"
    return FalseAlarms(rate, interval, pace, source, len(sections) > 1)


def _pace(sections: Sequence[Section], clips: Sequence[Clip], window_seconds: float) -> tuple[float, Basis]:
    """Return the recordings a day of one machine ID, and where that comes from."""
    gaps: list[float] = []
    for s in sections:
        stamped = len(s.clips) >= ENOUGH_STAMPS and all(c.time_source == "name" for c in s.clips)
        if stamped and not no_times(s.clips):
            times = [_time(c) for c in by_time(s)]
            gaps += [(later - earlier).total_seconds() for earlier, later in pairwise(times) if later > earlier]
    if gaps:
        return SECONDS_A_DAY / float(np.median(gaps)), "stamps"
    return SECONDS_A_DAY / max(float(np.median([c.seconds for c in clips])), window_seconds), "assumed"
