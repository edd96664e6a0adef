"""Synthetic machines: bytes that depend on the seed alone, layouts, levels, and faults with their signatures."""

from __future__ import annotations

import csv
import hashlib
import resource
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import hilbert

from asd.data.catalog import open_catalog
from asd.data.synth import FAULTS, MACHINES, Summary, mix_fault, write_dataset
from asd.data.synth.clip import SEVERITIES, Clip, Rendering, Setting, Unit, render
from asd.data.synth.dataset import plan
from asd.data.synth.faults import DB_PER_SEVERITY, STANDS_OUT_DB
from asd.data.synth.machines import Duty, Fan, Run
from asd.data.synth.room import RATE, grid
from asd.errors import DataError, RunFolderError, UsageError
from asd.events import Progress
from asd.features import read_audio

Wave = NDArray[np.float32]
ALL = [(machine, fault) for machine in MACHINES for fault in MACHINES[machine].faults]


def write(root: Path, **options: Any) -> Summary:
    """Write a data set of short clips, and return what it returns."""
    work = write_dataset(
        root, **{"machines": ["fan", "valve"], "ids": 1, "train": 3, "test": 6, "seconds": 2.0} | options
    )
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def digests(root: Path) -> dict[str, str]:
    """Hash of every file below `root`."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "synth.csv").open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


# The same seed, the same bytes


def test_threads_do_not_change_a_byte(tmp_path: Path) -> None:
    write(tmp_path / "one", threads=1, machines=list(MACHINES))
    write(tmp_path / "two", threads=2, machines=list(MACHINES))
    one = digests(tmp_path / "one")
    assert one == digests(tmp_path / "two")
    assert len(set(one.values())) == len(one), "two files are the same"


def test_more_of_anything_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "small", machines=["valve"], ids=["02"], train=2, test=4)
    write(tmp_path / "large", machines=["fan", "valve"], ids=3, train=3, test=7)
    small, large = digests(tmp_path / "small"), digests(tmp_path / "large")
    wavs = [name for name in small if name.endswith(".wav")]
    assert len(wavs) == 6
    assert all(large[name] == small[name] for name in wavs)


def test_more_places_and_sections_leave_the_others_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "small", machines=["fan"], ids=["02"], layout="dcase2022")
    write(tmp_path / "large", machines=["fan"], ids=4, train=5, test=10, layout="dcase2022")
    small, large = digests(tmp_path / "small"), digests(tmp_path / "large")
    assert all(large[name] == small[name] for name in small if name.endswith(".wav"))


def test_another_seed_makes_other_machines(tmp_path: Path) -> None:
    write(tmp_path / "a", seed=1)
    write(tmp_path / "b", seed=2)
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert a.keys() == b.keys()
    assert not set(a.values()) & set(b.values())


# Layouts


def test_layout_of_2020(tmp_path: Path) -> None:
    summary = write(tmp_path / "data", machines=["pump"], ids=2, train=4, test=7)
    assert summary == Summary(tmp_path / "data", clips=22, anomalies=6, seconds=44.0)
    catalog = open_catalog(tmp_path / "data")
    assert catalog.layout == "dcase2020"
    assert catalog.sections("pump") == ["00", "02"]
    table = {row["path"]: row for row in rows(tmp_path / "data")}
    assert table.keys() == {clip.name for clip in catalog.clips}
    for clip in catalog.clips:
        row = table[clip.name]
        assert (row["section"], row["split"], row["label"]) == (clip.section, clip.split, str(clip.label))
        assert bool(row["fault"]) == bool(row["severity"]) == (clip.label == 1)
    wave_CN, rate = read_audio(next(iter(catalog.clips)).path)
    assert (wave_CN.shape, rate) == ((1, 32_000), 16_000)
    recipe = tomllib.loads((tmp_path / "data" / "synth.toml").read_text(encoding="utf-8"))
    assert (recipe["seed"], recipe["machines"], recipe["ids"]) == (0, ["pump"], ["00", "02"])


def test_layout_of_2022(tmp_path: Path) -> None:
    write(tmp_path / "data", machines=["fan"], ids=4, train=8, test=8, layout="dcase2022")
    catalog = open_catalog(tmp_path / "data")
    assert catalog.layout == "dcase2021"
    for section in ("00", "01", "02", "03"):
        clips = catalog.select("fan", [section])
        count = {
            (split, domain, label): sum((c.split, c.domain, c.label) == (split, domain, label) for c in clips)
            for split, domain, label in {(c.split, c.domain, c.label) for c in clips}
        }
        assert count == {
            ("train", "source", 0): 5, ("train", "target", 0): 3,
            ("test", "source", 0): 2, ("test", "target", 0): 2,
            ("test", "source", 1): 2, ("test", "target", 1): 2,
        }  # fmt: skip
        attributes = {domain: {c.attributes for c in clips if c.domain == domain} for domain in ("source", "target")}
        assert attributes["source"] and attributes["target"]
        assert not attributes["source"] & attributes["target"], "the domains do not differ"
        with (tmp_path / "data" / "fan" / f"attributes_{section}.csv").open(encoding="utf-8") as table:
            listed = {row["file_name"]: f"{row['d1p']}_{row['d1v']}" for row in csv.DictReader(table)}
        assert listed == {c.name: c.attributes for c in clips}


def test_every_fault_and_severity_has_its_turn() -> None:
    for machine, kind in MACHINES.items():
        combinations = len(kind.faults) * len(SEVERITIES)
        clips = [c for c in plan(machine, "00", 0, 2 * combinations, "dcase2020") if c.label]
        assert len({(c.fault, c.severity) for c in clips}) == combinations == len(clips)


def test_progress_is_told_in_clips(tmp_path: Path) -> None:
    events = list(write_dataset(tmp_path / "data", machines=["fan"], ids=1, train=2, test=1, seconds=1))
    assert events == [Progress("synthesising", done, 3) for done in (1, 2, 3)]


# Levels


def rendered(machine: str, fault: str = "", severity: float = 1.0, snr_db: float = 6.0, index: int = 0) -> Rendering:
    g = grid(10 * RATE)
    clip = Clip(machine, "00", "test", int(bool(fault)), index, fault=fault, severity=severity if fault else 0.0)
    return render(Unit.draw(machine, "00", g, seed=0), clip, 0, snr_db)


@pytest.mark.parametrize("machine", MACHINES)
def test_signal_to_noise_ratio_is_as_set_and_as_recorded_in_the_table(machine: str) -> None:
    in_noise = rendered(machine, snr_db=0.0)
    alone = rendered(machine, snr_db=80.0).healthy_N
    noise = in_noise.healthy_N - alone
    assert in_noise.snr_db == pytest.approx(20 * np.log10(np.std(alone) / np.std(noise)), abs=0.05)
    g = grid(4 * RATE)
    unit = Unit.draw(machine, "00", g, seed=0)
    each = [render(unit, Clip(machine, "00", "train", 0, i), 0, 9.0).snr_db for i in range(60)]
    assert np.mean(each) == pytest.approx(9.0, abs=1.5)
    assert 1.0 < np.std(each) < 5.0


def test_nothing_clips(tmp_path: Path) -> None:
    write(tmp_path / "data", machines=list(MACHINES), ids=2, train=4, test=60, seconds=4.0)
    peaks = [np.abs(read_audio(path)[0]).max() for path in (tmp_path / "data").rglob("*.wav")]
    assert len(peaks) == 640
    assert max(peaks) < 0.99
    assert min(peaks) > 0.005


def test_a_loud_clip_is_recorded_at_lower_gain() -> None:
    wave_N = np.array([0.5, -3.0, 1.0], np.float32)
    pcm_N = Rendering(wave_N, None, 0.0).recording()
    np.testing.assert_array_equal(pcm_N, np.rint(wave_N / 3 * 0.98 * 32768))


@pytest.mark.parametrize(("machine", "fault"), ALL)
def test_faults_grow_with_severity(machine: str, fault: str) -> None:
    power = [np.mean(rendered(machine, fault, s).fault_N ** 2) for s in SEVERITIES]  # type: ignore[operator]
    assert power[0] > 0
    if fault == "missing-stroke":
        assert power[0] < power[1] < power[2]
    else:
        expected = DB_PER_SEVERITY * np.diff(SEVERITIES)
        np.testing.assert_allclose(np.diff(10 * np.log10(power)), expected, atol=0.01)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_fault_does_not_change_the_machine_around_it(machine: str) -> None:
    fault = next(iter(MACHINES[machine].faults))
    with_fault = rendered(machine, fault)
    unit = Unit.draw(machine, "00", grid(10 * RATE), seed=0)
    without = render(unit, Clip(machine, "00", "test", 1, 0), 0, 6.0)
    np.testing.assert_array_equal(with_fault.healthy_N, without.healthy_N)
    assert without.fault_N is None


def test_a_louder_hall_hides_a_fault_and_does_not_raise_it() -> None:
    quiet, loud = (rendered("pump", "leak", snr_db=snr_db) for snr_db in (20.0, -10.0))
    np.testing.assert_array_equal(quiet.fault_N, loud.fault_N)
    assert loud.healthy_N.std() > 2 * quiet.healthy_N.std()


def test_a_domain_of_another_speed_sounds_at_that_speed() -> None:
    unit = Unit.draw("fan", "00", grid(10 * RATE), seed=0)
    assert isinstance(unit.machine, Fan)
    pass_hz = 1.2 * unit.machine.rated_hz * unit.machine.blades
    slow, fast = (
        render(unit, Clip("fan", "00", "train", 0, 4, setting=Setting(speed=speed)), 0, 20.0).healthy_N
        for speed in (1.0, 1.2)
    )
    assert level(fast, 0.97 * pass_hz, 1.03 * pass_hz) > level(slow, 0.97 * pass_hz, 1.03 * pass_hz) + 6


# Signatures


def running(machine: str) -> Run:
    return MACHINES[machine].draw(grid(10 * RATE), np.random.default_rng(5)).run(Duty(), np.random.default_rng(6))


def shaft_hz(run: Run) -> float:
    assert run.turns_N is not None
    return float(run.turns_N[-1] - run.turns_N[0]) / 10


def made(run: Run, fault: str, severity: float = 1.0) -> Wave:
    """The fault alone, before the room."""
    return run.grid.wave(FAULTS[fault](run, severity, np.random.default_rng(7)))


def line(wave_N: NDArray[Any], hz: float) -> float:
    """Power of the strongest line within 1.5 % of `hz`, over the median of the spectrum around it."""
    power_K = np.abs(np.fft.rfft(wave_N * np.hanning(len(wave_N)))) ** 2
    hz_K = np.fft.rfftfreq(len(wave_N), 1 / RATE)
    near_K = np.abs(hz_K / hz - 1) < 0.015
    around_K = (np.abs(hz_K / hz - 1) < 0.3) & ~near_K
    return float(power_K[near_K].max() / np.median(power_K[around_K]))


def envelope(wave_N: Wave) -> NDArray[np.float64]:
    """Squared envelope without its mean."""
    squared_N = np.abs(hilbert(wave_N)) ** 2
    return np.asarray(squared_N - squared_N.mean())


@pytest.mark.parametrize("machine", ["fan", "pump", "gearbox"])
def test_an_outer_race_defect_rings_at_its_ball_pass_frequency(machine: str) -> None:
    run = running(machine)
    hz = run.bearing.bpfo * shaft_hz(run)
    fault_N = made(run, "bearing-outer")
    assert line(envelope(fault_N), hz) > 100
    assert line(envelope(fault_N), hz) > 20 * line(envelope(fault_N), 1.31 * hz)
    power_K = np.abs(np.fft.rfft(fault_N)) ** 2
    assert np.fft.rfftfreq(len(fault_N), 1 / RATE)[power_K.argmax()] == pytest.approx(run.bearing.housing_hz, rel=0.1)


def test_a_bearing_defect_shows_in_the_recording_and_not_without_it() -> None:
    """At 10 dB the demodulated band around the housing's resonance tells it, as on a real machine."""
    g = grid(10 * RATE)
    run = running("pump")
    fault_N = made(run, "bearing-outer")
    hall_N = np.random.default_rng(0).standard_normal(g.samples).astype(np.float32) * fault_N.std()
    hz = run.bearing.bpfo * shaft_hz(run)
    assert line(envelope(hall_N + fault_N), hz) > 30 > line(envelope(hall_N), hz)


