"""What users do wrong, and what their disks do to them: an exit code, the file's name, and a way out for each."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from asd.cli import app

RATE = 16_000


@dataclass
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


def asd(*words: object) -> Outcome:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def hum(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A tone in noise, a little different each time."""
    rng = np.random.default_rng(seed)
    t_N = np.arange(round(seconds * rate)) / rate
    wave_N = 0.1 * np.sin(2 * np.pi * (200 + rng.normal()) * t_N) + 0.01 * rng.normal(size=t_N.size)
    return wave_N.astype(np.float32)


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    """A folder of 12 good recordings of one machine."""
    folder = tmp_path / "pump7"
    folder.mkdir()
    for i in range(12):
        soundfile.write(folder / f"{i:02}.wav", hum(i), RATE)
    return folder


def train(pump: Path, *more: object) -> Outcome:
    return asd("train", "--normal", pump, "--runs", pump.parent / "runs", *more)


def header(channels: int = 1, rate: int = RATE, bits: int = 16, data: bytes = b"", claims: int | None = None) -> bytes:
    """A WAV file whose header says what it is told."""
    block = channels * bits // 8
    size = len(data) if claims is None else claims
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def float_wav(path: Path, spoilt: float) -> None:
    wave_N = hum(0)
    wave_N[777] = spoilt
    soundfile.write(path, wave_N, RATE, subtype="FLOAT")


def m4a(path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00M4A mp42isom" + bytes(200))


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (lambda p: p.write_bytes(b""), "empty"),
    "truncated header": (lambda p: p.write_bytes(header()[:30]), ""),
    "text": (lambda p: p.write_text("Dear Sirs, the pump is loud.\n" * 50), "text"),
    "m4a inside": (m4a, "ffmpeg"),
    "NaN": (lambda p: float_wav(p, float("nan")), "NaN"),
    "infinite": (lambda p: float_wav(p, float("inf")), "infinite"),
    "zero-length audio": (lambda p: p.write_bytes(header()), ""),
    "no channels": (lambda p: p.write_bytes(header(channels=0, data=bytes(100))), "channels"),
    "3 GHz": (lambda p: p.write_bytes(header(rate=3_000_000_000, data=bytes(64_000))), "3000000000"),
    "10 ms": (lambda p: soundfile.write(p, hum(0, 0.01), RATE), ""),
    "8 kHz": (lambda p: soundfile.write(p, hum(0, 1, 8_000), 8_000), "--allow-upsampling"),
    "dangling link": (lambda p: p.symlink_to("nowhere.wav"), ""),
    "read error": (lambda p: p.symlink_to("/proc/self/mem"), ""),
}


@pytest.mark.parametrize("what", SPOILERS)
def test_a_broken_recording_stops_training_with_its_name_or_is_skipped(pump: Path, what: str) -> None:
    spoil, says = SPOILERS[what]
    bad = pump / "bad one.wav"
    spoil(bad)
    stopped = train(pump)
    assert stopped.code == 3, stopped.err
    assert "bad one.wav" in stopped.err
    assert says in stopped.err
    assert "--skip-bad" in stopped.err
    assert not (pump.parent / "runs" / "pump7").exists()

    went_on = train(pump, "--skip-bad")
    assert went_on.code == 0, went_on.err
    described = json.loads((pump.parent / "runs" / "pump7" / "detector" / "detector.json").read_text())
    assert [Path(s["file"]).name for s in described["skipped"]] == ["bad one.wav"]
    assert described["sections"]["00"]["n_normals"] == 12


