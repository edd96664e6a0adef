"""Submissions: written, read, refused with everything that is wrong, and scored as the challenge's evaluator does."""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner, Result

from asd.cli import app
from asd.data.labels import doubts, read_labels
from asd.detect.threshold import challenge_threshold
from asd.errors import DataError, UsageError
from asd.evaluate.challenge import write_submission, year_of
from asd.evaluate.evaluator import evaluator_table
from asd.evaluate.naming import parse_result_name
from asd.evaluate.official import aggregate
from asd.evaluate.submission import MalformedError, read_submission
from asd.runs import ScoreRow

SCORES = "anomaly_score_fan_section_00_test.csv"
DECISIONS = "decision_result_fan_section_00_test.csv"
CLIPS = [f"section_00_{i:04}.wav" for i in range(8)]
ORIGINALS = [
    f"section_00_{domain}_test_{label}_{i:04}.wav"
    for i, (domain, label) in enumerate(2 * [(d, y) for d in ("source", "target") for y in ("normal", "anomaly")])
]
LIST = "fan\n" + "".join(f"{clip},{original}\n" for clip, original in zip(CLIPS, ORIGINALS, strict=True))


def asd(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "list.csv"
    path.write_text(LIST)
    return path


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """A right one: anomalies score higher, one of them not high enough."""
    folder = tmp_path / "submission"
    folder.mkdir()
    scores = [0.1, 0.9, 0.2, 0.8, 0.3, 0.25, 0.4, 1e300]
    (folder / SCORES).write_text("".join(f"{c},{s!r}\n" for c, s in zip(CLIPS, scores, strict=True)))
    (folder / DECISIONS).write_text("".join(f"{c},{int(s > 0.5)}\n" for c, s in zip(CLIPS, scores, strict=True)))
    return folder


def problems(folder: Path, labels: Path | None, **how: object) -> list[str]:
    with pytest.raises(MalformedError) as raised:
        read_submission(folder, read_labels(labels) if labels else None, **how)  # type: ignore[arg-type]
    assert raised.value.exit_code == 3
    assert all(f"\n  {p}" in raised.value.message for p in raised.value.problems)
    return [str(p) for p in raised.value.problems]


# ---- the evaluator's own figures -------------------------------------------------------------------------------------


def test_every_line_of_the_official_result(golden: Path, tmp_path: Path) -> None:
    folder, out = golden / "metrics" / "dcase2022", tmp_path / "result.csv"
    done = asd("evaluate", folder / "submission", "--labels", folder, "--official", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    ours, theirs = (list(csv.reader(f.read_text().splitlines())) for f in (out, folder / "official_result.csv"))
    assert len(ours) == len(theirs) == 86
    for mine, official in zip(ours, theirs, strict=True):
        for a, b in zip(mine, official, strict=True):
            assert a == b or float(a) == pytest.approx(float(b), abs=1e-14, rel=1e-12), official
    found = json.loads(done.stdout)
    assert found["mean"]["official"] == pytest.approx(0.6653202926501359, abs=1e-9)
    low, high = found["intervals"]["mean"]["official"]
    assert low < found["mean"]["official"] < high < low + 0.1
    assert [len(line) for line in found["evaluator"]["lines"]] == [len(line) for line in theirs]


def test_the_right_values_beside_both_slips(golden: Path) -> None:
    folder = golden / "metrics" / "dcase2022"
    submission = read_submission(folder / "submission", read_labels(folder))
    *split, ci95 = evaluator_table(submission.groups, submission.year).slips
    official = aggregate(submission.groups, submission.year)
    assert len(split) == 14
    for slip in split:
        domain = slip.line.split()[0]
        assert slip.right["AUC"] == pytest.approx(official.machines[slip.machine][f"auc_{domain}"], abs=1e-12)  # type: ignore[index]
        assert slip.right["AUC"] != pytest.approx(slip.printed["AUC"], abs=1e-6)
    (printed,), (right,) = ci95.printed.values(), ci95.right.values()
    assert right / printed == pytest.approx(4200 - 1)
    text = asd("evaluate", folder / "submission", "--labels", folder, "--official").stdout
    assert "98.14 → 58.88" in text and "3.431e-06" in text and "0.01441" in text


def test_the_jackknife_of_few_clips(submission: Path, labels: Path) -> None:
    """Both widths by leaving clips out one by one."""
    from asd.evaluate.metrics import auc, pauc

    (group,) = read_submission(submission, read_labels(labels)).groups
    (slip,) = evaluator_table([group], 2023).slips
    n = len(group.scores_B)
    half = []
    for figure in (auc, pauc):
        without = [figure(np.delete(group.labels_B, i), np.delete(group.scores_B, i)) for i in range(n)]
        half.append(stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(without - np.mean(without)).sum()))
    assert slip.right["AUC and pAUC"] == pytest.approx(np.mean(half), rel=1e-9)
    assert slip.printed["AUC and pAUC"] == pytest.approx(np.mean(half) / (n - 1), rel=1e-9)


def test_2020_by_the_names(golden: Path, tmp_path: Path) -> None:
    folder, out = golden / "metrics" / "toycar2020", tmp_path / "result.csv"
    done = asd("evaluate", folder, "--official", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    assert out.read_text() == (folder / "result.csv").read_text()
    found = json.loads(done.stdout)
    assert found["year"] == 2020
    assert found["mean"]["auc"] == pytest.approx(0.864397431185167, abs=1e-12)
    assert found["mean"]["pauc"] == pytest.approx(0.7468649647274275, abs=1e-12)
    assert found["mean"]["official"] is None
    assert "result.csv" in done.stderr


def test_2022_of_one_section_has_no_source_mean(submission: Path, labels: Path) -> None:
    (group,) = read_submission(submission, read_labels(labels)).groups
    lines = {str(line[0]): line for line in evaluator_table([group], 2022).lines if line}
    assert all(math.isnan(float(v)) for v in lines["source harmonic mean"][2:])
    right = {str(line[0]): line for line in evaluator_table([group], 2023).lines if line}
    assert right["source harmonic mean"][2] == pytest.approx(0.875)
    shown = asd("evaluate", submission, "--labels", labels, "--year", 2022, "--official", "--json")
    assert json.loads(shown.stdout)["evaluator"]["slips"][0]["printed"]["AUC"] is None


# ---- labels ---------------------------------------------------------------------------------------------------------


def test_ground_truth_folders_are_labels(golden: Path) -> None:
    folder = golden / "metrics" / "dcase2022"
    listed, truth = read_labels(golden / "eval_labels" / "eval_data_list_2022.csv"), read_labels(folder)
    assert truth.machines == read_labels(folder / "ground_truth_data").machines
    assert set(truth.machines) == set(listed.machines)
    assert {len(clips) for clips in truth.machines.values()} == {600}
    for machine in set(truth.machines) - {"ToyCar", "ToyTrain"}:
        for stem, label in truth.machines[machine].items():
            other = listed.machines[machine][stem]
            assert (label.label, label.domain) == (other.label, other.domain)


def test_the_list_that_contradicts_its_evaluator(golden: Path, tmp_path: Path) -> None:
    folder = golden / "metrics" / "dcase2022"
    path = golden / "eval_labels" / "eval_data_list_2022.csv"
    listed, truth = read_labels(path), read_labels(folder)
    differing = {
        m: sum(listed.machines[m][stem].label != label.label for stem, label in clips.items())
        for m, clips in truth.machines.items()
    }
    assert {m: n for m, n in differing.items() if n} == {"ToyCar": 296, "ToyTrain": 312}
    assert "ToyCar and ToyTrain" in doubts(listed, listed.machines)[0].message
    assert doubts(truth, truth.machines) == doubts(listed, ["fan"]) == []
    told = asd("evaluate", folder / "submission", "--labels", path, "--resamples", 100)
    assert told.exit_code == 0 and "half of its labels" in told.stderr


def ground_truth(folder: Path, data: str, domain: str | None = None) -> Path:
    for name, text in (("ground_truth_data", data), ("ground_truth_domain", domain)):
        if text is not None:
            (folder / name).mkdir(parents=True)
            (folder / name / "ground_truth_fan_section_00_test.csv").write_text(text)
    return folder


TRUTH = "section_00_0000.wav,0\nsection_00_0001.wav,1\n"


@pytest.mark.parametrize(
    ("data", "domain", "message"),
    [
        ("", None, "no labels in it"),
        ("section_00_0000.wav,2\n", None, "csv:1: .* with 0 or 1"),
        ("section_01_0000.wav,1\n", None, "csv:1: .* no file of section 00"),
        ("section_00_0000.wav\n", None, "csv:1:"),
        (TRUTH + "section_00_0001.wav,1\n", None, "csv:3: section_00_0001.wav is listed twice, first on line 2"),
        (TRUTH, "section_00_0000.wav,0\n", "domains of other files than the labels: section_00_0001"),
        (TRUTH, "section_00_0000.wav,0\nsection_00_0001.wav,x\n", "ground_truth_domain.*csv:2"),
    ],
)
def test_ground_truth_that_is_none(tmp_path: Path, data: str, domain: str | None, message: str) -> None:
    folder = ground_truth(tmp_path / "truth", data, domain)
    with pytest.raises(DataError, match=message):
        read_labels(folder)


def test_folders_that_hold_no_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no ground truth in it"):
        read_labels(tmp_path)
    folder = ground_truth(tmp_path / "truth", TRUTH, TRUTH)
    with pytest.raises(DataError, match="these are domains"):
        read_labels(folder / "ground_truth_domain")
    (folder / "ground_truth_data" / "ground_truth_pump_section_00_test.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"ground_truth_pump_section_00_test\.csv: no file"):
        read_labels(folder)
    (folder / "ground_truth_data" / "ground_truth_fan.csv").write_text(TRUTH)
    with pytest.raises(DataError, match="not the name of a ground truth"):
        read_labels(folder)


def test_ground_truth_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ground_truth(tmp_path / "truth", TRUTH, TRUTH)
    monkeypatch.chdir(folder / "ground_truth_data")
    assert {label.domain for label in read_labels(Path()).machines["fan"].values()} == {"source", "target"}
    monkeypatch.chdir(folder / "ground_truth_domain")
    with pytest.raises(DataError, match="these are domains"):
        read_labels(Path())


def test_ground_truth_of_2021_names_its_domain(tmp_path: Path) -> None:
    (tmp_path / "ground_truth_fan_section_03_target_test.csv").write_text("section_03_target_test_0000.wav,1\r\n")
    label = read_labels(tmp_path).machines["fan"]["section_03_target_test_0000"]
    assert (label.label, label.domain) == (1, "target")


# ---- a submission and everything that can be wrong with it ----------------------------------------------------------


def test_a_right_submission(submission: Path, labels: Path) -> None:
    found = read_submission(submission, read_labels(labels))
    (group,) = found.groups
    assert found.year == 2023 and found.passed_over == ()
    assert group.labels_B.tolist() == [0, 1] * 4
    assert group.decisions_B is not None and group.decisions_B.sum() == 3
    assert group.domains_B is not None and group.domains_B.tolist() == 2 * ["source", "source", "target", "target"]


def test_order_suffix_and_line_ends_do_not_matter(submission: Path, labels: Path) -> None:
    (before,) = read_submission(submission, read_labels(labels)).groups
    for name in (SCORES, DECISIONS):
        lines = (submission / name).read_text().splitlines()[::-1]
        (submission / name).write_bytes("\r\n".join(line.replace(".wav", ".flac") for line in lines).encode())
    (after,) = read_submission(submission, read_labels(labels)).groups
    assert before.scores_B.tolist() == after.scores_B.tolist()
    assert before.labels_B.tolist() == after.labels_B.tolist()


EDITS = [
    (SCORES, 1, "section_00_0000.wav,nan", [f"{SCORES}:1: 'nan' is not finite"]),
    (SCORES, 2, "section_00_0001.wav,-inf", [f"{SCORES}:2: '-inf' is not finite"]),
    (SCORES, 2, "section_00_0001.wav,1e999", [f"{SCORES}:2: '1e999' is not finite"]),
    (SCORES, 3, "section_00_0002.wav,high", [f"{SCORES}:3: 'high' is not a number"]),
    (SCORES, 3, "section_00_0002.wav,1_0", [f"{SCORES}:3: '1_0' is not a number"]),
    (SCORES, 3, "section_00_0002.wav,", [f"{SCORES}:3: '' is not a number"]),
    (SCORES, 4, "section_00_0003.wav;0.8", [f"{SCORES}:4: 1 columns", f"{SCORES}: no row for section_00_0003.wav"]),
    (SCORES, 4, "section_00_0003.wav,0,8", [f"{SCORES}:4: 3 columns", f"{SCORES}: no row for section_00_0003.wav"]),
    (SCORES, 5, "", [f"{SCORES}:5: an empty line", f"{SCORES}: no row for section_00_0004.wav"]),
    (
        SCORES,
        6,
        "section_00_0000.flac,1",
        [f"{SCORES}:6: section_00_0000.flac is there twice, first on line 1", f"{SCORES}: no row for section_00_0005"],
    ),
    (
        SCORES,
        7,
        "section_00_0099.wav,1",
        [f"{SCORES}:7: section_00_0099 is no clip", f"{SCORES}: no row for section_00_0006"],
    ),
    (
        SCORES,
        8,
        "fan/section_00_0007.wav,1",
        [f"{SCORES}:8: fan/section_00_0007 is no clip", "no row for section_00_0007"],
    ),
    (DECISIONS, 1, "section_00_0000.wav,2", [f"{DECISIONS}:1: decision '2' is neither 0"]),
    (DECISIONS, 1, "section_00_0000.wav,0.5", [f"{DECISIONS}:1: decision '0.5'"]),
    (DECISIONS, 1, "section_00_0000.wav,True", [f"{DECISIONS}:1: 'True' is not a number"]),
    (DECISIONS, 1, "section_00_0000.wav,nan", [f"{DECISIONS}:1: 'nan' is not finite"]),
]


@pytest.mark.parametrize(("file", "number", "text", "expected"), EDITS)
def test_a_wrong_line_is_named(
    submission: Path, labels: Path, file: str, number: int, text: str, expected: list[str]
) -> None:
    lines = (submission / file).read_text().splitlines()
    lines[number - 1] = text
    (submission / file).write_text("\n".join(lines) + "\n")
    found = problems(submission, labels)
    assert len(found) == len(expected), found
    for part in expected:
        assert any(part in problem for problem in found), (part, found)


def test_a_header_is_named(submission: Path, labels: Path) -> None:
    for name in (SCORES, DECISIONS):
        (submission / name).write_text("filename,value\n" + (submission / name).read_text())
    assert problems(submission, labels) == [
        f"{name}:1: a header (filename,value); the challenge's files have none" for name in (SCORES, DECISIONS)
    ]


def test_a_byte_order_mark_is_named(submission: Path, labels: Path) -> None:
    (submission / SCORES).write_bytes(b"\xef\xbb\xbf" + (submission / SCORES).read_bytes())
    (found,) = problems(submission, labels)
    assert found.startswith(f"{SCORES}:1: begins with a byte order mark")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no row in it"),
        (b"\xff\xfe\x00", "not UTF-8 text (invalid start byte at byte 0)"),
        (b'section_00_0000.wav,"1\n', "not readable as comma-separated values"),
        (b"a" * 200_000 + b",1\n", "not readable as comma-separated values"),
    ],
)
def test_files_that_are_no_tables(submission: Path, labels: Path, content: bytes, message: str) -> None:
    (submission / SCORES).write_bytes(content)
    assert message in problems(submission, labels)[0]


def test_missing_files_are_named_with_what_they_may_be(submission: Path, labels: Path) -> None:
    (submission / SCORES).rename(submission / SCORES.replace("_test", ""))
    (submission / DECISIONS).unlink()
    found = problems(submission, labels)
    assert f"{DECISIONS}: missing." in found[-1]
    assert any("a wrong name" in p for p in found)
    assert any(p.startswith(f"{SCORES}: missing. Did you mean 'anomaly_score_fan_section_00.csv'?") for p in found)


@pytest.mark.parametrize(
    "name",
    ["anomaly_score_fan_section_01_test.csv", "anomaly_score_pump_section_00_test.csv", DECISIONS.replace("0", "1")],
)
def test_extra_files_are_named(submission: Path, labels: Path, name: str) -> None:
    shutil.copy(submission / SCORES, submission / name)
    assert any(f"{name}: not expected" in p for p in problems(submission, labels))


@pytest.mark.parametrize(
    "name",
    [
        "anomaly_score_fan_id_00.csv",
        "anomaly_score_fan_section_00_source_test.csv",
        "Anomaly_score_fan_section_00_test.csv",
        "anomaly_score_fan_section_0_test.csv",
        "anomaly_score_fan_section_00_test.csv.gz",
        "anomaly_score_fan_section_00_test.CSV",
        "decision_result_fan_id_00.csv",
    ],
)
def test_wrong_names_and_other_years(submission: Path, labels: Path, name: str) -> None:
    shutil.copy(submission / SCORES, submission / name)
    (found,) = problems(submission, labels)
    assert found.startswith(f"{name}: a wrong name; wanted")


def test_what_is_no_result_file_is_passed_over(submission: Path, labels: Path) -> None:
    (submission / "result.csv").write_text("x")
    (submission / "Author_task2_1.meta.yaml").write_text("x")
    (submission / "old").mkdir()
    assert read_submission(submission, read_labels(labels)).passed_over == ("result.csv",)


def test_links_and_what_cannot_be_read(submission: Path, labels: Path) -> None:
    kept = submission.parent / "kept.csv"
    (submission / SCORES).rename(kept)
    (submission / SCORES).symlink_to(kept)
    assert read_submission(submission, read_labels(labels)).groups
    kept.unlink()
    assert problems(submission, labels) == [f"{SCORES}: no file, or a link to none"]
    (submission / SCORES).unlink()
    (submission / SCORES).mkdir()
    assert problems(submission, labels) == [f"{SCORES}: no file, or a link to none"]
    (submission / SCORES).rmdir()
    os.mkfifo(submission / SCORES)
    assert problems(submission, labels) == [f"{SCORES}: no file, or a link to none"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(submission: Path, labels: Path) -> None:
    (submission / SCORES).chmod(0)
    assert "cannot be read (Permission denied)" in problems(submission, labels)[0]


def test_two_files_of_one_section(submission: Path, labels: Path) -> None:
    other = "anomaly_score_DCASE2023T2fan_section_00_test_seed13711_id(0_)_Eval.csv"
    shutil.copy(submission / SCORES, submission / other)
    (found,) = problems(submission, labels)
    assert "the same machine and section as" in found
    (submission / SCORES).unlink()  # the baselines' own names will do
    assert read_submission(submission, read_labels(labels)).groups


def test_all_problems_at_once_as_lines_and_as_json(submission: Path, labels: Path) -> None:
    text = (submission / SCORES).read_text().splitlines()
    (submission / SCORES).write_text("\n".join(["id,score", *text[1:], text[-1], "section_00_0008.wav,nan"]) + "\n")
    (submission / DECISIONS).unlink()
    done = asd("evaluate", submission, "--labels", labels, "--json")
    assert done.exit_code == 3
    found = [(p["file"], p["line"]) for p in json.loads(done.stdout)["problems"]]
    assert found == [(SCORES, None), (SCORES, 1), (SCORES, 9), (SCORES, 10), (SCORES, 10), (DECISIONS, None)]
    assert f"{SCORES}:9: section_00_0007.wav is there twice, first on line 8" in done.stderr


def test_without_decisions(submission: Path, labels: Path) -> None:
    (submission / DECISIONS).unlink()
    assert asd("evaluate", submission, "--labels", labels).exit_code == 3
    done = asd("evaluate", submission, "--labels", labels, "--scores-only", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["mean"]["f1"] is None
    refused = asd("evaluate", submission, "--labels", labels, "--scores-only", "--official")
    assert refused.exit_code == 3 and "fan 00: no decisions" in refused.stderr


def test_decisions_without_scores(submission: Path, labels: Path) -> None:
    (submission / SCORES).unlink()
    done = asd("evaluate", submission, "--labels", labels, "--scores-only")
    assert done.exit_code == 3 and "no scores in it" in done.stderr


def test_a_part_of_the_machines(submission: Path, labels: Path) -> None:
    labels.write_text(LIST + LIST.replace("fan", "pump"))
    assert asd("evaluate", submission, "--labels", labels).exit_code == 3
    done = asd("evaluate", submission, "--labels", labels, "--machine", "fan")
    assert done.exit_code == 0
    following = shlex.split(done.stderr.splitlines()[-1].removeprefix("Next: asd "))
    assert asd(*following).exit_code == 0
    unknown = asd("evaluate", submission, "--labels", labels, "--machine", "fam")
    assert unknown.exit_code == 2 and "Did you mean 'fan'?" in unknown.stderr


def test_years_mixed(submission: Path, tmp_path: Path) -> None:
    text = "".join(f"{o},{i}\n" for i, o in enumerate(ORIGINALS))
    (submission / SCORES).write_text(text)
    (submission / DECISIONS).write_text("".join(f"{o},0\n" for o in ORIGINALS))
    assert read_submission(submission).groups[0].domains_B is not None
    (submission / "anomaly_score_fan_id_00.csv").write_text(
        "normal_id_00_00000000.wav,0\nanomaly_id_00_00000000.wav,1\n"
    )
    with pytest.raises(UsageError, match="named as in 2020 and 2022"):
        read_submission(submission)
    assert problems(submission, None, year=2020) == [
        f"{name}: a wrong name; wanted one as in 2020" for name in (SCORES, DECISIONS)
    ]
    with pytest.raises(UsageError, match="--year 2021: the files are named as in 2020"):
        read_submission(submission, year=2021)


def test_names_without_labels(submission: Path) -> None:
    with pytest.raises(DataError, match=f"{SCORES}:1: the name section_00_0000 does not tell") as raised:
        read_submission(submission)
    assert "--labels" in raised.value.hint


def test_one_kind_of_label(submission: Path, labels: Path) -> None:
    labels.write_text(LIST.replace("anomaly", "normal"))
    with pytest.raises(DataError, match=r"list.csv: fan 00: wanted labels 0 \(normal\) and 1 \(anomaly\), both"):
        read_submission(submission, read_labels(labels))


@pytest.mark.parametrize("what", ["absent", "file", "empty"])
def test_no_submission(tmp_path: Path, labels: Path, what: str) -> None:
    folder = tmp_path / what
    if what == "file":
        folder.write_text("x")
    elif what == "empty":
        folder.mkdir()
    done = asd("evaluate", folder, "--labels", labels)
    assert done.exit_code == 3 and str(folder) in done.stderr


@pytest.mark.parametrize("words", [["--out", "x.csv"], ["--machine", "fan"], ["--year", "2019"], ["--resamples", "0"]])
def test_usage(submission: Path, words: list[str]) -> None:
    assert asd("evaluate", submission, *words).exit_code == 2


@given(st.binary(max_size=200))
def test_no_bytes_are_a_surprise(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "list.csv").write_text(LIST)
    (folder / "s").mkdir()
    for name in (SCORES, DECISIONS):
        (folder / "s" / name).write_bytes(content)
    assert problems(folder / "s", folder / "list.csv")


# ---- result files of a run ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "year", "names"),
    [
        (["fan/test/id_01_00000000.wav", "fan/test/id_03_00000000.wav"], 2020, ["fan_id_01", "fan_id_03"]),
        (["fan/test/normal_id_00_00000000.wav"], 2020, ["fan_id_00"]),
        (["fan/source_test/section_03_source_test_0000.wav"], 2021, ["fan_section_03_source_test"]),
        (["fan/target_test/section_00_target_test_normal_0000.wav"], 2021, ["fan_section_00_target_test"]),
        (["fan/test/section_00_0000.wav", "fan/test/section_00_0001.npy"], 2022, ["fan_section_00_test"]),
        (["fan/test/section_01_source_test_normal_0000_vel_6.wav"], 2022, ["fan_section_01_test"]),
    ],
)
def test_the_years_own_names(tmp_path: Path, paths: list[str], year: int, names: list[str]) -> None:
    domain = next((d for d in ("source", "target") if d in paths[0]), None)
    rows = [ScoreRow(p, "fan", "00", domain, None, 0.1 + i, 1.0, i == 1) for i, p in enumerate(paths)]
    assert year_of(paths) == year
    files = write_submission(rows, tmp_path / "out", year)
    kinds = ["anomaly_score"] if year == 2020 else ["anomaly_score", "decision_result"]
    assert [f.name for f in files] == [f"{kind}_{name}.csv" for name in names for kind in kinds]
    assert all(parse_result_name(f.name) for f in files)
    written = [line.split(",") for f in files if f.name.startswith("anomaly") for line in f.read_text().splitlines()]
    assert [(name, float(score)) for name, score in written] == [(Path(r.path).name, r.score) for r in rows]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
def test_out_and_in_again(tmp_path_factory: pytest.TempPathFactory, scores: list[float]) -> None:
    folder = tmp_path_factory.mktemp("run")
    rows = [
        ScoreRow(f"fan/test/{c}", "fan", "00", None, None, s, 0.0, s > 0) for c, s in zip(CLIPS, scores, strict=True)
    ]
    write_submission(rows[::-1], folder / "out", 2024)
    (folder / "list.csv").write_text(LIST)
    (group,) = read_submission(folder / "out", read_labels(folder / "list.csv"), year=2024).groups
    assert group.scores_B.tolist() == scores
    assert group.decisions_B is not None and group.decisions_B.tolist() == [int(s > 0) for s in scores]


@pytest.mark.parametrize(
    ("paths", "year", "message"),
    [
        (["pump7/a.wav"], 2022, "pump7/a.wav: no name of a challenge"),
        (["fan/test/id_01_00000000.wav"], 2022, "no name of the challenge of 2022"),
        (["fan/test/section_03_0000.wav"], 2021, "no name of the challenge of 2021"),
        (["a/section_03_0000.wav", "b/section_03_0000.wav"], 2022, "one name in one file"),
    ],
)
def test_recordings_that_are_no_challenge_s(tmp_path: Path, paths: list[str], year: int, message: str) -> None:
    rows = [ScoreRow(p, "fan", "00", None, None, 0.0, 1.0, False) for p in paths]
    with pytest.raises(UsageError, match=message):
        write_submission(rows, tmp_path, year)
    assert list(tmp_path.iterdir()) == []


def test_years_of_recordings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one challenge wanted"):
        year_of(["fan/test/id_01_00000000.wav", "fan/test/section_03_0000.wav"])
    with pytest.raises(UsageError, match="got none"):
        year_of([])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    rows = [ScoreRow("fan/test/section_03_0000.wav", "fan", "03", None, None, 0.0, 1.0, False)]
    with pytest.raises(DataError, match="cannot be written"):
        write_submission(rows, tmp_path / "file" / "out", 2022)


def test_decisions_begin_where_nine_of_ten_normals_lie_below() -> None:
    scores_B = np.random.default_rng(0).gamma(3, 2, 5000)
    assert challenge_threshold(scores_B) == pytest.approx(stats.gamma.ppf(0.9, 3, scale=2), rel=0.03)
    assert challenge_threshold(scores_B - 5) == np.quantile(scores_B - 5, 0.9)
    assert challenge_threshold(np.ones(20)) == 1
    assert challenge_threshold(np.zeros(3)) == 0


def test_score_writes_what_evaluate_reads(tmp_path: Path) -> None:
    """A run on synthetic machines of the 2022 layout, from recordings to figures."""
    root, runs, out = tmp_path / "data", tmp_path / "runs", tmp_path / "submission"
    done = asd(
        "data",
        "synth",
        root,
        "--layout",
        "dcase2022",
        "--machines",
        "fan",
        "--ids",
        2,
        "--train",
        20,
        "--test",
        8,
        "--seconds",
        2,
    )
    assert done.exit_code == 0, done.output
    done = asd("train", "--data", root, "--machine", "fan", "--id", "all", "--method", "baseline", "--runs", runs)
    assert done.exit_code == 0, done.output
    (run,) = runs.iterdir()
    done = asd("score", run, "--dcase-csv", out)
    assert done.exit_code == 0, done.output
    figures = json.loads(asd("evaluate", out, "--json").stdout)
    own = json.loads((run / "metrics.json").read_text())["machines"]["fan"]
    assert figures["year"] == 2022 and set(figures["machines"]["fan"]) == set(own)
    for section, values in own.items():
        for figure in ("auc", "pauc", "auc_source", "auc_target"):
            assert figures["machines"]["fan"][section][figure] == pytest.approx(values[figure], abs=1e-12)
    (folder := tmp_path / "mine").mkdir()
    shutil.copytree(root / "fan" / "test", folder / "pump7")
    for i, wav in enumerate(sorted((folder / "pump7").iterdir())):
        wav.rename(wav.with_name(f"{i}.wav"))
    refused = asd("score", run, folder / "pump7", "--id", next(iter(own)), "--dcase-csv", tmp_path / "no")
    assert refused.exit_code == 2 and "no name of a challenge" in refused.stderr
    assert not (tmp_path / "no").exists()
