"""The normal sound of five kinds of machine: what turns, meshes, flows and strikes in them.

A machine is drawn once an ID (its geometry, speed, teeth, resonances) and then run once a clip (its duty, its
phase, its chance). A run yields sources before the room, and what a fault has to know of the machine: the angle of
the shaft, the bearing on it, the strokes.

Sources: blade-pass and vane-pass tones, gear mesh with sidebands and rotor-slot tones as in any text on machine
diagnostics (e.g. Randall, *Vibration-based Condition Monitoring*, 2011, ch. 2); a fan's broadband amplitude grows
with speed to the 2.5 (its sound power to the 5, Madison).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from asd.data.synth.room import Grid, Spectrum, Wave, high_pass, modes, noise, red

TABLE = 16_384
"""Points of a turn in a wave table: linear interpolation is then 60 dB down at the 160th order."""


@dataclass(frozen=True, slots=True)
class Duty:
    """How a machine is run during a clip, relative to its rating."""

    speed: float = 1.0
    load: float = 1.0


@dataclass(frozen=True, slots=True)
class Bearing:
    """A rolling bearing: its defect frequencies in orders of the shaft.

    Attributes:
        balls: number of rolling elements n.
        ratio: ball diameter over pitch diameter, times the cosine of the contact angle.
        housing_hz: resonance that a defect rings.
    """

    balls: int
    ratio: float
    housing_hz: float

    @property
    def bpfo(self) -> float:
        """Ball pass frequency, outer race: n/2 (1 - ratio)."""
        return self.balls / 2 * (1 - self.ratio)

    @property
    def bpfi(self) -> float:
        """Ball pass frequency, inner race: n/2 (1 + ratio)."""
        return self.balls / 2 * (1 + self.ratio)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Bearing:
        """A deep-groove ball bearing of a common size."""
        return cls(int(rng.integers(7, 12)), rng.uniform(0.18, 0.28), rng.uniform(2800, 5200))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A source: what it does in time, and its path into the air (a resonance, a colour)."""

    dry_N: Wave
    path_K: Spectrum | NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One machine during one clip, before the room.

    Attributes:
        grid: the clip's axes.
        parts: the sources that have a time course; in a machine with strokes, those that only strokes make.
        steady_K: the sum of the stationary sources.
        turns_N: angle of the shaft in turns, never falling; None for a machine without one.
        bearing: on that shaft.
        strokes: the samples of each stroke, in order.
    """

    grid: Grid
    parts: tuple[Part, ...] = ()
    steady_K: Spectrum | None = None
    turns_N: NDArray[np.float64] | None = None
    bearing: Bearing = Bearing(9, 0.22, 3800.0)
    strokes: tuple[slice, ...] = ()

    def sound(self) -> Spectrum:
        """The machine's normal sound, (K,)."""
        sound_K = np.zeros(len(self.grid.hz_K), np.complex64) if self.steady_K is None else self.steady_K.copy()
        for part in self.parts:
            sound_K += self.grid.spectrum(part.dry_N) * part.path_K
        return sound_K


class Machine(Protocol):
    """What every kind of machine offers."""

    faults: ClassVar[Mapping[str, float]]
    """What breaks on it, and by how many dB its sound stands out at full severity (see `asd.data.synth.faults`); for
    ``"missing-stroke"``, what share of the strokes then fails."""

    @classmethod
    def draw(cls, grid: Grid, rng: np.random.Generator) -> Self:
        """Build another machine of this kind."""

    def run(self, duty: Duty, rng: np.random.Generator) -> Run:
        """Run it for one clip."""


