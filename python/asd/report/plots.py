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

from asd.evaluate.official import Figure as OfficialFigure
from asd.report.bands import Bands
from asd.report.clips import Section
from asd.report.compare import Pair
from asd.report.deviation import DB_PER_LN, Region
from asd.report.evidence import Look
from asd.report.machine import Machine
from asd.report.study import Means, Study
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

MOST_ROWS = 28
"""Of a figure of machine IDs; of more, it has a row a machine."""


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


def forest(study: Study) -> str:
    """Draw AUC and pAUC of each machine ID, of the mean, and of the baselines' means, with their intervals."""
    many = len(study.sections) > MOST_ROWS
    several = len(study.machines) > 1
    lines: list[tuple[str, Means, str]] = []
    for machine, means in study.machines.items():
        ids = {s: own for (m, s), own in sorted(study.sections.items()) if m == machine}
        if not many:
            lines += [(f"{machine} {s}" if several else f"ID {s}", own, NORMAL) for s, own in ids.items()]
        else:
            lines.append((machine, means, NORMAL))
    lines.append(("mean", study.mean, INK))
    lines += [(name, own, OTHER) for name, own in study.beside.items() if name.startswith("baseline")]
    figures: tuple[OfficialFigure, ...] = ("auc", "pauc")
    with _style():
        figure = Figure(figsize=(7.6, 0.62 + 0.24 * len(lines)))
        bottom = 0.42 / figure.get_figheight()
        height = 1 - bottom - 0.24 / figure.get_figheight()
        for i, name in enumerate(figures):
            axes = figure.add_axes((0.16 + 0.43 * i, bottom, 0.39, height))
            lowest = min(own[name].low for _, own, _ in lines)
            axes.set_xlim(max(0.0, 100 * lowest - 3), 101)
            for y, (_, own, colour) in enumerate(lines):
                value, low, high = (100 * v for v in (own[name].value, own[name].low, own[name].high))
                axes.plot((low, high), (y, y), color=colour, lw=2.2, alpha=0.45, solid_capstyle="round")
                axes.plot(value, y, "o" if colour != INK else "D", color=colour, ms=5, clip_on=False)
            axes.axhline(len(lines) - 1.5 - sum(c == OTHER for *_, c in lines), color=GRID, lw=0.8)
            axes.set_ylim(len(lines) - 0.5, -0.6)
            axes.set_yticks(range(len(lines)), [text for text, *_ in lines] if i == 0 else [])
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x", color=GRID, lw=0.6)
            axes.set_axisbelow(True)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_title(f"{'AUC' if name == 'auc' else 'pAUC'}, % (95 %)")
        return _svg(figure, f"AUC and pAUC of {study.system.scorer} by machine ID, with intervals")


def bands(name: str, found: Bands) -> str:
    """Draw the AUC of each region of frequency, and how far normals and anomalies deviate, band by band."""
    places = np.arange(len(found.hz_F)) + 0.5
    with _style():
        figure = Figure(figsize=(7.6, 2.5))
        axes = figure.add_axes((0.075, 0.2, 0.4, 0.68))
        for i, region in enumerate(found.regions):
            value, low, high = (100 * v for v in (region.auc.value, region.auc.low, region.auc.high))
            colour = ALARM if region.high else NORMAL
            axes.plot((i, i), (low, high), color=colour, lw=2.2, alpha=0.45, solid_capstyle="round")
            axes.plot(i, value, "o", color=colour, ms=5.5)
        axes.axhline(50, color=MUTED, lw=0.8, ls=(0, (4, 3)))
        labels = [f"{r.low_hz / 1000:g}–{r.high_hz / 1000:g}" for r in found.regions]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_xlabel("kHz")
        axes.set_title("AUC of the region alone, % (95 %)")
        axes.grid(axis="y", color=GRID, lw=0.6)
        axes.set_axisbelow(True)
        right = figure.add_axes((0.55, 0.2, 0.44, 0.68))
        right.plot(places, found.normal_F, color=NORMAL, lw=1.4, label="test normals")
        right.plot(places, found.anomaly_F, color=ALARM, lw=1.4, label="anomalies")
        ticks = [hz for hz in TICKS_HZ if hz <= found.hz_F[-1] * 1.03]
        at = [float(np.interp(hz, found.hz_F, places)) for hz in ticks]
        right.set_xticks(at, [f"{hz / 1000:g}" for hz in ticks])
        right.set_xlim(0, len(places))
        right.set_ylim(0, 1.25 * float(max(found.anomaly_F.max(), found.normal_F.max())))
        right.set_xlabel("kHz")
        right.set_title("Deviation, in standard deviations of the normals (median)")
        right.legend(loc="upper right", ncols=2, handlelength=1.4)
        return _svg(figure, f"Frequencies in which the anomalies of {name} lie")


def scatter(pair: Pair) -> str:
    """Draw every recording at the percentiles that two systems give it."""
    groups: tuple[tuple[str, int | None, str, str], ...] = (
        ("normals", 0, NORMAL, "o"),
        ("anomalies", 1, ALARM, "D"),
        ("recordings", None, SERIES[2], "o"),
    )
    with _style():
        figure = Figure(figsize=(4.2, 4.2))
        axes = figure.add_axes((0.13, 0.11, 0.85, 0.85))
        axes.plot((0, 100), (0, 100), color=GRID, lw=1)
        area = float(np.clip(6000 / len(pair.placed), 5, 26))
        for label, known, colour, marker in groups:
            own = [p for p in pair.placed if p.clip.label == known]
            if own:
                x, y = [p.first for p in own], [p.second for p in own]
                axes.scatter(x, y, area, color=colour, marker=marker, alpha=0.55, lw=0, label=label)
        axes.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal")
        axes.set_xlabel(f"percentile by {pair.first.letter}")
        axes.set_ylabel(f"percentile by {pair.second.letter}")
        axes.legend(loc="upper left", handletextpad=0.2)
        return _svg(figure, f"Percentiles of all recordings by {pair.first.letter} and {pair.second.letter}")


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
