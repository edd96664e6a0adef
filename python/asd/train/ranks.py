"""Several processes that train one network together, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed

from asd.errors import AsdError, UsageError

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others."""


class RankError(AsdError):
    """Another process of the training is gone."""

    exit_code = 3


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` started; alone, do nothing.

    Raises:
        UsageError: the environment of ``torchrun`` is there in part only.
        RankError: another process ended; names this one.
    """
    if "RANK" not in os.environ:
        yield
        return
    if missing := [name for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UsageError(f"RANK is set but {missing[0]} is not", "Start several processes with torchrun.")
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    except (distributed.DistBackendError, RuntimeError) as error:
        if not _is_about_others(error):
            raise
        raise RankError(
            f"rank {distributed.get_rank()}: another process of this training ended or does not answer",
            "Its own message says why. Go on with the same command and --resume.",
        ) from error
    finally:
        distributed.destroy_process_group()


def wait_for_all() -> None:
    """Go on when every process of the training is here."""
    if distributed.is_initialized():
        distributed.barrier()


def _is_about_others(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "NCCL", "Timed out waiting", "Connection reset", "Broken pipe")
    return isinstance(error, distributed.DistBackendError) or any(word in str(error) for word in words)


def local_device(wanted: str) -> torch.device:
    """Return the device of this process: ``"auto"`` is a GPU where there is one.

    Raises:
        UsageError: ``"cuda"`` without a GPU.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here", "Use --device cpu, or look with: asd doctor")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
