"""Which runs are one system under several seeds, and what tells systems apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeAlias

from asd.config import NO_MATTER, parse_config, read_preset
from asd.errors import UsageError
from asd.evaluate.scored import Scored, scored_of
from asd.report.machine import Machine
from asd.runs import ScoreRow

Place: TypeAlias = tuple[str, str]
"""Machine type and section."""

Key: TypeAlias = tuple[str, str, str]
"""Machine type, section and path: what makes two rows those of one recording."""

MOST_CHANGES = 3
"""Settings that a system's name tells, at most."""


@dataclass(frozen=True)
class System:
    """Runs of one setting that share no recording, once for each seed.

    Attributes:
        letter: ``"A"``, ... among several systems; empty for one alone.
        name: preset or method, and what tells it from the systems beside it.
        seeds: the number of the seed, and its runs; all seeds have heard the same recordings.
    """

    letter: str
    name: str
    seeds: tuple[tuple[int | None, tuple[Machine, ...]], ...]

    @property
    def first(self) -> tuple[Machine, ...]:
        """The runs of the first seed: they stand for all where a thing is the same in all."""
        return self.seeds[0][1]

    @property
    def runs(self) -> list[Machine]:
        """All runs."""
        return [m for _, runs in self.seeds for m in runs]

    @property
    def scorer(self) -> str:
        """What decides."""
        return " / ".join(sorted({str(m.detector["scorer"]) for m in self.runs}))

    @property
    def beside(self) -> list[str]:
        """Scorers that all runs have beside the deciding one, the baselines first."""
        shared = set.intersection(*(set(m.beside) for m in self.runs))
        return sorted(shared, key=lambda name: (not name.startswith("baseline"), name != "baseline-siblings", name))

    def rows(self, scorer: str | None = None) -> list[list[ScoreRow]]:
        """Return what was scored, a list a seed: by the deciding scorer, or one beside it."""
        return [
            [replace(r, machine=m.machine) for m in runs for r in (m.beside[scorer] if scorer else m.rows)]
            for _, runs in self.seeds
        ]


def systems_of(machines: Sequence[Machine]) -> tuple[System, ...]:
    """Return the systems: a single one where no two runs share a machine ID, else grouped by their settings."""
    owners = Counter(place for m in machines for place in _places(m))
    if max(owners.values()) == 1:
        number = {_settings(m)[1] for m in machines}
        seed = number.pop() if len(number) == 1 else None
        return (System("", _label(machines[0]), ((seed, tuple(machines)),)),)
    found = [seeds for group in _grouped(machines) for seeds in _apart(group)]
    # In the order in which the runs were named.
    found.sort(key=lambda seeds: min(machines.index(m) for _, runs in seeds for m in runs))
    if len(found) == 1:
        return (System("", _label(found[0][0][1][0]), found[0]),)
    names = _names([[m for _, runs in seeds for m in runs] for seeds in found])
    return tuple(
        System(letter, name, seeds) for letter, name, seeds in zip(_letters(len(found)), names, found, strict=True)
    )


def key_of(row: ScoreRow) -> Key:
    """Return what a recording is known by."""
    return row.machine, row.section, row.path


def shared(tables: Sequence[Sequence[ScoreRow]]) -> list[list[ScoreRow]]:
    """Return of each table the rows of the recordings that all tables have, in one order."""
    keyed = [{key_of(r): r for r in rows} for rows in tables]
    common = sorted(set.intersection(*(set(own) for own in keyed)))
    return [[own[key] for key in common] for own in keyed]


def groups_of(tables: Sequence[Sequence[ScoreRow]]) -> list[list[Scored]]:
    """Return the sections of each table that can be measured, on the recordings that all tables have."""
    return [scored_of(rows) for rows in shared(tables)]


def _places(machine: Machine) -> frozenset[Place]:
    return frozenset((machine.machine, s.name) for s in machine.sections)


