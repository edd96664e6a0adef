"""Figures as SVG that takes its colours and its font from the page, so that they follow light and dark.

Matplotlib draws with sentinel colours; `_themed` turns each into a CSS variable with a fallback.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_curve

from asd.report.clips import Section
from asd.report.deviation import DB_PER_LN, Region
from asd.report.evidence import Look
from asd.report.machine import Machine
from asd.report.verdict import by_time

INK, MUTED, GRID, NORMAL, ALARM, OTHER, PAPER = (f"#00fe0{i}" for i in range(1, 8))
SERIES = ("#00fd01", "#00fd02", "#00fd03", "#00fd04", "#00fd05", "#00fd06")

_VARIABLES = {
    INK: "var(--ink, #1d2329)",
    MUTED: "var(--muted, #5b6670)",
    GRID: "var(--line, #dde2e6)",
    NORMAL: "var(--normal, #0072b2)",
    ALARM: "var(--alarm, #d55e00)",
    OTHER: "var(--other, #7a8791)",
    PAPER: "var(--card, #ffffff)",
    SERIES[0]: "var(--series-1, #0072b2)",
    SERIES[1]: "var(--series-2, #d55e00)",
    SERIES[2]: "var(--series-3, #009e73)",
    SERIES[3]: "var(--series-4, #a8508a)",
    SERIES[4]: "var(--series-5, #b07d00)",
    SERIES[5]: "var(--series-6, #3a8fc7)",
}

_DASHES = ("-", "--", "-.", ":")

LOUDER, QUIETER = "#7df9ff", "#ffffff"
"""Outlines over the spectrogram, which is dark in light and in dark pages."""

COLOURS = 64
"""Levels of the spectrogram's colours; more make the page larger and no one wiser."""

OUTLINES = 5
"""Regions that are drawn, at most."""

TICKS_HZ = (32000, 16000, 8000, 4000, 2000, 1000, 500, 200)

LINEAR_SEVERITY = 4.0
"""Above this severity the strip's axis is logarithmic."""

FPR_LIMIT = 0.1


@contextmanager
def _style() -> Iterator[None]:
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "asd",
        "font.size": 8.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "axes.facecolor": "none",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 8.5,
        "axes.titlelocation": "left",
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "xtick.major.width": 0.8,
        "ytick.major.width": 0.8,
        "figure.facecolor": "none",
        "legend.frameon": False,
        "legend.fontsize": 8,
        "image.interpolation": "none",
        "image.composite_image": False,
    }
    with matplotlib.rc_context(settings):
        yield


