"""A submission to a challenge, anyone's, joined with its labels: read whole, and all that is wrong said at once.

Rows and labels are joined by the names of clips, whatever their order and suffix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asd.data.names import parse_name
from asd.data.tables import Label, LabelList
from asd.errors import DataError, UsageError, nearest
from asd.evaluate.naming import DECISIONS, SCORES, Kind, Naming, ResultFile, naming_of, parse_result_name, result_file
from asd.evaluate.rows import Problem, Rows, read_rows
from asd.evaluate.scored import Scored
from asd.words import count

Labels = Mapping[str, Label]
"""Of the clips of one file, by the clip's name without suffix."""


class MalformedError(DataError):
    """A submission that cannot be scored.

    Args:
        folder: the submission.
        problems: all that is wrong, by file and line.
    """

    def __init__(self, folder: Path, problems: Sequence[Problem]) -> None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        wanted = "Wanted: filename,value, no header, a row a clip; scores finite, decisions 0 or 1."
        super().__init__(f"{folder}: {count(len(problems), 'problem')}{lines}", wanted)
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Submission:
    """Scores and decisions with their labels.

    Attributes:
        year: whose rules apply. 2022 and later years share names and rules; other sections than 00 are those of 2022.
        groups: a section each, in the order of machine and section; in 2020 machines in the order of the labels.
        passed_over: tables in the folder that are no result files.
    """

    year: int
    groups: tuple[Scored, ...]
    passed_over: tuple[str, ...]


def read_submission(
    folder: Path, labels: LabelList | None = None, *, year: int | None = None, scores_only: bool = False
) -> Submission:
    """Read the result files of a folder and join them with their labels.

    Args:
        folder: the submission.
        labels: of all clips that must be there. None: of a development set, whose names tell them; what is missing
            from it cannot be told then.
        year: whose files they are, where the names leave it open.
        scores_only: do without the ``decision_result`` files.

    Raises:
        MalformedError: files or rows are missing, there twice, not expected or not readable; lists all of it.
        UsageError: result files of several years, or of another than `year`.
        DataError: no folder, no result file in it, or labels of one kind only.
    """
    names = _names(folder)
    files = {name: parse_result_name(name) for name in names if name.lower().startswith((SCORES, DECISIONS))}
    others = tuple(name for name in names if name not in files and name.lower().endswith(".csv"))
    labelled = _labelled(labels)
    if not any(name.lower().startswith(SCORES) for name in files):
        raise DataError(f"{folder}: no scores in it", "Wanted: anomaly_score_<machine>_section_<NN>_test.csv, ...")
    naming = _one_naming(labelled or [file for file in files.values() if file], year)
    kinds: tuple[Kind, ...] = (SCORES,) if scores_only or naming == 2020 else (SCORES, DECISIONS)
    problems: list[Problem] = []
    tables = _read(folder, files, naming, kinds, problems)
    wanted = labelled or _labels_in_names(tables)
    unread = [*others, *(name for name, file in files.items() if file is None)]
    for file, clips in wanted.items():
        for kind in kinds:
            _compare(replace(file, kind=kind), tables, clips, unread, problems)
    for file in tables.keys() - {replace(file, kind=kind) for file in wanted for kind in kinds}:
        problems.append(Problem(file.name, None, "not expected: no labels, or no scores, of these clips"))
    if problems:
        raise MalformedError(folder, sorted(problems, key=lambda p: (p.file, p.line or 0)))
    groups = tuple(_groups(labels.path if labels else folder, wanted, tables))
    return Submission(year or _year(naming, groups), groups, others)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}", "Name the folder of a submission.") from error


def _labelled(labels: LabelList | None) -> dict[ResultFile, Labels]:
    """Return the labels of each file that must be there.

    Raises:
        DataError: a clip has no name of a challenge.
    """
    found: dict[ResultFile, dict[str, Label]] = defaultdict(dict)
    for machine, clips in labels.machines.items() if labels else ():
        for stem, label in clips.items():
            file = result_file(machine, label.file)
            if file is None:
                raise DataError(f"{labels.path if labels else ''}:{label.line}: {label.file} is no name of a challenge")
            found[file][stem] = label
    return dict(found)


def _one_naming(files: Iterable[ResultFile], year: int | None) -> Naming:
    """Return which year's names apply: that of the labels, else of the files, else of `year`."""
    found = sorted({file.naming for file in files})
    asked = None if year is None else naming_of(year)
    if len(found) > 1 and asked is None:
        raise UsageError(f"files named as in {' and '.join(map(str, found))}", "Say which year with --year.")
    if asked is not None and found and asked not in found:
        raise UsageError(f"--year {year}: the files are named as in {found[0]}", f"Leave it out, or: --year {found[0]}")
    return asked or (found[0] if found else 2022)


