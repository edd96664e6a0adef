"""What to record next, so that the next verdict is surer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asd.config import FeatureSpec
from asd.report.clips import Clip, Health, Section
from asd.words import are, count, percent

LEVEL_SHIFT_DB = 6.0
"""A change of level from the normals' to be told: half the sound pressure, or twice."""


def advice(
    sections: Sequence[Section],
    health: Health,
    normal_health: Health,
    normals: Sequence[Clip],
    spec: FeatureSpec,
) -> list[str]:
    """Return what to record next, the most useful first."""
    texts = []
    texts += _more_normals(sections, spec)
    if session := _one_session(normals):
        texts.append(
            f"Record on other days, loads and temperatures: all normals come from {session}, and what was not heard "
            "there will be an alarm."
        )
    if health.clipped or normal_health.clipped:
        both = health.clipped + normal_health.clipped
        texts.append(f"Lower the recording gain: {count(both, 'recording')} {are(both)} clipped.")
    if health.silent or normal_health.silent:
        both = health.silent + normal_health.silent
        texts.append(f"Check microphone and cable: {count(both, 'recording')} {are(both)} silent.")
    if health.truncated or normal_health.truncated:
        both = health.truncated + normal_health.truncated
        texts.append(f"Check the recorder: {count(both, 'file')} end before their header says.")
    texts += _mismatch(health, normal_health, spec)
    if len(sections) == 1:
        texts.append(
            "Record a second machine of this type, if there is one: its normals tell ordinary variation from faults."
        )
    return texts


def _more_normals(sections: Sequence[Section], spec: FeatureSpec) -> list[str]:
    """Return how many normals are wanted until the false-alarm rate can be shown; one text for IDs that are alike.

    A new recording ranks above all of n normals once in n + 1 times, so n normals show rates down to 1 / (n + 1).
    """
    wanted: dict[tuple[int, int, str, str], list[str]] = {}
    for s in sections:
        # The small difference keeps 1 / 0.05 - 1 from being more than 19.
        needed = math.ceil(1 / s.rate - 1 - 1e-9)
        if s.support < needed:
            interval = f"{percent(s.interval[0])} and {percent(s.interval[1])}"
            wanted.setdefault((needed - s.support, s.support, percent(s.rate), interval), []).append(s.name)
    texts = []
    for (more, support, rate, interval), names in wanted.items():
        of = f" for ID {', '.join(names)}" if len(sections) > 1 else ""
        each = " each" if len(names) > 1 else ""
        clips = "clip" if more == 1 else "clips"
        texts.append(
            f"Record {more} more normal {clips} of {spec.clip_seconds:g} s{of}{each}: {support} cannot show a "
            f"false-alarm rate of {rate}, {support + more} can. Now it lies between {interval} (95 %)."
        )
    return texts


def _one_session(normals: Sequence[Clip]) -> str:
    """Return the day that all normals come from, where their names tell; else an empty string."""
    days = {c.time.date() for c in normals if c.time is not None and c.time_source == "name"}
    if len(days) != 1 or any(c.time_source != "name" for c in normals):
        return ""
    day = days.pop()
    return f"{day.day} {day:%B %Y}"


def _mismatch(health: Health, normal_health: Health, spec: FeatureSpec) -> list[str]:
    """Return how the recordings differ from the normals in ways that are not the machine's."""
    texts = []
    if health.level and normal_health.level and abs(health.level[1] - normal_health.level[1]) > LEVEL_SHIFT_DB:
        change = health.level[1] - normal_health.level[1]
        texts.append(
            f"Keep gain and microphone where they were: these recordings are {abs(change):.0f} dB "
            f"{'louder' if change > 0 else 'quieter'} than the normals."
        )
    if set(health.rates) - set(normal_health.rates) and normal_health.rates:
        of = " and ".join(f"{r / 1000:g}" for r in sorted(normal_health.rates))
        new = " and ".join(f"{r / 1000:g}" for r in sorted(health.rates))
        texts.append(f"Record at one rate: the normals have {of} kHz, these recordings {new} kHz.")
    several = any(c > 1 for c in (*health.channels, *normal_health.channels))
    if several and spec.channel != "mix":
        texts.append(f"Only channel {spec.channel} was heard; choose another, or their mean, in training.")
    return texts