def _settings(machine: Machine) -> tuple[dict[str, Any], int | None]:
    """Return the dotted settings that make a system, and the seed."""
    config = machine.run.config()
    own = {key: value for key, value in flat(config) if not key.startswith(NO_MATTER)}
    return own, config.get("seed")


def flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield settings with dotted keys."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", v) for inner, v in flat(value))
        else:
            yield key, value


def setting_words(key: str, value: Any) -> str:
    """Return ``"queue size 512"`` for ``moco.queue_size``, ``"encoder small"`` for ``encoder.name``."""
    return f"{key.removesuffix('.name').rpartition('.')[2].replace('_', ' ')} {value_words(value)}"


def value_words(value: Any) -> str:
    """Return the value of a setting as it is said."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _grouped(machines: Sequence[Machine]) -> list[list[Machine]]:
    groups: dict[str, list[Machine]] = defaultdict(list)
    for m in machines:
        groups[repr(sorted(_settings(m)[0].items()))].append(m)
    return list(groups.values())


def _apart(group: Sequence[Machine]) -> list[tuple[tuple[int | None, tuple[Machine, ...]], ...]]:
    """Split runs of one setting so that the runs of a seed share no machine ID, and all seeds have the same."""
    bins: list[dict[int | None, list[Machine]]] = []
    for m in group:
        seed = _settings(m)[1]
        free = (b for b in bins if not any(_places(m) & _places(other) for other in b.get(seed, ())))
        chosen = next(free, None)
        if chosen is None:
            bins.append(chosen := {})
        chosen.setdefault(seed, []).append(m)
    alike: dict[tuple[int, frozenset[Place]], list[tuple[int | None, tuple[Machine, ...]]]] = defaultdict(list)
    for number, own in enumerate(bins):
        for seed, runs in sorted(own.items(), key=lambda item: (item[0] is None, item[0] or 0)):
            alike[number, frozenset().union(*map(_places, runs))].append((seed, tuple(runs)))
    return [tuple(seeds) for seeds in alike.values()]


def _label(machine: Machine) -> str:
    """Return the preset, or the method where none was named."""
    config = machine.run.config()
    return str(config.get("preset") or config.get("method") or machine.detector.get("method", "run"))


def _names(found: Sequence[Sequence[Machine]]) -> list[str]:
    """Return names that tell systems apart: the preset, the settings that differ, else the runs."""
    labels = [_label(runs[0]) for runs in found]
    names = []
    for label, runs in zip(labels, found, strict=True):
        rivals = [_settings(other[0])[0] for other, its in zip(found, labels, strict=True) if its == label]
        own = _settings(runs[0])[0]
        changed = [k for k, v in own.items() if any(k in rival and rival[k] != v for rival in rivals)]
        usual = dict(flat(_preset(label)))
        # What is as the preset has it does not name a system, unless nothing else does.
        told = [k for k in changed if own[k] != usual.get(k)]
        words = [
            f"from {Path(own[k]).name}" if k == "encoder.weights" and own[k] else setting_words(k, own[k])
            for k in told[:MOST_CHANGES]
        ]
        if len(told) > MOST_CHANGES:
            words.append(f"{len(told) - MOST_CHANGES} more")
        names.append(", ".join([label, *words]))
    twice = {name for name, n in Counter(names).items() if n > 1}
    return [
        f"{name} ({', '.join(m.run.name for m in runs)})" if name in twice else name
        for name, runs in zip(names, found, strict=True)
    ]


def _preset(name: str) -> dict[str, Any]:
    """Return all settings of a preset; of a name that is none, the defaults."""
    try:
        return parse_config(read_preset(name)).model_dump(mode="json")
    except UsageError:
        return parse_config({}).model_dump(mode="json")


def _letters(n: int) -> list[str]:
    """Return A to Z, then A1 to Z1, and so on."""
    return [ascii_uppercase[i % 26] + (str(i // 26) if i >= 26 else "") for i in range(n)]
