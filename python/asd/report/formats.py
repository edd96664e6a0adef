"""Tables as text: Rich, Markdown, LaTeX (booktabs); and a report as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table as RichTable

from asd.report.machine import Machine
from asd.report.model import Report
from asd.report.opening import Fact, Opening
from asd.report.study import Study
from asd.report.tables import Mark, Table
from asd.runs import Run


def rich(table: Table) -> RichTable:
    """Return a table for the terminal."""
    drawn = RichTable(title=escape(table.title), title_justify="left", caption=escape(table.note) or None)
    drawn.caption_justify = "left"
    for i, column in enumerate(table.columns):
        head = escape(column).replace("-", "-\n").replace(":", ":\n") if i >= table.texts else escape(column)
        drawn.add_column(head, justify="left" if i < table.texts else "right", overflow="fold")
    for i in range(len(table.rows)):
        cells = (_cell(table, i, c, escape, _RICH) for c in range(len(table.columns)))
        drawn.add_row(*cells, style="bold" if i in table.strong and not table.marks else None)
    return drawn


_RICH: Mapping[Mark, tuple[str, str]] = {"best": ("[bold]", "[/bold]"), "second": ("[underline]", "[/underline]")}
_MARKDOWN: Mapping[Mark, tuple[str, str]] = {"best": ("**", "**"), "second": ("<ins>", "</ins>")}
_LATEX_MARKS: Mapping[Mark, tuple[str, str]] = {"best": (r"\textbf{", "}"), "second": (r"\underline{", "}")}


def _cell(
    table: Table, row: int, column: int, text_of: Callable[[str], str], marks: Mapping[Mark, tuple[str, str]]
) -> str:
    """Return a cell with its marks; of a row that stands out in a table without marks it is bold as a whole."""
    parts = []
    for text, mark in table.pieces(row, column):
        before, after = marks.get(mark, ("", ""))
        parts.append(before + text_of(text) + after)
    return "".join(parts)


def markdown(table: Table) -> str:
    """Return a table in Markdown, its title as a heading."""
    heads = [markdown_text(c) for c in table.columns]
    marks = [":--" if i < table.texts else "--:" for i in range(len(heads))]
    lines = [f"### {markdown_text(table.title)}", "", _markdown_row(heads), _markdown_row(marks)]
    for i in range(len(table.rows)):
        cells = [_cell(table, i, c, markdown_text, _MARKDOWN) for c in range(len(heads))]
        whole = i in table.strong and not table.marks
        lines.append(_markdown_row([f"**{c}**" if c and whole else c for c in cells]))
    return "\n".join(lines) + (f"\n\n{markdown_text(table.note)}\n" if table.note else "\n")


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML in Markdown would read as more than text."""
    for character in "\\`*_{}[]|~":
        text = text.replace(character, "\\" + character)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "−": "$-$",
    '"': r"\textquotedbl{}",
    "\n": " ",
}


def latex_text(text: str) -> str:
    """Escape text for LaTeX; what the T1 encoding lacks becomes a question mark."""
    return "".join(_LATEX.get(c) or (c if ord(c) < 0x180 and c.isprintable() else "?") for c in text)


