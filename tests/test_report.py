"""The report, on run folders written here from generated recordings, and on the real ones."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from asd import features
from asd.cli import app
from asd.config import FeatureSpec
from asd.detect.pooled import pool
from asd.errors import DataError, RunFolderError
from asd.report import formats, look, peers, read, tables, tables_of, write
from asd.report.deviation import Profile, find_regions
from asd.runs import Run, ScoreRow, write_jsonl, write_npz, write_scores, write_text

RATE = 16_000
SPEC = FeatureSpec(clip_seconds=2.0)
STEP = SPEC.hop_length / SPEC.sample_rate
NASTY = 'a <script>alert(1)<∕script> & "b" _{50%} |$x^2$~#.wav'
TYPICAL = 5.55
"""Median score of the normals made here."""

SCORER, BESIDE = "baseline-siblings", "baseline-alone"


def hum(seed: int, seconds: float = 2.0, whine: float = 0.0, knock: float | None = None) -> np.ndarray:
    """A machine: hum and noise; with a whine at 3 kHz, or 0.3 s of noise at `knock` seconds."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    wave = 0.05 * np.sin(2 * np.pi * 120 * t) + 0.01 * rng.standard_normal(len(t))
    wave += whine * np.sin(2 * np.pi * 3000 * t)
    if knock is not None:
        wave[round(knock * RATE) : round((knock + 0.3) * RATE)] *= 10
    return wave.astype(np.float32)


class Factory:
    """Writes a run folder: recordings, log-mel statistics, and the scores that the test asks for."""

    def __init__(self, root: Path, machine: str = "pump") -> None:
        self.root, self.machine = root / "data", machine
        self.path = root / "runs" / machine
        self.sections: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
        self.threshold = 10.0
        self.detector: dict[str, Any] = {}

    def section(
        self,
        name: str,
        scores: Sequence[float],
        labels: Sequence[int | None],
        names: Sequence[str] | None = None,
        times: Sequence[datetime] | None = None,
        waves: Sequence[np.ndarray] | None = None,
        normals: int = 12,
        **health: Any,
    ) -> Factory:
        train, test = [], []
        for i in range(normals):
            wave = hum(1000 + i + 100 * len(self.sections))
            row = self._row(f"{self.machine}/train/normal_id_{name}_{i:08d}.wav", name, wave, 5 + i / 10, 0)
            train.append(row | {"anomalous": False})
        for i, (score, label) in enumerate(zip(scores, labels, strict=True)):
            kind = {0: "normal_", 1: "anomaly_", None: ""}[label]
            file = names[i] if names else f"{self.machine}/test/{kind}id_{name}_{i:08d}.wav"
            row = self._row(file, name, waves[i] if waves else hum(i), score, label)
            row |= {"nearest": train[0]["file"], **{k: v[i] for k, v in health.items()}}
            if times:
                row |= {"time": times[i].isoformat(), "time_source": "name"}
            test.append(row)
        self.sections[name] = train, test
        return self

    def _row(self, name: str, section: str, wave: np.ndarray, score: float, label: int | None) -> dict[str, Any]:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, wave, RATE, subtype="PCM_16")
        rms, peak = float(np.sqrt(np.mean(wave**2))), float(np.abs(wave).max())
        return {
            "path": name,
            "file": str(file),
            "machine": self.machine,
            "section": section,
            "domain": None,
            "label": label,
            "score": float(score),
            "threshold": self.threshold,
            "severity": (float(score) - TYPICAL) / (self.threshold - TYPICAL),
            "anomalous": bool(score > self.threshold),
            "windows": [[0.0, float(score)]],
            "nearest": None,
            "time": None,
            "time_source": None,
            "seconds": len(wave) / RATE,
            "rate": RATE,
            "channels": 1,
            "rms_dbfs": 20 * math.log10(rms),
            "peak_dbfs": 20 * math.log10(peak),
            "clipped": 0.0,
            "silent": False,
            "truncated": False,
        }

    def write(self, beside: bool = True, **detector: Any) -> Run:
        profile: dict[str, Any] = {"hz": features.mel_centres(SPEC)}
        embeddings: dict[str, Any] = {}
        about = {}
        for name, (train, _) in self.sections.items():
            files = [r["file"] for r in train]
            logmels_BFT = np.stack([r.logmel_WFT[0] for r in features.read_recordings(files, SPEC)])  # type: ignore[union-attr]
            profile |= {
                f"{name}/mean": logmels_BFT.mean((0, 2)),
                f"{name}/std": logmels_BFT.std((0, 2)),
                f"{name}/clip_std": logmels_BFT.mean(2).std(0),
            }
            embeddings |= {f"{name}/train": pool(logmels_BFT), f"{name}/train_files": np.array(files)}
            about[name] = {
                "threshold": self.threshold,
                "false_alarm_rate": 0.01,
                "interval": [0.0, 0.1],
                "n_normals": len(train),
                "support": len(train),
            }
        tests = [r for _, test in self.sections.values() for r in test]
        rows = [ScoreRow(**{k: r[k] for k in ScoreRow.__slots__}) for r in tests]
        described = {
            "format": 1,
            "machine": self.machine,
            "scorer": SCORER,
            "beside": [BESIDE] if beside else [],
            "aggregate": "top",
            "false_alarm_rate": 0.01,
            "frames": SPEC.frames,
            "spec": SPEC.model_dump(mode="json"),
            "sections": about,
            "method": "baseline",
            "data_root": str(self.root),
            "synthetic": False,
            **detector,
        }
        (self.path / "detector").mkdir(parents=True)
        write_text(self.path / "config.toml", "")
        write_text(self.path / "DONE", "")
        write_text(self.path / "detector" / "detector.json", json.dumps(described))
        write_npz(self.path / "profile.npz", profile)
        write_npz(self.path / "embeddings.npz", embeddings)
        write_jsonl(self.path / "normals.jsonl", [r for train, _ in self.sections.values() for r in train])
        write_jsonl(self.path / "recordings.jsonl", tests)
        write_scores(self.path / "scores.csv", rows)
        if beside:
            turned = [ScoreRow(**{k: getattr(r, k) for k in ScoreRow.__slots__} | {"score": -r.score}) for r in rows]
            write_scores(self.path / f"scores-{BESIDE}.csv", turned)
        return Run.open(self.path)


