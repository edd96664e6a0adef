"""What every table of labels comes down to."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asd.errors import DataError


@dataclass(frozen=True, slots=True)
class Label:
    """What a table says of one evaluation file.

    Attributes:
        line: of the table, counted from 1.
        file: name of the evaluation file.
        original: name that it had before it was made anonymous; empty where the table does not tell.
        label: 0 normal, 1 anomaly.
        domain: ``"source"``, ``"target"`` or None (2020).
        attributes: as in the original name.
    """

    line: int
    file: str
    original: str
    label: int
    domain: str | None
    attributes: str


@dataclass(frozen=True, slots=True)
class LabelList:
    """The labels of `path`: for each machine, by the file's name without suffix."""

    path: Path
    machines: Mapping[str, Mapping[str, Label]]


def text_of(path: Path, wanted: str) -> str:
    """Return the text of a table.

    Raises:
        DataError: no text, or not readable; `wanted` is the way out of the first.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file", wanted) from error
    except OSError as error:
        folder = shlex.quote(str(path.parent))
        raise DataError(f"{path}: {error.strerror or error}", f"See what is there: ls {folder}") from error
