"""Faults that engineers know, as sounds: made for a synthetic machine, or mixed into a real recording.

A fault maker is a pure function (run, severity, rng) -> spectrum: what the machine's shaft, bearing or strokes do
during the clip, what is wrong with them, and chance. How loud it is, is set afterwards: a fault *stands out* by so
many dB in the third-octave band where it stands out most, over the sound of the healthy machine in its hall. So
one figure fits a tone, a hiss and an impact, on any machine. Full severity (1.0) has the machine's own figure,
lower severities `DB_PER_SEVERITY` less for each unit below.

A missing stroke is the exception: it takes sound away, and its severity is a share of strokes that fail. The other
makers leave severity to the level.

Sources: bearing defect frequencies and their modulation by the load zone, Randall & Antoni, "Rolling element
bearing diagnostics: a tutorial", MSSP 25 (2011); 1x for imbalance, 2x and 3x for misalignment, a burst once a
turn for a rub, any chart of machine vibration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asd.data.synth.chance import stream
from asd.data.synth.machines import Bearing, Run, clicks, orders, shaft, turn
from asd.data.synth.room import Grid, Spectrum, Wave, grid, high_pass, modes, noise
from asd.errors import DataError, UsageError, nearest

DB_PER_SEVERITY = 15.0
"""A fault of severity 0.4 is 9 dB weaker than the same fault at 1.0."""

MISSING_AT_FULL = 0.4
"""Share of the strokes of a real recording that fail at severity 1."""

STANDS_OUT_DB = 6.0
"""By how much a fault of severity 1 stands out of a real recording, unless told otherwise."""

Maker = Callable[[Run, float, np.random.Generator], Spectrum]


def imbalance(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """A heavy spot: once a turn (1x), with a trace of 2x."""
    table = orders({1: 1.0, 2: 0.1}, rng)
    return run.grid.spectrum(turn(table, _turns(run, "imbalance")))


def misalignment(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """Shafts that do not meet: 2x and 3x, some 1x and 4x."""
    table = orders({1: 0.3, 2: 1.0, 3: 0.6, 4: 0.25}, rng)
    return run.grid.spectrum(turn(table, _turns(run, "misalignment")))


def bearing_outer(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """A pit in the outer race: every ball that passes strikes it, always under the same load."""
    hits, heights, _ = _hits(run, run.bearing.bpfo, rng, "bearing-outer")
    return run.grid.spectrum(clicks(run.grid, hits, heights)) * _housing(run)


def bearing_inner(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """A pit in the inner race: it turns through the load zone, so the blows swell and fade once a turn."""
    hits, heights, turns = _hits(run, run.bearing.bpfi, rng, "bearing-inner")
    heights *= np.maximum(0.1, np.cos(2 * np.pi * turns)) ** 1.5
    return run.grid.spectrum(clicks(run.grid, hits, heights)) * _housing(run)


def rub(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """Something touches the rotor over part of each turn: a broadband scrape, once a turn, never twice the same."""
    turns_N = _turns(run, "rub")
    arc = rng.uniform(0.08, 0.2)
    angle = np.arange(2049) / 2048
    touch = np.where(angle < arc, np.sin(np.pi * np.minimum(angle / arc, 1)) ** 2, 0.0).astype(np.float32)
    first = np.floor(turns_N[0])
    pressure = rng.uniform(0.4, 1.0, int(turns_N[-1] - first) + 2).astype(np.float32)
    scrape_N = turn(touch, turns_N) * pressure[(turns_N - first).astype(np.intp)]
    moving_N = np.minimum(1.0, np.gradient(turns_N) * (run.grid.rate / 5.0)).astype(np.float32)
    scrape_N *= moving_N * rng.standard_normal(run.grid.samples, dtype=np.float32)
    return run.grid.spectrum(scrape_N) * high_pass(run.grid, rng.uniform(800, 2000))


def leak(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """Gas through a small hole: hiss above a corner of 2-4 kHz that flutters a little."""
    g = run.grid
    hiss_N = g.wave(noise(g, high_pass(g, rng.uniform(2000, 4000)), rng))
    knots = np.arange(0, g.samples + g.rate, g.rate // 10)
    flutter = np.exp(0.15 * rng.standard_normal(len(knots)))
    return g.spectrum(hiss_N * np.interp(np.arange(g.samples), knots, flutter).astype(np.float32))


def loose_part(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """A rattle: now and then a part is thrown up and bounces to rest, sooner and softer each time."""
    g = run.grid
    throws = rng.uniform(0, g.samples / g.rate, rng.poisson(1.2 * g.samples / g.rate) + 2)
    restitution = rng.uniform(0.6, 0.8, len(throws))
    bounces = restitution[:, None] ** np.arange(8)
    flights = rng.uniform(0.03, 0.08, len(throws))[:, None] * bounces
    at = throws[:, None] + np.cumsum(flights, axis=1) - flights
    heights = bounces * rng.uniform(0.4, 1.0, len(throws))[:, None] * rng.choice([-1, 1], at.shape)
    hz = np.exp(rng.uniform(np.log(1200), np.log(min(5500, 0.4 * g.rate)), 4))
    sheet_K = modes(g, hz, rng.uniform(10, 25, 4), rng.uniform(0.4, 1.0, 4))
    return g.spectrum(clicks(g, at.ravel() * g.rate, heights.ravel())) * sheet_K


def missing_stroke(run: Run, severity: float, rng: np.random.Generator) -> Spectrum:
    """Strokes that do not happen: minus their sound. The severity is the share that fails, of one stroke at least."""
    if not run.strokes:
        raise UsageError("missing-stroke: the machine makes no strokes", "Take another fault for it.")
    count = min(len(run.strokes), max(1, round(severity * len(run.strokes))))
    gone_N = np.zeros(run.grid.samples, np.float32)
    for k in rng.choice(len(run.strokes), count, replace=False):
        gone_N[run.strokes[k]] = -1
    spectra = (run.grid.spectrum(gone_N * part.dry_N) * part.path_K for part in run.parts)
    return np.asarray(sum(spectra), np.complex64)


FAULTS: Mapping[str, Maker] = {
    "imbalance": imbalance,
    "misalignment": misalignment,
    "bearing-outer": bearing_outer,
    "bearing-inner": bearing_inner,
    "rub": rub,
    "leak": leak,
    "missing-stroke": missing_stroke,
    "loose-part": loose_part,
}


def stands_out(g: Grid, fault_K: Spectrum, healthy_bands: NDArray[np.float64], level_db: float) -> np.float32:
    """Gain at which a fault stands out by `level_db` in the third-octave band where it stands out most."""
    ratio = float(np.max(g.third_octaves(fault_K) / healthy_bands))
    if ratio <= 0:
        return np.float32(0.0)
    return np.float32(10 ** (level_db / 20) / np.sqrt(ratio))


def level_of(full_db: float, severity: float) -> float:
    """dB by which a fault of this severity stands out, when full severity stands out by `full_db`."""
    return full_db - DB_PER_SEVERITY * (1 - severity)


def mix_fault(
    wave_N: ArrayLike,
    rate: int,
    fault: str,
    severity: float = 1.0,
    seed: int = 0,
    *,
    shaft_hz: float = 25.0,
    level_db: float | None = None,
) -> Wave:
    """Mix a fault into a recording of a healthy machine.

    Args:
        wave_N: (N,) samples in [-1, 1].
        rate: samples a second, 4,000 or more.
        fault: one of `FAULTS`.
        severity: in (0, 1]; 1 stands out by `STANDS_OUT_DB`, and every 0.2 less by 3 dB less. For
            ``"missing-stroke"`` the share of strokes that fail, in units of `MISSING_AT_FULL`.
        seed: the same seed, the same fault.
        shaft_hz: speed of the shaft that carries the fault, 1 or more; it wanders by 0.2 %.
        level_db: RMS of the fault over RMS of the recording, in dB; overrides the level that follows from severity.

    Returns:
        (N,) float32; above 1 in magnitude where the fault would clip, for the caller to scale.

    Raises:
        UsageError: unknown fault, severity outside (0, 1], several channels, a shaft below 1 Hz.
        DataError: a recording that is silent, not finite, or shorter than a second; without strokes, for
            ``"missing-stroke"``.
    """
    check_fault(fault, severity)
    wave_N = np.asarray(wave_N, np.float32)
    if wave_N.ndim != 1 or rate < 4000 or not shaft_hz >= 1:
        raise UsageError(
            f"mix_fault: samples of shape {wave_N.shape} at {rate} Hz, shaft at {shaft_hz:g} Hz",
            "Give one channel, (N,), at 4000 Hz or more, and a shaft of 1 Hz or more.",
        )
    if len(wave_N) < rate or not np.isfinite(wave_N).all() or not wave_N.any():
        raise DataError(
            "mix_fault: the recording is shorter than a second, silent or not finite", "Give a recording of a machine."
        )
    rng = stream(seed, "mix", fault)
    if fault == "missing-stroke":
        return _drop_strokes(wave_N, rate, severity, rng)
    g = grid(len(wave_N), rate)
    run = Run(g, turns_N=shaft(g, shaft_hz, rng), bearing=Bearing.draw(rng))
    fault_K = FAULTS[fault](run, severity, rng)
    if level_db is None:
        healthy = g.third_octaves(g.spectrum(wave_N))
        floor = 1e-9 * healthy.sum()  # a recording can be empty in a band, above an old codec's limit say
        fault_K *= stands_out(g, fault_K, healthy + floor, level_of(STANDS_OUT_DB, severity))
        return np.asarray(wave_N + g.wave(fault_K))
    fault_N = g.wave(fault_K)
    rms = float(np.sqrt(np.mean(fault_N**2)))
    return np.asarray(wave_N + fault_N * np.float32(10 ** (level_db / 20) * np.sqrt(np.mean(wave_N**2)) / rms))


def check_fault(fault: str, severity: float) -> None:
    """Raise UsageError for an unknown fault, or a severity outside (0, 1]."""
    if fault not in FAULTS:
        raise UsageError(f"no fault named {fault!r}.{nearest(fault, FAULTS)}", f"Faults: {', '.join(FAULTS)}.")
    if not 0 < severity <= 1:
        raise UsageError(f"severity = {severity:g}", "Give a severity above 0 and up to 1.")


def _turns(run: Run, fault: str) -> NDArray[np.float64]:
    if run.turns_N is None:
        raise UsageError(f"{fault}: the machine has no shaft", "Take another fault for it.")
    return run.turns_N


def _housing(run: Run) -> Spectrum:
    """The resonances that a blow in the bearing rings: the housing's own, and a weaker, lower one."""
    hz = min(run.bearing.housing_hz, 0.4 * run.grid.rate)
    return modes(run.grid, np.array([hz, 0.45 * hz]), np.array([14.0, 10.0]), np.array([1.0, 0.3]))