def test_an_inner_race_defect_is_modulated_by_the_shaft() -> None:
    run = running("gearbox")
    envelope_N = envelope(made(run, "bearing-inner"))
    assert line(envelope_N, run.bearing.bpfi * shaft_hz(run)) > 50
    assert line(envelope_N, shaft_hz(run)) > 50
    assert line(envelope(made(run, "bearing-outer")), shaft_hz(run)) < 50


def test_defect_frequencies_of_a_6205_bearing() -> None:
    """The figures published with the Case Western bearing data: BPFO 3.585, BPFI 5.415 per turn."""
    from asd.data.synth.machines import Bearing

    bearing = Bearing(9, 0.3126 / 1.537, 3000.0)
    assert bearing.bpfo == pytest.approx(3.585, abs=0.001)
    assert bearing.bpfi == pytest.approx(5.415, abs=0.001)


@pytest.mark.parametrize(("fault", "order"), [("imbalance", 1), ("misalignment", 2)])
def test_shaft_faults_have_their_order(fault: str, order: int) -> None:
    run = running("fan")
    hz = shaft_hz(run)
    fault_N = made(run, fault)
    power_K = np.abs(np.fft.rfft(fault_N)) ** 2
    assert np.fft.rfftfreq(len(fault_N), 1 / RATE)[power_K.argmax()] == pytest.approx(order * hz, rel=0.01)
    both = rendered("fan", fault)
    assert both.fault_N is not None
    unit = Unit.draw("fan", "00", grid(10 * RATE), seed=0)
    assert isinstance(unit.machine, Fan)
    rated = unit.machine.rated_hz
    band = (0.9 * order * rated, 1.1 * order * rated)
    assert level(both.healthy_N + both.fault_N, *band) > level(both.healthy_N, *band) + 3


