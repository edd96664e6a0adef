"""`asd train`: normal recordings of a machine -> a run folder with its detector."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asd.cli._output import data_root, drive, next_step, out, print_json, say, shell, tell_all
from asd.cli._training import (
    Device,
    EncoderName,
    flags_of,
    need_torch,
    refuse_idle,
    settings_of,
    stored_settings,
    train_in,
)
from asd.errors import UsageError, nearest
from asd.events import Caution

if TYPE_CHECKING:
    from rich.table import Table

    from asd.config import Config
    from asd.data.catalog import Catalog, Clip
    from asd.train.trained import Trained

MOST_DIFFERENT = 5

SETTINGS = {
    "method": "method",
    "scorer": "scorer",
    "aggregate": "aggregate",
    "false_alarm_rate": "false_alarm_rate",
    "force": "force",
    "exclude": "data.exclude",
    "session_regex": "data.session_regex",
    "skip_bad": "data.skip_bad",
}
"""Parameters that are settings, beside those of every training, with the settings' names."""


class Method(StrEnum):
    """How a detector is made."""

    baseline = "baseline"
    contrastive = "contrastive"
    finetune = "finetune"


class Aggregate(StrEnum):
    """How the scores of windows become that of a recording."""

    top = "top"
    mean = "mean"
    max = "max"