def strip(machine: Machine) -> str:
    """Draw every judged recording as a dot, its severity upwards, with the alarm limit as a line."""
    with _style():
        figure = Figure(figsize=(7.6, 1.75))
        axes = figure.add_axes((0.135, 0.14, 0.86, 0.84))
        offset, ticks, names = 0, [], []
        for section in machine.sections:
            ordered = by_time(section) if machine.timed else section.clips
            clips = [c for c in ordered if not c.silent]
            severity_B = np.array([c.severity for c in clips])
            alarm_B = np.array([c.alarm for c in clips], dtype=bool)
            x_B = offset + np.arange(len(clips))
            area = float(np.clip(3600 / len(machine.clips), 6, 34))
            axes.scatter(x_B[~alarm_B], severity_B[~alarm_B], area, color=NORMAL, alpha=0.55, lw=0)
            axes.scatter(x_B[alarm_B], severity_B[alarm_B], area * 1.3, color=ALARM, marker="D", lw=0)
            if offset:
                axes.axvline(offset - 1, color=GRID, lw=0.8)
            ticks.append(offset + (len(clips) - 1) / 2)
            names.append(section.name)
            offset += len(clips) + max(1, len(machine.clips) // 80)
        axes.axhline(1, color=ALARM, lw=1, ls=(0, (4, 3)))
        axes.axhline(0, color=GRID, lw=0.8)
        _severity_axis(axes, [c.severity for c in machine.judged])
        axes.set_xlim(-1.5, offset)
        axes.set_xticks(ticks if len(ticks) > 1 else [], [f"ID {n}" for n in names] if len(ticks) > 1 else [])
        axes.tick_params(axis="x", length=0)
        return _svg(figure, f"Every judged recording of {machine.name}: anomaly score against the alarm limit")


def _severity_axis(axes: Axes, severities: Sequence[float]) -> None:
    highest, lowest = max(severities), min(severities)
    ticks, labels = [0.0, 1.0], ["typical normal", "alarm limit"]
    if highest > LINEAR_SEVERITY:
        axes.set_yscale("symlog", linthresh=LINEAR_SEVERITY / 2, linscale=1.2)
        more = [10.0**k for k in range(1, 7) if 10.0**k < highest] or [LINEAR_SEVERITY]
        ticks += more[-2:]
        labels += [f"{t:g} × as far" for t in more[-2:]]
    axes.set_yticks(ticks, labels)
    axes.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_ylim(min(-0.6, lowest * 1.15), max(1.4, highest * (1.4 if highest > LINEAR_SEVERITY else 1.12)))
    axes.spines["bottom"].set_visible(False)


def spectrogram(look: Look, limits: tuple[float, float] | None = None) -> str:
    """Draw a clip's log-mel in dB, with what deviates from normal outlined.

    Args:
        limits: dB of the darkest and the brightest colour; default: the clip's own.
    """
    db_FT = look.logmel_FT * DB_PER_LN
    low, high = limits or db_limits([look])
    bands, frames = db_FT.shape
    with _style():
        # Fixed places: quicker than a layout engine, and panels side by side are alike.
        figure = Figure(figsize=(4.9, 2.35))
        axes = figure.add_axes((0.105, 0.17, 0.78, 0.74))
        image = axes.imshow(
            db_FT,
            origin="lower",
            aspect="auto",
            extent=(look.start, look.start + frames * look.step, 0, bands),
            cmap=matplotlib.colormaps["magma"].resampled(COLOURS),
            vmin=low,
            vmax=high,
        )
        for rank, region in enumerate(look.regions[:OUTLINES]):
            _outline(axes, region, look, main=rank == 0)
        _frequency_axis(axes, look.hz_F)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("seconds")
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, cax=figure.add_axes((0.9, 0.17, 0.016, 0.74)))
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}".replace("-", "−")))
        bar.ax.set_title("dB", color=MUTED, loc="center", fontsize=8)
        return _svg(figure, f"Spectrogram of {look.clip.name}")


def _frequency_axis(axes: Axes, hz_F: NDArray[np.float64]) -> None:
    """Label bands in Hz, from the top, as close as the type allows."""
    bands = len(hz_F)
    places: dict[float, str] = {}
    for hz in TICKS_HZ:
        place = float(np.interp(hz, hz_F, np.arange(bands) + 0.5))
        fits = hz <= hz_F[-1] * 1.03 and min(places, default=np.inf) - place > 0.1 * bands
        if fits:
            places[place] = f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz"
    axes.set_yticks(list(places), list(places.values()))


def db_limits(looks: Sequence[Look]) -> tuple[float, float]:
    """Return the dB range that a common colour scale of these clips needs."""
    db = np.concatenate([look.logmel_FT.ravel() for look in looks]) * DB_PER_LN
    low, high = np.percentile(db, (1, 99.8))
    return float(low), float(max(high, low + 10))


def _outline(axes: Axes, region: Region, look: Look, main: bool) -> None:
    mask_FT = region.mask_FT
    bands, frames = mask_FT.shape
    # Widened, so that the line runs around the sound and not over it; a rim of zeros closes it along the edges.
    wide_FT = ndimage.binary_dilation(mask_FT, iterations=2)
    padded = np.pad(wide_FT.astype(np.float32), 1)
    x = look.start + (np.arange(-1, frames + 1) + 0.5) * look.step
    y = np.arange(-1, bands + 1) + 0.5
    x[[0, -1]] = look.start + 0.06, look.start + frames * look.step - 0.06
    y[[0, -1]] = 0.4, bands - 0.4
    axes.contour(
        x,
        y,
        padded,
        levels=[0.5],
        colors=LOUDER if region.db > 0 else QUIETER,
        linewidths=1.5 if main else 0.8,
        linestyles="dotted" if region.kind == "jumps" else "solid" if region.db > 0 else "dashed",
        alpha=1.0 if main else 0.75,
    )


