"""`asd evaluate`: a folder of result files and labels -> the challenge's figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asd.cli._output import next_step, out, print_json, say, shell, tell_all
from asd.errors import DataError, UsageError
from asd.words import count

if TYPE_CHECKING:
    from asd.data.tables import LabelList
    from asd.evaluate.assess import Assessment
    from asd.evaluate.bootstrap import Figure, Interval
    from asd.evaluate.evaluator import EvaluatorTable
    from asd.evaluate.submission import Submission

HEADS: dict[Figure, str] = {
    "auc": "AUC",
    "pauc": "pAUC",
    "auc_source": "AUC\nsource",
    "auc_target": "AUC\ntarget",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "official": "official\nscore",
}
MEANS = {
    2020: "Means are arithmetic, over IDs, then over machines.",
    2021: "Means are harmonic, over machines, sections and domains; a domain's AUC and pAUC take its own clips.",
    2022: "Means are harmonic, over machines, sections and domains; a domain's AUC takes the anomalies of both.",
}


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with anomaly_score_*.csv: a submission.")],
    labels: Annotated[
        Path | None,
        typer.Option(help="A challenge's label list, or its evaluator's ground-truth folder. Default: by the names."),
    ] = None,
    official: Annotated[bool, typer.Option("--official", help="Also what the challenge's own evaluator says.")] = False,
    result: Annotated[
        Path | None, typer.Option("--out", help="File for the table of the challenge's evaluator (CSV).")
    ] = None,
    year: Annotated[
        int | None, typer.Option(min=2020, max=2026, help="Year of the challenge. Default: by the names.")
    ] = None,
    machine: Annotated[
        list[str] | None, typer.Option(help="Only this machine of the labels; may be given several times.")
    ] = None,
    scores_only: Annotated[bool, typer.Option("--scores-only", help="Without decision_result files.")] = False,
    resamples: Annotated[
        int, typer.Option(min=100, max=100_000, help="Resamples of the clips for the 95 % intervals.")
    ] = 1000,
    json: Annotated[bool, typer.Option("--json", help="Print the figures, or the problems, as JSON.")] = False,
) -> None:
    """Score a submission to a DCASE challenge by the rules of its year, or say what is wrong with it.

    [bold]asd evaluate submission --labels eval_data_list_2023.csv[/bold]
    [bold]asd evaluate submission --labels dcase2022_evaluator --official[/bold]
    """
    from asd.evaluate.assess import assess
    from asd.evaluate.submission import MalformedError, read_submission
    from asd.runs import write_text

    if result and not official:
        raise UsageError("--out is for the table of the challenge's evaluator", "Add --official.")
    if machine and not labels:
        raise UsageError("--machine chooses among the machines of --labels", "Name the labels, or leave it out.")
    listed = _labels(labels, machine or []) if labels else None
    try:
        submission = read_submission(folder, listed, year=year, scores_only=scores_only)
    except MalformedError as error:
        if json:
            problems = [{"file": p.file, "line": p.line, "what": p.what} for p in error.problems]
            print_json({"submission": str(folder), "problems": problems})
        raise
    _remark(submission, listed)
    table = _evaluator(submission, labels or folder) if official else None
    assessment = assess(submission.groups, submission.year, resamples)
    if result and table:
        write_text(result, table.csv())
    if json:
        print_json({"submission": str(folder), **assessment.json(), **(_evaluator_json(table) if table else {})})
    else:
        _show(assessment, resamples)
        if table:
            _show_evaluator(table, assessment)
    chosen = [("--labels", labels), *(("--machine", m) for m in machine or []), ("--year", year)]
    words = ["asd", "evaluate", folder, *(word for pair in chosen if pair[1] for word in pair)]
    if result:
        next_step(shell("cat", result))
    elif official:
        next_step(shell(*words, "--official", "--out", "result.csv"))
    else:
        next_step(shell(*words, *(("--scores-only", "--json") if scores_only else ("--official",))))


def _labels(path: Path, machines: list[str]) -> LabelList:
    """Return the labels of the machines that were asked for."""
    from dataclasses import replace

    from asd.data.labels import doubts, read_labels
    from asd.errors import nearest

    listed = read_labels(path)
    for name in machines:
        if name not in listed.machines:
            known = ", ".join(listed.machines)
            raise UsageError(f"{path} has no machine {name!r}.{nearest(name, listed.machines)}", f"It has {known}.")
    wanted = {m: own for m, own in listed.machines.items() if not machines or m in machines}
    tell_all(doubts(listed, wanted))
    return replace(listed, machines=wanted)


def _remark(submission: Submission, listed: LabelList | None) -> None:
    if submission.passed_over:
        say(f"passed over, no result files: {', '.join(submission.passed_over)}")
    if listed is None:
        say("labels by the names of the clips: whether clips are missing cannot be told (--labels tells)")
    clips = sum(len(group.labels_B) for group in submission.groups)
    later = " or later" if submission.year == 2023 else ""
    say(f"{count(clips, 'clip')} in {count(len(submission.groups), 'section')}, rules of {submission.year}{later}")


def _evaluator(submission: Submission, labels: Path) -> EvaluatorTable:
    from asd.evaluate.evaluator import evaluator_table

    try:
        return evaluator_table(submission.groups, submission.year)
    except ValueError as error:
        raise DataError(f"{labels}: {error}", "Leave --official out.") from error


def _evaluator_json(table: EvaluatorTable) -> dict[str, Any]:
    """Return the evaluator's lines and slips; null for its NaN."""

    def known(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    slips = [
        {
            "machine": slip.machine,
            "line": slip.line,
            "printed": {name: known(value) for name, value in slip.printed.items()},
            "right": dict(slip.right),
        }
        for slip in table.slips
    ]
    return {"evaluator": {"lines": [[known(cell) for cell in line] for line in table.lines], "slips": slips}}


def _show(assessment: Assessment, resamples: int) -> None:
    """Print a line a section, and the means with their intervals."""
    from rich.table import Table

    figures = [f for f in HEADS if f in assessment.mean]
    rules = min(assessment.official.year, 2022)
    note = f"Percent. {MEANS[rules]} Below a mean its 95 % interval, {resamples:,} resamples of the clips."
    table = Table(caption=note, caption_justify="left", title_justify="left", title=_title(assessment))
    for head in ("machine", "section"):
        table.add_column(head)
    for figure in figures:
        table.add_column(HEADS[figure], justify="right", no_wrap=True)
    for name in assessment.machines:
        for (machine, section), cells in assessment.official.sections.items():
            if machine == name:
                table.add_row(name, section, *(_percent(cells.get(figure)) for figure in figures))
        own = assessment.machines[name]
        table.add_row(name, "mean", *(_interval(own.get(figure)) for figure in figures), end_section=True)
    table.add_row("all", "mean", *(_interval(assessment.mean[f]) for f in figures))
    out.print(table)


def _show_evaluator(table: EvaluatorTable, assessment: Assessment) -> None:
    """Print the evaluator's lines about all machines, then its slips with the right values."""
    from rich.table import Table

    summary = Table(title="What the challenge's evaluator says; --out FILE has all its lines", title_justify="left")
    for head in ("", *next((line[2:] for line in table.lines if line[:2] == ["", ""]), ["AUC", "pAUC"])):
        summary.add_column(str(head), justify="right" if head else "left")
    for title, *cells in _about_everything(table):
        summary.add_row(title, *(f"{cell:.6g}" for cell in cells))
    out.print(summary)
    if not table.slips:
        return
    slips = Table(
        title="Two of its lines are not what they are called: its value, and the right one", title_justify="left"
    )
    heads = ("AUC", "pAUC", "precision", "recall", "F1 score")
    for head in ("machine", "line", *heads):
        slips.add_column(head, justify="left" if head in ("machine", "line") else "right")
    *split, ci95 = table.slips
    for slip in split:
        pairs = (f"{_percent(slip.printed[head])} → {_percent(slip.right[head])}" for head in heads)
        slips.add_row(slip.machine, slip.line, *pairs)
    if split:
        out.print(slips)
        out.print("source and target harmonic mean: the evaluator splits the sections' values at half their number.")
    (printed,), (right,) = ci95.printed.values(), ci95.right.values()
    clips = sum(len(group.labels_B) for group in assessment.groups)
    out.print(
        f"official score ci95: {printed:.4g} is too small by N − 1 = {clips - 1:,}; the jackknife gives ± {right:.4g}, "
        "and that is for AUC and pAUC over the clips of all machines together."
    )
    if "official" in assessment.mean:
        own = assessment.mean["official"]
        out.print(
            f"The official score's own interval, by bootstrap: {own.value:.4f} ({own.low:.4f} to {own.high:.4f})."
        )


def _about_everything(table: EvaluatorTable) -> list[list[Any]]:
    """Return the lines about all machines: title and values; those of each machine in 2020, which has no others."""
    found = []
    machine = ""
    for line in table.lines:
        title = str(line[0]) if line else ""
        if len(line) == 1:
            machine = title
        if "over all machine types" in title or title.startswith("official score"):
            found.append([title.removesuffix(" over all machine types, sections, and domains"), *line[2:]])
        elif title == "Average":
            found.append([f"{machine}, average", *line[1:]])
    return found


def _title(assessment: Assessment) -> str:
    official = assessment.mean.get("official")
    if official is None:
        return ""
    return f"Official score {_percent(official.value)} % (95 %: {_range(official)})"


def _percent(value: float | None) -> str:
    return "–" if value is None else "NaN" if math.isnan(value) else f"{100 * value:.2f}"


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{_percent(interval.value)}\n{_range(interval)}"


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