def level(wave_N: NDArray[Any], low_hz: float, high_hz: float) -> float:
    """Level of a band, dB."""
    power_K = np.abs(np.fft.rfft(wave_N)) ** 2
    hz_K = np.fft.rfftfreq(len(wave_N), 1 / RATE)
    return float(10 * np.log10(power_K[(hz_K >= low_hz) & (hz_K < high_hz)].mean()))


def test_a_rub_comes_once_a_turn() -> None:
    run = running("fan")
    assert line(envelope(made(run, "rub")), shaft_hz(run)) > 100


def test_a_leak_hisses_above_its_corner_only() -> None:
    leak_N = made(running("valve"), "leak")
    assert level(leak_N, 5000, 8000) > level(leak_N, 200, 1000) + 25
    assert np.mean(leak_N**4) / np.mean(leak_N**2) ** 2 < 3.5, "a hiss is no crackle"


def test_a_loose_part_rattles() -> None:
    rattle_N = made(running("gearbox"), "loose-part")
    assert np.mean(rattle_N**4) / np.mean(rattle_N**2) ** 2 > 15


@pytest.mark.parametrize("machine", ["slider", "valve"])
def test_a_missing_stroke_is_silent(machine: str) -> None:
    run = running(machine)
    machine_N = run.grid.wave(run.sound())
    gone_N = machine_N + made(run, "missing-stroke", 0.4)
    quiet = [
        k for k, stroke in enumerate(run.strokes)
        if np.mean(gone_N[stroke] ** 2) < 0.5 * np.mean(machine_N[stroke] ** 2)
    ]  # fmt: skip
    assert len(quiet) == round(0.4 * len(run.strokes))
    loud = [stroke for k, stroke in enumerate(run.strokes) if k not in quiet]
    for stroke in loud:
        assert np.mean(gone_N[stroke] ** 2) == pytest.approx(np.mean(machine_N[stroke] ** 2), rel=0.1)


