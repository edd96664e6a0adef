"""Folders of recordings -> rows: every layout, what names tell, and every way in which it can go wrong."""

from __future__ import annotations

import os
import re
import string
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asd.data.catalog import Catalog, Clip, open_catalog, open_folder, parse_name, recorded_at, session_of
from asd.data.labels import read_labels
from asd.data.names import NameFields, stem_of
from asd.errors import DataError, UsageError
from asd.events import Caution, Note


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def rows(catalog: Catalog) -> set[tuple[str, str, str, str, int | None]]:
    return {(c.name, c.machine, c.section, c.split, c.label) for c in catalog.clips}


def counts(catalog: Catalog) -> Counter[tuple[str, str, str, int | None]]:
    return Counter((c.machine, c.section, c.split, c.label) for c in catalog.clips)


def said(catalog: Catalog, kind: type = object) -> str:
    return "\n".join(note.message for note in catalog.notes if isinstance(note, kind))


# ---- names ----------------------------------------------------------------------------------------------------------

two_digits = st.integers(0, 99).map("{:02d}".format)
attributes = st.text(string.ascii_letters + string.digits + "-_.", max_size=30).filter(
    lambda text: text != "noAttribute" and stem_of(text) == text
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(["normal", "anomaly", None]), two_digits, st.integers(0, 10**8 - 1))
def test_names_of_2020_are_read_back(label: str | None, section: str, index: int) -> None:
    name = f"{label + '_' if label else ''}id_{section}_{index:08d}.wav"
    number = {"normal": 0, "anomaly": 1, None: None}[label]
    assert parse_name(name) == NameFields("dcase2020", section, None, number, None, f"{index:08d}", "")


@settings(deadline=None)  # a busy machine is no failure
@given(
    two_digits,
    st.sampled_from(["source", "target", None]),
    st.sampled_from(["train", "test", None]),
    st.sampled_from(["normal", "anomaly", None]),
    st.integers(0, 99_999),
    attributes,
)
def test_names_of_2021_on_are_read_back(
    section: str, domain: str | None, split: str | None, label: str | None, index: int, extra: str
) -> None:
    words = ["section", section, domain, split, label, f"{index:04d}", extra or None]
    name = "_".join(word for word in words if word is not None) + ".wav"
    number = {"normal": 0, "anomaly": 1, None: None}[label]
    assert parse_name(name) == NameFields("dcase2021", section, split, number, domain, f"{index:04d}", extra)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
@example("normal_id_00_00000000.wav\n")
@example("normal_id_٠٠_00000000.wav")
@example("section_00_source")
@example(".wav")
@example("")
def test_any_other_name_is_no_match(name: str) -> None:
    fields = parse_name(name)
    if fields is not None:
        assert re.match(r"(normal_|anomaly_)?id_[0-9]{2}_[0-9]{8}|section_[0-9]{2}_", name)


@pytest.mark.parametrize(
    "name",
    ["normal_id_0_00000000.wav", "normal_id_00_0000000.wav", "normal_id_00_00000000_1.wav", "00000000.wav",
     "section_00.wav", "section_00_001.wav", "xsection_00_0001.wav", "abnormal_id_00_00000000.wav"],
)  # fmt: skip
def test_near_misses_are_no_match(name: str) -> None:
    assert parse_name(name) is None