def shaft(g: Grid, hz: float, rng: np.random.Generator, wander: float = 0.002) -> NDArray[np.float64]:
    """Angle in turns of a shaft whose speed wanders (standard deviation `wander` of `hz`, over a second or so)."""
    knots = np.arange(0, g.samples + g.rate, g.rate // 4)
    steps = rng.standard_normal(len(knots) + 3)
    slow = np.convolve(steps, np.full(4, 0.5), "valid")
    speed_N = np.interp(np.arange(g.samples), knots, hz / g.rate * (1 + wander * slow))
    return np.cumsum(speed_N) + rng.uniform()


def orders(amplitudes: Mapping[int, float], rng: np.random.Generator) -> Wave:
    """One turn of a sound made of integer orders with random phases, as a wave table that closes on itself."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex128)
    for order, amplitude in amplitudes.items():
        spectrum[order] += amplitude * np.exp(2j * np.pi * rng.uniform()) * TABLE / 2
    table = np.fft.irfft(spectrum)
    return np.append(table, table[0]).astype(np.float32)


def turn(table: Wave, turns_N: NDArray[np.float64]) -> Wave:
    """Play a wave table along an angle."""
    place_N = (turns_N - np.floor(turns_N)) * (len(table) - 1)
    index_N = place_N.astype(np.int32)
    index_N[index_N == len(table) - 1] = len(table) - 2
    share_N = (place_N - index_N).astype(np.float32)
    left_N = table[index_N]
    return np.asarray(left_N + share_N * (table[index_N + 1] - left_N))


def harmonics(base: int, amplitude: float, roll_off: float, count: int, sideband: float = 0.0) -> dict[int, float]:
    """Orders base, 2 base, ... each `roll_off` times the one before, with sidebands one order to either side."""
    tones: dict[int, float] = {}
    for k in range(1, count + 1):
        level = amplitude * roll_off ** (k - 1)
        tones[k * base] = level
        if sideband:
            tones[k * base - 1] = tones[k * base + 1] = level * sideband
    return tones


def body(g: Grid, low_hz: float, high_hz: float, count: int, rng: np.random.Generator, direct: float = 0.3) -> Spectrum:
    """A structure: `count` resonances spread over a band (log-uniform, Q 8-30), and what passes without them."""
    hz = np.exp(rng.uniform(np.log(low_hz), np.log(high_hz), count))
    return modes(g, hz, rng.uniform(8, 30, count), rng.uniform(0.4, 1.2, count)) + np.float32(direct)


def clicks(g: Grid, at: NDArray[np.float64], heights: NDArray[np.floating]) -> Wave:
    """Impulses at fractional samples, each shared between its two neighbours; those outside the clip are dropped."""
    inside = (at >= 0) & (at < g.samples - 1)
    index, share = np.divmod(at[inside], 1.0)
    wave_N = np.zeros(g.samples, np.float64)
    np.add.at(wave_N, index.astype(np.intp), heights[inside] * (1 - share))
    np.add.at(wave_N, index.astype(np.intp) + 1, heights[inside] * share)
    return wave_N.astype(np.float32)


def mains(g: Grid, amplitude: float, rng: np.random.Generator) -> Wave:
    """Magnetic hum of a motor or a coil: twice the line's 50 Hz, with overtones."""
    table = orders({1: amplitude, 2: 0.4 * amplitude, 3: 0.25 * amplitude}, rng)
    return turn(table, rng.uniform() + np.arange(g.samples, dtype=np.float64) * (100 / g.rate))


def _level(g: Grid, spectrum_K: Spectrum | NDArray[np.float32], db: float) -> Spectrum:
    """Scale a path so that white noise of variance 1 leaves it with mean square `db`."""
    power = float(np.mean(np.abs(spectrum_K) ** 2))
    return np.asarray(spectrum_K * np.float32(10 ** (db / 20) / np.sqrt(power)), np.complex64)


@dataclass(frozen=True, slots=True, eq=False)
class Fan:
    """An axial fan: blade pass, turbulence that the blades modulate, motor hum, a humming duct."""

    faults: ClassVar[Mapping[str, float]] = {
        "imbalance": 12.0,
        "misalignment": 11.0,
        "bearing-outer": -4.5,
        "rub": 0.0,
        "loose-part": -5.0,
    }

    grid: Grid
    rated_hz: float
    blades: int
    tones: Wave
    wash: Wave
    duct_K: Spectrum
    flow_K: Spectrum
    bearing: Bearing

    @classmethod
    def draw(cls, grid: Grid, rng: np.random.Generator) -> Fan:
        """1,200-1,700 rpm, 5-9 blades."""
        blades = int(rng.integers(5, 10))
        tones = harmonics(1, 0.05, 0.5, 3) | harmonics(blades, rng.uniform(0.5, 0.9), 0.55, 6, sideband=0.15)
        duct_K = body(grid, 150, 2500, 5, rng)
        flow_K = _level(grid, duct_K * red(grid, rng.uniform(250, 600), rng.uniform(4, 5.5)), 0.0)
        wash = 1 + orders({blades: rng.uniform(0.15, 0.35), 1: 0.05}, rng)
        return cls(grid, rng.uniform(20, 28), blades, orders(tones, rng), wash, duct_K, flow_K, Bearing.draw(rng))

    def run(self, duty: Duty, rng: np.random.Generator) -> Run:
        """Sound that grows with speed to the 2.5, turbulence with the load on top."""
        g = self.grid
        turns_N = shaft(g, self.rated_hz * duty.speed, rng)
        loudness = np.float32(duty.speed**2.5)
        tones_N = loudness * turn(self.tones, turns_N) + mains(g, 0.15, rng)
        air_N = loudness * np.float32(duty.load) * turn(self.wash, turns_N)
        air_N *= rng.standard_normal(g.samples, dtype=np.float32)
        parts = (Part(tones_N, self.duct_K), Part(air_N, self.flow_K))
        return Run(g, parts, None, turns_N, self.bearing)


@dataclass(frozen=True, slots=True, eq=False)
class Pump:
    """A centrifugal pump: vane pass, rotor-slot whine, flow noise, the crackle of recirculation."""

    faults: ClassVar[Mapping[str, float]] = {
        "misalignment": 9.0,
        "bearing-outer": -3.0,
        "bearing-inner": -3.0,
        "leak": 7.0,
        "loose-part": -4.0,
    }

    grid: Grid
    rated_hz: float
    tones: Wave
    casing_K: Spectrum
    flow_K: Spectrum
    crackle_hz: float
    bearing: Bearing

    @classmethod
    def draw(cls, grid: Grid, rng: np.random.Generator) -> Pump:
        """A two- or four-pole motor under slip, 5-7 vanes, 28-44 rotor slots."""
        rated_hz = float(rng.choice([25.0, 50.0])) * rng.uniform(0.96, 0.985)
        vanes = int(rng.integers(5, 8))
        slots = int(rng.integers(28, 45))
        tones = harmonics(1, 0.05, 0.6, 3) | harmonics(vanes, rng.uniform(0.4, 0.8), 0.6, 5, sideband=0.1)
        whine = rng.uniform(0.8, 1.6)
        tones |= {slots - 4: 0.4 * whine, slots: whine, slots + 4: 0.3 * whine, 2 * slots: 0.25 * whine}
        casing_K = body(grid, 300, 4500, 6, rng)
        flow_K = _level(grid, casing_K * red(grid, rng.uniform(400, 900), rng.uniform(4, 5.5)), -2.0)
        return cls(grid, rated_hz, orders(tones, rng), casing_K, flow_K, rng.uniform(10, 30), Bearing.draw(rng))

    def run(self, duty: Duty, rng: np.random.Generator) -> Run:
        """Away from its best point (load 1) it recirculates: more noise, more crackle."""
        g = self.grid
        turns_N = shaft(g, self.rated_hz * duty.speed, rng, wander=0.001)
        tones_N = np.float32(duty.speed**2) * turn(self.tones, turns_N) + mains(g, 0.1, rng)
        seconds = g.samples / g.rate
        count = rng.poisson(self.crackle_hz * seconds * duty.load**2)
        crackle_N = clicks(g, rng.uniform(0, g.samples, count), rng.exponential(0.7, count))
        steady_K = noise(g, np.abs(self.flow_K) * np.float32(duty.load), rng)
        return Run(g, (Part(tones_N + crackle_N, self.casing_K),), steady_K, turns_N, self.bearing)


@dataclass(frozen=True, slots=True, eq=False)
class Slider:
    """A linear slide: strokes out and back, a motor that starts and stops, rolling noise, a thud at each end."""

    faults: ClassVar[Mapping[str, float]] = {
        "bearing-outer": -3.5,
        "rub": -1.0,
        "leak": -2.5,
        "missing-stroke": 0.35,
        "loose-part": -9.5,
    }

    grid: Grid
    rated_hz: float
    period: float
    travel: float
    tones: Wave
    thud: float
    frame_K: Spectrum
    roll_K: Spectrum
    drive_K: NDArray[np.float32]
    bearing: Bearing

    @classmethod
    def draw(cls, grid: Grid, rng: np.random.Generator) -> Slider:
        """0.7-1.2 s a stroke and its rest, a belt or screw drive with 14-24 teeth."""
        teeth = int(rng.integers(14, 25))
        tones = harmonics(1, 0.1, 0.5, 2) | harmonics(teeth, rng.uniform(0.5, 0.9), 0.5, 4, sideband=0.2)
        frame_K = body(grid, 200, 5000, 7, rng)
        roll_K = _level(grid, frame_K * red(grid, rng.uniform(1500, 3000), rng.uniform(3, 5)), 0.0)
        drive_K = np.abs(_level(grid, body(grid, 400, 2000, 3, rng) * red(grid, 800, 5.0), -9.0))
        return cls(
            grid, rng.uniform(18, 30), rng.uniform(0.7, 1.2), rng.uniform(0.5, 0.65), orders(tones, rng),
            rng.uniform(4, 9), frame_K, roll_K, drive_K, Bearing.draw(rng),
        )  # fmt: skip

    def run(self, duty: Duty, rng: np.random.Generator) -> Run:
        """Trapezoidal speed, a fifth of each stroke to start and a fifth to stop."""
        g = self.grid
        starts = _schedule(g, self.period / duty.speed, 0.06, rng)
        length = self.travel * self.period / duty.speed * g.rate
        corners = (starts[:, None] + length * np.array([0.0, 0.2, 0.8, 1.0])).ravel()
        speed_N = np.interp(np.arange(g.samples), corners, np.tile([0.0, 1.0, 1.0, 0.0], len(starts)))
        turns_N = np.cumsum(speed_N) * (self.rated_hz * duty.speed / g.rate) + rng.uniform()
        motion_N = speed_N.astype(np.float32)
        ends = starts + length
        heights = self.thud * duty.load * rng.uniform(0.7, 1.3, len(ends))
        motor_N = motion_N * turn(self.tones, turns_N) + clicks(g, ends, heights)
        rolling_N = motion_N * np.float32(duty.load) * rng.standard_normal(g.samples, dtype=np.float32)
        parts = (Part(motor_N, self.frame_K), Part(rolling_N, self.roll_K))
        strokes = _slices(g, starts, ends + 0.02 * g.rate)
        return Run(g, parts, noise(g, self.drive_K, rng), turns_N, self.bearing, strokes)


@dataclass(frozen=True, slots=True, eq=False)
class Valve:
    """A solenoid valve: it strikes open, lets a puff of air through, strikes shut; a humming coil all the while."""

    faults: ClassVar[Mapping[str, float]] = {
        "leak": -5.0,
        "missing-stroke": 0.5,
        "loose-part": -5.5,
    }

    grid: Grid
    period: float
    open_share: float
    shut_height: float
    puff: float
    body_K: Spectrum
    air_K: NDArray[np.float32]
    line_K: NDArray[np.float32]

    @classmethod
    def draw(cls, grid: Grid, rng: np.random.Generator) -> Valve:
        """A stroke every 0.7-1.1 s; a body that rings at 3.5-7 kHz and, weaker, at 1-2 kHz."""
        body_K = body(grid, 3500, 7200, 4, rng, direct=0.02) + np.float32(0.5) * body(grid, 900, 2200, 2, rng, 0.0)
        line_K = np.abs(_level(grid, body(grid, 150, 3000, 3, rng) * red(grid, 400, 4.5), -16.0))
        return cls(
            grid, rng.uniform(0.7, 1.1), rng.uniform(0.18, 0.28), rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.6),
            body_K, high_pass(grid, rng.uniform(1500, 3000)), line_K,
        )  # fmt: skip

    def run(self, duty: Duty, rng: np.random.Generator) -> Run:
        """Each blow is a burst of a few milliseconds that rings the body."""
        g = self.grid
        period = self.period / duty.speed
        opens = _schedule(g, period, 0.03, rng)
        shuts = opens + self.open_share * period * g.rate * rng.uniform(0.95, 1.05, len(opens))
        blows = np.concatenate([opens, shuts])
        heights = np.concatenate([np.full(len(opens), 9.0), np.full(len(shuts), 9.0 * self.shut_height)])
        heights *= duty.load * rng.uniform(0.8, 1.2, len(blows))
        blow_N, puff_N = np.zeros(g.samples, np.float32), np.zeros(g.samples, np.float32)
        for at, height in zip(blows, heights, strict=True):
            _burst(blow_N, int(at), height, 0.0015 * g.rate, rng)
        for at, until in zip(opens, shuts, strict=True):
            _burst(puff_N, int(at), self.puff * duty.load, (until - at) / 2.5, rng, int(until - at))
        coil_N = mains(g, 0.05, rng)
        steady_K = noise(g, self.line_K, rng) + g.spectrum(coil_N)
        parts = (Part(blow_N, self.body_K), Part(puff_N, self.air_K))
        return Run(g, parts, steady_K, strokes=_slices(g, opens, shuts + 0.05 * g.rate))


