"""A data set of synthetic machines: which clips there are, and the folder they are written to.

::

    <root>/<machine>/train/normal_id_00_00000000.wav            2020 layout; test/ has normal_ and anomaly_ files
    <root>/<machine>/train/section_00_source_train_normal_0000_spd_90.wav       2022 layout
    <root>/<machine>/attributes_00.csv                          2022 layout: file_name,d1p,d1v
    <root>/synth.csv                                            each clip's fault, severity, SNR
    <root>/synth.toml                                           the recipe; written last

A folder with ``synth.partial.toml`` instead of ``synth.toml`` is one that was not finished.
"""

from __future__ import annotations

import csv
import io
import math
import shlex
import shutil
import tomllib
import wave
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from asd.data.synth.clip import SEVERITIES, Clip, Setting, Unit, render
from asd.data.synth.machines import MACHINES
from asd.data.synth.room import RATE, grid
from asd.errors import DataError, RunFolderError, UsageError, nearest
from asd.events import Event, Progress
from asd.features import available_threads

Layout = Literal["dcase2020", "dcase2022"]

DEFAULT_MACHINES = ("fan", "pump", "slider", "valve")
DEFAULT_IDS = 3
DEFAULT_TRAIN = 100
DEFAULT_TEST = 100

RECIPE, UNFINISHED, TABLE = "synth.toml", "synth.partial.toml", "synth.csv"
COLUMNS = ("path", "machine", "section", "split", "domain", "label", "fault", "severity", "snr_db", "seed")

TARGET_SHARE = 20
"""One training clip in so many is of the target domain, but at least `FEWEST_TARGET`."""
FEWEST_TARGET = 3

Domain = Literal["source", "target"]
Shift = Mapping[Domain, tuple[Setting, ...]]