def test_suffix_and_attribute_dots() -> None:
    fields = parse_name("section_03_target_test_normal_0001_volt_5.5.wav")
    assert fields is not None and fields.attributes == "volt_5.5"
    assert parse_name("section_03_target_test_normal_0001_volt_5.5") == fields
    no_attribute = parse_name("section_00_source_train_normal_0001_noAttribute.WAV")
    assert no_attribute is not None and no_attribute.attributes == ""


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("20240131_120000.WAV", datetime(2024, 1, 31, 12)),
        ("pump7-20240131-235959-ch0.wav", datetime(2024, 1, 31, 23, 59, 59)),
        ("20240131T120000Z.flac", datetime(2024, 1, 31, 12)),
        ("x 20240131 120000.wav", datetime(2024, 1, 31, 12)),
        ("20240131120000.wav", datetime(2024, 1, 31, 12)),
        ("rec 2024-01-31 12.30.45.wav", datetime(2024, 1, 31, 12, 30, 45)),
        ("2024-01-31T12:30:45.wav", datetime(2024, 1, 31, 12, 30, 45)),
        ("2024-01-31_12-30-45_a.wav", datetime(2024, 1, 31, 12, 30, 45)),
        ("00000000_20240131_120000.wav", datetime(2024, 1, 31, 12)),
    ],
)
def test_time_in_the_name(name: str, when: datetime) -> None:
    assert recorded_at(Path("/nowhere") / name) == (when, "name")


@pytest.mark.parametrize("name", ["20241331_120000.wav", "20240131_250000.wav", "1706702400.wav", "clip_20240131.wav"])
def test_time_of_the_file_otherwise(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name) / name
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert recorded_at(path) == (datetime.fromtimestamp(1_700_000_000), "file")
    assert recorded_at(tmp_path / "absent.wav") == (None, None)


# ---- layouts --------------------------------------------------------------------------------------------------------


def test_layout_of_2020(tmp_path: Path) -> None:
    make(
        tmp_path,
        "fan/train/normal_id_00_00000000.wav",
        "fan/test/normal_id_00_00000000.wav",
        "fan/test/anomaly_id_02_00000000.flac",
        "fan/test/id_01_00000000.wav",
        "fan/README.md",
        "fan/train/.normal_id_00_00000001.wav",
        ".cache/normal_id_00_00000001.wav",
    )
    catalog = open_catalog(tmp_path)
    assert catalog.layout == "dcase2020" and catalog.layouts == {"fan": "dcase2020"} and catalog.notes == ()
    assert rows(catalog) == {
        ("fan/train/normal_id_00_00000000.wav", "fan", "00", "train", 0),
        ("fan/test/normal_id_00_00000000.wav", "fan", "00", "test", 0),
        ("fan/test/anomaly_id_02_00000000.flac", "fan", "02", "test", 1),
        ("fan/test/id_01_00000000.wav", "fan", "01", "test", None),
    }
    assert catalog.sections("fan") == ["00", "01", "02"]
    assert all(c.path == tmp_path / c.name and c.domain is None for c in catalog.clips)


def test_layout_of_2021_on(tmp_path: Path) -> None:
    make(
        tmp_path,
        "fan/train/section_00_source_train_normal_0000_vel_21.wav",
        "fan/train/section_00_target_train_normal_0000_noAttribute.wav",
        "fan/source_test/section_00_source_test_normal_0000.wav",
        "fan/target_test/section_00_target_test_anomaly_0000.wav",
        "fan/source_test/section_03_source_test_0000.wav",
        "pump/test/section_03_0000.wav",
        "HairDryer/test/section_00_target_anomaly_0001_weight1_BckgE.wav",
        "pump/supplemental/section_03_supplemental_0001.wav",
        "pump/supplemental/noise_0001.wav",
    )
    catalog = open_catalog(tmp_path)
    found = {c.name.split("/")[-1]: c for c in catalog.clips}
    source = found["section_00_source_train_normal_0000_vel_21.wav"]
    assert (source.split, source.label, source.domain, source.attributes) == ("train", 0, "source", "vel_21")
    assert found["section_00_target_train_normal_0000_noAttribute.wav"].attributes == ""
    assert found["section_00_target_test_anomaly_0000.wav"].split == "test"
    evaluation = found["section_03_source_test_0000.wav"]
    assert (evaluation.machine, evaluation.label, evaluation.domain) == ("fan", None, "source")
    assert found["section_03_0000.wav"].domain is None
    assert found["section_00_target_anomaly_0001_weight1_BckgE.wav"].split == "test"
    assert len(catalog.clips) == 7
    assert "pump: 2 supplemental recordings left out" in said(catalog, Note)