@contextmanager
def nobody() -> Iterator[None]:
    """Give up root's right to read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_recording_without_permission() -> None:
    # Not in tmp_path, into which nobody may not look.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        folder = Path(place) / "pump7"
        folder.mkdir()
        for i in range(12):
            soundfile.write(folder / f"{i:02}.wav", hum(i), RATE)
        assert train(folder).code == 0  # and every module is loaded, which nobody may not read either
        (folder / "03.wav").chmod(0)
        with nobody():
            stopped = asd("train", "--normal", folder, "--runs", Path(place) / "others")
    assert stopped.code == 3
    assert "03.wav: you are not allowed to read it" in stopped.err
    assert "chmod" in stopped.err


def test_truncated_data_is_read_as_far_as_it_goes(pump: Path) -> None:
    samples = (hum(3, 2) * 32_767).astype("<i2").tobytes()
    (pump / "cut.wav").write_bytes(header(data=samples, claims=10 * len(samples)))
    trained = train(pump)
    assert trained.code == 0
    assert "1 of 13 recordings cut short (their header promises more): cut.wav" in trained.err


def test_a_format_that_is_not_read_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "pump7"
    folder.mkdir()
    m4a(folder / "a.m4a")
    stopped = train(folder)
    assert stopped.code == 3
    assert "ffmpeg" in stopped.err
    assert ".m4a" in stopped.err


def test_missing_data_root(tmp_path: Path) -> None:
    stopped = asd("train", "--machine", "fan", "--data", tmp_path / "nowhere")
    assert stopped.code == 3
    assert "nowhere" in stopped.err
    assert "asd data synth" in stopped.err


def test_empty_data_root(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    stopped = asd("train", "--machine", "fan", "--data", tmp_path / "data")
    assert stopped.code == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--machine", "sliders"], "Did you mean 'slider'?"),
        (["--machine", "slider", "--id", "01"], "00, 04, 06"),
        ([], "which machine?"),
        (["--machine", "slider", "--normal", "x"], "exclude each other"),
        (["--machine", "slider", "--id", "00", "--set", "agregate=mean"], "Did you mean 'aggregate'?"),
        (["--machine", "slider", "--id", "00", "--channel", "left"], "channel"),
        (["--machine", "slider", "--id", "00", "--method", "magic"], "magic"),
        (["--machine", "slider", "--id", "00", "--false-alarm-rate", "2"], "false_alarm_rate"),
        (["--machine", "slider", "--id", "00", "--exclude", "slider/train/normal_id_00_000.wav"], "Did you mean"),
    ],
)
def test_usage(data_root: Path, tmp_path: Path, words: list[str], says: str) -> None:
    stopped = asd("train", "--data", data_root / "dcase2020_wavs", "--runs", tmp_path, *words)
    assert stopped.code == 2, stopped.err
    assert says in stopped.err


def test_no_training_clips(data_root: Path, tmp_path: Path) -> None:
    stopped = asd("train", "--data", data_root / "dcase2020_wavs", "--runs", tmp_path, "--machine", "fan", "--id", "00")
    assert stopped.code == 3
    assert "fan id_00 has 0 training clips" in stopped.err


def test_duplicate_names(pump: Path) -> None:
    soundfile.write(pump / "03.flac", hum(99), RATE)
    stopped = train(pump)
    assert stopped.code == 3
    assert "03.flac" in stopped.err
    assert "03.wav" in stopped.err


def test_fewer_than_ten_normals(pump: Path) -> None:
    for i in range(5):
        (pump / f"{i:02}.wav").unlink()
    stopped = train(pump)
    assert stopped.code == 3
    assert "7 normal recordings are too few" in stopped.err
    forced = train(pump, "--force")
    assert forced.code == 0
    assert "only 7 normals" in forced.err


def test_run_folder_in_the_way(pump: Path) -> None:
    assert train(pump).code == 0
    stopped = train(pump)
    assert stopped.code == 4
    assert "--overwrite" in stopped.err
    assert train(pump, "--overwrite").code == 0


@pytest.mark.parametrize("runs", ["/proc/asd-runs", "a-file/runs"])
def test_unwritable_run_folder(pump: Path, runs: str) -> None:
    (pump.parent / "a-file").touch()
    stopped = asd("train", "--normal", pump, "--runs", pump.parent / runs)
    assert stopped.code == 3
    assert "cannot be written" in stopped.err
    assert "pump7" in stopped.err


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(pump: Path, tiny_disk: Path) -> None:
    stopped = asd("train", "--normal", pump, "--runs", tiny_disk / "runs")
    assert stopped.code == 3
    assert "No space left on device" in stopped.err
    assert "weights.safetensors" in stopped.err
    assert list((tiny_disk / "runs").iterdir()) == []


def test_full_disk_while_scoring_keeps_the_older_scores(pump: Path, tiny_disk: Path) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    assert asd("score", run, pump).code == 0
    kept = (run / "scores.csv").read_bytes()
    shutil.copytree(run, tiny_disk / "pump7", ignore=shutil.ignore_patterns("weights.safetensors", "embeddings.npz"))
    for name in ("detector/weights.safetensors", "embeddings.npz"):
        (tiny_disk / "pump7" / name).symlink_to(run / name)
    filler = tiny_disk / "filler"
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while stream.write(bytes(4_096)):
            pass
    stopped = asd("score", tiny_disk / "pump7", pump)
    assert stopped.code == 3
    assert "No space left on device" in stopped.err
    assert (tiny_disk / "pump7" / "scores.csv").read_bytes() == kept


def logmels(root: Path, shapes: list[tuple[int, ...]]) -> Path:
    """A data root of ready log-mels."""
    folder = root / "fan" / "train"
    folder.mkdir(parents=True)
    recipe = {"sample_rate": RATE, "n_fft": 1024, "hop_length": 512, "n_mels": 128, "mel_scale": "slaney", "unit": "dB"}
    (root / "features.json").write_text(json.dumps(recipe))
    for i, shape in enumerate(shapes):
        np.save(folder / f"normal_id_00_{i:08}.npy", np.random.default_rng(i).normal(size=shape).astype(np.float16))
    return root


@pytest.mark.parametrize("odd", [(64, 200), (128, 200, 1), (128,), (128, 313)])
def test_log_mels_of_the_wrong_shape_and_mixed_lengths(tmp_path: Path, odd: tuple[int, ...]) -> None:
    root = logmels(tmp_path / "data", [(128, 200)] * 12 + [odd])
    stopped = asd("train", "--data", root, "--runs", tmp_path / "runs", "--machine", "fan")
    assert stopped.code == 3, stopped.err
    assert "normal_id_00_00000012.npy" in stopped.err


def test_log_mels_made_otherwise_than_the_settings_say(tmp_path: Path) -> None:
    root = logmels(tmp_path / "data", [(128, 200)] * 12)
    words = [
        "train",
        "--data",
        root,
        "--runs",
        tmp_path / "runs",
        "--machine",
        "fan",
        "--set",
        "features.hop_length=256",
    ]
    stopped = asd(*words)
    assert stopped.code == 3
    assert "hop_length" in stopped.err


def test_silent_recordings_are_no_error(pump: Path) -> None:
    soundfile.write(pump / "silent.wav", np.zeros(RATE), RATE)
    trained = train(pump)
    assert trained.code == 0
    assert "1 of 13 recordings silent: silent.wav" in trained.err
    scored = asd("score", pump.parent / "runs" / "pump7", pump / "silent.wav", "--json")
    assert scored.code == 0
    assert len(json.loads(scored.out)["recordings"]) == 1
    assert "silent" in scored.err


def test_mixed_rates_are_no_error(pump: Path) -> None:
    soundfile.write(pump / "44.wav", hum(50, 1, 44_100), 44_100)
    trained = train(pump)
    assert trained.code == 0
    assert "resampled to 16000 Hz: 1 at 44100 Hz" in trained.err
    assert "the detector hears 0 to 8000 Hz" in trained.err


def test_no_known_anomalies_is_no_error(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    new = tmp_path / "new"
    new.mkdir()
    soundfile.write(new / "monday.wav", hum(70), RATE)
    run = pump.parent / "runs" / "pump7"
    scored = asd("score", run, new)
    assert scored.code == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["mean"] == {"auc": None, "pauc": None}
    assert asd("report", run).code == 0


def test_fail_on_anomaly(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    noise = tmp_path / "bang.wav"
    soundfile.write(noise, np.random.default_rng(0).normal(scale=0.2, size=RATE), RATE)
    assert asd("score", run, noise, "--fail-on-anomaly").code == 10
    assert asd("score", run, pump / "03.wav", "--fail-on-anomaly").code == 0
    assert asd("score", run, noise).code == 0


def test_scoring_a_broken_recording(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    new = tmp_path / "new"
    new.mkdir()
    (new / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(new / "good.wav", hum(70), RATE)
    stopped = asd("score", run, new)
    assert stopped.code == 3
    assert "broken.wav" in stopped.err
    assert not (run / "scores.csv").exists()
    went_on = asd("score", run, new, "--skip-bad")
    assert went_on.code == 0
    assert [Path(s["file"]).name for s in json.loads((run / "metrics.json").read_text())["skipped"]] == ["broken.wav"]
    assert asd("score", run, new / "broken.wav", "--skip-bad").code == 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["score", "runs/absent"], 4, "no run folder"),
        (["report", "runs/absent"], 4, "no run folder"),
        (["score"], 2, ""),
        (["scroe"], 2, "scroe"),
    ],
)
def test_commands_without_what_they_need(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    outcome = asd(*words)
    assert outcome.code == code
    assert says in outcome.err


def test_own_recordings_have_no_test_clips(pump: Path) -> None:
    assert train(pump).code == 0
    stopped = asd("score", pump.parent / "runs" / "pump7")
    assert stopped.code == 3
    assert "Name the recordings to score" in stopped.err


def test_more_threads_than_there_can_be(pump: Path) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    for words in (["score", run, pump], ["data", "verify", pump], ["train", "--normal", pump, "--overwrite"]):
        assert asd(*words, "--threads", 5000).code == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--set", "features.eps=1e300"], 2, "features.eps"),
        (["--set", "features.eps=1e-300"], 2, "features.eps"),
        (["--id", ""], 2, "names no machine ID"),
        (["--id", ","], 2, "names no machine ID"),
        ([w for i in range(12) for w in ("--exclude", f"{i:02}.wav")], 2, "none of the 12 training recordings"),
    ],
)
def test_settings_that_leave_nothing_to_do(pump: Path, words: list[str], code: int, says: str) -> None:
    stopped = train(pump, *words)
    assert stopped.code == code, stopped.err
    assert says in stopped.err


@pytest.mark.parametrize("odd", [":100:", "[red]x", "u2028\u2028x", "nel\x85x", "$x^{$", "<img src=x>", "-v", "100%s"])
def test_names_are_shown_and_kept_as_they_are(pump: Path, odd: str) -> None:
    machine = pump.rename(pump.with_name(odd))
    trained = asd("train", f"--normal={machine}", "--runs", pump.parent / "runs")
    assert trained.code == 0, trained.err
    run = pump.parent / "runs" / odd
    with (machine / f"{odd}.wav").open("wb") as stream:
        soundfile.write(stream, hum(70), RATE, format="WAV")
    scored = asd("score", run, machine)
    assert scored.code == 0, scored.err
    reported = asd("report", run)
    assert reported.code == 0, reported.err
    if odd.isprintable():
        assert f"{odd}: baseline-alone" in trained.out
        assert f"{odd}.wav" in scored.out
        assert f"{odd}.wav" in reported.out


@pytest.mark.parametrize("odd", ["caf\udce9", "cr\rx"])
def test_names_that_no_result_can_hold(pump: Path, odd: str) -> None:
    machine = pump.rename(pump.with_name(odd))
    for words in (["train", "--normal", machine], ["data", "list", machine], ["data", "verify", machine]):
        stopped = asd(*words)
        assert stopped.code == 3, stopped.err
        assert "Rename" in stopped.err


def test_a_run_name_that_is_no_text(pump: Path) -> None:
    stopped = train(pump, "--name", "caf\udce9")
    assert stopped.code == 3
    assert "not valid UTF-8" in stopped.err
    assert not (pump.parent / "runs").exists()


def test_listing_does_not_wait_at_a_pipe(pump: Path) -> None:
    os.mkfifo(pump / "pipe.wav")
    listed = asd("data", "list", pump)
    assert listed.code == 0
    assert "1 file without a readable header" in listed.err


@pytest.mark.parametrize("recipe", ["[" * 100_000, '{"unit": ["dB"]}', '{"unit": {}}'])
def test_a_recipe_of_log_mels_that_is_none(tmp_path: Path, recipe: str) -> None:
    root = logmels(tmp_path / "data", [(128, 200)] * 12)
    told = json.loads((root / "features.json").read_text())
    (root / "features.json").write_text(json.dumps(told | json.loads(recipe)) if recipe.endswith("}") else recipe)
    stopped = asd("train", "--data", root, "--runs", tmp_path / "runs", "--machine", "fan")
    assert stopped.code == 3
    assert "features.json" in stopped.err


def test_log_mels_of_one_frame(tmp_path: Path) -> None:
    root = logmels(tmp_path / "data", [(128, 1)] * 12)
    stopped = asd("train", "--data", root, "--runs", tmp_path / "runs", "--machine", "fan")
    assert stopped.code == 3
    assert "too short" in stopped.err


def test_config_of_a_data_root_with_own_recordings(pump: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[data]\nroot = "/nowhere"\nmachine = "fan"\n')
    assert train(pump, "-c", tmp_path / "other.toml").code == 0
    described = json.loads((pump.parent / "runs" / "pump7" / "detector" / "detector.json").read_text())
    assert described["data_root"] == str(pump)


@pytest.mark.parametrize(
    "file", ["config.toml", "detector/detector.json", "detector/weights.safetensors", "profile.npz", "embeddings.npz",
             "normals.jsonl", "recordings.jsonl", "scores.csv"]
)  # fmt: skip
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00junk", b"[]", b'{"data": "x"}', b"PK\x03\x04"])
def test_damaged_run_files(pump: Path, file: str, content: bytes) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    assert asd("score", run, pump).code == 0
    whole = (run / file).read_bytes()
    for words in (["score", run, pump], ["report", run]):
        (run / file).write_bytes(content)
        outcome = asd(*words)
        assert outcome.code in (0, 2, 3, 4), outcome.err
        assert outcome.code == 0 or str(run) in outcome.err
        (run / file).write_bytes(whole)


@pytest.mark.parametrize(
    ("key", "value"), [("machine", [1]), ("aggregate", "median"), ("false_alarm_rate", -1), ("beside", -1), ("spec", 3)]
)
def test_an_edited_detector(pump: Path, key: str, value: object) -> None:
    assert train(pump).code == 0
    file = pump.parent / "runs" / "pump7" / "detector" / "detector.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    stopped = asd("score", pump.parent / "runs" / "pump7", pump)
    assert stopped.code == 4
    assert "damaged detector" in stopped.err


def test_a_full_disk_leaves_no_half_table_of_findings(pump: Path, tiny_disk: Path) -> None:
    with (tiny_disk / "filler").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while stream.write(bytes(4_096)):
            pass
    stopped = asd("data", "verify", pump, "--out", tiny_disk / "found.csv")
    assert stopped.code == 3
    assert f"{tiny_disk / 'found.csv'}: cannot be written (No space left on device)" in stopped.err
    assert [f.name for f in tiny_disk.iterdir()] == ["filler"]


def test_a_recording_that_is_not_there(pump: Path) -> None:
    assert train(pump).code == 0
    stopped = asd("score", pump.parent / "runs" / "pump7", pump / "99.wav")
    assert stopped.code == 3
    assert "99.wav: no such file" in stopped.err


def test_recordings_of_several_machines_taken_for_one_are_said(tmp_path: Path) -> None:
    for machine in ("fan", "pump"):
        folder = tmp_path / "data" / machine / "train"
        folder.mkdir(parents=True)
        for i in range(10):
            soundfile.write(folder / f"normal_id_00_{i:08}.wav", hum(i), RATE)
    taken = asd("train", "--normal", tmp_path / "data", "--runs", tmp_path / "runs")
    assert taken.code == 0
    assert "taken for one machine: fan, pump" in taken.err
    words = ("train", "--data", tmp_path / "data", "--machine", "fan", "--method", "baseline")
    assert asd(*words, "--runs", tmp_path / "runs").code == 0
    scored = asd("score", tmp_path / "runs" / "fan-all", tmp_path / "data" / "pump")
    assert scored.code == 0
    assert "recordings of pump, scored as fan" in scored.err
    assert "scored as" not in asd("score", tmp_path / "runs" / "fan-all", tmp_path / "data" / "fan").err


def test_scores_of_other_recordings_are_replaced_or_kept(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    for day in ("monday", "tuesday"):
        soundfile.write(tmp_path / f"{day}.wav", hum(len(day)), RATE)
    assert asd("score", run, tmp_path / "monday.wav").code == 0
    kept = asd("score", run, tmp_path / "tuesday.wav", "--append")
    assert kept.code == 0
    both = [Path(line.split(",")[0]).name for line in (run / "scores.csv").read_text().splitlines()[1:]]
    assert both == ["monday.wav", "tuesday.wav"]
    assert asd("report", run).code == 0
    replaced = asd("score", run, tmp_path / "tuesday.wav")
    assert "the scores of 1 other recording in" in replaced.err
    assert len((run / "scores.csv").read_text().splitlines()) == 2


def test_a_silent_recording_does_not_sound_wrong(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    soundfile.write(tmp_path / "dead.wav", np.zeros(RATE), RATE)
    scored = asd("score", pump.parent / "runs" / "pump7", tmp_path / "dead.wav", "--fail-on-anomaly")
    assert scored.code == 0
    assert "0 of 1" in scored.out
    assert "silent" in scored.out


def test_scoring_below_the_detectors_rate(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    run = pump.parent / "runs" / "pump7"
    soundfile.write(tmp_path / "8k.wav", hum(1, 1, 8_000), 8_000)
    assert "--allow-upsampling" in asd("score", run, tmp_path / "8k.wav").err
    assert asd("score", run, tmp_path / "8k.wav", "--allow-upsampling").code == 0


def test_a_folder_of_runs_is_no_run(pump: Path) -> None:
    assert train(pump).code == 0
    stopped = asd("report", pump.parent / "runs")
    assert stopped.code == 4
    assert "holds runs and is none itself" in stopped.err


def test_scoring_what_is_no_recording(pump: Path, tmp_path: Path) -> None:
    assert train(pump).code == 0
    m4a(tmp_path / "song.m4a")
    stopped = asd("score", pump.parent / "runs" / "pump7", tmp_path / "song.m4a")
    assert stopped.code == 3
    assert "ffmpeg -i" in stopped.err