SCORES = [4.0, 6.0, 11.0, 5.0, 12.0, 30.0, 7.0, 5.5]
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.fixture
def labelled(tmp_path: Path) -> Run:
    waves = [hum(i) for i in range(len(SCORES))]
    waves[5] = hum(5, whine=0.05)
    return Factory(tmp_path).section("00", SCORES, LABELS, waves=waves).section("02", SCORES[::-1], LABELS).write()


def finish(work: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def written(run: Run, folder: Path) -> dict[str, str]:
    report = read([run])
    files = finish(write(report, finish(look(report)), folder))
    return {f.name: f.read_text(encoding="utf-8") for f in files}


VOID = {"meta", "link", "br", "img", "input", "path", "use", "image"}


class Page(HTMLParser):
    """What a browser would load, run, and could not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.errors: list[str] = []
        self.labels = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.addresses += [given[k] or "" for k in ("src", "href", "xlink:href", "poster", "data") if k in given]
        self.ids += [given["id"] or ""] if "id" in given else []
        self.labels += tag == "svg" and bool(given.get("aria-label"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"{tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_figures_equal_scikit_learn(labelled: Run, tmp_path: Path) -> None:
    files = written(labelled, tmp_path / "out")
    expected = {
        "00": (roc_auc_score(LABELS, SCORES), roc_auc_score(LABELS, SCORES, max_fpr=0.1)),
        "02": (roc_auc_score(LABELS, SCORES[::-1]), roc_auc_score(LABELS, SCORES[::-1], max_fpr=0.1)),
    }
    figures = json.loads(files["report.json"])
    for section, (auc, pauc) in expected.items():
        assert figures["machines"]["pump"][section]["auc"] == auc
        assert figures["machines"]["pump"][section]["pauc"] == pauc
    assert figures["mean"]["auc"] == pytest.approx(np.mean([a for a, _ in expected.values()]), abs=1e-12)
    beside = figures["beside"][BESIDE]["machines"]["pump"]["00"]["auc"]
    assert beside == pytest.approx(1 - expected["00"][0], abs=1e-12)

    rows = list(csv.DictReader(io.StringIO(files["report.csv"])))
    primary = {r["section"]: float(r["auc"]) for r in rows if r["scorer"] == SCORER}
    assert primary == {s: auc for s, (auc, _) in expected.items()}
    assert {r["section"]: int(r["alarms"]) for r in rows if r["scorer"] == SCORER} == {"00": 3, "02": 3}

    auc, pauc = (f"{100 * value:.2f}" for value in expected["00"])
    assert f"| pump | 00 | {auc} | {pauc} |" in files["report.md"]
    assert f"pump & 00 & {auc} & {pauc} &" in files["report.tex"]
    assert f'<td>00</td><td class="n">{auc}</td><td class="n">{pauc}</td>' in files["report.html"]


def test_json_has_the_shape_of_metrics_json(labelled: Run) -> None:
    figures = read([labelled]).json()
    assert set(figures) == {"machines", "mean", "beside", "plant"}
    assert set(figures["machines"]["pump"]["00"]) == {
        "auc", "pauc", "auc_source", "auc_target", "n_normal", "n_anomaly"
    }  # fmt: skip
    assert figures["machines"]["pump"]["00"]["auc_source"] is None
    assert set(figures["mean"]) == {"auc", "pauc"}
    plant = figures["plant"]["pump"]["00"]
    assert plant["recordings"] == 8
    assert plant["alarms"] == 3
    assert plant["expected_by_chance"] == pytest.approx(0.08)
    json.dumps(figures, allow_nan=False)


def test_page_is_whole_and_alone(labelled: Run, tmp_path: Path) -> None:
    text = written(labelled, tmp_path / "out")["report.html"]
    page = Page(text)
    assert page.errors == []
    assert page.open == []
    assert all(a.startswith(("data:", "#")) for a in page.addresses), "the page loads something from elsewhere"
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert all(a[1:] in page.ids for a in page.addresses if a.startswith("#"))
    assert page.tags.count("audio") == 2 + 12  # the worst, its nearest normal; six recordings of each ID
    assert page.labels == page.tags.count("svg") > 0
    assert page.tags.count("caption") == page.tags.count("table")
    assert "6 of 16 recordings sound wrong." in page.text
    assert len(text) < 5e6


def test_names_are_only_text(tmp_path: Path) -> None:
    names = [NASTY, "b.wav", "c.wav"]
    run = Factory(tmp_path).section("00", [30.0, 4.0, 5.0], [None] * 3, names=names).write()
    files = written(run, tmp_path / "out")
    page = Page(files["report.html"])
    assert "script" not in page.tags
    assert page.errors == []
    assert NASTY in page.text
    assert "<script" not in files["report.md"]
    assert re.search(r"(?<!\\)\|\$x", files["report.md"]) is None
    assert r"\_\{50\%\}" in files["report.tex"]
    assert r"\$x\textasciicircum{}2\$" in files["report.tex"]


def test_latex_compiles(tmp_path: Path) -> None:
    names = [NASTY, "日本語.wav", "c.wav", "d.wav"]
    run = Factory(tmp_path).section("00", [30.0, 4.0, 5.0, 6.0], [1, 1, 0, 0], names=names).write()
    text = written(run, tmp_path / "out")["report.tex"]
    assert text.count(r"\begin{") == text.count(r"\end{")
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    for line in text.splitlines():
        if line.endswith(r"\\") and "&" in line:
            assert not re.search(r"(?<!\\)[#$~^]", re.sub(r"\$(\\times|-)\$", "", line))
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here (texlive-latex-base)")
    (tmp_path / "r.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "r.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "r.pdf").stat().st_size > 1000


def test_without_known_anomalies(tmp_path: Path) -> None:
    run = Factory(tmp_path).section("00", [4.0, 6.0, 25.0], [None] * 3).write()
    report = read([run])
    assert report.figures["mean"] == {"auc": None, "pauc": None}
    assert not report.labelled
    assert [t.title for t in tables_of(report)][-1].startswith("Highest-scored of 3 recordings")
    text = Page(written(run, tmp_path / "out")["report.html"]).text
    assert "1 of 3 recordings sounds wrong." in text
    assert "About 0.03 would by chance." in text
    assert "no AUC" in text
    assert "ROC" not in text


def test_one_class_has_no_auc(tmp_path: Path) -> None:
    run = Factory(tmp_path).section("00", [4.0, 20.0], [1, 1]).write()
    report = read([run])
    assert report.figures["machines"]["pump"]["00"]["auc"] is None
    assert report.figures["machines"]["pump"]["00"]["n_anomaly"] == 2
    assert report.machines[0].found() == "Known anomalies: 1 of 2 found."
    written(run, tmp_path / "out")


def test_a_recording_that_is_gone_leaves_a_sentence(labelled: Run, tmp_path: Path) -> None:
    worst = read([labelled]).machines[0].ranked[0]
    worst.file.unlink()
    text = written(labelled, tmp_path / "out")["report.html"]
    page = Page(text)
    assert page.errors == []
    assert f"{worst.file}: not shown, because it cannot be read any more" in page.text
    assert page.tags.count("audio") == 1 + 11  # the nearest normal is still there, and the others to listen to
    assert "louder than normal" not in page.text  # the whine was in the clip that is gone


def test_all_recordings_gone(labelled: Run, tmp_path: Path) -> None:
    shutil.rmtree(read([labelled]).machines[0].ranked[0].file.parents[2])
    page = Page(written(labelled, tmp_path / "out")["report.html"])
    assert page.errors == []
    assert page.tags.count("audio") == 0
    assert "6 of 16 recordings sound wrong." in page.text


def test_ready_logmels_have_no_sound(data_root: Path, tmp_path: Path) -> None:
    root = str(data_root / "toycar_logmel")
    words = ["train", "--machine", "ToyCar", "--id", "01", "--data", root, "--runs", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    run = tmp_path / "ToyCar-01"
    assert CliRunner().invoke(app, ["score", str(run)]).exit_code == 0
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.output
    assert "hold no sound" in result.output
    page = Page((run / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.errors == []
    assert page.tags.count("audio") == 0
    # A part of the development set is not the development set: rows are shown, ours is not among them.
    assert "not one of its test sets" in page.text
    (report,) = [read([Run.open(run)])]
    published = peers.published(report)
    assert len(published) == 3
    assert not any(t.strong for t in published)
    assert report.figures["mean"]["auc"] > 0.9


def test_real_wavs_end_to_end(data_root: Path, tmp_path: Path) -> None:
    wavs = data_root / "dcase2020_wavs"
    for words in (
        ["train", "--machine", "slider", "--id", "00", "--data", str(wavs), "--runs", str(tmp_path)],
        ["score", str(tmp_path / "slider-00")],
        ["report", "slider-00", "--runs-dir", str(tmp_path), "--per-day", "24"],
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    assert "1 % of 24 recordings a day, as given" in result.output
    assert "Next: " in result.output
    page = Page((tmp_path / "slider-00" / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.errors == []
    assert page.tags.count("audio") == 2 + 6


def test_synthetic_machines_stand_beside_no_published_rows(labelled: Run, tmp_path: Path) -> None:
    report = read([labelled])
    assert len(peers.published(report)) == 3  # the layout and the names are those of the challenge
    file = labelled.path / "detector" / "detector.json"
    file.write_text(file.read_text().replace('"synthetic": false', '"synthetic": true'))
    report = read([labelled])
    assert peers.published(report) == []
    assert "synthetic" in peers.incomparable(report)


def test_rows_of_the_scored_split_stand_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = [*rng.normal(5, 1, 100), *rng.normal(8, 1, 20)]
    labels = [0] * 100 + [1] * 20
    wave = [hum(0)] * 120
    run = Factory(tmp_path, "fan").section("00", scores, labels, waves=wave).write()
    report = read([run])
    first, *others = peers.published(report)
    assert "development set, the one that was scored here" in first.title
    assert first.rows[0][:2] == (SCORER, "this report")
    assert first.rows[0][2].startswith(f"{100 * roc_auc_score(labels, scores):.2f}/")
    assert first.rows[0][3] == tables.NONE  # one machine is not the average of six
    assert not any(t.strong for t in others)
    assert all("not comparable" in t.title for t in others)
    methods = [r[0] for t in others for r in t.rows]
    assert "Top-1 of the challenge (Giri)" in methods
    assert "GeCo" in [r[0] for r in first.rows]
    assert peers.incomparable(report) == ""


def test_since_when(tmp_path: Path) -> None:
    start = datetime(2024, 5, 3, 6)
    times = [start + timedelta(minutes=10 * i) for i in range(6)]
    # Written out of order, to show that time decides and not the list.
    order = [3, 0, 5, 1, 4, 2]
    scores = [4.0, 12.0, 4.0, 12.0, 12.0, 12.0]
    run = (
        Factory(tmp_path).section("00", [scores[i] for i in order], [None] * 6, times=[times[i] for i in order]).write()
    )
    (since,) = read([run]).machines[0].since
    assert (since.first, since.last, since.count, since.after) == (times[3], times[5], 3, 0)
    assert since.words() == "Since 3 May 2024, 06:30 (3 in a row, up to the latest; time stamp in the name)."


def test_the_last_alarm_is_over(tmp_path: Path) -> None:
    times = [datetime(2024, 5, 3, 6) + timedelta(minutes=10 * i) for i in range(5)]
    run = Factory(tmp_path).section("00", [4.0, 12.0, 12.0, 4.0, 4.0], [None] * 5, times=times).write()
    (since,) = read([run]).machines[0].since
    assert since.words() == (
        "Last alarm 3 May 2024, 06:10 to 06:20 (2 in a row; time stamp in the name); "
        "the 2 recordings after that sound normal."
    )


def test_times_of_a_copy_say_nothing(tmp_path: Path) -> None:
    now = datetime(2024, 5, 3, 6)
    factory = Factory(tmp_path).section("00", [4.0, 12.0, 5.0], [None] * 3, times=[now] * 3)
    machine = read([factory.write()]).machines[0]
    assert machine.since == ()
    assert machine.no_since == "Since when is not known: all recordings bear the same time."

    late = Factory(tmp_path / "b").section("00", [4.0, 12.0, 5.0], [None] * 3)
    for i, r in enumerate(late.sections["00"][1]):
        r |= {"time": (now + timedelta(milliseconds=i)).isoformat(), "time_source": "file"}
    assert "times are those of a copy" in read([late.write()]).machines[0].no_since


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ([5.0] * 100, "normal"),
        ([5.0] * 99 + [11.0], "normal"),  # one alarm in a hundred is what chance gives
        ([5.0] * 97 + [11.0] * 3, "listen"),
        ([5.0] * 60 + [11.0] * 40, "wrong"),  # more than the upper end of the interval, 10 %, explains
        ([5.0] * 99 + [40.0], "wrong"),  # one, but far off
    ],
)
def test_verdict(tmp_path: Path, scores: list[float], verdict: str) -> None:
    wave = [hum(0)] * len(scores)
    run = Factory(tmp_path).section("00", scores, [None] * len(scores), waves=wave).write()
    assert read([run]).machines[0].verdict == verdict


def test_a_silent_recording_is_no_verdict_on_the_machine(tmp_path: Path) -> None:
    run = Factory(tmp_path).section("00", [5.0, 90.0, 6.0], [None] * 3, silent=[False, True, False]).write()
    machine = read([run]).machines[0]
    assert machine.verdict == "normal"
    assert not machine.ranked[0].silent
    assert machine.faulty() == ""
    assert any("microphone" in text for text in machine.advice)


def test_silent_recordings_are_named_and_not_judged(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(8)]
    silent = [False, True, False, False, False, False, True, False]
    scores = [5.0, 90.0, 6.0, 11.0, 5.0, 5.0, 4.0, 6.0]
    run = Factory(tmp_path).section("00", scores, [None] * 8, names=names, silent=silent).write()
    report = read([run])
    (machine,) = report.machines
    assert report.headline() == "1 of 6 recordings sounds wrong. About 0.06 would by chance."
    assert machine.unjudged() == "2 recordings are silent and not judged: 1.wav (and 1 more)."
    plant = report.json()["plant"]["pump"]["00"]
    assert (plant["recordings"], plant["silent"], plant["alarms"]) == (6, 2, 1)
    assert tables.machines(report).rows[0][3:6] == ("6", "1", "0.06")
    shown = tables.ranked(machine, 5)
    assert [(r[0], r[-1]) for r in shown.rows[-2:]] == [("1.wav", "silent"), ("6.wav", "silent")]
    assert [r[0] for r in shown.rows[:3]] == ["3.wav", "2.wav", "7.wav"]
    assert "measured by their own ID's limit" in shown.note
    files = written(run, tmp_path / "out")
    assert machine.unjudged() in Page(files["report.html"]).text
    assert machine.unjudged().replace("_", r"\_") in files["report.md"]
    (line,) = [r for r in csv.DictReader(io.StringIO(files["report.csv"])) if r["scorer"] == SCORER]
    assert (line["recordings"], line["silent"], line["alarms"]) == ("6", "2", "1")
    result = CliRunner().invoke(app, ["report", str(run.path)])
    assert "2 recordings are silent and not judged: 1.wav (and 1 more)." in result.stdout


def test_only_silent_recordings(tmp_path: Path) -> None:
    run = Factory(tmp_path).section("00", [90.0, 80.0], [None] * 2, silent=[True, True]).write()
    report = read([run])
    assert report.machines[0].verdict == "unjudged"
    assert report.headline() == "No recording could be judged: all are silent."
    page = Page(written(run, tmp_path / "out")["report.html"])
    assert page.errors == []
    assert "Sounds wrong" not in page.text


def test_a_silent_recording_is_neither_in_a_run_of_alarms_nor_its_end(tmp_path: Path) -> None:
    times = [datetime(2024, 5, 3, 8) + timedelta(minutes=10 * i) for i in range(7)]
    scores = [4.0, 90.0, 12.0, 4.0, 12.0, 12.0, 90.0]
    silent = [False, True, False, True, False, False, True]
    factory = Factory(tmp_path).section("00", scores, [None] * 7, times=times, silent=silent)
    (since,) = read([factory.write()]).machines[0].since
    assert (since.first, since.last, since.count, since.after) == (times[2], times[5], 3, 0)


@pytest.mark.parametrize(
    ("rate", "support", "wanted"), [(0.03, 75, 0), (0.01, 75, 24), (0.01, 99, 0), (0.05, 18, 1), (0.05, 19, 0)]
)
def test_advice_counts_the_normals_that_a_rate_needs(tmp_path: Path, rate: float, support: int, wanted: int) -> None:
    run = Factory(tmp_path).section("00", [5.0], [None]).write()
    file = run.path / "detector" / "detector.json"
    detector = json.loads(file.read_text())
    detector["sections"]["00"] |= {"false_alarm_rate": rate, "support": support}
    file.write_text(json.dumps(detector))
    asked = [text for text in read([run]).machines[0].advice if "more normal clip" in text]
    assert [text.split()[1] for text in asked] == ([str(wanted)] if wanted else [])


def test_health_and_advice(tmp_path: Path) -> None:
    run = (
        Factory(tmp_path)
        .section(
            "00",
            [5.0, 6.0, 7.0],
            [None] * 3,
            clipped=[0.0, 0.01, 0.0],
            truncated=[False, False, True],
            rate=[16_000, 16_000, 48_000],
            channels=[1, 2, 1],
            rms_dbfs=[-10.0, -11.0, -12.0],
        )
        .write()
    )
    machine = read([run]).machines[0]
    assert machine.health.clipped == 1
    assert machine.health.truncated == 1
    assert dict(machine.health.rates) == {16_000: 2, 48_000: 1}
    assert machine.health.verdict() == "1 clipped, 1 cut short"
    advice = "\n".join(machine.advice)
    assert "Record 87 more normal clips of 2 s" in advice  # 12 are there, 99 show 1 %
    assert "12 cannot show a false-alarm rate of 1 %, 99 can. Now it lies between 0 % and 10 % (95 %)." in advice
    assert "Lower the recording gain: 1 recording is clipped." in advice
    assert "the normals have 16 kHz, these recordings 16 and 48 kHz" in advice
    assert "dB louder than the normals" in advice
    assert "Only channel 0 was heard" in advice
    assert "second machine of this type" in advice


def test_false_alarms_a_day(tmp_path: Path) -> None:
    run = Factory(tmp_path).section("00", [5.0, 6.0], [None] * 2).write()
    without_pause = read([run]).machines[0].false_alarms
    assert without_pause.per_day == 43_200  # recordings of 2 s
    assert (without_pause.expected(), without_pause.range()) == ("432", "(95 %: 0 to 4,320)")
    assert "as if listening without pause; --per-day N tells" in without_pause.basis()
    given = read([run], per_day=100).machines[0].false_alarms
    assert (given.expected(), given.range()) == ("1", "(95 %: 0 to 10)")


def test_time_stamps_tell_the_recordings_a_day(tmp_path: Path) -> None:
    start = datetime(2024, 5, 3, 6)
    times = [start + timedelta(minutes=m) for m in (20, 0, 10, 30, 300, 310)]
    run = Factory(tmp_path).section("00", [5.0] * 6, [None] * 6, times=times).write()
    expected = read([run]).machines[0].false_alarms
    assert expected.per_day == 144  # the pause of hours does not count: the median gap is ten minutes
    assert expected.basis() == "1 % of 144 recordings a day, by their time stamps."
    assert read([run], per_day=24).machines[0].false_alarms.basis() == "1 % of 24 recordings a day, as given."

    few = Factory(tmp_path / "few").section("00", [5.0] * 2, [None] * 2, times=times[:2]).write()
    assert read([few]).machines[0].false_alarms.source == "assumed"
    stub = Factory(tmp_path / "stub").section("00", [5.0], [None], waves=[hum(0, 0.5)]).write()
    assert read([stub]).machines[0].false_alarms.per_day == 43_200  # a window is 2 s


def test_domains_have_their_own_auc(tmp_path: Path) -> None:
    labels, domains = [0, 0, 0, 0, 1, 1], ["source", "source", "target", "target", None, None]
    scores = [4.0, 5.0, 9.0, 13.0, 12.0, 8.0]
    run = Factory(tmp_path).section("00", scores, labels, domain=domains).write()
    table = tables.figures(read([run]))
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert (cells["AUC source"], cells["AUC target"]) == ("100.00", "25.00")
    assert (cells["normals"], cells["anomalies"]) == ("4 *", "2 *")
    assert "AUC source: normals of the source domain against all anomalies" in table.note
    assert "few clips: an interval of ±0.1 and more must be expected" in table.note
    files = written(run, tmp_path / "out")
    assert all("AUC source" in files[name] for name in ("report.html", "report.md", "report.tex"))
    (line,) = [r for r in csv.DictReader(io.StringIO(files["report.csv"])) if r["scorer"] == SCORER]
    assert (float(line["auc_source"]), float(line["auc_target"])) == (1.0, 0.25)


def test_many_clips_without_domains_need_no_footnote(tmp_path: Path) -> None:
    scores, labels = [*range(12), *range(6, 18)], [0] * 12 + [1] * 12
    run = Factory(tmp_path).section("00", [float(s) for s in scores], labels, waves=[hum(0)] * 24).write()
    table = tables.figures(read([run]))
    assert "few clips" not in table.note
    assert "AUC source" not in table.columns


def test_skipped_files_are_named(tmp_path: Path) -> None:
    gone = {"file": "/x/broken.wav", "reason": "truncated header"}
    run = Factory(tmp_path).section("00", [5.0, 6.0], [None] * 2).write(skipped=[gone])
    write_text(run.path / "metrics.json", json.dumps({"skipped": [gone | {"file": "/x/empty.wav"}]}))
    text = Page(written(run, tmp_path / "out")["report.html"]).text
    assert "/x/broken.wav: left out of training (truncated header)." in text
    assert "/x/empty.wav: left out of scoring (truncated header)." in text


def test_several_runs_in_one_report(tmp_path: Path) -> None:
    runs = [
        Factory(tmp_path / m, m).section("00", SCORES, LABELS).write(beside=beside)
        for m, beside in (("fan", True), ("valve", False))
    ]
    report = read(runs)
    assert [m.name for m in report.machines] == ["fan", "valve"]
    assert set(report.figures["machines"]) == {"fan", "valve"}
    last = tables.figures(report).rows[-1]
    assert last[0] == "mean of machines"
    assert last[4:6] == (tables.NONE, tables.NONE)  # the other scorer lacks a machine: no mean over fewer
    auc = roc_auc_score(LABELS, SCORES)
    assert tables.winner(report) == (
        f"{SCORER} is ahead of {BESIDE} by {100 * (2 * auc - 1):.2f} points of mean AUC on fan."
    )


def test_runs_of_the_same_machine_are_told_apart(tmp_path: Path) -> None:
    runs = [Factory(tmp_path / "a").section("00", SCORES, LABELS).write()]
    shutil.copytree(runs[0].path, tmp_path / "runs" / "pump-again")
    report = read([*runs, Run.open(tmp_path / "runs" / "pump-again")])
    assert [m.name for m in report.machines] == ["pump (pump)", "pump (pump-again)"]
    assert set(report.figures["machines"]) == {"pump (pump)", "pump (pump-again)"}


def test_long_recording_shows_its_worst_window(tmp_path: Path) -> None:
    factory = Factory(tmp_path).section("00", [12.0, 4.0], [None] * 2, waves=[hum(0, 8, knock=5.2), hum(1)])
    factory.sections["00"][1][0]["windows"] = [[float(s), 30.0 if s == 5 else 4.0] for s in range(7)]
    report = read([factory.write()])
    (evidence,) = finish(look(report))
    worst = evidence.looks[0]
    assert worst.start == 5.0
    assert worst.logmel_FT.shape == (SPEC.n_mels, SPEC.frames)
    assert not worst.regions[0].all_time
    assert 5.0 <= worst.start + worst.regions[0].start <= 5.4
    assert "louder than normal" in worst.words()
    sound = evidence.worst_sound
    assert sound is not None
    decoded, rate = soundfile.read(io.BytesIO(sound.content))
    assert rate == RATE
    assert abs(len(decoded) - 2 * RATE) <= 1000
    loud = np.sqrt(np.mean(decoded[round(0.25 * RATE) : round(0.45 * RATE)] ** 2))
    assert loud > 5 * np.sqrt(np.mean(decoded[RATE:] ** 2))  # the knock is in it, at 5.2 s


def test_both_sounds_have_one_gain(labelled: Run) -> None:
    (evidence,) = finish(look(read([labelled])))
    assert evidence.worst_sound is not None and evidence.nearest_sound is not None
    assert evidence.worst_sound.gain_db == evidence.nearest_sound.gain_db
    waves = [soundfile.read(io.BytesIO(s.content))[0] for s in (evidence.worst_sound, evidence.nearest_sound)]
    files = [evidence.looks[0].clip.file, evidence.nearest.clip.file]  # type: ignore[union-attr]
    stored = [soundfile.read(f)[0] for f in files]
    gain = 10 ** (evidence.worst_sound.gain_db / 20)
    for heard, original in zip(waves, stored, strict=True):
        assert np.std(heard) == pytest.approx(gain * np.std(original), rel=0.1)


def profile() -> Profile:
    logmels_BFT = features.logmel(np.stack([hum(i) for i in range(40)]), SPEC).astype(np.float64)
    return Profile(
        logmels_BFT.mean((0, 2)),
        logmels_BFT.std((0, 2)),
        logmels_BFT.mean(2).std(0),
        features.mel_centres(SPEC),
        np.diff(logmels_BFT, axis=2).std(2),
    )


def test_deviation_finds_a_steady_tone() -> None:
    found = find_regions(features.logmel(hum(99, whine=0.02)[None], SPEC)[0], profile(), STEP)
    tone = found[0]
    assert tone.low_hz < 3000 < tone.high_hz
    assert tone.high_hz - tone.low_hz < 600
    assert tone.all_time
    assert abs(tone.peak_hz - 3000) < 100
    assert tone.db > 6
    assert "louder than normal at" in tone.words()


def test_deviation_finds_a_moment() -> None:
    found = find_regions(features.logmel(hum(99, knock=0.8)[None], SPEC)[0], profile(), STEP)
    knock = max(found, key=lambda r: r.excess)
    assert 0.65 <= knock.start <= 0.85
    assert 1.05 <= knock.end <= 1.25
    assert knock.peak_db == pytest.approx(20, abs=4)  # ten times the amplitude
    assert 12 < knock.db < knock.peak_db  # less at its edges


def test_deviation_finds_what_is_missing() -> None:
    t = np.arange(2 * RATE) / RATE
    quiet = hum(99) - 0.05 * np.sin(2 * np.pi * 120 * t).astype(np.float32)
    found = find_regions(features.logmel(quiet[None].astype(np.float32), SPEC)[0], profile(), STEP)
    assert found[0].low_hz < 120 < found[0].high_hz
    assert found[0].db < -6
    assert "quieter than normal" in found[0].words()


def test_deviation_leaves_normals_alone() -> None:
    known = profile()
    fresh = features.logmel(np.stack([hum(i) for i in range(500, 560)]), SPEC)
    marked = sum(bool(find_regions(x_FT, known, STEP)) for x_FT in fresh)
    assert marked <= 6


def test_scoring_comes_first(labelled: Run) -> None:
    (labelled.path / "scores.csv").unlink()
    with pytest.raises(RunFolderError) as error:
        read([labelled])
    assert error.value.hint == f"asd score {labelled.path}"


def test_files_that_do_not_belong_together(labelled: Run) -> None:
    lines = (labelled.path / "recordings.jsonl").read_text().splitlines()
    (labelled.path / "recordings.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="lists other recordings"):
        read([labelled])


def test_scores_of_two_scorings_do_not_mix(labelled: Run) -> None:
    file = labelled.path / "recordings.jsonl"
    first, *rest = file.read_text().splitlines()
    changed = json.loads(first)
    changed["score"] += 1.0
    file.write_text("\n".join([json.dumps(changed), *rest]) + "\n")
    with pytest.raises(DataError, match="other recordings or scores"):
        read([labelled])
    file.write_text("\n".join([first, *rest]) + "\n")
    beside = labelled.path / "scores-baseline-alone.csv"
    beside.write_text("".join(beside.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="scores-baseline-alone"):
        read([labelled])


@pytest.mark.parametrize("damage", ["{", "{}", '{"spec": {"n_mels": -1}}'])
def test_a_damaged_detector_is_named(labelled: Run, damage: str) -> None:
    (labelled.path / "detector" / "detector.json").write_text(damage)
    with pytest.raises(DataError, match=re.escape(str(labelled.path))):
        read([labelled])


def test_command(labelled: Run, tmp_path: Path) -> None:
    runs = str(labelled.path.parent)
    result = CliRunner().invoke(app, ["report", "--runs-dir", runs])
    assert result.exit_code == 0, result.output
    assert "6 of 16 recordings sound wrong. About 0.16 would by chance." in result.stdout
    assert re.search(rf"Next: .*{labelled.path / 'report' / 'report.html'}", result.stderr)
    assert {f.name for f in (labelled.path / "report").iterdir()} == {
        "report.html", "report.md", "report.csv", "report.tex", "report.json"
    }  # fmt: skip

    result = CliRunner().invoke(app, ["report", str(labelled.path), "--json", "--out", str(tmp_path / "elsewhere")])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["plant"]["pump"]["00"]["alarms"] == 3
    assert (tmp_path / "elsewhere" / "report.html").is_file()


def test_command_errors(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", "--runs-dir", str(tmp_path)])
    assert result.exit_code == 4
    assert "no run here that was scored" in result.output
    result = CliRunner().invoke(app, ["report", str(tmp_path / "nothing")])
    assert result.exit_code == 4
    run = Factory(tmp_path).section("00", [5.0], [None]).write()
    (run.path / "scores.csv").unlink()
    result = CliRunner().invoke(app, ["report", "--runs-dir", str(run.path.parent)])
    assert result.exit_code == 4
    assert f"asd score {run.path}" in result.output
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["report", str(run.path), str(run.path)])
    assert result.exit_code == 2


def test_markdown_is_one_table_row_a_line(labelled: Run, tmp_path: Path) -> None:
    table = tables.machines(read([labelled]))
    lines = [line for line in formats.markdown(table).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(table.rows)
