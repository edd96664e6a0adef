"""The rows of one result file, and everything that is wrong with them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asd.data.names import stem_of

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a submission.

    Attributes:
        file: its name.
        line: counted from 1, or None where it is the file's as a whole.
    """

    file: str
    line: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" if self.line is None else f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True, slots=True)
class Rows:
    """What a result file says.

    Attributes:
        values: by the clip's name without suffix.
        lines: where each of them stands; a clip with a bad value has a line and no value.
    """

    values: Mapping[str, float]
    lines: Mapping[str, int]
    problems: tuple[Problem, ...]


def read_rows(path: Path, *, decisions: bool) -> Rows:
    """Read ``filename,value`` lines without a header; whatever is wrong becomes a problem, with its line.

    Args:
        path: a regular file.
        decisions: values are 0 or 1, else any finite number.
    """
    values: dict[str, float] = {}
    lines: dict[str, int] = {}
    problems: list[Problem] = []

    def wrong(what: str, line: int | None = None) -> None:
        problems.append(Problem(path.name, line, what))

    text = _text(path, problems)
    if text.startswith(BYTE_ORDER_MARK):
        wrong("begins with a byte order mark, which belongs to the first name for whoever reads it", 1)
    table = csv.reader(io.StringIO(text.removeprefix(BYTE_ORDER_MARK)), strict=True)
    try:
        for row in table:
            line = table.line_num
            if len(row) != 2:
                wrong("an empty line" if not row else f"{len(row)} columns, wanted filename,value", line)
                continue
            name, written = row
            value = _number(written)
            if line == 1 and value is None and "." not in name:
                wrong(f"a header ({name},{written}); the challenge's files have none", line)
                continue
            stem = stem_of(name)
            if stem in lines:
                wrong(f"{name} is there twice, first on line {lines[stem]}", line)
                continue
            lines[stem] = line
            if value is None:
                wrong(f"{written!r} is not a number", line)
            elif not math.isfinite(value):
                wrong(f"{written!r} is not finite", line)
            elif decisions and value not in (0, 1):
                wrong(f"decision {written!r} is neither 0 (normal) nor 1 (anomaly)", line)
            else:
                values[stem] = value
    except csv.Error as error:
        wrong(f"not readable as comma-separated values ({error})", table.line_num)
    if not lines and not problems:
        wrong("no row in it")
    return Rows(values, lines, tuple(problems))


def _text(path: Path, problems: list[Problem]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        problems.append(Problem(path.name, None, f"not UTF-8 text ({error.reason} at byte {error.start})"))
    except OSError as error:
        problems.append(Problem(path.name, None, f"cannot be read ({error.strerror or error})"))
    return ""


def _number(text: str) -> float | None:
    """Return a number as other programs write it; Python's underscores are none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
