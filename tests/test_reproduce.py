"""A paper's whole table: the grid, who works on what, what a kill leaves, and the verdicts beside published figures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from asd.data.catalog import open_catalog
from asd.data.synth import write_dataset
from asd.errors import DataError, RunFolderError, Stopped, UsageError
from asd.evaluate.bootstrap import Interval
from asd.evaluate.published import part_of, sections_of, split_2022
from asd.reproduce import claims, work
from asd.reproduce.claims import Claims
from asd.reproduce.folder import Folder, Record, State, require_same
from asd.reproduce.grid import Grid, build
from asd.reproduce.methods import CHALLENGES
from asd.reproduce.plan import Pace, _expected, rows_of
from asd.reproduce.results import judge
from asd.reproduce.tables import FILES, csv_text, publish
from asd.reproduce.work import Place, Step
from asd.runs import ScoreRow, write_scores
from commands import Command, run

D2020, D2022 = CHALLENGES["dcase2020"], CHALLENGES["dcase2022"]

# --- recordings whose bytes nobody reads ---


def names_2020(root: Path, machines: dict[str, dict[str, tuple[int, int, int]]]) -> Path:
    """Empty files: machine to ID to the numbers of training normals, test normals and anomalies."""
    for machine, sections in machines.items():
        for folder in ("train", "test"):
            (root / machine / folder).mkdir(parents=True)
        for section, (train, normals, anomalies) in sections.items():
            for folder, kind, n in (
                ("train", "normal", train),
                ("test", "normal", normals),
                ("test", "anomaly", anomalies),
            ):
                for i in range(n):
                    (root / machine / folder / f"{kind}_id_{section}_{i:08}.wav").write_bytes(b"")
    return root


def names_2022(root: Path, machines: list[str], sections: tuple[str, ...], each: int) -> Path:
    """Empty files: so many normals and anomalies of each domain of each section to test."""
    for machine in machines:
        for folder in ("train", "test"):
            (root / machine / folder).mkdir(parents=True)
        for section in sections:
            for domain in ("source", "target"):
                (root / machine / "train" / f"section_{section}_{domain}_train_normal_0000_a_1.wav").write_bytes(b"")
                for kind in ("normal", "anomaly"):
                    for i in range(each):
                        name = f"section_{section}_{domain}_test_{kind}_{i:04}_a_1.wav"
                        (root / machine / "test" / name).write_bytes(b"")
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return names_2020(tmp_path / "data", {m: {"00": (3, 4, 4), "02": (3, 4, 4)} for m in ("fan", "pump")})


def grid_of(root: Path, **asked: Any) -> Grid:
    return build(D2020, open_catalog(root), **asked)


# --- the grid ---


def test_every_machine_method_and_seed_is_a_cell_and_every_cell_is_dealt_once(small: Path) -> None:
    grid = grid_of(small)
    assert [c.name for c in grid.cells][:3] == ["fan-baseline", "pump-baseline", "fan-contrastive-0"]
    assert len(grid.cells) == 2 * (1 + 3 + 3)
    for shards in (1, 2, 3, 20):
        dealt = [cell.name for i in range(shards) for cell in grid.dealt(i + 1, shards)]
        assert sorted(dealt) == sorted(c.name for c in grid.cells)


def test_one_network_of_all_machines_is_trained_once_a_seed(tmp_path: Path) -> None:
    root = names_2022(tmp_path, ["fan", "valve", "gearbox"], ("00",), 2)
    (root / "valve" / "train" / "section_00_source_train_normal_0001_a_1.wav").write_bytes(b"")
    grid = build(D2022, open_catalog(root), methods=["mfn", "mfn+p"], seeds=2, pretrain_data=tmp_path)
    place = {cell.name: i for i, cell in enumerate(grid.cells)}
    assert all(not cell.needs or place[cell.needs] < place[cell.name] for cell in grid.cells)
    followers = {c.name: c.needs for c in grid.cells if c.takes_over}
    assert followers["fan-mfn-1"] == followers["gearbox-mfn-1"] == "valve-mfn-1"  # which has the most normals
    assert grid.cell("valve-mfn+p-1").needs == "pretrain-mobilefacenet-1"
    # With one machine alone the network is still that of the same cell, so a table can be made in parts.
    part = build(D2022, open_catalog(root), machines=["fan"], methods=["mfn"], seeds=2)
    assert [c.name for c in part.cells] == ["valve-mfn-0", "fan-mfn-0", "valve-mfn-1", "fan-mfn-1"]
    assert part.cell("fan-mfn-1").key == grid.cell("fan-mfn-1").key
    # A worker that is dealt a follower can train what it needs, should nobody else.
    assert [c.name for c in part.dealt(2, 2)] == ["fan-mfn-0", "fan-mfn-1", "valve-mfn-0", "valve-mfn-1"]


def test_a_key_tells_settings_and_training_recordings_and_nothing_else(small: Path) -> None:
    before = grid_of(small).cell("fan-default-0")
    shutil.move(small, small.with_name("moved"))
    small = small.with_name("moved")
    assert grid_of(small).cell("fan-default-0") == before
    assert grid_of(small, size="quick").cell("fan-default-0").key != before.key
    (small / "fan" / "test" / "normal_id_00_00000000.wav").write_bytes(b"x")
    tested = grid_of(small).cell("fan-default-0")
    assert (tested.key, tested.test != before.test) == (before.key, True)
    (small / "fan" / "train" / "normal_id_00_00000000.wav").write_bytes(b"x")
    assert grid_of(small).cell("fan-default-0").key != before.key
    assert grid_of(small).cell("pump-default-0").key == grid_of(small).cell("pump-default-0").key


def test_what_cannot_be_made_is_refused_by_name(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no machine 'fann'.*Did you mean 'fan'"):
        grid_of(small, machines=["fann"])
    with pytest.raises(UsageError, match=r"no method 'defualt' in dcase2020\. Did you mean 'default'"):
        grid_of(small, methods=["defualt"])
    root = names_2022(tmp_path / "other", ["fan"], ("00",), 1)
    with pytest.raises(UsageError, match=r"mn\+p starts from a pre-training"):
        build(D2022, open_catalog(root), methods=["mn+p"])
    assert not [c for c in build(D2022, open_catalog(root)).cells if "+p" in c.name]
    with pytest.raises(DataError, match="no machine with training recordings in the layout of dcase2020"):
        build(D2020, open_catalog(root))


def test_a_machine_without_training_recordings_is_left_out_and_said(tmp_path: Path) -> None:
    root = names_2020(tmp_path, {"fan": {"00": (3, 2, 2)}, "pump": {"00": (0, 2, 2)}})
    grid = grid_of(root)
    assert grid.machines == ("fan",)
    assert [c.message for c in grid.cautions] == ["pump: no training recordings, left out"]
    with pytest.raises(DataError, match="pump id_00 has 0 training clips"):
        grid_of(root, machines=["pump"])


# --- claims ---


def another(folder: Path, cell: str, **changes: Any) -> Path:
    """A claim of somebody else."""
    file = folder / f"{cell}.0"
    file.write_text(json.dumps({**claims._ourselves(), **changes}))
    return file


def test_a_claim_is_had_by_one(tmp_path: Path) -> None:
    first, second = Claims(tmp_path), Claims(tmp_path)
    claim = first.take("fan-0")
    assert claim is not None and second.take("fan-0") is None
    assert second.take("fan-00") is not None  # another cell
    assert f"process {os.getpid()} on" in second.owner("fan-0")
    claim.release()
    assert second.owner("fan-0") == ""
    assert second.take("fan-0") is not None


def test_a_dead_process_of_this_machine_has_nothing(tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    another(tmp_path, "a", pid=done.pid)
    another(tmp_path, "b", began="1")  # its number has come again
    assert Claims(tmp_path).take("a") is not None
    assert Claims(tmp_path).take("b") is not None
    another(tmp_path, "c", pid=1, began=claims._began(1))
    assert Claims(tmp_path).take("c") is None


@pytest.mark.parametrize("skew", [-1e6, 0.0, 1e6])
@pytest.mark.parametrize("said", [True, False])
def test_elsewhere_silence_counts_by_our_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float, said: bool
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    file = another(tmp_path, "a", boot="another", host="far")
    if not said:  # its owner died before it wrote
        file.write_text("")
    os.utime(file, (time.time() + skew, time.time() + skew))
    seen = Claims(tmp_path)
    assert seen.take("a") is None
    now[0] += claims.PATIENCE - 1
    assert seen.take("a") is None
    os.utime(file, (time.time() + skew, time.time() + skew + 1))  # a sign of life
    now[0] += 2
    assert seen.take("a") is None
    now[0] += claims.PATIENCE + 1
    claim = seen.take("a")
    assert claim is not None and claim.generation == 1
    claim.release()
    assert not list(tmp_path.iterdir())


def test_of_many_that_find_a_dead_owner_one_takes_over(tmp_path: Path) -> None:
    for round_ in range(20):
        cell = f"cell{round_}"
        another(tmp_path, cell, began="1")
        start, got = threading.Barrier(8), []

        def take(start: threading.Barrier = start, cell: str = cell, got: list[Any] = got) -> None:
            start.wait()
            got.append(Claims(tmp_path).take(cell))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(claim is not None for claim in got) == 1


def test_who_slept_too_long_finds_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    claim = Claims(tmp_path).take("a")
    assert claim is not None
    before = (tmp_path / "a.0").stat().st_mtime_ns
    time.sleep(0.02)
    now[0] += claims.HEARTBEAT
    assert claim.keep() and (tmp_path / "a.0").stat().st_mtime_ns > before
    (tmp_path / "a.1").write_text("{}")
    now[0] += claims.HEARTBEAT
    assert not claim.keep()
    claim.release()
    assert [f.name for f in tmp_path.iterdir()] == ["a.1"]


def test_claims_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(DataError, match="No space left"):
        Claims(tmp_path).take("a")


# --- work, with commands that only pretend ---

PRETEND = """
import json, os, pathlib, random, sys, time
for words in json.loads(sys.argv[1]):
    flags = dict(zip(words, words[1:]))
    if words[0] == "score":
        run, data = pathlib.Path(words[1]), pathlib.Path(flags["--data"])
        machine, seed = json.loads((run / "what.json").read_text())
        lines = ["path,machine,section,domain,label,score,threshold,anomalous"]
        for file in sorted((data / machine / "test").iterdir()):
            kind, _, section, number = file.stem.split("_")
            score = random.Random(f"{seed} {file.name}").random() + 0.5 * (kind == "anomaly")
            lines.append(f"{machine}/test/{file.name},{machine},{section},,{int(kind == 'anomaly')},{score},1.0,0")
        for name in ("scores.csv", "scores-baseline-siblings.csv", "scores-baseline-alone.csv"):
            (run / name).write_text("\\n".join(lines) + "\\n")
        continue
    run = pathlib.Path(flags["--runs"]) / flags["--name"]
    if "--resume" in words:
        if "damaged" in sorted((run / "checkpoint").iterdir())[-1].read_text():
            print("asd: a damaged checkpoint", file=sys.stderr)
            sys.exit(4)
        (run / "resumed").write_text("")
    else:
        run.mkdir(parents=True, exist_ok=True)
        (run / "what.json").write_text(json.dumps([flags.get("--machine", ""), flags["--seed"]]))
        for name in ("config.toml", "encoder.safetensors"):
            (run / name).write_text("")
        (run / "detector").mkdir(exist_ok=True)
        keys = dict.fromkeys(("machine", "aggregate"), "") | {"spec": {}, "sections": {}, "frames": 1}
        detector = {"scorer": "knn", "beside": [], "false_alarm_rate": 0.01}
        (run / "detector" / "detector.json").write_text(json.dumps(keys | detector))
    told = json.loads(os.environ.get("PRETEND", "{}")).get(flags["--name"])
    if told == "fail":
        print("asd: bad recordings", file=sys.stderr)
        sys.exit(3)
    if told == "hang" and "--resume" not in words:
        (run / "checkpoint").mkdir()
        (run / "checkpoint" / "1.safetensors").write_text("")
        time.sleep(60)
    if told == "memory":
        sys.exit(2)
    if told == "die":
        os.kill(os.getpid(), 9)
    (run / "DONE").write_text("")
