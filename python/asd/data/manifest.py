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
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from asd import runs
from asd.config import FeatureSpec
from asd.corpus import CACHE_GB, Corpus, Paths, Survey
from asd.data.names import AUDIO_SUFFIXES
from asd.data.tree import absolute, existing_folder, recordings_below
from asd.errors import DataError, RunFolderError, UsageError
from asd.events import Caution, Event, Note
from asd.words import are, count, hours

LIST_SUFFIXES = (".txt", ".csv", ".lst")
COLUMNS = ("path", "filename")
"""Names of the column of a CSV list that holds the paths; the first that is there counts."""

NAMED = 5
"""Recordings that cannot be read and are named one by one; a file names them all."""

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
    entries = list(_csv_entries(path) if path.suffix.lower() == ".csv" else _text_entries(path))
    if not entries:
        raise DataError(f"{path}: no recording is listed in it", "List one path on each line.")
    manifest = _manifest(path.parent, [_below(path.parent, entry) for entry in entries], ())
    if not any(recording.exists() for recording in itertools.islice(manifest.paths, _TRIED)):
        raise DataError(
            f"{path}: what it lists is not there: {manifest.paths[0]}",
            f"Paths count from the list's own folder, {path.parent}: put the list there, or write absolute paths.",
        )
    return manifest


def survey_manifest(
    manifest: Manifest,
    spec: FeatureSpec,
    folder: Path,
    *,
    cache_gb: float = CACHE_GB,
    half: bool = False,
    threads: int | None = None,
    skip_bad: bool = True,
) -> Generator[Event, None, Corpus]:
    """Look at every recording once, and return them ready to be fed. Yields Progress, and what is to be known.

    `folder` remembers: ``manifest.txt`` which recordings they are; ``survey.part.npz`` what was found so far, so that
    a look that is killed is gone on with; ``survey.npz`` all of it, after which nothing is looked at again;
    ``skipped.jsonl`` path and reason of each recording that cannot be read.

    Args:
        folder: of the run; there already, or made.
        cache_gb, half, threads: as of a `Corpus`.
        skip_bad: go on without recordings that cannot be read.

    Raises:
        RunFolderError: `folder` knows other recordings, or the same ones read in another way.
        DataError: recordings that cannot be read: more than half of them, or any without `skip_bad`; log-mels of
            several lengths; nothing but silence; or the folder cannot be written.
    """
    _remember(manifest, folder)
    yield from manifest.notes
    survey_file, part = folder / "survey.npz", folder / "survey.part.npz"
    corpus_with = partial(Corpus, manifest.paths, spec, cache_gb=cache_gb, half=half, threads=threads)
    corpus = corpus_with()
    if survey_file.exists():
        try:
            known = Survey.load(survey_file)
        except DataError as error:
            yield Caution(f"{error.message}; every recording is looked at again")
        else:
            try:
                return corpus_with(survey=known)
            except UsageError as error:
                way_out = "Go on with the settings that it began with, or begin another run."
                raise RunFolderError(f"{survey_file}: {error.message}", way_out) from error
    try:
        survey = yield from _cautious(corpus.look(skip_bad=skip_bad, part=part))
        _must_be_most(corpus)
    except DataError:
        if corpus.skipped:  # looked at to the end, in vain: whoever repairs them wants another look
            part.unlink(missing_ok=True)
        raise
    finally:
        _name_skipped(manifest, corpus, folder)
    survey.save(survey_file)
    part.unlink(missing_ok=True)
    if corpus.skipped:
        n = len(corpus.skipped)
        yield Caution(
            f"{n:,} of {count(len(manifest), 'recording')} cannot be read and {are(n)} left out: "
            f"{folder / 'skipped.jsonl'} says why"
        )
    n_read = len(manifest) - len(corpus.skipped)
    yield Note(f"{count(n_read, 'recording')}, {hours(survey.seconds)}" if survey.seconds else f"{n_read:,} log-mels")
    return corpus


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


def _below(root: Path, entry: str) -> str:
    """Return a listed path as the name it has below `root`, where it lies there."""
    name = os.path.normpath(entry)
    return name.removeprefix(f"{str(root).rstrip('/')}/")


def _text_entries(path: Path) -> Iterator[str]:
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


def _remember(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.txt``; where it is there, it must name the same recordings."""
    file = folder / "manifest.txt"
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror})", "Choose another folder.") from error
        head = f"# {count(len(manifest), 'recording')} below {manifest.root}, SHA-256 {manifest.digest}\n"
        # A name that begins like a remark is written so that it is none.
        listed = (f"./{name}\n" if name.startswith("#") else f"{name}\n" for name in manifest.names)
        runs.write_text(file, head + "".join(listed))
        return
    known = {os.path.normpath(entry) for entry in _text_entries(file)}
    now = set(manifest.names)
    for names, verb in ((known - now, "is gone since"), (now - known, "is new since")):
        if names:
            more = f", and {len(names) - 1:,} more" if len(names) > 1 else ""
            raise RunFolderError(
                f"{min(names)} {verb} {folder} was begun{more}",
                f"A run goes on with the recordings that it began with: {file} lists them. Or begin another run.",
            )


def _cautious(looking: Generator[Event, None, Survey]) -> Generator[Event, None, Survey]:
    """Pass events on, of Cautions only the first: a list of thousands would bury all else."""
    cautions = 0
    while True:
        try:
            event = next(looking)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        cautions += isinstance(event, Caution)
        if not isinstance(event, Caution) or cautions <= NAMED:
            yield event


def _must_be_most(corpus: Corpus) -> None:
    bad, total = corpus.skipped, len(corpus.paths)
    if 2 * len(bad) > total:
        raise DataError(
            f"{len(bad):,} of {total:,} recordings cannot be read, the first: {bad[0].path}: {bad[0].reason}",
            bad[0].hint,
        )


def _name_skipped(manifest: Manifest, corpus: Corpus, folder: Path) -> None:
    file = folder / "skipped.jsonl"
    if corpus.skipped:
        below: Iterable[str] = (_below(manifest.root, str(bad.path)) for bad in corpus.skipped)
        rows = zip(below, corpus.skipped, strict=True)
        runs.write_jsonl(file, ({"path": name, "reason": bad.reason} for name, bad in rows))
    else:
        file.unlink(missing_ok=True)
