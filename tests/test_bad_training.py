"""What goes wrong when a network is to be trained: an exit code, what it is, and a way out for each."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer

from commands import SMALL, Command, Ended, log_mels, recordings, run
from test_resume import die_after_step, slowly

SHORT = (*SMALL, "--epochs", 2, "--set", "checkpoint_minutes=0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return log_mels(tmp_path_factory.mktemp("data") / "root", {"00": 24, "02": 24})


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pre-training."""
    runs = tmp_path_factory.mktemp("runs")
    ended = run(runs / "told", "pretrain", "--data", data, "--runs", runs, "--name", "weights", *SHORT)
    assert ended.code == 0, ended.err
    return runs / "weights"


@pytest.fixture(scope="module")
def half(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was killed in its second epoch."""
    runs = tmp_path_factory.mktemp("half")
    words = ("train", "--machine", "fan", "--data", data, "--runs", runs, "--name", "half", *SHORT, "--epochs", 3)
    assert run(runs / "told", *words, hook=partial(die_after_step, nth=7)).code == -9
    return runs / "half"


@pytest.fixture
def killed(half: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(half, tmp_path / "half"))


@pytest.fixture(scope="module")
def pump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain folder."""
    return recordings(tmp_path_factory.mktemp("plain") / "pump7", 12)


def dry_run(*words: object) -> Ended:
    """Run it in this process: nothing is trained."""
    from typer.testing import CliRunner

    from asd.cli import app

    done = CliRunner().invoke(app, ["train", *map(str, words), "--dry-run"])
    return Ended(done.exit_code, done.stdout, done.stderr)


def train(tmp_path: Path, data: Path, *more: object, **named: object) -> Ended:
    words = ("train", "--machine", "fan", "--data", data, "--runs", tmp_path / "runs", "--name", "run")
    return run(tmp_path / "told", *words, *SHORT, *more, **named)  # type: ignore[arg-type]


def resume(folder: Path, *more: object, told: Path | None = None) -> Ended:
    return run(
        told or folder.parent / "told", "train", "--runs", folder.parent, "--name", folder.name, "--resume", *more
    )


def assert_refused(ended: Ended, code: int, *says: str) -> None:
    assert ended.code == code, ended.err
    for text in says:
        assert text in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset", "dcase2021"], "no preset 'dcase2021'. Did you mean 'dcase202"),
        (["--preset", "dcase2020", "--method", "finetune"], "--preset dcase2020 is for the method contrastive"),
        (["--preset", "pretrain"], "asd pretrain"),
        (["--scorer", "knm"], "Did you mean 'knn'?"),
        (["--scorer", "classifier", "--method", "contrastive"], "--method finetune"),
        (["--scorer", "summary", "--encoder", "resnet50"], "resnet50 has no summary"),
        (["--set", "encoder.width=0.5"], "only mobilenetv2 has a width, not small"),
        (["--encoder", "mobilefacenet", "--set", "encoder.pooling=mean"], "pools by a convolution of its own"),
        (["--encoder", "mobilefacenet"], "--set views.stretch=1"),
        (["--set", "moco.queue_size=20"], "not a multiple of the batch size 8; for example: --set moco.queue_size=16"),
        (["--batch-size", 64], "batch size 64: larger than the training set, which has 28 windows"),
        (["--batch-size", 1], "batch_size"),
        (["--device", "cuda"], "torch finds no GPU"),
        (
            ["--method", "finetune", "--set", "classifier.frames=64", "--set", "views.stretch=1"],
            "the log-mels have 20 frames",
        ),
    ],
)
def test_usage(data: Path, tmp_path: Path, words: list[object], says: str) -> None:
    assert_refused(train(tmp_path, data, *words), 2, says)


IDLE = [
    (("--encoder", "resnet50", "--epochs", 3), "--encoder, --epochs: for a network"),
    (("--batch-size", 8), "--batch-size: for a network"),
    (("--device", "cuda"), "--device: for a network"),
    (("--set", "moco.queue_size=64"), "moco.queue_size: for a network"),
    (("-c", "idle.toml"), "optimiser.epochs: for a network"),
]


