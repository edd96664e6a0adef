"""The grid: a cell for each machine, method and seed, in the order in which they are worked on.

A cell is one run folder. Its key is a digest of everything that its training depends on: settings, the names and sizes
of its training recordings, and the key of the cell whose network it starts from. A folder whose cell was made under
another key is never mixed with ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd.data.catalog import Catalog, Clip
from asd.errors import DataError, UsageError
from asd.events import Caution
from asd.reproduce.methods import PRETRAINING, Challenge, Method, Size


@dataclass(frozen=True, slots=True)
class Cell:
    """One training, and the scores of its machine's test clips.

    Attributes:
        name: of the run folder.
        table, size: that it belongs to.
        machine: empty for a pre-training.
        seed: of weights, order and views.
        needs: cell whose network it starts from; empty: none.
        takes_over: that network is taken as it is.
        key: what it is trained on and how.
        test: what it is to score: names, sizes and labels; empty for a pre-training.
        clips: training normals, own test clips.
    """

    name: str
    table: str
    size: Size
    method: Method
    machine: str
    seed: int
    needs: str
    takes_over: bool
    key: str
    test: str
    clips: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """All cells of one table.

    Attributes:
        cells: each after the one that it needs.
        machines: of the table, in its order; only those that are there.
        cautions: what is left out, and why.
    """

    challenge: Challenge
    size: Size
    catalog: Catalog
    cells: tuple[Cell, ...]
    machines: tuple[str, ...]
    seeds: int
    cautions: tuple[Caution, ...] = ()

    def cell(self, name: str) -> Cell:
        """Return a cell by its name."""
        return next(cell for cell in self.cells if cell.name == name)

    def methods(self) -> list[Method]:
        """Return the methods that make rows."""
        return list(dict.fromkeys(cell.method for cell in self.cells if cell.machine))

    def dealt(self, shard: int, shards: int) -> list[Cell]:
        """Return the cells of one worker of several, the first being 1, and after them those that they need."""
        own = self.cells[shard - 1 :: shards]
        return [*own, *(cell for cell in self.cells if cell not in own and cell.name in set(self._needed(own)))]

    def _needed(self, cells: Iterable[Cell]) -> Iterator[str]:
        for cell in cells:
            if cell.needs:
                yield cell.needs
                yield from self._needed([self.cell(cell.needs)])


def build(
    challenge: Challenge,
    catalog: Catalog,
    *,
    size: Size = "full",
    machines: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int = 3,
    pretrain_data: Path | None = None,
) -> Grid:
    """Return the grid of a table over a data root.

    Args:
        catalog: with labels of the evaluation clips, where there are any.
        machines, methods: some of them; none means all.
        seeds: of each method in which chance plays a part: 0, 1, ...
        pretrain_data: recordings to pre-train on; without them no method that starts from a pre-training is there.

    Raises:
        UsageError: an unknown machine or method, or one that lacks what it needs.
        DataError: no machine of this table.
    """
    chosen, cautions = _machines(challenge, catalog, machines)
    rows = _methods(challenge, methods, pretrain_data)
    cells = tuple(_cells(challenge, rows, catalog, chosen, size, seeds, pretrain_data))
    return Grid(challenge, size, catalog, cells, chosen, seeds, cautions)


def _machines(
    challenge: Challenge, catalog: Catalog, wanted: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Caution, ...]]:
    """Return the machines to train for, in the table's order, others after them."""
    for machine in wanted:
        catalog.select(machine, None, "train")  # names what is wrong
    trained = {c.machine for c in catalog.clips if c.split == "train"}
    there = [m for m in catalog.machines() if catalog.layouts[m] == challenge.layout]
    if foreign := sorted(set(wanted) - set(there)):
        raise UsageError(
            f"{foreign[0]} in {catalog.root}: its recordings are not in the layout of {challenge.name}",
            f"There {'is' if len(there) == 1 else 'are'} {', '.join(there) or 'none'} that {challenge.name} takes.",
        )
    usable = [m for m in there if m in trained]
    if not usable:
        raise DataError(
            f"{catalog.root}: no machine with training recordings in the layout of {challenge.name}",
            f"See what is there: asd data list {catalog.root}",
        )
    cautions = tuple(
        Caution(f"{m}: no training recordings, left out") for m in there if m not in trained and not wanted
    )
    return in_order(challenge, [m for m in usable if not wanted or m in wanted]), cautions


