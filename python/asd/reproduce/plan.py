"""What a grid will take: hours, from a short training of each method on a few of its recordings.

Where some cells of a method are finished, they tell. Else a probe runs the same commands on links to so many recordings
that an epoch has a step or two: that shows how long a process takes to begin, a row of a batch to be trained on, and a
recording to pass the network once.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asd.config import Config
from asd.data.catalog import Clip
from asd.data.manifest import open_manifest
from asd.events import Caution, Event, Progress
from asd.reproduce.folder import Folder, State
from asd.reproduce.grid import Cell, Grid
from asd.reproduce.methods import Method, Size
from asd.reproduce.process import start

EPOCHS = 2
"""Of a probe; the last one counts, when everything is warm."""
PATIENCE = 600.0
"""Seconds after which a probe tells no more."""
HELD, HELD_SHARE = 10, 0.1
"""Normals of a section that no network is trained on, at least, and their share."""
BATCH = 64


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds until a process works, for a row of a batch, and for a recording that passes the network."""

    start: float
    row: float
    clip: float


@dataclass(frozen=True, slots=True)
class Line:
    """A method's part of the plan.

    Attributes:
        cells: all of them.
        open: those that are not finished.
        seconds: that these will take; None: not known.
    """

    method: str
    title: str
    cells: int
    open: int
    seconds: float | None


