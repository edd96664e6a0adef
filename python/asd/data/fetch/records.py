"""Which records of Zenodo hold a challenge's data, and what a record's listing says of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, Field, ValidationError

from asd.data.fetch.archive import why_unsafe
from asd.errors import DataError

Part: TypeAlias = Literal["development", "additional", "evaluation", "labels"]
PARTS: tuple[Part, ...] = get_args(Part)

_DATA = PARTS[:3]
RECORDS: Mapping[str, Mapping[Part, int]] = {
    "dcase2020": dict(zip(PARTS, (3678171, 3727685, 3841772, 3951620), strict=True)),
    "dcase2021": dict(zip(_DATA, (4562016, 4660992, 4884786), strict=True)),
    "dcase2022": dict(zip(_DATA, (6355122, 6462969, 6586456), strict=True)),
    "dcase2023": dict(zip(_DATA, (7882613, 7830345, 7860847), strict=True)),
    "dcase2024": dict(zip(_DATA, (10902294, 11259435, 11363076), strict=True)),
    "dcase2025": dict(zip(_DATA, (15097779, 15392814, 15519362), strict=True)),
    "dcase2026": dict(zip(_DATA, (19336329, 20151556, 20437238), strict=True)),
}
"""The record of each part of each challenge: development set, additional training set, evaluation set, its labels."""

_NO_MACHINE = frozenset(("dev", "eval", "data", "train", "test"))
_REVISION = re.compile(r"r([0-9]+)")


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of a record.

    Attributes:
        key: its name.
        size: bytes.
        checksum: algorithm and hexadecimal digest, such as ``md5:1eb9…``.
    """

    part: Part
    record: int
    key: str
    size: int
    checksum: str

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"record {self.record}: {self.key}"

    @property
    def page(self) -> str:
        """Where a browser finds it."""
        return f"https://zenodo.org/records/{self.record}"

    @property
    def is_archive(self) -> bool:
        """Whether it is extracted."""
        return self.key.lower().endswith(".zip")

    @property
    def machine(self) -> str | None:
        """The machine type in an archive's name (``eval_data_train_fan.zip``, ``dev_ToyCar_r2.zip``), or None."""
        if not self.is_archive:
            return None
        return "_".join(w for w in self._words if w not in _NO_MACHINE and not _REVISION.fullmatch(w)) or None

    @property
    def revision(self) -> int:
        """The number after the last ``_r`` of an archive's name, else 1."""
        numbers = [int(found[1]) for word in self._words if (found := _REVISION.fullmatch(word))]
        return numbers[-1] if numbers else 1

    @property
    def _words(self) -> list[str]:
        return self.key[: self.key.rfind(".")].split("_")


class _File(BaseModel):
    key: str
    size: Annotated[int, Field(ge=0)]
    checksum: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]


class _Metadata(BaseModel):
    access_right: str = "open"


class _Record(BaseModel):
    files: list[_File] = []
    metadata: _Metadata = _Metadata()


def read_listing(content: bytes, part: Part, record: int) -> list[Remote]:
    """Return the files of a record, of several revisions of an archive only the last.

    Args:
        content: what ``/api/records/<id>`` answers, JSON.

    Raises:
        DataError: not such an answer; no files, or none that may be had; a name that is no plain file name.
    """
    page = f"https://zenodo.org/records/{record}"
    try:
        listing = _Record.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "answer"
        raise DataError(f"record {record}: not a listing of files ({place}: {first['msg']})", f"See {page}") from None
    if not listing.files:
        access = listing.metadata.access_right
        why = "" if access == "open" else f" (access: {access})"
        raise DataError(f"record {record} ({part}): shows no files{why}", f"See {page}; other parts: --part")
    files = [Remote(part, record, f.key, f.size, f.checksum) for f in listing.files]
    for file in files:
        if why := why_unsafe(file.key):
            raise DataError(f"record {record}: file name {file.key!r}: {why}", f"See {page}")
    if len({file.key.casefold() for file in files}) < len(files):
        raise DataError(f"record {record}: two files of one name", f"See {page}")
    return _last_revisions(files)


def _last_revisions(files: Iterable[Remote]) -> list[Remote]:
    """Drop ``dev_ToyCar.zip`` where there is ``dev_ToyCar_r2.zip``: the same recordings, mended."""
    last: dict[tuple[str, ...], Remote] = {}
    for file in sorted(files, key=lambda f: f.revision):
        words = (w for w in file._words if not _REVISION.fullmatch(w))
        last[(".zip", *words) if file.is_archive else (file.key,)] = file
    return sorted(last.values(), key=lambda f: f.key)
