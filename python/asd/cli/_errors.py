"""Turns what was raised into one line, one hint and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from asd.cli._output import is_first
from asd.errors import AsdError, DataError, OutOfMemoryError, RunFolderError, Stopped, UsageError, is_out_of_memory

INTERRUPTED = 130
TERMINATED = 143


THE_DISKS_FAULT = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EIO", "EFBIG", "EMFILE", "ENAMETOOLONG")
}
"""What an `OSError` may say that is not our bug."""


MORE_MEMORY = (
    "Close what else uses it (nvidia-smi shows that of a GPU), or leave the GPU out: CUDA_VISIBLE_DEVICES= before asd."
)


class Terminated(BaseException):
    """SIGTERM arrived. No `Exception`, so that nothing on the way swallows it."""


class GuardedGroup(TyperGroup):
    """The command group whose commands end with the exit codes of `asd.errors`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; known failures become a line on stderr and an exit code."""
        with _guard(), enough_memory(MORE_MEMORY):
            return super().invoke(ctx)


@contextmanager
def enough_memory(hint: str) -> Iterator[None]:
    """Name a way out when memory is used up, in whichever process of a training."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        who = f"rank {os.environ['RANK']}: " if "RANK" in os.environ else ""
        reason = ". ".join(
            str(error).partition("\n")[0].split(". ")[:2]
        )  # how much was wanted; advice on torch follows
        raise OutOfMemoryError(f"{who}out of memory ({reason or 'of the machine'})", hint) from error


@contextmanager
def _guard() -> Iterator[None]:
    # A thread other than the main one (a test runner's) may not set signal handlers.
    try:
        previous = signal.signal(signal.SIGTERM, _on_sigterm)
    except ValueError:
        previous = None
    try:
        yield
    except AsdError as error:
        raise typer.Exit(_report(error)) from error
    except BrokenPipeError:
        # The reader of our output left (`asd ... | head`); Python must not complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        if error.errno not in THE_DISKS_FAULT:
            raise
        raise typer.Exit(_report(_from_os(error))) from error
    except UnicodeEncodeError as error:
        raise typer.Exit(_report(_from_text(error))) from error
    except KeyboardInterrupt:
        _tell("asd: interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except Terminated:
        _tell("asd: terminated")
        raise typer.Exit(TERMINATED) from None
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _on_sigterm(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _from_os(error: OSError) -> DataError:
    """Disk full, no permission, read-only file system: the path and what the system said."""
    path = error.filename or "a file"
    return DataError(f"{path}: {error.strerror or error}", "Free space or choose a folder that you may write to.")


def _from_text(error: UnicodeEncodeError) -> DataError:
    """A path that is no valid UTF-8, or a terminal that lacks a character."""
    if error.encoding == "utf-8":
        around = os.fsencode(error.object[max(0, error.start - 40) : error.end + 40])
        return DataError(f"{around!r}: a name that is not valid UTF-8", "Rename the file or folder.")
    missing = error.object[error.start : error.end]
    return DataError(f"the output's encoding, {error.encoding}, has no {missing!r}", "Set PYTHONIOENCODING=utf-8.")


def _report(error: AsdError) -> int:
    if os.environ.get("ASD_DEBUG"):
        traceback.print_exc()
    # What is wrong with settings or run folder is the same for all processes of a training: the first one says it.
    if is_first() or not isinstance(error, UsageError | RunFolderError | Stopped):
        _say(f"asd: {error.message}")
        if error.hint:
            _say(f"  {error.hint}")
    return error.exit_code


def _tell(line: str) -> None:
    if is_first():
        _say(line)


def _say(line: str) -> None:
    # Plain text: a path must never be wrapped or read as markup.
    print(line, file=sys.stderr)
