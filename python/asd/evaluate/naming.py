"""Names of the challenges' result files, which tell what is in them and the year's naming.

- 2020: ``anomaly_score_<machine>_id_<NN>.csv``
- 2021: ``anomaly_score_<machine>_section_<NN>_<source|target>_test.csv``, and ``decision_result_…``
- 2022 on: ``anomaly_score_<machine>_section_<NN>_test.csv``, and ``decision_result_…``. The baselines of 2023 on write
  ``anomaly_score_DCASE2023T2<machine>_section_<NN>_test_seed<…>_Eval.csv``, which their evaluators take as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from asd.data.names import parse_name

Naming: TypeAlias = Literal[2020, 2021, 2022]
"""The year that a naming began with."""

Kind: TypeAlias = Literal["anomaly_score", "decision_result"]
SCORES: Kind = "anomaly_score"
DECISIONS: Kind = "decision_result"

_NAME = re.compile(
    r"(anomaly_score|decision_result)_(?:(?P<year>DCASE20[0-9]{2}T2))?(?P<machine>.+?)"
    r"(?:_id_(?P<id>[0-9]{2})|_section_(?P<section>[0-9]{2})(?:_(?P<domain>source|target))?_test(?:_seed.*_Eval)?)\.csv"
)


@dataclass(frozen=True, slots=True, order=True)
class ResultFile:
    """What one result file is about.

    Attributes:
        domain: ``"source"`` or ``"target"`` in 2021, else an empty string.
    """

    machine: str
    section: str
    domain: str
    kind: Kind
    naming: Naming

    @property
    def name(self) -> str:
        """The file's name as the challenge wants it."""
        if self.naming == 2020:
            return f"{self.kind}_{self.machine}_id_{self.section}.csv"
        domain = f"_{self.domain}" if self.domain else ""
        return f"{self.kind}_{self.machine}_section_{self.section}{domain}_test.csv"

    @property
    def decisions(self) -> ResultFile:
        """The file of the decisions on the same clips."""
        return replace(self, kind=DECISIONS)


def parse_result_name(name: str) -> ResultFile | None:
    """Return what a result file is about, or None for another name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    kind = SCORES if name.startswith(SCORES) else DECISIONS
    if match["id"]:
        return ResultFile(match["machine"], match["id"], "", kind, 2020) if kind == SCORES else None
    naming: Naming = 2021 if match["domain"] else 2022
    return ResultFile(match["machine"], match["section"], match["domain"] or "", kind, naming)


def result_file(machine: str, file: str) -> ResultFile | None:
    """Return the file that the score of an evaluation file belongs in, told by the file's name, or None.

    Files of 2021 name their domain and no label; those of later years name neither.
    """
    fields = parse_name(file)
    if fields is None:
        return None
    if fields.layout == "dcase2020":
        return ResultFile(machine, fields.section, "", SCORES, 2020)
    if fields.label is None and fields.domain:
        return ResultFile(machine, fields.section, fields.domain, SCORES, 2021)
    return ResultFile(machine, fields.section, "", SCORES, 2022)


def naming_of(year: int) -> Naming:
    """Return the naming that a year uses."""
    return 2020 if year == 2020 else 2021 if year == 2021 else 2022
