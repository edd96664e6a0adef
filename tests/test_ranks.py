"""Two processes train one network as one process does with the batches of both, and none waits for one that is gone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from asd.models.heads import SCALE_RANGE
from asd.train import ranks
from commands import PATIENCE, SMALL, Command, Ended, Hook, log_mels, run

TORCHRUN = Path(sys.executable).with_name("torchrun")
EPOCHS = 6

FIXED = ("--set", "views.alpha=0", "--set", "views.crop=false", "--set", "views.stretch=1", "--set",
         "variants.regions=0", "--set", "variants.gain=1e-12", "--set", "encoder.norm=group")  # fmt: skip
"""Nothing is drawn that float32 could hold, and no clip knows of the others of its batch."""


def pretraining(data: Path, runs: Path, *more: object) -> tuple[object, ...]:
    words = ("pretrain", "--data", data, "--runs", runs, "--name", "run", *SMALL, "--batch-size", 16)
    steps = ("--epochs", EPOCHS, "--set", "checkpoint_minutes=0", "--set", "moco.queue_size=64")
    return (*words, *steps, *FIXED, *more)


def finetuning(data: Path, runs: Path) -> tuple[object, ...]:
    words = ("train", "--machine", "fan", "--method", "finetune", "--set", "classifier.head=adacos", "--data", data)
    return (*words, "--force", "--runs", runs, "--name", "run", *SMALL, "--batch-size", 30, "--epochs", EPOCHS, *FIXED)


def together(folder: Path, *words: object, hooks: tuple[Hook | None, Hook | None] = (None, None)) -> list[Ended]:
    """Run a command as two processes, started as `torchrun` starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        Command(folder / f"rank{rank}", words, hook, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, hook in enumerate(hooks)
    ]
    return [command.end() for command in started]


