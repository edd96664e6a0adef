"""A grid's results as tables: in the paper's form, with a verdict on each figure, and by machine ID."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asd.errors import RunFolderError
from asd.evaluate.published import Pair, Published
from asd.report.formats import latex_document, markdown, markdown_text
from asd.report.tables import NONE, Table
from asd.reproduce.folder import Folder, whole
from asd.reproduce.grid import Grid, in_order
from asd.reproduce.methods import Challenge
from asd.reproduce.provenance import write_provenance
from asd.reproduce.results import RESAMPLES, Cell, Results, Row, read_results, verdicts
from asd.runs import write_text
from asd.words import are, count

NAMES = {"auc": "AUC", "pauc": "pAUC", "auc_source": "AUC source", "auc_target": "AUC target"}
NOT_FINISHED = "not finished"

FILES = ("table.md", "table.csv", "table.tex", "table.json")


def publish(
    folder: Folder, challenge: Challenge, grid: Grid | None, data: Mapping[str, Any] | None, resamples: int = RESAMPLES
) -> Results:
    """Make the tables of all that is finished in a folder, and write them with ``provenance.json``.

    Args:
        grid: cells that belong there too, finished or not; None: those of which there is a record.
        data: what the recordings are; None: what was known of them before.

    Raises:
        DataError: damaged scores, or the folder cannot be written.
        RunFolderError: nothing is finished.
    """
    with folder.alone():
        records = folder.records()
        done, missing = whole(folder, records)
        missing |= {c.name: "not begun" for c in grid.cells if c.name not in records} if grid else {}
        if not any(record.machine for record in done.values()):
            raise RunFolderError(f"{folder.path}: no cell is finished", f"Finish some: asd reproduce {challenge.name}")
        there = {record.machine for record in records.values() if record.machine} | set(grid.machines if grid else ())
        results = read_results(challenge, folder, done, missing, in_order(challenge, there), resamples)
        write_tables(results, folder)
        write_provenance(folder, done, data)
    return results


def tables_of(results: Results, brief: bool = False) -> list[Table]:
    """Return all tables.

    Args:
        brief: without the figures of each ID, whose table is wide.
    """
    beside = [_beside(results)] if any(_judged(results)) else []
    return [_overview(results), *beside, *([] if brief else [_sections(results)])]


def headline(results: Results) -> str:
    """Return what was found in a sentence or two."""
    found = verdicts(results)
    total = len(results.done) + len(results.missing)
    told = ", ".join(f"{found[v]} {v}" for v in ("reproduced", "above", "below", "not comparable") if found[v])
    text = f"{results.challenge.name}: {len(results.done)} of {count(total, 'cell')} finished."
    return f"{text} Beside the paper's figures: {told}." if told else text


def write_tables(results: Results, folder: Folder) -> None:
    """Write the tables as Markdown, CSV, LaTeX and JSON. Raises DataError, which names the file."""
    every = tables_of(results)
    lines = [f"# {markdown_text(headline(results))}", "", *(markdown(table) for table in every)]
    if results.missing:
        lines += ["### Not there", "", *(f"- {markdown_text(f'{n}: {r}')}" for n, r in results.missing.items()), ""]
    contents = {
        "table.md": "\n".join(lines),
        "table.csv": csv_text(results),
        "table.tex": latex_document(headline(results), every),
        "table.json": json.dumps(as_json(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name in FILES:
        write_text(folder.path / name, contents[name])


def _overview(results: Results) -> Table:
    """The paper's table: our rows, then the published ones."""
    challenge, columns = results.challenge, results.machines
    official = any(row.official for row in results.rows)
    rows = []
    for row in results.rows:
        cells = [_pair([row.cells.get((m, f)) for f in challenge.figures]) for m in columns]
        score = [f"{100 * row.official.value:.2f}" if row.official else NONE] if official else []
        rows.append((row.title, row.clips, *cells, _pair([row.mean.get(f) for f in challenge.figures]), *score))
    ours = len(rows)
    for paper in challenge.published:
        cells = [_printed(paper.cells.get(m)) for m in columns]
        rows.append((f"{paper.method}, {paper.source}", paper.split, *cells, _mean(paper, columns), *[NONE] * official))
    first, second = (NAMES[f] for f in challenge.figures)
    return Table(
        f"{challenge.name}: {first} / {second} in percent",
        ("method", "clips", *columns, "mean", *(["official"] if official else [])),
        tuple(rows),
        texts=2,
        strong=frozenset(range(ours)),
        note=_note(results),
    )


def _note(results: Results) -> str:
    said = [
        "Means are arithmetic: over the IDs of a machine, over seeds, over machines; those of published rows are "
        "computed from their cells.",
        "Rows compare within the same clips only.",
    ]
    if not all(row.whole for row in results.rows):
        said.append("Where only IDs are named, the clips are not those of the challenge.")
    if results.size == "quick":
        said.insert(0, "Quick settings: the figures tell nothing of the methods.")
    if results.challenge.year != 2020:
        said.append(f"Official: the score of the challenge by the rules of {results.challenge.year}.")
    if results.unlabelled:
        said.append(f"{count(results.unlabelled, 'test clip')} without a label: --labels LIST names them.")
    if results.missing:
        said.append(f"{count(len(results.missing), 'cell')} {are(len(results.missing))} not finished.")
    return " ".join(said)


