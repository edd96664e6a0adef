"""The normals of a machine type -> its detector: scorers fitted, thresholds set."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.config import Config
from asd.data.synth import is_synthetic
from asd.detect.assemble import fit_scorer, parts_of
from asd.detect.baseline import ALONE, SIBLINGS, BaselineScorer, cross_fit
from asd.detect.blas import one_blas_thread
from asd.detect.detector import Detector
from asd.detect.fusion import Fused, fuse, scale_of
from asd.detect.gaussian import Floats, Normals, log
from asd.detect.network import SUMMARY, Network, NetworkFacts
from asd.detect.scorers import CLASSIFIER, KINDS, Fusible, Scorer, ScorerName, choose_scorer, parse_scorer
from asd.detect.threshold import FEW_NORMALS, FEWEST_NORMALS, Calibration
from asd.errors import DataError, UsageError
from asd.events import Caution, Event, Note, Progress
from asd.features import available_threads
from asd.train.normals import Table
from asd.train.trained import Trained
from asd.words import are, count

SMALLEST_FIT = 3
"""Normals without which nothing can be held out, whatever the user accepts."""


@dataclass(frozen=True, slots=True)
class FittedScorers:
    """Scorers, the first of which decides, and what they say of the normals.

    Attributes:
        scorers: by name.
        scores: for each scorer and section the scores of the section's rows of the table, from fits that had not seen
            them; NaN where there is no such fit.
    """

    scorers: Mapping[str, Scorer]
    scores: Mapping[tuple[str, str], Floats]


def baseline_detector(table: Table, config: Config, sections: Sequence[str]) -> Generator[Event, None, Trained]:
    """Fit the training-free detector.

    Raises:
        DataError: the normals of a section do not vary.
    """
    fitted = yield from _fit_baselines(table, config, sections)
    if config.scorer != "auto":
        decides = {config.scorer: fitted.scorers[config.scorer]}
        fitted = FittedScorers(decides | dict(fitted.scorers), fitted.scores)
    return (yield from _trained(table, config, sections, fitted, None, {}))


def network_detector(
    table: Table,
    config: Config,
    sections: Sequence[str],
    network: Network,
    embedded: Mapping[str, Floats],
    held_N: NDArray[np.bool_],
    *,
    beside: Sequence[str] = (),
    notes: Mapping[str, Any] | None = None,
) -> Generator[Event, None, Trained]:
    """Fit the scorers of a detector with a network: that of ``config.scorer``, others beside it, and the baselines.

    What looks at the network's embedding is fitted to the normals that the network was trained on, and its thresholds
    and fusion rest on those held out. The baselines are fitted to all, and cross-fitted.

    Args:
        table: the normals of all sections of the machine type.
        sections: those to model.
        embedded: what `network` makes of each row of ``table.rows``.
        held_N: which of these rows the network was not trained on; whole recordings, stretches of long ones, or
            sessions (``table.rows.units_N``), some of every section that is modelled.
        beside: names of further scorers.
        notes: facts about the network for ``detector.json``.

    Raises:
        DataError: the normals of a section do not vary, or are too few.
        UsageError: no such scorer, or one that this network or machine cannot have.
        ValueError: `held_N` holds no rows of a section, all, or parts of a unit.
    """
    _check_held(table, sections, held_N)
    rows, machine = table.rows, table.read[0].clip.machine
    several = len(set(rows.sections_N.tolist()))
    decides = choose_scorer(config.scorer)
    names = [parse_scorer(text) for text in dict.fromkeys([decides.text, *beside])]
    if several == 1 and SIBLINGS in [name.text for name in names]:
        raise UsageError(f"scorer {SIBLINGS!r}: {machine} has one section only", f"Choose {ALONE}.")
    fitted = yield from _fit_baselines(table, config, sections)
    normals = {
        of: Normals(x_ND, rows.sections_N, rows.domains_N, rows.units_N)[~held_N] for of, x_ND in embedded.items()
    }
    scorers: dict[str, Scorer] = {}
    scores: dict[tuple[str, str], Floats] = {}
    fitting = _Fitting(table, held_N, embedded, normals, fitted, network.about, tuple(sections), {})
    for done, name in enumerate(names, 1):
        if name.is_baseline:
            scorers[name.text] = fitted.scorers[name.text]
            continue
        with one_blas_thread():
            scorer = scorers[name.text] = fitting.scorer(name)
            of_held = {s: fitting.scores(scorer, s) for s in sections}
        for section, scores_H in of_held.items():
            held_own_N = held_N[rows.sections_N == section]
            scores[name.text, section] = np.full(len(held_own_N), np.nan)
            scores[name.text, section][held_own_N] = scores_H
        yield Progress("fitting scorers", done, len(names))
    every = FittedScorers(scorers | dict(fitted.scorers), scores | dict(fitted.scores))
    return (yield from _trained(table, config, sections, every, network, notes or {}))


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Scorers of a network, each fitted once.

    Attributes:
        held_N: the rows of the table that the network was not trained on, H of a section.
        embedded: what the network makes of each row.
        normals: of the rows that it was trained on, by embedding.
        fitted: the baselines.
        known: scorers by name.
    """

    table: Table
    held_N: NDArray[np.bool_]
    embedded: Mapping[str, Floats]
    normals: Mapping[str, Normals]
    fitted: FittedScorers
    about: NetworkFacts
    sections: tuple[str, ...]
    known: dict[str, Fusible]

    def scorer(self, name: ScorerName) -> Fusible:
        """Return a scorer, fitted with all that it is fused of."""
        if name.text not in self.known:
            self.known[name.text] = self._fit(name)
        return self.known[name.text]

    def _fit(self, name: ScorerName) -> Fusible:
        if name.is_baseline:
            baseline = self.fitted.scorers[name.text]
            assert isinstance(baseline, BaselineScorer)
            return baseline
        names = parts_of(name, self.about, SIBLINGS in self.fitted.scorers)
        if not names:
            machine = self.table.read[0].clip.machine
            return fit_scorer(name, self.normals, self.about, machine, self.sections)
        parts = tuple(self.scorer(part) for part in names)
        scales = {s: scale_of(np.stack([self._logs(part, s) for part in parts])) for s in self.sections}
        return Fused(name.text, parts, scales, minimum=name.fusion == "fused-min")

    def scores(self, scorer: Fusible, section: str) -> Floats:
        """Return the scores of the held-out normals of a section, (H,)."""
        if isinstance(scorer, Fused):
            return np.exp(self._logs(scorer, section))
        return scorer.score(self._embeddings(section), section)

    def _logs(self, scorer: Fusible, section: str) -> Floats:
        """Return the log scores of the held-out normals, (H,): of the baseline the cross-fitted ones."""
        if isinstance(scorer, Fused):
            logs_PH = np.stack([self._logs(part, section) for part in scorer.parts])
            return fuse(logs_PH, scorer.scales[section], scorer.minimum)
        if isinstance(scorer, BaselineScorer):
            own_N = self.table.rows.sections_N == section
            return log(self.fitted.scores[scorer.name, section][self.held_N[own_N]])
        return scorer.log_score(self._embeddings(section), section)

    def _embeddings(self, section: str) -> dict[str, Floats]:
        rows_N = self.held_N & (self.table.rows.sections_N == section)
        return {name: x_ND[rows_N] for name, x_ND in self.embedded.items()}


