"""The challenges' result files of a run: scores and decisions as the year wants them handed in."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from asd.errors import DataError, UsageError
from asd.evaluate.naming import Naming, ResultFile, naming_of, result_file
from asd.runs import ScoreRow, write_text

_HINT = "Challenge files are of recordings that a challenge named, such as section_00_0001.wav."


def write_submission(rows: Iterable[ScoreRow], folder: Path, year: int) -> list[Path]:
    """Write scores and, from 2021 on, decisions (``anomalous``) as the challenge of `year` wants them.

    Files of other machines stay as they are.

    Returns:
        The files: one or two for each machine and section (2021: and domain).

    Raises:
        UsageError: a recording has no name of that challenge, or two have the same.
        DataError: `folder` cannot be written.
    """
    tables: dict[ResultFile, dict[str, ScoreRow]] = defaultdict(dict)
    for row in rows:
        table, name = tables[_file_of(row, naming_of(year))], PurePosixPath(row.path).name
        if table.setdefault(name, row) is not row:
            raise UsageError(f"{row.path} and {table[name].path}: one name in one file", "Score one of them.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})", "Choose another folder.") from error
    written = []
    for file, table in sorted(tables.items()):
        named = sorted(table.items())
        written.append(_write(folder / file.name, [(name, repr(float(row.score))) for name, row in named]))
        if file.naming != 2020:
            decided = [(name, str(int(row.anomalous))) for name, row in named]
            written.append(_write(folder / file.decisions.name, decided))
    return written


def year_of(paths: Iterable[str]) -> int:
    """Return the year of the recordings' names: 2020, 2021, or 2022, whose files all later years want.

    Args:
        paths: below the data root; the folders ``source_test`` and ``target_test`` are those of 2021.

    Raises:
        UsageError: there is none, one has no name of a challenge, or two are of different years.
    """
    found = {_naming(PurePosixPath(path)): path for path in paths}
    if len(found) == 1:
        return found.popitem()[0]
    raise UsageError(f"recordings of one challenge wanted, got {' and '.join(found.values()) or 'none'}", _HINT)


def _naming(path: PurePosixPath) -> Naming:
    naming = _result_file("", path).naming
    return 2021 if path.parent.name in ("source_test", "target_test") else naming


def _file_of(row: ScoreRow, naming: Naming) -> ResultFile:
    """Return the file that a row belongs in; the section is that of its name."""
    file = _result_file(row.machine, PurePosixPath(row.path))
    if naming != 2021:
        file = replace(file, domain="", naming=2022 if file.naming == 2021 else file.naming)
    elif file.naming == 2022:
        file = replace(file, domain=row.domain or "", naming=2021)
    if file.naming != naming or (naming == 2021 and not file.domain):
        raise UsageError(f"{row.path}: no name of the challenge of {naming}", _HINT)
    return file


def _result_file(machine: str, path: PurePosixPath) -> ResultFile:
    file = result_file(machine, path.name)
    if file is None:
        raise UsageError(f"{path}: no name of a challenge", _HINT)
    return file


def _write(path: Path, lines: Sequence[tuple[str, str]]) -> Path:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    write_text(path, stream.getvalue())
    return path