def test_faults_need_what_they_act_on() -> None:
    with pytest.raises(UsageError, match="no shaft"):
        made(running("valve"), "imbalance")
    with pytest.raises(UsageError, match="no strokes"):
        made(running("fan"), "missing-stroke")


# A fault mixed into a real recording


@pytest.fixture(scope="module")
def slider(data_root: Path) -> Wave:
    return read_audio(data_root / "dcase2020_wavs/slider/train/normal_id_00_00000000.wav")[0][0]


@pytest.fixture(scope="module")
def valve(data_root: Path) -> Wave:
    return read_audio(data_root / "dcase2020_wavs/valve/test/normal_id_00_00000020.wav")[0][0]


ADDITIVE = [fault for fault in FAULTS if fault != "missing-stroke"]


@pytest.mark.parametrize("fault", ADDITIVE)
def test_mixing_into_a_real_recording(slider: Wave, fault: str) -> None:
    before = slider.copy()
    mixed = {s: mix_fault(slider, RATE, fault, s, seed=3) for s in SEVERITIES}
    np.testing.assert_array_equal(slider, before)
    np.testing.assert_array_equal(mixed[1.0], mix_fault(slider, RATE, fault, 1.0, seed=3))
    assert not np.array_equal(mixed[1.0], mix_fault(slider, RATE, fault, 1.0, seed=4))
    assert mixed[1.0].dtype == np.float32 and mixed[1.0].shape == slider.shape
    power = [np.mean((mixed[s] - slider) ** 2) for s in SEVERITIES]
    np.testing.assert_allclose(np.diff(10 * np.log10(power)), DB_PER_SEVERITY * np.diff(SEVERITIES), atol=0.1)
    g = grid(len(slider))
    ratio = g.third_octaves(g.spectrum(mixed[1.0] - slider)) / g.third_octaves(g.spectrum(slider))
    assert 10 * np.log10(ratio.max()) == pytest.approx(STANDS_OUT_DB, abs=1.0)


