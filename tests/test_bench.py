"""`asd bench`, its clock, and what the benches compare with: peers that do the same work."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import asd
from asd.bench.clips import as_flac, samples_of, write_clips
from asd.bench.clock import Job, Spread, gain, pace, rounds
from asd.cli import app

BENCHES = Path(__file__).parents[1] / "benches"
STAGES = [
    "samples (float32) -> log-mel",
    "samples (int16) -> log-mel",
    "log-mel -> two views",
    "WAV -> samples",
    "WAV -> log-mel",
    "FLAC -> samples",
    "FLAC -> log-mel",
    "WAV -> two views",
    "cached log-mels -> two views",
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A few generated recordings."""
    (paths,) = results(write_clips(tmp_path_factory.mktemp("bench") / "clips", 6))
    return paths


@pytest.fixture(scope="module")
def peers() -> object:
    """The module of the peers, which needs torch and librosa."""
    pytest.importorskip("torchaudio")
    pytest.importorskip("librosa")
    sys.path.insert(0, str(BENCHES))
    try:
        import peers
    finally:
        sys.path.remove(str(BENCHES))
    return peers


def results(work: object) -> list[object]:
    """What a generator of events returns, in a list."""

    def run():
        yield (yield from work)

    return [value for value in run() if not hasattr(value, "stage")]


# --- the command


