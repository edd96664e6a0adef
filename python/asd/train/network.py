"""Trains the network of a machine's detector: contrastive, or as a classifier."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from asd.config import Config, ViewsConfig
from asd.corpus import Corpus
from asd.data.catalog import Clip
from asd.detect.network import VARIANT
from asd.detect.scorers import CLASSIFIER, choose_scorer
from asd.errors import UsageError
from asd.events import Event, Note
from asd.models.encoders import Encoder
from asd.models.heads import build_head
from asd.train import fit
from asd.train.contrastive import Classes, Contrastive, anchor_shares, numbers_of
from asd.train.finetune import Classifier, Finetune
from asd.train.held import Held, hold_out, read_held
from asd.train.loop import Task
from asd.train.precision import placed
from asd.train.variants import kinds
from asd.train.waves import Waves

PAPER = ViewsConfig(alpha=0.4, crop=True)
"""The views of arXiv 2509.15570."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network at the end of its training.

    Attributes:
        encoder, head: the classifier's head, or None.
        classes: what the head's outputs stand for: ``"machine/section"`` or ``"machine/section/attributes"``, a name
            for each; variants of a class end with ``"/~n"``.
        mean, std: for pre-normalising.
        held: normals that it has not seen.
        config: the settings as they were resolved.
        resolved: what they became, for ``env.json``.
    """

    encoder: Encoder
    head: nn.Module | None
    classes: tuple[str, ...]
    mean: float
    std: float
    held: Sequence[Clip]
    config: Config
    resolved: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """What a network is trained on.

    Attributes:
        clips: of every file of the corpus.
        held: normals that are not in it.
        probed: of them, what a probe looks at.
    """

    corpus: Corpus
    clips: Sequence[Clip]
    held: Sequence[Clip]
    probed: Held

    @property
    def windows(self) -> int:
        """Return the number of windows."""
        assert self.corpus.survey is not None
        return len(self.corpus.survey.files_N)

    @property
    def names_held(self) -> list[str]:
        """Return the names of the normals that are held out."""
        return sorted(clip.name for clip in self.held)

    def windows_of(self, chosen: set[int]) -> int:
        """Return the number of windows of some files."""
        assert self.corpus.survey is not None
        return int(np.isin(self.corpus.survey.files_N, list(chosen)).sum())


def train_network(
    clips: Sequence[Clip], config: Config, sections: Sequence[str], place: fit.Place
) -> Generator[Event, None, Fitted]:
    """Train the network of a detector.

    Args:
        clips: normals of all sections of the machine type, and, for a classifier of all machines, of the others.
        config: of the run; its method is ``"contrastive"`` or ``"finetune"``.
        sections: those to model; one alone of several is the anchor of contrastive training.
        place: where it happens.

    Raises:
        DataError: a recording cannot be read; the loss is not finite.
        UsageError: settings that do not fit the recordings.
        Stopped: a signal asked for an end.
    """
    config, device = fit.prepare(config, place)
    resumed = place.load_checkpoint()
    contrastive = config.method == "contrastive" or _one_class(clips, config)
    _require_odds(clips, config)
    if config.method == "finetune" and contrastive:
        config = yield from _fall_back(clips[0].machine, config)
    material = yield from _gather(clips, config, views=contrastive)
    config = fit.resolve(config, material.windows, contrastive)
    survey = material.corpus.survey
    assert survey is not None
    frames = config.classifier.frames if not contrastive and config.classifier.frames else survey.frames
    if frames > survey.frames:
        raise UsageError(
            f"classifier.frames = {frames}: the log-mels have {survey.frames} frames",
            f"--set classifier.frames={survey.frames}, or leave it out.",
        )
    encoder, remarks = fit.make_encoder(config, frames, fresh=resumed is None)
    yield from remarks
    if contrastive:
        fitted = yield from _contrast(encoder, material, config, sections, place, resumed, device)
    else:
        fitted = yield from _classify(encoder, material, config, place, resumed, device)
    return fitted


def _gather(clips: Sequence[Clip], config: Config, views: bool) -> Generator[Event, None, Material]:
    """Hold normals out and look at all recordings once; a probe of contrastive training needs views."""
    kept, held = hold_out(clips, config.data.session_regex)
    corpus = Corpus(
        [clip.path for clip in kept],
        config.features,
        cache_gb=config.cache_gb,
        half=config.half,
        threads=config.threads,
    )
    survey = yield from corpus.look(skip_bad=config.data.skip_bad)
    probed = yield from read_held(held, survey, config, views)
    return Material(corpus, kept, held, probed)


def _require_odds(clips: Sequence[Clip], config: Config) -> None:
    """Refuse a scorer that asks which section a clip is of, where there is one only: variants of it are no other."""
    places = {f"{clip.machine} {clip.section}" for clip in clips}
    if choose_scorer(config.scorer).kind == CLASSIFIER and len(places) == 1:
        raise UsageError(
            f"scorer {config.scorer!r}: all normals are of {places.pop()}, and there is nothing to tell it from",
            "Choose another scorer, such as --scorer knn; or, where the data root has other machines, tell it from "
            "them: --set classifier.classes=root",
        )


def _one_class(clips: Sequence[Clip], config: Config) -> bool:
    return len(set(_class_names(clips, config))) * kinds(config.variants) == 1


def _fall_back(machine: str, config: Config) -> Generator[Event, None, Config]:
    """Return the settings of instance discrimination in a classifier's place, with views that differ, and say so."""
    told = f"{machine}: all normals are of one class, so each recording is told from every other instead"
    if config.views_are_one:
        views = config.views.model_copy(update={"alpha": PAPER.alpha, "crop": PAPER.crop})
        config = config.model_copy(update={"views": views})
        told += f", in views by Log-mixup-exp (views.alpha={views.alpha:g}) and Random Resize Crop (views.crop=true)"
    yield Note(told)
    return config


