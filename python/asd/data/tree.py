"""A folder tree -> the recordings in it, as names. Nothing is opened."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from asd.data.names import AUDIO_SUFFIXES
from asd.errors import DataError, nearest
from asd.events import Caution

OTHER_AUDIO_SUFFIXES = frozenset(
    (
        *(".mp2", ".mp3", ".m4a", ".aac", ".ac3", ".ogg", ".oga", ".opus", ".wma", ".amr", ".ra"),
        *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".wv", ".ape", ".mka"),
    )
)
"""Audio that ffmpeg converts and that is not read here."""

_SYSTEM_FOLDERS = frozenset(("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"))


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder that holds recordings: the folders from the root to it, and the names of its recordings, sorted."""

    parts: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The folders with recordings below `root`, sorted; and what else sounds but is not read.

    Attributes:
        others: how many files of each other audio format.
        an_other: the path of one of them, relative to the root; empty for none.
    """

    root: Path
    folders: tuple[Folder, ...]
    others: Counter[str]
    an_other: str

    def unread(self) -> Caution | None:
        """Say which audio files are not read and what converts them."""
        if not self.others:
            return None
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(self.others.items()))
        return Caution(f"{self.root}: {kinds} not read; {self.convert()}")

    def convert(self) -> str:
        """Return the command that makes a readable file of one of the other audio files."""
        source = self.root / self.an_other
        target = source.with_suffix(".wav")
        return f"convert: ffmpeg -i {shlex.quote(str(source))} {shlex.quote(str(target))}"


def read_tree(root: Path) -> Tree:
    """List the recordings below `root`.

    Hidden files and folders and those of operating systems are skipped. Links to folders are followed after all real
    folders, and no folder is read twice: a link that leads back ends there.

    Raises:
        DataError: a folder that cannot be listed, or a file name that is no valid UTF-8.
    """
    folders, others, an_other = [], Counter[str](), ""
    seen: set[tuple[int, int]] = set()
    real: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
    links: list[tuple[Path, tuple[str, ...]]] = []
    while real or links:
        path, parts = real.pop() if real else links.pop()
        if not _first_visit(path, seen):
            continue
        files = []
        for entry in _list(path):
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if entry.name not in _SYSTEM_FOLDERS:
                    (links if entry.is_symlink() else real).append((path / entry.name, (*parts, entry.name)))
                continue
            suffix = entry.name[entry.name.rfind(".") :].lower()
            if suffix in AUDIO_SUFFIXES:
                files.append(entry.name)
            elif suffix in OTHER_AUDIO_SUFFIXES:
                others[suffix] += 1
                other = "/".join((*parts, entry.name))
                an_other = min(an_other or other, other)
        if files:
            _must_be_text(path, files)
            folders.append(Folder(parts, tuple(files)))
    return Tree(root, tuple(sorted(folders, key=lambda folder: folder.parts)), others, an_other)


def recordings_below(root: Path) -> Tree:
    """List the recordings below `root`, of which there must be some.

    Raises:
        DataError: as of `read_tree`; or none.
    """
    tree = read_tree(root)
    if tree.folders:
        return tree
    if tree.others:
        kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(tree.others.items()))
        raise DataError(f"{root}: no .wav or .flac in it, but {kinds}", tree.convert())
    raise DataError(
        f"{root}: no recordings in it (.wav, .flac, or log-mels as .npy)",
        "Name the folder of your recordings with --data or $ASD_DATA, or make some: asd data synth data",
    )


def existing_folder(path: Path) -> Path:
    """Return `path` absolute. Raises DataError, with the nearest name, when it is no folder."""
    path = absolute(path)
    if path.is_dir():
        return path
    if path.exists() and path.suffix.lower() in AUDIO_SUFFIXES:
        parent = shlex.quote(str(path.parent))
        raise DataError(f"{path}: is a file, a folder of recordings is wanted", f"asd data list {parent}")
    if path.exists():
        target = shlex.quote(str(path.with_suffix(".wav")))
        raise DataError(
            f"{path}: neither a folder nor a recording that is read here (.wav, .flac, .npy)",
            f"If it is sound, convert it: ffmpeg -i {shlex.quote(str(path))} {target}",
        )
    try:
        beside = [entry.name for entry in os.scandir(path.parent) if entry.is_dir()]
    except OSError:
        beside = []
    raise DataError(
        f"{path}: no such folder.{nearest(path.name, beside)}",
        "Name the folder of your recordings (a data root with --data or $ASD_DATA), or make some: asd data synth data",
    )


def absolute(path: Path) -> Path:
    """Return `path` absolute; links keep their names, as a machine is called what its folder is called."""
    path = path.expanduser()
    return path.resolve() if ".." in path.parts else path.absolute()


def _first_visit(path: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    identity = status.st_dev, status.st_ino
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _list(path: Path) -> list[os.DirEntry[str]]:
    # In reverse, because folders are taken from the end of a list: the first by name comes first.
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        raise _unreadable(path, error) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; as a recording, it is found unreadable when it is read
        return False


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: {error.strerror or error}", f"Allow listing it: chmod u+rx {shlex.quote(str(path))}")


def _must_be_text(path: Path, files: list[str]) -> None:
    files.reverse()
    if _is_text(f"{path}\n{''.join(files)}"):  # in one go, as there may be millions
        return
    for name in files:
        file = str(path / name)
        if _is_text(file):
            continue
        if "\r" in file:
            raise DataError(
                f"{file!r}: the name has a carriage return in it",
                "Rename the file or its folder: results name recordings in CSV files, where this ends a line.",
            )
        raise DataError(
            f"{os.fsencode(file)!r}: the name is not valid UTF-8",
            "Rename the file or its folder: results name recordings in UTF-8 files.",
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\r" not in name