def test_mixing_at_a_level(slider: Wave) -> None:
    added = mix_fault(slider, RATE, "rub", 0.4, seed=3, level_db=-12.0) - slider
    assert 20 * np.log10(added.std() / slider.std()) == pytest.approx(-12.0, abs=0.05)


def test_mixing_at_a_shaft_speed(slider: Wave) -> None:
    added = mix_fault(slider, RATE, "imbalance", shaft_hz=41.0) - slider
    assert line(added, 41.0) > 1000


def test_mixing_at_another_rate() -> None:
    wave_N = np.random.default_rng(0).standard_normal(96_000).astype(np.float32) * 0.01
    for fault in ADDITIVE:
        mixed_N = mix_fault(wave_N, 48_000, fault)
        assert mixed_N.shape == wave_N.shape and not np.array_equal(mixed_N, wave_N)


def test_strokes_go_missing_from_a_real_valve(valve: Wave) -> None:
    def strokes(wave_N: Wave) -> int:
        blows = np.abs(np.diff(wave_N))[:159_000].reshape(-1, 1000).max(1)
        return int((blows > 20 * np.median(blows)).sum())

    counts = [strokes(valve), *(strokes(mix_fault(valve, RATE, "missing-stroke", s, seed=1)) for s in SEVERITIES)]
    assert counts[0] == 9
    assert all(a > b for a, b in pairwise(counts)), counts


