"""One clip: a machine of an ID, run under some duty, heard through a room, in the noise of a hall.

Every clip is a pure function of the data set's seed and of its own name (machine, section, split, label, domain,
index): no clip depends on how many others there are, or on who makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.data.synth.chance import stream
from asd.data.synth.faults import FAULTS, level_of, missing_stroke, stands_out
from asd.data.synth.machines import MACHINES, Duty, Machine
from asd.data.synth.room import Grid, Hall, Spectrum, Wave, to_microphone, unevenness

SEVERITIES = (0.4, 0.7, 1.0)
"""Slight, plain, severe; 4.5 dB apart."""

LEVEL_DBFS = -36.0
"""RMS of a machine as first recorded; room for the strokes of a valve 30 dB above."""

REFERENCE_SNR_DB = 6.0
"""The noise in which a fault stands out by its machine's figure. A louder hall hides it; it does not grow with it."""

SPEED_SPREAD = 0.015
LOAD_SPREAD = 0.12
NOISE_SPREAD_DB = 2.0
COLOUR_SPREAD_DB = 3.0
PATH_SPREAD_DB = 1.5
GAIN_SPREAD_DB = 1.0
EVENTS = 1.0
"""From clip to clip, one standard deviation: speed and load of rated, level and colour of the hall's noise,
the path to the microphone, its gain; and how many clanks, puffs and beeps of others to expect in ten seconds."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a domain fixes: duty relative to rating, which hall's noise, which microphone place.

    Attributes:
        attribute, value: its name and value in the file name, as ``spd``, ``90``.
    """

    attribute: str = ""
    value: str = ""
    speed: float = 1.0
    load: float = 1.0
    hall: int = 0
    microphone: int = 0


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to be made. `index` counts within (machine, section, split, label, domain)."""

    machine: str
    section: str
    split: Literal["train", "test"]
    label: int
    index: int
    domain: Literal["", "source", "target"] = ""
    setting: Setting = Setting()
    fault: str = ""
    severity: float = 0.0

    def stream(self, seed: int, purpose: str) -> np.random.Generator:
        """Return the clip's own chance for one purpose."""
        name = (self.machine, self.section, self.split, self.label, self.domain, self.index)
        return stream(seed, *name, purpose)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """The machine of an ID where it stands.

    Attributes:
        grid: axes of its clips.
        machine: its physics.
        halls, microphones_PK: the noise around it and the paths to the microphone, one a place.
        gain: brings its sound to power 1 when it runs as rated.
        healthy_bands: mean square in third octaves when it runs as rated, at the reference signal-to-noise ratio.
    """

    grid: Grid
    machine: Machine
    halls: tuple[Hall, ...]
    microphones_PK: tuple[Spectrum, ...]
    gain: np.float32
    healthy_bands: NDArray[np.float64]

    @classmethod
    def draw(cls, machine: str, section: str, grid: Grid, seed: int, places: int = 1) -> Unit:
        """Build the machine of an ID. More places do not change the first ones."""
        identity = (seed, machine, section)
        built = MACHINES[machine].draw(grid, stream(*identity, "machine"))
        halls = tuple(Hall.draw(grid, stream(*identity, "hall", k)) for k in range(places))
        paths_PK = tuple(to_microphone(grid, stream(*identity, "microphone", k)) for k in range(places))
        sound_K = built.run(Duty(), stream(*identity, "rated run")).sound() * paths_PK[0]
        gain = np.float32(1 / np.sqrt(grid.power(sound_K)))
        hiss_N = halls[0].noise(grid, 0.0, 0.0, stream(*identity, "rated noise"))
        healthy_bands = grid.third_octaves(sound_K * gain)
        healthy_bands += 10 ** (-REFERENCE_SNR_DB / 10) * grid.third_octaves(grid.spectrum(hiss_N))
        return cls(grid, built, halls, paths_PK, gain, healthy_bands)


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """A clip in its parts: the recording is their sum, as a recorder that never clips would keep it.

    Attributes:
        healthy_N: machine and hall, without the fault.
        fault_N: what the fault changes, at the microphone; None in a healthy clip.
        snr_db: power of the healthy machine over power of the hall's noise in this very clip.
    """

    healthy_N: Wave
    fault_N: Wave | None
    snr_db: float

    def recording(self) -> NDArray[np.int16]:
        """(N,) 16-bit samples; a clip that would come within 2 % of full scale is recorded at lower gain."""
        wave_N = self.healthy_N if self.fault_N is None else self.healthy_N + self.fault_N
        peak = float(np.abs(wave_N).max())
        return np.asarray(np.rint(wave_N * np.float32(32768 * min(1.0, 0.98 / peak))), np.int16)


def render(unit: Unit, clip: Clip, seed: int, snr_db: float) -> Rendering:
    """Make one clip.

    Args:
        unit: the machine of the clip's ID.
        clip: what to make.
        seed: of the data set.
        snr_db: power of the machine as rated over mean power of the noise.
    """
    g = unit.grid
    chance = clip.stream(seed, "duty")
    speed = clip.setting.speed * (1 + SPEED_SPREAD * chance.standard_normal())
    load = clip.setting.load * (1 + LOAD_SPREAD * chance.standard_normal())
    noise_db = -snr_db + NOISE_SPREAD_DB * chance.standard_normal()
    recorder = np.float32(10 ** ((LEVEL_DBFS + GAIN_SPREAD_DB * chance.standard_normal()) / 20))
    path_K = unit.microphones_PK[clip.setting.microphone] * unevenness(g, PATH_SPREAD_DB, chance)
    path_K *= unit.gain * recorder

    run = unit.machine.run(Duty(speed, load), clip.stream(seed, "machine"))
    sound_N = g.wave(run.sound() * path_K)
    events = EVENTS * g.samples / g.rate / 10
    hiss_N = unit.halls[clip.setting.hall].noise(g, COLOUR_SPREAD_DB, events, clip.stream(seed, "hall"))
    hiss_N *= recorder * np.float32(10 ** (noise_db / 20))
    snr = 10 * np.log10(np.mean(sound_N**2) / np.mean(hiss_N**2))

    healthy_N = sound_N + hiss_N
    fault_N = None
    if clip.fault:
        chance = clip.stream(seed, "fault")
        full = unit.machine.faults[clip.fault]
        if clip.fault == "missing-stroke":
            fault_K = missing_stroke(run, clip.severity * full, chance) * path_K
        else:
            fault_K = FAULTS[clip.fault](run, clip.severity, chance) * path_K
            fault_K *= stands_out(g, fault_K, unit.healthy_bands * recorder**2, level_of(full, clip.severity))
        fault_N = g.wave(fault_K)
    return Rendering(healthy_N, fault_N, float(snr))
