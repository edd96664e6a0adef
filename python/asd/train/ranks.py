"""Several processes that train one network together, as ``torchrun`` starts them."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.distributed.distributed_c10d import _get_default_group, _get_default_store

from asd.errors import AsdError, UsageError
from asd.models import ranks
from asd.words import count

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others."""


class RankError(AsdError):
    """Another process of the training is gone, or has come to something else."""

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
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)  # before NCCL looks which one is this process's: else all take the first
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=device if on_gpu else None)
    # Held to the end: if the reducer of a DistributedDataParallel were the last to let go of it, its destructor would
    # wait, and keep the GIL, for a thread of gloo that waits for the GIL.
    atexit.register(id, _get_default_group())
    ended_well = False
    try:
        yield
        ended_well = True
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise RankError(
            f"rank {distributed.get_rank()}: another process of this training ended or does not answer",
            "Its own message says why. Go on with the same command and --resume.",
        ) from error
    finally:
        # NCCL would wait here for collectives whose other ends never come, and the message with it.
        if ended_well or not on_gpu:
            distributed.destroy_process_group()


def require_agreement(module: nn.Module) -> None:
    """Make sure that every process has the same weights and buffers as the first, to the last bit.

    Running statistics of batch normalisation are left out: each process has its own, and the first one's count.

    Raises:
        RankError: in all processes; names the first tensor that differs, and a process.
    """
    if ranks.world_size() == 1:
        return
    own = {
        id(value) for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase) for value in m.buffers()
    }
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if id(value) in own:
            continue
        first = value.detach().clone()
        distributed.broadcast(first, 0)
        same_R = ranks.gather(torch.equal(first, value) * torch.ones(1, device=value.device))
        if not bool(same_R.all()):
            raise RankError(
                f"the processes of this training no longer agree: {name} of rank {int(same_R.argmin())} is another",
                "Go on from the last checkpoint with the same command and --resume; look at that machine if it happens "
                "again.",
            )


def wait_for_all() -> None:
    """Go on when every process of the training is here."""
    if distributed.is_initialized():
        distributed.barrier()


def tell(what: str) -> None:
    """Let the others go on that wait for this."""
    if distributed.is_initialized():
        _get_default_store().set(what, "")


def wait_for(what: str) -> None:
    """Go on when another process has told this, hours from now perhaps."""
    while not _get_default_store().check([what]):
        time.sleep(0.2)


def _is_about_others(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "NCCL", "Timed out waiting", "Connection reset", "Broken pipe")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)


def local_device(wanted: str) -> torch.device:
    """Return the device of this process: ``"auto"`` is a GPU where there is one.

    Raises:
        UsageError: ``"cuda"`` without a GPU.
        RankError: more processes on this machine than GPUs.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here", "Use --device cpu, or look with: asd doctor")
    own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= there:
        raise RankError(
            f"no GPU for process {own} of this machine: it has {count(there, 'GPU')}, and processes count from 0",
            f"torchrun --nproc-per-node {there}, or --device cpu",
        )
    return torch.device("cuda", own)


def own_threads(available: int) -> int:
    """Return the share of this process in the threads of its machine, 1 at least."""
    return max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
