"""The loop that every network is trained by: batch, loss, step; measured, checkpointed, stopped in good order."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from asd.config import OptimiserConfig
from asd.errors import DataError, RunFolderError, Stopped, is_out_of_memory
from asd.events import Caution, Event, Note, Progress
from asd.models import ranks
from asd.runs import write_text
from asd.train import state
from asd.train.ranks import require_agreement
from asd.train.supply import Views

LISTEN_EVERY = 16
"""Steps after which processes on GPUs ask each other whether one was told to stop."""

MID_EPOCH, MID_EPOCH_SECONDS = 10, 60.0
"""Within an epoch a checkpoint is written after so many times `Plan.checkpoint_seconds`, and so many at least."""


class Task(Protocol):
    """What is trained: a network and its loss."""

    module: nn.Module

    def loss(self, batch: Views, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, and scalars to log."""

    def after_step(self) -> None:
        """Do what follows the optimiser's step."""

    def probe(self) -> dict[str, float]:
        """Measure the network on recordings that it is not trained on."""

    def warn(self, row: dict[str, Any]) -> str | None:
        """Return what is wrong with the training, going by a line of ``metrics.jsonl``."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to train, and where to keep what.

    Attributes:
        steps, steps_an_epoch: of the optimiser.
        folder: the run folder, which gets ``checkpoint/`` and ``metrics.jsonl``.
        facts: what a checkpoint carries beside tensors; a resumed training must agree with them.
        names: of the recordings, by file number, to say which a bad batch held.
        checkpoint_seconds: age of the last checkpoint at which the end of an epoch brings the next.
        stop: returns the signal that asks for an end, or None.
    """

    steps: int
    steps_an_epoch: int
    folder: Path
    facts: dict[str, Any]
    names: Sequence[Path]
    checkpoint_seconds: float
    stop: Callable[[], int | None]

    def is_due(self, step: int, seconds: float) -> bool:
        """Return whether a checkpoint is to be written after a step, `seconds` after the last one."""
        if step % self.steps_an_epoch == 0:
            return seconds >= self.checkpoint_seconds or step == self.steps
        return seconds >= max(MID_EPOCH * self.checkpoint_seconds, MID_EPOCH_SECONDS)

    @property
    def checkpoints(self) -> Path:
        """Return where they lie."""
        return self.folder / "checkpoint"

    @property
    def metrics(self) -> Path:
        """Return the file."""
        return self.folder / "metrics.jsonl"


