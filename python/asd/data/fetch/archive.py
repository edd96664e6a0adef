"""Archives that nobody vouches for, extracted so that nothing lands outside one folder.

Every member is checked by its name, kind and size before the first byte is written: relative paths without ``..``,
regular files and folders only, no name twice (nor twice but for case), not out of proportion to the archive. What
comes out is counted again, against what was declared, and its CRC is checked.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from asd.data.layouts import kind_of
from asd.errors import DataError

MOST_EXPANSION = 20
"""Bytes that may come out of one byte of an archive. Recordings give 1 to 2; a zip of silence is no data set."""
SLACK = 1 << 20
MOST_MEMBERS = 100_000
DEEPEST = 16
CHUNK = 1 << 20

_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions whose output zipfile hands over bit by bit, however far a few bytes expand."""

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)
"""What `zipfile` raises for bytes that are no archive."""

Member = tuple[zipfile.ZipInfo, PurePosixPath]


def why_unsafe(name: str) -> str:
    """Return why `name` may not be the name of one file or folder; empty if it may."""
    if name in ("", ".", ".."):
        return "is no name"
    if any(c in "/\\" for c in name):
        return "has a slash in it"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        return "has control characters in it"
    if name[1:2] == ":":
        return "names a drive"
    return "is too long" if len(name.encode()) > 200 else ""


def extract(archive: Path, folder: Path, machine: str, tell: Callable[[int, int], None]) -> dict[str, int]:
    """Extract an archive into a folder that is made for it.

    Args:
        archive: a zip file.
        folder: not there yet; removed again if the archive is refused or the disk is full.
        machine: folder for members that lie in none, or in a ``train`` or ``test`` folder without a machine's.
        tell: is given bytes written and bytes to write, and may raise to stop.

    Returns:
        The size of each file, by its path below `folder`.

    Raises:
        DataError: the archive is damaged or refused; names the member.
        OSError: disk full, and the like.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = checked(opened.infolist(), archive.stat().st_size, machine)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _write(opened, members, folder, tell)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, _DAMAGED) and not isinstance(error, DataError):
            raise _refused("damaged", str(error)) from error
        raise
    return {str(path): info.file_size for info, path in members}


def expanded(archive: Path) -> int:
    """Return the bytes that an archive says it holds. Raises DataError for a damaged one."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return sum(info.file_size for info in opened.infolist())
    except _DAMAGED as error:
        raise _refused("damaged", str(error)) from error


def checked(infos: Sequence[zipfile.ZipInfo], archive_size: int, machine: str) -> list[Member]:
    """Return the members to extract with their paths; folders, hidden files and those of systems are left out.

    Raises:
        DataError: a member that no honest data set has.
    """
    if why := why_unsafe(machine):
        raise _refused(f"machine {machine!r}", why)
    total = sum(info.file_size for info in infos)
    if total > MOST_EXPANSION * archive_size + SLACK:
        raise _refused("bomb", f"{total:,} bytes out of {archive_size:,}")
    if len(infos) > MOST_MEMBERS:
        raise _refused("bomb", f"{len(infos):,} members")
    members: list[Member] = []
    for info in infos:
        if why := _why_refused(info):
            raise _refused(f"member {info.orig_filename!r}", why)
        path = PurePosixPath(info.filename)
        if len(path.parts) == 1 or kind_of(path.parts[0]):
            path = PurePosixPath(machine) / path
        if not info.is_dir() and not any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            members.append((info, path))
    _refuse_duplicates([path for _, path in members])
    return members


def place(staged: Path, target: Path) -> None:
    """Move everything in `staged` to `target`, whole folders at once where there is none of the name.

    A file that is there already stays if it is the same.

    Raises:
        DataError: another file, or a link, is in the way; nothing was moved then.
    """
    for ours, theirs in _meeting(staged, target):
        if theirs.is_symlink() or not filecmp.cmp(ours, theirs, shallow=False):
            raise DataError(f"{theirs}: is in the way, and differs from what was fetched", "Move it aside.")
    _move(staged, target)


def _why_refused(info: zipfile.ZipInfo) -> str:
    if info.orig_filename != info.filename:
        return "its name has a NUL in it"
    parts = info.filename.removesuffix("/").split("/")
    if info.filename.startswith("/"):
        return "an absolute path"
    if ".." in parts:
        return "a path that leads out of the archive"
    if len(parts) > DEEPEST:
        return "too many folders within each other"
    if why := next(filter(None, map(why_unsafe, parts)), ""):
        return f"its name {why}"
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        return "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in _READABLE:
        return f"compressed in a way that is not read here (method {info.compress_type})"
    return ""


def _refuse_duplicates(paths: Iterable[PurePosixPath]) -> None:
    """Raise for a name that is there twice, or as a file and a folder, on whatever disk."""
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        name = unicodedata.normalize("NFC", str(path)).casefold()
        above = {str(parent) for parent in PurePosixPath(name).parents}
        if name in files or name in folders or above & files:
            raise _refused(f"member {str(path)!r}", "is there twice")
        files.add(name)
        folders |= above


def _write(opened: zipfile.ZipFile, members: Iterable[Member], folder: Path, tell: Callable[[int, int], None]) -> None:
    members = list(members)
    total, done = sum(info.file_size for info, _ in members), 0
    for info, path in members:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        left = info.file_size
        with opened.open(info) as source, file.open("xb") as out:
            while chunk := source.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    break
                out.write(chunk)
                done += len(chunk)
                tell(done, total)
        if left:
            raise _refused(f"member {info.filename!r}", f"not the {info.file_size:,} bytes that it says it has")


def _meeting(staged: Path, target: Path) -> Iterable[tuple[Path, Path]]:
    """Yield the files of `staged`, and folders, for which `target` has something of the name that is no folder."""
    for entry in os.scandir(staged):
        there = target / entry.name
        if not os.path.lexists(there):
            continue
        if entry.is_dir() and there.is_dir() and not there.is_symlink():
            yield from _meeting(Path(entry), there)
        elif entry.is_dir() or not there.is_file():
            raise DataError(f"{there}: is in the way", "Move it aside.")
        else:
            yield Path(entry), there


def _move(staged: Path, target: Path) -> None:
    for entry in os.scandir(staged):
        there = target / entry.name
        if not os.path.lexists(there):
            Path(entry).rename(there)
        elif entry.is_dir():
            _move(Path(entry), there)


def _refused(what: str, why: str) -> DataError:
    return DataError(f"{what}: {why}", "Nothing of the archive was kept.")
