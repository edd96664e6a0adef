"""The acoustics between a machine and its microphone: spectra, resonances, reflections, the noise of a plant.

Sounds are added up as spectra. A clip of N samples lives on a longer grid of M samples, M - N of them for what
rings on after the end, so that multiplying spectra (a circular convolution) never wraps a tail into the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Wave = NDArray[np.float32]
Spectrum = NDArray[np.complex64]

RATE = 16_000
TAIL_SECONDS = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Time and frequency axes of a clip.

    Attributes:
        rate: samples a second.
        samples: N, the clip; `length` M >= N, the transform.
        hz_K: (K,) frequencies of the bins, K = M // 2 + 1.
        edges: first bins of the third-octave bands from 20 Hz up; the last band is cut at half the rate.
    """

    rate: int
    samples: int
    length: int
    hz_K: NDArray[np.float32]
    edges: NDArray[np.intp]

    def spectrum(self, wave_N: NDArray[np.floating]) -> Spectrum:
        """(n,) samples, n <= M, to the (K,) spectrum."""
        return np.asarray(fft.rfft(np.asarray(wave_N, np.float32), self.length))

    def wave(self, spectrum_K: Spectrum) -> Wave:
        """(K,) spectrum to the clip's (N,) samples; the tail is dropped."""
        return np.asarray(fft.irfft(spectrum_K, self.length)[: self.samples])

    def power(self, spectrum_K: Spectrum) -> float:
        """Energy over the clip's duration (Parseval): the mean square of a sound that fills the clip."""
        return float(2.0 * np.vdot(spectrum_K, spectrum_K).real / self.length / self.samples)

    def third_octaves(self, spectrum_K: Spectrum) -> NDArray[np.float64]:
        """Mean square in each third-octave band, on the scale of `power`."""
        energy_K = spectrum_K.real**2 + spectrum_K.imag**2
        bands = np.add.reduceat(energy_K, self.edges, dtype=np.float64)
        return bands * (2.0 / self.length / self.samples)


@lru_cache(maxsize=8)
def grid(samples: int, rate: int = RATE) -> Grid:
    """Return the axes for clips of `samples` samples."""
    length = int(fft.next_fast_len(samples + int(TAIL_SECONDS * rate), real=True))
    hz_K = np.fft.rfftfreq(length, 1 / rate).astype(np.float32)
    lowest, highest = -17, int(np.floor(3 * np.log2(rate / 2 / 1000)))
    centres = 1000.0 * 2.0 ** (np.arange(lowest, highest + 1) / 3)
    edges = np.unique(np.searchsorted(hz_K, centres * 2 ** (-1 / 6)))
    return Grid(rate, samples, length, hz_K, edges)


def modes(g: Grid, hz: NDArray[np.float64], q: NDArray[np.float64], gain: NDArray[np.float64]) -> Spectrum:
    """Sum of second-order resonances (K,), of height `gain` at their frequencies: with r = f/hz, g / (1 + jQ(r - 1/r)).

    The velocity of a mass on a spring and a damper; it falls by 6 dB an octave to either side.
    """
    r_PK = (g.hz_K[None, :] + np.float32(1e-3)) / np.asarray(hz, np.float32)[:, None]
    q_P1 = np.asarray(q, np.float32)[:, None]
    response_PK = np.asarray(gain, np.float32)[:, None] / (1 + 1j * q_P1 * (r_PK - 1 / r_PK))
    return np.asarray(response_PK.sum(0), np.complex64)


def red(g: Grid, knee_hz: float, db_per_octave: float) -> NDArray[np.float32]:
    """Magnitude that is flat below the knee and falls above it; nothing below 15 Hz, as a microphone hears."""
    slope = db_per_octave / (10 * np.log10(2))
    low_cut_K = (g.hz_K / 15) ** 4 / (1 + (g.hz_K / 15) ** 4)
    return np.asarray(np.sqrt(low_cut_K / (1 + (g.hz_K / knee_hz) ** slope)), np.float32)