@pytest.fixture
def few_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds of a small set, which are soon there."""
    monkeypatch.setattr("asd.bench.feeding.RECORDINGS", 128)


@pytest.mark.usefixtures("few_recordings")
def test_the_figures_as_json() -> None:
    words = ["bench", "--clips", "16", "--rounds", "1", "--threads", "2", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told) == {"machine", "clips", "rounds", "stages"}
    assert set(told["machine"]) == {"cpu", "simd", "threads", "versions"}
    assert set(told["machine"]["versions"]) == {"asd", "python", "numpy"}
    assert told["machine"]["simd"] == asd.features.simd()
    assert [(row["stage"], row["threads"]) for row in told["stages"]] == [(s, n) for s in STAGES for n in (1, 2)]
    for row in told["stages"]:
        for figure in (row["clips_per_second"], row["times_one_thread"]):
            assert 0 < figure["low"] <= figure["median"] <= figure["high"]
    assert "Next: asd demo" in result.stderr


@pytest.mark.usefixtures("few_recordings")
def test_the_figures_as_a_table() -> None:
    result = CliRunner().invoke(app, ["bench", "--clips", "16", "--rounds", "1", "--threads", "1"])
    assert result.exit_code == 0, result.stderr
    assert [stage for stage in STAGES if stage in result.stdout] == STAGES
    assert "against 1" not in result.stdout


@pytest.mark.parametrize("words", [["--clips", "0"], ["--rounds", "0"], ["--threads", "0"]])
def test_numbers_that_make_no_sense(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["bench", *words]).exit_code == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_nothing_stays(tmp_path: Path, number: signal.Signals, code: int) -> None:
    words = [sys.executable, "-m", "asd", "bench", "--clips", "100000"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, env=env, text=True) as process:
        deadline = time.monotonic() + 60
        while not any(tmp_path.rglob("*.wav")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=30) == code
    assert list(tmp_path.iterdir()) == []


# --- recordings and clock


def test_the_recordings_are_clips_of_ten_seconds(clips: list[Path]) -> None:
    assert len(set(clips)) == 6
    int_BN = samples_of(clips)
    assert (int_BN.shape, int_BN.dtype) == ((6, 160_000), np.int16)
    assert len(np.unique(int_BN, axis=0)) == 6
    np.testing.assert_array_equal(samples_of(as_flac(clips)), int_BN)


def test_jobs_take_turns_and_the_first_round_warms_up() -> None:
    seen: list[str] = []
    jobs = {
        name: Job(10, lambda name=name: seen.append(name), lambda name=name: seen.append(f"before {name}"))
        for name in "ab"
    }
    (times,) = results(rounds(jobs, 2, "counting", busy=lambda: 0.0))
    assert seen == ["before a", "a", "before b", "b"] * 3
    assert {name: len(taken) for name, taken in times.items()} == {"a": 2, "b": 2}


def test_no_round_begins_too_late_but_one_there_is() -> None:
    job, late = {"a": Job(1, lambda: None)}, time.monotonic() - 1
    assert [len(results(rounds(job, 9, "", lambda: 0.0, until))[0]["a"]) for until in (late, late + 60)] == [1, 9]


def test_a_job_waits_for_what_the_last_one_left_running() -> None:
    clock = iter([0.0, 1.0, 2.0, 2.0])
    used: list[float] = []

    def busy() -> float:
        used.append(next(clock, 2.0))
        return used[-1]

    results(rounds({"a": Job(1, lambda: None)}, 0, "waiting", busy))
    assert used == [0.0, 1.0, 2.0, 2.0]


def test_ratios_are_taken_round_by_round() -> None:
    assert gain([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == Spread(3.0, 2.5, 3.5)
    assert pace(Job(10, lambda: None), [2.0]) == Spread(5.0, 5.0, 5.0)
    assert Spread(1 / 3, 0.25, 123_456.0).json() == {"median": 0.3333, "low": 0.25, "high": 123_500.0}


# --- the peers do the same work


def test_log_mels_of_the_peers_are_ours(peers, clips: list[Path]) -> None:
    import torch

    spec = asd.FeatureSpec()
    waves_BN = samples_of(clips).astype(np.float32) / np.float32(32768)
    ours_BFT = asd.logmel(waves_BN, spec)
    torch_BN = torch.from_numpy(waves_BN)
    batch_BFT = peers.TorchLogMel(spec)(torch_BN).numpy()
    np.testing.assert_allclose(batch_BFT, ours_BFT, atol=2e-3)
    np.testing.assert_allclose(peers.TorchLogMel(spec)(torch_BN[0]).numpy(), ours_BFT[0], atol=2e-3)
    for by_librosa in (peers.LibrosaLogMel(spec), peers.LibrosaSpectrumLogMel(spec)):
        np.testing.assert_allclose(by_librosa(waves_BN[0]), ours_BFT[0], atol=2e-3)


def test_views_of_the_peers_are_ours_for_the_same_draws(peers) -> None:
    import torch

    rng = np.random.default_rng(0)
    x_BFT, z_BFT = rng.standard_normal((2, 20, 128, 313)).astype(np.float32)
    for x_FT, z_FT in zip(x_BFT, z_BFT, strict=True):
        lam = float(np.float32(0.4 * rng.random()))
        mixed_FT = peers.mix(torch.from_numpy(x_FT), torch.from_numpy(z_FT), lam)
        np.testing.assert_allclose(mixed_FT.numpy(), asd.augment.log_mixup_exp(x_FT, z_FT, lam), atol=1e-5)
        crop = peers.Crop.draw(128, 313, rng)
        np.testing.assert_allclose(
            peers.resize_crop(torch.from_numpy(x_FT), crop).numpy(),
            asd.augment.random_resize_crop(x_FT, *crop),
            atol=1e-4,
        )


def test_crops_of_the_peers_are_drawn_as_ours(peers) -> None:
    rng = np.random.default_rng(0)
    theirs = np.array([peers.Crop.draw(128, 313, rng) for _ in range(4000)])
    drawn = asd.augment.draws(0, 0, 2000, (128, 313))
    ours = np.stack([drawn.top_BV, drawn.left_BV, drawn.height_BV, drawn.width_BV], axis=-1).reshape(-1, 4)
    # Two samples of one distribution: means within five standard errors.
    error = np.sqrt((theirs.var(axis=0) + ours.var(axis=0)) / len(ours))
    assert (np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) < 5 * error).all()
    np.testing.assert_array_equal(theirs[:, 2:].max(axis=0), ours[:, 2:].max(axis=0))


def test_both_views_are_normalised_together_as_ours(peers) -> None:
    import torch

    x_BFT = np.random.default_rng(0).standard_normal((4, 128, 313)).astype(np.float32)
    raw = np.stack(asd.two_views(x_BFT, None, post_normalise=False))
    expected = np.stack(asd.two_views(x_BFT, None))
    np.testing.assert_allclose(peers.post_normalise(torch.from_numpy(raw)).numpy(), expected, atol=1e-5)


def test_the_bank_of_the_peers_holds_the_last_clips(peers) -> None:
    bank = peers.Bank([0, 1], size=3)
    for clip in (2, 3, 4):
        bank.push(clip)
    assert sorted(bank.clips) == [2, 3, 4]
    rng = np.random.default_rng(0)
    assert {bank.draw(rng) for _ in range(100)} == {2, 3, 4}


def test_the_data_loader_of_the_peers_gives_batches_of_two_views(peers, clips: list[Path]) -> None:
    spec = asd.FeatureSpec()
    decoded = peers.FromFiles(clips, spec, mean=-5.0, std=2.0)
    kept = [decoded[i] for i in range(len(decoded))]
    np.testing.assert_allclose(kept[0].numpy(), (asd.read_logmel(clips[0], spec) + 5) / 2, atol=1e-3)
    for logmels in (decoded, kept):
        batches = peers.loader(peers.ViewsDataset(logmels, kept), batch_size=4, workers=2)
        views_VBFT = [next(batches) for _ in range(3)][-1].numpy()
        assert views_VBFT.shape == (2, 4, 128, 313)
        assert not np.array_equal(views_VBFT[0], views_VBFT[1])
        assert abs(views_VBFT.mean()) < 1e-4 and abs(views_VBFT.std() - 1) < 1e-4


def test_the_benches_run(peers, tmp_path: Path) -> None:
    words = ["--quick", "--only", "decode", "handover", "--threads", "2", "--json", tmp_path / "speed.json"]
    told = subprocess.run([sys.executable, BENCHES / "speed.py", *words], capture_output=True, text=True, check=True)
    figures = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    rows = {(row["work"], row["threads"], row["peer"]) for row in figures["comparisons"]}
    assert rows == {(f"{kind} → samples", n, "soundfile") for kind in ("WAV", "FLAC") for n in (1, 2)}
    assert [row["call"] for row in figures["handover"]] == ["asd.logmel", "asd.two_views"]
    assert all(f"| {work} | {n} | {peer}" in told.stdout for work, n, peer in rows)


def test_views_on_a_device_are_ours_for_the_same_crops(peers) -> None:
    import torch

    rng = np.random.default_rng(0)
    x_BFT = rng.standard_normal((20, 32, 50)).astype(np.float32)
    crops = [peers.Crop.draw(32, 50, rng) for _ in x_BFT]
    cropped_BFT = peers.resize_crops(torch.from_numpy(x_BFT), *torch.tensor(crops).T)
    ours_BFT = np.stack([asd.augment.random_resize_crop(x, *crop) for x, crop in zip(x_BFT, crops, strict=True)])
    np.testing.assert_allclose(cropped_BFT.numpy(), ours_BFT, atol=1e-4)


def test_a_feed_on_a_device_draws_recordings_and_crops_and_keeps_a_bank(peers, clips: list[Path]) -> None:
    import torch

    waves_PN = torch.from_numpy(samples_of(clips)[:, :16_000])
    feed = peers.OnDevice(waves_PN, asd.FeatureSpec(n_mels=32), mean=-5.0, std=2.0, seed=0)
    views_VBFT, files_B = feed.batch(4)
    assert views_VBFT.shape == (2, 4, 32, 32)
    assert set(files_B.tolist()) <= set(range(6))
    assert abs(views_VBFT.mean()) < 1e-4 and abs(views_VBFT.std() - 1) < 1e-4
    torch.testing.assert_close(feed.bank_KFT[:4], feed.normalised(waves_PN[files_B]))
    assert feed.oldest == 4
    theirs = torch.stack(feed._crops(4000, 128, 313), 1).double().numpy()
    rng = np.random.default_rng(0)
    single = np.array([peers.Crop.draw(128, 313, rng) for _ in range(4000)])
    error = np.sqrt((theirs.var(axis=0) + single.var(axis=0)) / len(single))
    assert (np.abs(theirs.mean(axis=0) - single.mean(axis=0)) < 5 * error).all()


def test_the_bench_of_training_runs_without_a_gpu(peers, tmp_path: Path) -> None:
    words = ["--device", "cpu", "--encoders", "small", "--batch-size", "4", "--clips", "8", "--rounds", "1"]
    words += ["--steps", "1", "--threads", "1", "--json", tmp_path / "train.json"]
    told = subprocess.run([sys.executable, BENCHES / "train.py", *words], capture_output=True, text=True, check=True)
    figures = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert set(figures) == {"machine", "batch_size", "queue_size", "rounds", "steps", "results"}
    (row,) = figures["results"]
    assert (row["encoder"], row["memory_gb"], row["compiled_over_eager"]) == ("small", None, None)
    assert set(row["ways"]) == {"live", "resident", "on device"}
    for way in row["ways"].values():
        assert set(way) == {"steps_per_second", "clips_per_second", "share_of_matmul", "mfu", "data_share"}
        assert way["mfu"] is None and way["share_of_matmul"]["low"] > 0
        assert 0 < way["clips_per_second"]["low"] <= way["clips_per_second"]["median"]
        assert 0 <= way["data_share"]["median"] < 1
    assert row["waiting"]["median"] < 1 and row["live_over_on_device"]["median"] > 0
    assert all(f"| small | {way} |" in told.stdout for way in row["ways"])


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bench of training as a module, on a machine without librosa."""
    pytest.importorskip("torchaudio")
    monkeypatch.setitem(sys.modules, "librosa", None)
    monkeypatch.delitem(sys.modules, "peers", raising=False)
    monkeypatch.syspath_prepend(BENCHES)
    about = importlib.util.spec_from_file_location("bench_of_training", BENCHES / "train.py")
    assert about is not None and about.loader is not None
    module = importlib.util.module_from_spec(about)
    monkeypatch.setitem(sys.modules, "bench_of_training", module)  # where its data classes look themselves up
    about.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "peers")
    return module


