"""What others published on the same tasks, as data: figures in percent, as printed, each row with its split.

A figure compares only within a split: the development and the evaluation sets of a challenge have other machines. So a
row carries its split, where it was printed, and whether its epoch was chosen by the scores of the test clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["development", "evaluation", "not stated"]
Pair: TypeAlias = tuple[float, float]

PAPER = "arXiv 2509.15570"


@dataclass(frozen=True, slots=True)
class Published:
    """One printed row.

    Attributes:
        method: as its authors call it.
        split: which clips it was computed on.
        source: where the figures were printed.
        cells: machine to a pair, in percent: AUC and pAUC (2020), AUC source and AUC target (2022).
        average: as printed, or None.
        epoch_on_test: the epoch was chosen by the scores of the test clips; None: not stated.
    """

    method: str
    split: Split
    source: str
    cells: Mapping[str, Pair] = field(default_factory=dict)
    average: Pair | None = None
    epoch_on_test: bool | None = None

    def recomputed(self, machines: tuple[str, ...]) -> Pair | None:
        """Return the mean over `machines` of the printed cells, or None where one of them is missing."""
        if not all(m in self.cells for m in machines):
            return None
        first, second = zip(*(self.cells[m] for m in machines), strict=True)
        return sum(first) / len(first), sum(second) / len(second)

    def average_follows(self, machines: tuple[str, ...]) -> bool:
        """Say whether the printed average is the mean of the printed cells, within their rounding."""
        mean = self.recomputed(machines)
        if mean is None or self.average is None:
            return True
        return all(abs(a - b) <= ROUNDING for a, b in zip(mean, self.average, strict=True))


ROUNDING = 0.0101
"""Half a unit of the last printed place, for a cell and for the average."""

MACHINES_2020 = ("fan", "pump", "slider", "valve", "ToyCar", "ToyConveyor")
MACHINES_2022 = ("fan", "bearing", "slider", "ToyCar", "ToyTrain", "valve", "gearbox")


def _row(
    machines: tuple[str, ...],
    method: str,
    split: Split,
    source: str,
    cells: str,
    average: Pair | None,
    epoch_on_test: bool | None = None,
) -> Published:
    """Read a row as it is printed: ``a/b`` for each machine, ``–`` where there is none."""
    printed = cells.split()
    pairs = {m: _pair(c) for m, c in zip(machines, printed, strict=True) if c != "–"} if printed else {}
    return Published(method, split, source, pairs, average, epoch_on_test)


def _pair(cell: str) -> Pair:
    first, second = cell.split("/")
    return float(first), float(second) if second != "–" else float("nan")


_row_2020 = partial(_row, MACHINES_2020)


def _row_2022(method: str, cells: str, average: Pair) -> Published:
    return _row(MACHINES_2022, method, "not stated", f"{PAPER}, Table 2", cells, average)


_TABLE_1 = f"{PAPER}, Table 1"

DCASE2020: tuple[Published, ...] = (
    _row_2020(
        "Glow-Aff",
        "development",
        _TABLE_1,
        "74.90/65.30 83.40/73.80 94.60/82.80 91.40/75.00 92.20/84.10 71.50/59.00",
        (85.20, 73.90),
    ),
    _row_2020(
        "ESResNeXt",
        "not stated",
        _TABLE_1,
        "85.52/77.29 92.88/85.73 91.08/79.82 86.01/86.16 75.1/65.44 88.77/86.94",
        (86.56, 80.23),
    ),
    _row_2020(
        "M-A-G-IDcl",
        "not stated",
        _TABLE_1,
        "83.06/79.55 87.04/79.52 97.43/88.91 95.27/90.23 79.1/64.02 99.07/96.20",
        (90.16, 83.07),
    ),
    _row_2020(
        "STgram-MFN",
        "development",
        _TABLE_1,
        "88.09/88.06 87.31/85.42 99.29/96.93 91.97/89.47 94.32/90.17 82.87/76.48",
        (91.97, 89.47),
    ),
    _row_2020("SSAAD", "not stated", _TABLE_1, "80.11/– 70.12/– 77.43/– 84.17/– – –", None),
    _row_2020(
        "GeCo",
        "development",
        _TABLE_1,
        "92.73/85.19 93.09/86.89 98.61/95.26 99.06/95.52 96.62/89.33 74.69/65.82",
        (92.47, 86.34),
    ),
    _row_2020(
        "Top-1 of the challenge (Giri)",
        "evaluation",
        _TABLE_1,
        "82.39/78.23 87.64/82.37 97.28/88.03 98.46/94.87 95.57/91.54 81.46/66.62",
        (90.47, 83.61),
    ),
    _row_2020(
        "Contrastive learning with spectrum augmentation",
        "not stated",
        _TABLE_1,
        "91.34/90.05 91.97/78.17 96.15/89.82 92.18/86.9 92.73/85.07 98.82/95.59",
        (93.83, 87.6),
    ),
    _row_2020("OS-SCL", "development", "its authors, 2025", "", (95.71, 90.23)),
    _row_2020(
        "STgram-MFN",
        "development",
        "its own repository",
        "94.04/88.97 91.94/81.75 99.55/97.61 99.64/98.44 94.44/87.68 74.57/63.60",
        (92.36, 86.34),
        epoch_on_test=True,
    ),
    _row_2020(
        "Noisy-ArcMix",
        "development",
        "its authors, 2024",
        "98.32/95.34 95.44/85.99 99.53/97.50 99.95/99.74 96.76/90.11 77.90/67.15",
        (94.65, 89.31),
    ),
    _row_2020(
        "Autoencoder (challenge baseline)",
        "development",
        "DCASE 2020 Task 2",
        "65.16/52.59 72.59/60.00 84.99/66.93 66.46/50.60 80.09/67.22 72.68/60.66",
        None,
        epoch_on_test=False,
    ),
)
"""AUC and pAUC (p = 0.1), percent. Which of the rows without a stated split was computed on what, nobody says; the
text of arXiv 2509.15570 speaks of the evaluation set."""

DCASE2022: tuple[Published, ...] = (
    _row_2022(
        "MN (baseline)",
        "61.64/57.56 62.43/57.89 59.21/56.49 57.00/52.46 53.34/51.58 64.84/65.26 64.70/56.53",
        (60.45, 56.82),
    ),
    _row_2022(
        "MN+P",
        "71.66/46.93 62.60/70.35 74.13/58.36 74.47/70.83 62.66/58.84 75.97/76.71 74.01/66.51",
        (67.43, 59.70),
    ),
    _row_2022(
        "MFN",
        "62.79/41.77 57.08/60.20 71.66/54.39 76.83/78.90 60.36/63.33 72.28/69.04 71.25/55.18",
        (63.93, 56.89),
    ),
    _row_2022(
        "MFN+P",
        "71.52/45.09 65.93/69.80 82.70/69.30 73.35/72.16 61.80/54.51 81.67/80.38 86.78/75.58",
        (74.82, 66.69),
    ),
)
"""AUC source and AUC target, percent. The split is not stated."""

_DEVELOPMENT_NORMALS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "fan": (("00", "02", "04", "06"), 100),
    "pump": (("00", "02", "04", "06"), 100),
    "slider": (("00", "02", "04", "06"), 100),
    "valve": (("00", "02", "04", "06"), 100),
    "ToyCar": (("01", "02", "03", "04"), 350),
    "ToyConveyor": (("01", "02", "03"), 200),
}
"""IDs of the 2020 development set, and the fewest normals in the test folder of each: a smaller test set is not it."""

_EVALUATION_CLIPS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "fan": {"01": (100, 326), "03": (100, 358), "05": (109, 349)},
    "pump": {"01": (100, 116), "03": (100, 113), "05": (100, 248)},
    "slider": {"01": (100, 178), "03": (100, 178), "05": (100, 178)},
    "valve": {"01": (100, 120), "03": (100, 120), "05": (100, 400)},
    "ToyCar": {"05": (250, 265), "06": (250, 265), "07": (250, 265)},
    "ToyConveyor": {"04": (200, 355), "05": (200, 355), "06": (200, 355)},
}
"""Normals and anomalies of each ID of the 2020 evaluation set (eval_data_list.csv of Zenodo record 3951620)."""


def split_2020(machine: str, clips: Mapping[str, tuple[int, int]]) -> Split | None:
    """Say which test set of DCASE 2020 Task 2 was scored, or None where it is neither, or only a part of one.

    Args:
        machine: type of the machine.
        clips: section to its numbers of labelled normals and anomalies.
    """
    if not clips or machine not in _DEVELOPMENT_NORMALS:
        return None
    ids, fewest = _DEVELOPMENT_NORMALS[machine]
    if all(s in ids and normals >= fewest and anomalies > 0 for s, (normals, anomalies) in clips.items()):
        return "development"
    if all(_EVALUATION_CLIPS[machine].get(s) == count for s, count in clips.items()):
        return "evaluation"
    return None


_CLIPS_2022 = 100
"""Normals, and anomalies, of each section of the 2022 development and evaluation sets, both domains together."""


def split_2022(machine: str, clips: Mapping[str, tuple[int, int]]) -> Split | None:
    """As `split_2020`, for DCASE 2022 Task 2."""
    if not clips or machine not in MACHINES_2022 or set(clips.values()) != {(_CLIPS_2022, _CLIPS_2022)}:
        return None
    splits = {part_of(2022, machine, section) for section in clips}
    return splits.pop() if len(splits) == 1 else None


def part_of(year: int, machine: str, section: str) -> Split:
    """Say which of the two sets of a challenge a section belongs to, going by its number.

    From 2022 on, and in 2021, the sections from 03 are of the evaluation set. In 2020, each machine has its own IDs.
    """
    if year == 2020:
        return "evaluation" if section in _EVALUATION_CLIPS.get(machine, {}) else "development"
    return "evaluation" if section >= "03" else "development"


def sections_of(year: int, machine: str, split: Split) -> frozenset[str]:
    """Return all sections of a machine in one of the two sets of DCASE 2020 or 2022; none for an unknown machine."""
    if year != 2020:
        known = {"development": ("00", "01", "02"), "evaluation": ("03", "04", "05")}
        return frozenset(known.get(split, ()) if machine in MACHINES_2022 else ())
    if split == "evaluation":
        return frozenset(_EVALUATION_CLIPS.get(machine, {}))
    return frozenset(_DEVELOPMENT_NORMALS[machine][0] if machine in _DEVELOPMENT_NORMALS else ())
