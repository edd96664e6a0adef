"""Where a clip deviates from the normals: which band, which seconds, by how many dB.

Three looks; the first two are at the difference D = log-mel − mean of the normals, and the larger finding leads:

- *steady*: D's mean over the clip, measured against the deviation of such means from clip to clip. It finds a
  whine or a missing tone that is there all the time and never stands out of a single frame's spread.
- *brief*: D smoothed over some 0.3 s and five bands, measured against the deviation that such a patch has among the
  normals. It finds knocks, leaks that come and go, a stroke that is missing.

- *rough*: how much the level jumps from frame to frame, band by band, against the jumps of the normals. It finds
  rattling and grinding whose mean level is what it was, and speaks only where the other two have found nothing.

A finding is a connected region of one sign, ranked by its summed excess over the limit in dB. Clips of the kind that
the profile was made of show none as a rule; then nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

DB_PER_LN = 10 / np.log(10)

STEADY_LIMIT = 3.5
BRIEF_LIMIT = 5.0
ROUGH_LIMIT = 4.0
"""Standard deviations that a region must exceed. Chosen on training normals held out of their own profile, where
few may show a region: 4 to 7 % do on ToyCar (200 normals a profile), 12 % on slider (75)."""

ROUGH_FLOOR_DB = 0.1

SMOOTH_SECONDS = 0.1
SMOOTH_BANDS = 1.5
FLOOR_DB = 1.0
"""Smallest standard deviation believed: a dead band of digital silence would otherwise make a decibel a sensation."""

WHOLE = 0.85
"""From this share of the bands or of the seconds on, a region is said to cover them all."""

FEWEST_CELLS = 12
"""A brief region of fewer smoothed cells is a speck, not a finding."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a section's normals look like: log-mels in ln units.

    Attributes:
        mean_F, std_F: over all frames of the normals.
        clip_std_F: standard deviation, over windows, of a window's mean over time.
        hz_F: band centres.
        jumps_BF: of each window of the normals, the standard deviation of the first difference along time; None
            where it is not known.
    """

    mean_F: NDArray[np.float64]
    std_F: NDArray[np.float64]
    clip_std_F: NDArray[np.float64]
    hz_F: NDArray[np.float64]
    jumps_BF: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """A patch of the spectrogram that is louder, quieter, rougher or smoother than normal.

    Attributes:
        mask_FT: the cells of the region.
        kind: ``"level"``, or ``"jumps"`` of the level from frame to frame.
        low_hz, high_hz: edges of its bands.
        start, end: seconds from the start of the window.
        db: mean difference from normal over the region, signed.
        peak_db, peak_hz: the largest difference after smoothing, and the band where it is.
        excess: summed excess over the limit, dB · cells; regions are ranked by it.
        all_bands, all_time: the region covers nearly all of them.
    """

    mask_FT: NDArray[np.bool_]
    kind: Literal["level", "jumps"]
    low_hz: float
    high_hz: float
    start: float
    end: float
    db: float
    peak_db: float
    peak_hz: float
    excess: float
    all_bands: bool
    all_time: bool

    def words(self, offset: float = 0.0, whole: bool = True) -> str:
        """Return the finding as a sentence, e.g. ``9 dB louder than normal at 1.9–2.6 kHz, all through the clip``.

        Args:
            offset: seconds from the start of the recording to the start of the window.
            whole: the window is all of the recording.
        """
        where = "across the whole spectrum" if self.all_bands else f"at {hz_range(self.low_hz, self.high_hz)}"
        if self.all_time and whole:
            when = "all through the clip"
        else:
            when = f"from {clock(offset + self.start)} to {clock(offset + self.end)}"
        if self.kind == "level":
            return f"{abs(self.db):.0f} dB {'louder' if self.db > 0 else 'quieter'} than normal {where}, {when}"
        how, more = ("rougher", "more") if self.db > 0 else ("smoother", "less")
        jumps = f"its level jumps {abs(self.db):.1f} dB {more} from moment to moment"
        return f"{how} than normal {where}, {when}: {jumps}"


def find_regions(logmel_FT: NDArray[np.float32], profile: Profile, seconds_per_frame: float) -> tuple[Region, ...]:
    """Return the regions where a clip deviates from its section's normals, the largest excess first.

    Args:
        logmel_FT: log-mel in ln units, (F, T).
        profile: of the section, F bands.
        seconds_per_frame: hop over sample rate.

    Returns:
        At most one steady finding and the brief ones beside it; empty when nothing stands out.
    """
    d_FT = (logmel_FT.astype(np.float64) - profile.mean_F[:, None]) * DB_PER_LN
    clip_std_F = profile.clip_std_F * DB_PER_LN
    frame_std_F = profile.std_F * DB_PER_LN
    regions = [
        *_steady(d_FT, clip_std_F, profile.hz_F, seconds_per_frame),
        *_brief(d_FT, clip_std_F, frame_std_F, profile.hz_F, seconds_per_frame),
    ]
    if not regions and profile.jumps_BF is not None:
        regions = _rough(logmel_FT, profile.jumps_BF * DB_PER_LN, profile.hz_F, seconds_per_frame)
    return tuple(sorted(regions, key=lambda r: -r.excess))


def largest(logmel_FT: NDArray[np.float32], profile: Profile) -> tuple[float, float]:
    """Return the steady difference that is largest for what normals show: dB, signed, and the band's Hz."""
    d_F = (logmel_FT.astype(np.float64) - profile.mean_F[:, None]).mean(1) * DB_PER_LN
    d_F = ndimage.gaussian_filter1d(d_F, 1.0, mode="nearest")
    band = int((np.abs(d_F) / np.maximum(profile.clip_std_F * DB_PER_LN, FLOOR_DB / 2)).argmax())
    return float(d_F[band]), float(profile.hz_F[band])


