"""Tables that come with the challenges: labels of the evaluation files, and attributes of the recordings.

A label list covers all machines of a year: a line with a machine's name, then a line a file. Each names the evaluation
file and its original name, which tells the label, the domain and the attributes; that of 2020 adds the label::

    fan
    id_01_00000000.wav,normal_id_01_00000098.wav,0             2020
    section_03_0000.wav,section_03_source_test_normal_0000_vel_21.wav      2021 on

A folder of an evaluator's ground truth does as well (`asd.data.ground_truth`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asd.data.ground_truth import read_ground_truth
from asd.data.names import parse_name, stem_of
from asd.data.tables import Label, LabelList, text_of
from asd.errors import DataError
from asd.events import Caution

if TYPE_CHECKING:
    from asd.data.catalog import Clip
    from asd.data.layouts import Row


def read_labels(path: Path) -> LabelList:
    """Read the label list of a challenge, or the folder of an evaluator's ground truth.

    Raises:
        DataError: no readable list; a line that is none of a list, or a file listed twice. The line is named.
    """
    if path.is_dir():
        return read_ground_truth(path)
    machines: dict[str, dict[str, Label]] = {}
    machine: str | None = None
    for line, text in enumerate(text_of(path, _WHAT_A_LIST_IS).splitlines(), 1):
        columns = [column.strip() for column in text.split(",")]
        if columns == [""]:
            continue
        if len(columns) == 1:
            machine = columns[0]
            machines.setdefault(machine, {})
            continue
        label = _label(path, line, columns)
        if machine is None:
            raise _bad_line(path, line, "a file before the first machine's name")
        other = machines[machine].setdefault(stem_of(label.file), label)
        if other is not label:
            raise _bad_line(path, line, f"{machine} {label.file} is listed twice, first on line {other.line}")
    if not any(machines.values()):
        raise DataError(f"{path}: no labels in it", _WHAT_A_LIST_IS)
    return LabelList(path, machines)


def doubts(labels: LabelList, machines: Iterable[str]) -> list[Caution]:
    """Say where a published list is known to contradict the evaluator of its challenge.

    The list of 2022 gives ToyCar and ToyTrain other labels than that year's ground truth, as often as chance would:
    296 and 312 of 600. A submission to the challenge has a mean AUC of 0.94 on ToyCar by the ground truth, and 0.52 by
    the list.
    """
    clip, original = _TOYS_OF_2022
    listed = labels.machines.get("ToyCar", {}).get(clip)
    toys = sorted({"ToyCar", "ToyTrain"} & set(machines) & labels.machines.keys())
    if not toys or listed is None or listed.original != original:
        return []
    return [
        Caution(
            f"{labels.path}: half of its labels of {' and '.join(toys)} are not those of the challenge's evaluator; a "
            "submission to the challenge fits the evaluator's, so take its ground truth instead"
        )
    ]


_TOYS_OF_2022 = ("section_03_0004", "section_03_target_test_anomaly_0000_car_G1_spd_31V_mic_1_noise_6.wav")
"""A clip that is normal by the ground truth, and its line in the list."""


def add_labels(clips: Sequence[Clip], labels: LabelList) -> tuple[Clip, ...]:
    """Return the clips with the labels, domains and attributes of the list.

    Only evaluation clips take part: a challenge named them, and they have no label. Machines of the list that have
    none are passed over. Joined on the machine and the file's name, whatever its suffix.

    Raises:
        DataError: an evaluation clip that is not listed, or a listed file of a machine with evaluation clips that is
            not there; the message names the first.
    """
    unlabelled = {(clip.machine, stem_of(clip.path.name)) for clip in clips if _is_evaluation(clip)}
    machines = {machine for machine, _ in unlabelled}
    listed = {(m, stem): label for m in machines for stem, label in labels.machines.get(m, {}).items()}
    if missing := sorted(unlabelled - listed.keys()):
        raise DataError(
            f"{labels.path}: no label for {_first(missing)}",
            f"Is it the list of this data's year? It has {', '.join(labels.machines)}.",
        )
    if extra := sorted(listed.keys() - unlabelled):
        raise DataError(
            f"{labels.path}: labels for files that are not there: {_first(extra)}",
            "Get the whole evaluation set, or take the other lines out of the list.",
        )
    if not unlabelled:
        raise DataError(f"{labels.path}: no recording is without a label", "Leave the list out.")
    return tuple(
        _with_label(clip, listed[clip.machine, stem_of(clip.path.name)]) if _is_evaluation(clip) else clip
        for clip in clips
    )


def add_attributes(rows: Sequence[Row]) -> tuple[list[Row], list[Caution]]:
    """Fill in, from ``attributes_<NN>.csv`` in the machine's folder, the attributes that a name does not tell."""
    tables: dict[Path, dict[str, str]] = {}
    cautions: list[Caution] = []
    for machine in {row.machine for row in rows if row.layout == "dcase2021" and not row.attributes}:
        tables[machine] = {}
        for path in sorted(machine.glob("attributes_[0-9]*.csv")):
            try:
                tables[machine] |= _attributes(path)
            except (OSError, ValueError, csv.Error) as error:
                cautions.append(Caution(f"{path}: not read as a table of attributes ({error})"))
    if not any(tables.values()):
        return list(rows), cautions
    return [
        row if row.attributes else replace(row, attributes=tables.get(row.machine, {}).get(_key(row.name), ""))
        for row in rows
    ], cautions


_WHAT_A_LIST_IS = "Wanted: a challenge's list, such as eval_data_list_2020.csv: a machine's name, then `file,original`."


def _label(path: Path, line: int, columns: list[str]) -> Label:
    file, original, *more = columns
    fields = parse_name(original)
    if fields is None or fields.label is None or len(more) > 1:
        raise _bad_line(path, line, f"{original!r} is no original name, which would tell normal or anomaly")
    if more and more[0] != str(fields.label):
        raise _bad_line(path, line, f"label {more[0]} contradicts the original name {original}")
    return Label(line, file, original, fields.label, fields.domain, fields.attributes)


def _is_evaluation(clip: Clip) -> bool:
    return clip.label is None and parse_name(clip.path.name) is not None


def _with_label(clip: Clip, label: Label) -> Clip:
    return replace(
        clip,
        label=label.label,
        domain=label.domain or clip.domain,
        attributes=label.attributes or clip.attributes,
    )


def _attributes(path: Path) -> dict[str, str]:
    """Read a table with the columns file_name, d1p, d1v, d2p, d2v, ...: parameter and value, as names join them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.reader(file, strict=True)
        header = next(table, [])
        if header[:1] != ["file_name"]:
            raise ValueError("its first column is not file_name")
        return {
            _key(row[0]): "_".join(value for value in row[1:] if value and value != "noAttribute")
            for row in table
            if row
        }


def _key(name: str) -> str:
    return stem_of(name.rsplit("/", 1)[-1])


def _bad_line(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path}:{line}: {what}", _WHAT_A_LIST_IS)


def _first(keys: Sequence[tuple[str, str]]) -> str:
    machine, stem = keys[0]
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{machine} {stem}{more}"
