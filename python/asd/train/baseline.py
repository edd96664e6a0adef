"""Fits the training-free detector."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from asd.config import Config
from asd.data.catalog import Clip
from asd.events import Event
from asd.train.assemble import baseline_detector, require_normals
from asd.train.normals import read_normals
from asd.train.trained import Trained


def train_baseline(clips: Sequence[Clip], config: Config, sections: Sequence[str]) -> Generator[Event, None, Trained]:
    """Fit both training-free baselines and their thresholds.

    The detector decides by ``baseline-siblings`` where the machine type has other sections to borrow from, else by
    ``baseline-alone``.

    Args:
        clips: training normals of all sections of one machine type.
        sections: those to model.

    Raises:
        DataError: a recording cannot be read, too few normals.
    """
    table = yield from read_normals(clips, config)
    yield from require_normals(table, config, sections)
    return (yield from baseline_detector(table, config, sections))
