"""`asd data`: what it prints, on which stream, with which exit code; and that what it proposes works."""

from __future__ import annotations

import csv
import inspect
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from asd.cli import app
from asd.cli.data import synth
from asd.data.synth import write_dataset

RATE = 16_000


def asd(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def next_line(result: Result) -> list[str]:
    lines = result.stderr.splitlines()
    (line,) = [line for line in lines if line.startswith("Next: ")]
    return shlex.split(line.removeprefix("Next: "))


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 3000, RATE).astype(np.int16), RATE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training normals and two test clips of a fan, three training normals of a pump."""
    folder = tmp_path_factory.mktemp("data root")
    for i in range(12):
        save(folder / f"fan/train/normal_id_00_{i:08d}.wav", i)
    save(folder / "fan/test/normal_id_00_00000000.wav", 100)
    save(folder / "fan/test/anomaly_id_00_00000000.wav", 101)
    for i in range(3):
        save(folder / f"pump/train/section_00_source_train_normal_{i:04d}_vel_1.wav", 200 + i)
    return folder


@pytest.fixture
def damaged(root: Path, tmp_path: Path) -> Path:
    for clip in (root / "fan/train").iterdir():
        (tmp_path / "fan/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "fan/train" / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "fan/train/normal_id_00_00000050.wav").write_text("no samples")
    (tmp_path / "fan/train/normal_id_00_00000051.wav").write_bytes(b"")
    soundfile.write(tmp_path / "fan/train/normal_id_00_00000052.wav", np.zeros(RATE, np.int16), RATE)
    copy = (tmp_path / "fan/train/normal_id_00_00000000.wav").read_bytes()
    (tmp_path / "fan/train/normal_id_00_00000053.wav").write_bytes(copy)
    return tmp_path


# ---- list -----------------------------------------------------------------------------------------------------------


def test_list(root: Path) -> None:
    result = asd("data", "list", root)
    assert result.exit_code == 0
    table = [line.split() for line in result.stdout.splitlines()]
    header = next(words for words in table if "machine" in words)
    assert header == ["machine", "id", "domain", "train", "test", "normal", "anomaly", "kHz", "channels", "hours"]
    assert ["fan", "00", "–", "12", "1", "1", "16", "1", "0.00389"] in table
    assert ["pump", "00", "source", "3", "0", "0", "16", "1", "0.000833"] in table
    assert f"{root}: 2 machines, 17 recordings, 0.00472 hours, layout dcase2020, dcase2021" in result.stdout
    assert next_line(result) == ["asd", "data", "verify", str(root)]


def test_list_as_json(root: Path) -> None:
    result = asd("data", "list", root, "--json")
    listed = json.loads(result.stdout)
    assert listed["root"] == str(root) and listed["notes"] == []
    assert listed["machines"]["fan"]["00"] == {
        "layout": "dcase2020",
        "train": {"all": 12},
        "test_normal": 1,
        "test_anomaly": 1,
        "test_unknown": 0,
        "rates": {"16000": 14},
        "channels": {"1": 14},
        "hours": pytest.approx(14 / 3600),
        "logmels": 0,
        "unreadable_headers": 0,
    }
    assert listed["machines"]["pump"]["00"]["train"] == {"source": 3}


def test_list_counts_headers_that_cannot_be_read(damaged: Path) -> None:
    result = asd("data", "list", damaged)
    assert result.exit_code == 0
    assert "caution: 2 files without a readable header" in result.stderr


def test_list_says_how_folders_were_read(tmp_path: Path) -> None:
    save(tmp_path / "pump7/monday.wav", 0)
    (tmp_path / "pump7/tuesday.m4a").touch()
    result = asd("data", "list", tmp_path)
    assert "1 recording in no normal/ or abnormal/ folder: taken for normal" in result.stderr
    assert "caution: " in result.stderr and "ffmpeg -i" in result.stderr
    assert "layout folder" in result.stdout


def test_list_with_labels(tmp_path: Path) -> None:
    save(tmp_path / "root/fan/test/id_01_00000000.wav", 0)
    (tmp_path / "list.csv").write_text("fan\nid_01_00000000.wav,anomaly_id_01_00000001.wav,1\n")
    before = json.loads(asd("data", "list", tmp_path / "root", "--json").stdout)["machines"]["fan"]["01"]
    assert (before["test_unknown"], before["test_anomaly"]) == (1, 0)
    labelled = asd("data", "list", tmp_path / "root", "--labels", tmp_path / "list.csv", "--json")
    after = json.loads(labelled.stdout)["machines"]["fan"]["01"]
    assert (after["test_unknown"], after["test_anomaly"]) == (0, 1)


def test_the_root_comes_from_argument_option_environment_or_default(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(*words: object) -> str:
        result = asd("data", "list", *words, "--json")
        return str(json.loads(result.stdout)["root"])

    assert listed("--data", root) == listed(root) == listed(root, "--data", tmp_path) == str(root)
    monkeypatch.setenv("ASD_DATA", str(root))
    assert listed() == str(root)
    assert next_line(asd("data", "list")) == ["asd", "data", "verify"]
    monkeypatch.delenv("ASD_DATA")
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "data/mill/a.wav", 0)
    assert listed() == str(tmp_path / "data")


def test_missing_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    for words in (["list"], ["verify"], ["list", "--data", "nowhere"]):
        result = asd("data", *words)
        assert result.exit_code == 3
        assert "no such folder" in result.stderr and "asd data synth" in result.stderr
        assert result.stdout == "" and "Next:" not in result.stderr


def test_duplicate_names(tmp_path: Path) -> None:
    save(tmp_path / "fan/train/normal_id_00_00000000.wav", 0)
    save(tmp_path / "fan/train/normal_id_00_00000000.flac", 0)
    result = asd("data", "list", tmp_path)
    assert result.exit_code == 3
    assert "duplicate names" in result.stderr
    assert "normal_id_00_00000000.wav" in result.stderr and "normal_id_00_00000000.flac" in result.stderr


# ---- verify ---------------------------------------------------------------------------------------------------------


def test_verify(root: Path) -> None:
    result = asd("data", "verify", root)
    assert result.exit_code == 0
    assert "17 recordings read" in result.stdout
    assert "Nothing is broken, silent, clipped, cut short or there twice." in result.stdout
    assert next_line(result) == ["asd", "train", "--machine", "fan", "--id", "00", "--data", str(root)]


def test_verify_prints_everything_and_then_fails(damaged: Path) -> None:
    result = asd("data", "verify", damaged)
    assert result.exit_code == 3
    for n in (50, 51):
        assert f"broken: fan/train/normal_id_00_000000{n}.wav: " in result.stdout
    assert "silent: 1\n  fan/train/normal_id_00_00000052.wav" in result.stdout
    twice = "fan/train/normal_id_00_00000000.wav = fan/train/normal_id_00_00000053.wav"
    assert f"there twice: 1\n  {twice}" in result.stdout
    assert f"2 recordings of 16 in {damaged} cannot be used" in result.stderr
    assert next_line(result)[-3:] == ["--data", str(damaged), "--skip-bad"]


def test_verify_as_json(damaged: Path) -> None:
    result = asd("data", "verify", damaged, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert [Path(b["path"]).name for b in report["broken"]] == [f"normal_id_00_000000{n}.wav" for n in (50, 51)]
    assert all(b["reason"] and b["hint"] for b in report["broken"])
    assert report["silent"] == ["fan/train/normal_id_00_00000052.wav"] and len(report["duplicates"][0]) == 2
    assert report["recordings"] == 16 and report["rates"] == {"16000": 14} and report["clipped"] == []


def test_verify_writes_a_line_for_every_recording(damaged: Path, tmp_path: Path) -> None:
    result = asd("data", "verify", damaged, "--out", tmp_path / "found.csv")
    assert result.exit_code == 3
    with (tmp_path / "found.csv").open(newline="") as file:
        found = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert len(found) == 16
    assert found["normal_id_00_00000050.wav"]["findings"] == "broken"
    assert found["normal_id_00_00000052.wav"]["findings"] == "silent"
    assert found["normal_id_00_00000053.wav"]["copy_of"] == "fan/train/normal_id_00_00000000.wav"
    sound = found["normal_id_00_00000001.wav"]
    assert (sound["findings"], sound["rate"], sound["seconds"], sound["split"]) == ("", "16000", "1.0", "train")
    assert -25 < float(sound["rms_dbfs"]) < -15


def test_verify_refuses_a_place_that_is_not_there_before_it_decodes(root: Path, tmp_path: Path) -> None:
    result = asd("data", "verify", root, "--out", tmp_path / "no/found.csv")
    assert result.exit_code == 3 and "no folder" in result.stderr and result.stdout == ""


def test_verify_refuses_a_channel_that_is_no_number(root: Path) -> None:
    result = asd("data", "verify", root, "--channel", "left")
    assert result.exit_code == 2 and "--channel left" in result.stderr
    assert asd("data", "verify", root, "--channel", "mix").exit_code == 0
    assert asd("data", "verify", root, "--channel", "1").exit_code == 3


def test_too_few_normals_lead_back_to_the_list(tmp_path: Path) -> None:
    save(tmp_path / "pump7/a.wav", 0)
    assert next_line(asd("data", "verify", tmp_path)) == ["asd", "data", "list", str(tmp_path)]


# ---- synth ----------------------------------------------------------------------------------------------------------

FEW = ("--machines", "fan,valve", "--ids", 1, "--train", 12, "--test", 4, "--seconds", 1)


def test_synth_makes_a_data_root(tmp_path: Path) -> None:
    result = asd("data", "synth", tmp_path / "made", *FEW)
    assert result.exit_code == 0, result.stderr
    assert "2 machines, 32 recordings" in result.stdout
    proposed = next_line(result)
    assert proposed[:4] == ["asd", "train", "--machine", "fan"] and proposed[-1] == str(tmp_path / "made")
    assert asd("data", "verify", tmp_path / "made").exit_code == 0


def test_synth_with_domains(tmp_path: Path) -> None:
    result = asd("data", "synth", tmp_path / "made", *FEW, "--layout", "dcase2022")
    assert result.exit_code == 0, result.stderr
    listed = json.loads(asd("data", "list", tmp_path / "made", "--json").stdout)
    (section,) = listed["machines"]["valve"].values()
    assert set(section["train"]) == {"source", "target"} and sum(section["train"].values()) == 12


def test_synth_without_enough_to_train_on_leads_to_the_list(tmp_path: Path) -> None:
    words = ("--machines", "fan", "--ids", 1, "--train", 2, "--test", 2, "--seconds", 1)
    result = asd("data", "synth", tmp_path / "made", *words)
    assert next_line(result) == ["asd", "data", "list", str(tmp_path / "made")]


@pytest.mark.parametrize("name", ["machines", "ids", "train", "test", "layout", "seconds", "seed", "snr_db"])
def test_synth_states_the_default_that_it_has(name: str) -> None:
    default = inspect.signature(write_dataset).parameters[name].default
    words = ",".join(default) if isinstance(default, tuple) else f"{default:g}" if name != "layout" else default
    help_text = get_type_hints(synth, include_extras=True)[name].__metadata__[0].help
    assert help_text.endswith(f"[{words}]")


def test_synth_refuses(tmp_path: Path) -> None:
    unknown = asd("data", "synth", tmp_path / "made", "--machines", "fam")
    assert unknown.exit_code == 2 and "fan" in unknown.stderr
    assert asd("data", "synth", tmp_path / "made", "--layout", "dcase2019").exit_code == 2
    assert not (tmp_path / "made").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("do not lose")
    in_the_way = asd("data", "synth", tmp_path / "mine", *FEW, "--overwrite")
    assert in_the_way.exit_code == 4 and (tmp_path / "mine/notes.txt").read_text() == "do not lose"


# ---- the process ----------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    # pydantic is typer's own: it reads a command's words with it.
    code = (
        "import sys, contextlib; from asd.cli import app\n"
        "with contextlib.suppress(SystemExit): app(['data', '--help'])\n"
        "print(sorted({'torch', 'numpy', 'asd.config', 'soundfile', 'asd._dsp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(command in done.stdout for command in ("list", "verify", "synth"))


def test_real_recordings(data_root: Path) -> None:
    result = asd("data", "list", data_root / "dcase2020_wavs")
    assert "6 machines, 137 recordings, 0.383 hours, layout dcase2020" in result.stdout
    verified = asd("data", "verify", data_root / "dcase2020_wavs")
    assert verified.exit_code == 0
    assert next_line(verified)[:6] == ["asd", "train", "--machine", "slider", "--id", "00"]