@dataclass(frozen=True, slots=True, eq=False)
class Gearbox:
    """A one-stage gearbox: mesh tones with sidebands of both shafts, rolling and churning noise."""

    faults: ClassVar[Mapping[str, float]] = {
        "imbalance": 14.5,
        "misalignment": 11.5,
        "bearing-outer": -2.5,
        "bearing-inner": -2.5,
        "loose-part": -3.5,
    }

    grid: Grid
    rated_hz: float
    ratio: float
    mesh: Wave
    slow: Wave
    case_K: Spectrum
    churn_K: Spectrum
    bearing: Bearing

    @classmethod
    def draw(cls, grid: Grid, rng: np.random.Generator) -> Gearbox:
        """17-27 teeth on the pinion, 2-4 times as many on the wheel, 1,200-1,800 rpm in."""
        pinion = int(rng.integers(17, 28))
        wheel = int(pinion * rng.uniform(2, 4))
        tones = harmonics(1, 0.05, 0.5, 2) | harmonics(pinion, rng.uniform(0.8, 1.4), 0.65, 6, sideband=0.3)
        slow = 1 + orders({1: rng.uniform(0.1, 0.25)}, rng)
        case_K = body(grid, 250, 5000, 8, rng)
        churn_K = _level(grid, case_K * red(grid, rng.uniform(400, 1000), rng.uniform(4, 5.5)), -5.0)
        return cls(
            grid, rng.uniform(20, 30), pinion / wheel, orders(tones, rng), slow, case_K, churn_K, Bearing.draw(rng)
        )

    def run(self, duty: Duty, rng: np.random.Generator) -> Run:
        """Mesh tones grow with the load (tooth deflection), churning with the speed."""
        g = self.grid
        turns_N = shaft(g, self.rated_hz * duty.speed, rng)
        mesh_N = np.float32(duty.load) * turn(self.mesh, turns_N) * turn(self.slow, turns_N * self.ratio)
        steady_K = noise(g, np.abs(self.churn_K) * np.float32(duty.speed**2), rng)
        return Run(g, (Part(mesh_N, self.case_K),), steady_K, turns_N, self.bearing)


MACHINES: Mapping[str, type[Machine]] = {
    "fan": Fan,
    "pump": Pump,
    "slider": Slider,
    "valve": Valve,
    "gearbox": Gearbox,
}


def _schedule(g: Grid, period: float, jitter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Start samples of repeated strokes, the first one under way at any phase, `jitter` of a period off the beat."""
    count = int(g.samples / g.rate / period) + 3
    steps = 1 + jitter * rng.standard_normal(count)
    return (np.cumsum(steps) - 1 - rng.uniform()) * period * g.rate


def _slices(g: Grid, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> tuple[slice, ...]:
    """The strokes that lie within the clip as a whole."""
    return tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if a >= 0 and b < g.samples)


def _burst(
    wave_N: Wave, at: int, height: float, decay: float, rng: np.random.Generator, length: int | None = None
) -> None:
    """Add a noise burst that falls to 1/e in `decay` samples; `length` samples of it, or until it has died."""
    n = length or int(7 * decay)
    burst = height * rng.standard_normal(n, dtype=np.float32) * np.exp(-np.arange(n, dtype=np.float32) / decay)
    start, stop = max(at, 0), min(at + n, len(wave_N))
    if start < stop:
        wave_N[start:stop] += burst[start - at : stop - at]
