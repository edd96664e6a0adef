"""Which recordings were scored: of which challenge, which of its sets, or none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from asd.evaluate.published import MACHINES_2020, MACHINES_2022, Split, split_2020
from asd.report.machine import Machine

_NAME_2020 = re.compile(r"(?:.*/)?test/(?:(?:normal|anomaly)_)?id_\d\d_\d{8}\.\w+")
_NAME_2022 = re.compile(r"(?:.*/)?test/section_\d\d_.*\.\w+")

WHOLE_2022 = 100, 100
"""Normals and anomalies of each section of both sets of 2022, both domains together."""


@dataclass(frozen=True, slots=True)
class Test:
    """What was scored.

    Attributes:
        challenge: year of the DCASE challenge whose machines and names the recordings bear; None: of none.
        split: which of its sets it is, whole; None where it is a part of one, or cannot be told.
        synthetic: made by `asd data synth`; then it is of no challenge.
    """

    challenge: int | None
    split: Split | None
    synthetic: bool

    def words(self) -> str:
        """Return what the recordings are."""
        if self.synthetic:
            return "Synthetic machines, made by asd data synth: of no challenge."
        if self.challenge is None:
            return "Own recordings: of no challenge's test set."
        task = f"DCASE {self.challenge} Task 2"
        if self.split:
            return f"The {self.split} set of {task}."
        return f"Named as in {task}, but none of its test sets, or only a part of one."


def test_of(machines: Sequence[Machine]) -> Test:
    """Tell by names, machines and counts what was scored; only labelled recordings can be a challenge's."""
    if any(is_synthetic(m) for m in machines):
        return Test(None, None, True)
    if _like(machines, _NAME_2020, MACHINES_2020):
        splits = {split_2020(m.machine, _counts(m)) for m in machines}
        return Test(2020, splits.pop() if len(splits) == 1 else None, False)
    # From 2023 on there is only section 00, so another section must be there.
    sections = {s.name for m in machines for s in m.sections}
    if _like(machines, _NAME_2022, MACHINES_2022) and sections != {"00"}:
        whole = all(count == WHOLE_2022 for m in machines for count in _counts(m).values())
        parts: set[Split] = {"evaluation" if section >= "03" else "development" for section in sections}
        return Test(2022, parts.pop() if whole and len(parts) == 1 else None, False)
    return Test(None, None, False)


def is_synthetic(machine: Machine) -> bool:
    """Say whether the machine was made by `asd data synth`."""
    return bool(machine.detector.get("synthetic"))


def _like(machines: Sequence[Machine], name: re.Pattern[str], known: tuple[str, ...]) -> bool:
    """Say whether all recordings bear a challenge's names and its machines', and some their labels."""
    labelled = any(s.labelled for m in machines for s in m.sections)
    return labelled and all(m.machine in known and all(name.fullmatch(c.name) for c in m.clips) for m in machines)


def _counts(machine: Machine) -> dict[str, tuple[int, int]]:
    counts = {}
    for s in machine.sections:
        labels = [c.label for c in s.clips]
        counts[s.name] = labels.count(0), labels.count(1)
    return counts