SHIFTS: tuple[Shift, ...] = (
    {
        "source": tuple(Setting("spd", str(p), speed=p / 100) for p in (85, 90, 95, 100)),
        "target": tuple(Setting("spd", str(p), speed=p / 100) for p in (110, 120)),
    },
    {
        "source": tuple(Setting("ld", str(p), load=p / 100) for p in (60, 80, 100)),
        "target": tuple(Setting("ld", str(p), load=p / 100) for p in (130, 150)),
    },
    {
        "source": tuple(Setting("noise", name, hall=k) for k, name in enumerate("AB")),
        "target": (Setting("noise", "C", hall=2),),
    },
    {
        "source": tuple(Setting("mic", str(k + 1), microphone=k) for k in range(2)),
        "target": (Setting("mic", "3", microphone=2),),
    },
)
"""How domains differ in the 2022 layout: by speed, load (both in percent of rated), the hall's noise, or the place of
the microphone; section 00 by the first, 01 by the second, and round again."""
PLACES = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written."""

    root: Path
    clips: int
    anomalies: int
    seconds: float
    """Of sound, all clips together."""


def is_synthetic(root: Path) -> bool:
    """Say whether a data root was made by `write_dataset`."""
    return (root / TABLE).is_file()


def write_dataset(
    root: Path,
    *,
    machines: Sequence[str] = DEFAULT_MACHINES,
    ids: int | Sequence[str] = DEFAULT_IDS,
    train: int = DEFAULT_TRAIN,
    test: int = DEFAULT_TEST,
    layout: Layout = "dcase2020",
    seconds: float = 10.0,
    seed: int = 0,
    snr_db: float = 6.0,
    threads: int | None = None,
    overwrite: bool = False,
) -> Generator[Event, None, Summary]:
    """Make recordings of machines that do not exist.

    Every clip depends on the seed and its own place alone: more machines, IDs or clips leave the others' bytes as
    they are, and so does the number of threads. (The bytes are those of one build of numpy and scipy: another may
    round the last bit of a transform differently.) Memory does not grow with the size of the set.

    Args:
        root: folder to make; it becomes a data root.
        machines: some of `MACHINES`.
        ids: how many machines of each type (IDs 00, 02, 04, ... as in 2020, sections 00, 01, ... as in 2022), or
            their two-digit names.
        train: normal training recordings of each; in the 2022 layout a twentieth, at least 3, of the target domain.
        test: test recordings of each, half of them faulty (the odd one is normal); in the 2022 layout half of the
            target domain. Anomalies go through all faults and severities in turn.
        layout: ``"dcase2020"``, or ``"dcase2022"`` with source and target domains and attributes.
        seconds: length of a recording, 1 or more.
        seed: 0 or more.
        snr_db: power of a machine as rated over that of its hall's noise; each clip's own is in the table.
        threads: clips made at a time; default all the cores that this process may use.
        overwrite: replace an older synthetic data set at `root`; anything else in the way stays.

    Yields:
        Progress, in clips.

    Returns:
        What was written.

    Raises:
        UsageError: unknown machine or layout, impossible number.
        RunFolderError: `root` is not empty.
        DataError: the disk is full, `root` cannot be written.
    """
    sections = _checked(machines, ids, train, test, layout, seconds, seed, snr_db, threads)
    recipe = {
        "machines": list(machines), "ids": list(sections), "train": train, "test": test, "layout": layout,
        "seconds": float(seconds), "seed": seed, "snr_db": float(snr_db), "severities": list(SEVERITIES),
    }  # fmt: skip
    total = len(machines) * len(sections) * (train + test)
    anomalies = len(machines) * len(sections) * (test // 2)
    g = grid(round(seconds * RATE))

    def units() -> Iterator[tuple[Unit, Sequence[Clip]]]:
        for machine in machines:
            for section in sections:
                unit = Unit.draw(machine, section, g, seed, places=1 if layout == "dcase2020" else PLACES)
                yield unit, plan(machine, section, train, test, layout)

    def make(unit: Unit, clip: Clip) -> dict[str, object]:
        rendering = render(unit, clip, seed, snr_db)
        path = root / file_name(clip)
        _write_wav(path, rendering.recording().tobytes())
        return _row(clip, rendering.snr_db, seed)

    try:
        _prepare(root, recipe, overwrite)
        with (root / TABLE).open("w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for done, row in enumerate(_in_order(make, units(), threads or available_threads()), start=1):
                writer.writerow(row)
                yield Progress("synthesising", done, total)
        if layout == "dcase2022":
            for machine in machines:
                for section in sections:
                    _write_attributes(root, plan(machine, section, train, test, layout))
        (root / UNFINISHED).replace(root / RECIPE)
    except OSError as error:
        path = error.filename or root
        raise DataError(f"{path}: cannot be written ({error.strerror or error})", _disk_hint(root)) from error
    return Summary(root, total, anomalies, total * float(seconds))


def plan(machine: str, section: str, train: int, test: int, layout: Layout) -> list[Clip]:
    """List the clips of one machine ID, in the order of the table.

    Args:
        machine, section: whose.
        train, test, layout: as in `write_dataset`.
    """
    anomalies = test // 2
    normals = test - anomalies
    if layout == "dcase2020":
        clips = [Clip(machine, section, "train", 0, i) for i in range(train)]
        clips += [Clip(machine, section, "test", 0, i) for i in range(normals)]
        return clips + [_faulty(Clip(machine, section, "test", 1, i)) for i in range(anomalies)]

    clips = []
    few = min(train, max(FEWEST_TARGET, train // TARGET_SHARE))
    shift = SHIFTS[int(section) % len(SHIFTS)]
    blocks: tuple[tuple[Domain, Literal["train", "test"], int, int], ...] = (
        ("source", "train", 0, train - few),
        ("source", "test", 0, normals - normals // 2),
        ("source", "test", 1, anomalies - anomalies // 2),
        ("target", "train", 0, few),
        ("target", "test", 0, normals // 2),
        ("target", "test", 1, anomalies // 2),
    )
    for domain, split, label, count in blocks:
        settings = shift[domain]
        for i in range(count):
            clip = Clip(machine, section, split, label, i, domain, settings[i % len(settings)])
            clips.append(_faulty(clip) if label else clip)
    return clips


def _faulty(clip: Clip) -> Clip:
    """Give the clip its fault and severity: all combinations in turn, the faults taking turns first."""
    faults = tuple(MACHINES[clip.machine].faults)
    turn, fault = divmod(clip.index, len(faults))
    severity = SEVERITIES[(turn + fault) % len(SEVERITIES)]
    return replace(clip, fault=faults[fault], severity=severity)


def file_name(clip: Clip) -> str:
    """Return the clip's path below the root, POSIX."""
    label = "anomaly" if clip.label else "normal"
    if not clip.domain:
        return f"{clip.machine}/{clip.split}/{label}_id_{clip.section}_{clip.index:08d}.wav"
    attributes = f"{clip.setting.attribute}_{clip.setting.value}"
    stem = f"section_{clip.section}_{clip.domain}_{clip.split}_{label}_{clip.index:04d}_{attributes}"
    return f"{clip.machine}/{clip.split}/{stem}.wav"