"""


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(work, "COMMANDS", PRETEND)
    monkeypatch.setattr(work, "POLL", 0.01)
    monkeypatch.setattr(work, "WAIT", 0.01)
    return lambda **told: monkeypatch.setenv("PRETEND", json.dumps({k.replace("_", "-"): v for k, v in told.items()}))


def place_of(folder: Path, data: Path, stop: Callable[[], int | None] = lambda: None) -> Place:
    made = Folder(folder)
    made.make()
    return Place(made, data, None, None, 1, None, "asd reproduce dcase2020", lambda: nullcontext(stop))


def finish(grid: Grid, place: Place, *shard: int) -> tuple[list[str], list[Step]]:
    steps, working = [], work.work(grid, place, *shard)
    while True:
        try:
            steps.append(next(working))
        except StopIteration as end:
            return end.value, [s for s in steps if s.what != "at work"]


def did(steps: list[Step], what: str) -> list[str]:
    return [step.cell.name for step in steps if step.what == what]


def test_finished_cells_are_kept(small: Path, tmp_path: Path, pretend: Callable[..., None]) -> None:
    grid, place = grid_of(small, seeds=1), place_of(tmp_path / "out", small)
    failed, steps = finish(grid, place)
    assert (failed, did(steps, "done")) == ([], [c.name for c in grid.cells])
    assert finish(grid, place) == ([], [])
    assert not list((tmp_path / "out" / "cells").glob("*/checkpoint"))
    assert not list((tmp_path / "out" / "claims").iterdir())
    # More seeds, or another machine: only what is missing.
    assert did(finish(grid_of(small, seeds=2), place)[1], "done") == [
        *("fan-contrastive-1", "pump-contrastive-1"),
        *("fan-default-1", "pump-default-1"),
    ]


def test_one_failing_cell_does_not_lose_the_rest(small: Path, tmp_path: Path, pretend: Callable[..., None]) -> None:
    pretend(fan_default_0="fail", pump_default_0="die")
    grid, place = grid_of(small, seeds=1), place_of(tmp_path / "out", small)
    failed, steps = finish(grid, place)
    assert failed == ["fan-default-0", "pump-default-0"]
    assert len(did(steps, "done")) == len(grid.cells) - 2
    reasons = [record.reason for name in failed if (record := place.folder.record(name))]
    assert reasons == ["bad recordings", "killed by SIGKILL (out of memory?)"]
    assert "asd: bad recordings" in place.folder.log("fan-default-0").read_text()
    results = publish(place.folder, D2020, grid, {}, resamples=20)
    assert set(results.missing) == set(failed)
    assert [row.missing for row in results.rows if row.method == "default"] == []
    pretend()
    assert did(finish(grid, place)[1], "done") == failed  # the same command tries again


def test_what_needs_a_failed_network_fails_with_it(tmp_path: Path, pretend: Callable[..., None]) -> None:
    root = names_2022(tmp_path / "data", ["fan", "valve"], ("00",), 2)
    pretend(valve_mn_0="fail")
    grid = build(D2022, open_catalog(root), methods=["mn"], seeds=1)
    failed, steps = finish(grid, place_of(tmp_path / "out", root))
    assert failed == ["valve-mn-0", "fan-mn-0"]
    assert [s.text for s in steps if s.what == "failed"][1] == "valve-mn-0 failed, whose network it starts from"


def test_a_signal_reaches_the_training_and_the_same_command_goes_on(
    small: Path, tmp_path: Path, pretend: Callable[..., None]
) -> None:
    pretend(pump_baseline="hang")
    grid = grid_of(small, seeds=1)
    begun = tmp_path / "out" / "cells" / "pump-baseline" / "checkpoint" / "1.safetensors"
    place = place_of(tmp_path / "out", small, lambda: signal.SIGTERM if begun.exists() else None)
    with pytest.raises(Stopped, match="what was done is saved") as stopped:
        finish(grid, place)
    assert stopped.value.exit_code == 143
    assert "asd reproduce dcase2020" in stopped.value.hint
    assert not list((tmp_path / "out" / "claims").iterdir())
    _, steps = finish(grid, place_of(tmp_path / "out", small))
    assert did(steps, "done")[0] == "pump-baseline" and "fan-baseline" not in did(steps, "begins")
    assert (begun.parents[1] / "resumed").exists()


def test_a_folder_that_cannot_be_gone_on_with_is_begun_anew(
    small: Path, tmp_path: Path, pretend: Callable[..., None]
) -> None:
    grid, place = grid_of(small, seeds=1, machines=["fan"], methods=["baseline"]), place_of(tmp_path / "out", small)
    run_folder = place.folder.run("fan-baseline")
    (run_folder / "checkpoint").mkdir(parents=True)
    (run_folder / "checkpoint" / "1.safetensors").write_text("damaged")
    (run_folder / "checkpoint" / "2.safetensors").write_text("damaged")
    (run_folder / "config.toml").write_text("")
    cell = grid.cells[0]
    place.folder.write(cell.name, Record("dcase2020", "full", "baseline", "fan", 0, cell.key, cell.test, cell.clips))
    _, steps = finish(grid, place)
    assert [s.text for s in steps if s.what == "note"] == [
        "goes on from the checkpoint before: a damaged checkpoint",
        "trained anew: a damaged checkpoint",
    ]
    assert did(steps, "done") == ["fan-baseline"]


def test_a_checkpoint_is_kept_where_it_is_not_to_blame(
    small: Path, tmp_path: Path, pretend: Callable[..., None]
) -> None:
    grid, place = grid_of(small, seeds=1, machines=["fan"], methods=["baseline"]), place_of(tmp_path / "out", small)
    checkpoint = place.folder.run("fan-baseline") / "checkpoint" / "1.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("")
    (checkpoint.parents[1] / "config.toml").write_text("")
    cell = grid.cells[0]
    place.folder.write(cell.name, Record("dcase2020", "full", "baseline", "fan", 0, cell.key, cell.test, cell.clips))
    pretend(fan_baseline="memory")
    assert finish(grid, place)[0] == ["fan-baseline"]
    assert checkpoint.exists()


DAMAGES: dict[str, Callable[[Folder], Any]] = {
    "no detector, no scores": lambda f: [
        shutil.rmtree(f.run("fan-baseline") / "detector"),
        (f.run("fan-baseline") / "scores.csv").unlink(),
    ],
    "no scores": lambda f: (f.run("fan-baseline") / "scores.csv").unlink(),
    "half the scores": lambda f: os.truncate(f.run("fan-baseline") / "scores.csv", 200),
    "no run folder": lambda f: shutil.rmtree(f.run("fan-baseline")),
    "no end": lambda f: (f.run("fan-baseline") / "DONE").unlink() or shutil.rmtree(f.run("fan-baseline")),
    "no record": lambda f: (f.path / "records" / "fan-baseline.json").unlink(),
    "half a record": lambda f: os.truncate(f.path / "records" / "fan-baseline.json", 40),
    "a record of something else": lambda f: (f.path / "records" / "fan-baseline.json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_cell_is_made_again_and_no_other(
    small: Path, tmp_path: Path, pretend: Callable[..., None], damage: str
) -> None:
    grid, place = grid_of(small, methods=["baseline"]), place_of(tmp_path / "out", small)
    finish(grid, place)
    before = publish(place.folder, D2020, grid, {}, resamples=20)
    DAMAGES[damage](place.folder)
    failed, steps = finish(grid, place)
    assert (failed, did(steps, "done")) == ([], ["fan-baseline"])
    assert csv_text(publish(place.folder, D2020, grid, {}, resamples=20)) == csv_text(before)


def test_recordings_that_changed_are_not_mixed_with_what_was_made_before(
    small: Path, tmp_path: Path, pretend: Callable[..., None]
) -> None:
    place = place_of(tmp_path / "out", small)
    finish(grid_of(small, methods=["baseline"]), place)
    (small / "fan" / "test" / "normal_id_00_00000000.wav").write_bytes(b"x")
    grid = grid_of(small, methods=["baseline"])
    require_same(place.folder, grid)
    assert place.folder.state(grid.cell("fan-baseline")) == State.trained
    _, steps = finish(grid, place)  # test recordings are only scored again
    assert did(steps, "done") == ["fan-baseline"]
    (small / "fan" / "train" / "normal_id_00_00000000.wav").write_bytes(b"x")
    with pytest.raises(RunFolderError, match="fan-baseline: is in the way: it was made from other training recordings"):
        require_same(place.folder, grid_of(small, methods=["baseline"]))
    with pytest.raises(RunFolderError, match="--preset full"):
        require_same(place.folder, grid_of(small, methods=["baseline"], size="quick"))


def test_two_workers_side_by_side_make_the_table_of_one(
    small: Path, tmp_path: Path, pretend: Callable[..., None]
) -> None:
    grid = grid_of(small, seeds=2)
    alone = place_of(tmp_path / "alone", small)
    finish(grid, alone)
    expected = csv_text(publish(alone.folder, D2020, grid, {}, resamples=20))
    for shards in (((1, 2), (2, 2)), ((1, 1), (1, 1), (1, 3))):  # dealt out; or all on the same
        folder = tmp_path / f"out{len(shards)}"
        begins: list[str] = []

        def worker(shard: tuple[int, int], folder: Path = folder, begins: list[str] = begins) -> None:
            begins.extend(did(finish(grid, place_of(folder, small), *shard)[1], "begins"))
            publish(Folder(folder), D2020, grid, {}, resamples=20)

        threads = [threading.Thread(target=worker, args=(shard,)) for shard in shards]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(begins) == sorted(c.name for c in grid.cells)  # none twice
        assert (folder / "table.csv").read_text() == expected


def test_folders_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match="is no folder of a table"):
        Folder(other).make()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Folder(tmp_path / "file" / "out").make()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match="cannot be written"):
        Folder(tmp_path / "locked").make()


def test_a_full_disk_ends_the_work_and_leaves_no_claim(
    small: Path, tmp_path: Path, pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise DataError("records/fan-baseline.json: cannot be written (No space left on device)")

    grid, place = grid_of(small, methods=["baseline"]), place_of(tmp_path / "out", small)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        with pytest.raises(DataError, match="No space left"):
            finish(grid, place)
    assert not list((tmp_path / "out" / "claims").iterdir())
    assert finish(grid, place)[0] == []


# --- verdicts and tables ---


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_verdict_is_where_the_published_figure_lies(a: float, b: float, published: float) -> None:
    low, high = sorted((a, b))
    verdict = judge(Interval((low + high) / 2, low, high), published)
    assert verdict == ("reproduced" if low <= published <= high else "above" if published < low else "below")


def fake_cell(folder: Folder, name: str, record: Record, rows: list[ScoreRow]) -> None:
    """A finished cell with these scores."""
    target = folder.run(name)
    target.mkdir(parents=True)
    write_scores(target / "scores.csv", rows)
    write_scores(target / "scores-baseline-alone.csv", [replace(r, score=-r.score) for r in rows])
    folder.write(name, replace(record, state="done", scorer="knn", scores=folder.score_files(name)))


def rows_of_sections(
    machine: str, counts: dict[str, tuple[int, int]], seed: int, shift: float = 1.5, domains: bool = False
) -> list[ScoreRow]:
    rng = np.random.default_rng([seed, len(machine)])
    return [
        ScoreRow(
            f"{machine}/{section}/{label}/{i}",
            machine,
            section,
            ("source", "target")[i % 2] if domains else None,
            label,
            float(rng.normal(loc=shift * label)),
            0.0,
            False,
        )
        for section, both in counts.items()
        for label, n in enumerate(both)
        for i in range(n)
    ]


def finished(machine: str, method: str, seed: int, table: str = "dcase2020", size: str = "full") -> Record:
    return Record(table, size, method, machine, seed, "key", "test", (1, 1))


DEVELOPMENT = dict.fromkeys(("00", "02", "04", "06"), (100, 200))
EVALUATION = {"01": (100, 326), "03": (100, 358), "05": (109, 349)}


def test_figures_are_means_over_ids_and_seeds_and_each_part_is_a_row(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    every = [rows_of_sections("fan", DEVELOPMENT | EVALUATION, seed) for seed in (0, 1)]
    for seed, rows in enumerate(every):
        fake_cell(folder, f"fan-contrastive-{seed}", finished("fan", "contrastive", seed), rows)
    results = publish(folder, D2020, None, {"root": "somewhere"}, resamples=50)
    rows_found = {(row.method, row.part): row for row in results.rows}
    assert set(rows_found) == {(m, p) for m in ("contrastive", "baseline-alone") for p in ("development", "evaluation")}
    row = rows_found["contrastive", "development"]

    def mean(figure: Callable[..., float]) -> list[float]:
        return [
            float(np.mean([figure([r.label for r in own], [r.score for r in own])
                           for s in DEVELOPMENT if (own := [r for r in rows if r.section == s])]))
            for rows in every
        ]  # fmt: skip

    aucs, paucs = mean(roc_auc_score), mean(lambda y, s: roc_auc_score(y, s, max_fpr=0.1))
    assert row.cells["fan", "auc"].interval.value == pytest.approx(np.mean(aucs), abs=1e-12)
    assert row.cells["fan", "pauc"].interval.value == pytest.approx(np.mean(paucs), abs=1e-12)
    assert row.cells["fan", "auc"].std == pytest.approx(np.std(aucs, ddof=1), abs=1e-12)
    assert (row.cells["fan", "auc"].published, row.cells["fan", "pauc"].published) == (0.9134, 0.9005)
    assert row.whole and row.cells["fan", "auc"].verdict == "below"
    assert rows_found["baseline-alone", "development"].cells["fan", "auc"].verdict is None
    # Of one machine the mean is that machine's, beside the published mean of the same machines.
    assert row.mean["auc"].published == pytest.approx(0.9134)
    assert rows_found["contrastive", "evaluation"].clips == "evaluation"
    assert json.loads((tmp_path / "provenance.json").read_text())["data"] == {"root": "somewhere"}


def test_a_figure_within_the_interval_is_reproduced(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    rows = rows_of_sections("fan", DEVELOPMENT, 0, shift=1.93)  # an AUC of about 91 %
    fake_cell(folder, "fan-contrastive-0", finished("fan", "contrastive", 0), rows)
    (row,) = [r for r in publish(folder, D2020, None, {}, resamples=200).rows if r.method == "contrastive"]
    assert row.cells["fan", "auc"].verdict == "reproduced"


@pytest.mark.parametrize(
    ("counts", "size", "reason"),
    [
        ({"00": (100, 200), "02": (100, 200)}, "full", "other split: not the clips of the development set"),
        (DEVELOPMENT | {"00": (99, 200)}, "full", "other split: not the clips of the development set"),
        (DEVELOPMENT, "quick", "quick settings"),
    ],
)
def test_what_does_not_compare_is_said(
    tmp_path: Path, counts: dict[str, tuple[int, int]], size: str, reason: str
) -> None:
    folder = Folder(tmp_path)
    folder.make()
    record = finished("fan", "contrastive", 0, size=size)
    fake_cell(folder, "fan-contrastive-0", record, rows_of_sections("fan", counts, 0))
    (row,) = [r for r in publish(folder, D2020, None, {}, resamples=20).rows if r.method == "contrastive"]
    cell = row.cells["fan", "auc"]
    assert (cell.verdict, cell.reason) == ("not comparable", reason)
    assert "not comparable" in (tmp_path / "table.md").read_text()


def test_the_second_table_has_domains_and_the_official_score(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    counts = dict.fromkeys(("00", "01", "02"), (100, 100))
    for machine in ("fan", "valve"):
        rows = rows_of_sections(machine, counts, 0, domains=True)
        fake_cell(folder, f"{machine}-mn-0", finished(machine, "mn", 0, "dcase2022"), rows)
    results = publish(folder, D2022, None, {}, resamples=20)
    row = results.rows[-1]
    assert (row.method, row.part, row.whole) == ("mn", "development", True)
    assert row.cells["fan", "auc_source"].published == pytest.approx(0.6164)
    assert row.mean["auc_target"].published == pytest.approx((0.5756 + 0.6526) / 2)
    assert row.official is not None and row.official.low < row.official.value < row.official.high
    own = [r for r in rows_of_sections("fan", counts, 0, domains=True) if r.label == 1 or r.domain == "target"]
    aucs = [roc_auc_score([r.label for r in g], [r.score for r in g])
            for s in counts if (g := [r for r in own if r.section == s])]  # fmt: skip
    assert row.cells["fan", "auc_target"].interval.value == pytest.approx(np.mean(aucs), abs=1e-12)


def test_a_mean_over_machines_waits_for_all_of_them(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    fake_cell(folder, "fan-default-0", finished("fan", "default", 0), rows_of_sections("fan", DEVELOPMENT, 0))
    folder.write("pump-default-0", replace(finished("pump", "default", 0), state="failed", reason="no disk"))
    results = publish(folder, D2020, None, {}, resamples=20)
    assert results.machines == ("fan", "pump")
    assert results.missing == {"pump-default-0": "no disk"}
    assert results.rows[-1].missing == ("pump",) and results.rows[-1].mean == {}
    assert "- pump-default-0: no disk" in (tmp_path / "table.md").read_text()


def test_seeds_with_other_clips_are_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    for seed, counts in enumerate((DEVELOPMENT, DEVELOPMENT | {"00": (99, 200)})):
        rows = rows_of_sections("fan", counts, seed)
        fake_cell(folder, f"fan-default-{seed}", finished("fan", "default", seed), rows)
    with pytest.raises(DataError, match="fan: the scores of several seeds do not go together"):
        publish(folder, D2020, None, {}, resamples=20)


def test_an_altered_score_is_not_taken_for_a_finished_cell(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.make()
    fake_cell(folder, "fan-default-0", finished("fan", "default", 0), rows_of_sections("fan", DEVELOPMENT, 0))
    file = folder.run("fan-default-0") / "scores.csv"
    file.write_text(file.read_text().replace("fan/00/0/0,", "fan/00/0/x,"))
    with pytest.raises(RunFolderError, match="no cell is finished"):
        publish(folder, D2020, None, {}, resamples=20)


def test_parts_of_the_challenges(golden: Path) -> None:
    assert part_of(2020, "fan", "05") == "evaluation" and part_of(2020, "ToyCar", "04") == "development"
    assert part_of(2022, "fan", "02") == "development" and part_of(2022, "fan", "03") == "evaluation"
    assert sections_of(2020, "pump", "evaluation") == {"01", "03", "05"} and not sections_of(2022, "x", "evaluation")
    counts: dict[str, dict[str, list[int]]] = {}
    for line in (golden / "eval_labels" / "eval_data_list_2022.csv").read_text().split():
        if "," not in line:
            own = counts.setdefault(line, {})
            continue
        _, section, _, _, kind, *_ = line.split(",")[1].split("_")
        own.setdefault(section, [0, 0])[kind == "anomaly"] += 1
    for machine, sections in counts.items():
        known = {s: (n[0], n[1]) for s, n in sections.items()}
        assert split_2022(machine, known) == "evaluation"
        assert set(known) == sections_of(2022, machine, "evaluation")


def test_expected_hours_are_steps_and_recordings(tmp_path: Path) -> None:
    config = D2020.method("contrastive").config("full")
    assert rows_of(config, 1000) == 150 * 900
    assert rows_of(D2020.method("default").config("full"), 40) == 200 * 64  # so many steps at least
    assert rows_of(D2022.method("mn-official").config("full"), 1000) == 20 * 900 * 32  # stretches of 64 of 313 frames
    root = names_2022(tmp_path, ["fan", "valve"], ("00",), 3)
    grid = build(D2022, open_catalog(root), methods=["mn"], seeds=1)
    pace, mn = Pace(start=100, row=10, clip=1), D2022.method("mn").config("full")
    # One training on all four normals, and one that takes the network over; 2 normals and 12 test clips each.
    assert _expected(grid.cells, pace, mn, grid, None) == 2 * (100 + 14) + 10 * rows_of(mn, 4)


# --- the command ---


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "data"
    for _ in write_dataset(root, machines=("fan", "pump"), ids=2, train=12, test=8, seconds=1, threads=1):
        pass
    return root


def command(data: Path, *more: object) -> tuple[object, ...]:
    return ("reproduce", "dcase2020", "--data", data, "--preset", "quick", "--threads", 1, *more)


def test_the_command_ends_with_the_table_and_makes_it_again_without_audio(synthetic: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(synthetic, data)
    ended = run(tmp_path / "1", *command(data, "--method", "baseline", "--out", out))
    assert ended.code == 0, ended.err
    assert "2 of 2 cells finished" in ended.out and "baseline-siblings" in ended.out
    assert f"asd report --runs {out / 'cells'}" in ended.err
    tables = {name: (out / name).read_text() for name in (*FILES, "provenance.json")}
    facts = json.loads(tables["provenance.json"])
    assert facts["data"]["machines"]["fan"]["training"] == 24
    assert facts["cells"]["fan-baseline"]["training_sha256"] != facts["cells"]["pump-baseline"]["training_sha256"]
    assert facts["environments"][0]["packages"]["numpy"] and len(facts["environments"][0]["cells"]) == 2
    assert "--method baseline" in facts["invocations"][0]
    shutil.rmtree(data)
    again = run(tmp_path / "2", "reproduce", "dcase2020", "--from-scores", "--out", out, "--json")
    assert again.code == 0, again.err
    assert {name: (out / name).read_text() for name in tables} == tables
    assert json.loads(again.out) == json.loads(tables["table.json"])


def test_a_dry_run_writes_nothing(synthetic: Path, tmp_path: Path) -> None:
    words = command(synthetic, "--method", "baseline", "--out", tmp_path / "out", "--dry-run", "--json")
    ended = run(tmp_path / "told", *words)
    assert ended.code == 0, ended.err
    (line,) = json.loads(ended.out)["plan"][0]["lines"]
    assert (line["cells"], line["open"]) == (2, 2) and line["seconds"] > 0
    assert not (tmp_path / "out").exists()


def test_a_machine_that_fails_is_named_with_its_log(synthetic: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(synthetic, data)
    (data / "fan" / "train" / "normal_id_00_00000000.wav").write_bytes(b"RIFF no more")
    ended = run(tmp_path / "told", *command(data, "--method", "baseline", "--out", out))
    assert ended.code == 3
    assert "1 cell of 2 failed" in ended.err and str(out / "logs" / "fan-baseline.log") in ended.err
    assert "normal_id_00_00000000.wav" in ended.err
    assert "pump" in ended.out and "1 of 2 cells finished" in ended.out


def pretending(_: Path) -> None:
    """In the command's process: cells pretend, and nothing is probed."""
    from asd.reproduce import plan

    def no_probe(*_: Any) -> Iterator[Any]:
        yield from ()

    plan._probe = no_probe  # type: ignore[assignment]
    work.COMMANDS = PRETEND


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_the_middle_it_finishes_what_is_missing(small: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    words = command(small, "--method", "baseline", "--out", out)
    running = Command(tmp_path / "1", words, pretending, {"PRETEND": json.dumps({"pump-baseline": "hang"})})
    running.wait_for(lambda: any((out / "cells" / "pump-baseline").glob("checkpoint/*")))
    running.send(number)
    ended = running.end()
    assert ended.code == (-9 if number == signal.SIGKILL else 128 + number)
    assert number == signal.SIGKILL or "Go on with the same command: asd reproduce dcase2020" in ended.err
    first = (out / "records" / "fan-baseline.json").stat().st_mtime_ns
    again = run(tmp_path / "2", *words, hook=pretending)
    assert again.code == 0, again.err
    assert (out / "records" / "fan-baseline.json").stat().st_mtime_ns == first
    assert (out / "cells" / "pump-baseline" / "resumed").exists()
    assert "2 of 2 cells finished" in again.out
    assert not list((out / "claims").iterdir())


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--machine", "fann"), 2, "Did you mean 'fan'"),
        (("--method", "mn"), 2, "no method 'mn' in dcase2020"),
        (("--method", "baseline", "--shard", "3/2"), 2, "wanted i/n"),
        (("--method", ","), 2, "names nothing"),
        (("--from-scores",), 3, "no scores here"),
        (("--data", "/nowhere"), 3, "no such folder"),
        (("--labels", "/nowhere.csv"), 3, "/nowhere.csv"),
        (("--out", "/proc/out", "--method", "baseline"), 3, "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    synthetic: Path, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    ended = run(
        tmp_path / "told", *command(synthetic, *({} if "--out" in words else ("--out", tmp_path / "o")), *words)
    )
    assert (ended.code, told in ended.err, "Traceback" in ended.err) == (code, True, False), ended.err


def test_the_row_of_the_toycar(data_root: Path, tmp_path: Path) -> None:
    words = ("reproduce", "dcase2020", "--data", data_root / "toycar_logmel", "--method", "baseline")
    ended = run(tmp_path / "told", *words, "--out", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    rows = {row["method"]: row for row in json.loads(ended.out)["rows"]}
    found = rows["baseline-siblings"]["machines"]["ToyCar"]
    assert found["auc"]["value"] == pytest.approx(0.981, abs=0.001)
    assert found["pauc"]["value"] == pytest.approx(0.918, abs=0.001)
    assert 0.96 < found["auc"]["low"] < 0.981 < found["auc"]["high"] < 1
    assert rows["baseline-siblings"]["clips"] == "development IDs"  # its normals are another choice


def test_the_tables_compile(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here")
    folder = Folder(tmp_path)
    folder.make()
    fake_cell(folder, "fan-contrastive-0", finished("fan", "contrastive", 0), rows_of_sections("fan", DEVELOPMENT, 0))
    publish(folder, D2020, None, {}, resamples=20)
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 0
