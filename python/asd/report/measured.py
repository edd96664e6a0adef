"""The tables of a paper: figures with intervals, bands, and several systems beside each other."""

from __future__ import annotations

from asd.evaluate.bootstrap import Interval
from asd.evaluate.official import Figure
from asd.report.bands import Bands, hz_words
from asd.report.compare import Comparison, Pair
from asd.report.cost import cost_of
from asd.report.study import NAMES, RULES, SHOWN, Means, Study
from asd.report.systems import System
from asd.report.tables import NONE, Mark, Table, ranks
from asd.words import points

DISAGREEMENTS = 12
"""Recordings that a table of disagreements lists."""

NAN = float("nan")


def by_id(study: Study) -> Table:
    """Figures of each machine ID and their means, with 95 % intervals."""
    shown = [f for f in SHOWN if f in study.mean]
    rows, strong = [], set()
    for machine, means in study.machines.items():
        own = {s: f for (m, s), f in study.sections.items() if m == machine}
        rows += [(machine, s, *(_cell(f.get(name)) for name in shown)) for s, f in sorted(own.items())]
        if len(own) > 1:
            strong.add(len(rows))
            rows.append((machine, "mean", *(_cell(means.get(name)) for name in shown)))
    if len(study.machines) > 1:
        strong.add(len(rows))
        rows.append(("mean of machines", "", *(_cell(study.mean[name]) for name in shown)))
    seeds = [f"{NAMES[f]} ± {100 * d:.2f}" for f in shown if (d := study.deviation(f)) is not None]
    over = f" Means of {len(study.system.seeds)} seeds; their deviation: {', '.join(seeds)}." if seeds else ""
    return Table(
        f"{_who(study.system)}, by machine ID",
        ("machine", "ID", *(f"{NAMES[f]} (95 %)" for f in shown)),
        tuple(rows),
        texts=2,
        strong=frozenset(strong),
        note=f"Percent; p = 0.1, standardised. Means are {RULES[study.year]}.{over} Intervals: normals and anomalies "
        "of each ID (and domain) drawn with replacement, each in their number.",
    )


def differences(study: Study) -> list[Table]:
    """The deciding scorer minus each beside it, on the same draws; no table where there is none."""
    shown = [f for f in SHOWN if f in study.mean]
    if not study.differences:
        return []
    rows = [
        (name, *(_points(own.get(f)) for f in shown), _counts(own, study.leading[0]))
        for name, own in study.differences.items()
    ]
    table = Table(
        f"{_who(study.system)} minus the scorers beside it",
        ("minus", *(f"{NAMES[f]} (95 %)" for f in shown), "counts"),
        tuple(rows),
        note=f"Percentage points; the same clips are drawn for both. A difference of {NAMES[study.leading[0]]} counts "
        "when its interval excludes 0.",
    )
    return [table]


def bands(machine: str, found: Bands) -> Table:
    """How well each region of frequency alone tells the anomalies of a machine."""
    marks: dict[tuple[int, int], tuple[Mark, ...]] = {}
    for column, values in ((1, [r.auc.value for r in found.regions]), (2, [r.pauc.value for r in found.regions])):
        marks |= {(i, column): (mark,) for i, mark in enumerate(ranks([100 * v for v in values])) if mark}
    rows = tuple(
        (
            hz_words(r),
            _cell(r.auc),
            _cell(r.pauc),
            f"{100 * r.share:.0f}",
            f"{r.db[1]:.1f}",
            f"{r.db[0]:.1f}",
        )
        for r in found.regions
    )
    return Table(
        f"Where the anomalies of {machine} lie",
        ("region", "AUC (95 %)", "pAUC (95 %)", "most deviant, %", "anomalies, dB", "normals, dB"),
        rows,
        marks=marks,
        note="AUC of the deviation in one region alone, training-free, percent; best bold, second underlined. Most "
        "deviant: the share of anomalies that deviate most there. dB: mean absolute difference of level from the "
        f"training normals. {found.recordings:,} labelled recordings.",
    )


