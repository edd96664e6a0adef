"""What a report says of one or several runs: the figures over all of them, and which of them share recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from asd.evaluate.dcase import summarise
from asd.report.compare import Comparison, compare
from asd.report.machine import Machine, headline_of, read_machine
from asd.report.study import Study, study_of
from asd.report.systems import systems_of
from asd.runs import Run


@dataclass(frozen=True)
class Report:
    """One or several runs, and the figures over all of them.

    Attributes:
        figures: ``metrics.json``'s structure over all runs, fractions or None.
        study: figures of one system with intervals; None without labels, and where systems are compared.
        comparison: of systems that share recordings, or None.
    """

    machines: tuple[Machine, ...]
    figures: Mapping[str, Any]
    study: Study | None
    comparison: Comparison | None
    created: datetime
    version: str

    @property
    def labelled(self) -> bool:
        """Some AUC could be computed."""
        return self.figures["mean"]["auc"] is not None

    @property
    def studies(self) -> list[Study]:
        """What was measured: of one system, or of those compared."""
        compared = self.comparison.studies if self.comparison else (self.study,)
        return [s for s in compared if s is not None]

    @property
    def shown(self) -> list[Machine]:
        """The runs whose alarms and clips are shown: of one system's seeds the first, of systems compared the first."""
        if self.comparison is not None:
            first = self.comparison.systems[0] if self.compared else None
        else:
            first = self.study.system if self.study else None
        wanted = {m.run for m in first.first} if first else {m.run for m in self.machines}
        return [m for m in self.machines if m.run in wanted]

    @property
    def compared(self) -> bool:
        """Systems are compared by their figures; without labels the plant's report stands first."""
        return self.comparison is not None and self.comparison.labelled

    def title(self) -> str:
        """Return the sentences that stand above everything."""
        return " ".join(self.title_parts()).rstrip()

    def title_parts(self) -> tuple[str, str]:
        """Return the main sentence and the one below it: figures where labels are known, else the plant's headline."""
        if self.comparison is not None and self.compared:
            return self.comparison.headline()
        if self.study is None:
            return self.headline_parts()
        return self.study.headline()

    def headline(self) -> str:
        """Return how many recordings of all machines sound wrong, and how many would by chance."""
        return " ".join(self.headline_parts()).rstrip()

    def headline_parts(self) -> tuple[str, str]:
        """Return both sentences of the headline."""
        return headline_of(self.shown)

    def json(self) -> dict[str, Any]:
        """Return ``metrics.json``'s structure and, under ``plant``, the alarms of each machine and section.

        ``comparison`` is there where systems are compared.
        """
        plant = {
            m.name: {
                s.name: {
                    "recordings": len(s.judged),
                    "silent": len(s.clips) - len(s.judged),
                    "alarms": s.alarms,
                    "expected_by_chance": s.by_chance,
                    "threshold": s.threshold,
                    "false_alarm_rate": s.rate,
                    "interval": list(s.interval),
                    "n_normals": len(s.normals),
                }
                for s in m.sections
            }
            for m in self.machines
        }
        more = {"comparison": self.comparison.json()} if self.comparison else {}
        return {**self.figures, "plant": plant, **more}


def read(runs: Sequence[Run], per_day: float | None = None) -> Report:
    """Compute a report from run folders.

    Args:
        runs: at least one; their order is the report's.
        per_day: recordings a day of one machine ID; default: by their time stamps, else listening without pause.

    Raises:
        RunFolderError: a run was not scored; names the command that does.
        DataError: a file of a run folder is damaged; names it.
    """
    from asd import __version__

    opened = [read_machine(run, per_day) for run in runs]
    systems = systems_of(opened)
    machines = _named(opened)
    beside = sorted({name for m in machines for name in m.beside})
    figures = summarise(
        [row for m in machines for row in m.rows],
        {name: [row for m in machines for row in m.beside.get(name, ())] for name in beside},
    )
    study = study_of(systems[0]) if len(systems) == 1 else None
    comparison = compare(systems) if len(systems) > 1 else None
    return Report(tuple(machines), figures, study, comparison, datetime.now().astimezone(), str(__version__))


def _named(machines: list[Machine]) -> list[Machine]:
    """Tell runs apart that share a machine and a section, and carry the name into their rows."""
    owners = Counter((m.machine, s.name) for m in machines for s in m.sections)
    twice = {machine for (machine, _), runs in owners.items() if runs > 1}
    types = Counter(m.machine for m in machines)
    named = []
    for m in machines:
        if m.machine in twice:
            name = f"{m.machine} ({m.run.name})"
            rows = tuple(replace(r, machine=name) for r in m.rows)
            beside = {k: tuple(replace(r, machine=name) for r in v) for k, v in m.beside.items()}
            m = replace(m, name=name, rows=rows, beside=beside)
        elif types[m.machine] > 1:
            m = replace(m, name=f"{m.machine} {' '.join(s.name for s in m.sections)}")
        named.append(m)
    return named
