"""What a report opens with for a researcher: data, split, figures with intervals, selection, deviations, cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asd.evaluate.bootstrap import Interval, intervals
from asd.evaluate.official import Figure
from asd.report.cost import cost_of
from asd.report.origin import Origin, short
from asd.report.study import NAMES, RESAMPLES, RULES, Means, Study
from asd.report.systems import System, groups_of
from asd.words import count, points


@dataclass(frozen=True, slots=True)
class Fact:
    """A thing that is said.

    Attributes:
        value: a figure or a few words; empty where `detail` says all.
    """

    name: str
    value: str
    detail: str = ""

    def text(self) -> str:
        """Return it in one line."""
        return " ".join(
            part for part in (self.value, f"({self.detail})" if self.value and self.detail else self.detail) if part
        )


@dataclass(frozen=True)
class Opening:
    """What opens a report.

    Attributes:
        title: system and machines.
        figures: numbers.
        facts: sentences.
    """

    title: str
    figures: tuple[Fact, ...]
    facts: tuple[Fact, ...]
    data: dict[str, Any]

    @property
    def every(self) -> tuple[Fact, ...]:
        """Data and split first, then figures, then how they came about."""
        return (*self.facts[:3], *self.figures, *self.facts[3:])


def opening_of(study: Study, published: Callable[[], str]) -> Opening:
    """Put together what is said of a system.

    Args:
        published: says what stands beside it.
    """
    system, origin = study.system, Origin(study.system)
    training, tests = origin.checksums()
    sums = [f"training recordings {short(training)}"] if training else []
    costs = [cost_of(m) for m in system.first]
    facts = [
        Fact("Data", "", origin.data()),
        Fact("Split", "", origin.test.words()),
        Fact("SHA-256", "", f"{', '.join([*sums, f'test list {short(tests)}'])}; in full in report.json."),
        Fact("Published beside it", "", published()),
        Fact("Selection", "", origin.selection()),
        Fact("Variants tried", "", origin.tried()),
        Fact("From the paper", "", origin.deviations()),
        Fact("Cost", "", "; ".join(dict.fromkeys(c.words() for c in costs)) + "."),
        Fact("Rules", "", f"Means are {RULES[study.year]}. Intervals: 95 %, {RESAMPLES:,} resamples of the clips."),
    ]
    machines = sorted({m.machine for m in system.first})
    who = f"{system.letter}: {system.name}" if system.letter else system.scorer
    title = f"{who} on {', '.join(machines) if len(machines) < 8 else count(len(machines), 'machine')}"
    data = {
        **study.json(),
        **origin.json(),
        "cost": [c.json() for c in costs],
    }
    return Opening(title, tuple(_figures(study, origin)), tuple(f for f in facts if f.detail), data)


def _figures(study: Study, origin: Origin) -> list[Fact]:
    found = [Fact(_mean_name(f), percent(study.mean[f]), _spread(study, f)) for f in study.leading]
    for name, own in study.differences.items():
        if name.startswith("baseline"):
            figure: Figure = study.leading[0]
            found.append(Fact(f"Against {name}", f"{points(own[figure].value)} points", _difference(own, figure)))
    machine, section = worst = study.worst()
    own = study.sections[worst]
    where = f"{machine} {section}" if len(study.machines) > 1 else f"ID {section}"
    if len(study.sections) > 1:
        detail = f"AUC, {where}, {span(own['auc'])}; pAUC {100 * own['pauc'].value:.2f} %"
        found.append(Fact("Worst ID", percent(own["auc"]), detail))
    gap = study.gap()
    if gap is not None:
        source, target = (percent(study.mean[f]) for f in ("auc_source", "auc_target"))
        found.append(Fact("Source − target", f"{points(gap)} points", f"of AUC; source {source}, target {target}"))
    touched = origin.touched()
    rest = _without(study, touched)
    if touched and rest:
        ids = ", ".join(f"{m} {s}" for m, s in sorted(set(study.sections) - touched))
        detail = f"AUC, {span(rest['auc'])}; pAUC {100 * rest['pauc'].value:.2f} %; {ids}"
        found.append(Fact("On IDs that chose nothing", percent(rest["auc"]), detail))
    return found


def _without(study: Study, places: frozenset[tuple[str, str]]) -> Means:
    groups = [[g for g in own if (g.machine, g.section) not in places] for own in groups_of(study.system.rows())]
    return intervals(groups, year=study.year, resamples=RESAMPLES) if groups[0] else {}


def _mean_name(figure: Figure) -> str:
    return "Official score" if figure == "official" else f"Mean {NAMES[figure]}"


def _spread(study: Study, figure: Figure) -> str:
    """Return the interval, the deviation over seeds, and with the first figure which seeds there are."""
    deviation = study.deviation(figure)
    parts = [span(study.mean[figure])]
    if figure == study.leading[0]:
        parts.append(seeds_words(study.system))
    if deviation is not None:
        parts.append(f"± {100 * deviation:.2f} over seeds")
    return "; ".join(parts)


def seeds_words(system: System) -> str:
    """Return how many seeds there are, and which."""
    numbers = [str(number) for number, _ in system.seeds if number is not None]
    if not any("network" in m.detector for m in system.runs):
        return "no seeds: nothing is drawn"
    which = f" ({', '.join(numbers)})" if numbers else ""
    return f"{count(len(system.seeds), 'seed')}{which}"


def _difference(own: Means, figure: Figure) -> str:
    """Return what a paired difference says: its interval, whether it counts, and that of the pAUC."""
    d = own[figure]
    other: Figure = "auc" if figure == "official" else "pauc"
    more = f"; {NAMES[other]} {points(own[other].value)} ({points(own[other].low)} to {points(own[other].high)})"
    verdict = "no difference that counts" if d.low <= 0 <= d.high else "better" if d.value > 0 else "worse"
    return f"of {NAMES[figure]}, {points(d.low)} to {points(d.high)}: {verdict}{more}"


def percent(interval: Interval) -> str:
    """Return a figure in percent."""
    return f"{100 * interval.value:.2f} %"


def span(interval: Interval) -> str:
    """Return the interval of a figure in percent."""
    return f"95 %: {100 * interval.low:.2f} to {100 * interval.high:.2f}"