@dataclass(slots=True)
class Tally:
    """Running sums since the last line of metrics, kept where they arise: reading one would wait for the GPU."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """Take in one step."""
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().double()

    def means(self) -> dict[str, float]:
        """Return the means over the steps and the processes, and begin anew."""
        values = torch.stack([self.sums[name] for name in sorted(self.sums)]) / self.steps
        means = (ranks.total(values) / ranks.world_size()).tolist()
        named = dict(zip(sorted(self.sums), means, strict=True))
        self.sums, self.steps = {}, 0
        return named


def train(
    task: Task, batches: Iterator[Views], plan: Plan, settings: OptimiserConfig, resumed: state.Checkpoint | None
) -> Generator[Event, None, None]:
    """Train to the end of the plan, from a checkpoint if there is one.

    Raises:
        Stopped: a signal asked for it; a checkpoint was saved.
        DataError: the loss is not finite; the batch's recordings are saved in ``non-finite.json``.
        RunFolderError: a checkpoint of another network.
        RankError: the processes of the training no longer have the same weights.
    """
    device, size = next(task.module.parameters()).device, settings.batch_size
    assert size is not None
    optimiser = build_optimiser(settings, task.module, device)
    tally, step = Tally(), 0
    if resumed is not None:
        step = _restore(task, optimiser, tally, resumed, plan.checkpoints)
    if ranks.rank() == 0:
        state.cut_metrics(plan.metrics, -1 if resumed is None else step)
    if resumed is None:
        _write_probe(plan, task, 0, {})
    watch = Watch(plan)
    saved, begun = time.monotonic(), time.monotonic()
    first = step
    while step < plan.steps:
        batch = next(batches)
        rate = learning_rate(settings, step, plan.steps)
        loss, logs = task.loss(batch, step)
        norm = _descend(optimiser, task.module, loss, rate, settings.clip_norm)
        task.after_step()
        step += 1
        watch.look(loss, batch.files_B, step)
        tally.add({"loss": loss, "gradient_norm": norm, **logs})
        yield Progress("training", step, plan.steps)
        if step % plan.steps_an_epoch == 0 or step == plan.steps:
            watch.settle()
            begun = yield from _end_epoch(plan, task, tally, step, rate, (step - first) * size, begun)
            first = step
        signal = _heard(plan, step, device)
        if plan.is_due(step, time.monotonic() - saved) or signal is not None:
            watch.settle()
            if ranks.rank() == 0:
                state.save(plan.checkpoints, _snapshot(task, optimiser, tally, step, plan.facts))
            saved = time.monotonic()
        if signal is not None:
            raise Stopped(signal, f"{plan.folder}: stopped after step {step} of {plan.steps}; it is saved")


def build_optimiser(settings: OptimiserConfig, module: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimiser of the parameters that carry a gradient."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    parameters = [p for p in module.parameters() if p.requires_grad]
    fused = device.type == "cuda"
    optimiser: torch.optim.Optimizer = kind(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
    )
    return optimiser


def learning_rate(settings: OptimiserConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then constant or half a cosine down to 0."""
    warm = round(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _descend(
    optimiser: torch.optim.Optimizer, module: nn.Module, loss: Tensor, rate: float, clip_norm: float
) -> Tensor:
    """Make one step downhill; return the norm of the gradient before clipping."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimiser.param_groups:
        group["lr"] = rate
    norm = nn.utils.clip_grad_norm_(module.parameters(), clip_norm or math.inf)
    optimiser.step()
    return norm


class Watch:
    """Sees a loss that is not finite, one step late on a GPU, which always has a step to go on with."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._open: tuple[Tensor, torch.cuda.Event | None, Tensor, int] | None = None

    def look(self, loss: Tensor, files_B: Tensor, step: int) -> None:
        """Take note of a step, and settle the one before."""
        # The copy is asked for at once: later it would wait for the steps that came in between.
        value, arrived = loss.detach().to("cpu", non_blocking=True), None
        if loss.device.type == "cuda":
            arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            arrived.record()
        self.settle()
        self._open = value, arrived, files_B.clone(), step
        if arrived is None:
            self.settle()

    def settle(self) -> None:
        """Raise DataError if the step that was noted last has no finite loss."""
        if self._open is None:
            return
        (loss, arrived, files_B, step), self._open = self._open, None
        if arrived is not None:
            arrived.synchronize()
        if math.isfinite(value := loss.item()):
            return
        file = self._plan.folder / "non-finite.json"
        held = [str(self._plan.names[number]) for number in files_B.tolist()]
        write_text(file, json.dumps({"step": step, "loss": str(value), "recordings": held}, indent=1) + "\n")
        raise DataError(
            f"the loss of step {step} is {value}: the recordings of its batch are in {file}",
            "Train it anew with --overwrite and a lower rate, such as --set optimiser.learning_rate=1e-4; look at the "
            "recordings with: asd data verify",
        )


def _heard(plan: Plan, step: int, device: torch.device) -> int | None:
    """Return the signal that asks any of the processes to stop, at the same step in all of them."""
    own = plan.stop()
    if ranks.world_size() == 1:
        return own
    if device.type == "cuda" and step % LISTEN_EVERY and step != plan.steps:
        return None
    heard = ranks.gather(torch.tensor([own or 0], device=device)).max().item()
    return int(heard) or None


def _write_probe(plan: Plan, task: Task, step: int, row: dict[str, float]) -> dict[str, Any]:
    """Measure, add a line to ``metrics.jsonl``, and return it."""
    numbers = {name: value for name, value in {**row, **task.probe()}.items() if math.isfinite(value)}
    line = {"step": step, "epoch": step / plan.steps_an_epoch, **numbers}
    if ranks.rank() == 0:
        state.append_metrics(plan.metrics, line)
    return line


def _end_epoch(
    plan: Plan, task: Task, tally: Tally, step: int, rate: float, clips: int, begun: float
) -> Generator[Event, None, float]:
    """Measure what an epoch has come to, and say it.

    Args:
        clips: trained on since the last line of metrics.
        begun: when that was, by the monotonic clock.

    Returns:
        When the clips were done; the probe counts with the next epoch.
    """
    require_agreement(task.module)
    row = {"learning_rate": rate, **tally.means()}
    seconds = time.monotonic() - begun
    row |= {"seconds": seconds, "clips_per_second": clips / seconds}
    ended = time.monotonic()
    yield from _say(_write_probe(plan, task, step, row), task)
    return ended


def _say(row: dict[str, Any], task: Task) -> Iterator[Event]:
    told = [f"{name} {row[name]:.4g}" for name in ("loss", "positive", "negative", "knn", "retrieval") if name in row]
    yield Note(f"epoch {row['epoch']:g}: {', '.join(told)}")
    if problem := task.warn(row):
        yield Caution(problem)


def _snapshot(
    task: Task, optimiser: torch.optim.Optimizer, tally: Tally, step: int, facts: dict[str, Any]
) -> state.Checkpoint:
    tensors = {f"module/{name}": value for name, value in task.module.state_dict().items()}
    tensors |= {f"optimiser/{n}": value for n, value in state.named_optimiser_state(optimiser, task.module)}
    tensors |= {f"tally/{name}": value for name, value in tally.sums.items()}
    tensors["rng"] = torch.get_rng_state()
    return state.Checkpoint(step, tensors, {**facts, "tallied": tally.steps})


def _restore(
    task: Task, optimiser: torch.optim.Optimizer, tally: Tally, resumed: state.Checkpoint, folder: Path
) -> int:
    device = next(task.module.parameters()).device
    try:
        task.module.load_state_dict(resumed.part("module"))
        state.load_optimiser_state(optimiser, task.module, resumed.part("optimiser"))
        tally.sums = {name: value.to(device) for name, value in resumed.part("tally").items()}
        tally.steps = int(resumed.facts["tallied"])
        torch.set_rng_state(resumed.tensors["rng"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise RunFolderError(
            f"{folder}: the checkpoint of step {resumed.step} is not of this network ({reason})",
            "Train the run again with --overwrite.",
        ) from error
    return resumed.step