def systems(comparison: Comparison, brief: bool = False) -> Table:
    """A row a system: figures with intervals, seeds, cost; and the baselines beside the first one.

    Args:
        brief: without alarms and cost.
    """
    studies = [s for s in comparison.studies if s is not None]
    shown: list[Figure] = [f for f in SHOWN if studies and all(f in s.mean for s in studies)]
    lines: list[tuple[tuple[str, ...], Means, str]] = []
    for system, study in zip(comparison.systems, comparison.studies, strict=True):
        costs = [cost_of(m) for m in system.runs]
        parameters = costs[0].parameters
        seconds = [c.seconds for c in costs if c.seconds]
        alarms = sum(m.alarms for m in system.first)
        texts = (system.letter, system.name, f"{len(system.seeds)}")
        rest = (
            f"{alarms:,} of {sum(len(m.judged) for m in system.first):,}",
            f"{parameters:,}" if parameters and costs[0].network else NONE,
            f"{sum(seconds) / 60 / len(system.seeds):.1f}" if seconds else NONE,
        )
        lines.append(((*texts, *rest), study.mean if study else {}, _spread(study, shown)))
    for name, means in studies[0].beside.items() if studies else ():
        if name.startswith("baseline"):
            lines.append((("", name, NONE, NONE, NONE, NONE), means, ""))
    rows = tuple(
        (*head[:2], *(_cell(means.get(f)) for f in shown), *((spread or NONE,) if shown else ()), *head[2:])
        for head, means, spread in lines
    )
    marks: dict[tuple[int, int], tuple[Mark, ...]] = {}
    for c, f in enumerate(shown, 2):
        found = ranks([100 * means[f].value if f in means else NAN for _, means, _ in lines])
        marks |= {(i, c): (mark,) for i, mark in enumerate(found) if mark}
    spread_head = (f"± over seeds,\n{NAMES[shown[0]]}",) if shown else ()
    heads = ("", "system", *(f"{NAMES[f]} (95 %)" for f in shown), *spread_head, "seeds", *_RUNNING)
    if brief:
        heads, rows = heads[: -len(_RUNNING)], tuple(row[: -len(_RUNNING)] for row in rows)
    running = "" if brief else "; alarms are those of the first seed, minutes those of training a seed"
    many = " The highest of many is flattered by being the highest." if len(studies) > 3 else ""
    return Table(
        f"Systems on the same {comparison.recordings:,} recordings",
        heads,
        rows,
        texts=2,
        marks=marks,
        note="Percent; best bold, second underlined; which differences count, the next table tells."
        f"{many} Figures are means over seeds{running}.",
    )


def pairs(comparison: Comparison) -> Table:
    """Each other system minus the first, on the same draws of clips."""
    shown: list[Figure] = [f for f in SHOWN if all(f in p.differences for p in comparison.pairs)]
    lead: Figure = "official" if "official" in shown else "auc"
    rows = tuple(
        (
            f"{p.second.letter} − {p.first.letter}",
            p.second.name,
            *(_points(p.differences.get(f)) for f in shown),
            _counts(p.differences, lead),
            f"{len(p.placed):,}",
        )
        for p in comparison.pairs
    )
    return Table(
        "Paired differences",
        ("", "system", *(f"{NAMES[f]} (95 %)" for f in shown), "counts", "recordings"),
        rows,
        texts=2,
        note="Percentage points, on the recordings that both have scored; the same clips are drawn for both. A "
        f"difference of {NAMES[lead]} counts when its interval excludes 0.",
    )


def ids(comparison: Comparison) -> Table:
    """AUC and pAUC of every machine ID by every system."""
    studies = [s for s in comparison.studies if s is not None]
    rows: list[tuple[str, ...]] = []
    marks: dict[tuple[int, int], tuple[Mark, ...]] = {}
    for i, place in enumerate(comparison.places):
        pairs = [s.sections.get(place) for s in studies]
        rows.append((*place, *(_both(p) for p in pairs)))
        both = [ranks([100 * p[f].value if p else NAN for p in pairs]) for f in _PAIR]
        marks |= {(i, c): found for c, found in enumerate(zip(*both, strict=True), 2) if any(found)}
    return Table(
        "By machine ID",
        ("machine", "ID", *(s.system.letter for s in studies)),
        tuple(rows),
        texts=2,
        marks=marks,
        note="AUC / pAUC, percent; best bold, second underlined.",
    )


def disagreements(pair: Pair) -> Table:
    """The recordings that two systems rank most differently."""
    words = {0: "normal", 1: "anomaly", None: NONE}
    nearer = {True: pair.second.letter, False: pair.first.letter, None: NONE}
    rows = tuple(
        (
            p.clip.name,
            p.clip.section,
            words[p.clip.label],
            f"{p.first:.0f}",
            f"{p.second:.0f}",
            f"{p.apart:+.0f}".replace("-", "−"),
            nearer[p.second_is_right],
        )
        for p in pair.placed[:DISAGREEMENTS]
    )
    first, second = pair.first.letter, pair.second.letter
    return Table(
        f"Where {first} and {second} disagree most",
        ("recording", "ID", "known as", first, second, f"{second} − {first}", "right"),
        rows,
        texts=3,
        note="Percentile among the recordings of its ID, the mean over seeds: 100 is the least normal. Right: who "
        "places an anomaly higher, or a normal lower.",
    )


_RUNNING = ("alarms", "parameters", "minutes")

_PAIR: tuple[Figure, Figure] = ("auc", "pauc")


def _who(system: System) -> str:
    return f"{system.letter}: {system.name}" if system.letter else system.scorer


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return NONE
    return f"{100 * interval.value:.2f} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def _points(interval: Interval | None) -> str:
    if interval is None:
        return NONE
    return f"{points(interval.value)} ({points(interval.low)} to {points(interval.high)})"


def _counts(own: Means, figure: Figure) -> str:
    if figure not in own:
        return NONE
    d = own[figure]
    return "no" if d.low <= 0 <= d.high else "yes"


def _spread(study: Study | None, shown: list[Figure]) -> str:
    deviation = study.deviation(shown[0]) if study and shown else None
    return "" if deviation is None else f"± {100 * deviation:.2f}"


def _both(means: Means | None) -> str:
    if means is None:
        return NONE
    return "/".join(f"{100 * means[f].value:.2f}" for f in _PAIR)