def test_attribute_tables_fill_in_what_names_leave_out(tmp_path: Path) -> None:
    make(
        tmp_path,
        "fan/train/section_00_source_train_normal_0000.wav",
        "fan/train/section_00_source_train_normal_0001.wav",
        "fan/train/section_00_source_train_normal_0002_vel_9.wav",
    )
    table = tmp_path / "fan/attributes_00.csv"
    table.write_text(
        "file_name,d1p,d1v,d2p,d2v\r\n"
        "fan/train/section_00_source_train_normal_0000.wav,vel,21,noise,2\r\n"
        "fan/train/section_00_source_train_normal_0002_vel_9.wav,vel,7,,\r\n"
    )
    assert [c.attributes for c in open_catalog(tmp_path).clips] == ["vel_21_noise_2", "", "vel_9"]
    table.write_text("who knows")
    catalog = open_catalog(tmp_path)
    assert [c.attributes for c in catalog.clips] == ["", "", "vel_9"]
    assert "attributes_00.csv: not read" in said(catalog, Caution)


def mimii(root: Path, n_normal: int, n_abnormal: int) -> Path:
    make(root, *(f"fan/id_00/normal/{i:08d}.wav" for i in range(n_normal)))
    return make(root, *(f"fan/id_00/abnormal/{i:08d}.wav" for i in range(n_abnormal)))


def test_layout_of_mimii(tmp_path: Path) -> None:
    make(mimii(tmp_path, 20, 4), "valve/id_02/normal/00000000.wav")
    catalog = open_catalog(tmp_path)
    assert catalog.layout == "mimii"
    assert counts(catalog) == {
        ("fan", "00", "train", 0): 16,
        ("fan", "00", "test", 0): 4,
        ("fan", "00", "test", 1): 4,
        ("valve", "02", "train", 0): 1,
    }
    assert "4 known anomalies and 4 of 20 normals, chosen by a hash" in said(catalog, Note)


@pytest.mark.parametrize("below", ["fan", "fan/id_00"])
def test_a_machine_alone_is_divided_as_in_its_root(tmp_path: Path, below: str) -> None:
    mimii(tmp_path, 30, 7)
    whole = {c.path: (c.machine, c.section, c.split) for c in open_catalog(tmp_path).clips}
    assert {c.path: (c.machine, c.section, c.split) for c in open_catalog(tmp_path / below).clips} == whole


def test_at_most_half_of_the_normals_are_tested(tmp_path: Path) -> None:
    assert counts(open_catalog(mimii(tmp_path, 5, 9)))["fan", "00", "test", 0] == 2


def test_a_new_normal_moves_at_most_one_other(tmp_path: Path) -> None:
    def tested() -> set[str]:
        return {c.name for c in open_catalog(tmp_path).clips if c.split == "test" and c.label == 0}

    mimii(tmp_path, 40, 10)
    before = tested()
    for i in range(40, 50):
        make(tmp_path, f"fan/id_00/normal/{i:08d}.wav")
        after = tested()
        assert len(after) == 10 and len(after - before) <= 1
        before = after
    make(tmp_path, "fan/id_00/abnormal/99999999.wav")
    assert before < tested()


def test_own_recordings_in_folders(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(f"pump 7/normal/2024-01-0{i}/a.wav" for i in range(1, 7)),
        "pump 7/Abnormal/x.WAV",
        "pump 7/unsorted/ü.wav",
        "fan2/anomaly/x.wav",
        "compressor/day 1/x.wav",
        "compressor/day 2/x.wav",
        "press/train/x.wav",
        "press/test/normal/x.wav",
        "press/test/y.wav",
    )
    catalog = open_catalog(tmp_path)
    assert set(catalog.layouts.values()) == {"folder"}
    assert counts(catalog) == {
        ("pump 7", "00", "train", 0): 5,
        ("pump 7", "00", "test", 0): 1,
        ("pump 7", "00", "test", 1): 1,
        ("pump 7", "00", "test", None): 1,
        ("fan2", "00", "test", 1): 1,
        ("compressor", "00", "train", 0): 2,
        ("press", "00", "train", 0): 1,
        ("press", "00", "test", 0): 1,
        ("press", "00", "test", None): 1,
    }
    assert "2 recordings in no normal/ or abnormal/ folder: taken for normal" in said(catalog)