def _check_held(table: Table, sections: Sequence[str], held_N: NDArray[np.bool_]) -> None:
    for section in sections:
        own_N = table.rows.sections_N == section
        if held_N[own_N].all() or not held_N[own_N].any():
            raise ValueError(f"held_N: all normals of section {section}, or none of them")
    if np.isin(table.rows.units_N[held_N], table.rows.units_N[~held_N]).any():
        raise ValueError("held_N: part of a recording, or of a session")


def _fit_baselines(table: Table, config: Config, sections: Sequence[str]) -> Generator[Event, None, FittedScorers]:
    """Fit both training-free baselines, that with siblings first, or one where there are none."""
    has_siblings = len(set(table.rows.sections_N.tolist())) > 1
    names = [SIBLINGS, ALONE] if has_siblings else [ALONE]
    scorers = {}
    scores: dict[tuple[str, str], Floats] = {}
    threads = config.threads or available_threads()
    for name in names:
        scorers[name] = BaselineScorer.fit(name, table.rows, sections)
        for section in sections:
            scores[name, section] = cross_fit(name, table.rows, section, threads)
            yield Progress("fitting", len(scores), len(names) * len(sections))
    return FittedScorers(scorers, scores)


def _trained(
    table: Table,
    config: Config,
    sections: Sequence[str],
    fitted: FittedScorers,
    network: Network | None,
    notes: Mapping[str, Any],
) -> Generator[Event, None, Trained]:
    """Set the thresholds and put the detector together."""
    machine, primary = table.read[0].clip.machine, next(iter(fitted.scorers))
    calibrations = {
        (name, section): _calibrate(table, section, fitted.scores[name, section], config)
        for name in fitted.scorers
        for section in sections
    }
    for section in sections:
        yield from _worth(f"{machine} {section}", calibrations[primary, section])
    detector = Detector(
        machine=machine,
        sections=tuple(sections),
        spec=config.features,
        frames=table.frames,
        scorers=fitted.scorers,
        calibrations=calibrations,
        notes={
            "method": config.method,
            "data_root": config.data.root or config.data.normal,
            "synthetic": is_synthetic(Path(config.data.root or config.data.normal)),
            "skipped": [{"file": str(u.path), "reason": u.reason} for u in table.skipped],
            **notes,
        },
        network=network,
    )
    return Trained(detector, table, {section: fitted.scores[primary, section] for section in sections})


