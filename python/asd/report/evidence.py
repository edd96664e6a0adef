"""The clips to look at and listen to: log-mels, deviations and sound, read from the recordings themselves.

A recording that is not there any more leaves a sentence behind instead of a figure.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd import features
from asd.errors import AsdError
from asd.events import Event
from asd.report import sound
from asd.report.bands import Bands, read_bands
from asd.report.clips import Clip, Section
from asd.report.deviation import Profile, Region, find_regions, hertz, largest
from asd.report.machine import Machine

TOP_UNLABELLED = 4
"""Highest-scored recordings of an ID to listen to where no labels say what is wrong."""


@dataclass(frozen=True)
class Look:
    """One window of a clip.

    Attributes:
        start: seconds from the start of the recording.
        logmel_FT: ln units.
        regions: where it deviates, the largest excess first.
        largest: the largest steady difference from normal, dB and Hz, whether it stands out or not.
        hz_F: band centres.
        step: seconds a frame.
    """

    clip: Clip
    start: float
    logmel_FT: NDArray[np.float32]
    regions: tuple[Region, ...]
    largest: tuple[float, float]
    hz_F: NDArray[np.float64]
    step: float

    def words(self) -> str:
        """Return the main deviation as a sentence."""
        if not self.regions:
            db, hz = self.largest
            how = "louder" if db > 0 else "quieter"
            return (
                f"Different in many bands at once, most near {hertz(hz)}: {abs(db):.1f} dB {how}. "
                "No single band stands out from what normals show."
            )
        length = self.logmel_FT.shape[1] * self.step
        text = self.regions[0].words(self.start, whole=self.clip.seconds < 1.5 * length)
        return text[0].upper() + text[1:] + "."

    def title(self) -> str:
        """Return the first sentence of `words`."""
        return self.words().partition(". ")[0].rstrip(".") + "."

    def peak(self) -> str:
        """Return what `title` leaves unsaid, or an empty string: where the main deviation is largest."""
        if not self.regions:
            return self.words().partition(". ")[2]
        if self.regions[0].kind != "level":
            return ""
        most = self.regions[0]
        return f"Most at {hertz(most.peak_hz)}: {most.peak_db:+.0f} dB.".replace("-", "−")


@dataclass(frozen=True, slots=True)
class Heard:
    """A recording to listen to.

    Attributes:
        why: what it is an example of.
    """

    clip: Clip
    why: str
    sound: sound.Sound


@dataclass(frozen=True)
class Evidence:
    """What can be shown of one machine.

    Attributes:
        looks: the highest-scored clips, the least normal first; those that cannot be read are left out.
        nearest: the training normal that is most like the first of `ranked`, or None.
        worst_sound, nearest_sound: with one common gain; None where there is no sound.
        missing: a sentence for each thing that could not be shown.
        heard: further recordings to listen to, by machine ID.
        bands: in which frequencies the known anomalies lie, or None.
    """

    looks: tuple[Look, ...]
    nearest: Look | None
    worst_sound: sound.Sound | None
    nearest_sound: sound.Sound | None
    missing: tuple[str, ...]
    heard: tuple[Heard, ...] = ()
    bands: Bands | None = None

    def lines(self) -> list[str]:
        """Return what the worst clip shows, and what could not be shown."""
        lines = []
        if self.looks and not self.looks[0].clip.silent:
            worst = self.looks[0]
            kind = "Most wrong" if worst.clip.alarm else "Most unusual, below the limit"
            lines.append(f"{kind}: {worst.clip.name}. {worst.title()} {worst.peak()}".rstrip())
        return [*lines, *self.missing]


def gather(machine: Machine, top: int, each: int) -> Generator[Event, None, Evidence]:
    """Read the `top` highest-scored clips of a machine, the normal nearest to the first, and sounds.

    Args:
        each: sounds of a machine ID, at most.
    """
    ranked = machine.ranked[:top]
    worst = ranked[0]
    normals = {n.file: n for s in machine.sections for n in s.normals}
    nearest = normals.get(worst.nearest) if worst.nearest else None
    wanted = [(c, c.loudest_alarm) for c in ranked]
    if nearest is not None:
        wanted.append((nearest, nearest.most_normal))
    looks, missing = _looks(machine, wanted)
    worst_look, nearest_look = looks.get(worst.file), looks.get(nearest.file) if nearest else None
    worst_sound, nearest_sound, silent = _sounds(machine, worst_look, nearest_look)
    shown = tuple(looks[c.file] for c in ranked if c.file in looks)
    heard = listen(machine, [choice for s in machine.sections for choice in _choose(s, each)])
    bands = yield from read_bands(machine)
    return Evidence(shown, nearest_look, worst_sound, nearest_sound, (*missing, *silent), heard, bands)


def _choose(section: Section, most: int) -> list[tuple[Clip, str]]:
    """Return the highest-scored recordings of an ID, and with labels as many that are most wrongly scored."""
    ranked = sorted(section.judged, key=lambda c: -c.severity)
    anomalies = [c for c in reversed(ranked) if c.label == 1]
    normals = [c for c in ranked if c.label == 0]
    top = ranked[: most - most // 2 if anomalies and normals else min(most, TOP_UNLABELLED)]
    chosen = dict.fromkeys([c.name for c in top], "highest score")
    wrong = [(c, "least anomalous anomaly") for c in anomalies[: most // 4]]
    wrong += [(c, "most anomalous normal") for c in normals[: most // 2 - most // 4]] if anomalies else []
    return [(c, chosen[c.name]) for c in top] + [(c, why) for c, why in wrong if c.name not in chosen]


def listen(machine: Machine, wanted: Sequence[tuple[Clip, str]]) -> tuple[Heard, ...]:
    """Encode recordings, those of a machine ID with one common gain; what cannot be read is left out."""
    waves: dict[str, list[tuple[Clip, str, NDArray[np.float32]]]] = {}
    for clip, why in wanted:
        if clip.file.suffix.lower() == ".npy":
            continue
        try:
            wave_N = sound.read_window(clip.file, clip.loudest_alarm, machine.spec)
        except AsdError:
            continue
        waves.setdefault(clip.section, []).append((clip, why, wave_N))
    heard = []
    for own in waves.values():
        sounds = sound.encode_alike([wave_N for _, _, wave_N in own], machine.spec.sample_rate)
        heard += [Heard(clip, why, packed) for (clip, why, _), packed in zip(own, sounds, strict=True)]
    return tuple(heard)


def _looks(machine: Machine, wanted: list[tuple[Clip, float]]) -> tuple[dict[Path, Look], list[str]]:
    """Return the windows that could be read, and a sentence for each clip that could not."""
    profiles = _profiles(machine)
    hop = machine.spec.hop_length / machine.spec.sample_rate
    looks: dict[Path, Look] = {}
    missing = []
    read = features.read_recordings([c.file for c, _ in wanted], machine.spec)
    for (clip, start), recording in zip(wanted, read, strict=True):
        if isinstance(recording, features.Unreadable):
            missing.append(f"{clip.file}: not shown, because it cannot be read any more ({recording.reason}).")
            continue
        window = int(np.abs(recording.starts_W - start).argmin())
        logmel_FT = recording.logmel_WFT[window]
        profile = profiles[clip.section]
        regions = find_regions(logmel_FT, profile, hop)
        looks[clip.file] = Look(clip, start, logmel_FT, regions, largest(logmel_FT, profile), profile.hz_F, hop)
    return looks, missing


def _profiles(machine: Machine) -> dict[str, Profile]:
    """Return what the normals of each section look like."""
    stored, bands = machine.run.profile(), machine.spec.n_mels
    embeddings = machine.run.embeddings()
    pooled = {s.name: embeddings[f"{s.name}/train"].astype(np.float64) for s in machine.sections}
    return {
        section: Profile(
            mean_F=stored[f"{section}/mean"].astype(np.float64),
            std_F=stored[f"{section}/std"].astype(np.float64),
            clip_std_F=stored[f"{section}/clip_std"].astype(np.float64),
            hz_F=stored["hz"],
            # A log-mel is pooled to [mean, std, std of the first difference].
            jumps_BF=features_BD[:, 2 * bands : 3 * bands],
        )
        for section, features_BD in pooled.items()
    }


def _sounds(
    machine: Machine, worst: Look | None, nearest: Look | None
) -> tuple[sound.Sound | None, sound.Sound | None, list[str]]:
    """Return the sounds of both windows, and why there is none."""
    shown = [look for look in (worst, nearest) if look is not None]
    if any(look.clip.file.suffix.lower() == ".npy" for look in shown):
        return None, None, ["These recordings are ready log-mels (.npy), which hold no sound to play."]
    try:
        waves = [sound.read_window(look.clip.file, look.start, machine.spec) for look in shown]
    except AsdError as error:
        return None, None, [f"{error.message}: no sound to play."]
    sounds = iter(sound.encode_alike(waves, machine.spec.sample_rate))
    return next(sounds) if worst else None, next(sounds) if nearest else None, []
