"""Decodes every recording and finds what training would stumble over, and what makes results weaker than they look."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from asd.config import FeatureSpec
from asd.data.catalog import Clip
from asd.events import Event, Progress
from asd.features import Health, Unreadable, scan


@dataclass(frozen=True, slots=True)
class Checked:
    """One recording: its health as far as it could be read, and why it cannot be used.

    Attributes:
        health: None where the file could not be decoded.
        reason: empty for a usable recording.
        hint: what to do about the reason.
    """

    clip: Clip
    health: Health | None
    reason: str = ""
    hint: str = ""

    @property
    def findings(self) -> list[str]:
        """What is wrong in words: broken, silent, clipped, truncated; empty for nothing."""
        health = self.health
        flags = {
            "broken": bool(self.reason),
            "silent": health is not None and health.is_silent,
            "clipped": health is not None and health.is_clipped,
            "truncated": health is not None and health.truncated,
        }
        return [word for word, flag in flags.items() if flag]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found, in the order of the clips."""

    checked: tuple[Checked, ...]

    @property
    def broken(self) -> list[Checked]:
        """Recordings that training and scoring refuse."""
        return self._with("broken")

    @property
    def silent(self) -> list[Checked]:
        """Recordings in which nothing is to be heard."""
        return self._with("silent")

    @property
    def clipped(self) -> list[Checked]:
        """Recordings whose loudest samples are cut off."""
        return self._with("clipped")

    @property
    def truncated(self) -> list[Checked]:
        """Recordings that end before their header says."""
        return self._with("truncated")

    @property
    def duplicates(self) -> list[list[Checked]]:
        """Groups of recordings of the same samples. Digital silence repeats without being a copy."""
        groups: dict[str, list[Checked]] = defaultdict(list)
        for c in self.checked:
            if c.health and c.health.digest is not None and not c.health.is_silent:
                groups[c.health.digest].append(c)
        return [group for group in groups.values() if len(group) > 1]

    @property
    def leaks(self) -> list[list[Checked]]:
        """Groups of copies that are trained on and tested: their scores say nothing."""
        return [group for group in self.duplicates if len({c.clip.split for c in group}) > 1]

    @property
    def rates(self) -> dict[int, int]:
        """Recordings of each rate, Hz."""
        return dict(sorted(Counter(c.health.rate for c in self.checked if c.health and c.health.rate).items()))

    @property
    def channels(self) -> dict[int, int]:
        """Recordings of each number of channels."""
        found = Counter(c.health.channels for c in self.checked if c.health and c.health.channels)
        return dict(sorted(found.items()))

    @property
    def seconds(self) -> list[float]:
        """Length of every recording that has one, sorted."""
        return sorted(c.health.seconds for c in self.checked if c.health and c.health.seconds is not None)

    def _with(self, finding: str) -> list[Checked]:
        return [c for c in self.checked if finding in c.findings]


def verify(
    clips: Sequence[Clip], spec: FeatureSpec | None = None, threads: int | None = None
) -> Generator[Event, None, VerifyReport]:
    """Decode every recording and judge it as training and scoring do. Yields Progress; no file stops it.

    A recording is broken if it cannot be decoded, holds NaN or infinite samples, is too short for one frame, has a
    rate below the detector's (unless ``spec.allow_upsampling``), or is a log-mel of another length than most of its
    machine's.

    Args:
        clips: recordings of a catalog.
        spec: says the channel, the rate and the shortest length; None is the default.
        threads: None takes all that this process may use.
    """
    spec = spec or FeatureSpec()
    checked: list[Checked] = []
    every = max(1, len(clips) // 100)
    for clip, (_, found) in zip(clips, scan([c.path for c in clips], spec.channel, threads), strict=True):
        checked.append(_judge(clip, found, spec))
        if len(checked) % every == 0 or len(checked) == len(clips):
            yield Progress("decoding", len(checked), len(clips))
    return VerifyReport(tuple(_refuse_mixed_lengths(checked)))


def _judge(clip: Clip, found: Health | Unreadable, spec: FeatureSpec) -> Checked:
    if isinstance(found, Unreadable):
        return Checked(clip, None, found.reason, found.hint)
    if found.rate is not None and found.rate < spec.sample_rate and not spec.allow_upsampling:
        return Checked(
            clip,
            found,
            f"its rate of {found.rate} Hz lies below the detector's {spec.sample_rate} Hz",
            "read it all the same, without its missing upper band: --allow-upsampling",
        )
    if found.seconds is not None and found.seconds * spec.sample_rate < spec.n_fft:
        return Checked(
            clip,
            found,
            f"it lasts {found.seconds:.3f} s, and at least {spec.n_fft / spec.sample_rate:.3f} s are needed",
            "leave it out",
        )
    return Checked(clip, found)


def _refuse_mixed_lengths(checked: list[Checked]) -> list[Checked]:
    """One training set has one T, and a ready log-mel can be neither cut nor repeated."""
    frames = {c.clip.path: _frames(c) for c in checked if c.clip.path.suffix.lower() == ".npy" and c.health}
    usual: dict[str, int] = {}
    for machine in {c.clip.machine for c in checked if c.clip.path in frames}:
        of_machine = (frames[c.clip.path] for c in checked if c.clip.machine == machine and c.clip.path in frames)
        usual[machine] = Counter(of_machine).most_common(1)[0][0]
    return [
        Checked(
            c.clip,
            c.health,
            f"T = {frames[c.clip.path]} frames, and most log-mels of {c.clip.machine} have {usual[c.clip.machine]}",
            "make all log-mels of a machine from clips of one length",
        )
        if c.clip.path in frames and frames[c.clip.path] != usual[c.clip.machine]
        else c
        for c in checked
    ]


def _frames(checked: Checked) -> int:
    stored_FT = np.load(checked.clip.path, mmap_mode="r", allow_pickle=False)
    return int(stored_FT.shape[1])