def test_no_stroke_to_miss() -> None:
    hiss_N = np.random.default_rng(0).standard_normal(160_000).astype(np.float32)
    with pytest.raises(DataError, match="no strokes with a rest"):
        mix_fault(hiss_N, RATE, "missing-stroke")


@pytest.mark.parametrize(
    ("wave_N", "rate", "fault", "severity", "error", "says"),
    [
        (np.ones(100), 16_000, "bearings-outer", 1.0, UsageError, "Did you mean 'bearing-outer'"),
        (np.ones(100), 16_000, "rub", 0.0, UsageError, "severity = 0"),
        (np.ones(100), 16_000, "rub", 1.5, UsageError, "severity = 1.5"),
        (np.ones(100), 16_000, "rub", np.nan, UsageError, "severity = nan"),
        (np.ones((2, 100)), 16_000, "rub", 1.0, UsageError, r"\(2, 100\)"),
        (np.ones(100), 100, "rub", 1.0, UsageError, "100 Hz"),
        (np.zeros(16_000), 16_000, "rub", 1.0, DataError, "silent"),
        (np.ones(0), 16_000, "rub", 1.0, DataError, "shorter than a second"),
        (np.full(16_000, np.nan), 16_000, "rub", 1.0, DataError, "not finite"),
    ],
)
def test_what_cannot_be_mixed(
    wave_N: Wave, rate: int, fault: str, severity: float, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        mix_fault(wave_N, rate, fault, severity)


# What stands in the way


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"machines": ["fann"]}, "Did you mean 'fan'"),
        ({"machines": []}, "machines = 0"),
        ({"machines": ["fan", "fan"]}, "twice"),
        ({"layout": "dcase2021"}, "no layout named 'dcase2021'"),
        ({"ids": ["7"]}, "'7' is not two digits"),
        ({"ids": 51}, "'100' is not two digits"),
        ({"ids": 0}, "ids = 0"),
        ({"train": -1}, "train = -1"),
        ({"train": 0, "test": 0}, "train \\+ test = 0"),
        ({"seconds": 0.5}, "seconds = 0.5"),
        ({"seconds": np.nan}, "seconds = nan"),
        ({"snr_db": np.inf}, "snr_db = inf"),
        ({"seed": -1}, "seed = -1"),
        ({"threads": 0}, "threads = 0"),
    ],
)
def test_impossible_wishes(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        write(tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_an_older_set_is_replaced_only_on_demand(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root, machines=["fan"])
    (root / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="in the way") as refused:
        write(root)
    assert "--overwrite" in refused.value.hint
    write(root, machines=["valve"], overwrite=True)
    assert not (root / "fan").exists()
    assert (root / "notes.txt").read_text() == "mine"
    assert len(rows(root)) == 9


def test_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "fan").mkdir()
    (tmp_path / "fan" / "precious.wav").touch()
    for overwrite in (False, True):
        with pytest.raises(RunFolderError, match="no synthetic data set"):
            write(tmp_path, overwrite=overwrite)
    assert (tmp_path / "fan" / "precious.wav").exists()


def test_a_killed_run_does_not_look_complete(tmp_path: Path) -> None:
    root = tmp_path / "data"
    work = write_dataset(root, machines=["fan"], ids=1, train=30, test=2, seconds=1)
    next(work)
    work.close()
    assert not (root / "synth.toml").exists()
    assert (root / "synth.partial.toml").exists()
    assert len(list(root.rglob("*.wav"))) < 30
    with pytest.raises(RunFolderError, match="unfinished"):
        write(root)
    write(root, overwrite=True)
    assert (root / "synth.toml").exists() and not (root / "synth.partial.toml").exists()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as a quota would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_is_named(tmp_path: Path) -> None:
    with files_up_to(20_000), pytest.raises(DataError, match=str(tmp_path)):
        write(tmp_path / "data")
    assert not (tmp_path / "data" / "synth.toml").exists()


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="is a file"):
        write(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file" / "data")
