"""The detector: front end settings, scorers, thresholds, as one thing that is saved, loaded and asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd import features
from asd.config import FeatureSpec, feature_spec, parse_config
from asd.data.names import parse_name
from asd.detect.assemble import load_scorer
from asd.detect.baseline import BaselineScorer
from asd.detect.blas import one_blas_thread
from asd.detect.gaussian import Floats
from asd.detect.network import CLASSES, NETWORK, SUMMARY, Network, NetworkFacts, check_torch
from asd.detect.pooled import POOLED, pool
from asd.detect.scorers import Scorer
from asd.detect.threshold import Calibration, aggregate
from asd.errors import DataError, RunFolderError, UsageError, nearest
from asd.runs import write_bytes, write_text

FORMATS = 1, 2
"""Of ``detector.json``: without a network, and with one."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a detector says of one recording.

    Attributes:
        score: larger is more anomalous.
        threshold: of a recording of its length; `anomalous` means score > threshold.
        windows: (start in seconds, score) of each window.
    """

    path: Path
    machine: str
    section: str
    score: float
    threshold: float
    anomalous: bool
    windows: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Detector:
    """Tells how unlike the training normals of its section a recording is.

    Attributes:
        machine: name of the machine type.
        sections: the sections (machine IDs) that it knows.
        spec: how recordings become log-mels.
        frames: T of the training log-mels.
        scorers: by name; the first decides, the others stand beside it. One at least is a baseline.
        calibrations: for each scorer and section the scores of normals held out.
        notes: facts for reports, JSON values.
        network: gives the embedding that the scorers which are no baselines look at.
    """

    machine: str
    sections: tuple[str, ...]
    spec: FeatureSpec
    frames: int
    scorers: Mapping[str, Scorer]
    calibrations: Mapping[tuple[str, str], Calibration]
    notes: Mapping[str, Any] = field(default_factory=dict)
    network: Network | None = None

    @property
    def primary(self) -> str:
        """Name of the scorer that decides."""
        return next(iter(self.scorers))

    @cached_property
    def baseline(self) -> BaselineScorer:
        """The training-free scorer that decides, or would without a network.

        Raises:
            ValueError: there is none.
        """
        for scorer in self.scorers.values():
            if isinstance(scorer, BaselineScorer):
                return scorer
        raise ValueError(f"no baseline among the scorers {', '.join(self.scorers)}")

    def score(
        self,
        paths: Sequence[str | Path],
        sections: str | Sequence[str] | None = None,
        threads: int | None = None,
    ) -> list[Score]:
        """Score recordings.

        Args:
            paths: audio files or ready log-mels.
            sections: the section of each, or one for all; by default it is read from the file's name, and needs
                no name where the detector knows one section only.
            threads: of the front end; default all that this process may use.

        Returns:
            One `Score` a path, in order.

        Raises:
            DataError: a recording cannot be read; names it.
            UsageError: a section is neither given nor in the name, or not known to this detector.
        """
        files = [Path(p) for p in paths]
        if sections is None:
            named = [self.section_for(file) for file in files]
        else:
            named = [sections] * len(files) if isinstance(sections, str) else list(sections)
            if len(named) != len(files):
                raise UsageError(f"{len(files)} paths but {len(named)} sections")
            for section in named:
                self._check_section(section)
        scores = []
        for recording, section in zip(features.read_recordings(files, self.spec, threads), named, strict=True):
            if isinstance(recording, features.Unreadable):
                raise recording.error()
            with one_blas_thread():
                scores.append(self.judge(recording, section))
        return scores

    def judge(
        self,
        recording: features.Recording,
        section: str,
        scorer: str | None = None,
        embedded: Mapping[str, Floats] | None = None,
    ) -> Score:
        """Score one recording that has been read, with the primary scorer or the one named.

        Args:
            embedded: its `embeddings`, where they are known.

        Raises:
            DataError: its log-mel has another shape than those of the training.
        """
        name = scorer or self.primary
        windows_W = self.scorers[name].score(embedded or self.embeddings(recording), section)
        calibration = self.calibrations[name, section]
        score = aggregate(windows_W, calibration.how)
        threshold = self.threshold(name, section, len(windows_W))
        windows = tuple(zip(map(float, recording.starts_W), map(float, windows_W), strict=True))
        return Score(recording.path, self.machine, section, score, threshold, score > threshold, windows)

    def embeddings(self, recording: features.Recording) -> Mapping[str, Floats]:
        """Return what the scorers look at, a row a window.

        Returns:
            ``"pooled"``, see `asd.detect.pooled`; with a network also what `Network.embed` returns.

        Raises:
            DataError: its log-mel has another shape than those of the training.
        """
        shape = recording.logmel_WFT.shape[1:]
        if shape != (self.spec.n_mels, self.frames):
            raise DataError(
                f"{recording.path}: its log-mel is {shape[0]} × {shape[1]}, the detector was trained on "
                f"{self.spec.n_mels} × {self.frames}",
                "Score recordings that were made like those of the training.",
            )
        pooled = {POOLED: pool(recording.logmel_WFT)}
        return pooled | self.network.embed(recording.logmel_WFT) if self.network else pooled

    def threshold(self, scorer: str, section: str, windows: int) -> float:
        """Return the threshold of a scorer for recordings of so many windows."""
        key = scorer, section, windows
        if key not in self._thresholds:
            self._thresholds[key] = self.calibrations[scorer, section].threshold(windows)
        return self._thresholds[key]

    def severity(self, score: Score) -> float:
        """Return how far a recording lies from the typical normal: 1 is its threshold. See `Calibration.severity`."""
        return self.calibrations[self.primary, score.section].severity(score.score, score.threshold)

    @cached_property
    def _thresholds(self) -> dict[tuple[str, str, int], float]:
        return {}

    def section_for(self, file: Path) -> str:
        """Return the section that the file's name tells, or the only one there is.

        Raises:
            UsageError: neither.
        """
        named = parse_name(file.name)
        if named is None:
            if len(self.sections) == 1:
                return self.sections[0]
            raise UsageError(
                f"{file}: its name tells no section, and the detector knows {', '.join(self.sections)}",
                "Name it with --id (asd score) or sections= (Python).",
            )
        self._check_section(named.section, file)
        return named.section

    def _check_section(self, section: str, file: Path | None = None) -> None:
        if section not in self.sections:
            where = f"{file}: " if file else ""
            raise UsageError(
                f"{where}section {section!r} is not known to this detector of {self.machine!r}."
                f"{nearest(section, self.sections)}",
                f"It knows {', '.join(self.sections)}. Train another: asd train --machine {self.machine} "
                f"--id {section}",
            )

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``detector.json``.

        Raises:
            DataError: the folder cannot be written.
        """
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {}
        for scorer in self.scorers.values():
            arrays |= scorer.arrays()
        if self.network:
            arrays |= self.network.arrays()
        for (name, section), calibration in self.calibrations.items():
            arrays[f"{name}/{section}/normals"] = np.concatenate(calibration.scores)
            arrays[f"{name}/{section}/windows"] = np.array([len(s) for s in calibration.scores])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror})", "Choose another folder.") from error
        contiguous = {k: np.asarray(v, order="C") for k, v in arrays.items()}
        write_bytes(folder / "weights.safetensors", save(contiguous))
        write_text(folder / "detector.json", json.dumps(self.describe(), indent=2, ensure_ascii=False) + "\n")

    def describe(self) -> dict[str, Any]:
        """Return what ``detector.json`` holds."""
        any_calibration = next(iter(self.calibrations.values()))
        return {
            "format": FORMATS[self.network is not None],
            "machine": self.machine,
            "scorer": self.primary,
            "beside": list(self.scorers)[1:],
            "aggregate": any_calibration.how,
            "false_alarm_rate": any_calibration.rate,
            "frames": self.frames,
            "spec": self.spec.model_dump(mode="json"),
            "sections": {section: self._describe_section(section) for section in self.sections},
            **({NETWORK: self.network.about.model_dump(mode="json")} if self.network else {}),
            **self.notes,
        }

    def _describe_section(self, section: str) -> dict[str, Any]:
        calibration = self.calibrations[self.primary, section]
        return {
            "threshold": self.threshold(self.primary, section, calibration.windows),
            "windows": calibration.windows,
            "typical": calibration.typical,
            "false_alarm_rate": calibration.rate,
            "interval": list(calibration.interval),
            "n_normals": len(calibration.scores),
            "support": calibration.support,
            "stretches": calibration.stretches,
            "sibling_weight": self.baseline.gaussians[section].weight,
        }

    @classmethod
    def load(cls, path: str | Path) -> Detector:
        """Read a detector from a run folder, or from the ``detector`` folder inside one.

        Raises:
            RunFolderError: no detector there, or a damaged one; names the file.
        """
        from safetensors.numpy import load

        folder = Path(path)
        if (folder / "detector").is_dir():
            folder = folder / "detector"
        if not (folder / "detector.json").is_file():
            raise RunFolderError(f"{path}: no detector here", "Make one with asd train.")
        with _named(folder / "detector.json"):
            described = json.loads((folder / "detector.json").read_text(encoding="utf-8"))
            if not isinstance(described, dict):
                raise ValueError("no JSON object")
        if NETWORK in described:
            check_torch()
        with _named(folder):
            arrays = load((folder / "weights.safetensors").read_bytes())
            detector = cls._from_parts(described, arrays)
            detector._try_out()
        return detector

    @classmethod
    def _from_parts(cls, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Detector:
        if described["format"] not in FORMATS:
            raise ValueError(f"format {described['format']}, this version reads {' and '.join(map(str, FORMATS))}")
        if not isinstance(described["machine"], str):
            raise ValueError(f"machine = {described['machine']!r}")
        settings = parse_config({key: described[key] for key in ("aggregate", "false_alarm_rate")})
        sections = tuple(described["sections"])
        names = [described["scorer"], *described["beside"]]
        calibrations = {}
        for name in names:
            for section in sections:
                lengths = arrays[f"{name}/{section}/windows"]
                scores = np.split(arrays[f"{name}/{section}/normals"], np.cumsum(lengths)[:-1])
                stretches = described["sections"][section]["stretches"]
                if not isinstance(stretches, bool):
                    raise ValueError(f"sections.{section}.stretches = {stretches!r}")
                calibrations[name, section] = Calibration(
                    scores, settings.false_alarm_rate, settings.aggregate, stretches
                )
        network = None
        if NETWORK in described:
            network = Network.from_arrays(NetworkFacts.model_validate(described[NETWORK]), arrays)
        fixed = {
            "format", "machine", "scorer", "beside", "aggregate", "false_alarm_rate", "frames", "spec", "sections",
            NETWORK,
        }  # fmt: skip
        return cls(
            machine=described["machine"],
            sections=sections,
            spec=feature_spec(**described["spec"]),
            frames=described["frames"],
            scorers={name: load_scorer(name, sections, arrays) for name in names},
            calibrations=calibrations,
            notes={k: v for k, v in described.items() if k not in fixed},
            network=network,
        )

    def _try_out(self) -> None:
        """Ask every scorer once. Raises ValueError or KeyError where what was loaded does not fit together."""
        blank = {POOLED: np.zeros((1, 3 * self.spec.n_mels))}
        if self.network:
            about = self.network.about
            if not about.takes(self.spec.n_mels, self.frames):
                raise ValueError(f"network for {about.bands} × {about.frames}, recordings of {self.frames} frames")
            sizes = {NETWORK: about.embedding_size, SUMMARY: about.summary_size, CLASSES: len(about.places)}
            blank |= {name: np.zeros((1, size)) for name, size in sizes.items()}
        for name, scorer in self.scorers.items():
            for section in self.sections:
                score_W = scorer.score(blank, section)
                if score_W.shape != (1,) or not np.isfinite(score_W).all():
                    raise ValueError(f"scorer {name} of section {section}")
        _ = self.baseline


@contextmanager
def _named(place: Path) -> Iterator[None]:
    """Turn whatever a damaged file causes into an error that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, SafetensorError, RecursionError) as error:
        raise RunFolderError(f"{place}: a damaged detector ({error})", "Train it again: asd train") from error
