"""The report for a paper: intervals, seeds, marks, comparison, bands, origin, cost, sounds, LaTeX and the page."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from asd.cli import app
from asd.report import SOUNDS_EACH, look, openings, peers, read, tables, tables_of, write
from asd.report.bands import read_bands
from asd.report.compare import _percentiles
from asd.report.cost import cost_of
from asd.report.evidence import _choose
from asd.report.origin import Origin
from asd.report.split import Test as ScoredTest
from asd.report.systems import systems_of
from asd.runs import Run, ScoreRow, write_text
from test_report import BESIDE, LABELS, RATE, SCORER, SCORES, Factory, Page, finish, hum, written

NETWORK = {"encoder": "small"}


def configured(run: Run, **config: Any) -> Run:
    """The run with settings, TOML strings and numbers; a mapping is a table."""
    plain = [f"{k} = {json.dumps(v)}" for k, v in config.items() if not isinstance(v, dict)]
    nested = [f"[{k}]\n" + "\n".join(f"{i} = {json.dumps(v)}" for i, v in own.items()) for k, own in config.items()
              if isinstance(own, dict)]  # fmt: skip
    write_text(run.path / "config.toml", "\n".join([*plain, *nested]) + "\n")
    return run


def made(root: Path, scores: list[float], name: str = "", machine: str = "pump", **config: Any) -> Run:
    run = Factory(root, machine).section("00", scores, LABELS).section("02", scores[::-1], LABELS).write()
    if name:
        run = Run.open(run.path.rename(run.path.parent / name))
    return configured(run, **config) if config else run


def noisy(seed: int) -> list[float]:
    return list(np.array(SCORES) + np.random.default_rng(seed).normal(0, 4, len(SCORES)))


def aucs(scores: list[float]) -> list[float]:
    return [roc_auc_score(LABELS, scores), roc_auc_score(LABELS, scores[::-1])]


def test_means_are_those_of_scikit_learn_and_lie_in_their_intervals(tmp_path: Path) -> None:
    study = read([made(tmp_path, SCORES)]).study
    assert study is not None
    assert study.year == 2020
    assert (study.normals, study.anomalies) == (8, 8)
    auc = study.mean["auc"]
    assert auc.value == pytest.approx(np.mean(aucs(SCORES)), abs=1e-12)
    assert auc.low < auc.value < auc.high
    assert [study.sections["pump", s]["auc"].value for s in ("00", "02")] == pytest.approx(aucs(SCORES))
    assert study.worst() == ("pump", "02")
    # The scorer beside it has all scores turned around.
    assert study.differences[BESIDE]["auc"].value == pytest.approx(2 * np.mean(aucs(SCORES)) - 1, abs=1e-12)
    assert study.gap() is None
    assert study.deviation("auc") is None


def test_domains_open_with_official_score_and_gap(tmp_path: Path) -> None:
    labels, domains = [0, 0, 0, 0, 1, 1, 1, 1], ["source", "source", "target", "target"] * 2
    scores = [4.0, 5.0, 9.0, 13.0, 12.0, 8.0, 20.0, 7.0]
    kinds = ["normal", "anomaly"]
    names = [
        f"pump/test/section_00_{d}_test_{kinds[k]}_{i:04d}.wav"
        for i, (d, k) in enumerate(zip(domains, labels, strict=True))
    ]
    run = Factory(tmp_path).section("00", scores, labels, names=names, domain=domains).write()
    report = read([run])
    study = report.study
    assert study is not None
    assert study.year == 2022
    source = roc_auc_score([0, 0, 1, 1, 1, 1], [4.0, 5.0, 12.0, 8.0, 20.0, 7.0])
    target = roc_auc_score([0, 0, 1, 1, 1, 1], [9.0, 13.0, 12.0, 8.0, 20.0, 7.0])
    pauc = roc_auc_score(labels, scores, max_fpr=0.1)
    assert study.gap() == pytest.approx(source - target)
    assert study.mean["official"].value == pytest.approx(3 / (1 / source + 1 / target + 1 / pauc))
    assert report.title().startswith("Official score ")
    (opening,) = openings(report)
    assert [f.name for f in opening.figures][:3] == ["Official score", "Mean AUC", "Mean pAUC"]
    assert "Source − target" in [f.name for f in opening.figures]


def test_seeds_of_one_setting_are_one_system(tmp_path: Path) -> None:
    runs = [made(tmp_path / str(s), noisy(s), f"pump-{s}", seed=s, preset="contrastive") for s in range(3)]
    report = read(runs)
    assert report.comparison is None
    study = report.study
    assert study is not None
    assert [number for number, _ in study.system.seeds] == [0, 1, 2]
    means = [float(np.mean(aucs(noisy(s)))) for s in range(3)]
    assert study.seeds["auc"] == pytest.approx(means)
    assert study.deviation("auc") == pytest.approx(np.std(means, ddof=1))
    assert study.mean["auc"].value == pytest.approx(np.mean(means))
    # A recording counts once, though three runs have scored it.
    assert len(report.shown) == 1
    assert " of 16 recordings" in report.headline()
    files = {f.name: f.read_text() for f in finish(write(report, finish(look(report)), tmp_path / "out"))}
    page = Page(files["report.html"])
    assert page.errors == []
    assert f"± {100 * np.std(means, ddof=1):.2f} over seeds" in page.text
    assert "Means of 3 seeds" in files["report.md"]


def test_settings_tell_systems_apart(tmp_path: Path) -> None:
    runs = []
    for queue in (512, 256):
        for seed in range(2):
            own = {"seed": seed, "preset": "contrastive", "moco": {"queue_size": queue}}
            runs.append(made(tmp_path / f"{queue}{seed}", noisy(seed), f"run-{queue}-{seed}", **own))
    systems = systems_of(read(runs).machines)
    assert [(s.letter, s.name) for s in systems] == [("A", "contrastive"), ("B", "contrastive, queue size 256")]
    assert [[m.run.name for m in s.runs] for s in systems] == [["run-512-0", "run-512-1"], ["run-256-0", "run-256-1"]]


def test_weights_that_a_training_began_with_are_told_by_their_run(tmp_path: Path) -> None:
    begun = ("", "/home/me/runs/pretrain")
    runs = [
        made(tmp_path / str(i), noisy(i), f"run-{i}", preset="finetune", encoder={"weights": weights})
        for i, weights in enumerate(begun)
    ]
    assert [s.name for s in systems_of(read(runs).machines)] == ["finetune", "finetune, from pretrain"]


def test_runs_of_equal_settings_are_told_apart_by_name(tmp_path: Path) -> None:
    first = made(tmp_path, SCORES)
    shutil.copytree(first.path, tmp_path / "runs" / "again")
    systems = systems_of(read([first, Run.open(tmp_path / "runs" / "again")]).machines)
    assert [s.name for s in systems] == ["baseline (pump)", "baseline (again)"]


def test_machines_of_one_setting_are_one_system(tmp_path: Path) -> None:
    runs = [made(tmp_path / m, SCORES, machine=m) for m in ("fan", "valve")]
    report = read(runs)
    assert report.comparison is None
    assert report.study is not None
    assert list(report.study.machines) == ["fan", "valve"]
    assert "fan, valve" in report.title()


def pair(root: Path) -> list[Run]:
    runs = []
    for name, preset, more in (("one", "contrastive", -8), ("two", "finetune", 30)):
        scores = [s + more * label for s, label in zip(SCORES, LABELS, strict=True)]
        run = Factory(root / name).section("00", scores, LABELS).section("02", scores, LABELS).write()
        runs.append(configured(run, preset=preset))
    return runs


def test_comparison_is_paired(tmp_path: Path) -> None:
    report = read(pair(tmp_path))
    comparison = report.comparison
    assert comparison is not None and report.compared
    assert report.study is None
    (found,) = comparison.pairs
    expected = 1 - roc_auc_score(LABELS, [s - 8 * label for s, label in zip(SCORES, LABELS, strict=True)])
    assert found.differences["auc"].value == pytest.approx(expected)
    assert comparison.recordings == len(found.placed) == 16
    assert abs(found.placed[0].apart) == max(abs(p.apart) for p in found.placed)


def test_a_system_beside_itself_differs_by_nothing(tmp_path: Path) -> None:
    first = made(tmp_path, SCORES)
    shutil.copytree(first.path, tmp_path / "runs" / "again")
    comparison = read([first, Run.open(tmp_path / "runs" / "again")]).comparison
    assert comparison is not None
    (found,) = comparison.pairs
    difference = found.differences["auc"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert comparison.headline()[0] == "No difference that counts."
    assert {p.apart for p in found.placed} == {0.0}


def test_only_recordings_that_both_have_are_compared(tmp_path: Path) -> None:
    first = Factory(tmp_path / "a").section("00", SCORES, LABELS).section("02", SCORES, LABELS).write()
    second = Factory(tmp_path / "b").section("00", SCORES[:-1], LABELS[:-1]).write()
    comparison = read([configured(first, seed=0), configured(second, seed=0, preset="contrastive")]).comparison
    assert comparison is not None
    assert comparison.recordings == 7
    for study in comparison.studies:
        assert study is not None
        assert (study.normals, study.anomalies) == (4, 3)
        assert study.mean["auc"].value == pytest.approx(roc_auc_score(LABELS[:-1], SCORES[:-1]))


def test_without_labels_the_plant_comes_first(tmp_path: Path) -> None:
    runs = [Factory(tmp_path / n).section("00", [4.0, 6.0, 25.0], [None] * 3).write() for n in "ab"]
    report = read([configured(runs[0], preset="contrastive"), configured(runs[1], preset="finetune")])
    assert report.comparison is not None and not report.compared
    assert report.title() == report.headline()
    assert openings(report) == []
    assert next(t.title for t in tables_of(report)) == "Alarms by machine ID"
    page = Page(next(p.read_text() for p in finish(write(report, finish(look(report)), tmp_path / "out"))))
    assert page.errors == []
    assert "Systems on the same 3 recordings" in page.text


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=30, unique=True), st.integers(1, 3))
def test_percentiles_see_order_alone(scores: list[float], seeds: int) -> None:
    def rows(values: list[float]) -> list[ScoreRow]:
        return [ScoreRow(str(i), "pump", "00", None, None, v, 0.0, False) for i, v in enumerate(values)]

    plain = _percentiles([rows(scores)] * seeds)
    bent = _percentiles([rows([math.atan(v / 50) for v in scores])])
    if len({math.atan(v / 50) for v in scores}) == len(scores):
        assert plain == pytest.approx(bent)
    assert np.argsort(plain).tolist() == np.argsort(scores).tolist()
    assert np.mean(plain) == pytest.approx(50)


@given(st.lists(st.one_of(st.floats(0, 100), st.just(float("nan"))), max_size=12))
def test_best_and_second_by_what_is_printed(values: list[float]) -> None:
    marks = tables.ranks(values)
    printed = [None if math.isnan(v) else round(v + 1e-9, 2) for v in values]
    known = sorted({p for p in printed if p is not None}, reverse=True)
    assert len(marks) == len(values)
    assert all(mark == "" for p, mark in zip(printed, marks, strict=True) if p is None)
    if len(known) < 2:
        assert set(marks) <= {""}
        return
    assert {p for p, mark in zip(printed, marks, strict=True) if mark == "best"} == {known[0]}
    seconds = {p for p, mark in zip(printed, marks, strict=True) if mark == "second"}
    assert seconds == ({known[1]} if printed.count(known[0]) == 1 else set())


@given(st.lists(st.sampled_from(["97.72", "/", "–", " [", "]", "3", "a"]), max_size=8).map("".join))
def test_pieces_are_the_cell(text: str) -> None:
    table = tables.Table("", ("a",), ((text,),), marks={(0, 0): ("best", "second")})
    pieces = table.pieces(0, 0)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(re.fullmatch(r"\d+\.\d+", piece) for piece, mark in pieces if mark)


def test_marks_stay_within_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = read([made(tmp_path, SCORES)])
    monkeypatch.setattr(peers, "test_of", lambda _: ScoredTest(2020, "development", False))
    own, *others = peers.published(report)
    assert own.strong == {0} and own.rows[0][0] == SCORER
    column = own.columns.index("pump")
    for part in (0, 1):
        values = {}
        for i, row in enumerate(own.rows):
            figure = row[column].split("/")[part] if "/" in row[column] else "–"
            if figure != "–" and row[-1] != "yes":
                values[i] = float(figure)
        order = sorted(values, key=lambda i: -values[i])
        found = {own.marks.get((i, column), ("", ""))[part]: i for i in values}
        assert (found["best"], found["second"]) == (order[0], order[1])
    assert not any(own.rows[i][-1] == "yes" for i, _ in own.marks)
    assert all(t.marks == {} for t in others if "not stated" in t.title or "without saying" in t.title)
    assert "Mean AUC / pAUC on the development set" in peers.beside(report)


def tone(seed: int, hz: float) -> np.ndarray:
    t = np.arange(2 * RATE) / RATE
    return (hum(seed) + 0.05 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@pytest.mark.parametrize(("hz", "region", "verdict"), [(6000, (4000, 8000), "yes"), (1400, (1000, 2000), "no")])
def test_bands_find_where_the_anomalies_lie(
    tmp_path: Path, hz: float, region: tuple[float, float], verdict: str
) -> None:
    labels = [0] * 10 + [1] * 10
    waves = [hum(i) for i in range(10)] + [tone(10 + i, hz) for i in range(10)]
    run = Factory(tmp_path).section("00", [5.0] * 20, labels, waves=waves).write()
    found = finish(read_bands(read([run]).machines[0]))
    assert found is not None
    (there,) = [r for r in found.regions if (r.low_hz, r.high_hz) == region]
    assert there.auc.value == 1.0
    assert there.share == 1.0
    assert sum(r.share for r in found.regions) == pytest.approx(1)
    assert f"Here: {verdict}." in found.words()
    assert there.db[1] > there.db[0]
    for r in found.regions:
        assert r is there or r.auc.value < 0.95


def test_bands_of_recordings_that_are_gone(tmp_path: Path) -> None:
    run = made(tmp_path, SCORES)
    shutil.rmtree(tmp_path / "data")
    assert finish(read_bands(read([run]).machines[0])) is None


def test_sounds_are_the_top_and_the_most_wrong(tmp_path: Path) -> None:
    scores = [float(s) for s in range(24)]
    labels = [0] * 10 + [1, 1] + [0, 0] + [1] * 10
    run = Factory(tmp_path).section("00", scores, labels).write()
    report = read([run])
    (section,) = report.machines[0].sections
    chosen = _choose(section, SOUNDS_EACH)
    assert len(chosen) == SOUNDS_EACH
    assert [c.score for c, why in chosen if why == "highest score"] == [23, 22, 21, 20]
    assert [c.score for c, why in chosen if why == "least anomalous anomaly"] == [10, 11]
    assert [c.score for c, why in chosen if why == "most anomalous normal"] == [13, 12]
    (evidence,) = finish(look(report))
    assert [h.clip.score for h in evidence.heard] == [23, 22, 21, 20, 10, 11, 13, 12]
    assert len({h.sound.gain_db for h in evidence.heard}) == 1
    for heard in evidence.heard:
        decoded, rate = soundfile.read(io.BytesIO(heard.sound.content))
        assert rate == RATE
        assert abs(len(decoded) - 2 * RATE) <= 1000
    text = written(run, tmp_path / "out")["report.html"]
    assert Page(text).tags.count("audio") == SOUNDS_EACH + 2


def test_few_recordings_are_not_offered_twice(tmp_path: Path) -> None:
    (section,) = read([Factory(tmp_path).section("00", SCORES, LABELS).write()]).machines[0].sections
    names = [clip.name for clip, _ in _choose(section, SOUNDS_EACH)]
    assert len(names) == len(set(names)) <= 8


def test_cost_is_what_the_folder_tells(tmp_path: Path) -> None:
    run = made(tmp_path, SCORES)
    plain = cost_of(read([run]).machines[0])
    assert plain.network == "" and plain.parameters == 2 * 384 * 387 // 2

    header = {"a": {"shape": [3, 4]}, "bn.running_mean": {"shape": [9]}, "b": {"shape": [5]}, "__metadata__": {}}
    packed = json.dumps(header).encode()
    (run.path / "encoder.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed)
    (run.path / "metrics.jsonl").write_text('{"seconds": 40.0}\n{"seconds": 80.5}\n{"epoch": 3}\n')
    described = json.loads((run.path / "detector" / "detector.json").read_text()) | {"network": NETWORK}
    (run.path / "detector" / "detector.json").write_text(json.dumps(described))
    found = cost_of(read([run]).machines[0])
    assert (found.network, found.parameters, found.flops, found.seconds) == ("small", 17, None, 120.5)
    (run.path / "env.json").write_text(
        json.dumps({"cost": {"parameters": 99, "flops": 2_500_000_000}, "cpu": "A CPU", "cpus": 2, "gpus": ["A GPU"]})
    )
    noted = cost_of(read([run]).machines[0])
    assert noted.words() == "small, 99 parameters, 2.5 GFLOP a clip, 2 minutes of training, A CPU, 2 cores"
    (run.path / "env.json").write_text("{")
    (run.path / "encoder.safetensors").write_bytes(b"\xff" * 20)
    assert cost_of(read([run]).machines[0]).parameters is None


def origin(*runs: Run) -> Origin:
    return Origin(systems_of(read(runs).machines)[0])


def test_checksums_follow_content_and_labels(tmp_path: Path) -> None:
    run = made(tmp_path, SCORES)
    files = [{"path": f"{i}.wav", "sha256": str(i)} for i in range(5)]

    def sums(listed: list[dict[str, str | None]]) -> tuple[str | None, str]:
        (run.path / "env.json").write_text(json.dumps({"files": listed}))
        return origin(run).checksums()

    first = sums(files)  # type: ignore[arg-type]
    assert sums(files[::-1]) == first  # type: ignore[arg-type]
    assert sums([{**files[0], "sha256": "other"}, *files[1:]])[0] != first[0]
    assert sums([{**files[0], "sha256": None}, *files[1:]])[0] is None
    lines = (run.path / "recordings.jsonl").read_text()
    (run.path / "recordings.jsonl").write_text(lines.replace('"label": 0', '"label": 1', 1))
    assert sums(files)[1] != first[1]  # type: ignore[arg-type]


def test_selection_says_what_was_chosen_where(tmp_path: Path) -> None:
    run = Factory(tmp_path, "ToyCar").section("01", SCORES, LABELS).section("03", SCORES[::-1], LABELS)
    made_of = run.write(network=NETWORK)
    data = {"root": "/d", "machine": "ToyCar"}
    configured(made_of, method="contrastive", preset="contrastive", moco={"queue_size": 256}, data=data)
    found = origin(made_of)
    assert "queue size 256 for 512" in found.selection()
    assert "never chosen by scores" in found.selection()
    assert found.touched() == {("ToyCar", "01")}
    assert "encoder small for resnet50" in found.deviations()
    report = read([made_of])
    (opening,) = openings(report)
    (apart,) = [f for f in opening.figures if f.name == "On IDs that chose nothing"]
    assert apart.value == f"{100 * roc_auc_score(LABELS, SCORES[::-1]):.2f} %"
    assert found.tried().startswith("1 setting in 1 run")
    other = made_of.path.parent / "other"
    shutil.copytree(made_of.path, other)
    configured(Run.open(other), method="contrastive", preset="contrastive", data=data)
    seed = made_of.path.parent / "seed"
    shutil.copytree(made_of.path, seed)
    configured(Run.open(seed), method="contrastive", preset="contrastive", seed=4, data=data)
    assert origin(made_of).tried().startswith("2 settings in 3 runs of ToyCar were scored")
    configured(made_of, method="contrastive", preset="dcase2020", data=data)
    assert origin(made_of).touched() == frozenset()


def test_what_the_paper_leaves_open_is_said(tmp_path: Path) -> None:
    run = (
        Factory(tmp_path).section("00", SCORES, LABELS).write(network=NETWORK, left_open="dcase2020: temperature 0.07.")
    )
    assert "Dcase2020: temperature 0.07." in origin(run).deviations()
    assert "temperature 0.07" in written(run, tmp_path / "out")["report.md"]


def test_settings_of_another_version_are_no_stumbling_block(tmp_path: Path) -> None:
    run = made(tmp_path, SCORES, preset="contrastive", unheard_of=1)
    assert "another version" in origin(run).selection()
    written(run, tmp_path / "out")


def test_json_keeps_its_shape_and_adds(tmp_path: Path) -> None:
    figures = json.loads(written(made(tmp_path, SCORES), tmp_path / "out")["report.json"])
    assert set(figures) == {"machines", "mean", "beside", "plant", "study", "bands"}
    study = figures["study"]
    assert study["mean"]["auc"]["value"] == pytest.approx(figures["mean"]["auc"])
    assert study["worst_section"] == {"machine": "pump", "section": "02"}
    assert len(study["sha256_test_list"]) == 64
    assert set(study["differences"]) == {BESIDE}


def test_command_compares(tmp_path: Path) -> None:
    runs = pair(tmp_path)
    words = ["report", *(str(r.path) for r in runs), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "B (finetune) is ahead of A (contrastive)" in result.stdout
    assert "Paired differences" in result.stdout
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.errors == []
    assert all(a.startswith(("data:", "#")) for a in page.addresses)
    assert len(page.ids) == len(set(page.ids))
    assert page.labels == page.tags.count("svg") > 0
    assert 0 < page.tags.count("audio") <= SOUNDS_EACH
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(found["comparison"]["systems"]) == {"A", "B"}
    assert found["comparison"]["differences"]["B - A"]["auc"]["value"] > 0
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout) == found


def test_latex_of_a_comparison_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here (texlive-latex-base)")
    report = read(pair(tmp_path))
    finish(write(report, finish(look(report)), tmp_path / "out"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_chromium_has_nothing_to_complain_of(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    run = made(tmp_path, SCORES)
    written(run, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").as_uri()
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", profile]
    command = [browser, *quiet, "--virtual-time-budget=2000", "--dump-dom", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Machine sound report" in done.stdout
    assert "CONSOLE" not in done.stderr
