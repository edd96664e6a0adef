"""Figures of a run in the shape of the DCASE tables: a section, a machine, the mean over machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from asd.evaluate.metrics import auc, pauc
from asd.runs import ScoreRow

Summary = dict[str, Any]


def summarise(rows: Iterable[ScoreRow], beside: Mapping[str, Iterable[ScoreRow]] | None = None) -> Summary:
    """Return AUC and pAUC (fractions) for each machine and section, and their mean.

    The mean is arithmetic, over machines of means over sections (DCASE 2020). Without both normals and anomalies
    among the labelled recordings a figure is None.

    Args:
        rows: scored recordings; those without a label do not count.
        beside: the same recordings by other scorers.

    Returns:
        ``{"machines": {m: {section: {"auc", "pauc", "auc_source", "auc_target", "n_normal", "n_anomaly"}}},
        "mean": {"auc", "pauc"}, "beside": {scorer: {"machines", "mean"}}}``
    """
    summary = _tables(rows)
    summary["beside"] = {name: _tables(others) for name, others in (beside or {}).items()}
    return summary


def _tables(rows: Iterable[ScoreRow]) -> Summary:
    groups: dict[str, dict[str, list[ScoreRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.machine][row.section].append(row)
    machines = {m: {s: section_figures(r) for s, r in sorted(sections.items())} for m, sections in groups.items()}
    return {"machines": machines, "mean": {key: mean_over_machines(machines, key) for key in ("auc", "pauc")}}


def section_figures(rows: Sequence[ScoreRow]) -> dict[str, float | int | None]:
    """Return the figures of one section.

    The AUC of a domain takes its normals against the anomalies of both domains, as the challenge does from 2022 on.
    """
    known = [r for r in rows if r.label is not None]
    anomalies = [r for r in known if r.label == 1]
    figures: dict[str, float | int | None] = {
        "auc": _auc_or_none(known),
        "pauc": _auc_or_none(known, partial=True),
    }
    for domain in ("source", "target"):
        normals = [r for r in known if r.label == 0 and r.domain == domain]
        figures[f"auc_{domain}"] = _auc_or_none(normals + anomalies) if normals else None
    figures["n_normal"] = len(known) - len(anomalies)
    figures["n_anomaly"] = len(anomalies)
    return figures


def _auc_or_none(rows: Sequence[ScoreRow], partial: bool = False) -> float | None:
    labels_B = [r.label for r in rows if r.label is not None]
    if 0 not in labels_B or 1 not in labels_B:
        return None
    return (pauc if partial else auc)(labels_B, [r.score for r in rows])


def mean_over_machines(machines: Mapping[str, Mapping[str, Mapping[str, Any]]], key: str) -> float | None:
    """Return the mean over machines of the means over sections; sections without a figure do not count."""
    means = [mean_over_sections(sections, key) for sections in machines.values()]
    known = [m for m in means if m is not None]
    return float(np.mean(known)) if known else None


def mean_over_sections(sections: Mapping[str, Mapping[str, Any]], key: str) -> float | None:
    """Return the mean of a figure over the sections that have it."""
    known = [figures[key] for figures in sections.values() if figures[key] is not None]
    return float(np.mean(known)) if known else None
