"""`asd score`: a run and recordings -> scores and decisions."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asd.cli._output import data_root, drive, next_step, out, print_json, say, shell, tell_all
from asd.errors import DataError, UsageError
from asd.events import Caution
from asd.words import count

if TYPE_CHECKING:
    from asd.config import DataConfig
    from asd.data.catalog import Clip
    from asd.detect.detector import Detector
    from asd.detect.scoring import Scored
    from asd.runs import Run

ANOMALY_FOUND = 10
SHOWN = 10


def score(
    run: Annotated[Path, typer.Argument(help="Run folder, such as runs/fan-00.")],
    recordings: Annotated[
        list[Path] | None, typer.Argument(help="Folders or files. Default: the test clips of the run's data root.")
    ] = None,
    id: Annotated[str, typer.Option(help="Section of the recordings, where their names do not tell it.")] = "",
    data: Annotated[Path | None, typer.Option(help="Data root, if it moved since the training.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A challenge's list of the labels of the data root's evaluation files.")
    ] = None,
    append: Annotated[bool, typer.Option(help="Keep the scores of recordings that were scored before.")] = False,
    allow_upsampling: Annotated[bool, typer.Option(help="Accept recordings below the detector's rate.")] = False,
    skip_bad: Annotated[bool, typer.Option(help="Go on without recordings that cannot be read.")] = False,
    fail_on_anomaly: Annotated[bool, typer.Option(help="Exit with 10 if a recording sounds wrong.")] = False,
    dcase_csv: Annotated[
        Path | None, typer.Option("--dcase-csv", help="Folder for the result files of a DCASE challenge.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads of the front end. Default: all.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Tell how unlike normal recordings are, and which lie above the threshold.

    [bold]asd score runs/fan-00[/bold]            the test clips of the data root
    [bold]asd score runs/pump7 new/[/bold]        new recordings
    [bold]asd score runs/fan-all --dcase-csv submission[/bold]
    """
    from asd.detect.detector import Detector
    from asd.runs import Run

    if recordings and labels:
        raise UsageError(
            "--labels is for the evaluation files of a data root", "Leave the recordings out of the command."
        )
    opened = Run.open(run)
    detector = Detector.load(run)
    if allow_upsampling:
        detector = dataclasses.replace(detector, spec=detector.spec.model_copy(update={"allow_upsampling": True}))
    clips = _given(detector, recordings, id, opened) if recordings else _test_clips(detector, opened, data, labels)
    if dcase_csv:
        from asd.evaluate.challenge import year_of

        year_of(clip.name for clip in clips)  # refuses recordings of no challenge before they take time
    scored = _score(detector, clips, opened, skip_bad, threads)
    _write(opened, scored, append)
    if dcase_csv:
        _write_challenge(opened, scored, dcase_csv)
    if json:
        print_json({"run": str(run), "recordings": scored.records})
    else:
        _show(scored, detector)
    next_step(shell("asd", "report", run))
    if fail_on_anomaly and any(r["anomalous"] and not r["silent"] for r in scored.records):
        raise typer.Exit(ANOMALY_FOUND)


def _test_clips(detector: Detector, run: Run, data: Path | None, labels: Path | None) -> list[Clip]:
    """Return the test clips that go with the run."""
    from asd.data.catalog import open_catalog, open_folder

    stored = _stored(run)
    if stored.normal and not data and not labels:
        catalog = open_folder(Path(stored.normal))
    else:
        catalog = open_catalog(data_root(data or _root(stored)), labels)
    clips = [c for c in catalog.select(detector.machine, None, "test") if c.section in detector.sections]
    if not clips:
        raise DataError(
            f"{catalog.root} holds nothing to score {catalog.place(detector.machine, detector.sections[0])} with",
            f"Name the recordings to score: {shell('asd', 'score', run.path)} FOLDER_OR_FILES",
        )
    return clips


def _given(detector: Detector, paths: list[Path], section: str, run: Run) -> list[Clip]:
    """Return a clip for each recording below the paths given."""
    from asd.data.catalog import machines_named, open_folder

    if section and section not in detector.sections:
        raise UsageError(f"{run.path} knows no section {section!r}", f"It knows {', '.join(detector.sections)}.")
    stored = _stored(run)
    root = _root(stored)
    clips: dict[Path, Clip] = {}
    for path in paths:
        if others := [m for m in machines_named(path) if m != detector.machine]:
            tell_all([Caution(f"{path}: recordings of {', '.join(others)}, scored as {detector.machine}")])
        catalog = open_folder(path, for_scoring=True)
        tell_all([note for note in catalog.notes if isinstance(note, Caution)])
        for clip in catalog.clips:
            name = clip.path.relative_to(root).as_posix() if clip.path.is_relative_to(root) else str(clip.path)
            own = section or detector.section_for(clip.path)
            clips[clip.path] = replace(clip, machine=detector.machine, section=own, name=name)
    return list(clips.values())