def _steady(
    d_FT: NDArray[np.float64], clip_std_F: NDArray[np.float64], hz_F: NDArray[np.float64], step: float
) -> list[Region]:
    mean_F = ndimage.gaussian_filter1d(d_FT.mean(1), 1.0, mode="nearest")
    limit_F = STEADY_LIMIT * np.maximum(clip_std_F, FLOOR_DB / 2)
    smooth_FT = np.broadcast_to(mean_F[:, None], d_FT.shape)
    limit_FT = np.broadcast_to(limit_F[:, None], d_FT.shape)
    return _regions(d_FT, smooth_FT, limit_FT, hz_F, step, fewest=2 * d_FT.shape[1])


def _brief(
    d_FT: NDArray[np.float64],
    clip_std_F: NDArray[np.float64],
    frame_std_F: NDArray[np.float64],
    hz_F: NDArray[np.float64],
    step: float,
) -> list[Region]:
    frames = SMOOTH_SECONDS / step
    smooth_FT = ndimage.gaussian_filter(d_FT, (SMOOTH_BANDS, frames), mode="nearest")
    # A Gaussian of sigma s averages some 2·sqrt(pi)·s frames; half of them count, since neighbours are alike.
    averaged = max(1.0, np.sqrt(np.pi) * frames)
    within_F = np.maximum(frame_std_F**2 - clip_std_F**2, 0.0)
    std_F = np.maximum(np.sqrt(clip_std_F**2 + within_F / averaged), FLOOR_DB)
    limit_FT = np.broadcast_to(BRIEF_LIMIT * std_F[:, None], d_FT.shape)
    return _regions(d_FT, smooth_FT, limit_FT, hz_F, step, fewest=FEWEST_CELLS)


def _rough(
    logmel_FT: NDArray[np.float32], jumps_BF: NDArray[np.float64], hz_F: NDArray[np.float64], step: float
) -> list[Region]:
    jump_F = np.diff(logmel_FT.astype(np.float64), axis=1).std(1) * DB_PER_LN - jumps_BF.mean(0)
    smooth_F = ndimage.gaussian_filter1d(jump_F, 1.0, mode="nearest")
    limit_F = ROUGH_LIMIT * np.maximum(jumps_BF.std(0), ROUGH_FLOOR_DB)
    jump_FT, smooth_FT, limit_FT = (
        np.broadcast_to(x_F[:, None], logmel_FT.shape) for x_F in (jump_F, smooth_F, limit_F)
    )
    fewest = 2 * logmel_FT.shape[1]
    return [replace(r, kind="jumps") for r in _regions(jump_FT, smooth_FT, limit_FT, hz_F, step, fewest)]


def _regions(
    d_FT: NDArray[np.float64],
    smooth_FT: NDArray[np.float64],
    limit_FT: NDArray[np.float64],
    hz_F: NDArray[np.float64],
    step: float,
    fewest: int,
) -> list[Region]:
    """Return the connected regions of one sign in which `smooth_FT` is beyond its limit."""
    edges = band_edges(hz_F)
    bands, frames = d_FT.shape
    found = []
    for sign in (1.0, -1.0):
        over_FT = sign * smooth_FT - limit_FT
        labels_FT, count = ndimage.label(over_FT > 0)
        for index, box in enumerate(ndimage.find_objects(labels_FT, count), 1):
            mask_FT = labels_FT == index
            if int(mask_FT.sum()) < fewest:
                continue
            rows, columns = box
            peak = np.unravel_index(int(np.where(mask_FT, sign * smooth_FT, -np.inf).argmax()), d_FT.shape)
            found.append(
                Region(
                    mask_FT=mask_FT,
                    kind="level",
                    low_hz=float(edges[rows.start]),
                    high_hz=float(edges[rows.stop]),
                    start=columns.start * step,
                    end=columns.stop * step,
                    db=float(d_FT[mask_FT].mean()),
                    peak_db=float(smooth_FT[peak]),
                    peak_hz=float(hz_F[peak[0]]),
                    excess=float(over_FT[mask_FT].sum()),
                    all_bands=rows.stop - rows.start >= WHOLE * bands,
                    all_time=columns.stop - columns.start >= WHOLE * frames,
                )
            )
    return found


def band_edges(hz_F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the F + 1 edges of bands with the given centres: half-way between neighbours."""
    between = (hz_F[1:] + hz_F[:-1]) / 2
    first = max(0.0, 2 * hz_F[0] - between[0])
    last = 2 * hz_F[-1] - between[-1]
    return np.concatenate([[first], between, [last]])


def hertz(hz: float) -> str:
    """Return ``"260 Hz"`` or ``"1.9 kHz"``."""
    return f"{round(hz, -1):.0f} Hz" if hz < 1000 else f"{hz / 1000:.1f} kHz"


def hz_range(low: float, high: float) -> str:
    """Return ``"80–260 Hz"``, ``"990–1,050 Hz"`` or ``"1.9–2.6 kHz"``."""
    if high < 1000 or high - low < 300:
        return f"{round(low, -1):,.0f}–{round(high, -1):,.0f} Hz"
    return f"{low / 1000:.1f}–{high / 1000:.1f} kHz"


def clock(seconds: float) -> str:
    """Return ``"3.2 s"``, or ``"12:35"`` from a minute on."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d} min"