def test_just_files(tmp_path: Path) -> None:
    make(tmp_path / "pump7", "a.wav", "deep/down/b.flac", "c.txt")
    catalog = open_folder(tmp_path / "pump7")
    assert rows(catalog) == {
        ("a.wav", "pump7", "00", "train", 0),
        ("deep/down/b.flac", "pump7", "00", "train", 0),
    }
    scored = open_folder(tmp_path / "pump7", for_scoring=True)
    assert {(c.split, c.label) for c in scored.clips} == {("test", None)} and scored.notes == ()


def test_own_folder_with_marks(tmp_path: Path) -> None:
    make(tmp_path / "pump7", *(f"normal/{i}.wav" for i in range(8)), "abnormal/x.wav", "supplemental/s.wav")
    catalog = open_folder(tmp_path / "pump7")
    assert counts(catalog) == {
        ("pump7", "00", "train", 0): 7,
        ("pump7", "00", "test", 0): 1,
        ("pump7", "00", "test", 1): 1,
        ("pump7", "00", "test", None): 1,
    }
    scored = open_folder(tmp_path / "pump7", for_scoring=True)
    assert Counter((c.split, c.label) for c in scored.clips) == {("test", 0): 8, ("test", 1): 1, ("test", None): 1}


def test_own_folder_is_named_after_the_machine(tmp_path: Path) -> None:
    make(tmp_path, "pump7/normal/a.wav", "pump7/abnormal/b.wav", "fan/train/normal_id_00_00000000.wav", "test/c.wav")
    assert rows(open_folder(tmp_path / "pump7/normal")) == {("a.wav", "pump7", "00", "train", 0)}
    assert rows(open_folder(tmp_path / "pump7/abnormal")) == {("b.wav", "pump7", "00", "test", 1)}
    assert [c.machine for c in open_folder(tmp_path / "fan/train").clips] == ["fan"]
    # A folder that is named is meant, whatever it is called.
    assert [(c.split, c.label) for c in open_folder(tmp_path / "test").clips] == [("train", 0)]


def test_own_folder_of_a_challenge_machine(tmp_path: Path) -> None:
    names = [f"fan/train/normal_id_0{i % 2}_{i:08d}.wav" for i in range(4)]
    make(tmp_path, *names, "fan/test/anomaly_id_00_00000000.wav")
    catalog = open_folder(tmp_path / "fan")
    assert counts(catalog) == {("fan", "00", "train", 0): 4, ("fan", "00", "test", 1): 1}
    assert "IDs 00, 01 read as one machine" in said(catalog, Note)
    anomalies = open_folder(tmp_path / "fan/test")
    assert counts(anomalies) == {("fan", "00", "test", 1): 1}, "an anomaly is never taken for a training normal"


def test_one_long_file(tmp_path: Path) -> None:
    make(tmp_path, "pump7.wav", "other.wav")
    assert rows(open_folder(tmp_path / "pump7.wav")) == {("pump7.wav", "pump7", "00", "train", 0)}


def test_ready_logmels_are_a_catalog_too(tmp_path: Path) -> None:
    make(tmp_path, "features.json", "ToyCar/train/normal_id_01_00000000.npy", "ToyCar/test/anomaly_id_01_00000000.npy")
    assert [(c.section, c.split, c.label) for c in open_catalog(tmp_path).clips] == [
        ("01", "test", 1),
        ("01", "train", 0),
    ]


def test_layouts_beside_each_other(tmp_path: Path) -> None:
    make(mimii(tmp_path, 2, 1), "slider/train/normal_id_00_00000000.wav", "pump7/a.wav", "loose.wav")
    assert open_catalog(tmp_path).layouts == {
        "fan": "mimii",
        "slider": "dcase2020",
        "pump7": "folder",
        tmp_path.name: "folder",
    }


