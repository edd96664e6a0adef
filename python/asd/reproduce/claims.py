"""Who works on what, told by files in a shared folder, so that no two workers do the same and no server is needed.

A claim of generation g on a cell is the file ``<cell>.<g>``, made with O_EXCL: of two that want it, one gets it. The
highest generation counts. Whoever finds its owner dead makes the next one, which again only one of several can. No file
is ever taken away from another, so there is no moment at which two own a cell.

An owner on this machine is dead when its process is. Of one elsewhere nothing can be seen but its file, which it
touches now and then: it is dead when that has not changed for `PATIENCE` seconds *by our own clock*. What times the
file bears is not looked at, so clocks that differ do no harm.
"""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asd.errors import DataError

HEARTBEAT = 30.0
"""Seconds between two touches."""
PATIENCE = 300.0


@dataclass(slots=True)
class Claim:
    """A cell that is ours."""

    folder: Path
    cell: str
    generation: int
    _touched: float

    def keep(self) -> bool:
        """Show that we are alive; return False where another took the cell over, as after a long sleep."""
        if time.monotonic() - self._touched < HEARTBEAT:
            return True
        self._touched = time.monotonic()
        with suppress(OSError):  # the next time will do
            os.utime(_file(self.folder, self.cell, self.generation))
        return _latest(self.folder, self.cell) == self.generation

    def release(self) -> None:
        """Let others have the cell. Its last file goes last: there is no moment at which an older one counts."""
        for generation in range(self.generation + 1):
            with suppress(OSError):
                _file(self.folder, self.cell, generation).unlink()


class Claims:
    """The claims in a folder, as one worker sees them.

    Args:
        folder: is there, and shared by all workers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}

    def take(self, cell: str) -> Claim | None:
        """Return a claim on a cell, or None where a worker who is alive, as far as one can see, has it.

        Raises:
            DataError: the folder cannot be written.
        """
        latest = _latest(self._folder, cell)
        if latest is not None and not self._is_dead(cell, latest):
            return None
        generation = 0 if latest is None else latest + 1
        file = _file(self._folder, cell, generation)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None
        except OSError as error:
            raise DataError(f"{file}: cannot be written ({error.strerror})", "Choose another with --out.") from error
        try:
            with os.fdopen(descriptor, "w") as stream:
                stream.write(json.dumps(_ourselves()))
        except OSError as error:
            file.unlink(missing_ok=True)
            raise DataError(f"{file}: cannot be written ({error.strerror})", "Free space.") from error
        return Claim(self._folder, cell, generation, time.monotonic())

    def owner(self, cell: str) -> str:
        """Return who has a cell, in words; empty for nobody."""
        latest = _latest(self._folder, cell)
        if latest is None:
            return ""
        owner = _read(_file(self._folder, cell, latest))
        return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"

    def _is_dead(self, cell: str, generation: int) -> bool:
        file = _file(self._folder, cell, generation)
        try:
            changed = generation, file.stat().st_mtime_ns
        except OSError:  # released meanwhile
            return False
        owner, own = _read(file), _ourselves()
        if owner and all(owner.get(key) == own[key] for key in ("boot", "namespace")):
            return bool(_began(int(owner["pid"])) != owner["began"])
        before, since = self._seen.get(cell, (None, 0.0))
        if before != changed:
            self._seen[cell] = changed, time.monotonic()
            return False
        return time.monotonic() - since > PATIENCE


def _file(folder: Path, cell: str, generation: int) -> Path:
    return folder / f"{cell}.{generation}"


def _latest(folder: Path, cell: str) -> int | None:
    """Return the highest generation of the claims on a cell."""
    names = (entry.name.rpartition(".") for entry in os.scandir(folder))
    return max((int(number) for name, _, number in names if name == cell and number.isdecimal()), default=None)


def _read(file: Path) -> dict[str, Any]:
    """Return what a claim says; nothing for one whose owner died before it wrote."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return said if {"host", "pid", "boot", "namespace", "began"} <= said.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _ourselves() -> dict[str, Any]:
    """Return what tells this process from all others, those of containers and of earlier boots too."""
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "namespace": Path("/proc/self/ns/pid").stat().st_ino,
        "began": _began(os.getpid()),
    }


def _began(pid: int) -> str | None:
    """Return when a process began, in ticks since boot: numbers of processes come again. None: there is none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else words[19]
