"""A process that ends when we do, however that happens."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import IO, Any

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def start(words: Sequence[str], **streams: int | IO[Any]) -> subprocess.Popen[str]:
    """Start a command in a session of its own: signals reach it through us alone, and SIGTERM when we are no more.

    Args:
        streams: ``stdout`` and ``stderr``, as `subprocess.Popen` takes them.
    """
    parent = os.getpid()

    def end_with_parent() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before that was said
            signal.raise_signal(signal.SIGTERM)

    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=streams["stdout"],
        stderr=streams["stderr"],
        text=True,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
