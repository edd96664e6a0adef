"""Paths -> rows: which machine, section, split and label the names of a recording and of its folders tell.

See `asd.data.catalog` for the layouts. Folders with a meaning: ``train``, ``test``, ``source_test``, ``target_test``;
``normal``, ``abnormal``, ``anomaly``; ``id_<NN>``; ``supplemental``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from asd.data.names import ANOMALY, NORMAL, Layout, NameFields, Split, parse_name
from asd.data.tree import Folder, Tree

_SPLITS: Mapping[str, Split] = {
    "train": "train",
    "test": "test",
    "source_test": "test",
    "target_test": "test",
}
_LABELS = {
    "normal": NORMAL,
    "normals": NORMAL,
    "abnormal": ANOMALY,
    "anomaly": ANOMALY,
    "anomalies": ANOMALY,
    "anomalous": ANOMALY,
}
_SUPPLEMENTAL = frozenset(("supplemental", "supplement", "supplementary"))
_ID = re.compile(r"id_([0-9]+)")

Kind: TypeAlias = Literal["id", "split", "label", "supplemental"]


@dataclass(frozen=True, slots=True)
class Row:
    """A recording as its path describes it. None is what the path leaves open.

    Attributes:
        name: POSIX path relative to the root.
        machine: the machine's folder.
        below: POSIX path relative to the machine's folder, whatever the root is.
        section: two digits, or as the folder ``id_<NN>`` has them; "00" where there are none.
        named: the name of the file follows a challenge.
        supplemental: it lies in a folder of that name.
        id_folder: the section that a folder ``id_<NN>`` tells.
    """

    name: str
    machine: Path
    below: str
    layout: Layout
    section: str
    split: Split | None
    label: int | None
    domain: str | None
    attributes: str
    named: bool
    supplemental: bool
    id_folder: str | None


@dataclass(frozen=True, slots=True)
class _Marks:
    """What the names of folders tell; the nearest to the file counts."""

    section: str | None = None
    split: Split | None = None
    label: int | None = None
    supplemental: bool = False


def rows_by_machine(tree: Tree) -> list[Row]:
    """Return a row for each recording of a root with any number of machines."""
    rows: list[Row] = []
    unmarked: list[Folder] = []
    for folder in tree.folders:
        fields = {file: parse_name(file) for file in folder.files}
        in_challenge = _challenge_machine(tree.root, folder.parts)
        own = _marked_machine(tree.root, folder.parts)
        rows += _rows(tree.root, folder, {f: n for f, n in fields.items() if n}, *in_challenge)
        others = {file: None for file, found in fields.items() if found is None}
        if others and own is not None:
            rows += _rows(tree.root, folder, others, *own)
        elif others:
            unmarked.append(Folder(folder.parts, tuple(others)))
    machines = {row.machine for row in rows}
    for folder in unmarked:
        machine = _enclosing(tree.root, folder.parts, machines)
        rows += _rows(tree.root, folder, dict.fromkeys(folder.files), machine, _Marks())
    return rows


def rows_of_one(tree: Tree) -> list[Row]:
    """Return a row for each recording of a root that is one machine with the section "00".

    The root's own name tells a label (``pump7/abnormal``), never a split: whoever names a folder means its recordings.
    """
    machine, above = _climb(tree.root, set())
    by_root = _marks(above).label
    rows: list[Row] = []
    for folder in tree.folders:
        marks = replace(_marks(folder.parts), section=None)
        marks = marks if marks.label is not None else replace(marks, label=by_root)
        rows += _rows(tree.root, folder, {file: parse_name(file) for file in folder.files}, machine, marks)
    by_challenge = 2 * sum(row.named for row in rows) >= len(rows)
    return [replace(_as_own(row), named=by_challenge) for row in rows]


def keep_one_naming(rows: Iterable[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Decide for each machine folder whether a challenge named its files.

    Returns:
        The rows that count; the supplemental ones of challenge machines; and those whose names do not follow the
        challenge that named most of the machine's files. In a folder where most files have names of their own, the
        few that look like a challenge's are own recordings too, and keep the label in their name.
    """
    rows = list(rows)
    named = Counter(row.machine for row in rows if row.named)
    others = Counter(row.machine for row in rows if not row.named and not row.supplemental)
    kept: list[Row] = []
    supplemental: list[Row] = []
    left_out: list[Row] = []
    for row in rows:
        if named[row.machine] < max(1, others[row.machine]):
            kept.append(_as_own(row) if row.named else row)
        elif row.supplemental:
            supplemental.append(row)
        elif row.named:
            kept.append(row)
        else:
            left_out.append(row)
    return kept, supplemental, left_out


