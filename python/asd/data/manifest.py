"""The recordings to pre-train on: any folder of them, or a list, from hundreds to millions.

A list is a text file with a path on each line, or a CSV file with a column ``path`` or ``filename``. Paths count from
the list's own folder, or are absolute; in a text file, blank lines and lines that begin with ``#`` say nothing::

    # quiet halls only
    hall-3/2024-05-03.flac

Recordings have no labels here. What they are called is their path below the root: with its hash, and with nothing but
the order of these names, a training says what it was trained on.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from asd.corpus import Paths
from asd.data.names import AUDIO_SUFFIXES
from asd.data.tree import absolute, existing_folder, recordings_below
from asd.errors import DataError
from asd.events import Caution, Note

LIST_SUFFIXES = (".txt", ".csv", ".lst")
COLUMNS = ("path", "filename")
"""Names of the column of a CSV list that holds the paths; the first that is there counts."""

_TRIED = 100
"""Entries of a list of which one must be there: else its paths count from elsewhere."""


@dataclass(frozen=True)
class Manifest:
    """A set of recordings.

    Attributes:
        root: absolute.
        names: POSIX paths relative to the root, or absolute where they lie outside of it; sorted, none of them twice.
        notes: what a user should know of how they were found.
    """

    root: Path
    names: tuple[str, ...]
    notes: tuple[Note | Caution, ...] = ()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)

    @property
    def paths(self) -> Paths:
        """The recordings, in the order of their names."""
        return Paths(self.root, self.names)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the names, one a line, as hexadecimal digits."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()


def open_manifest(path: Path | str) -> Manifest:
    """Return the recordings below a folder, those of a list, or the one that `path` is.

    Raises:
        DataError: as of `build_manifest` and `read_manifest`.
    """
    is_list = Path(path).suffix.lower() in LIST_SUFFIXES and Path(path).is_file()
    return read_manifest(path) if is_list else build_manifest(path)


def build_manifest(root: Path | str) -> Manifest:
    """Find all recordings below `root`, or take the one that it is. Nothing is opened.

    Raises:
        DataError: `root` is absent or has no recordings; a folder cannot be listed; or a name cannot stand in a list.
    """
    path = absolute(Path(root))
    if path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES:
        return _manifest(path.parent, [path.name], ())
    tree = recordings_below(existing_folder(path))
    names = ["/".join((*folder.parts, name)) for folder in tree.folders for name in folder.files]
    unread = tree.unread()
    return _manifest(tree.root, names, (unread,) if unread else ())


def read_manifest(path: Path | str) -> Manifest:
    """Read a list of recordings. Of the recordings, a few at most are looked for.

    Raises:
        DataError: no readable list, or one without a recording; a path that is listed twice; or paths that lead
            nowhere.
    """
    path = absolute(Path(path))
    entries = list(_csv_entries(path) if path.suffix.lower() == ".csv" else text_entries(path))
    if not entries:
        raise DataError(f"{path}: no recording is listed in it", "List one path on each line.")
    manifest = _manifest(path.parent, [below(path.parent, entry) for entry in entries], ())
    if not any(recording.exists() for recording in itertools.islice(manifest.paths, _TRIED)):
        raise DataError(
            f"{path}: what it lists is not there: {manifest.paths[0]}",
            f"Paths count from the list's own folder, {path.parent}: put the list there, or write absolute paths.",
        )
    return manifest


def _manifest(root: Path, names: list[str], notes: tuple[Note | Caution, ...]) -> Manifest:
    names.sort()
    for name, following in itertools.pairwise(names):
        if name == following:
            raise DataError(f"{root}: {name} is listed twice", "Name each recording once.")
    if broken := next((name for name in names if "\n" in name or "\r" in name), None):
        raise DataError(
            f"{root}: {broken!r}: the name has a line break in it",
            "Rename the file or its folder: lists name a recording on each line.",
        )
    return Manifest(root, tuple(names), notes)


def below(root: Path, entry: str) -> str:
    """Return a listed path as the name it has below `root`, where it lies there."""
    name = os.path.normpath(entry)
    return name.removeprefix(f"{str(root).rstrip('/')}/")


def text_entries(path: Path) -> Iterator[str]:
    """Yield what a text file lists."""
    for line in _lines(path):
        entry = line.rstrip("\r\n")
        if entry.strip() and not entry.startswith("#"):
            yield entry


def _csv_entries(path: Path) -> Iterator[str]:
    table = csv.reader(_lines(path))
    try:
        header = [name.strip().lower() for name in next(table, [])]
        column = next((header.index(name) for name in COLUMNS if name in header), None)
        if column is None:
            raise DataError(
                f"{path}: no column {' or '.join(COLUMNS)}: it has {', '.join(header) or 'none'}",
                "Name the column of the recordings' paths so, in the first line.",
            )
        for row in table:
            if row and (len(row) <= column or not row[column].strip()):
                raise DataError(f"{path}:{table.line_num}: no {header[column]}", "Give it, or leave the line out.")
            if row:
                yield row[column]
    except csv.Error as error:
        raise DataError(f"{path}:{table.line_num}: no CSV ({error})", "Write the list again.") from None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from stream
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", f"See what is there: ls {shlex.quote(str(path.parent))}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text", "Write the list again as UTF-8.") from None
