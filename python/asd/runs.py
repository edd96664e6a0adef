"""The run folder: plain files that each stage leaves for the next.

``runs/<name>/{config.toml, env.json, train.log, detector/, profile.npz, embeddings.npz, normals.jsonl,
recordings.jsonl, scores.csv, scores-<scorer>.csv, metrics.json, report/, DONE}``. A report needs no model, because
everything that it says lies in these files.
"""

from __future__ import annotations

import csv
import fcntl
import glob
import io
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from asd.errors import DataError, RunFolderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DETECTOR_KEYS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("machine", "scorer", "aggregate"), str),
    **dict.fromkeys(("spec", "sections"), dict),
    "beside": list,
    "frames": int,
    "false_alarm_rate": (int, float),
}
"""What every reader of ``detector.json`` relies on."""

SCORE_COLUMNS = ("path", "machine", "section", "domain", "label", "score", "threshold", "anomalous")


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One line of ``scores.csv``.

    Attributes:
        path: relative to the data root, or absolute for a recording outside it.
        label: 0 normal, 1 anomaly, None unknown.
        score: larger is more anomalous.
    """

    path: str
    machine: str
    section: str
    domain: str | None
    label: int | None
    score: float
    threshold: float
    anomalous: bool


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run folder."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Run:
        """Return the run at `path`.

        Raises:
            RunFolderError: no run folder, or one whose training did not end.
        """
        if not (path / "config.toml").is_file():
            if runs := sorted(p.parent for p in path.glob("*/DONE")):
                raise RunFolderError(f"{path}: holds runs and is none itself", f"Name one of them: {runs[0]}")
            raise RunFolderError(f"{path}: no run folder here", f"Runs in {path.parent}: {_names(path.parent)}")
        if not (path / "DONE").is_file():
            way = "Go on with the same command and --resume" if (path / "checkpoint").is_dir() else "Train it again"
            raise RunFolderError(f"{path}: its training did not end", f"{way}, or start anew with --overwrite.")
        return cls(path)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    def config(self) -> dict[str, Any]:
        """Return the settings as stored."""
        file = self.path / "config.toml"
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(file, error) from error

    def detector(self) -> dict[str, Any]:
        """Return ``detector.json``."""
        file = self.path / "detector" / "detector.json"
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            for key, kind in _DETECTOR_KEYS.items():
                if not isinstance(value[key], kind):
                    raise ValueError(f"{key} = {value[key]!r}")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _damaged(file, error) from error
        return value  # type: ignore[no-any-return]

    def scores(self) -> list[ScoreRow]:
        """Return ``scores.csv``.

        Raises:
            RunFolderError: nothing was scored yet.
        """
        file = self.path / "scores.csv"
        if not file.is_file():
            raise RunFolderError(f"{self.path}: nothing scored yet", f"asd score {self.path}")
        return read_scores(file)

    def beside(self) -> dict[str, list[ScoreRow]]:
        """Return the scores of the scorers fitted beside the primary one, by the scorer's name."""
        files = sorted(self.path.glob("scores-*.csv"))
        return {f.stem.removeprefix("scores-"): read_scores(f) for f in files}

    def recordings(self) -> list[dict[str, Any]]:
        """Return ``recordings.jsonl``: what was scored, in the order of ``scores.csv``."""
        return read_jsonl(self.path / "recordings.jsonl")

    def normals(self) -> list[dict[str, Any]]:
        """Return ``normals.jsonl``: the training normals, with the scores of fits that had not seen them, or null."""
        return read_jsonl(self.path / "normals.jsonl")

    def profile(self) -> dict[str, NDArray[Any]]:
        """Return ``profile.npz``: mean and deviation of the normals' log-mels, ln units, for each section."""
        return _read_npz(self.path / "profile.npz")

    def embeddings(self) -> dict[str, NDArray[Any]]:
        """Return ``embeddings.npz``: the training normals as the detector sees them, and their files."""
        return _read_npz(self.path / "embeddings.npz")


@contextmanager
def new_run(path: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write a run into; it takes the name `path` only when the block ends well.

    An interrupted or failed training therefore leaves neither half a run nor a hole where an older one was.

    Raises:
        RunFolderError: something is in the way.
        DataError: the folder cannot be written.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        hint = "Choose another --name or --runs."
        raise DataError(f"{os.fsencode(path)!r}: a name that is not valid UTF-8", hint) from None
    _tidy(path)
    in_the_way = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if in_the_way and not overwrite:
        raise RunFolderError(f"{path}: is in the way", "Replace it with --overwrite, or choose another --name.")
    if in_the_way and not (path / "config.toml").is_file():
        raise RunFolderError(
            f"{path}: is in the way and is no run folder, so --overwrite leaves it alone",
            "Choose another --name.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two trainings of one name must not write into each other.
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".new", dir=path.parent))
        staging.chmod(0o777 & ~_umask())
    except OSError as error:
        hint = "Choose a folder that you may write to with --runs."
        raise DataError(f"{path}: cannot be written ({error.strerror})", hint) from error
    try:
        yield staging
        write_text(staging / "DONE", "")
        _take_name(staging, path, overwrite)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def training_run(path: Path, *, overwrite: bool, resume: bool) -> Iterator[Path]:
    """Give the folder of a long training, which keeps its checkpoints under its own name from the start.

    An interrupted training can be gone on with; only one process at a time may work in the folder.

    Args:
        overwrite: remove an older run of this name.
        resume: go on with a training that did not end.

    Raises:
        RunFolderError: something is in the way, nothing can be resumed, or another training is at work there.
        DataError: the folder cannot be written.
    """
    if resume:
        if not (path / "config.toml").is_file():
            raise RunFolderError(f"{path}: no training to go on with", f"Runs in {path.parent}: {_names(path.parent)}")
        if (path / "DONE").is_file():
            raise RunFolderError(
                f"{path}: its training has ended, there is nothing to resume", "Train it anew with --overwrite."
            )
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        _make_way(path, overwrite)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    except OSError as error:
        hint = "Choose a folder that you may write to with --runs."
        raise DataError(f"{path}: cannot be written ({error.strerror})", hint) from error
    with lock:
        _lock(lock, path)
        yield path
        (path / ".lock").unlink(missing_ok=True)
        write_text(path / "DONE", "")


