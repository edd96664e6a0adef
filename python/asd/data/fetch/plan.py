"""What to fetch, what of it is there, and whether the disk holds it."""

from __future__ import annotations

import heapq
import os
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd.data.fetch.client import Server, UnreachableError
from asd.data.fetch.ledger import Ledger, State
from asd.data.fetch.records import PARTS, RECORDS, Part, Remote
from asd.errors import AsdError, DataError, UsageError, nearest
from asd.events import Caution, Event, Note, Progress
from asd.words import size

EXPANSION = 1.5
"""Bytes of recordings to expect of one byte of an archive. The exact number is known once the archive is there."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the plan.

    Attributes:
        have: how many of its bytes need not be fetched.
    """

    file: Remote
    state: State
    have: int

    @property
    def to_fetch(self) -> int:
        """Bytes that are missing."""
        return self.file.size - self.have

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("here", "changed")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fetch will do.

    Attributes:
        items: every file that was asked for.
        failures: records whose files could not be listed.
    """

    challenge: str
    ledger: Ledger
    items: tuple[Item, ...]
    failures: tuple[AsdError, ...]

    @property
    def root(self) -> Path:
        """Where everything goes; absolute."""
        return self.ledger.root

    @property
    def todo(self) -> list[Item]:
        """The files with something left to do."""
        return [item for item in self.items if not item.is_done]

    @property
    def to_fetch(self) -> int:
        """Bytes to come."""
        return sum(item.to_fetch for item in self.todo)

    def needed(self, jobs: int, keep_archives: bool) -> int:
        """Return the bytes that the disk must have free: recordings, and as many archives as there are at a time."""
        coming = [item.to_fetch for item in self.todo]
        archives = sum(coming) if keep_archives else sum(heapq.nlargest(jobs, coming))
        return archives + sum(round(EXPANSION * item.file.size) for item in self.todo if item.file.is_archive)

    def free(self) -> int:
        """Return the bytes that the disk has free."""
        there = next(folder for folder in (self.root, *self.root.parents) if folder.is_dir())
        return shutil.disk_usage(there).free

    def must_fit(self, jobs: int, keep_archives: bool) -> None:
        """Raise DataError where the disk has too little room."""
        needed, free = self.needed(jobs, keep_archives), self.free()
        if needed > free:
            raise DataError(
                f"{self.root}: {size(free)} free, about {size(needed)} needed",
                "Free some, name a folder on another disk with --data, or fetch less at a time: --machine, --part",
            )


def parts_of(challenge: str, asked: Sequence[str] = ()) -> list[Part]:
    """Return the parts to fetch: those asked for, or all.

    Raises:
        UsageError: no such challenge or part; or labels, where there is no record of them.
    """
    if challenge not in RECORDS:
        known = f"{min(RECORDS)} to {max(RECORDS)}"
        raise UsageError(
            f"no challenge {challenge!r}: there are {known}.{nearest(challenge, RECORDS)}", "asd data fetch --help"
        )
    for part in asked:
        if part not in PARTS:
            raise UsageError(
                f"no part {part!r}: there are {', '.join(PARTS)}.{nearest(part, PARTS)}",
                "All of them: leave --part out",
            )
    if "labels" in asked and "labels" not in RECORDS[challenge]:
        raise UsageError(
            _without_labels(challenge),
            "Other commands take a list of them, as the organisers publish it: asd data list --labels FILE",
        )
    return [part for part in RECORDS[challenge] if not asked or part in asked]


def make_plan(
    server: Server, ledger: Ledger, challenge: str, parts: Sequence[Part], machines: Sequence[str] = ()
) -> Generator[Event, None, Plan]:
    """Ask for the listings of the records, and compare them with what is on disk. Nothing is written.

    Args:
        machines: machine types; none for all. Files that belong to no machine are always wanted.

    Raises:
        UsageError: a machine that no record has; or the folder has another challenge's data.
    """
    ledger.must_be_for(challenge)
    listed: list[Remote] = []
    failures: list[AsdError] = []
    for number, part in enumerate(parts):
        yield Progress("listing", number, len(parts))
        try:
            listed += server.listing(part, RECORDS[challenge][part])
        except UnreachableError:
            raise
        except DataError as error:
            failures.append(error)
            yield Caution(error.message)
    if "evaluation" in parts and "labels" not in RECORDS[challenge]:
        yield Note(f"{_without_labels(challenge)}: other commands take a list of them with --labels")
    known = sorted({file.machine for file in listed if file.machine})
    for machine in machines:
        if machine not in known and not failures:
            raise UsageError(
                f"{challenge} has no machine {machine!r}: there are {', '.join(known)}.{nearest(machine, known)}",
                "All of them: leave --machine out",
            )
    wanted = [file for file in listed if not machines or file.machine in (None, *machines)]
    items = [Item(file, *ledger.state(file)) for file in wanted]
    for item in items:
        yield from _say_changed(ledger, item)
    return Plan(challenge, ledger, tuple(items), tuple(failures))


def _without_labels(challenge: str) -> str:
    return f"{challenge}: no record has the labels of its evaluation set"


def _say_changed(ledger: Ledger, item: Item) -> Generator[Event, None, None]:
    """Say where the record has another file than the one that was fetched, or begun."""
    entry, file = ledger.entry(item.file), item.file
    if entry is None or entry.is_of(file):
        return
    what = (
        f"{file.name}: changed since ({entry.checksum}, now {file.checksum}; {size(entry.size)}, now {size(file.size)})"
    )
    if item.state == "changed":
        old = ledger.root / os.path.commonpath(entry.files or ["."])
        yield Caution(f"{what}; what was fetched stays. Move {old} aside to fetch the new one")
    elif ledger.part(file).exists():
        yield Caution(f"{what}; what was half there is dropped")
    else:
        yield Caution(f"{what}; the new one is fetched")