def roc(machine: Machine) -> str:
    """Draw the ROC curve of each section, with the region of pAUC shaded."""
    with _style():
        figure = Figure(figsize=(3.7, 3.4))
        axes = figure.add_axes((0.155, 0.13, 0.81, 0.84))
        axes.axvspan(0, FPR_LIMIT, color=GRID, alpha=0.55, lw=0)
        axes.plot([0, 1], [0, 1], color=GRID, lw=1)
        for i, section in enumerate(s for s in machine.sections if s.labelled):
            labels = [c.label for c in section.clips if c.label is not None]
            scores = [c.score for c in section.clips if c.label is not None]
            fpr, tpr, _ = roc_curve(labels, scores)
            style = _DASHES[i // len(SERIES) % len(_DASHES)]
            axes.plot(fpr, tpr, style, color=SERIES[i % len(SERIES)], lw=1.6, label=f"ID {section.name}", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("false-alarm rate")
        axes.set_ylabel("anomalies found")
        axes.legend(loc="lower right", handlelength=1.6)
        axes.text(FPR_LIMIT / 2, 0.02, "p ≤ 0.1", color=MUTED, fontsize=7, ha="center", va="bottom", rotation=90)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
        return _svg(figure, f"ROC curves of {machine.name}")


def histogram(machine: Machine) -> str:
    """Draw the scores of training normals (cross-fitted) and of the scored recordings, with the alarm limit."""
    sections = machine.sections
    columns = min(2, len(sections))
    rows = -(-len(sections) // columns)
    with _style():
        figure = Figure(figsize=(5.6, 0.55 + (1.25 if rows > 1 else 2.4) * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, section in zip(grid.flat, sections, strict=False):
            _histogram_of(axes, section, len(sections) > 1)
        for axes in grid.flat[len(sections) :]:
            axes.set_visible(False)
        for axes in grid[-1]:
            axes.set_xlabel("anomaly score")
        handles, labels = _legend(list(grid.flat))
        figure.legend(handles, labels, loc="outside upper left", ncols=4, handlelength=1.0, columnspacing=1.2)
        return _svg(figure, f"Scores of {machine.name}: training normals, scored recordings and the alarm limit")


def _legend(every: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    """Return each kind of bar once, in the order of first appearance."""
    entries: dict[str, Artist] = {}
    for axes in every:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.values()), list(entries)


def _histogram_of(axes: Axes, section: Section, titled: bool) -> None:
    # Of a few long recordings their windows are shown: a handful of scores makes no histogram.
    scored = [n for n in section.normals if n.windows]
    windows = any(len(n.windows) > 1 for n in scored)
    training = [score for n in scored for _, score in n.windows] if windows else [n.score for n in scored]
    groups = {
        f"training {'windows' if windows else 'normals'}": (training, OTHER),
        "normals": ([c.score for c in section.clips if c.label == 0], NORMAL),
        "anomalies": ([c.score for c in section.clips if c.label == 1], ALARM),
        "recordings": ([c.score for c in section.clips if c.label is None], SERIES[2]),
    }
    every = np.concatenate([scores for scores, _ in groups.values()])
    low, high = float(every.min()), float(np.percentile(every, 99))
    limit = float(np.median([c.threshold for c in section.clips if c.threshold is not None]))
    high = max(high, limit * 1.05)
    edges = np.linspace(low, high, 29)
    for label, (scores, colour) in groups.items():
        if not scores:
            continue
        # What lies beyond the axis is counted in the last bar. Shares, because the groups differ in size.
        share = np.histogram(np.minimum(scores, high), edges)[0] / len(scores)
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.28, lw=0)
        axes.stairs(share, edges, color=colour, lw=1.2, label=label)
    axes.axvline(limit, color=INK, lw=1, ls=(0, (4, 3)), label="alarm limit")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(low, high)
    if titled:
        axes.set_title(f"ID {section.name}")


def _svg(figure: Figure, description: str) -> str:
    """Return a figure as an inline SVG element with a description for those who do not see it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _themed(file.getvalue(), description)


_figures = itertools.count()


def _themed(svg: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    for sentinel, variable in _VARIABLES.items():
        svg = svg.replace(sentinel, variable)
    # The page's font, at the figure's size.
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", lambda m: _smaller(m[1]), svg)
    # Several figures share a page, so that their ids must differ.
    prefix = f"f{next(_figures)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg).replace("xlink:href", "href")
    head, rest = svg.split(">", 1)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)[0]
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(description)}">'
        f"<title>{html.escape(description)}</title>{rest}"
    )


def _smaller(encoded: str) -> str:
    """Return a PNG with a palette instead of RGBA: exact, because the colour map has fewer colours than it."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    packed = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(packed.getvalue()).decode()