def latex(table: Table) -> str:
    """Return a table environment with booktabs rules."""
    columns = "l" * table.texts + "r" * (len(table.columns) - table.texts)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\small",
        rf"\caption{{{latex_text(table.title)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row([latex_text(c) for c in table.columns]),
        r"\midrule",
    ]
    for i in range(len(table.rows)):
        cells = [_cell(table, i, c, latex_text, _LATEX_MARKS) for c in range(len(table.columns))]
        whole = i in table.strong and not table.marks
        lines.append(_latex_row([rf"\textbf{{{c}}}" if c and whole else c for c in cells]))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.note:
        lines.append(rf"\\[2pt]\parbox{{\linewidth}}{{\footnotesize {latex_text(table.note)}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def latex_facts(title: str, facts: Sequence[Fact]) -> str:
    """Return facts as a list under a heading."""
    items = (rf"\item[{latex_text(f.name)}] {latex_text(f.text())}" for f in facts)
    heading = rf"\subsection*{{{latex_text(title)}}}"
    return "\n".join([heading, r"\begin{description}", *items, r"\end{description}", ""])


def latex_document(headline: str, tables: Sequence[Table], opened: Sequence[Opening] = ()) -> str:
    """Return a document that compiles by itself; each table can be copied out of it."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage{textcomp,booktabs,graphicx}",
            r"\begin{document}",
            rf"\noindent {latex_text(headline)}",
            "",
            *(latex_facts(o.title, o.every) for o in opened),
            *(latex(t) for t in tables),
            r"\end{document}",
            "",
        ]
    )


CSV_COLUMNS = (
    "machine",
    "section",
    "scorer",
    "recordings",
    "silent",
    "alarms",
    "expected_by_chance",
    "threshold",
    "false_alarm_rate",
    "false_alarm_rate_low",
    "false_alarm_rate_high",
    "normals",
    "labelled_normals",
    "labelled_anomalies",
    "auc",
    "pauc",
    "auc_source",
    "auc_target",
    "auc_low",
    "auc_high",
    "pauc_low",
    "pauc_high",
)


def csv_text(report: Report) -> str:
    """Return one line a machine, section and scorer, fractions with all digits, empty where not known.

    Intervals are of the deciding scorer, the mean over seeds where there are several. ``recordings`` are those judged,
    to which ``alarms`` and ``expected_by_chance`` belong; silent ones count apart.
    """
    stream = io.StringIO()
    lines = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    lines.writeheader()
    studies = {m.run: study for study in report.studies for m in study.system.runs}
    for m in report.machines:
        scored = {str(m.detector["scorer"]): (m.rows, report.figures)}
        scored |= {name: (rows, report.figures["beside"][name]) for name, rows in m.beside.items()}
        for scorer, (rows, figures) in scored.items():
            for s in m.sections:
                own = [r for r in rows if r.section == s.name]
                silent = {c.name for c in s.clips if c.silent}
                judged = [r for r in own if r.path not in silent]
                figure = figures["machines"].get(own[0].machine, {}).get(s.name, {}) if own else {}
                line: dict[str, Any] = {
                    "machine": m.machine,
                    "section": s.name,
                    "scorer": scorer,
                    "recordings": len(judged),
                    "silent": len(own) - len(judged),
                    "alarms": sum(r.anomalous for r in judged),
                    "expected_by_chance": s.rate * len(judged),
                    "threshold": s.threshold if scorer == m.detector["scorer"] else None,
                    "false_alarm_rate": s.rate,
                    "false_alarm_rate_low": s.interval[0] if scorer == m.detector["scorer"] else None,
                    "false_alarm_rate_high": s.interval[1] if scorer == m.detector["scorer"] else None,
                    "normals": len(s.normals),
                    "labelled_normals": figure.get("n_normal"),
                    "labelled_anomalies": figure.get("n_anomaly"),
                    "auc": figure.get("auc"),
                    "pauc": figure.get("pauc"),
                    "auc_source": figure.get("auc_source"),
                    "auc_target": figure.get("auc_target"),
                    **(_bounds(m, s.name, studies) if scorer == m.detector["scorer"] else {}),
                }
                lines.writerow(line)
    return stream.getvalue()


def _bounds(machine: Machine, section: str, studies: Mapping[Run, Study]) -> dict[str, float]:
    """Return the ends of the intervals of a section."""
    study = studies.get(machine.run)
    own = study.sections.get((machine.machine, section), {}) if study else {}
    return {
        f"{figure}_{end}": getattr(own[figure], end)
        for figure in ("auc", "pauc")
        if figure in own
        for end in ("low", "high")
    }
