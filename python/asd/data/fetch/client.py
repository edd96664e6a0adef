"""Requests to a server with Zenodo's interface, repeated while there is hope."""

from __future__ import annotations

import hashlib
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar
from urllib.parse import quote

import httpx

from asd import __version__
from asd.data.fetch.records import Part, Remote, read_listing
from asd.errors import DataError, UsageError
from asd.events import Caution
from asd.words import size

ZENODO = "https://zenodo.org"

_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_ADDRESS = re.compile(rf"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:({_PORT}))?(/[A-Za-z0-9._~/-]*)?")

_LARGEST_LISTING = 1 << 24
_PASSING = frozenset((408, 425, 429))
_FORBIDDEN = frozenset((401, 403))
_GONE = frozenset((404, 410))
_LEAST_STEP = 1 << 16
_OTHER_SERVER = "The same command goes on later; another server: --mirror"

T = TypeVar("T")


class UnreachableError(DataError):
    """No connection, however often it was tried: no other request will fare better."""


class Ended(Exception):  # noqa: N818 (nothing went wrong)
    """Whoever asked for the work no longer wants it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to hope.

    Attributes:
        timeout: seconds without a byte after which a connection counts as dead.
        attempts: failures in a row, without a step forward between them, after which it is over.
        first_wait: seconds before the second attempt; doubled from one to the next, shortened by chance.
        longest_wait: seconds that a server may ask to wait.
    """

    timeout: float = 30.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 600.0


class _PassingError(Exception):
    """An attempt failed, and another may not.

    Args:
        reason: why.
        wait: seconds that the server asks to wait; None for no wish.

    Attributes:
        forward: the attempt brought something nevertheless.
        final: what is raised when patience ends.
    """

    final: type[DataError] = DataError

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.forward = reason, wait, False


class _NoConnectionError(_PassingError):
    final = UnreachableError


