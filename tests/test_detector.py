"""The detector as one thing: trained on real recordings, saved, loaded, asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import asd
from asd.config import Config, DataConfig
from asd.data.catalog import open_catalog, open_folder
from asd.detect.baseline import ALONE
from asd.errors import DataError, RunFolderError, UsageError
from asd.events import Caution, Event
from asd.features import Recording, read_recordings
from asd.runs import new_run
from asd.train.baseline import Trained, train_baseline


def finish(work: object) -> tuple[Trained, list[Event]]:
    """Run a training to its end."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(work))  # type: ignore[call-overload]
        except StopIteration as end:
            return end.value, events


@pytest.fixture(scope="session")
def slider(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of the one real machine that has training normals as audio."""
    catalog = open_catalog(data_root / "dcase2020_wavs")
    config = Config(data=DataConfig(root=str(catalog.root), machine="slider", ids=("00",)))
    trained, _ = finish(train_baseline(catalog.select("slider", None, "train"), config, ["00"]))
    path = tmp_path_factory.mktemp("runs") / "slider-00"
    with new_run(path, overwrite=False) as folder:
        trained.write(folder, config)
    return path


def test_scores_anomalies_higher(slider: Path, data_root: Path) -> None:
    clips = open_catalog(data_root / "dcase2020_wavs").select("slider", ["00"], "test")
    scores = asd.Detector.load(slider).score([c.path for c in clips])
    assert [s.path for s in scores] == [c.path for c in clips]
    assert asd.evaluate.auc([c.label for c in clips], [s.score for s in scores]) == 1.0
    assert all(s.anomalous == (s.score > s.threshold) and s.section == "00" for s in scores)


def test_loading_changes_no_bit(slider: Path, data_root: Path, tmp_path: Path) -> None:
    paths = sorted((data_root / "dcase2020_wavs" / "slider" / "test").glob("*_id_00_*"))
    detector = asd.Detector.load(slider)
    detector.save(tmp_path / "copy")
    again = asd.Detector.load(tmp_path / "copy")
    assert again.score(paths) == detector.score(paths)
    assert again.describe() == detector.describe()


def test_a_score_does_not_depend_on_its_batch(slider: Path, data_root: Path) -> None:
    paths = sorted((data_root / "dcase2020_wavs" / "slider" / "test").glob("*_id_00_*"))
    detector = asd.Detector.load(slider)
    assert detector.score(paths)[2] == detector.score(paths[2:3])[0]


def test_section_from_the_name_else_error(slider: Path, data_root: Path, tmp_path: Path) -> None:
    detector = asd.Detector.load(slider)
    other = data_root / "dcase2020_wavs" / "slider" / "test" / "anomaly_id_06_00000071.wav"
    with pytest.raises(UsageError, match="section '06' is not known"):
        detector.score([other])
    assert detector.score([other], sections="00")[0].section == "00"
    plain = tmp_path / "monday.wav"
    shutil.copy(other, plain)
    assert detector.score([plain])[0].section == "00"
    with pytest.raises(UsageError, match="2 sections"):
        detector.score([plain], sections=["00", "00"])


def test_an_unreadable_recording_is_named(slider: Path, tmp_path: Path) -> None:
    broken = tmp_path / "normal_id_00_00000000.wav"
    broken.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="normal_id_00_00000000"):
        asd.Detector.load(slider).score([broken])


def test_log_mels_of_another_length_are_refused(slider: Path, data_root: Path) -> None:
    ready = next((data_root / "toycar_logmel" / "ToyCar" / "test").glob("*_id_01_*"))
    with pytest.raises(DataError, match="128 × 200"):
        asd.Detector.load(slider).score([ready], sections="00")


def test_damaged_detectors_are_refused(slider: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no detector"):
        asd.Detector.load(tmp_path)
    for name, content in {"weights.safetensors": b"junk", "detector.json": b"{"}.items():
        folder = tmp_path / name
        shutil.copytree(slider / "detector", folder)
        (folder / name).write_bytes(content)
        with pytest.raises(RunFolderError, match="damaged"):
            asd.Detector.load(folder)
    newer = tmp_path / "newer"
    shutil.copytree(slider / "detector", newer)
    described = json.loads((newer / "detector.json").read_text())
    (newer / "detector.json").write_text(json.dumps(described | {"format": 99}))
    with pytest.raises(RunFolderError, match="format 99"):
        asd.Detector.load(newer)


def test_thresholds_come_from_normals_that_no_fit_saw(slider: Path) -> None:
    """Resubstituted scores of the training normals lie far below the cross-fitted ones."""
    detector = asd.Detector.load(slider)
    normals = [json.loads(line) for line in (slider / "normals.jsonl").read_text().splitlines()]
    refitted = detector.score([n["file"] for n in normals])
    assert np.median([n["score"] for n in normals]) > 1.3 * np.median([s.score for s in refitted])
    assert detector.calibrations[ALONE, "00"].support == len(normals) == 75


def test_profile_holds_the_statistics_of_the_normals(slider: Path, data_root: Path) -> None:
    paths = sorted((data_root / "dcase2020_wavs" / "slider" / "train").iterdir())
    recordings = [r for r in read_recordings(paths, asd.FeatureSpec()) if isinstance(r, Recording)]
    stacked_BFT = np.concatenate([r.logmel_WFT for r in recordings]).astype(np.float64)
    profile = np.load(slider / "profile.npz")
    np.testing.assert_allclose(profile["00/mean"], stacked_BFT.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(profile["00/std"], stacked_BFT.std((0, 2)), rtol=1e-4)
    np.testing.assert_allclose(profile["00/clip_std"], stacked_BFT.mean(2).std(0), rtol=1e-4)
    assert profile["hz"].shape == (128,)


def test_one_long_recording(data_root: Path, tmp_path: Path) -> None:
    """Stretches of time take turns in being held out, and none shares a sample with the fit."""
    import soundfile

    files = sorted((data_root / "dcase2020_wavs" / "slider" / "train").iterdir())
    wave_N = np.concatenate([soundfile.read(f, dtype="int16")[0] for f in files])
    soundfile.write(tmp_path / "shift.wav", wave_N, 16_000)
    catalog = open_folder(tmp_path / "shift.wav")
    config = Config(data=DataConfig(normal=str(tmp_path / "shift.wav"), machine="shift"))
    trained, events = finish(train_baseline(catalog.select("shift", None, "train"), config, ["00"]))
    table = trained.table
    assert len(np.unique(table.groups_N)) == 20
    for group in np.unique(table.groups_N):
        own = table.starts_N[table.groups_N == group]
        others = table.starts_N[table.groups_N != group]
        assert np.abs(own[:, None] - others[None]).min() >= 10.0
    assert not any(isinstance(e, Caution) and "too few" in e.message for e in events)
    clips = open_catalog(data_root / "dcase2020_wavs").select("slider", ["00"], "test")
    scores = trained.detector.score([c.path for c in clips], sections="00")
    assert asd.evaluate.auc([c.label for c in clips], [s.score for s in scores]) == 1.0
    long = trained.detector.score([tmp_path / "shift.wav"])[0]
    assert len(long.windows) == 149
    assert long.threshold != scores[0].threshold


@pytest.mark.parametrize("seconds", [105, 131, 200])
def test_two_minutes_are_enough(seconds: int, tmp_path: Path) -> None:
    """Ten windows that share no sample make ten normals, however the recording is cut."""
    import soundfile

    wave_N = np.random.default_rng(0).normal(scale=0.1, size=16_000 * seconds)
    soundfile.write(tmp_path / "short.wav", wave_N, 16_000)
    clips = open_folder(tmp_path / "short.wav").select("short", None, "train")
    trained, _ = finish(train_baseline(clips, Config(data=DataConfig(machine="short")), ["00"]))
    table = trained.table
    assert 10 <= len(np.unique(table.groups_N)) <= 20
    apart = np.abs(table.starts_N[:, None] - table.starts_N)[table.groups_N[:, None] != table.groups_N]
    assert apart.min() >= 10.0
    trained.detector.save(tmp_path / "detector")
    loaded = asd.Detector.load(tmp_path / "detector")
    assert loaded.describe() == trained.detector.describe()
    assert loaded.describe()["sections"]["00"]["stretches"]


def test_sessions_are_held_out_whole(data_root: Path) -> None:
    catalog = open_catalog(data_root / "dcase2020_wavs")
    clips = catalog.select("slider", None, "train")
    config = Config(data=DataConfig(machine="slider", session_regex=r"_0000000(\d)|_000000(\d)"))
    with pytest.raises(UsageError, match="session"):
        finish(train_baseline(clips, config.model_copy(update={"data": DataConfig(session_regex="(x")}), ["00"]))
    by_ten = Config(data=DataConfig(machine="slider", session_regex=r"_(\d{7})\d\.wav"))
    trained, _ = finish(train_baseline(clips, by_ten, ["00"]))
    sessions = [c.name[-12:-5] for c in (r.clip for r in trained.table.read)]
    units = trained.table.rows.units_N
    assert len(set(units.tolist())) == len(set(sessions)) < 10
    assert all((units[i] == units[j]) == (sessions[i] == sessions[j]) for i in range(75) for j in range(75))


def test_too_few_normals(data_root: Path) -> None:
    clips = open_catalog(data_root / "dcase2020_wavs").select("slider", None, "train")
    config = Config(data=DataConfig(machine="slider"))
    with pytest.raises(DataError) as caught:
        finish(train_baseline(clips[:9], config, ["00"]))
    assert "--force" in caught.value.hint
    forced, events = finish(train_baseline(clips[:9], config.model_copy(update={"force": True}), ["00"]))
    assert forced.detector.describe()["sections"]["00"]["n_normals"] == 9
    assert any("only 9 normals can show a false-alarm rate of 10.0% at the lowest" in str(e) for e in events)
    with pytest.raises(DataError, match="cannot be held out"):
        finish(train_baseline(clips[:2], config.model_copy(update={"force": True}), ["00"]))


def test_few_normals_are_said_to_be_few_at_any_rate(data_root: Path) -> None:
    """Thirty can show a rate of 5 %, yet not how far from it they are; fifty need no word."""
    clips = open_catalog(data_root / "dcase2020_wavs").select("slider", None, "train")
    for count, few in ((30, True), (60, False)):
        config = Config(data=DataConfig(machine="slider"), false_alarm_rate=0.05)
        trained, events = finish(train_baseline(clips[:count], config, ["00"]))
        low, high = trained.detector.describe()["sections"]["00"]["interval"]
        told = [event.message for event in events if isinstance(event, Caution)]
        words = (
            f"by only {count} normals, a false-alarm rate of 5.0% can as well be anything from {low:.1%} to {high:.1%}"
        )
        assert any(words in message for message in told) == few
        assert not any("extrapolated" in message for message in told)


def test_scoring_keeps_blas_to_one_thread(slider: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fitting does: the last bits of a distance depend on it."""
    seen: list[int] = []

    def judge(*_: object) -> None:
        seen.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")

    monkeypatch.setattr(asd.Detector, "judge", judge)
    clips = open_catalog(data_root / "dcase2020_wavs").select("slider", ["00"], "test")[:1]
    with threadpool_limits(2, "blas"):
        asd.Detector.load(slider).score([clip.path for clip in clips])
    assert seen
    assert set(seen) == {1}