def torchrun(*words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [TORCHRUN, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def metrics(runs: Path) -> list[dict[str, Any]]:
    """The lines of metrics, without times."""
    file = runs / "run" / "metrics.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [{k: v for k, v in row.items() if k not in ("seconds", "clips_per_second")} for row in rows]


def weights(runs: Path) -> bytes:
    return (runs / "run" / "encoder.safetensors").read_bytes()


def tensors(runs: Path) -> dict[str, Any]:
    """The last checkpoint's."""
    from asd.train import state

    checkpoint = state.load(runs / "run" / "checkpoint")
    assert checkpoint is not None
    return dict(checkpoint.tensors)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many recordings as a batch has clips: every step is an epoch, and has a line of metrics."""
    return log_mels(tmp_path_factory.mktemp("data") / "root", {"00": 8, "02": 8})


@pytest.fixture(scope="module")
def pair(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of two processes that nobody disturbed."""
    runs = tmp_path_factory.mktemp("pair")
    first, second = together(runs / "told", *pretraining(data, runs))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    return runs


def assert_close(runs: Path, other: Path) -> None:
    rows, others = metrics(runs), metrics(other)
    assert [row["step"] for row in rows] == list(range(EPOCHS + 1))
    assert any(row["loss"] > 0.1 for row in rows[1:])
    for row, beside in zip(rows, others, strict=True):
        assert row == pytest.approx(beside, abs=1e-5, rel=1e-5)


def test_two_processes_find_the_losses_of_one(data: Path, pair: Path, tmp_path: Path) -> None:
    alone = run(tmp_path / "told", *pretraining(data, tmp_path))
    assert alone.code == 0, alone.err
    assert_close(tmp_path, pair)
    queues = [tensors(runs)["module/queue.files_K"] for runs in (pair, tmp_path)]
    assert (queues[0] == queues[1]).all(), "the queue has the rows of both, in their order"


def test_other_seeds_find_other_losses(data: Path, pair: Path, tmp_path: Path) -> None:
    """What the test above compares can differ."""
    assert run(tmp_path / "told", *pretraining(data, tmp_path, "--seed", 1)).code == 0
    with pytest.raises(AssertionError):
        assert_close(tmp_path, pair)


def test_two_processes_have_the_scale_of_adacos_of_one(tmp_path: Path) -> None:
    data = log_mels(tmp_path / "root", dict.fromkeys(("00", "02", "04", "06", "08"), 12))  # of which 30 are trained on
    (tmp_path / "one").mkdir()
    alone = run(tmp_path / "one" / "told", *finetuning(data, tmp_path / "one"))
    assert alone.code == 0, alone.err
    first, second = together(tmp_path / "told", *finetuning(data, tmp_path))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert_close(tmp_path, tmp_path / "one")
    scales = [float(tensors(runs)["module/head.scale"]) for runs in (tmp_path, tmp_path / "one")]
    assert scales[0] == pytest.approx(scales[1], rel=1e-5)
    assert scales[0] > 1.001 * SCALE_RANGE[0], "at its bound it would agree anyway"
    assert (second.out, second.err) == ("", "")


def test_only_the_first_process_speaks(pair: Path) -> None:
    said = [(pair / "told" / f"rank{rank}" / stream).read_text() for rank in (0, 1) for stream in ("out", "err")]
    assert said[0].count("16 recordings, 16 windows") == 1
    assert said[1].count("pre-training small on") == 1
    assert said[2:] == ["", ""]


def disturb_the_queue(_: Path) -> None:
    """Change one key at the third step."""
    from asd.train.contrastive import Contrastive

    after, steps = Contrastive.after_step, []

    def wrong(task: Contrastive) -> None:
        after(task)
        steps.append(1)
        if len(steps) == 3:
            task.module.queue.keys_KD[5, 7] += 1e-7  # type: ignore[union-attr,operator,index]

    Contrastive.after_step = wrong  # type: ignore[method-assign]


def test_queues_that_differ_are_found_at_the_end_of_the_epoch(data: Path, tmp_path: Path) -> None:
    ended = together(tmp_path / "told", *pretraining(data, tmp_path), hooks=(None, disturb_the_queue))
    for each in ended:
        assert each.code == 3
        assert "no longer agree: queue.keys_KD of rank 1 is another" in each.err
        assert "Traceback" not in each.err
    assert [row["step"] for row in metrics(tmp_path)] == [0, 1, 2]
    assert [file.stem for file in sorted((tmp_path / "run" / "checkpoint").iterdir())] == [f"{1:012d}", f"{2:012d}"]


def die_at(_: Path, where: str, what: str, nth: int = 1) -> None:
    """Die in the nth call of a function."""
    import importlib

    module, _, owner = where.partition(":")
    place: Any = importlib.import_module(module)
    place = getattr(place, owner) if owner else place
    own, seen = getattr(place, what), []

    def deadly(*words: Any, **named: Any) -> Any:
        seen.append(1)
        if len(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return own(*words, **named)

    setattr(place, what, deadly)


IN_A_STEP = partial(die_at, where="asd.train.contrastive:Contrastive", what="after_step", nth=4)
WHILE_READING = partial(die_at, where="asd.train.pretrain", what="survey_manifest")


@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.parametrize("hook", [IN_A_STEP, WHILE_READING], ids=["in a step", "while reading"])
def test_a_process_that_dies(data: Path, pair: Path, tmp_path: Path, dead: int, hook: Hook) -> None:
    hooks = (hook, None) if dead == 0 else (None, hook)
    ended = together(tmp_path / "told", *pretraining(data, tmp_path), hooks=hooks)
    assert ended[dead].code == -signal.SIGKILL
    left = ended[1 - dead]
    assert left.code == 3, left.err
    assert f"asd: rank {1 - dead}: another process of this training ended or does not answer" in left.err
    assert "--resume" in left.err
    assert "Traceback" not in left.err
    if hook is IN_A_STEP:
        first, second = together(tmp_path / "told", "pretrain", "--runs", tmp_path, "--name", "run", "--resume")
        assert (first.code, second.code) == (0, 0), first.err + second.err
        assert weights(tmp_path) == weights(pair)
        assert metrics(tmp_path) == metrics(pair)


def test_another_number_of_processes_cannot_go_on(data: Path, tmp_path: Path) -> None:
    together(tmp_path / "told", *pretraining(data, tmp_path), hooks=(IN_A_STEP, None))
    ended = run(tmp_path / "told", "pretrain", "--runs", tmp_path, "--name", "run", "--resume")
    assert ended.code == 4
    assert "it was trained by 2 processes" in ended.err


def test_wrong_settings_are_said_once(data: Path, tmp_path: Path) -> None:
    first, second = together(tmp_path / "told", *pretraining(data, tmp_path), "--batch-size", 3, "--set",
                             "moco.queue_size=6")  # fmt: skip
    assert first.code == 2
    assert "2 processes cannot share it evenly" in first.err
    # The second comes to the same, unless it misses the first before.
    assert second.code in (2, 3)
    assert "cannot share" not in second.err
    assert "Traceback" not in second.err


def test_half_an_environment_of_torchrun(data: Path, tmp_path: Path) -> None:
    ended = Command(tmp_path / "told", pretraining(data, tmp_path), None, {"RANK": "0"}).end()
    assert ended.code == 2
    assert "RANK is set but WORLD_SIZE is not" in ended.err


SLOWLY = """
import sys, time
from asd.__main__ import main
from asd.train.contrastive import Contrastive
after = Contrastive.after_step
Contrastive.after_step = lambda self: (after(self), time.sleep(0.5))
main()
"""


def test_torchrun_is_stopped_and_goes_on_with_the_command_that_it_names(data: Path, pair: Path, tmp_path: Path) -> None:
    (tmp_path / "slowly.py").write_text(SLOWLY)
    slow = torchrun("--nproc-per-node", 2, tmp_path / "slowly.py", *pretraining(data, tmp_path))
    end = time.monotonic() + PATIENCE
    while len(metrics(tmp_path)) < 3 and slow.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    slow.send_signal(signal.SIGTERM)
    _, told = slow.communicate(timeout=PATIENCE)
    assert told.count(f"asd: {tmp_path / 'run'}: stopped after step") == 1, told
    (line,) = (line for line in told.splitlines() if "Go on with: " in line)
    words = shlex.split(line.partition("Go on with: ")[2])
    assert words[:5] == ["torchrun", "--nproc-per-node", "2", "-m", "asd"]

    again = torchrun(*words[1:])
    _, told = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, told
    assert told.count("pre-training small on") == 1
    assert weights(tmp_path) == weights(pair)
    assert metrics(tmp_path) == metrics(pair)


# On GPUs, which are made up here: what is asked of torch, and in which order


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Stands in for two GPUs and their processes; notes what is asked of them."""
    found: list[tuple[object, ...]] = []

    def note(name: str) -> Any:
        return lambda *words, **named: found.append((name, *words, *named.values()))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", note("device"))
    monkeypatch.setattr(distributed, "init_process_group", note("begin"))
    monkeypatch.setattr(distributed, "destroy_process_group", note("end"))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(ranks, "_get_default_group", lambda: None)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    return found


def test_a_process_has_its_gpu_before_it_meets_the_others(asked: list[tuple[object, ...]]) -> None:
    device = ranks.local_device("auto")
    with ranks.together(device):
        pass
    assert device == torch.device("cuda", 1)
    assert asked == [("device", device), ("begin", "nccl", ranks.PATIENCE, device), ("end",)]


@pytest.mark.parametrize("error", [KeyError("own"), RuntimeError("NCCL timeout"), RuntimeError("own")])
def test_after_an_error_nobody_waits_for_collectives_of_nccl(asked: list[tuple[object, ...]], error: Exception) -> None:
    for device, ends in ((torch.device("cuda", 1), []), (torch.device("cpu"), [("end",)])):
        asked.clear()
        with pytest.raises(ranks.RankError if "NCCL" in str(error) else type(error)), ranks.together(device):
            raise error
        assert [each for each in asked if each[0] == "end"] == ends


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_more_processes_than_gpus(
    asked: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ranks.RankError, match="no GPU for process 2 of this machine: it has 2 GPUs") as caught:
        ranks.local_device(wanted)
    assert "--nproc-per-node 2" in caught.value.hint
    assert ranks.local_device("cpu") == torch.device("cpu")