class Costly:
    """Stands in for what measures: every encoder takes three minutes, and one cannot be compiled."""

    def __init__(self, clock: list[float]) -> None:
        self.size, self.clock = SimpleNamespace(encoders=("a", "b")), clock

    def measure(self, name: str, until: float) -> dict[str, Any]:
        self.clock.append(self.clock[-1] + 180)
        return {"encoder": name, "ways": {}, "until": until}

    def compile(self, name: str, row: dict[str, Any], until: float) -> dict[str, Any]:
        self.clock.append(self.clock[-1] + 180)
        if name == "a":
            raise SyntaxError("no triton")
        return row | {"compiled_until": until}


@pytest.mark.parametrize(
    ("minutes", "wanted"),
    [
        (30, [{"until": 900, "error": "SyntaxError: no triton"}, {"until": 1800, "compiled_until": 1800}]),
        (10, [{"until": 300, "error": "SyntaxError: no triton"}, {"until": 600, "error": "not compiled"}]),
        (2, [{"until": 60, "error": "not compiled"}, {"error": "left out"}]),
    ],
)
def test_all_encoders_are_measured_before_any_is_compiled_and_what_is_late_is_left_out(
    training: Any, monkeypatch: pytest.MonkeyPatch, minutes: int, wanted: list[dict[str, Any]]
) -> None:
    clock, rows, known = [0.0], [], []
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    for _ in training.measured(Costly(clock), rows, 60 * minutes, compile=True):
        known.append([row["encoder"] for row in rows])
    assert known[:2] == [["a"], ["a", "b"]], "each can be written as soon as it is there"
    for row, figures in zip(rows, wanted, strict=True):
        for key, value in figures.items():
            assert str(row[key]).startswith(str(value)), row


def test_a_package_on_the_path_alone_has_no_version(training: Any) -> None:
    assert training.version("numpy") == np.__version__
    assert training.version("no-such-package") == "unknown"


def test_the_rate_of_products(training: Any) -> None:
    import torch

    assert 1e7 < training.matmul_rate(torch.device("cpu"), torch.float32, 64) < 1e15
