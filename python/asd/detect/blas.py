"""Keeps BLAS to one thread where many small matrices are handled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run the block with single-threaded BLAS.

    For matrices of a few hundred rows BLAS threads cost more than they give (ten times more on a busy machine), and
    the number of threads changes the last bits. Parallelism belongs outside, over folds and sections.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