def _class_names(clips: Sequence[Clip], config: Config) -> list[str]:
    """Return machine × section, and where they are wanted × attributes, of each clip."""
    attributes = [clip.attributes if config.classifier.attributes else "" for clip in clips]
    return ["/".join(filter(None, (c.machine, c.section, a))) for c, a in zip(clips, attributes, strict=True)]


def _contrast(
    encoder: Encoder,
    material: Material,
    config: Config,
    sections: Sequence[str],
    place: fit.Place,
    resumed: Any,
    device: torch.device,
) -> Generator[Event, None, Fitted]:
    yield from fit.caution_leak(config)
    moco = fit.make_moco(encoder, config, device)
    own = [clip.section for clip in material.clips]
    several = len(set(own)) > 1
    if config.method == "contrastive" and not several:
        each = "each recording and each variant of it" if kinds(config.variants) > 1 else "each recording"
        machine = material.clips[0].machine
        yield Note(f"{machine}: one ID only, so {each} is told from every other (instance discrimination)")
    numbers = numbers_of(own)
    anchored = several and len(sections) == 1
    classes = Classes(numbers, numbers[own.index(sections[0])] if anchored else None) if several else None
    task = Contrastive(moco, config, classes, material.probed)
    feed: dict[str, Any] = {}
    epoch = material.windows
    if several:
        feed = {"labels": own, "shares": anchor_shares(own, sections[0]) if anchored else None}
    if anchored:
        # An epoch is each window of the anchor's section once; they are half of every batch.
        epoch = 2 * material.windows_of({file for file, section in enumerate(own) if section == sections[0]})
    steps = yield from fit.run(
        task, material.corpus, config, place, resumed, windows_an_epoch=epoch, feed=feed, held=material.names_held
    )
    return _fitted(encoder, None, (), material, config, steps)


def _classify(
    encoder: Encoder, material: Material, config: Config, place: fit.Place, resumed: Any, device: torch.device
) -> Generator[Event, None, Fitted]:
    settings, survey = config.classifier, material.corpus.survey
    assert survey is not None
    names = _class_names(material.clips, config)
    several = kinds(config.variants)
    classes = tuple(
        name if kind == 0 else f"{name}{VARIANT}{kind}" for name in sorted(set(names)) for kind in range(several)
    )
    head = build_head(
        settings.head,
        encoder.embedding_size,
        len(classes),
        scale=settings.scale,
        margin=settings.margin,
        subcentres=settings.subcentres,
    )
    yield Note(f"a classifier of {len(classes)} classes: machine × section" + _said(settings.attributes, several))
    waves = None
    if settings.mixup == "wave":
        waves = Waves(material.corpus.paths, survey, config.features, config.threads)
    classifier = placed(Classifier(encoder, head), device)
    task: Task = Finetune(classifier, config, numbers_of(names), material.probed, waves)
    epoch = material.windows
    if settings.frames is not None:
        epoch *= 1 + (survey.frames - settings.frames) // settings.hop
    steps = yield from fit.run(
        task,
        material.corpus,
        config,
        place,
        resumed,
        windows_an_epoch=epoch,
        feed={},
        views=1,
        held=material.names_held,
    )
    return _fitted(encoder, head, classes, material, config, steps)


def _said(attributes: bool, several: int) -> str:
    return " × attributes" * attributes + f" × {several} variants of the spectrum" * (several > 1)


def _fitted(
    encoder: Encoder,
    head: nn.Module | None,
    classes: tuple[str, ...],
    material: Material,
    config: Config,
    steps: int,
) -> Fitted:
    survey = material.corpus.survey
    assert survey is not None
    resolved = fit.resolved_facts(config, steps, contrastive=head is None)
    return Fitted(encoder, head, classes, survey.mean, survey.std, material.held, config, resolved)
