"""Pre-training: every recording is told from every other, on any folder of audio."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd.config import Config
from asd.corpus import Corpus
from asd.data.catalog import Clip
from asd.data.manifest import Manifest, open_manifest
from asd.data.survey import survey_manifest
from asd.events import Event, Note
from asd.models import ranks
from asd.models.encoders import Encoder
from asd.runs import write_text
from asd.train import fit
from asd.train.contrastive import Contrastive
from asd.train.environment import environment
from asd.train.held import read_held
from asd.train.ranks import tell, wait_for
from asd.train.weights import FILE, save_encoder

GLANCED_AT = 256
"""Recordings that are probed: they are trained on, too, for here nothing rests on them but a glance at the training."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a pre-training made.

    Attributes:
        recordings: that were trained on.
        digest: of their names.
        skipped: recordings that could not be read.
        windows: of 10 s, or as long as the settings say.
    """

    recordings: int
    digest: str
    skipped: int
    windows: int


def pretrain(config: Config, place: fit.Place) -> Generator[Event, None, Pretrained]:
    """Train an encoder by instance discrimination; write ``encoder.safetensors`` to the run folder.

    Args:
        config: of the run; ``data.root`` is a folder of recordings, or a list of them.

    Raises:
        DataError: no recordings, or too many that cannot be read; a loss that is not finite.
        UsageError: settings that do not fit the recordings.
        Stopped: a signal asked for an end; what was done is saved.
    """
    config, device = fit.prepare(config, place)
    resumed = place.load_checkpoint()
    manifest = open_manifest(Path(config.data.root))
    yield Note(f"{len(manifest):,} recordings of {manifest.root}, SHA-256 of their names {manifest.digest}")
    corpus = yield from _survey(config, place, manifest)
    survey = corpus.survey
    assert survey is not None
    config = fit.resolve(config, len(survey.files_N), contrastive=True)
    encoder, remarks = fit.make_encoder(config, survey.frames, fresh=resumed is None)
    yield from remarks
    held = yield from read_held(_probed(corpus), survey, config, views=True)
    yield from fit.caution_leak(config)
    moco = fit.make_moco(encoder, config, device)
    task = Contrastive(moco, config, None, held)
    windows = len(survey.files_N)
    steps = yield from fit.run(task, corpus, config, place, resumed, windows_an_epoch=windows, feed={})
    made = Pretrained(len(manifest) - len(survey.unreadable), manifest.digest, len(survey.unreadable), windows)
    if ranks.rank() == 0:
        _write(place.folder, config, encoder, made, steps)
    return made


def _survey(config: Config, place: fit.Place, manifest: Manifest) -> Generator[Event, None, Corpus]:
    """Look at every recording once; of several processes the first does, and the others take over what it found."""
    if ranks.rank() != 0:
        wait_for("survey")
    corpus = yield from survey_manifest(
        manifest,
        config.features,
        place.folder,
        cache_gb=config.cache_gb,
        half=config.half,
        threads=config.threads,
        skip_bad=config.data.skip_bad,
    )
    if ranks.rank() == 0:
        tell("survey")
    return corpus


def _probed(corpus: Corpus) -> list[Clip]:
    """Return recordings to probe, evenly spread over those that can be read."""
    assert corpus.survey is not None
    files = np.unique(corpus.survey.files_N)
    chosen = files[np.linspace(0, len(files) - 1, min(GLANCED_AT, len(files))).astype(np.int64)]
    paths = [Path(corpus.paths[int(file)]) for file in chosen]
    return [Clip(path, path.name, "", "", "train", None) for path in paths]


def _write(folder: Path, config: Config, encoder: Encoder, made: Pretrained, steps: int) -> None:
    facts = {"recordings": made.recordings, "recordings_sha256": made.digest, "skipped": made.skipped}
    save_encoder(folder / FILE, encoder, {**fit.about_encoder(config, encoder), **facts})
    more = {**facts, "windows": made.windows, **fit.resolved_facts(config, steps, contrastive=True)}
    # Millions of files may be: manifest.txt names them.
    write_text(folder / "env.json", environment(None, more))
