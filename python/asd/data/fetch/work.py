"""The fetch itself: files come over several connections, are verified, extracted, and get their names."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

from asd.data.fetch.archive import expanded, extract, place
from asd.data.fetch.client import Ended, Server, digest
from asd.data.fetch.ledger import Ledger, must_be_real
from asd.data.fetch.plan import Item, Plan
from asd.data.fetch.records import Remote
from asd.errors import AsdError, DataError
from asd.events import Caution, Event, Note, Progress
from asd.words import count, size

_GOODBYE = 2.0
"""Seconds that threads have to end. Whatever they are at may be cut off: only whole things get a name."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that did not come."""

    file: Remote
    error: AsdError


@dataclass(frozen=True, slots=True)
class _Amount:
    """So many of so many bytes of a file are fetched, or extracted."""

    stage: str
    file: Remote
    done: int
    total: int


def fetch(
    plan: Plan, server: Server, jobs: int = 4, keep_archives: bool = False
) -> Generator[Event, None, list[Failure]]:
    """Do what the plan says. What is interrupted, at whatever moment, is gone on with by doing it again.

    Args:
        jobs: files at a time.
        keep_archives: archives stay beside the folders that came out of them.

    Returns:
        The files that did not come; the others are there.

    Raises:
        UsageError, DataError: as of `Ledger.at_work` and `Plan.must_fit`.
    """
    if not plan.todo:
        return []
    plan.must_fit(jobs, keep_archives)
    with plan.ledger.at_work(plan.challenge):
        return (yield from _side_by_side(plan, server, jobs, keep_archives))


class _Worker:
    """Takes one file after the other, and tells an inbox."""

    def __init__(self, ledger: Ledger, server: Server, keep_archives: bool, inbox: queue.SimpleQueue[object]) -> None:
        self._ledger, self._server, self._keep, self._tell = ledger, server, keep_archives, inbox.put
        self._placing = threading.Lock()

    def run(self, todo: queue.SimpleQueue[Remote]) -> None:
        """Work until nothing is left to do; the last thing told is None, or what should never have been raised."""
        try:
            while not self._server.ended.is_set():
                file = todo.get_nowait()
                try:
                    self._tell(Note(f"{file.name}: {self._bring(file)}"))
                except AsdError as error:
                    self._tell(Failure(file, _named(file, error)))
                except OSError as error:
                    self._tell(Failure(file, _from_os(file, error)))
        except (queue.Empty, Ended):
            pass
        except BaseException as error:
            self._tell(error)
        self._tell(None)

    def _bring(self, file: Remote) -> str:
        """Make what a file holds be there, and say what that is."""
        self._ledger.begin(file)
        home = self._ledger.root / file.part
        home.mkdir(exist_ok=True)
        must_be_real(home)
        part = self._ledger.part(file)
        self._verified(file, part)
        if not file.is_archive:
            _place_file(part, home / file.key)
            self._ledger.finish(file, {f"{file.part}/{file.key}": file.size})
            return size(file.size)
        files = self._extracted(file, part, home)
        self._ledger.finish(file, {f"{file.part}/{name}": n for name, n in files.items()})
        if self._keep and not os.path.lexists(home / file.key):
            part.rename(home / file.key)
        part.unlink(missing_ok=True)
        return f"{count(len(files), 'file')}, {size(sum(files.values()))}"

    def _verified(self, file: Remote, part: Path) -> None:
        """Download until the checksum is right, twice at most."""
        algorithm, _, wanted = file.checksum.partition(":")
        for last in (False, True):
            self._server.download(file, part, lambda have: self._tell(_Amount("fetching", file, have, file.size)))
            found = digest(part, algorithm, self._server.ended)
            if found == wanted:
                return
            part.unlink()
            if not last:
                self._tell(Caution(f"{file.name}: wrong checksum; fetched once more"))
        raise DataError(
            f"{file.name}: {algorithm} is {found}, its record says {wanted}", "Try later, or another server: --mirror"
        )

    def _extracted(self, file: Remote, part: Path, home: Path) -> dict[str, int]:
        needed, free = expanded(part), shutil.disk_usage(home).free
        if needed > free:
            raise DataError(
                f"{file.name}: {size(needed)} come out of it, {size(free)} are free",
                "Free some; the same command goes on without fetching it again.",
            )

        def tell(done: int, total: int) -> None:
            if self._server.ended.is_set():
                raise Ended
            self._tell(_Amount("extracting", file, done, total))

        staging = self._ledger.staging(file)
        try:
            files = extract(part, staging, file.machine or Path(file.key).stem, tell)
            os.sync()  # a name that outlives a power cut must not be that of an empty file
            with self._placing:  # two archives may fill one folder
                place(staging, home)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return files


def _side_by_side(plan: Plan, server: Server, jobs: int, keep_archives: bool) -> Generator[Event, None, list[Failure]]:
    todo: queue.SimpleQueue[Remote] = queue.SimpleQueue()
    inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    for item in plan.todo:
        todo.put(item.file)
    server.say = inbox.put
    worker = _Worker(plan.ledger, server, keep_archives, inbox)
    # Daemons: one that waits for a dead connection must not keep an interrupted command from its end.
    threads = [threading.Thread(target=worker.run, args=(todo,), daemon=True) for _ in range(min(jobs, len(plan.todo)))]
    for thread in threads:
        thread.start()
    try:
        return (yield from _listen(inbox, len(threads), plan.todo))
    finally:
        server.ended.set()
        end = time.monotonic() + _GOODBYE
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))


def _listen(
    inbox: queue.SimpleQueue[object], running: int, items: Iterable[Item]
) -> Generator[Event, None, list[Failure]]:
    """Pass on what the threads tell, amounts summed over the files."""
    failures: list[Failure] = []
    amounts = {"fetching": {item.file: (item.have, item.file.size) for item in items}, "extracting": {}}
    while running:
        match inbox.get():
            case None:
                running -= 1
            case _Amount(stage, file, done, total):
                amounts[stage][file] = done, total
                progress = _sum(stage, amounts[stage].values())
                # The next archive may be opened already: what is extracted so far is no end.
                if stage == "fetching" or progress.done < progress.total:
                    yield progress
            case Failure() as failure:
                failures.append(failure)
                yield Caution(failure.error.message)
            case Note() | Caution() as event:
                yield event
            case BaseException() as error:
                raise error
    if amounts["extracting"]:
        yield _sum("extracting", amounts["extracting"].values())
    return failures


def _sum(stage: str, amounts: Iterable[tuple[int, int]]) -> Progress:
    done, total = map(sum, zip(*amounts, strict=True))
    return Progress(stage, done, total, "bytes")


def _place_file(part: Path, target: Path) -> None:
    staging = part.with_suffix(".new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    part.rename(staging / target.name)
    place(staging, target.parent)
    shutil.rmtree(staging)


def _named(file: Remote, error: AsdError) -> AsdError:
    """Return the error with the file's name in front, if it is not there."""
    named = file.name in error.message
    return error if named else type(error)(f"{file.name}: {error.message}", error.hint)


def _from_os(file: Remote, error: OSError) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(f"{file.name}: the disk is full", "Free some; the same command goes on with what is there.")
    where = error.filename or "disk"
    return DataError(
        f"{file.name}: {where}: {error.strerror or error}", "Choose a folder that you may write to: --data"
    )
