"""A training that is killed, at any moment, and gone on with ends in the same bits as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from commands import SMALL, Command, Ended, log_mels, recordings, run

EPOCHS = 8
SETTINGS = (*SMALL, "--epochs", EPOCHS, "--set", "checkpoint_minutes=0", "--set", "views.alpha=0.4")

METHODS = {
    "contrastive": ("train", "--machine", "fan", "--id", "00", "--method", "contrastive"),
    "finetune": ("train", "--machine", "fan", "--method", "finetune", "--set", "classifier.head=adacos",
                 "--set", "classifier.mixup=logmel"),
    "pretrain": ("pretrain",),
}  # fmt: skip


def command(method: str, data: Path, runs: Path) -> tuple[object, ...]:
    return (*METHODS[method], "--data", data, "--runs", runs, "--name", "run", *SETTINGS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log_mels(tmp_path_factory.mktemp("data") / "root", {"00": 24, "02": 24})


@pytest.fixture(scope="module", params=list(METHODS))
def undisturbed(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that nobody disturbed; its parent is named after the method."""
    runs = tmp_path_factory.mktemp("undisturbed") / request.param
    ended = run(runs / "told", *command(request.param, data, runs))
    assert ended.code == 0, ended.err
    return runs / "run"


def metrics(run_folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics, without times."""
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "clips_per_second")} for row in rows]


def checkpoints(run_folder: Path) -> list[Path]:
    return sorted((run_folder / "checkpoint").iterdir())


def assert_same(run_folder: Path, other: Path) -> None:
    """The weights, the last checkpoint and the metrics of two runs are the same."""
    for name in ("encoder.safetensors", "detector/weights.safetensors"):
        files = run_folder / name, other / name
        assert files[0].exists() == files[1].exists()
        assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes(), name
    (*_, last), (*_, other_last) = checkpoints(run_folder), checkpoints(other)
    assert last.name == other_last.name
    assert last.read_bytes() == other_last.read_bytes()
    assert metrics(run_folder) == metrics(other)
    assert len(checkpoints(run_folder)) == 2


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(_: Path, suffix: str, nth: int, share: float) -> None:
    """Die in the nth write of a file whose name ends so, when a share of its bytes is on the disk."""
    fsync, seen = os.fsync, []

    def deadly(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name.endswith(f"{suffix}.{os.getpid()}.part"):
            seen.append(name)
        if len(seen) == nth:
            os.truncate(descriptor, int(share * os.fstat(descriptor).st_size))
            die()
        fsync(descriptor)

    os.fsync = deadly


def die_in_a_line(_: Path, nth: int) -> None:
    """Die in the nth line of metrics, half of which is on the disk."""
    from asd.train import state

    append, seen = state.append_text, []

    def deadly(file: Path, text: str) -> None:
        seen.append(text)
        if len(seen) == nth:
            append(file, text[: len(text) // 2])
            die()
        append(file, text)

    state.append_text = deadly


def die_after_step(_: Path, nth: int) -> None:
    """Die in the middle of an epoch, behind the optimiser's step."""
    from asd.train import contrastive, finetune

    seen: list[int] = []

    def deadly(*_: object) -> None:
        seen.append(1)
        if len(seen) == nth:
            die()

    for task in (contrastive.Contrastive, finetune.Finetune):
        after = task.after_step
        task.after_step = lambda self, after=after: (after(self), deadly())  # type: ignore[method-assign,assignment]


def slowly(_: Path) -> None:
    """Take a while for each step, so that a signal finds the training at work."""
    from asd.train import contrastive, finetune

    for task in (contrastive.Contrastive, finetune.Finetune):
        after = task.after_step
        task.after_step = lambda self, after=after: (after(self), time.sleep(0.03))  # type: ignore[method-assign,assignment]


def go_on(ended: Ended) -> list[str]:
    """The command that the message of a stopped training names, without ``asd``."""
    (line,) = (line for line in ended.err.splitlines() if "Go on with: " in line)
    words = shlex.split(line.partition("Go on with: ")[2])
    assert words[0] == "asd"
    return words[1:]


def test_a_training_that_is_killed_again_and_again(undisturbed: Path, data: Path, tmp_path: Path) -> None:
    method = undisturbed.parent.name
    draw = random.Random(method)
    begin = command(method, data, tmp_path)
    resume = (begin[0], "--runs", tmp_path, "--name", "run", "--resume")
    deaths = [
        partial(die_while_writing, suffix=".safetensors", nth=1, share=draw.random()),
        partial(die_in_a_line, nth=draw.randint(2, 3)),
        partial(die_after_step, nth=draw.randint(2, 8)),
        partial(die_while_writing, suffix=".safetensors", nth=draw.randint(1, 2), share=1.0),
    ]
    ended = run(tmp_path / "told", *begin, hook=deaths[0])
    assert ended.code == -signal.SIGKILL, ended.err
    for death in deaths[1:]:
        ended = run(tmp_path / "told", *resume, hook=death)
        assert ended.code == -signal.SIGKILL, ended.err

    killed = Command(tmp_path / "told", resume, slowly)
    lines = len(metrics_lines(tmp_path / "run"))
    killed.wait_for(lambda: len(metrics_lines(tmp_path / "run")) > lines)
    time.sleep(draw.random() / 20)
    killed.send(signal.SIGKILL)
    assert killed.end().code == -signal.SIGKILL
    assert not (tmp_path / "run" / "DONE").exists()

    ended = run(tmp_path / "told", *resume)
    assert ended.code == 0, ended.err
    assert_same(tmp_path / "run", undisturbed)


def metrics_lines(run_folder: Path) -> list[str]:
    file = run_folder / "metrics.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def draw_another_number(_: Path) -> None:
    """Go on with the draw after the next."""
    from asd.train import fit

    supply = fit.Supply
    fit.Supply = lambda corpus, size, device, settings, views: supply(  # type: ignore[misc,assignment]
        corpus, size, device, {**settings, "position": settings["position"] + 1}, views
    )


def test_another_draw_makes_other_weights(undisturbed: Path, data: Path, tmp_path: Path) -> None:
    """What the other tests compare would show a training that goes on a clip too late."""
    begin = command(undisturbed.parent.name, data, tmp_path)
    assert run(tmp_path / "told", *begin, hook=partial(die_after_step, nth=10)).code == -signal.SIGKILL
    assert run(tmp_path / "told", *begin, "--resume", hook=draw_another_number).code == 0
    weights = [folder / "encoder.safetensors" for folder in (undisturbed, tmp_path / "run")]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def signal_after_step(_: Path, number: int, nth: int) -> None:
    """Get a signal in the middle of an epoch."""
    from asd.train import contrastive, finetune

    seen: list[int] = []

    def hear(*_: object) -> None:
        seen.append(1)
        if len(seen) == nth:
            os.kill(os.getpid(), number)

    for task in (contrastive.Contrastive, finetune.Finetune):
        after = task.after_step
        task.after_step = lambda self, after=after: (after(self), hear())  # type: ignore[method-assign,assignment]


def test_signals_save_and_name_the_command_that_goes_on(undisturbed: Path, data: Path, tmp_path: Path) -> None:
    words: Iterable[object] = command(undisturbed.parent.name, data, tmp_path)
    for number, code, nth in ((signal.SIGINT, 130, 7), (signal.SIGTERM, 143, 4)):
        ended = run(tmp_path / "told", *words, hook=partial(signal_after_step, number=number, nth=nth))
        assert ended.code == code
        assert "Traceback" not in ended.err
        assert f"{tmp_path / 'run'}: stopped after step" in ended.err
        words = go_on(ended)
        step = int(ended.err.split("stopped after step ")[1].split()[0])
        assert checkpoints(tmp_path / "run")[-1].stem == f"{step:012d}"
    assert step == 11, "the second training went on where the first one stopped"
    assert run(tmp_path / "told", *words).code == 0
    assert_same(tmp_path / "run", undisturbed)


def linger(folder: Path, where: str, what: str) -> None:
    """Let a function take a minute."""
    import importlib

    def slow(*_: object, **__: object) -> None:
        (folder / "here").touch()
        time.sleep(60)

    setattr(importlib.import_module(where), what, slow)


PLACES = [
    ("contrastive", "asd.train.network", "hold_out", signal.SIGINT, 130),
    ("contrastive", "asd.train.assemble", "cross_fit", signal.SIGTERM, 143),
    ("finetune", "asd.train.detector", "read_normals", signal.SIGINT, 130),
    ("pretrain", "asd.train.pretrain", "survey_manifest", signal.SIGTERM, 143),
]


@pytest.mark.parametrize(("method", "where", "what", "number", "code"), PLACES, ids=[place[2] for place in PLACES])
def test_a_signal_before_and_after_the_loop_ends_at_once(
    data: Path, tmp_path: Path, method: str, where: str, what: str, number: signal.Signals, code: int
) -> None:
    words = (*command(method, data, tmp_path), "--set", "optimiser.epochs=0")
    slow = Command(tmp_path / "told", words, partial(linger, where=where, what=what))
    slow.wait_for((tmp_path / "told" / "here").exists)
    begun = time.monotonic()
    slow.send(number)
    ended = slow.end()
    assert time.monotonic() - begun < 30, "it waited for the end of what it did"
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert run(tmp_path / "told", *go_on(ended)).code == 0


def linger_in_a_step(folder: Path) -> None:
    linger(folder, "asd.train.loop", "_descend")


def test_a_second_signal_does_not_wait_for_the_step(data: Path, tmp_path: Path) -> None:
    slow = Command(tmp_path / "told", command("pretrain", data, tmp_path), linger_in_a_step)
    slow.wait_for((tmp_path / "told" / "here").exists)
    begun = time.monotonic()
    while slow.running and time.monotonic() - begun < 30:
        slow.send(signal.SIGINT)
        time.sleep(0.3)
    assert slow.end().code == -signal.SIGINT
    assert run(tmp_path / "told", "pretrain", "--runs", tmp_path, "--name", "run", "--resume").code == 0


def signal_before_the_end(_: Path) -> None:
    """Get a signal while the last checkpoint is written, when nobody asks for signals any more."""
    from asd.train import state

    save = state.save

    def late(folder: Path, checkpoint: state.Checkpoint) -> Path:
        if checkpoint.step == 6 * EPOCHS:
            os.kill(os.getpid(), signal.SIGTERM)
        return save(folder, checkpoint)

    state.save = late


def test_a_signal_in_the_last_moment_of_the_loop_counts(data: Path, tmp_path: Path) -> None:
    ended = run(tmp_path / "told", *command("pretrain", data, tmp_path), hook=signal_before_the_end)
    assert ended.code == 143, ended.err
    assert not (tmp_path / "run" / "DONE").exists()
    assert run(tmp_path / "told", *go_on(ended)).code == 0


def test_recordings_are_resumed_by_folder_alone(tmp_path: Path) -> None:
    """A run of own recordings is named by its folder, and no other flag is needed."""
    pump = recordings(tmp_path / "pump7", 24)
    words = ("train", "--normal", pump, "--method", "contrastive", "--runs", tmp_path / "runs")
    more = (*SMALL, "--set", "features.clip_seconds=0.5", "--epochs", 2)
    ended = run(tmp_path / "told", *words, *more, hook=partial(die_after_step, nth=1))
    assert ended.code == -signal.SIGKILL, ended.err
    ended = run(tmp_path / "told", "train", "--normal", pump, "--runs", tmp_path / "runs", "--resume")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("minutes", "step", "seconds", "due"),
    [
        (0, 5, 0, True),
        (0, 6, 0, False),
        (0, 6, 59, False),
        (0, 6, 60, True),
        (1, 5, 59, False),
        (1, 5, 60, True),
        (1, 6, 599, False),
        (1, 6, 600, True),
        (1, 20, 0, True),
    ],
)
def test_when_a_checkpoint_is_due(tmp_path: Path, minutes: float, step: int, seconds: float, due: bool) -> None:
    from asd.train.loop import Plan

    plan = Plan(20, 5, tmp_path, {}, [], 60 * minutes, lambda: None)
    assert plan.is_due(step, seconds) is due