def _stored(run: Run) -> DataConfig:
    """Return which recordings the run was trained on."""
    from asd.config import parse_config

    return parse_config(run.config(), str(run.path / "config.toml")).data


def _root(stored: DataConfig) -> Path:
    """Return the folder that the names of the training recordings are relative to."""
    if stored.root:
        return Path(stored.root)
    normal = Path(stored.normal)
    return normal if normal.is_dir() else normal.parent


def _score(detector: Detector, clips: list[Clip], run: Run, skip_bad: bool, threads: int | None) -> Scored:
    from asd.detect.records import NearestNormal
    from asd.detect.scoring import score_clips

    nearest = NearestNormal(run.embeddings(), detector.baseline.gaussians)
    return drive(score_clips(detector, clips, nearest, skip_bad=skip_bad, threads=threads))


def _write(run: Run, scored: Scored, append: bool) -> None:
    """Write every file that a report needs, with or instead of what was scored before."""
    from asd.evaluate.dcase import summarise
    from asd.runs import write_jsonl, write_scores, write_text

    rows, beside, records = scored.rows, scored.beside, scored.records
    if (run.path / "scores.csv").is_file():
        new = {r.path for r in rows}
        older = [r for r in run.scores() if r.path not in new]
        if append:
            rows = older + rows
            before = run.beside()
            beside = {name: [r for r in before[name] if r.path not in new] + own for name, own in beside.items()}
            records = [r for r in run.recordings() if r["path"] not in new] + records
        elif older:
            say(
                f"the scores of {count(len(older), 'other recording')} in {run.path} are replaced (--append keeps them)"
            )
    for name, own in beside.items():
        write_scores(run.path / f"scores-{name}.csv", own)
    write_jsonl(run.path / "recordings.jsonl", records)
    summary = summarise(rows, beside)
    summary["skipped"] = [{"file": str(u.path), "reason": u.reason} for u in scored.skipped]
    write_text(run.path / "metrics.json", jsonlib.dumps(summary, indent=2, allow_nan=False) + "\n")
    write_scores(run.path / "scores.csv", rows)


def _write_challenge(run: Run, scored: Scored, folder: Path) -> None:
    """Write the challenge's result files; their decisions are made at another threshold than the plant's alarms."""
    import numpy as np

    from asd.detect.threshold import challenge_threshold
    from asd.evaluate.challenge import write_submission, year_of

    normals = [n for n in run.normals() if n["score"] is not None]
    limits = {
        section: challenge_threshold(np.array([n["score"] for n in normals if n["section"] == section]))
        for section in {row.section for row in scored.rows}
    }
    rows = [replace(row, anomalous=row.score > limits[row.section]) for row in scored.rows]
    files = write_submission(rows, folder, year_of(row.path for row in rows))
    say(f"written to {folder}: {', '.join(f.name for f in files[:2])}{', ...' if len(files) > 2 else ''}")
    if scored.skipped:
        say(f"{folder} lacks {count(len(scored.skipped), 'recording')} that could not be read", "yellow")


def _show(scored: Scored, detector: Detector) -> None:
    from rich.markup import escape
    from rich.table import Table

    ranked = sorted(scored.records, key=lambda r: r["severity"], reverse=True)
    judged = [r for r in ranked if not r["silent"]]
    title = f"Highest of {count(len(ranked), 'recording')}, by how far beyond what is typical for their own threshold"
    table = Table(title=title, title_justify="left")
    for column in ("score", "threshold", "", "recording"):
        table.add_column(column, justify="left" if column in ("", "recording") else "right", overflow="fold")
    for row in ranked[:SHOWN]:
        mark = "silent" if row["silent"] else "[red]sounds wrong[/red]" if row["anomalous"] else ""
        table.add_row(f"{row['score']:.4g}", f"{row['threshold']:.4g}", mark, escape(row["path"]))
    out.print(table)
    rate = detector.describe()["false_alarm_rate"]
    above = sum(r["anomalous"] for r in judged)
    out.print(
        f"{above} of {len(ranked)} recordings sound wrong; {rate * len(ranked):.1f} would by chance if all were normal."
    )
    for skipped in scored.skipped:
        say(f"not read: {skipped.path}: {skipped.reason}", "yellow")