def _beside(results: Results) -> Table:
    """A line for each figure that was published, with the verdict."""
    rows = tuple(
        (
            row.title,
            row.clips,
            machine,
            NAMES[figure],
            _seeds(cell),
            _interval(cell),
            _one(cell.published),
            str(cell.verdict),
        )
        for row, machine, figure, cell in _judged(results)
    )
    columns = ("method", "clips", "machine", "figure", "seeds", "ours (95 %)", "published", "verdict")
    reasons = sorted({cell.reason for *_, cell in _judged(results) if cell.reason})
    return Table(
        f"{results.challenge.name}: beside the paper's figures",
        columns,
        rows,
        texts=4,
        note="Reproduced: the interval, a bootstrap over clips, covers the published figure. The paper does not say "
        "whether its clips are those of the development or of the evaluation set: both stand beside it."
        + (f" Not comparable: {'; '.join(reasons)}." if reasons else ""),
    )


def _judged(results: Results) -> Iterator[tuple[Row, str, str, Cell]]:
    """Yield the figures that have a verdict, with their row, machine (or ``mean``) and name."""
    for row in results.rows:
        for machine in (*results.machines, "mean"):
            for figure in results.challenge.figures:
                cell = row.mean.get(figure) if machine == "mean" else row.cells.get((machine, figure))
                if cell is not None and cell.verdict is not None:
                    yield row, machine, figure, cell


def _sections(results: Results) -> Table:
    """A line for each machine ID, a column for each method."""
    figures = results.challenge.figures
    places = sorted({(m, s, row.clips) for row in results.rows for m, s, _ in row.sections})
    titles = list(dict.fromkeys(row.title for row in results.rows))
    found = {(row.title, row.clips): row.sections for row in results.rows}
    rows = []
    for machine, section, part in places:
        values = [[found.get((title, part), {}).get((machine, section, f)) for f in figures] for title in titles]
        rows.append((machine, section, part, *(" / ".join(map(_one, own)) for own in values)))
    first, second = (NAMES[f] for f in figures)
    return Table(
        f"{results.challenge.name}: {first} / {second} by ID, in percent",
        ("machine", "ID", "clips", *titles),
        tuple(rows),
        texts=3,
        note="Mean over seeds.",
    )


def _one(fraction: float | None) -> str:
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def _pair(cells: Sequence[Cell | None]) -> str:
    if not any(cells):
        return NONE
    return " / ".join(_one(cell.interval.value if cell else None) for cell in cells)


def _printed(pair: Pair | None) -> str:
    return NONE if pair is None else " / ".join(NONE if value != value else f"{value:.2f}" for value in pair)


def _mean(paper: Published, machines: tuple[str, ...]) -> str:
    return _printed(paper.recomputed(machines))


def _interval(cell: Cell) -> str:
    low, high = cell.interval.low, cell.interval.high
    return f"{_one(cell.interval.value)} ({_one(low)}–{_one(high)})"


def _seeds(cell: Cell) -> str:
    return str(cell.seeds) if cell.std is None else f"{cell.seeds}, ± {_one(cell.std)}"


CSV_COLUMNS = (
    *("table", "preset", "method", "clips", "machine", "section", "figure"),
    *("value", "low", "high", "std", "seeds", "published", "verdict", "reason"),
)


def csv_text(results: Results) -> str:
    """Return a line a figure, fractions with all digits; ``mean`` for a mean over sections or machines."""
    stream = io.StringIO()
    lines = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    lines.writeheader()
    for row in results.rows:
        known = {"table": results.challenge.name, "preset": results.size, "method": row.method, "clips": row.clips}
        for (machine, section, figure), value in sorted(row.sections.items()):
            lines.writerow({**known, "machine": machine, "section": section, "figure": figure, "value": value})
        for (machine, figure), cell in row.cells.items():
            lines.writerow({**known, "machine": machine, "section": "mean", "figure": figure, **_facts(cell)})
        for figure, cell in row.mean.items():
            lines.writerow({**known, "machine": "mean", "section": "mean", "figure": figure, **_facts(cell)})
        if row.official:
            bounds = {"value": row.official.value, "low": row.official.low, "high": row.official.high}
            lines.writerow({**known, "machine": "mean", "section": "mean", "figure": "official", **bounds})
    return stream.getvalue()


def _facts(cell: Cell) -> dict[str, Any]:
    return {
        "value": cell.interval.value,
        "low": cell.interval.low,
        "high": cell.interval.high,
        "std": cell.std,
        "seeds": cell.seeds,
        "published": cell.published,
        "verdict": cell.verdict,
        "reason": cell.reason,
    }


def as_json(results: Results) -> dict[str, Any]:
    """Return everything, fractions."""
    return {
        "table": results.challenge.name,
        "preset": results.size,
        "machines": list(results.machines),
        "rows": [_row_json(row, results) for row in results.rows],
        "published": [
            {
                "method": p.method,
                "clips": p.split,
                "source": p.source,
                "percent": {m: _known(c) for m, c in p.cells.items()},
            }
            for p in results.challenge.published
        ],
        "verdicts": dict(verdicts(results)),
        "finished": sorted(results.done),
        "missing": dict(results.missing),
    }


def _row_json(row: Row, results: Results) -> dict[str, Any]:
    figures = results.challenge.figures
    machines = {
        m: {
            **{f: _facts(row.cells[m, f]) for f in figures if (m, f) in row.cells},
            "sections": {
                s: {f: row.sections[m, s, f] for f in figures if (m, s, f) in row.sections}
                for s in sorted({s for machine, s, _ in row.sections if machine == m})
            },
        }
        for m in results.machines
        if m not in row.missing
    }
    official = row.official
    return {
        "method": row.method,
        "title": row.title,
        "clips": row.clips,
        "beside": row.published,
        "machines": machines,
        "mean": {figure: _facts(cell) for figure, cell in row.mean.items()},
        "official": official and {"value": official.value, "low": official.low, "high": official.high},
        "missing": list(row.missing),
    }


def _known(pair: Pair) -> list[float | None]:
    return [None if value != value else value for value in pair]
