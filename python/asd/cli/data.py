"""`asd data`: what recordings there are, whether they are sound, and synthetic ones to begin with."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asd.cli._output import channel_of, data_root, drive, next_step, out, print_json, say, shell, tell_all
from asd.errors import DataError, UsageError
from asd.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asd.data.catalog import Catalog, Clip
    from asd.data.inventory import Stock
    from asd.data.verify import Checked, VerifyReport

SHOWN = 10

app = typer.Typer(help="Recordings: what there is, whether it is sound, synthetic machines.", no_args_is_help=True)


class SynthLayout(StrEnum):
    """Layouts that synthetic machines are written in."""

    dcase2020 = "dcase2020"
    dcase2022 = "dcase2022"


Root = Annotated[Path | None, typer.Argument(help="Data root. Default: --data, else $ASD_DATA, else ./data.")]
Data = Annotated[Path | None, typer.Option(help="Data root, as the other commands take it.")]
Labels = Annotated[Path | None, typer.Option(help="A challenge's list of the evaluation files' labels.")]


@app.command("list")
def list_(
    root: Root = None,
    data: Data = None,
    labels: Labels = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show machines, IDs or sections, domains, counts, rates and hours."""
    from asd.data.catalog import open_catalog
    from asd.data.inventory import take_stock

    catalog = open_catalog(data_root(root or data), labels)
    tell_all(catalog.notes)
    stocks = drive(take_stock(catalog))
    if json:
        print_json(_list_json(catalog, stocks))
    else:
        show_list(catalog, stocks)
    next_step(shell("asd", "data", "verify", *_shown_root(root or data)))