def require_scorer(config: Config, sections: int) -> None:
    """Refuse a scorer that the method cannot make, before a network is trained for it.

    Args:
        sections: how many there are of the machine type.

    Raises:
        UsageError: no such scorer, or one that needs what this training does not make.
    """
    if config.method == "baseline" and config.scorer == "auto":
        return
    name = choose_scorer(config.scorer)
    if config.method == "baseline" and not name.is_baseline:
        raise UsageError(
            f"scorer {name.text!r} looks at a network, and the method baseline has none",
            "Leave it out, or take --method contrastive or finetune.",
        )
    if name.text == SIBLINGS and sections == 1:
        raise UsageError(f"scorer {SIBLINGS!r}: the machine has one section only", f"Choose {ALONE}.")
    if name.kind == CLASSIFIER and config.method == "contrastive":
        raise UsageError(
            f"scorer {name.text!r}: contrastive training makes no classifier", "Choose knn, or take --method finetune."
        )
    if name.kind in KINDS and KINDS[name.kind].of == SUMMARY and config.encoder.name != "small":
        raise UsageError(f"scorer {name.text!r}: {config.encoder.name} has no summary", "Choose another, such as knn.")


def require_normals(
    table: Table, config: Config, sections: Sequence[str], held_N: NDArray[np.bool_] | None = None
) -> Generator[Event, None, None]:
    """Refuse what no threshold can stand on.

    Args:
        held_N: the rows of the table that a network is not trained on, on which alone its thresholds stand; none: all.

    Raises:
        DataError: too few normals in a section.
    """
    for section in sections:
        yield from _require(table, config, section, held_N)


def _require(
    table: Table, config: Config, section: str, held_N: NDArray[np.bool_] | None
) -> Generator[Event, None, None]:
    rows_N = table.rows.sections_N == section
    units = len(np.unique(table.rows.units_N[rows_N]))
    place = f"{table.read[0].clip.machine} {section}"
    if units < SMALLEST_FIT:
        raise DataError(
            f"{place}: {count(units, 'normal recording or session', 'normal recordings or sessions')} "
            "cannot be held out to set a threshold",
            f"Record at least {FEWEST_NORMALS} while the machine is well.",
        )
    if held_N is not None and (held_N[rows_N].all() or not held_N[rows_N].any()):
        raise DataError(
            f"{place}: too few recordings to hold some out of a network's training",
            "Take --method baseline, which holds out stretches of time.",
        )
    normals = _independent(table, rows_N if held_N is None else rows_N & held_N)
    if normals < FEWEST_NORMALS and not config.force:
        if held_N is not None:
            raise DataError(
                f"{place}: a network's threshold stands on the normals held out of its training, and {normals} "
                f"{are(normals)} too few (wanted {FEWEST_NORMALS}, for which {2 * FEWEST_NORMALS} recordings are "
                "enough)",
                "Record more while the machine is well, take --method baseline, or accept a rough threshold with "
                "--force.",
            )
        raise DataError(
            f"{place}: {count(normals, 'normal recording')} {are(normals)} too few for a threshold "
            f"(wanted {FEWEST_NORMALS}, better {FEW_NORMALS})",
            "Record more while the machine is well, or accept a rough threshold with --force.",
        )
    stretches = len(np.unique(table.groups_N[rows_N]))
    if stretches != len(np.unique(table.clip_N[rows_N])):
        yield Note(f"{place}: few but long recordings, so {stretches} stretches of time take turns in being held out")


def _independent(table: Table, rows_N: NDArray[np.bool_]) -> int:
    """Return how many normals rows of one section count for: recordings, or windows of few but long ones."""
    windows_G = np.unique(table.groups_N[rows_N], return_counts=True)[1]
    recordings = len(np.unique(table.clip_N[rows_N]))
    # Of few but long recordings, every other window counts: its neighbours overlap it.
    return recordings if recordings == len(windows_G) else int(np.ceil(windows_G / 2).sum())


def _worth(place: str, calibration: Calibration) -> Generator[Event, None, None]:
    """Say what the normals at hand cannot show of the rate of false alarms."""
    normals, rate = calibration.support, calibration.rate
    only = "only " if normals < FEW_NORMALS else ""
    if normals < 1 / rate - 1:
        yield Caution(
            f"{place}: {only}{normals} normals can show a false-alarm rate of {1 / (normals + 1):.1%} at the lowest; "
            f"the threshold for {rate:.1%} is extrapolated"
        )
    elif only:
        low, high = calibration.interval
        yield Caution(
            f"{place}: by only {normals} normals, a false-alarm rate of {rate:.1%} can as well be anything from "
            f"{low:.1%} to {high:.1%}"
        )


def _calibrate(table: Table, section: str, scores_N: Floats, config: Config) -> Calibration:
    """Set the threshold by the normals that have a score."""
    own_N = table.rows.sections_N == section
    groups_N, clip_N = table.groups_N[own_N], table.clip_N[own_N]
    stretches = len(np.unique(groups_N)) != len(np.unique(clip_N))
    by_group = [scores_N[groups_N == g] for g in np.unique(groups_N[~np.isnan(scores_N)])]
    return Calibration(by_group, config.false_alarm_rate, config.aggregate, stretches)