def _hits(
    run: Run, order: float, rng: np.random.Generator, fault: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sample, height and shaft angle (turns) of the blows of a defect that is passed `order` times a turn.

    Balls slip: each interval is 1 % off, and what is lost is not made up for.
    """
    turns_N = _turns(run, fault)
    count = int((turns_N[-1] - turns_N[0]) * order) + 2
    angles = turns_N[0] + np.cumsum(1 + 0.01 * rng.standard_normal(count)) / order - rng.uniform() / order
    angles = angles[(angles > turns_N[0]) & (angles < turns_N[-1])]
    hits = np.interp(angles, turns_N, np.arange(run.grid.samples))
    return hits, rng.uniform(0.7, 1.3, len(hits)), angles


def _drop_strokes(wave_N: Wave, rate: int, severity: float, rng: np.random.Generator) -> Wave:
    """Replace strokes of a recording by its longest rest between strokes, cross-faded in 10 ms."""
    strokes = _strokes(wave_N, rate)
    rests = [slice(a.stop, b.start) for a, b in pairwise(strokes)]
    if not rests:
        raise DataError(
            "missing-stroke: no strokes with a rest between them stand out of this recording",
            "Take a recording of a machine that strikes.",
        )
    rest_N = wave_N[max(rests, key=lambda rest: rest.stop - rest.start)]
    mixed_N = wave_N.copy()
    count = max(1, round(severity * MISSING_AT_FULL * len(strokes)))
    for k in rng.choice(len(strokes), count, replace=False):
        length = strokes[k].stop - strokes[k].start
        filler_N = np.resize(np.concatenate([rest_N, rest_N[::-1]]), length)
        to_edge_N = np.minimum(np.arange(length), np.arange(length)[::-1])
        fade_N = np.minimum(1, to_edge_N / (rate // 100)).astype(np.float32)
        mixed_N[strokes[k]] += fade_N * (filler_N - mixed_N[strokes[k]])
    return mixed_N


def _strokes(wave_N: Wave, rate: int) -> list[slice]:
    """Find the strokes of a recording, 50 ms to either side included.

    A stroke is where the level above 500 Hz, in frames of 10 ms, is nearer in dB to the loudest frame than to the
    median, and 6 dB or more over the median.
    """
    hop = rate // 100
    g = grid(len(wave_N), rate)
    crisp_N = g.wave(g.spectrum(wave_N) * high_pass(g, 500.0))
    power_T = np.mean(crisp_N[: len(wave_N) // hop * hop].reshape(-1, hop) ** 2, axis=1)
    level_T = 10 * np.log10(power_T + 1e-20)
    rest_db = float(np.median(level_T))
    loud_T = level_T > rest_db + max(6.0, 0.5 * (float(level_T.max()) - rest_db))
    loud_T = np.convolve(loud_T, np.ones(11), "same") > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud_T, [False]]).astype(int))) * hop
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