def _in_order(
    make: Callable[[Unit, Clip], dict[str, object]], units: Iterator[tuple[Unit, Sequence[Clip]]], threads: int
) -> Generator[dict[str, object], None, None]:
    """Make all clips, a few ahead of the one that is handed on; whatever ends this loop, ends the threads' work."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="synth")
    ahead: deque[Future[dict[str, object]]] = deque()
    try:
        for unit, clips in units:
            for clip in clips:
                ahead.append(pool.submit(make, unit, clip))
                if len(ahead) > 4 * threads:
                    yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_wav(path: Path, pcm: bytes) -> None:
    """Write 16-bit mono samples. The bytes are laid out first, so that a full disk is an OSError of one write."""
    riff = io.BytesIO()
    with wave.open(riff, "wb") as header:
        header.setnchannels(1)
        header.setsampwidth(2)
        header.setframerate(RATE)
        header.writeframes(pcm)
    path.write_bytes(riff.getvalue())


def _row(clip: Clip, snr_db: float, seed: int) -> dict[str, object]:
    return {
        "path": file_name(clip),
        "machine": clip.machine,
        "section": clip.section,
        "split": clip.split,
        "domain": clip.domain,
        "label": clip.label,
        "fault": clip.fault,
        "severity": clip.severity or "",
        "snr_db": f"{snr_db:.2f}",
        "seed": seed,
    }


def _write_attributes(root: Path, clips: Sequence[Clip]) -> None:
    """The table that comes with the challenge since 2021; source before target, train before test."""
    if not clips:
        return
    path = root / clips[0].machine / f"attributes_{clips[0].section}.csv"
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("file_name", "d1p", "d1v"))
        writer.writerows((file_name(clip), clip.setting.attribute, clip.setting.value) for clip in clips)


def _prepare(root: Path, recipe: dict[str, Any], overwrite: bool) -> None:
    """Clear the way, make the folders, and leave the recipe as that of an unfinished set."""
    if root.exists() and not root.is_dir():
        raise RunFolderError(f"{root}: is a file", "Name a folder that is empty or not there yet.")
    if root.is_dir() and any(root.iterdir()):
        _clear(root, overwrite)
    for machine in recipe["machines"]:
        for split in ("train", "test"):
            (root / machine / split).mkdir(parents=True, exist_ok=True)
    (root / UNFINISHED).write_text(tomli_w.dumps(recipe), encoding="utf-8")


def _clear(root: Path, overwrite: bool) -> None:
    """Take away an older synthetic set, and nothing else.

    Raises:
        RunFolderError: it must not be overwritten, or is none.
    """
    old = next((root / name for name in (RECIPE, UNFINISHED) if (root / name).is_file()), None)
    if old is None:
        raise RunFolderError(
            f"{root}: is not empty, and no synthetic data set", "Name another folder: asd data synth FOLDER"
        )
    if not overwrite:
        state = "a synthetic data set" if old.name == RECIPE else "an unfinished synthetic data set"
        raise RunFolderError(f"{root}: {state} is in the way", f"asd data synth {shlex.quote(str(root))} --overwrite")
    try:
        machines = [m for m in tomllib.loads(old.read_text(encoding="utf-8"))["machines"] if m in MACHINES]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise RunFolderError(f"{old}: not a recipe ({error})", f"Remove the folder {root} by hand.") from error
    for machine in machines:
        if (root / machine).exists():
            shutil.rmtree(root / machine)
    (root / TABLE).unlink(missing_ok=True)
    old.unlink()


def _checked(
    machines: Sequence[str], ids: int | Sequence[str], train: int, test: int, layout: str,
    seconds: float, seed: int, snr_db: float, threads: int | None,
) -> tuple[str, ...]:  # fmt: skip
    """Return the sections, after every argument has been found possible."""
    for machine in machines:
        if machine not in MACHINES:
            raise UsageError(
                f"no synthetic machine named {machine!r}.{nearest(machine, MACHINES)}",
                f"Machines: {', '.join(MACHINES)}.",
            )
    if layout not in get_args(Layout):
        raise UsageError(
            f"no layout named {layout!r}.{nearest(layout, get_args(Layout))}", "Layouts: dcase2020, dcase2022."
        )
    if isinstance(ids, int):
        step = 2 if layout == "dcase2020" else 1
        ids = [f"{step * k:02d}" for k in range(ids)]
    for section in ids:
        if not (len(section) == 2 and section.isascii() and section.isdigit()):
            raise UsageError(
                f"id {section!r} is not two digits",
                "IDs are two digits, as 00 or 04, and at most 50 (100 in the 2022 layout).",
            )
    least = {
        "machines": (len(machines), 1),
        "ids": (len(ids), 1),
        "train": (train, 0),
        "test": (test, 0),
        "train + test": (train + test, 1),
        "seed": (seed, 0),
        "seconds": (seconds, 1.0),
        "threads": (1 if threads is None else threads, 1),
    }
    if not math.isfinite(snr_db):
        raise UsageError(f"snr_db = {snr_db:g}", "Give a number of dB, such as 6.")
    for name, (value, lowest) in least.items():
        if not value >= lowest:
            raise UsageError(f"{name} = {value:g}", f"Give {lowest:g} or more.")
    if len(set(machines)) < len(machines) or len(set(ids)) < len(ids):
        raise UsageError("a machine or an id is named twice", "Name each once.")
    return tuple(ids)


def _disk_hint(root: Path) -> str:
    return f"Free some space, or name a folder that you may write to: asd data synth FOLDER (now {root})"
