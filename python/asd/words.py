"""Numbers, lengths and times as plain words."""

from __future__ import annotations

import math
from datetime import datetime


def headline(alarms: int, recordings: int, by_chance: float) -> tuple[str, str]:
    """Return ``"3 of 120 recordings sound wrong."`` and ``"About 1.2 would by chance."``."""
    subject = f"{alarms:,} of {recordings:,}" if alarms else f"None of {recordings:,}"
    noun, verb = "recording" if recordings == 1 else "recordings", "sound" if alarms > 1 else "sounds"
    return f"{subject} {noun} {verb} wrong.", f"About {number(by_chance)} would by chance."


def count(n: int, singular: str, plural: str = "") -> str:
    """Return ``"1 recording"``, ``"1,200 recordings"``."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def are(n: int) -> str:
    """Return the verb for `n` things."""
    return "is" if n == 1 else "are"


def number(value: float) -> str:
    """Return a quantity with two figures that matter: ``0.034``, ``0.7``, ``1.2``, ``86``, ``1,240``."""
    if value == 0:
        return "0"
    if value < 9.95:
        digits = max(1, 1 - math.floor(math.log10(value)))
        return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"
    return f"{value:,.0f}"


def percent(fraction: float) -> str:
    """Return a share: ``1 %``, ``0.03 %``."""
    return f"{number(100 * fraction)} %"


def points(fraction: float) -> str:
    """Return a signed difference in percentage points: ``+1.20``, ``−0.34``."""
    return f"{100 * fraction:+.2f}".replace("-", "−")


def size(n_bytes: float) -> str:
    """Return a size with three figures: ``812 B``, ``1.24 MB``, ``12 GB``."""
    units = ["TB", "GB", "MB", "kB", "B"]
    while n_bytes >= 999.5 and len(units) > 1:
        n_bytes /= 1000
        units.pop()
    return f"{n_bytes:.3g} {units[-1]}" if n_bytes < 999.5 else f"{n_bytes:,.0f} {units[-1]}"


def hours(seconds: float) -> str:
    """Return a length: ``12 minutes``, ``3.4 hours``."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def day_and_time(when: datetime, after: datetime | None = None) -> str:
    """Return ``"3 May 2024, 11:20"``; only ``"11:20"`` where `after` is on the same day."""
    if after is not None and after.date() == when.date():
        return f"{when:%H:%M}"
    return f"{when.day} {when:%B %Y}, {when:%H:%M}"
