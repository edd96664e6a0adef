"""What can go wrong, said so that the reader knows the file and the way out.

Exit codes: 0 done; 1 a bug of ours; 2 usage or config, or too little memory; 3 data or disk; 4 run folder in
the way, or not resumable; 10 anomalies found (`asd score --fail-on-anomaly`); 130 and 143 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class AsdError(Exception):
    """A known failure: one line that says what, one hint that says what to do.

    Args:
        message: what is wrong, with the file or the name in it.
        hint: the way out; a command where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def or_else(self, way_out: str) -> Self:
        """Return the same error with another way out after its hint."""
        return type(self)(self.message, f"{self.hint.rstrip('.')}; or {way_out}" if self.hint else way_out)


class UsageError(AsdError, ValueError):
    """A machine, ID, key, flag or value that is not there or not allowed."""

    exit_code = 2


class DataError(AsdError):
    """Data or disk: absent, unreadable, unusable, mixed, full, unwritable."""

    exit_code = 3


class RunFolderError(AsdError):
    """A run folder is in the way, is not one, or cannot be gone on with."""

    exit_code = 4


class OutOfMemoryError(AsdError):
    """The memory of a GPU or of the machine is used up."""

    exit_code = 2


class Stopped(AsdError):  # noqa: N818 (nothing went wrong)
    """A signal asked a long job to end, and it did in good order.

    Args:
        signal: its number; the exit code is 128 more.
        message: where the job stopped.
    """

    def __init__(self, signal: int, message: str, hint: str = "Go on with the same command and --resume.") -> None:
        super().__init__(message, hint)
        self.signal = signal
        self.exit_code = 128 + signal


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch, its libraries, numpy or Python says that memory is used up."""
    words = "out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED"
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'fan'?"`` for the known name closest to `name`, or an empty string."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
