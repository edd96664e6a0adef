"""What a set of recordings is like: rates, channels, level. Said once for the set, not once a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from asd.config import FeatureSpec
from asd.events import Caution, Event, Note
from asd.features import Health

FULL_BAND_RATE = 44_100
"""Hz; from here on a recording holds much that a detector at 16 kHz does not hear."""


def remarks(names: Sequence[str], health: Sequence[Health], spec: FeatureSpec) -> Iterator[Event]:
    """Yield what a user should know of these recordings.

    Args:
        names: of the recordings, in the order of `health`.
    """
    yield from _rates(health, spec)
    yield from _channels(health, spec)
    for problem, flags in {
        "silent": [h.is_silent for h in health],
        "clipped (their loudest samples are cut off)": [h.is_clipped for h in health],
        "cut short (their header promises more)": [h.truncated for h in health],
        "of the same sound as another": _repeats(health),
    }.items():
        found = [name for name, flag in zip(names, flags, strict=True) if flag]
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            yield Caution(f"{len(found)} of {len(names)} recordings {problem}: {found[0]}{more}")


def _rates(health: Sequence[Health], spec: FeatureSpec) -> Iterator[Event]:
    rates = Counter(h.rate for h in health if h.rate is not None)
    others = {rate: n for rate, n in sorted(rates.items()) if rate != spec.sample_rate}
    if others:
        listed = ", ".join(f"{n} at {rate} Hz" for rate, n in others.items())
        yield Note(f"resampled to {spec.sample_rate} Hz: {listed}")
    if max(rates, default=0) >= FULL_BAND_RATE:
        yield Note(
            f"the detector hears {spec.f_min:g} to {spec.f_max:g} Hz; what lies above in recordings at "
            f"{max(rates)} Hz does not count"
        )


def _channels(health: Sequence[Health], spec: FeatureSpec) -> Iterator[Event]:
    most = max((h.channels or 1 for h in health), default=1)
    if most > 1:
        heard = "the mean of the channels" if spec.channel == "mix" else f"channel {spec.channel}"
        yield Note(f"recordings of up to {most} channels: {heard} is used, as the training's --channel says")


def _repeats(health: Sequence[Health]) -> list[bool]:
    """Flag every recording whose samples another one before it has too."""
    seen: set[str] = set()
    flags = []
    for h in health:
        # Digital silence repeats without being a copy.
        known = h.digest is not None and not h.is_silent
        flags.append(known and h.digest in seen)
        if known and h.digest is not None:
            seen.add(h.digest)
    return flags