def _rows(
    root: Path, folder: Folder, fields: Mapping[str, NameFields | None], machine: Path, marks: _Marks
) -> Iterable[Row]:
    above = _prefix(folder.parts)
    below = _prefix(root.joinpath(*folder.parts).relative_to(machine).parts)
    for file, named in fields.items():
        if named is None:
            layout: Layout = "folder" if marks.section is None else "mimii"
            named = NameFields(layout, marks.section or "00", None, None, None, "", "")
        yield Row(
            above + file,
            machine,
            below + file,
            named.layout,
            named.section,
            marks.split or named.split,
            marks.label if named.label is None else named.label,
            named.domain,
            named.attributes,
            named.index != "",
            marks.supplemental,
            marks.section,
        )


def _prefix(parts: Iterable[str]) -> str:
    return "".join(f"{part}/" for part in parts)


def _as_own(row: Row) -> Row:
    layout: Layout = "folder" if row.id_folder is None else "mimii"
    return replace(row, layout=layout, section=row.id_folder or "00", domain=None, attributes="")


def _challenge_machine(root: Path, parts: tuple[str, ...]) -> tuple[Path, _Marks]:
    """Where a challenge's file lies: the machine is the nearest folder without a meaning (``fan/test`` -> ``fan``)."""
    end = len(parts)
    while end and kind_of(parts[end - 1]):
        end -= 1
    if end:
        return root.joinpath(*parts[:end]), _marks(parts)
    machine, above = _climb(root, {kind_of(part) for part in parts})
    return machine, _marks((*above, *parts))


def _marked_machine(root: Path, parts: tuple[str, ...]) -> tuple[Path, _Marks] | None:
    """Where an own recording lies: the machine is the folder above the first one with a meaning; None without one."""
    first = next((i for i, part in enumerate(parts) if kind_of(part)), None)
    if first:
        return root.joinpath(*parts[:first]), _marks(parts)
    if first is None and parts:
        return None
    machine, above = _climb(root, {kind_of(part) for part in parts})
    marks = _marks((*above, *parts))
    return (machine, marks) if marks != _Marks() else None


def _enclosing(root: Path, parts: tuple[str, ...], machines: set[Path]) -> Path:
    """Return the machine around an unmarked folder, else the first folder below the root, else the root."""
    folder = root.joinpath(*parts)
    for candidate in (folder, *folder.parents):
        if candidate in machines:
            return candidate
    return root.joinpath(*parts[:1])


def _climb(root: Path, met: set[Kind | None]) -> tuple[Path, tuple[str, ...]]:
    """Go up from a root such as ``fan/id_00`` or ``pump/normal`` to the machine's folder.

    Args:
        root: where to start.
        met: kinds of folders already met below; a second ``test`` is no test folder but a name.
    """
    above: tuple[str, ...] = ()
    while (kind := kind_of(root.name)) and kind not in met:
        met.add(kind)
        above = (root.name, *above)
        root = root.parent
    return root, above


def kind_of(folder: str) -> Kind | None:
    """Return what the name of a folder means; None for a name that is a machine's, or anyone's."""
    lower = folder.lower()
    if lower in _SPLITS:
        return "split"
    if lower in _LABELS:
        return "label"
    if lower in _SUPPLEMENTAL:
        return "supplemental"
    return "id" if _ID.fullmatch(folder) else None


def _marks(parts: Sequence[str]) -> _Marks:
    marks = _Marks()
    for part in parts:
        match kind_of(part):
            case "split":
                marks = replace(marks, split=_SPLITS[part.lower()])
            case "label":
                marks = replace(marks, label=_LABELS[part.lower()])
            case "supplemental":
                marks = replace(marks, supplemental=True)
            case "id":
                marks = replace(marks, section=part.removeprefix("id_"))
    return marks