def train(
    machine: Annotated[str, typer.Option(help="Folder of the machine below the data root.")] = "",
    id: Annotated[
        str | None, typer.Option(help="Machine ID or section, such as 00; several as 00,02; or all. [all]")
    ] = None,
    normal: Annotated[
        Path | None, typer.Option(help="Own recordings of one machine that is well: a folder, or one long file.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data root. Default: $ASD_DATA, else ./data.")] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            help="baseline: training-free statistics, in seconds. contrastive: the default for the layouts of DCASE "
            "2020 and MIMII. finetune: a classifier, the default for DCASE 2021 on."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Named settings: dcase2020, dcase2022, mn-official. [the method's own]")
    ] = None,
    encoder: Annotated[EncoderName | None, typer.Option(help="The network. [small]")] = None,
    weights: Annotated[
        Path | None, typer.Option("--from", help="Start from the weights of this run of pretrain or train.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="From embedding to score: knn, mahalanobis, fused:knn, ... [auto]")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training set; 0 takes weights as they are.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step. [64]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and views. [0]")] = None,
    device: Annotated[Device | None, typer.Option(help="[auto: a GPU where there is one]")] = None,
    cache_gb: Annotated[float | None, typer.Option(help="Memory for log-mels, in GB. [4]")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a training that was stopped.")] = False,
    name: Annotated[str, typer.Option(help="Name of the run. Default: MACHINE-ID.")] = "",
    runs: Annotated[Path, typer.Option(help="Where run folders lie.")] = Path("runs"),
    exclude: Annotated[list[str] | None, typer.Option(help="Leave this recording out; may be repeated.")] = None,
    session_regex: Annotated[
        str | None, typer.Option(help=r"Names the session in a path, such as '(\d{8})_': folds go by session.")
    ] = None,
    false_alarm_rate: Annotated[float | None, typer.Option(help="Share of normals that may alarm. [0.01]")] = None,
    aggregate: Annotated[Aggregate | None, typer.Option(help="Windows to recording. [top: highest 5 %]")] = None,
    channel: Annotated[str | None, typer.Option(help="Channel from 0, or mix. [0]")] = None,
    allow_upsampling: Annotated[bool, typer.Option(help="Accept recordings below 16 kHz.")] = False,
    skip_bad: Annotated[bool, typer.Option(help="Go on without recordings that cannot be read.")] = False,
    force: Annotated[bool, typer.Option(help="Accept fewer than 10 normals behind a threshold.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
    threads: Annotated[int | None, typer.Option(help="Threads of the front end. Default: all there are.")] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Settings as TOML.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="A setting, as key=value.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Show settings and recordings, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Learn from normal recordings how a machine sounds.

    [bold]asd train --machine fan --id 00[/bold]          one machine of a data root
    [bold]asd train --normal recordings/pump7[/bold]      own recordings
    """
    flags = _flags(locals())
    from asd.train.assemble import require_scorer

    if resume:
        folder = runs / (name or _default_name(machine, flags["data.ids"] or [], normal))
        catalog, settings = _resumed(folder, preset, config, assign or [], flags)
    else:
        catalog, settings = _settled(preset, config, assign or [], flags, weights)
        folder = runs / (name or _default_name(settings.data.machine, settings.data.ids, settings.data.normal))
    if settings.method == "pretrain":
        raise UsageError("the method pretrain makes no detector", "asd pretrain makes weights for --from.")
    tell_all(catalog.notes)
    clips, sections = _choose(catalog, settings)
    require_scorer(settings, len({clip.section for clip in clips}))
    if settings.method != "baseline":
        need_torch()
    if dry_run:
        _show_plan(settings, clips, sections, folder)
        next_step(shell("asd", *(word for word in sys.argv[1:] if word != "--dry-run")))
        return
    others = _others(catalog, settings)
    trained = _train(clips, others, sections, settings, folder, overwrite, resume)
    if trained is None:
        return  # a process of torchrun that is not the first
    if json:
        print_json({"run": str(folder), **trained.detector.describe()})
    else:
        _show(trained, settings, folder)
    next_step(_score_command(folder, catalog, settings))


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the command's parameters stand for; None where one was not given."""
    machine, normal, data = given["machine"], given["normal"], given["data"]
    if machine and normal:
        raise UsageError(
            "--machine and --normal exclude each other", "--normal takes the machine's name from its folder."
        )
    return {
        **flags_of(given, SETTINGS),
        "data.ids": _ids(given["id"]),
        "data.root": str(data) if data else "" if normal else None,
        # One of the two takes the place of the other in a config file, which may be that of a run.
        "data.machine": machine or ("" if normal else None),
        "data.normal": str(normal) if normal else "" if machine else None,
    }


def _resumed(
    folder: Path, preset: str | None, file: Path | None, assignments: list[str], flags: dict[str, Any]
) -> tuple[Catalog, Config]:
    """Return the catalog and the settings of a run to go on with."""
    # A run of own recordings has the machine's name of their folder: what was not given takes no place here.
    asked = {**flags, **{key: flags[key] or None for key in ("data.root", "data.machine", "data.normal")}}
    return _open(stored_settings(folder, preset, file, assignments, asked))


def _settled(
    preset: str | None, file: Path | None, assignments: list[str], flags: dict[str, Any], weights: Path | None
) -> tuple[Catalog, Config]:
    """Return the catalog and the settings; where nothing names a method, the layout of the recordings does."""
    opened: list[tuple[Catalog, Config]] = []

    def method_of(given: dict[str, Any]) -> str:
        from asd.config import parse_config

        catalog, settings = _open(parse_config({"data": given.get("data", {})}, str(file or "")))
        opened.append((catalog, settings))
        layout = catalog.layouts.get(settings.data.machine)
        return {"dcase2020": "contrastive", "mimii": "contrastive", "dcase2021": "finetune"}.get(
            str(layout), "baseline"
        )

    settings = settings_of(preset, file, assignments, flags, method_of, weights)
    refuse_idle(settings, file, assignments, flags, asked=not opened)
    if opened:
        ((catalog, located),) = opened
        return catalog, settings.model_copy(update={"data": located.data})
    return _open(settings)


def _ids(text: str | None) -> list[str] | None:
    """Return the sections that ``--id`` names, each once; an empty list for all, None where it was not given."""
    if text is None:
        return None
    ids = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not ids:
        raise UsageError(f"--id {text!r} names no machine ID", "For example: --id 00, or --id 00,02, or --id all")
    return [] if ids == ["all"] else ids


def _open(settings: Config) -> tuple[Catalog, Config]:
    """Return the catalog, and the settings with the data root and machine spelled out."""
    from asd.data.catalog import machines_named, open_catalog, open_folder

    if not settings.data.machine and not settings.data.normal:
        raise UsageError(
            "which machine? name one of the data root, or a folder of own recordings",
            "asd train --machine fan --id 00, or: asd train --normal FOLDER; asd data list shows what is there",
        )

    if settings.data.normal:
        catalog = open_folder(Path(settings.data.normal))
        if len(several := machines_named(Path(settings.data.normal))) > 1:
            tell_all([Caution(f"taken for one machine: {', '.join(several)} (--data and --machine keep them apart)")])
        where = {"normal": str(Path(settings.data.normal).resolve()), "machine": catalog.machines()[0]}
    else:
        root = data_root(Path(settings.data.root) if settings.data.root else None)
        catalog = open_catalog(root)
        where = {"root": str(catalog.root)}
    return catalog, settings.model_copy(update={"data": settings.data.model_copy(update=where)})


def _choose(catalog: Catalog, settings: Config) -> tuple[list[Clip], list[str]]:
    """Return the training clips of all sections of the machine, and the sections to model."""
    wanted = list(settings.data.ids)
    machine = settings.data.machine
    catalog.select(machine, wanted or None, "train")
    clips = catalog.select(machine, None, "train")
    excluded = {_find(text, clips) for text in settings.data.exclude}
    kept = [c for c in clips if c.path not in excluded]
    if not kept:
        raise UsageError(
            f"--exclude leaves none of the {len(clips)} training recordings of {machine}", "Exclude fewer."
        )
    return kept, wanted or sorted({c.section for c in kept})


def _find(text: str, clips: list[Clip]) -> Path:
    """Return the path of the clip that `--exclude` names, relative to the data root or as a path."""
    for clip in clips:
        if text == clip.name or Path(text).absolute() == clip.path:
            return clip.path
    raise UsageError(f"--exclude {text}: no such training recording.{nearest(text, [c.name for c in clips])}")


def _default_name(machine: str, ids: Sequence[str], normal: Path | str | None) -> str:
    if normal:
        return machine or Path(normal).resolve().stem
    return f"{machine}-{'+'.join(ids) or 'all'}"


def _others(catalog: Catalog, settings: Config) -> list[Clip]:
    """Return the normals of other machines that a classifier of all machines learns from."""
    if settings.method != "finetune" or settings.classifier.classes != "root":
        return []
    own = settings.data.machine
    return [c for m in catalog.machines() if m != own for c in catalog.clips if c.machine == m and c.split == "train"]


def _train(
    clips: list[Clip],
    others: list[Clip],
    sections: list[str],
    settings: Config,
    folder: Path,
    overwrite: bool,
    resume: bool,
) -> Trained | None:
    said = f"{len(clips)} normal recordings of {settings.data.machine}, to model: {', '.join(sections)}"
    if settings.method != "baseline":
        from asd.train.detector import train_detector

        work = partial(train_detector, clips, settings, sections, others=others)
        return train_in(folder, work, settings, said, overwrite=overwrite, resume=resume)
    from asd.runs import new_run
    from asd.train.baseline import train_baseline

    with new_run(folder, overwrite) as staging, (staging / "train.log").open("w", encoding="utf-8", buffering=1) as log:
        say(said)
        trained = drive(train_baseline(clips, settings, sections), lambda line: print(line, file=log))
        trained.write(staging, settings)
    return trained


def _show_plan(settings: Config, clips: list[Clip], sections: list[str], folder: Path) -> None:
    from collections import Counter

    out.print(settings.to_toml(), markup=False, soft_wrap=True)
    out.print(f"run folder: {folder}", markup=False, soft_wrap=True)
    for section, n in sorted(Counter(c.section for c in clips).items()):
        role = "modelled" if section in sections else "helps as a sibling"
        out.print(f"section {section}: {n} training recordings, {role}", markup=False)
    if settings.method != "baseline":
        from asd.cli._training import show_network

        show_network(settings)
        return
    size = 3 * settings.features.n_mels
    out.print(f"parameters: {size * (size + 3) // 2} a section (mean and covariance of {size} features)")
    out.print(
        f"memory: about {len(clips) * size * 8 / 2**20 + 8 * size * size * 8 / 2**20:.0f} MB, one window a recording"
    )


def _show(trained: Trained, settings: Config, folder: Path) -> None:
    out.print(_sections_table(trained))
    for skipped in trained.table.skipped:
        say(f"not read: {skipped.path}: {skipped.reason}", "yellow")
    _show_alarms(trained)
    _show_most_different(trained, settings, folder)
    say(f"Detector: {folder}")


def _sections_table(trained: Trained) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from asd.detect.baseline import SIBLINGS

    detector = trained.detector
    table = Table(title=escape(f"{detector.machine}: {detector.primary}"), title_justify="left")
    for column in ("section", "normals", "windows", "hours", "threshold", "false alarms", "95 % interval", "a"):
        table.add_column(column, justify="right")
    for section in detector.sections:
        facts = detector.describe()["sections"][section]
        own = [r for r in trained.table.read if r.clip.section == section]
        seconds = [r.health.seconds for r in own if r.health.seconds is not None]
        low, high = facts["interval"]
        table.add_row(
            section,
            str(len(own)),
            str(sum(len(r.starts_W) for r in own)),
            f"{sum(seconds) / 3600:.2f}" if seconds else "–",
            f"{facts['threshold']:.4g}",
            f"{facts['false_alarm_rate']:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{facts['sibling_weight']:g}" if detector.baseline.name == SIBLINGS else "–",
        )
    return table


def _show_alarms(trained: Trained) -> None:
    """Print the false alarms a day that the thresholds let expect, for a machine heard without a pause."""
    from statistics import median

    detector = trained.detector
    for section, facts in detector.describe()["sections"].items():
        own = [r.health.seconds for r in trained.table.read if r.clip.section == section]
        seconds = [s for s in own if s is not None]
        if not seconds:
            continue
        # Of long recordings that were cut up, what comes next is as likely a short one.
        heard = detector.spec.clip_seconds if facts["stretches"] else median(seconds)
        a_day = 86_400 / heard
        low, high = (f"{a_day * rate:.0f}" for rate in facts["interval"])
        out.print(
            f"{detector.machine} {section}: {a_day * facts['false_alarm_rate']:.0f} false alarms a day expected "
            f"(95 % interval {low} to {high}) at one recording of {heard:g} s after the other, {a_day:.0f} a day",
            markup=False,
            soft_wrap=True,
        )


def _show_most_different(trained: Trained, settings: Config, folder: Path) -> None:
    """Name the normals to listen to, and the command that leaves them out."""
    normals = [n for n in trained.normals() if n["score"] is not None]
    if len(normals) <= MOST_DIFFERENT:
        places = [(w[1], w[0], n["file"]) for n in normals for w in n["windows"]]
        out.print("The stretches that differ most, to listen to:")
        for score, start, file in sorted(places, reverse=True)[:MOST_DIFFERENT]:
            out.print(
                f"  {score:8.4g}  {file} at {int(start) // 60}:{int(start) % 60:02d}", markup=False, soft_wrap=True
            )
        return
    normals.sort(key=lambda n: n["severity"], reverse=True)
    out.print("The normals that differ most, to listen to:")
    for n in normals[:MOST_DIFFERENT]:
        mark = "above the threshold" if n["anomalous"] else ""
        out.print(f"  {n['score']:8.4g}  {n['file']}  {mark}", markup=False, soft_wrap=True)
    names = [*settings.data.exclude, *(n["path"] for n in normals[:MOST_DIFFERENT])]
    left_out = [word for name in names for word in ("--exclude", name)]
    out.print(
        "Leave out what is not normal, and only that: without the odd but normal ones, alarms are false more often."
    )
    command = shell("asd", "train", "-c", folder / "config.toml", "--runs", folder.parent, "--name", folder.name)
    out.print(f"  {command} --overwrite {shell(*left_out)}", markup=False, soft_wrap=True)


def _score_command(folder: Path, catalog: Catalog, settings: Config) -> str:
    wanted = settings.data.ids or None
    if catalog.select(settings.data.machine, wanted, "test"):
        return shell("asd", "score", folder)
    return f"{shell('asd', 'score', folder)} NEW_RECORDINGS"
