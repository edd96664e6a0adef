"""Which recordings are for training and which for the test, where no folder tells.

All known anomalies are test clips, and as many normals as there are anomalies, at most half of them: the first in the
order of a hash of their names. A normal recording that is added therefore moves at most one other between training
and test. Recordings without any label, in a section without any, are all taken for normal and are for training.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from asd.data.layouts import Row
from asd.data.names import ANOMALY, NORMAL


@dataclass(slots=True)
class Chosen:
    """What was decided, to be said.

    Attributes:
        normals: normals that were divided by the hash of their names.
        test_normals: how many of them went to the test.
        anomalies: known anomalies outside train and test folders.
        assumed_normal: recordings without any label that are taken for normal.
        train_anomalies: anomalies found in a train folder, and moved to the test.
    """

    normals: int = 0
    test_normals: int = 0
    anomalies: int = 0
    assumed_normal: int = 0
    train_anomalies: int = 0


def settle_splits(rows: Iterable[Row]) -> tuple[list[Row], Chosen]:
    """Return the rows, every one with a split, and what was decided on the way."""
    by_section: dict[tuple[Path, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_section[row.machine, row.section].append(row)
    chosen = Chosen()
    settled: list[Row] = []
    for section in by_section.values():
        settled += _settle_section(section, chosen)
    return settled, chosen


def _settle_section(rows: list[Row], chosen: Chosen) -> Iterable[Row]:
    open_rows = [row for row in rows if row.split is None]
    normals = [row for row in open_rows if row.label == NORMAL]
    n_anomalies = sum(row.label == ANOMALY for row in open_rows)
    test_names = _first_by_hash(normals, min(n_anomalies, len(normals) // 2))
    has_labels = any(row.label is not None for row in rows) or any(row.named for row in rows)
    if n_anomalies:
        chosen.normals += len(normals)
        chosen.test_normals += len(test_names)
        chosen.anomalies += n_anomalies
    for row in rows:
        match row.split, row.label:
            case "train", None:
                yield replace(row, label=NORMAL)
            case "train", 1:
                chosen.train_anomalies += 1
                yield replace(row, split="test")
            case None, None if not has_labels:
                chosen.assumed_normal += 1
                yield replace(row, split="train", label=NORMAL)
            case None, 0 if row.name not in test_names:
                yield replace(row, split="train")
            case None, _:
                yield replace(row, split="test")
            case _:
                yield row


def _first_by_hash(rows: list[Row], n: int) -> set[str]:
    """Return the names of the first `n` rows in the order of a hash of their path below the machine's folder."""

    def position(row: Row) -> bytes:
        # Counted from the machine, so that its folder alone as a root is divided alike.
        return hashlib.sha256(row.below.encode()).digest()

    return {row.name for row in sorted(rows, key=position)[:n]} if n else set()