@pytest.mark.parametrize("below", ["", "slider", "slider/train"])
def test_roots_further_down(tmp_path: Path, below: str) -> None:
    make(tmp_path, "slider/train/normal_id_00_00000000.wav")
    (clip,) = open_catalog(tmp_path / below).clips
    assert (clip.machine, clip.section, clip.split) == ("slider", "00", "train")
    assert clip.path == tmp_path / "slider/train/normal_id_00_00000000.wav"


def test_roots_further_up_and_unpacked_archives(tmp_path: Path) -> None:
    make(
        tmp_path,
        "dev_data/raw/fan/train/section_00_source_train_normal_0000_a.wav",
        "eval_data/raw/fan/test/section_03_0000.wav",
        "train/pump/section_00_source_train_normal_0000_a.wav",
        "test/pump/section_00_source_test_normal_0000_a.wav",
        "flat/section_00_target_train_normal_0000_a.wav",
    )
    assert {(c.machine, c.section, c.split) for c in open_catalog(tmp_path).clips} == {
        ("fan", "00", "train"),
        ("fan", "03", "test"),
        ("pump", "00", "train"),
        ("pump", "00", "test"),
        ("flat", "00", "train"),
    }


def test_flat_files_of_2020_are_divided_by_label(tmp_path: Path) -> None:
    make(tmp_path, *(f"fan/normal_id_00_{i:08d}.wav" for i in range(6)), "fan/anomaly_id_00_00000000.wav")
    make(tmp_path, "fan/id_01_00000000.wav")
    assert counts(open_catalog(tmp_path)) == {
        ("fan", "00", "train", 0): 5,
        ("fan", "00", "test", 0): 1,
        ("fan", "00", "test", 1): 1,
        ("fan", "01", "test", None): 1,
    }


def test_strange_names_are_left_out_and_said(tmp_path: Path) -> None:
    make(tmp_path, *(f"fan/train/normal_id_00_{i:08d}.wav" for i in range(3)), "fan/train/copy of 1.wav")
    catalog = open_catalog(tmp_path)
    assert len(catalog.clips) == 3
    assert "fan: 1 file left out, named unlike the others (fan/train/copy of 1.wav)" in said(catalog, Caution)


def test_few_challenge_names_among_own_ones(tmp_path: Path) -> None:
    make(tmp_path, "mill/a.wav", "mill/b.wav", "mill/anomaly_id_04_00000001.wav", "mill/normal_id_04_00000001.wav")
    make(tmp_path, "mill/c.wav")
    catalog = open_catalog(tmp_path)
    assert catalog.layouts == {"mill": "folder"} and catalog.sections("mill") == ["00"]
    assert Counter(c.label for c in catalog.clips) == {None: 3, 0: 1, 1: 1}


def test_an_anomaly_in_a_train_folder_is_not_trained_on(tmp_path: Path) -> None:
    make(tmp_path, "fan/train/normal_id_00_00000000.wav", "fan/train/anomaly_id_00_00000000.wav")
    catalog = open_catalog(tmp_path)
    assert [c.label for c in catalog.select("fan", None, "train")] == [0]
    assert "1 recording in train folders named anomaly" in said(catalog, Caution)


def test_other_audio_is_counted_with_the_command_that_converts_it(tmp_path: Path) -> None:
    make(tmp_path, "pump7/a.wav", "pump7/b c.m4a", "pump7/d.mp3", "pump7/e.mp3")
    message = said(open_catalog(tmp_path), Caution)
    assert "1 .m4a, 2 .mp3 not read" in message
    assert f"ffmpeg -i '{tmp_path}/pump7/b c.m4a' '{tmp_path}/pump7/b c.wav'" in message


