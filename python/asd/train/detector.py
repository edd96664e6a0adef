"""Makes a detector with a network: the network, scorers on its embedding beside the baselines, thresholds."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from asd import features
from asd.config import NO_MATTER, Config, differences, parse_config, read_preset
from asd.data.catalog import Clip
from asd.detect.network import HeadFacts, Network, NetworkFacts
from asd.events import Event, Progress
from asd.models import ranks
from asd.models.cost import cost
from asd.train import fit
from asd.train.assemble import network_detector, require_normals, require_scorer
from asd.train.held import hold_out
from asd.train.network import Fitted, train_network
from asd.train.normals import Table, read_normals
from asd.train.trained import Trained
from asd.train.weights import FILE, save_encoder

BESIDE = ("ensemble",)
"""What stands beside the scorer that decides: the network without the baseline."""


PAPERS = {"dcase2020": (), "dcase2022": ("encoder.weights",)}
"""Presets that are the paper's setting, and what of it differs among the paper's own systems."""

POOLING = {
    "mean": "global average pooling",
    "statistics": "pooling to mean and standard deviation",
    "bands": "pooling over time alone",
    "places": "global depthwise convolution",
}


def train_detector(
    clips: Sequence[Clip], config: Config, sections: Sequence[str], place: fit.Place, *, others: Sequence[Clip] = ()
) -> Generator[Event, None, Trained | None]:
    """Train the network of a machine and make its detector; write the run folder.

    Args:
        clips: training normals of all sections of one machine type.
        sections: those to model.
        others: normals of other machines, for a classifier of all of them.

    Returns:
        The detector; None in all processes of a training but the first.

    Raises:
        DataError: a recording cannot be read, too few normals, a loss that is not finite.
        UsageError: settings that do not fit the recordings.
        Stopped: a signal asked for an end; what was done is saved.
    """
    require_scorer(config, len({clip.section for clip in clips}))
    table = yield from read_normals(clips, config)
    held = {clip.path for clip in hold_out(clips, config.data.session_regex)[1]}
    held_N = np.array([read.clip.path in held for read in table.read])[table.clip_N]
    yield from require_normals(table, config, sections, held_N)
    fitted = yield from train_network([*clips, *others], config, sections, place)
    if ranks.rank() != 0:
        return None
    network = _network(fitted)
    embedded = yield from _embed(network, table, config)
    trained = yield from network_detector(
        table, fitted.config, sections, network, embedded, held_N, beside=BESIDE, notes=_notes(fitted, config)
    )
    settings = config.model_copy(update={"threads": fitted.config.threads})
    trained.write(place.folder, settings, others, {**fitted.resolved, "cost": asdict(cost(fitted.encoder))})
    save_encoder(place.folder / FILE, fitted.encoder, fit.about_encoder(fitted.config, fitted.encoder))
    return trained


def _network(fitted: Fitted) -> Network:
    """Return the network as a detector uses it."""
    settings, encoder = fitted.config, fitted.encoder
    head = None
    if fitted.head is not None:
        c = settings.classifier
        head = HeadFacts(kind=c.head, classes=fitted.classes, scale=c.scale, margin=c.margin, subcentres=c.subcentres)
    about = NetworkFacts(
        encoder=settings.encoder.name,
        bands=encoder.bands,
        frames=encoder.frames,
        width=settings.encoder.width,
        norm=settings.encoder.norm,
        pooling=settings.encoder.pooling,
        mean=fitted.mean,
        std=fitted.std,
        embedding_size=encoder.embedding_size,
        summary_size=encoder.summary_size,
        head=head,
        score_hop=settings.classifier.score_hop if head is not None and settings.classifier.frames else None,
    )
    return Network(about, encoder, fitted.head)


def _embed(network: Network, table: Table, config: Config) -> Generator[Event, None, dict[str, NDArray[np.float64]]]:
    """Return what the network makes of the rows of the table, by the name of the embedding."""
    embedded: dict[str, list[NDArray[np.float64]]] = {}
    recordings = features.read_recordings([read.clip.path for read in table.read], config.features, config.threads)
    for number, recording in enumerate(recordings):
        if isinstance(recording, features.Unreadable):
            raise recording.error()
        # Of long recordings that were cut into stretches, the table has left some windows out.
        wanted_W = np.isin(recording.starts_W, table.starts_N[table.clip_N == number])
        for name, rows_WD in network.embed(recording.logmel_WFT[wanted_W]).items():
            embedded.setdefault(name, []).append(rows_WD)
        yield Progress("embedding", number + 1, len(table.read))
    return {name: np.concatenate(rows) for name, rows in embedded.items()}


def _notes(fitted: Fitted, config: Config) -> dict[str, object]:
    notes: dict[str, object] = {"held_out": sorted(clip.name for clip in fitted.held)}
    if config.preset in PAPERS:
        notes["left_open"] = f"{config.preset}: {left_open(fitted, config)}"
    return notes


def left_open(fitted: Fitted, given: Config) -> str:
    """Return what the paper leaves open, and how it was decided here; of changed settings, that they are.

    Args:
        given: the settings before sizes followed from the set; they name a preset of `PAPERS`.
    """
    preset = parse_config(read_preset(given.preset))
    free = (*NO_MATTER, *PAPERS[given.preset])
    found = differences(preset, given)
    changed = [f"{key} {now} for {before}" for key, before, now in found if not key.startswith(free)]
    if changed:
        return f"changed: {', '.join(changed)}."
    config, moco = fitted.config, fitted.config.moco
    if fitted.head is None:
        positives = "the other view and, of several IDs, the queue's keys of the same ID"
        training = (
            f"temperature {moco.temperature:g}, queue {moco.queue_size}, positives {positives}, projection head of two "
            f"layers to {moco.projection}"
        )
    else:
        c = config.classifier
        training = f"head {c.head}, scale {c.scale:g}, margin {c.margin:g}, classes of the {c.classes}"
    pooling = POOLING[fitted.encoder.pooling]
    return f"the paper leaves open, and here are: {training}, {pooling}, scorer {config.scorer}."
