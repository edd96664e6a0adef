"""What long work tells whoever runs it. `data`, `train` and `detect` yield events and print nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units of `stage` ("reading", "fitting", ...) are behind us.

    Attributes:
        unit: bytes are shown as sizes, with their rate.
    """

    stage: str
    done: int
    total: int
    unit: Literal["", "bytes"] = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A fact the user should know; nothing is wrong."""

    message: str


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that makes the result weaker than it looks."""

    message: str


Event: TypeAlias = Progress | Note | Caution
