"""Folders of an evaluator's ground truth: labels and domains of evaluation files, one table a machine and section.

From 2022 on ``ground_truth_data/`` has the labels and ``ground_truth_domain/`` beside it the domains (0 source,
1 target); in 2021 the domain is in the table's name::

    ground_truth_data/ground_truth_fan_section_03_test.csv            section_03_0000.wav,1
    ground_truth_domain/ground_truth_fan_section_03_test.csv          section_03_0000.wav,0
    ground_truth_fan_section_03_source_test.csv                       section_03_source_test_0000.wav,1
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path

from asd.data.names import parse_name, stem_of
from asd.data.tables import Label, LabelList, text_of
from asd.errors import DataError

LABELS, DOMAINS = "ground_truth_data", "ground_truth_domain"

_TABLE = re.compile(r"ground_truth_(.+)_section_([0-9]{2})(?:_(source|target))?_test\.csv")
_SOURCE_TARGET = ("source", "target")
_WANTED = f"Wanted: a folder with {LABELS}/ground_truth_<machine>_section_<NN>_test.csv, as an evaluator has it."


def read_ground_truth(path: Path) -> LabelList:
    """Read the labels of `path`, a folder of tables or the one above.

    Raises:
        DataError: no such tables; a line that is none of them, a file listed twice, or domains of other files. The
            table and the line are named.
    """
    own_name = path.resolve().name
    if own_name == DOMAINS:
        raise DataError(
            f"{path}: these are domains, not labels",
            f"Name the folder above: {shlex.quote(str(path.resolve().parent))}",
        )
    folder = path / LABELS if (path / LABELS).is_dir() else path
    domains = folder.resolve().parent / DOMAINS if LABELS in (own_name, folder.name) else None
    machines: dict[str, dict[str, Label]] = defaultdict(dict)
    for table in sorted(folder.glob("ground_truth_*.csv")):
        match = _TABLE.fullmatch(table.name)
        if match is None:
            raise DataError(f"{table}: not the name of a ground truth", _WANTED)
        machine, section, domain = match.groups()
        values = _values(table, section)
        found = _domains(domains / table.name, section, values) if domains and domains.is_dir() else {}
        for stem, (line, file, label) in values.items():
            machines[machine][stem] = Label(line, file, "", label, domain or found.get(stem), "")
    if not machines:
        raise DataError(f"{path}: no ground truth in it", _WANTED)
    return LabelList(path, dict(machines))


_Values = dict[str, tuple[int, str, int]]


def _values(table: Path, section: str) -> _Values:
    """Return line, file name and 0 or 1, by the file's name without suffix."""
    if not table.is_file():  # a link may lead to a device that never ends
        raise DataError(f"{table}: no file, or a link to none", _WANTED)
    values: _Values = {}
    for line, text in enumerate(text_of(table, _WANTED).splitlines(), 1):
        if not text.strip():
            continue
        file, _, value = (part.strip() for part in text.partition(","))
        fields = parse_name(file)
        if value not in ("0", "1") or fields is None or fields.section != section:
            raise DataError(f"{table}:{line}: {text!r} is no file of section {section} with 0 or 1", _WANTED)
        first = values.setdefault(stem_of(file), (line, file, int(value)))
        if first[0] != line:
            raise DataError(f"{table}:{line}: {file} is listed twice, first on line {first[0]}", _WANTED)
    if not values:
        raise DataError(f"{table}: no labels in it", _WANTED)
    return values


def _domains(table: Path, section: str, labels: _Values) -> dict[str, str]:
    values = _values(table, section)
    if others := sorted(values.keys() ^ labels.keys()):
        raise DataError(f"{table}: domains of other files than the labels: {others[0]}", _WANTED)
    return {stem: _SOURCE_TARGET[value] for stem, (_, _, value) in values.items()}
