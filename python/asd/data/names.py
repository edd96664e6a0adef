"""What the name of a recording says: the naming of the DCASE challenges, and when it was recorded.

- 2020: ``normal_id_<NN>_<8 digits>``, ``anomaly_id_…``; evaluation files ``id_<NN>_<8 digits>``.
- 2021 on: ``section_<NN>_<source|target>_<train|test>_<normal|anomaly>_<4 digits>_<attributes>``; evaluation files
  ``section_<NN>_<4 digits>``, in 2021 ``section_<NN>_<source|target>_test_<4 digits>``. One machine of 2024 leaves
  the train or test out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

Split: TypeAlias = Literal["train", "test"]
Layout: TypeAlias = Literal["dcase2020", "dcase2021", "mimii", "folder"]

NORMAL, ANOMALY = 0, 1

AUDIO_SUFFIXES = (".wav", ".flac", ".npy")
"""What is read as a recording, in any case: audio, and ready log-mels."""

_DCASE2020 = re.compile(r"(?:(normal|anomaly)_)?id_([0-9]{2})_([0-9]{8})")
_DCASE2021 = re.compile(
    r"section_([0-9]{2})(?:_(source|target))?(?:_(train|test))?(?:_(normal|anomaly))?_([0-9]{4,})(?:_(.*))?",
    re.DOTALL,
)
_LABELS = {"normal": NORMAL, "anomaly": ANOMALY, None: None}
_SPLITS: dict[str | None, Split] = {"train": "train", "test": "test"}
_NO_ATTRIBUTE = "noAttribute"

_WHEN = re.compile(
    r"(?<![0-9])([0-9]{4})"
    r"(?:([0-9]{2})([0-9]{2})[-_T ]?([0-9]{2})([0-9]{2})([0-9]{2})"  # 20240131_120000
    r"|-([0-9]{2})-([0-9]{2})[-_T ]([0-9]{2})[-:.]([0-9]{2})[-:.]([0-9]{2}))"  # 2024-01-31T12:00:00
    r"(?![0-9])"
)
_YEARS = range(1980, 2100)


@dataclass(frozen=True, slots=True)
class NameFields:
    """The fields of a challenge file's name.

    Attributes:
        layout: whose naming it is.
        section: machine ID (2020) or section (2021 on), two digits.
        split: None where the name does not tell.
        label: 0 normal, 1 anomaly, None for an evaluation file.
        domain: ``"source"``, ``"target"`` or None.
        index: the running number, as written.
        attributes: as written, such as ``"vel_21"``; empty for none.
    """

    layout: Layout
    section: str
    split: Split | None
    label: int | None
    domain: str | None
    index: str
    attributes: str


def parse_name(name: str) -> NameFields | None:
    """Return the fields of a file name (its suffix does not matter), or None for any other name."""
    stem = stem_of(name)
    if match := _DCASE2020.fullmatch(stem):
        label, section, index = match.groups()
        return NameFields("dcase2020", section, None, _LABELS[label], None, index, "")
    if match := _DCASE2021.fullmatch(stem):
        section, domain, split, label, index, attributes = match.groups()
        attributes = "" if attributes in (None, _NO_ATTRIBUTE) else attributes
        return NameFields("dcase2021", section, _SPLITS.get(split), _LABELS[label], domain, index, attributes)
    return None


def recorded_at(path: Path) -> tuple[datetime | None, Literal["name", "file"] | None]:
    """Return when a recording was made, in local time without a zone, and where that is known from.

    A time stamp in the file's name (``20240131_120000``, ``2024-01-31T12-00-00``, with ``-_T``, a blank or nothing
    between date and time) counts before the file's modification time, which copying may have changed. Seconds since
    1970 are not taken for a time stamp: any serial number could be meant.

    Args:
        path: the recording. It need not exist when its name holds the time.

    Returns:
        The time and ``"name"`` or ``"file"``; ``(None, None)`` for a file that is not there.
    """
    for match in _WHEN.finditer(path.name):
        year, month, day, hour, minute, second = (int(part) for part in match.groups() if part is not None)
        if year not in _YEARS:
            continue
        try:
            return datetime(year, month, day, hour, minute, second), "name"
        except ValueError:
            continue
    try:
        return datetime.fromtimestamp(path.stat().st_mtime), "file"
    except (OSError, ValueError, OverflowError):
        return None, None


def stem_of(name: str) -> str:
    """Return a file name without its audio suffix. Other dots stay: ``…_volt_5.5.wav`` ends in .wav only."""
    dot = name.rfind(".")
    return name[:dot] if dot > 0 and name[dot:].lower() in AUDIO_SUFFIXES else name