def _make_way(path: Path, overwrite: bool) -> None:
    """Remove an older run, if that is wanted and it is one."""
    is_run = (path / "config.toml").is_file()
    begun = is_run and not (path / "DONE").is_file()
    if not overwrite:
        ways = "go on with it with --resume, replace it with --overwrite" if begun else "Replace it with --overwrite"
        raise RunFolderError(
            f"{path}: is in the way" + (" (its training did not end)" if begun else ""),
            f"{ways[0].upper()}{ways[1:]}, or choose another --name.",
        )
    if not is_run and not (path.is_dir() and {p.name for p in path.iterdir()} <= {".lock", "train.log"}):
        raise RunFolderError(
            f"{path}: is in the way and is no run folder, so --overwrite leaves it alone", "Choose another --name."
        )
    if (path / ".lock").is_file():
        with (path / ".lock").open("w") as lock:
            _lock(lock, path)
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be removed ({error.strerror})", "Choose another --name.") from error


def _lock(stream: IO[str], path: Path) -> None:
    """Make sure that no other process works in a run folder; the system lets go when this one ends, however it does."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RunFolderError(
            f"{path}: another training is at work in it", "Wait for its end, or choose another --name."
        ) from error


def _take_name(staging: Path, path: Path, overwrite: bool) -> None:
    """Rename a finished run to `path`; an older one goes only when the new one stands."""
    aside = staging.with_suffix(".old")
    try:
        if overwrite and path.exists():
            path.rename(aside)
        try:
            staging.rename(path)
        except BaseException:
            if aside.exists() and not path.exists():
                aside.rename(path)
            raise
    except OSError as error:
        raise RunFolderError(
            f"{path}: another run took this name meanwhile ({error.strerror})", "Choose another --name."
        ) from error
    finally:
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _tidy(path: Path) -> None:
    """Clear what a killed training of this name left behind; an older run that it had moved aside comes back."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.*"):
        _, pid, *_, kind = left.name.removeprefix(f".{path.name}").split(".")
        if not pid.isdecimal() or kind not in ("new", "old") or Path(f"/proc/{pid}").exists():
            continue
        if kind == "old" and not path.exists():
            left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(file: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all: beside, fsync, rename."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """As `write_text`, for bytes.

    Raises:
        DataError: disk full, folder not writable; names the file.
    """
    # The process's number: two that write one file must not write into each other's halves.
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if not isinstance(error, OSError):
            raise  # interrupted
        raise DataError(
            f"{file}: cannot be written ({error.strerror})", "Free space or choose another folder."
        ) from error


def write_npz(file: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as an uncompressed ``.npz``, whole or not at all."""
    import numpy as np

    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_bytes(file, stream.getvalue())


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz``. Raises DataError for a damaged one."""
    import zipfile

    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"{file}: missing or damaged ({_reason(error)})", "Train the run again with --overwrite.")


def _reason(error: Exception) -> str:
    """Return what went wrong in a line, without the file's name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError):
        return f"no {error.args[0]!r}"
    return str(error).partition("\n")[0] or type(error).__name__


def write_jsonl(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(file, "".join(lines))


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line.

    Raises:
        DataError: names the file and the line.
    """
    rows = []
    try:
        # Not splitlines(), which also splits at characters that names may hold.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {_reason(error)}", "Score the run again: asd score RUN") from error
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("no JSON object")
            rows.append(row)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}:{number}: {error}", "Score the run again: asd score RUN") from error
    return rows


def write_scores(file: Path, rows: Iterable[ScoreRow]) -> None:
    """Write ``scores.csv``; scores are written with all their digits."""
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(SCORE_COLUMNS)
    for r in rows:
        label = "" if r.label is None else r.label
        values = repr(float(r.score)), repr(float(r.threshold)), int(r.anomalous)
        table.writerow((r.path, r.machine, r.section, r.domain or "", label, *values))
    write_text(file, stream.getvalue())


def read_scores(file: Path) -> list[ScoreRow]:
    """Read ``scores.csv``.

    Raises:
        DataError: other columns, or a line that is no score; names the file and the line.
    """
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            table = csv.DictReader(stream)
            if tuple(table.fieldnames or ()) != SCORE_COLUMNS:
                raise DataError(f"{file}: its columns are not {','.join(SCORE_COLUMNS)}", "Score the run again.")
            return [_score_row(row) for row in table]
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}", "Score the run again: asd score RUN") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{file}:{table.line_num}: {error}", "Score the run again: asd score RUN") from error


def _score_row(row: dict[str, str]) -> ScoreRow:
    return ScoreRow(
        path=row["path"],
        machine=row["machine"],
        section=row["section"],
        domain=row["domain"] or None,
        label=int(row["label"]) if row["label"] else None,
        score=float(row["score"]),
        threshold=float(row["threshold"]),
        anomalous=bool(int(row["anomalous"])),
    )


def _names(folder: Path) -> str:
    """Return the runs of a folder, comma-separated."""
    found = sorted(p.parent.name for p in folder.glob("*/DONE")) if folder.is_dir() else []
    return ", ".join(found) or "none; make one with asd train"