def _read(
    folder: Path,
    files: Mapping[str, ResultFile | None],
    naming: Naming,
    kinds: Sequence[Kind],
    problems: list[Problem],
) -> dict[ResultFile, Rows]:
    """Read the files that have a right name, are there once and can be read."""
    tables: dict[ResultFile, Rows] = {}
    named: dict[ResultFile, str] = {}
    for name, file in files.items():
        if file is None or file.naming != naming:
            known = f"as in {naming}" if file else f"such as {_example(naming)}"
            problems.append(Problem(name, None, f"a wrong name; wanted one {known}"))
        elif file.kind not in kinds:
            continue
        elif not (folder / name).is_file():
            problems.append(Problem(name, None, "no file, or a link to none"))
        elif file in named:
            problems.append(Problem(name, None, f"the same machine and section as {named[file]}"))
        else:
            named[file] = name
            tables[file] = read_rows(folder / name, decisions=file.kind == DECISIONS)
            problems += tables[file].problems
    return tables


def _example(naming: Naming) -> str:
    return ResultFile("fan", "03", "source" if naming == 2021 else "", SCORES, naming).name


def _labels_in_names(tables: Mapping[ResultFile, Rows]) -> dict[ResultFile, Labels]:
    """Return the labels that the names of a development set's clips tell.

    Raises:
        DataError: one tells none.
    """
    found: dict[ResultFile, dict[str, Label]] = defaultdict(dict)
    for file, rows in sorted(tables.items()):
        for stem, line in rows.lines.items() if file.kind == SCORES else ():
            fields = parse_name(stem)
            if fields is None or fields.label is None:
                raise DataError(
                    f"{file.name}:{line}: the name {stem} does not tell normal or anomaly",
                    "Name the challenge's label list, or its ground-truth folder, with --labels.",
                )
            found[file][stem] = Label(line, stem, stem, fields.label, fields.domain, fields.attributes)
    return dict(found)


def _compare(
    file: ResultFile, tables: Mapping[ResultFile, Rows], clips: Labels, unread: Sequence[str], problems: list[Problem]
) -> None:
    """Add what a file lacks of its clips, and what it has beyond them."""
    if file not in tables:
        if not any(p.file == file.name for p in problems):
            problems.append(Problem(file.name, None, f"missing.{nearest(file.name, unread)}"))
        return
    rows = tables[file]
    extra = [
        Problem(file.name, line, f"{s} is no clip of this file") for s, line in rows.lines.items() if s not in clips
    ]
    problems += extra
    if rows.lines:
        problems += [Problem(file.name, None, f"no row for {clips[s].file}") for s in clips if s not in rows.lines]


def _groups(path: Path, wanted: Mapping[ResultFile, Labels], tables: Mapping[ResultFile, Rows]) -> Iterable[Scored]:
    """Join the clips of each section, in the order of their names."""
    sections: dict[tuple[str, str], list[tuple[ResultFile, str]]] = defaultdict(list)
    for file, clips in wanted.items():
        sections[file.machine, file.section] += [(file, stem) for stem in clips]
    keys = sorted(sections)
    if next(iter(wanted)).naming == 2020:  # machines in the order of the list, as the evaluator of that year has them
        keys.sort(key=lambda key: list(dict.fromkeys(machine for machine, _ in sections)).index(key[0]))
    for machine, section in keys:
        own = sections[machine, section]
        own.sort(key=lambda pair: pair[1])
        domains = [wanted[file][stem].domain or file.domain for file, stem in own]
        decided = all(file.decisions in tables for file, _ in own)
        try:
            yield Scored(
                machine,
                section,
                np.array([tables[file].values[stem] for file, stem in own], dtype=np.float64),
                np.array([wanted[file][stem].label for file, stem in own], dtype=np.int64),
                np.array(domains) if all(domains) else None,
                np.array([tables[file.decisions].values[s] for file, s in own], dtype=np.int64) if decided else None,
            )
        except ValueError as error:
            raise DataError(f"{path}: {error}", "Figures need normals and anomalies of every section.") from error


def _year(naming: Naming, groups: Sequence[Scored]) -> int:
    if naming != 2022:
        return naming
    return 2022 if any(group.section != "00" for group in groups) else 2023