def in_order(challenge: Challenge, machines: Iterable[str]) -> tuple[str, ...]:
    """Return machines in the order of the table's columns, others after them."""
    order = {m: i for i, m in enumerate(challenge.machines)}
    return tuple(sorted(machines, key=lambda m: (order.get(m, len(order)), m)))


def _methods(challenge: Challenge, wanted: Sequence[str], pretrain_data: Path | None) -> list[Method]:
    chosen = [challenge.method(name) for name in dict.fromkeys(wanted)]
    for method in chosen:
        if method.pretrained and pretrain_data is None:
            raise UsageError(
                f"{method.name} starts from a pre-training", "Name the recordings for it: --pretrain-data FOLDER"
            )
    every = [m for m in challenge.methods if not m.pretrained or pretrain_data is not None]
    return [m for m in every if not chosen or m in chosen]


@dataclass(frozen=True, slots=True)
class _Recordings:
    """The recordings of a machine: digests and numbers of those to train on and to score."""

    train: str
    test: str
    clips: tuple[int, int]

    @classmethod
    def of(cls, catalog: Catalog, machine: str) -> _Recordings:
        own = [c for c in catalog.clips if c.machine == machine]
        train = [c for c in own if c.split == "train"]
        sections = {c.section for c in train}
        test = [c for c in own if c.split == "test" and c.section in sections]
        return cls(listing(train), listing(test, labels=True), (len(train), len(test)))


def _cells(
    challenge: Challenge,
    methods: Sequence[Method],
    catalog: Catalog,
    machines: Sequence[str],
    size: Size,
    seeds: int,
    pretrain_data: Path | None,
) -> Iterator[Cell]:
    """Yield the cells, pre-trainings first, and of shared networks the one that trains before those that take over."""
    recordings = {m: _Recordings.of(catalog, m) for m in {c.machine for c in catalog.clips if c.split == "train"}}
    # The network of all machines is trained by the one with the most normals, which are never too few, and whichever
    # machines are wanted: so a table can be made in parts.
    takers = [m for m in recordings if catalog.layouts[m] == challenge.layout]
    first = max(takers, key=lambda m: (recordings[m].clips[0], m))
    everything = _digest(recordings[m].train for m in sorted(recordings))
    place = str(pretrain_data.resolve()) if pretrain_data else ""
    keys: dict[str, str] = {}

    def cell(method: Method, machine: str, seed: int, needs: str, takes_over: bool = False) -> Cell:
        name = "-".join([*([machine] if machine else []), method.name, *([str(seed)] if method.chance else [])])
        own = recordings[machine] if machine else _Recordings("", "", (0, 0))
        heard = everything if method.shared else own.train if machine else place
        settings = method.preset, *method.assignments(size), str(seed), own.train, heard, keys.get(needs, "")
        keys[name] = _digest(settings)
        about = name, challenge.name, size, method, machine, seed
        return Cell(*about, needs, takes_over, keys[name], own.test, own.clips)

    encoders = {m.name: m.config(size).encoder.name for m in methods if m.pretrained}
    for encoder in dict.fromkeys(encoders.values()):
        yield from (cell(PRETRAINING[encoder], "", seed, "") for seed in range(seeds))
    for method in methods:
        for seed in range(seeds) if method.chance else (0,):
            start = f"pretrain-{encoders[method.name]}-{seed}" if method.pretrained else ""
            if method.shared:
                leader = cell(method, first, seed, start)
                yield leader
                yield from (cell(method, m, seed, leader.name, takes_over=True) for m in machines if m != first)
            else:
                yield from (cell(method, m, seed, start) for m in machines)


def listing(clips: Sequence[Clip], *, labels: bool = False) -> str:
    """Return a digest of recordings by name and size, and by what is known of them.

    Raises:
        DataError: a file is gone.
    """
    lines = []
    for clip in sorted(clips, key=lambda c: c.name):
        try:
            size = clip.path.stat().st_size
        except OSError as error:
            raise DataError(f"{clip.path}: {error.strerror}", "Look at the data root with: asd data verify") from error
        known = [clip.label, clip.domain] if labels else []
        lines.append(json.dumps([clip.name, size, *known], ensure_ascii=False))
    return _digest(lines)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