def unevenness(g: Grid, db: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude (K,) of a smooth random curve over log frequency, `db` in standard deviation, a knot each half octave.

    What differs between two days: where the microphone stands, how warm the machine is, who works next to it.
    """
    knots = 31.25 * 2.0 ** (np.arange(17) / 2)
    curve_K = np.interp(np.log(g.hz_K + 1e-3), np.log(knots), db * rng.standard_normal(17))
    return np.asarray(np.exp(curve_K.astype(np.float32) * np.float32(np.log(10) / 20)))


def high_pass(g: Grid, corner_hz: float, order: int = 3) -> NDArray[np.float32]:
    """Butterworth magnitude."""
    r_K = (g.hz_K / corner_hz) ** (2 * order)
    return np.asarray(np.sqrt(r_K / (1 + r_K)), np.float32)


def noise(g: Grid, magnitude_K: NDArray[np.float32], rng: np.random.Generator) -> Spectrum:
    """Stationary Gaussian noise of a given magnitude spectrum, drawn as a spectrum: no transform needed."""
    draws = rng.standard_normal(2 * len(g.hz_K), dtype=np.float32).view(np.complex64)
    return draws * (magnitude_K * np.float32(np.sqrt(g.length / 2)))


def to_microphone(g: Grid, rng: np.random.Generator) -> Spectrum:
    """Return the (K,) response of a mild room: the direct sound, a few early reflections, a short diffuse tail.

    The tail is exponentially decaying noise (Moorer), reverberation time 0.15-0.3 s, 9-14 dB under the direct sound.
    """
    impulse = np.zeros(int(TAIL_SECONDS * g.rate), np.float32)
    n = np.arange(len(impulse))
    rt60 = rng.uniform(0.15, 0.3)
    diffuse = rng.standard_normal(len(impulse)) * 10 ** (-3 * n / g.rate / rt60)
    diffuse[: g.rate // 100] = 0
    impulse += 10 ** (-rng.uniform(9, 14) / 20) * diffuse / np.linalg.norm(diffuse)
    impulse[0] += 1
    delays = (rng.uniform(1e-3, 12e-3, 4) * g.rate).astype(int)
    impulse[delays] += rng.uniform(0.1, 0.3, 4) * rng.choice([-1, 1], 4)
    return g.spectrum(impulse)


@dataclass(frozen=True, slots=True, eq=False)
class Hall:
    """The plant around one machine: the colour of its noise.

    Attributes:
        knee_hz, db_per_octave: the noise is flat up to the knee and falls above it.
        hum_K: magnitude of the ventilation and the neighbours: a few broad humps on top.
    """

    knee_hz: float
    db_per_octave: float
    hum_K: NDArray[np.float32]

    @classmethod
    def draw(cls, g: Grid, rng: np.random.Generator) -> Hall:
        """Another place in another plant."""
        hz = np.exp(rng.uniform(np.log(80), np.log(3000), 4))
        humps = np.abs(modes(g, hz, rng.uniform(2, 6, 4), rng.uniform(0.3, 1.0, 4)))
        return cls(rng.uniform(150, 350), rng.uniform(4.5, 6.5), (1 + humps).astype(np.float32))

    def noise(self, g: Grid, spread_db: float, events: float, rng: np.random.Generator) -> Wave:
        """One clip of it, (N,), of mean square 1 before the events.

        Args:
            g: the clip's axes.
            spread_db: standard deviation, in dB, of its colour about the hall's own; its level breathes by up to
                as much within the clip.
            events: expected number of clanks, puffs and beeps of other people's work.
            rng: source of chance.
        """
        colour_K = red(g, self.knee_hz, self.db_per_octave) * self.hum_K * unevenness(g, spread_db, rng)
        hiss_N = g.wave(noise(g, colour_K, rng))
        if spread_db:
            knots = np.arange(0, g.samples + g.rate, g.rate // 2)
            breath_db = rng.uniform(0, spread_db) * rng.standard_normal(len(knots))
            hiss_N *= np.interp(np.arange(g.samples), knots, 10 ** (breath_db / 20)).astype(np.float32)
        hiss_N /= np.sqrt(np.mean(hiss_N**2))
        for _ in range(rng.poisson(events)):
            start = int(rng.integers(0, g.samples))
            sound = _event(g.rate, rng)[: g.samples - start]
            hiss_N[start : start + len(sound)] += sound
        return hiss_N


def _event(rate: int, rng: np.random.Generator) -> Wave:
    """A clank, a puff of air or a beep, somewhere in the hall; peak about the level of the noise around it."""
    kind = rng.integers(3)
    seconds = rng.uniform(0.2, 0.8)
    t = np.arange(int(seconds * rate), dtype=np.float32) / rate
    level = 10 ** (rng.uniform(-30, -12) / 20)
    if kind == 0:
        hz = rng.uniform(400, 5000, 3).astype(np.float32)
        decay = rng.uniform(15, 60, 3).astype(np.float32)
        wave = (np.sin(2 * np.pi * hz[:, None] * t) * np.exp(-decay[:, None] * t)).sum(0)
    elif kind == 1:
        rise_and_fall = np.sin(np.pi * t / seconds) ** 2
        wave = 0.5 * np.diff(rng.standard_normal(len(t) + 1, dtype=np.float32)) * rise_and_fall
    else:
        edge = np.minimum(1, 100 * np.minimum(t, seconds - t))
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(900, 6500) * t) * edge
    return np.asarray(level * wave, np.float32)