@pytest.mark.parametrize(("words", "says"), IDLE, ids=str)
def test_settings_of_a_network_where_none_is_trained(
    pump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("idle.toml").write_text('[optimiser]\nname = "adamw"\nepochs = 3\n')
    for method in ((), ("--method", "baseline")):
        ended = dry_run("--normal", pump, *words, *method)
        assert_refused(ended, 2, says, "--method contrastive")
        assert ("plain recordings" in ended.err) == (not method)
    if words != ("--device", "cuda"):
        assert dry_run("--normal", pump, *words, "--method", "contrastive").code == 0


def test_weights_to_start_from_where_no_network_is_trained(pump: Path, weights: Path) -> None:
    assert_refused(dry_run("--normal", pump, "--from", weights), 2, "--from: for a network")


def test_a_file_of_a_run_holds_settings_that_no_one_asked_for(pump: Path, tmp_path: Path) -> None:
    from asd.config import Config, load_config, read_preset

    (tmp_path / "baseline.toml").write_text(Config().to_toml())
    words = ("--normal", pump, "-c", tmp_path / "baseline.toml", "--device", "cpu", "--threads", 1)
    assert dry_run(*words).code == 0
    (tmp_path / "network.toml").write_text(load_config(base=read_preset("contrastive")).to_toml())
    assert dry_run("--normal", pump, "-c", tmp_path / "network.toml", "--method", "baseline").code == 0


def test_a_scorer_of_a_network_where_none_is_trained(pump: Path) -> None:
    ended = dry_run("--normal", pump, "--scorer", "knn", "--method", "baseline")
    assert_refused(ended, 2, "the method baseline has none")


def test_one_clip_only(data: Path, tmp_path: Path) -> None:
    one = log_mels(tmp_path / "one", {"00": 1})
    assert_refused(train(tmp_path, one, "--method", "contrastive", "--force"), 3, "cannot be held out")
    words = ("pretrain", "--runs", tmp_path / "runs", *SMALL, "--data")
    assert_refused(run(tmp_path / "told", *words, one), 2, "1 window to train on: 2 are the fewest")


OTHER = [
    ("--encoder", "resnet50"),
    ("--set", "encoder.norm=group"),
    ("--set", "encoder.pooling=mean"),
    ("--set", "encoder.name=resnet50"),
]


@pytest.mark.parametrize("words", OTHER)
def test_weights_of_another_encoder(data: Path, weights: Path, tmp_path: Path, words: tuple[str, str]) -> None:
    assert_refused(train(tmp_path, data, "--from", weights, *words), 2, f"{weights}: weights of another", "--")


def test_weights_bring_their_encoder(data: Path, weights: Path, tmp_path: Path) -> None:
    assert train(tmp_path, data, "--from", weights, "--preset", "dcase2022").code == 0
    assert 'name = "small"' in (tmp_path / "runs" / "run" / "config.toml").read_text()


def damaged(file: Path, kind: str) -> None:
    """Damage a file of ours, or put another in its place."""
    from safetensors.numpy import save_file

    whole = file.read_bytes()
    match kind:
        case "truncated":
            file.write_bytes(whole[: len(whole) // 2])
        case "empty":
            file.write_bytes(b"")
        case "pickle":
            file.write_bytes(pickle.dumps({"weights": [1.0]}))
        case "of another version":
            assert whole.count(b'\\"format\\": 1') == 1
            file.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
        case "not ours":
            save_file({"weights": np.zeros(3, np.float32)}, file)
        case "no facts":
            save_file({"x": np.zeros(3, np.float32)}, file, {"asd": "[]", "asd-encoder": "[]"})


KINDS = ["truncated", "empty", "pickle", "of another version", "not ours", "no facts"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_weights(data: Path, weights: Path, tmp_path: Path, kind: str) -> None:
    file = shutil.copy(weights / "encoder.safetensors", tmp_path / "copy.safetensors")
    damaged(file, kind)
    for encoder in ([], ["--encoder", "small"]):
        ended = train(tmp_path, data, "--from", file, *encoder)
        assert_refused(ended, 4, str(file), "asd pretrain")
    if kind == "of another version":
        assert "of format 9, this version reads 1" in ended.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(killed: Path, kind: str) -> None:
    # A checkpoint of the step before, so that there are two.
    (last,) = (killed / "checkpoint").iterdir()
    before = last.with_name(f"{1:012d}.safetensors")
    shutil.copy(last, before)
    damaged(last, kind)
    assert_refused(resume(killed), 4, str(last), f"{before} is the one before: remove the damaged file")
    last.unlink()
    assert resume(killed).code == 0


def test_a_checkpoint_of_another_network(killed: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    (file,) = (killed / "checkpoint").iterdir()
    with safe_open(file, "np") as stored:
        tensors = {k: stored.get_tensor(k) for k in stored.keys() if "head" not in k}  # noqa: SIM118
        save_file(tensors, file, stored.metadata())
    assert_refused(resume(killed), 4, "is not of this network", "--overwrite")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seed", 1], "--seed is given otherwise: 1, in the run 0"),
        (["--epochs", 9], "--epochs is given otherwise: 9, in the run 3"),
        (["--encoder", "resnet50"], "--encoder is given otherwise"),
        (["--id", "00"], "--id is given otherwise"),
        (["--method", "finetune"], "--method is given otherwise"),
        (["--preset", "dcase2020"], "--preset is given otherwise"),
        (["--from", "elsewhere"], "--from is given otherwise"),
        (["--machine", "pump"], "--machine is given otherwise"),
        (["--data", "/"], "--data is given otherwise"),
        (["--set", "moco.temperature=0.2"], "moco.temperature is given otherwise"),
    ],
)
def test_going_on_with_other_settings(killed: Path, words: list[object], says: str) -> None:
    assert_refused(resume(killed, *words), 2, says)


def test_going_on_with_the_same_settings(killed: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("seed = 0\n[moco]\ntemperature = 0.07\n")
    same = ("--machine", "fan", "--data", data, *SHORT, "--epochs", 3, "-c", tmp_path / "config.toml", "--id", "all")
    assert resume(killed, *same).code == 0
    assert_refused(resume(killed), 4, "has ended, there is nothing to resume", "--overwrite")


def test_going_on_where_nothing_is(tmp_path: Path) -> None:
    assert_refused(resume(tmp_path / "nothing"), 4, "no training to go on with")
    ended = run(tmp_path / "told", "pretrain", "--runs", tmp_path, "--resume")
    assert_refused(ended, 4, "no training to go on with")


@pytest.mark.parametrize("change", ["added", "removed", "held out and removed"])
def test_going_on_with_other_recordings(half: Path, data: Path, tmp_path: Path, change: str) -> None:
    from asd.data.catalog import open_catalog
    from asd.train.held import hold_out

    root = Path(shutil.copytree(data, tmp_path / "root"))
    assert train(tmp_path, root, "--epochs", 3, hook=partial(die_after_step, nth=7)).code == -9
    kept, held = hold_out(open_catalog(root).select("fan", None, "train"), "")
    match change:
        case "added":
            shutil.copy(kept[0].path, kept[0].path.with_name("normal_id_00_00000099.npy"))
        case "removed":
            kept[0].path.unlink()
        case "held out and removed":
            held[0].path.unlink()
    assert_refused(resume(tmp_path / "runs" / "run"), 4, "its recordings are others than before", "--overwrite")


def test_going_on_with_other_recordings_to_pretrain(data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(data, tmp_path / "root"))
    words = ("pretrain", "--data", root, "--runs", tmp_path, *SHORT)
    assert run(tmp_path / "told", *words, hook=partial(die_after_step, nth=3)).code == -9
    name = "normal_id_00_00000003.npy"
    (root / "fan" / "train" / name).rename(tmp_path / name)
    again = ("pretrain", "--runs", tmp_path, "--resume")
    assert_refused(run(tmp_path / "told", *again), 4, f"{name} is gone since")
    (tmp_path / name).rename(root / "fan" / "train" / name)
    assert run(tmp_path / "told", *again).code == 0


GPU_FULL = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 1 has a total capacity of 1.00 GiB. If reserved"


def run_out_of_memory(_: Path, where: str, what: str, kind: str = "GPU") -> None:
    """Let a function find a GPU or the machine full."""
    import importlib

    import torch

    def greedy(*_: object) -> None:
        if kind == "GPU":
            raise torch.OutOfMemoryError(GPU_FULL)
        torch.empty(2**60)

    module, _, owner = where.partition(":")
    place = importlib.import_module(module)
    setattr(getattr(place, owner) if owner else place, what, greedy)


@pytest.mark.parametrize("kind", ["GPU", "CPU"])
def test_out_of_memory(data: Path, tmp_path: Path, kind: str) -> None:
    in_a_step = partial(run_out_of_memory, where="asd.train.contrastive:Contrastive", what="loss", kind=kind)
    ended = train(tmp_path, data, hook=in_a_step)
    assert_refused(ended, 2, "asd: out of memory (", "ried to allocate", "Lower --batch-size, to 4")
    assert train(tmp_path, data, "--batch-size", 4).code == 0, "what was refused is not in the way"


@pytest.mark.parametrize(
    ("where", "what"),
    [("asd.train.fit", "placed"), ("asd.train.supply:Supply", "_as_they_lie"), ("asd.detect.network:Network", "_pass")],
)
def test_out_of_memory_outside_of_steps(data: Path, tmp_path: Path, where: str, what: str) -> None:
    ended = train(tmp_path, data, hook=partial(run_out_of_memory, where=where, what=what))
    assert_refused(ended, 2, "asd: out of memory (CUDA out of memory. Tried to allocate 20.00 GiB)\n", "--batch-size")


def test_a_checkpoint_that_finds_the_gpu_full_is_not_a_wrong_one(killed: Path) -> None:
    full = partial(run_out_of_memory, where="asd.train.state", what="load_optimiser_state")
    words = ("train", "--runs", killed.parent, "--name", killed.name, "--resume")
    ended = run(killed.parent / "told", *words, hook=full)
    assert_refused(ended, 2, "out of memory", "--batch-size")
    assert "--overwrite" not in ended.err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_process_says_that_its_memory_is_used_up(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from asd.cli._errors import GuardedGroup

    def full(*_: object) -> None:
        raise error

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(typer.core.TyperGroup, "invoke", full)
    with pytest.raises(typer.Exit) as ended:
        GuardedGroup(name="asd").invoke(None)
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err.startswith("asd: rank 1: out of memory (")


def test_another_runtime_error_stays_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    from asd.cli._errors import enough_memory

    with pytest.raises(RuntimeError, match="shapes"), enough_memory("less"):
        raise RuntimeError("shapes cannot be multiplied")


def test_two_trainings_in_one_folder(data: Path, tmp_path: Path) -> None:
    words = ("train", "--machine", "fan", "--data", data, "--runs", tmp_path / "runs", "--name", "run", *SHORT)
    working = Command(tmp_path / "working", (*words, "--epochs", 60), slowly)
    checkpoints = tmp_path / "runs" / "run" / "checkpoint"
    working.wait_for((tmp_path / "runs" / "run" / "config.toml").exists)
    for more in ([], ["--overwrite"], ["--resume"]):
        ended = train(tmp_path, data, "--epochs", 60, *more)
        assert_refused(ended, 4, f"{tmp_path / 'runs' / 'run'}: another training is at work in it")
    assert working.running
    working.wait_for(lambda: checkpoints.exists() and any(checkpoints.iterdir()))
    assert_refused(train(tmp_path, data, "--overwrite"), 4, "another training is at work")
    working.send(9)  # type: ignore[arg-type]
    working.end()
    assert (tmp_path / "runs" / "run" / ".lock").exists(), "nobody could remove it"
    assert_refused(train(tmp_path, data), 4, "its training did not end", "--resume", "--overwrite")
    assert train(tmp_path, data, "--overwrite").code == 0
    assert not (tmp_path / "runs" / "run" / ".lock").exists()


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path: Path) -> None:
    """Of two that wait for a third to end, one gets a lock that holds nobody off."""
    from asd.errors import RunFolderError
    from asd.runs import training_run

    folder = tmp_path / "run"
    folder.mkdir()
    flock = fcntl.flock

    def late(stream: object, how: int) -> None:
        flock(stream, how)  # type: ignore[arg-type]
        (folder / ".lock").unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        with (
            pytest.raises(RunFolderError, match="another training"),
            training_run(folder, overwrite=False, resume=False),
        ):
            pass


def test_what_is_no_run_stays(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (folder / "diary.txt").write_text("dear diary")
    for more in ([], ["--overwrite"]):
        assert_refused(train(tmp_path, data, *more), 4, "is in the way")
    assert [file.name for file in folder.iterdir()] == ["diary.txt"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill_the_disk(_: Path, disk: Path, nth: int) -> None:
    """Fill it before the nth checkpoint."""
    from asd.train import state

    save, seen = state.save, []

    def late(folder: Path, checkpoint: state.Checkpoint) -> Path:
        seen.append(1)
        if len(seen) == nth:
            with (disk / "filler").open("wb", buffering=0) as stream:
                try:
                    while stream.write(bytes(4_096)):
                        pass
                except OSError:
                    pass
        return save(folder, checkpoint)

    state.save = late


def test_a_full_disk_keeps_the_checkpoints_before(data: Path, tmp_path: Path, disk: Path) -> None:
    words = ("train", "--machine", "fan", "--data", data, "--name", "run", *SHORT, "--epochs", 4, "--runs")
    assert run(tmp_path / "told", *words, tmp_path / "whole").code == 0
    ended = run(tmp_path / "told", *words, disk / "runs", hook=partial(fill_the_disk, disk=disk, nth=3))
    assert_refused(ended, 3, f"{disk}/runs/run/checkpoint/{12:012d}.safetensors: cannot be written (No space left")
    folder = disk / "runs" / "run"
    assert sorted(file.name for file in (folder / "checkpoint").iterdir()) == [
        f"{step:012d}.safetensors" for step in (4, 8)
    ]
    full = resume(folder, told=tmp_path / "told")
    assert full.code == 3, full.err
    assert "No space left" in full.err
    assert str(folder) in full.err
    (disk / "filler").unlink()
    assert resume(folder, told=tmp_path / "told").code == 0
    assert (folder / "encoder.safetensors").read_bytes() == (
        tmp_path / "whole" / "run" / "encoder.safetensors"
    ).read_bytes()


WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "torchaudio"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from asd.__main__ import main
main()
"""


def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def test_without_torch(data: Path, tmp_path: Path) -> None:
    words = ("--data", data, "--runs", tmp_path, "--set", "features.n_mels=16")
    for command in (["train", "--machine", "fan"], ["pretrain"]):
        ended = without_torch(*command, *words)
        assert ended.returncode == 2, ended.stderr
        assert "pip install 'machine-asd[train]'" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
    ended = without_torch("train", "--machine", "fan", "--method", "baseline", *words)
    assert ended.returncode == 0, ended.stderr


LAYOUTS: dict[str, tuple[Callable[[Path], Path], tuple[object, ...], str]] = {
    "2020": (lambda p: log_mels(p / "root", {"00": 12}), ("--machine", "fan"), "contrastive"),
    "2021": (
        lambda p: log_mels(p / "root", {"00": 12}, "section_{section}_source_train_normal_{i:04}_noAtt.npy"),
        ("--machine", "fan"),
        "finetune",
    ),
    "plain": (lambda p: recordings(p / "pump7", 12), (), "baseline"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_tells_the_method_and_a_dry_run_what_it_costs(tmp_path: Path, layout: str) -> None:
    make, words, method = LAYOUTS[layout]
    where = ("--normal" if method == "baseline" else "--data", make(tmp_path))
    small = () if method == "baseline" else SMALL
    ended = run(tmp_path / "told", "train", *words, *where, "--runs", tmp_path / "runs", "--dry-run", *small)
    assert ended.code == 0, ended.err
    assert f'method = "{method}"' in ended.out
    assert "parameters" in ended.out
    assert ("GFLOP" in ended.out) == (method != "baseline")
    assert not (tmp_path / "runs").exists()


def test_the_baseline_that_is_asked_for_decides(data: Path, tmp_path: Path) -> None:
    words = ("train", "--machine", "fan", "--data", data, "--runs", tmp_path / "runs", "--name", "run", "--overwrite")
    for scorer in ("baseline-alone", "baseline-siblings"):
        told = ("--method", "baseline", "--scorer", scorer, "--set", "features.n_mels=16", "--threads", 1)
        assert run(tmp_path / "told", *words, *told).code == 0
        described = json.loads((tmp_path / "runs" / "run" / "detector" / "detector.json").read_text())
        assert described["scorer"] == scorer


def test_a_dry_run_tells_the_memory_of_what_a_step_looks_at(data: Path, tmp_path: Path) -> None:
    """Half of each window takes about half the memory."""
    found = []
    for share in ("1.0", "0.5"):
        ended = train(
            tmp_path / share, data, "--encoder", "mobilenetv2", "--set", f"views.stretch={share}", "--dry-run"
        )
        found.append(float(re.search(r"about ([\d,]+) MB in training for a batch of 8", ended.out)[1]))  # type: ignore[index]
    assert 1.5 < found[0] / found[1] < 2.5