def test_symbolic_links(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "fan/train/normal_id_00_00000000.wav")
    elsewhere = make(tmp_path / "elsewhere", "normal/a.wav")
    (root / "fan/loop").symlink_to(root)
    (root / "again").symlink_to(root / "fan")
    (root / "pump7").symlink_to(elsewhere)
    (root / "itself").symlink_to(root / "itself")
    (root / "fan/train/normal_id_00_00000002.wav").symlink_to(root / "fan/train/normal_id_00_00000002.wav")
    (root / "fan/train/normal_id_00_00000001.wav").symlink_to(tmp_path / "gone.wav")
    assert [(c.machine, c.name) for c in open_catalog(root).clips] == [
        ("fan", "fan/train/normal_id_00_00000000.wav"),
        ("fan", "fan/train/normal_id_00_00000001.wav"),  # broken, as the next one: reading them says so
        ("fan", "fan/train/normal_id_00_00000002.wav"),
        ("pump7", "pump7/normal/a.wav"),
    ]


# ---- selecting ------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_machines(tmp_path: Path) -> Catalog:
    make(tmp_path, *(f"fan/train/normal_id_00_{i:08d}.wav" for i in range(3)))
    make(tmp_path, "fan/test/normal_id_02_00000000.wav", "fan/test/anomaly_id_00_00000000.wav")
    return open_catalog(make(tmp_path, "ToyCar/test/anomaly_id_01_00000000.wav"))


def test_select(two_machines: Catalog) -> None:
    assert two_machines.machines() == ["ToyCar", "fan"]
    assert len(two_machines.select("fan")) == 5
    assert len(two_machines.select("fan", ["00"])) == 4
    assert len(two_machines.select("fan", ["00"], "train")) == len(two_machines.select("fan", None, "train")) == 3
    assert [c.section for c in two_machines.select("fan", None, "test")] == ["00", "02"]


@pytest.mark.parametrize(
    ("machine", "sections", "message"),
    [
        ("Fan", None, r"no machine 'Fan' in .*: there are ToyCar, fan\. Did you mean 'fan'\?"),
        ("toycar", None, r"Did you mean 'ToyCar'\?"),
        ("xyz", None, r"there are ToyCar, fan\.$"),
        ("fan", ["0"], r"fan has no ID '0': .* has 00, 02\. Did you mean '0"),
        ("fan", ["00", "id_02"], r"fan has no ID 'id_02'.* Did you mean '02'\?"),
    ],
)
def test_unknown_names_are_usage_errors(
    two_machines: Catalog, machine: str, sections: list[str] | None, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        two_machines.select(machine, sections)
    assert re.search(message, raised.value.message) and "asd data list" in raised.value.hint


def test_nothing_to_train_on(two_machines: Catalog) -> None:
    with pytest.raises(DataError, match=r"^fan id_02 has 0 training clips and 1 test clip in ") as raised:
        two_machines.select("fan", ["00", "02"], "train")
    assert raised.value.hint == "fan id_00 has 3 training clips"
    with pytest.raises(DataError, match="ToyCar id_01 has 0 training clips and 1 test clip"):
        two_machines.select("ToyCar", None, "train")


def test_sessions() -> None:
    clip = Clip(Path("/x/pump7/20240131/s2_001.wav"), "pump7/20240131/s2_001.wav", "pump7", "00", "train", 0)
    assert session_of(clip, None) == clip.name
    assert session_of(clip, r"\d{8}") == "20240131"
    assert session_of(clip, re.compile(r"/(s\d)_")) == "s2"
    assert session_of(clip, r"(s)(?P<session>\d)_") == "2"
    with pytest.raises(UsageError, match="does not match"):
        session_of(clip, r"shift_\d")
    with pytest.raises(UsageError, match="--session-regex"):
        session_of(clip, r"(")


# ---- what can go wrong ----------------------------------------------------------------------------------------------


def test_missing_root(tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir()
    with pytest.raises(DataError, match=r"no such folder\. Did you mean 'recordings'\?") as raised:
        open_catalog(tmp_path / "recording")
    assert "--data" in raised.value.hint and "$ASD_DATA" in raised.value.hint and "asd data synth" in raised.value.hint


def test_a_file_as_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a file") as raised:
        open_catalog(make(tmp_path, "a.wav") / "a.wav")
    assert raised.value.hint == f"asd data list {tmp_path}"


def test_roots_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recordings in it"):
        open_catalog(make(tmp_path, "notes.txt"))
    with pytest.raises(DataError, match=r"no \.wav or \.flac in it, but 1 \.m4a") as raised:
        open_catalog(make(tmp_path, "x.m4a"))
    assert raised.value.hint == f"convert: ffmpeg -i {tmp_path}/x.m4a {tmp_path}/x.wav"


def test_supplemental_recordings_alone(tmp_path: Path) -> None:
    make(tmp_path, "fan/supplemental/section_00_0001.wav")
    with pytest.raises(DataError, match="only supplemental recordings"):
        open_catalog(tmp_path / "fan/supplemental")


@pytest.mark.parametrize(
    "names",
    [
        ("fan/train/normal_id_00_00000000.wav", "fan/train/normal_id_00_00000000.flac"),
        ("a/fan/train/normal_id_00_00000000.wav", "b/fan/train/normal_id_00_00000000.wav"),
        ("fan/id_00/normal/00000000.wav", "fan/id_00/normal/00000000.FLAC"),
        ("pump7/a.wav", "pump7/a.npy"),
    ],
)
def test_duplicate_names(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="duplicate names") as raised:
        open_catalog(make(tmp_path, *names))
    assert all(name in raised.value.message for name in names) and raised.value.exit_code == 3


def test_the_same_name_in_other_places_is_no_duplicate(tmp_path: Path) -> None:
    make(tmp_path, "fan/train/normal_id_00_00000000.wav", "fan/test/normal_id_00_00000000.wav")
    make(tmp_path, "pump7/day1/0001.wav", "pump7/day2/0001.wav")
    assert len(open_catalog(tmp_path).clips) == 4


def test_two_own_machines_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two folders hold a machine called 'pump'") as raised:
        open_catalog(make(tmp_path, "hall 1/pump/normal/a.wav", "hall 2/pump/normal/b.wav"))
    assert raised.value.hint.endswith(f"asd data list '{tmp_path}/hall 1'")


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "fan/train/normal_id_00_00000000.wav")
    real = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "train":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match=r"fan/train: Permission denied") as raised:
        open_catalog(tmp_path)
    assert raised.value.hint == f"Allow listing it: chmod u+rx {tmp_path}/fan/train"


