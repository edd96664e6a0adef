"""One training of a network from recordings: what every method shares, from the survey to the last checkpoint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asd.config import Config
from asd.corpus import Corpus
from asd.errors import RunFolderError, UsageError
from asd.events import Caution, Event, Note
from asd.features import available_threads
from asd.models import ranks
from asd.models.encoders import Encoder, build_encoder
from asd.models.moco import SMALLEST_SPLIT, MoCo
from asd.runs import write_text
from asd.train import state
from asd.train.loop import Plan, Task, train
from asd.train.precision import placed
from asd.train.ranks import local_device, own_threads
from asd.train.supply import Supply
from asd.train.weights import about_encoder as about_weights
from asd.train.weights import digest_of_weights, load_encoder, other_front_end
from asd.words import count

BATCH_SIZE = 64
QUEUE, LONG_QUEUE, LARGE_SET = 4_096, 65_536, 100_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training happens.

    Attributes:
        folder: the run folder.
        resume: go on from its last checkpoint.
        listen: a context in which signals end nothing; it gives a function that returns the one that asks for an end,
            or None.
    """

    folder: Path
    resume: bool
    listen: Callable[[], AbstractContextManager[Callable[[], int | None]]]

    def load_checkpoint(self) -> state.Checkpoint | None:
        """Read the checkpoint to go on from; None begins anew."""
        return state.load(self.folder / "checkpoint") if self.resume else None