@app.command("verify")
def verify_(
    root: Root = None,
    data: Data = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write a CSV file with a line for every recording.")
    ] = None,
    channel: Annotated[str, typer.Option(help="Channel whose level is looked at, from 0, or mix.")] = "0",
    allow_upsampling: Annotated[bool, typer.Option(help="Accept recordings below 16 kHz.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads that decode. Default: all there are.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Decode everything, and list what is broken, silent, clipped, cut short or there twice.

    Exit code 3 when a recording is broken, after all of them were looked at.
    """
    from asd.config import feature_spec
    from asd.data.catalog import open_catalog
    from asd.data.verify import verify

    if channel != "mix" and not channel.isdecimal():
        raise UsageError(f"--channel {channel}: wanted a number from 0, or mix", "asd data verify --channel mix")
    if out_file is not None and not out_file.parent.is_dir():
        raise DataError(f"{out_file}: no folder {out_file.parent}", shell("mkdir", "-p", out_file.parent))
    catalog = open_catalog(data_root(root or data))
    tell_all(catalog.notes)
    spec = feature_spec(channel=channel_of(channel), allow_upsampling=allow_upsampling)
    report = drive(verify(catalog.clips, spec, threads))
    if json:
        print_json(_verify_json(catalog, report))
    else:
        _show_report(report)
    if out_file is not None:
        _write_csv(out_file, report)
        say(f"written: {out_file}")
    usable = [c.clip for c in report.checked if not c.reason]
    extra = ["--skip-bad"] if report.broken else []
    extra += ["--channel", channel] if channel != "0" else []
    extra += ["--allow-upsampling"] if allow_upsampling else []
    next_step(train_command(usable, root or data, *extra) or shell("asd", "data", "list", *_shown_root(root or data)))
    if report.broken:
        raise DataError(
            f"{count(len(report.broken), 'recording')} of {len(report.checked)} in {catalog.root} cannot be used",
            "Repair them or take them away; asd train --skip-bad goes on without them.",
        )


@app.command("synth")
def synth(
    root: Annotated[Path, typer.Argument(help="Folder to make. It becomes a data root.")],
    machines: Annotated[str | None, typer.Option(help="Machine types. [fan,pump,slider,valve]")] = None,
    ids: Annotated[int | None, typer.Option(min=1, help="Machines of each type. [3]")] = None,
    train: Annotated[int | None, typer.Option(min=0, help="Training normals of each machine. [100]")] = None,
    test: Annotated[int | None, typer.Option(min=0, help="Test clips of each, half of them faulty. [100]")] = None,
    layout: Annotated[
        SynthLayout | None, typer.Option(help="dcase2022 has domains and attributes. [dcase2020]")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a recording, 1 or more. [10]")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed makes the same bytes. [0]")] = None,
    snr_db: Annotated[float | None, typer.Option(help="Machine above room noise, dB. [6]")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an older synthetic set.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads. Default: all there are.")] = None,
) -> None:
    """Make recordings of machines that do not exist: of physics, with faults that engineers know."""
    from asd.data.catalog import open_catalog
    from asd.data.inventory import take_stock
    from asd.data.synth import write_dataset

    asked: dict[str, Any] = {
        "machines": _names(machines) if machines is not None else None,
        "ids": ids,
        "train": train,
        "test": test,
        "layout": layout and layout.value,
        "seconds": seconds,
        "seed": seed,
        "snr_db": snr_db,
        "threads": threads,
    }
    drive(write_dataset(root, overwrite=overwrite, **{key: value for key, value in asked.items() if value is not None}))
    catalog = open_catalog(root)
    show_list(catalog, drive(take_stock(catalog)))
    next_step(train_command(catalog.clips, root) or shell("asd", "data", "list", root))


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _shown_root(given: Path | None) -> list[str]:
    """The data root as a command would name it: not at all, where it was found without being named."""
    return [str(given)] if given else []


def train_command(clips: Sequence[Clip], given: Path | None, *extra: str) -> str:
    """Return the command that trains on the section with the most normals; empty if none has enough."""
    from asd.detect.threshold import FEWEST_NORMALS

    normals = Counter((clip.machine, clip.section) for clip in clips if clip.split == "train")
    if not normals or normals.most_common(1)[0][1] < FEWEST_NORMALS:
        return ""
    (machine, section), _ = normals.most_common(1)[0]
    where = ["--data", str(given)] if given else []
    return shell("asd", "train", "--machine", machine, "--id", section, *where, *extra)


def show_list(catalog: Catalog, stocks: Sequence[Stock]) -> None:
    """Print machines, IDs and counts as a table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = [_columns(s) for s in stocks]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [c for c in rows[0] if c in ALWAYS_SHOWN or any(row[c] not in ("0", "–") for row in rows)]
    for column in shown:
        table.add_column(column, justify="left" if column in ("machine", "domain") else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(row[column]) for column in shown))
    out.print(table)
    out.print(f"{catalog.root}: {_total(catalog, stocks)}", markup=False, soft_wrap=True)
    if unreadable := sum(s.unreadable for s in stocks):
        say(f"caution: {count(unreadable, 'file')} without a readable header", "yellow")


ALWAYS_SHOWN = ("machine", "id", "train", "test normal", "anomaly")


def _columns(s: Stock) -> dict[str, str]:
    return {
        "machine": s.machine,
        "id": s.section,
        "domain": ", ".join(sorted(domain for domain in s.domains if domain)) or "–",
        "train": " + ".join(str(n) for _, n in sorted(s.train.items(), key=lambda item: item[0] or "")) or "0",
        "test normal": str(s.test_normal),
        "anomaly": str(s.test_anomaly),
        "unknown": str(s.test_unknown),
        "kHz": ", ".join(f"{rate / 1000:g}" for rate in s.rates) or "–",
        "channels": ", ".join(map(str, s.channels)) or "–",
        "hours": f"{s.seconds / 3600:.3g}" if s.rates else "–",
        "log-mels": str(s.logmels),
    }


def _total(catalog: Catalog, stocks: Sequence[Stock]) -> str:
    hours = sum(s.seconds for s in stocks) / 3600
    parts = [
        count(len(catalog.layouts), "machine"),
        count(len(catalog.clips), "recording"),
        *([f"{hours:.3g} hours"] if hours else []),
        f"layout {', '.join(sorted(set(catalog.layouts.values())))}",
    ]
    return ", ".join(parts)


def _list_json(catalog: Catalog, stocks: Sequence[Stock]) -> dict[str, Any]:
    machines: dict[str, dict[str, Any]] = {machine: {} for machine in catalog.machines()}
    for s in stocks:
        machines[s.machine][s.section] = {
            "layout": s.layout,
            "train": {domain or "all": n for domain, n in s.train.items()},
            "test_normal": s.test_normal,
            "test_anomaly": s.test_anomaly,
            "test_unknown": s.test_unknown,
            "rates": s.rates,
            "channels": s.channels,
            "hours": s.seconds / 3600,
            "logmels": s.logmels,
            "unreadable_headers": s.unreadable,
        }
    return {"root": str(catalog.root), "machines": machines, "notes": [note.message for note in catalog.notes]}


def _show_report(report: VerifyReport) -> None:
    seconds = report.seconds
    out.print(f"{count(len(report.checked), 'recording')} read")
    if seconds:
        out.print(f"  hours     {sum(seconds) / 3600:.3g}")
        out.print(f"  length    {seconds[0]:.3g} to {seconds[-1]:.3g} s, half of them up to {median(seconds):.3g} s")
    if report.rates:
        out.print("  rate      " + ", ".join(f"{rate / 1000:g} kHz: {n}" for rate, n in report.rates.items()))
        out.print("  channels  " + ", ".join(f"{channels}: {n}" for channels, n in report.channels.items()))
    for c in report.broken:
        out.print(f"broken: {c.clip.name}: {c.reason}", markup=False, soft_wrap=True)
        out.print(f"  {c.hint}", markup=False, soft_wrap=True)
    for what, found in {
        "silent": report.silent,
        "clipped (more than one sample in 10,000 at full scale)": report.clipped,
        "cut short (the header promises more than there is)": report.truncated,
    }.items():
        _show_names(what, [c.clip.name for c in found])
    _show_names("there twice", [" = ".join(c.clip.name for c in group) for group in report.duplicates])
    if report.leaks:
        say(f"caution: {count(len(report.leaks), 'recording')} both trained on and tested", "yellow")
    if not any((report.broken, report.silent, report.clipped, report.truncated, report.duplicates)):
        out.print("Nothing is broken, silent, clipped, cut short or there twice.")


def _show_names(what: str, names: Sequence[str]) -> None:
    if not names:
        return
    out.print(f"{what}: {len(names)}", markup=False)
    for name in names[:SHOWN]:
        out.print(f"  {name}", markup=False, soft_wrap=True)
    if len(names) > SHOWN:
        out.print(f"  and {len(names) - SHOWN} more (--out FILE names them all)", markup=False)


def _verify_json(catalog: Catalog, report: VerifyReport) -> dict[str, Any]:
    def names(found: Sequence[Checked]) -> list[str]:
        return [c.clip.name for c in found]

    return {
        "root": str(catalog.root),
        "recordings": len(report.checked),
        "hours": sum(report.seconds) / 3600,
        "rates": report.rates,
        "channels": report.channels,
        "broken": [{"path": c.clip.name, "reason": c.reason, "hint": c.hint} for c in report.broken],
        "silent": names(report.silent),
        "clipped": names(report.clipped),
        "truncated": names(report.truncated),
        "duplicates": [names(group) for group in report.duplicates],
        "notes": [note.message for note in catalog.notes],
    }


CSV_COLUMNS = (
    *("path", "machine", "section", "split", "label", "findings", "reason", "hint", "copy_of"),
    *("rate", "channels", "seconds", "peak_dbfs", "rms_dbfs", "clipped"),
)


def _write_csv(path: Path, report: VerifyReport) -> None:
    import csv
    import io

    from asd.runs import write_text

    copy_of = {c.clip.path: group[0].clip.name for group in report.duplicates for c in group[1:]}
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerow(CSV_COLUMNS)
    for c in report.checked:
        clip, health = c.clip, c.health
        said = (clip.name, clip.machine, clip.section, clip.split, clip.label, " ".join(c.findings))
        measured = (
            (health.rate, health.channels, health.seconds, health.peak_dbfs, health.rms_dbfs, health.clipped)
            if health
            else (None,) * 6
        )
        table.writerow((*said, c.reason, c.hint, copy_of.get(clip.path), *measured))
    write_text(path, stream.getvalue())
