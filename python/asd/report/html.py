"""The page: one file, no network, figures and sounds inside."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asd.events import Event, Progress
from asd.report import measured, peers, plots, tables
from asd.report.bands import Bands
from asd.report.compare import Comparison, Pair
from asd.report.evidence import Evidence, Heard, Look
from asd.report.machine import Machine
from asd.report.model import Report
from asd.report.opening import Opening
from asd.report.verdict import VERDICT_WORDS
from asd.words import number

RANKED = 20
"""Rows of the table of highest-scored recordings."""

MOST_PAIRS = 4
"""Pairs of systems whose recordings are drawn."""


@dataclass(frozen=True)
class Card:
    """A machine, drawn."""

    anchor: str
    machine: Machine
    evidence: Evidence
    worst_look: Look | None
    strip: Markup | None
    worst: Markup | None
    nearest: Markup | None
    roc: Markup | None
    histogram: Markup
    gallery: tuple[tuple[Look, Markup], ...]
    ranked: tables.Table
    bands: Markup | None
    bands_table: tables.Table | None

    @property
    def heard(self) -> list[tuple[str, list[Heard]]]:
        """The recordings to listen to, by machine ID."""
        every = self.evidence.heard
        return [(s, [h for h in every if h.clip.section == s]) for s in dict.fromkeys(h.clip.section for h in every)]

    def kinds(self) -> list[str]:
        """Return which outlines the worst clip shows."""
        regions = self.worst_look.regions[: plots.OUTLINES] if self.worst_look else ()
        names = {("level", True): "louder", ("level", False): "quieter", ("jumps", True): "rougher"}
        found = {names.get((r.kind, r.db > 0), "smoother") for r in regions}
        return [kind for kind in ("louder", "quieter", "rougher", "smoother") if kind in found]

    def gain_words(self) -> str:
        """Return how the two sounds were amplified, the same for both."""
        gain = round(self.evidence.worst_sound.gain_db) if self.evidence.worst_sound else 0
        if not gain:
            return "as loud as recorded"
        return f"{'amplified' if gain > 0 else 'lowered'} by the same {abs(gain)} dB"


@dataclass(frozen=True)
class Versus:
    """Two systems, drawn."""

    pair: Pair
    scatter: Markup
    table: tables.Table


def page(report: Report, evidence: Sequence[Evidence], opened: Sequence[Opening]) -> Generator[Event, None, str]:
    """Draw a report as one HTML file.

    Args:
        evidence: the clips to show, one entry for each machine that is shown.
        opened: what stands first where labels are known.
    """
    cards = []
    for done, (machine, seen) in enumerate(zip(report.shown, evidence, strict=True), 1):
        if not report.compared:
            cards.append(_card(f"machine-{done}", machine, seen))
        yield Progress("drawing", done, len(report.shown))
    looked = [(m, seen) for m, seen in zip(report.shown, evidence, strict=True) if report.compared]
    environment = Environment(
        loader=PackageLoader("asd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        cards=cards,
        machines=tables.machines(report),
        figures=tables.figures(report) if report.labelled and not report.compared else None,
        winner=tables.winner(report),
        opened=opened,
        forest=Markup(plots.forest(report.study)) if report.study else None,
        by_id=measured.by_id(report.study) if report.study else None,
        differences=measured.differences(report.study) if report.study else [],
        comparison=_comparison(report.comparison) if report.comparison else None,
        bands=[_bands(m, seen) for m, seen in looked if seen.bands],
        heard=[h for _, seen in looked for h in seen.heard],
        published=peers.published(report),
        incomparable=peers.incomparable(report),
        verdicts=VERDICT_WORDS,
        number=number,
    )


def _comparison(found: Comparison) -> dict[str, Any]:
    """Return what the page shows of systems beside each other."""
    return {
        "systems": measured.systems(found),
        "pairs": measured.pairs(found),
        "ids": measured.ids(found) if found.labelled else None,
        "versus": [Versus(p, Markup(plots.scatter(p)), measured.disagreements(p)) for p in found.pairs[:MOST_PAIRS]],
    }


def _bands(machine: Machine, seen: Evidence) -> tuple[Bands, Markup, tables.Table]:
    assert seen.bands is not None
    return seen.bands, Markup(plots.bands(machine.machine, seen.bands)), measured.bands(machine.machine, seen.bands)


def _card(anchor: str, machine: Machine, evidence: Evidence) -> Card:
    worst = machine.ranked[0]
    shown = [look for look in evidence.looks if look.clip is worst]
    worst_look = shown[0] if shown else None
    pair = [look for look in (worst_look, evidence.nearest) if look is not None]
    limits = plots.db_limits(pair) if pair else None
    normals, anomalies = machine.known
    return Card(
        anchor=anchor,
        machine=machine,
        worst_look=worst_look,
        evidence=evidence,
        strip=Markup(plots.strip(machine)) if machine.judged else None,
        worst=Markup(plots.spectrogram(worst_look, limits)) if worst_look else None,
        nearest=Markup(plots.spectrogram(evidence.nearest, limits)) if evidence.nearest else None,
        roc=Markup(plots.roc(machine)) if normals and anomalies else None,
        histogram=Markup(plots.histogram(machine)),
        gallery=tuple((look, Markup(plots.spectrogram(look))) for look in evidence.looks),
        ranked=tables.ranked(machine, RANKED),
        bands=Markup(plots.bands(machine.name, evidence.bands)) if evidence.bands else None,
        bands_table=measured.bands(machine.name, evidence.bands) if evidence.bands else None,
    )