def plan(
    grid: Grid, folder: Folder | None, threads: int | None, device: str | None, pretrain_data: Path | None
) -> Generator[Event, None, list[Line]]:
    """Return what is to be done, by method, and how long it will take.

    Args:
        folder: with what is there already; None: nothing is.
        threads, device: as `asd train` takes them.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in grid.cells:
        groups.setdefault(cell.method.name, []).append(cell)
    paces: dict[tuple[str, ...], Pace | None] = {}
    lines = []
    for number, (name, cells) in enumerate(groups.items()):
        yield Progress("probing", number, len(groups))
        method = cells[0].method
        done = [c for c in cells if folder is not None and folder.state(c) == State.done]
        still = [c for c in cells if c not in done]
        seconds: float | None = 0.0
        if still and folder is not None and all(c.takes_over in {d.takes_over for d in done} for c in still):
            seconds = _as_before(folder, done, still)
        elif still:
            key = method.preset, *method.assignments(grid.size)
            if key not in paces:
                paces[key] = yield from _probe(method, grid, threads, device, pretrain_data)
            seconds = _expected(still, paces[key], method.config(grid.size), grid, pretrain_data)
        lines.append(Line(name, method.title, len(cells), len(still), seconds))
    yield Progress("probing", len(groups), len(groups))
    return lines


def _as_before(folder: Folder, done: Sequence[Cell], still: Sequence[Cell]) -> float:
    """Return how long cells will take if they take as long as those that are finished."""
    took = {
        kind: [r.seconds for c in done if c.takes_over == kind and (r := folder.record(c.name))]
        for kind in (False, True)
    }
    return sum(sum(took[c.takes_over]) / len(took[c.takes_over]) for c in still)


def _expected(
    cells: Sequence[Cell], pace: Pace | None, config: Config, grid: Grid, pretrain_data: Path | None
) -> float | None:
    if pace is None:
        return None
    everything = sum(c.split == "train" for c in grid.catalog.clips)
    total = 0.0
    for cell in cells:
        normals, tested = cell.clips
        trained = everything if cell.method.shared else normals
        if not cell.machine:
            trained = len(open_manifest(pretrain_data)) if pretrain_data else 0
        rows = 0 if cell.takes_over else rows_of(config, trained)
        total += pace.start + rows * pace.row + (normals + tested) * pace.clip
    return total


def rows_of(config: Config, recordings: int) -> int:
    """Return how many rows of batches a training has, if each recording is one window."""
    if config.method == "baseline":
        return 0
    kept = recordings if config.method == "pretrain" else recordings - math.ceil(HELD_SHARE * recordings)
    stretches = 1
    if config.classifier.frames is not None and config.method == "finetune":
        stretches = 1 + (config.features.frames - config.classifier.frames) // config.classifier.hop
    settings = config.optimiser
    return max(settings.epochs * kept * stretches, settings.least_steps * (settings.batch_size or BATCH))


def _probe(
    method: Method, grid: Grid, threads: int | None, device: str | None, pretrain_data: Path | None
) -> Generator[Event, None, Pace | None]:
    """Time a short training; None where it fails, which the cells themselves will say more of."""
    config = method.config(grid.size)
    batch = config.optimiser.batch_size or BATCH
    with tempfile.TemporaryDirectory(prefix="asd-probe-") as made:
        root = Path(made)
        if config.method == "pretrain":
            assert pretrain_data is not None
            batch, clips = _some_audio(root / "data", pretrain_data, batch), 0
            words = ["pretrain", "--data", str(root / "data")]
        else:
            machine = grid.machines[0]
            batch, clips = _some_normals(
                root / "data", grid.catalog.root, grid.catalog.select(machine, None, "train"), batch
            )
            words = ["train", "--machine", machine, "--id", "all", "--data", str(root / "data")]
        words += _settings(method, grid.size, batch, threads, device)
        words += ["--runs", str(root), "--name", "probe"]
        ends, log = _timed(words)
        if "end" not in ends:
            yield Caution(f"{method.title}: no probe, so its hours are not known ({log})")
            return None
        return _pace(root / "probe" / "metrics.jsonl", ends, max(1, clips))


def _settings(method: Method, size: Size, batch: int, threads: int | None, device: str | None) -> list[str]:
    words = ["--preset", method.preset]
    for assignment in method.assignments(size):
        words += ["--set", assignment]
    if method.preset != "baseline":
        queue = method.config(size).moco.queue_size
        words += ["--epochs", str(EPOCHS), "--batch-size", str(batch), "--set", "optimiser.least_steps=0"]
        words += ["--set", f"moco.queue_size={max(1, (queue or 0) // batch) * batch}"] if queue else []
    words += ["--device", device] if device and method.chance else []
    # Of small sets, few normals are left.
    words += ["--force"] if method.config(size).method != "pretrain" else []
    return [*words, "--threads", str(threads)] if threads else words


def _pace(metrics: Path, ends: dict[str, float], clips: int) -> Pace:
    """Return the pace that a probe went at.

    Args:
        ends: seconds after its start when each stage ended.
        clips: that passed the network after the training.
    """
    row = 0.0
    if metrics.is_file():
        last = json.loads(metrics.read_text(encoding="utf-8").splitlines()[-1])
        row = 1 / last["clips_per_second"]
    start = ends.get("reading", ends["end"])
    after = max(0.0, ends.get("embedding", 0.0) - ends.get("training", ends.get("embedding", 0.0)))
    return Pace(start, row, after / clips)


def _timed(words: list[str]) -> tuple[dict[str, float], str]:
    """Run a command; return when each of its stages ended, ``"end"`` if it ended well, and its last words."""
    began, ends, said = time.monotonic(), {}, ""
    process = start([sys.executable, "-m", "asd", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            stage, _, progress = line.strip().rpartition(" ")
            done, slash, total = progress.partition("/")
            if slash and done == total:
                ends[stage] = time.monotonic() - began
            if line.startswith("asd: "):
                said = line.removeprefix("asd: ").strip()
            if time.monotonic() - began > PATIENCE:
                said = f"it took more than {PATIENCE:.0f} seconds"
                break
    finally:
        process.stderr.close()
        if process.poll() is None and (said or "end" not in ends):
            process.terminate()
        process.wait()
    if process.returncode == 0:
        ends["end"] = time.monotonic() - began
    return ends, said or f"it ended with {process.returncode}"


def _some_normals(folder: Path, root: Path, clips: Sequence[Clip], batch: int) -> tuple[int, int]:
    """Link so many normals of each section that one or two batches are left to train on.

    Returns:
        The size of a batch, smaller where there are fewer, and the number of recordings.
    """
    sections: dict[str, list[Clip]] = {}
    for clip in clips:
        sections.setdefault(clip.section, []).append(clip)
    each = math.ceil(2 * batch / len(sections)) + 2 * HELD
    chosen = [clip for own in sections.values() for clip in own[:each]]
    for clip in chosen:
        link = folder / clip.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(clip.path)
    if (root / "features.json").is_file():
        (folder / "features.json").symlink_to(root / "features.json")
    held = sum(max(HELD, math.ceil(HELD_SHARE * len(own[:each]))) for own in sections.values())
    return max(2, min(batch, (len(chosen) - held) // 2)), len(chosen)


def _some_audio(folder: Path, data: Path, batch: int) -> int:
    """Link recordings to pre-train on; return the size of a batch."""
    manifest = open_manifest(data)
    folder.mkdir()
    chosen = min(2 * batch, len(manifest))
    for number in range(chosen):
        path = Path(manifest.paths[number])
        (folder / f"{number}{path.suffix}").symlink_to(path)
    return max(2, min(batch, chosen // 2))