class Server:
    """A server that answers ``/api/records/<id>`` and ``/api/records/<id>/files/<name>/content`` as Zenodo does.

    May be used from several threads.

    Args:
        url: where it is.
        connections: how many at once.
        say: is told of attempts that failed.
    """

    def __init__(
        self,
        url: str = ZENODO,
        patience: Patience = Patience(),
        connections: int = 4,
        say: Callable[[Caution], None] = lambda _: None,
    ) -> None:
        self.url = _checked(url)
        self.patience = patience
        self.ended = threading.Event()
        self.say = say
        self._client = httpx.Client(
            headers={"User-Agent": f"machine-asd/{__version__}", "Accept-Encoding": "identity"},
            timeout=patience.timeout,
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=5.0),
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.ended.set()
        self._client.close()

    def listing(self, part: Part, record: int) -> list[Remote]:
        """Return the files of a record.

        Raises:
            DataError: the record is not there, not open, or not readable; or the server cannot be reached.
        """
        name = f"record {record} ({part})"
        address = f"{self.url}/api/records/{record}"

        def attempt() -> bytes:
            with self._get(address, name, record) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > _LARGEST_LISTING:
                        raise DataError(f"{name}: its listing does not end", f"See {address}")
                return bytes(content)

        return read_listing(self._repeat(attempt, name), part, record)

    def download(self, file: Remote, to: Path, tell: Callable[[int], None]) -> None:
        """Bring a file to disk; what of it is there already is gone on with, by its size.

        Args:
            file: what is wanted. Its checksum is not looked at; see `digest`.
            to: grows while the file comes; afterwards it has the file's size.
            tell: is given the bytes that are there.

        Raises:
            DataError: the server does not have the file, or does not give it.
            Ended: `ended` was set.
            OSError: disk full, and the like.
        """
        farthest = to.stat().st_size if to.exists() else 0

        def attempt() -> None:
            nonlocal farthest
            try:
                self._append(file, to, tell)
            except _PassingError as error:
                have = to.stat().st_size if to.exists() else 0
                error.forward = have >= farthest + _LEAST_STEP
                farthest = max(farthest, have)
                raise

        self._repeat(attempt, file.name)

    def _append(self, file: Remote, to: Path, tell: Callable[[int], None]) -> None:
        """Fetch what is missing, as far as one answer goes."""
        have = to.stat().st_size if to.exists() else 0
        address = f"{self.url}/api/records/{file.record}/files/{quote(file.key)}/content"
        wanted = {"Range": f"bytes={have}-"} if have else {}
        if have == file.size and to.exists():
            return
        with self._get(address, file.name, file.record, wanted) as response, _appending(to) as out:
            starts = _start(response, file.size)
            if starts not in (0, have):
                out.truncate(0)  # the next attempt asks for the whole
                raise _PassingError("the server sends another part than was asked for")
            out.truncate(starts)
            have = starts
            for chunk in response.iter_raw():
                if self.ended.is_set():
                    raise Ended
                have += len(chunk)
                if have > file.size:
                    out.truncate(0)
                    raise DataError(f"{file.name}: longer than the {size(file.size)} of its record", _OTHER_SERVER)
                out.write(chunk)
                tell(have)
        if have < file.size:
            raise _PassingError(f"ended at {size(have)} of {size(file.size)}")

    @contextmanager
    def _get(
        self, address: str, name: str, record: int, headers: dict[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Open an answer that is worth reading; whatever breaks meanwhile is a `_PassingError` or final."""
        try:
            with self._client.stream("GET", address, headers=headers) as response:
                self._judge(response, name, record)
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _NoConnectionError(f"no connection to {self.url} ({error})") from None
        except httpx.TimeoutException:
            raise _PassingError(f"nothing came for {self.patience.timeout:g} s") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _PassingError(f"the connection broke ({error or type(error).__name__})") from None

    def _judge(self, response: httpx.Response, name: str, record: int) -> None:
        code = response.status_code
        page = f"https://zenodo.org/records/{record}"
        if code in (200, 206, 416):
            return
        if code in _PASSING or code >= 500:
            raise _PassingError(f"the server answers {code}", self._asked_wait(response, name))
        if code in _GONE:
            raise DataError(f"{name}: not there ({code})", f"See {page}; another server: --mirror; other parts: --part")
        if code in _FORBIDDEN:
            raise DataError(f"{name}: not open to all ({code})", f"Ask for it at {page}, or take other parts: --part")
        raise DataError(f"{name}: the server answers {code}", f"See {page}; another server: --mirror")

    def _asked_wait(self, response: httpx.Response, name: str) -> float | None:
        """Return the seconds that ``Retry-After`` asks for, a number or a date."""
        asked = response.headers.get("Retry-After", "").strip()
        if asked.isascii() and asked.isdecimal():
            wait = float(asked[:9])
        else:
            try:
                when = parsedate_to_datetime(asked)
                wait = (when - datetime.now(when.tzinfo)).total_seconds()
            except (ValueError, TypeError, OverflowError):
                return None
        if wait > self.patience.longest_wait:
            raise DataError(
                f"{name}: the server asks to wait for {wait / 60:.0f} minutes", "Go on with the same command then."
            )
        return max(wait, 0.0)

    def _repeat(self, attempt: Callable[[], T], name: str) -> T:
        """Return what an attempt returns, after as many as patience has."""
        failures = 0
        while True:
            if self.ended.is_set():
                raise Ended
            try:
                return attempt()
            except _PassingError as error:
                failures = 1 if error.forward else failures + 1
                if failures >= self.patience.attempts:
                    times = f", {failures} times in a row" if failures > 1 else ""
                    raise error.final(f"{name}: {error.reason}{times}", _OTHER_SERVER) from None
                wait = self.patience.first_wait * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
                wait = max(wait, error.wait or 0.0)
                self.say(Caution(f"{name}: {error.reason}; again in {wait:.1f} s"))
                self.ended.wait(wait)


def digest(file: Path, algorithm: str, ended: threading.Event) -> str:
    """Return a file's hexadecimal digest. Raises Ended once `ended` is set."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            if ended.is_set():
                raise Ended
            state.update(chunk)
    return state.hexdigest()


def _checked(url: str) -> str:
    if not _ADDRESS.fullmatch(url):
        raise UsageError(f"--mirror {url}: no address of a server", "For example: --mirror https://zenodo.example.org")
    return url.rstrip("/")


def _start(response: httpx.Response, total: int) -> int | None:
    """Return the byte that an answer starts at; None if it is no part of a file of `total` bytes."""
    if response.status_code == 200:
        return 0
    found = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found and found[2] == str(total) else None


def _appending(path: Path) -> BinaryIO:
    """Open a file to append to; a link is not followed."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "ab")
