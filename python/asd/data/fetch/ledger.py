"""What of a data set is on disk already: a folder ``.fetch`` below its root, with a small file for each remote one.

``<record>-<name>.json`` says which file it is, by size and checksum, and what came out of it once it was extracted;
``<record>-<name>.part`` is as much of it as has come. Beside them lie folders in which archives are extracted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ValidationError

from asd.data.fetch.records import RECORDS, Remote
from asd.errors import DataError, UsageError
from asd.runs import write_text

State: TypeAlias = Literal["absent", "begun", "here", "changed"]


class Entry(BaseModel, frozen=True):
    """What is known of one file.

    Attributes:
        files: what came of it, sizes by path below the root; None while it is on its way.
    """

    record: int
    key: str
    size: int
    checksum: str
    files: dict[str, int] | None = None

    def is_of(self, file: Remote) -> bool:
        """Return whether it is the file as its record has it now."""
        return (self.size, self.checksum) == (file.size, file.checksum)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries below one root. Reading makes nothing.

    Args:
        root: absolute.
    """

    root: Path

    @property
    def folder(self) -> Path:
        """Where the entries lie."""
        return self.root / ".fetch"

    def part(self, file: Remote) -> Path:
        """Return where a file grows."""
        return self._beside(file, "part")

    def staging(self, file: Remote) -> Path:
        """Return the folder in which an archive is extracted."""
        return self._beside(file, "new")

    def entry(self, file: Remote) -> Entry | None:
        """Return what is known of a file, if anything is."""
        try:
            return Entry.model_validate_json(self._beside(file, "json").read_bytes())
        except (OSError, ValidationError):
            return None

    def records(self) -> set[int]:
        """Return the records of which anything was fetched."""
        numbers = (path.name.split("-")[0] for path in self.folder.glob("*-*.json"))
        return {int(number) for number in numbers if number.isdecimal()}

    def state(self, file: Remote) -> tuple[State, int]:
        """Return how far a file is, and how many of its bytes need not be fetched again.

        ``"changed"``: all that came of it is there, but its record has another one now.
        """
        entry = self.entry(file)
        if entry is not None and entry.files is not None and self._has(entry.files):
            return ("here", file.size) if entry.is_of(file) else ("changed", file.size)
        part = self.part(file)
        if entry is None or not entry.is_of(file) or not part.is_file():
            return "absent", 0
        return "begun", min(part.stat().st_size, file.size)

    def begin(self, file: Remote) -> None:
        """Write down that a file is on its way. What was there of another one of its name goes."""
        entry = self.entry(file)
        if entry is None or not entry.is_of(file):
            self.part(file).unlink(missing_ok=True)
        self._write(Entry(record=file.record, key=file.key, size=file.size, checksum=file.checksum))

    def finish(self, file: Remote, files: dict[str, int]) -> None:
        """Write down that a file is there whole, and what came of it, by path below the root."""
        self._write(Entry(record=file.record, key=file.key, size=file.size, checksum=file.checksum, files=files))

    @contextmanager
    def at_work(self, challenge: str) -> Iterator[None]:
        """Make the folder, and keep every other fetch out of it meanwhile.

        Raises:
            UsageError: the root has another challenge's data.
            DataError: another fetch is at work there; or it cannot be written; or a link is in the way.
        """
        self.must_be_for(challenge)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            must_be_real(self.folder)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise DataError(
                f"{self.root}: cannot be written ({error.strerror})", "Choose another folder: --data"
            ) from error
        with os.fdopen(lock):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataError(f"{self.root}: another fetch is at work there", "Wait for its end.") from None
            for left in self.folder.glob("*.new"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    def must_be_for(self, challenge: str) -> None:
        """Raise UsageError where the root has another challenge's data: two would have machines of one name."""
        for other, records in RECORDS.items():
            if other != challenge and self.records() & set(records.values()):
                raise UsageError(
                    f"{self.root}: has {other}; {challenge} needs a folder of its own", "Name another one: --data"
                )

    def _beside(self, file: Remote, suffix: str) -> Path:
        return self.folder / f"{file.record}-{file.key}.{suffix}"

    def _has(self, files: dict[str, int]) -> bool:
        for name, size in files.items():
            try:
                if (self.root / name).stat().st_size != size:
                    return False
            except OSError:
                return False
        return True

    def _write(self, entry: Entry) -> None:
        write_text(self.folder / f"{entry.record}-{entry.key}.json", entry.model_dump_json())


def must_be_real(folder: Path) -> None:
    """Raise DataError for a link: what it leads to lies outside the data root."""
    if folder.is_symlink():
        raise DataError(f"{folder}: is a link", "Take it away: only folders in the data root are written to.")