def test_names_that_are_no_text(tmp_path: Path) -> None:
    make(tmp_path, os.fsdecode(b"gr\xfc\xdfe.wav"))
    with pytest.raises(DataError, match=r"gr\\xfc\\xdfe\.wav.*not valid UTF-8"):
        open_catalog(tmp_path)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(st.characters(exclude_characters="/\0\r", codec="utf-8"), min_size=1, max_size=8), max_size=4))
def test_any_folder_names_are_read(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    parts = [part for part in parts if part not in (".", "..") and not part.startswith(".")]
    root = tmp_path_factory.mktemp("any")
    make(root, "/".join([*parts, "a.wav"]))
    system = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
    if not system & set(parts):
        assert [c.path for c in open_catalog(root).clips] == [root.joinpath(*parts, "a.wav")]


# ---- labels ---------------------------------------------------------------------------------------------------------

ROWS = {2020: 7103, 2021: 8635, 2022: 4200, 2023: 1400, 2024: 1800, 2025: 1600}


@pytest.mark.parametrize("year", ROWS)
def test_label_lists_of_every_year(golden: Path, tmp_path: Path, year: int) -> None:
    path = golden / f"eval_labels/eval_data_list_{year}.csv"
    listed = read_labels(path)
    labels = {(m, label.file): label for m, by_name in listed.machines.items() for label in by_name.values()}
    assert len(labels) == ROWS[year]
    assert {label.domain for label in labels.values()} == ({None} if year == 2020 else {"source", "target"})
    make(tmp_path, *(f"{machine}/test/{file}" for machine, file in labels))
    catalog = open_catalog(tmp_path, path)
    assert {(c.machine, c.path.name): (c.label, c.domain, c.attributes) for c in catalog.clips} == {
        key: (label.label, label.domain, label.attributes) for key, label in labels.items()
    }


def test_labels_of_single_files(golden: Path) -> None:
    lists = {year: read_labels(golden / f"eval_labels/eval_data_list_{year}.csv").machines for year in ROWS}
    assert lists[2020]["fan"]["id_01_00000000"].label == 0
    assert lists[2020]["fan"]["id_01_00000001"].label == 1
    first = lists[2022]["bearing"]["section_03_0001"]
    assert (first.label, first.domain, first.attributes) == (1, "target", "vel_25")


LIST = "fan\nid_01_00000000.wav,normal_id_01_00000098.wav,0\nid_01_00000001.wav,anomaly_id_01_00000064.wav,1\n"


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    make(tmp_path / "root", "fan/test/id_01_00000000.flac", "fan/test/id_01_00000001.wav")
    make(tmp_path / "root", "fan/train/normal_id_01_00000000.wav", "pump/train/normal_id_00_00000000.wav")
    return tmp_path / "root"


def test_labels_are_joined_on_evaluation_files_only(evaluation: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("\ufeff" + LIST.replace("\n", "\r\n") + "pump\nid_01_00000000.wav,normal_id_01_00000001.wav,0\n")
    tested = open_catalog(evaluation, path).select("fan", None, "test")
    assert [(c.path.suffix, c.label) for c in tested] == [(".flac", 0), (".wav", 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIST.replace("fan", "pump"), "no label for fan id_01_00000000 and 1 more"),
        (LIST.rsplit("\n", 2)[0], "no label for fan id_01_00000001"),
        (LIST + "id_01_00000002.wav,normal_id_01_00000003.wav,0", "not there: fan id_01_00000002"),
        (
            LIST + "id_01_00000001.wav,normal_id_01_00000003.wav,0",
            r":4: fan id_01_00000001.wav is listed twice.*line 3",
        ),
        (LIST.replace(",1\n", ",0\n"), r":3: label 0 contradicts the original name anomaly_id_01_00000064.wav"),
        (LIST.replace("fan\n", ""), ":1: a file before the first machine's name"),
        ("fan\na,b\n", r":2: 'b' is no original name"),
        ("fan\n", "no labels in it"),
        ("", "no labels in it"),
    ],
)
def test_labels_that_do_not_fit(evaluation: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        open_catalog(evaluation, path)
    assert str(path) in raised.value.message


def test_label_lists_that_cannot_be_read(evaluation: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        open_catalog(evaluation, tmp_path / "absent.csv")
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="not a text file"):
        open_catalog(evaluation, tmp_path / "list.csv")


# ---- real recordings ------------------------------------------------------------------------------------------------


def test_real_recordings(data_root: Path) -> None:
    wavs = open_catalog(data_root / "dcase2020_wavs")
    assert wavs.machines() == ["ToyCar", "ToyConveyor", "fan", "pump", "slider", "valve"] and len(wavs.clips) == 137
    assert len(wavs.select("slider", ["00"], "train")) == 75 and len(wavs.select("slider", ["00"], "test")) == 8
    with pytest.raises(DataError, match=r"fan id_00 has 0 training clips and 3 test clips"):
        wavs.select("fan", None, "train")
    logmels = counts(open_catalog(data_root / "toycar_logmel"))
    for section in ("01", "02", "03", "04"):
        assert logmels["ToyCar", section, "train", 0] == 200
        assert logmels["ToyCar", section, "test", 0] == 75
        assert logmels["ToyCar", section, "test", 1] == 132
    assert counts(open_catalog(data_root / "mimii_8ch"))["valve", "00", "test", 1] == 1
    assert counts(open_catalog(data_root / "esc50_16k")) == {("esc50_16k", "00", "train", 0): 250}


def test_the_catalog_imports_nothing_heavy() -> None:
    code = (
        "import sys, asd.data.catalog; "
        "print(sorted({'torch', 'numpy', 'pydantic', 'soundfile', 'asd._dsp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
