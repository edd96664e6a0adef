"""The command line as a whole: quick help, signals, exit codes, and hints that work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asd.cli import app

ASD = [sys.executable, "-m", "asd"]


def test_help_loads_nothing_heavy() -> None:
    """What makes the difference between 0.2 s and several seconds."""
    code = (
        "import sys; from asd.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'asd._dsp', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command", [[], ["train"], ["score"], ["report"], ["evaluate"], ["demo"], ["doctor"], ["data"]]
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert len(result.stdout.splitlines()) < 140


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("asd 0.")


def test_doctor_finds_this_installation_healthy() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.stdout
    assert "agrees with numpy" in result.stdout


@pytest.fixture
def long_work(tmp_path: Path) -> Path:
    """Hours of recordings behind links to one file."""
    soundfile.write(tmp_path / "hour.wav", np.random.default_rng(0).normal(scale=0.1, size=16_000 * 1200), 16_000)
    folder = tmp_path / "pump7"
    folder.mkdir()
    for i in range(300):
        (folder / f"{i:03}.wav").symlink_to(tmp_path / "hour.wav")
    return folder


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_long_extraction(long_work: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    runs = tmp_path / "runs"
    words = ["train", "--normal", str(long_work), "--runs", str(runs)]
    with subprocess.Popen([*ASD, *words], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not any(log.stat().st_size for log in runs.glob(".pump7.*.new/train.log")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        # All of the work would take minutes.
        assert process.wait(timeout=30) == code
        assert process.stderr is not None
        assert "asd: " in process.stderr.read()
    assert list(runs.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(data_root: Path) -> None:
    command = f"{' '.join(ASD)} data list {data_root / 'toycar_logmel'} --json | head -1"
    told = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "Traceback" not in told.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    words = [*ASD, "score", str(tmp_path)]
    quiet = subprocess.run(words, capture_output=True, text=True, check=False)
    loud = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "ASD_DEBUG": "1"})
    assert quiet.returncode == loud.returncode == 4
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr


def test_the_main_job_on_real_recordings(data_root: Path, tmp_path: Path) -> None:
    """Train, score, report, each by the `Next:` line of the one before."""
    import shlex

    words = ["train", "--data", str(data_root / "dcase2020_wavs"), "--machine", "slider", "--id", "00"]
    words += ["--method", "baseline", "--runs", str(tmp_path / "runs")]
    seen = []
    while words:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.stderr
        seen.append(words[0])
        following = result.stderr.rsplit("Next: ", 1)[1].splitlines()[0]
        words = shlex.split(following)[1:] if following.startswith("asd ") and len(seen) < 3 else []
    assert seen == ["train", "score", "report"]
    run = tmp_path / "runs" / "slider-00"
    for name in ("config.toml", "env.json", "train.log", "detector/weights.safetensors", "detector/detector.json"):
        assert (run / name).is_file(), name
    for name in ("profile.npz", "embeddings.npz", "normals.jsonl", "recordings.jsonl", "scores.csv", "metrics.json"):
        assert (run / name).is_file(), name
    assert (run / "report" / "report.html").stat().st_size > 10_000


def test_the_normals_that_differ_most_can_be_left_out(data_root: Path, tmp_path: Path) -> None:
    import json
    import shlex

    words = ["train", "--data", str(data_root / "dcase2020_wavs"), "--machine", "slider", "--runs", str(tmp_path)]
    words += ["--method", "baseline"]
    first = CliRunner().invoke(app, words)
    command = first.stdout.split("are false more often.\n")[1].splitlines()[0]
    again = CliRunner().invoke(app, shlex.split(command)[1:])
    assert again.exit_code == 0, again.stderr
    described = json.loads((tmp_path / "slider-all" / "detector" / "detector.json").read_text())
    assert described["sections"]["00"]["n_normals"] == 70
    third = again.stdout.split("are false more often.\n")[1].splitlines()[0]
    assert third.count("--exclude") == 10


@pytest.mark.parametrize(
    ("seconds", "recordings", "says"),
    [
        (2, 12, "2 s after the other, 43200"),
        (20, 10, "20 s after the other, 4320"),
        (110, 1, "10 s after the other, 8640"),
    ],
)
def test_false_alarms_a_day_are_those_of_recordings(tmp_path: Path, seconds: int, recordings: int, says: str) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pump7").mkdir()
    for i in range(recordings):
        wave_N = rng.normal(scale=0.1, size=16_000 * seconds)
        soundfile.write(tmp_path / "pump7" / f"{i:02}.wav", wave_N, 16_000)
    words = ["train", "--normal", str(tmp_path / "pump7"), "--runs", str(tmp_path / "runs")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.stderr
    assert f"at one recording of {says} a day" in told.stdout


def test_evaluation_files_are_scored_with_a_label_list(tmp_path: Path) -> None:
    import json

    rng = np.random.default_rng(0)
    data = tmp_path / "data" / "fan"
    for name in [*(f"train/normal_id_01_{i:08}" for i in range(16)), *(f"test/id_01_{i:08}" for i in range(4))]:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(data / f"{name}.wav", rng.normal(scale=0.1, size=32_000), 16_000)
    lines = [f"id_01_{i:08}.wav,{('normal', 'anomaly')[i % 2]}_id_01_{i:08}.wav,{i % 2}" for i in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["fan", *lines]))
    run = str(tmp_path / "runs" / "fan-all")
    words = ["train", "--data", str(data.parent), "--machine", "fan", "--method", "baseline"]
    trained = CliRunner().invoke(app, [*words, "--runs", str(tmp_path / "runs")])
    assert trained.exit_code == 0, trained.stderr
    for words, known in ([], 0), (["--labels", str(tmp_path / "list.csv")], 2):
        scored = CliRunner().invoke(app, ["score", run, *words])
        assert scored.exit_code == 0, scored.stderr
        figures = json.loads((tmp_path / "runs" / "fan-all" / "metrics.json").read_text())["machines"]["fan"]["01"]
        assert figures["n_anomaly"] == figures["n_normal"] == known
        assert (figures["auc"] is not None) == bool(known)
    refused = CliRunner().invoke(app, ["score", run, str(data), "--labels", str(tmp_path / "list.csv")])
    assert refused.exit_code == 2


def test_a_run_of_own_recordings_can_be_trained_again(tmp_path: Path) -> None:
    """By the command that leaves out the normals that differ most."""
    import shlex

    rng = np.random.default_rng(0)
    (tmp_path / "pump7").mkdir()
    for i in range(16):
        soundfile.write(tmp_path / "pump7" / f"{i:02}.wav", rng.normal(scale=0.1, size=32_000), 16_000)
    words = ["train", "--normal", str(tmp_path / "pump7"), "--runs", str(tmp_path / "runs")]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.stderr
    command = first.stdout.split("are false more often.\n")[1].splitlines()[0]
    again = CliRunner().invoke(app, shlex.split(command)[1:])
    assert again.exit_code == 0, again.stderr
    assert "11 normal recordings of pump7" in again.stderr
    both = CliRunner().invoke(app, [*words, "--machine", "fan"])
    assert both.exit_code == 2
    assert "exclude each other" in both.stderr


def test_dry_run_writes_nothing(data_root: Path, tmp_path: Path) -> None:
    words = ["train", "--data", str(data_root / "dcase2020_wavs"), "--machine", "slider", "--runs", str(tmp_path / "r")]
    words += ["--method", "baseline"]
    result = CliRunner().invoke(app, [*words, "--dry-run"])
    assert result.exit_code == 0
    assert "75 training recordings" in result.stdout
    assert 'method = "baseline"' in result.stdout
    assert not (tmp_path / "r").exists()