def resolve(config: Config, windows: int, contrastive: bool) -> Config:
    """Return the settings with the sizes that follow from the set spelled out, and checked.

    Args:
        windows: that are trained on.
        contrastive: whether there is a queue.

    Raises:
        UsageError: a batch that is larger than the set, or that several processes cannot share evenly; a queue that is
            no multiple of the batch.
    """
    world = ranks.world_size()
    if windows < max(2, world):
        raise UsageError(
            f"{count(windows, 'window')} to train on: {max(2, world)} are the fewest that make a batch",
            "Record more, or train with fewer processes." if world > 1 else "Record more.",
        )
    size = config.optimiser.batch_size or _batch_size(windows, world, config.moco.queue_size if contrastive else None)
    if size > windows:
        raise UsageError(
            f"batch size {size}: larger than the training set, which has {windows} windows",
            f"--batch-size {windows // world * world}, or more recordings.",
        )
    if size % world:
        raise UsageError(
            f"batch size {size}: {world} processes cannot share it evenly",
            f"--batch-size {max(1, size // world) * world}",
        )
    most = LONG_QUEUE if windows >= LARGE_SET else QUEUE
    queue = config.moco.queue_size or max(1, most // size) * size
    if contrastive and queue % size:
        raise UsageError(
            f"queue size {queue} is not a multiple of the batch size {size}",
            f"--set moco.queue_size={max(1, queue // size) * size}",
        )
    return config.model_copy(
        update={
            "optimiser": config.optimiser.model_copy(update={"batch_size": size}),
            "moco": config.moco.model_copy(update={"queue_size": queue}),
        }
    )


def _batch_size(windows: int, world: int, queue: int | None) -> int:
    """Return the largest batch that processes share evenly and that, where there is a queue, fills it evenly."""
    most = min(BATCH_SIZE, windows) if world <= BATCH_SIZE else world
    even = [size for size in range(most, 1, -1) if size % world == 0]
    return next((size for size in even if queue is None or queue % size == 0), even[0])


def prepare(config: Config, place: Place) -> tuple[Config, torch.device]:
    """Set what torch needs before anything is drawn, and note the settings in the run folder.

    Returns:
        The settings with the number of threads, on which torch's last bits depend, and the device.
    """
    config = config.model_copy(update={"threads": config.threads or own_threads(available_threads())})
    if ranks.rank() == 0:
        write_text(place.folder / "config.toml", config.to_toml())
    device = local_device(config.device)
    torch.set_num_threads(config.threads or 1)
    torch.manual_seed(config.seed % 2**63)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        fast = config.optimiser.precision != "float32"  # TF32 keeps 10 bits of 23
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast
        torch.backends.cudnn.benchmark = True
    return config, device


def make_encoder(config: Config, frames: int, fresh: bool) -> tuple[Encoder, list[Event]]:
    """Build the encoder, with the weights that training starts from.

    Args:
        frames: T that it sees.
        fresh: False leaves the weights random: a checkpoint brings its own.

    Raises:
        UsageError: the weights are those of another encoder.
        RunFolderError, DataError: no weights there, or damaged ones.
    """
    settings = config.encoder
    shape = settings.name, config.features.n_mels, frames
    encoder = build_encoder(*shape, width=settings.width, norm=settings.norm, pooling=settings.pooling)
    remarks: list[Event] = []
    if settings.weights and fresh:
        weights = Path(settings.weights)
        remark = load_encoder(weights, encoder, settings.width, settings.norm)
        told = [f"{settings.name}: weights of {settings.weights}", remark]
        remarks = [Note(text) for text in told if text]
        if other := other_front_end(about_weights(weights), config.features):
            remarks.append(Caution(f"{settings.weights}: weights of another front end: {other}"))
    return encoder, remarks


def make_moco(encoder: Encoder, config: Config, device: torch.device) -> MoCo:
    """Build momentum contrast around an encoder, on the device, by resolved settings."""
    settings = config.moco
    assert settings.queue_size is not None
    moco = MoCo(
        encoder,
        projection=settings.projection,
        queue_size=settings.queue_size,
        momentum=settings.momentum,
        temperature=settings.temperature,
    )
    return placed(moco, device)


def caution_leak(config: Config) -> Iterator[Event]:
    """Say where a batch is too small to keep the company of a query out of the statistics of its key."""
    size = config.optimiser.batch_size
    assert size is not None
    if config.encoder.norm == "batch" and ranks.world_size() == 1 and size < SMALLEST_SPLIT:
        yield Caution(
            f"batches of {size} clips are too small for batch normalisation, by which a query can tell its key: "
            f"--set encoder.norm=group, or --batch-size {SMALLEST_SPLIT} and more"
        )


def about_encoder(config: Config, encoder: Encoder) -> dict[str, Any]:
    """Return what has to be known to build the encoder again."""
    return {
        "name": encoder.name,
        "bands": encoder.bands,
        "frames": encoder.frames,
        "width": config.encoder.width,
        "norm": config.encoder.norm,
        "pooling": encoder.pooling,
        "features": config.features.model_dump(mode="json"),
        "method": config.method,
        "seed": config.seed,
    }


def resolved_facts(config: Config, steps: int, contrastive: bool) -> dict[str, Any]:
    """Return for ``env.json`` what the settings became.

    Args:
        config: resolved.
        steps: of the optimiser.
        contrastive: whether there was a queue.
    """
    resolved = {
        "batch_size": config.optimiser.batch_size,
        **({"queue_size": config.moco.queue_size} if contrastive else {}),
        "steps": steps,
        "threads": config.threads,
        "processes": ranks.world_size(),
        "device": str(local_device(config.device)),
    }
    if not config.encoder.weights:
        return {"resolved": resolved}
    weights = Path(config.encoder.weights)
    return {"resolved": resolved, "weights": {"path": str(weights), "sha256": digest_of_weights(weights)}}


def views_settings(config: Config) -> dict[str, Any]:
    """Return what of `asd.two_views` follows from the settings."""
    views = config.views
    return {
        "threads": config.threads,
        "alpha": views.alpha,
        "crop": views.crop,
        "bank_size": views.bank_size,
        "mix_domain": views.mix_domain,
        "mix_band": views.mix_band,
        # A network that hears plain log-mels is to hear them as in scoring.
        "post_normalise": views.crop or views.alpha > 0,
    }


def run(
    task: Task,
    corpus: Corpus,
    config: Config,
    place: Place,
    resumed: state.Checkpoint | None,
    *,
    windows_an_epoch: int,
    feed: Mapping[str, Any],
    views: int = 2,
    held: Sequence[str] = (),
) -> Generator[Event, None, int]:
    """Train a task on a corpus to the end of its epochs; return the number of steps.

    Args:
        config: resolved.
        windows_an_epoch: rows of batches that make an epoch.
        feed: classes and shares of `asd.Feed`.
        views: how many of its two the task looks at.
        held: names of recordings that are not trained on, yet belong to the run.
    """
    survey, size = corpus.survey, config.optimiser.batch_size
    assert survey is not None and size is not None
    device = next(task.module.parameters()).device
    facts = {
        "subject": survey.subject,
        "held": digest_of(held),
        "config": config.to_toml(),
        "world_size": ranks.world_size(),
    }
    _must_agree(place.folder, facts, resumed)
    steps_an_epoch = max(1, round(windows_an_epoch / size))
    epochs = config.optimiser.epochs
    if epochs:  # of a small set, several passes make an epoch
        steps_an_epoch *= max(1, math.ceil(config.optimiser.least_steps / (epochs * steps_an_epoch)))
    position = 0 if resumed is None else resumed.step * size
    shared = {"seed": config.seed, "rank": ranks.rank(), "world_size": ranks.world_size()}
    settings = {**views_settings(config), **shared, **feed, "position": position}
    with Supply(corpus, size // ranks.world_size(), device, settings, views) as supply, place.listen() as stop:
        plan = Plan(
            steps=epochs * steps_an_epoch,
            steps_an_epoch=steps_an_epoch,
            folder=place.folder,
            facts=facts,
            names=corpus.paths,
            checkpoint_seconds=60 * config.checkpoint_minutes,
            stop=stop,
        )
        yield from train(task, iter(supply), plan, config.optimiser, resumed)
    return plan.steps


def digest_of(names: Sequence[str]) -> str:
    """Return the SHA-256 of names, one a line, as hexadecimal digits."""
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def _must_agree(folder: Path, facts: Mapping[str, Any], resumed: state.Checkpoint | None) -> None:
    """Refuse to go on with other recordings, settings or processes than those of the checkpoint."""
    if resumed is None:
        return
    words = {
        "subject": "its recordings are others than before",
        "held": "its recordings are others than before",
        "world_size": f"it was trained by {resumed.facts.get('world_size')} processes",
        "config": "its settings are others than before",
    }
    for key, word in words.items():
        if resumed.facts.get(key) != facts[key]:
            raise RunFolderError(f"{folder}: cannot go on: {word}", "Train it anew with --overwrite.")
