"""A detector with a network: embeddings, calibration by normals held out, and what is stored."""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from asd import features
from asd.cli import app
from asd.config import Config, DataConfig, FeatureSpec
from asd.data.catalog import open_catalog
from asd.detect.baseline import ALONE, SIBLINGS
from asd.detect.detector import Detector
from asd.detect.fusion import Fused
from asd.detect.network import HeadFacts, Network, NetworkFacts
from asd.errors import RunFolderError, UsageError
from asd.models.encoders import build_encoder
from asd.models.heads import build_head
from asd.report import read as read_report
from asd.runs import Run, new_run
from asd.train.assemble import network_detector
from asd.train.normals import Table, read_normals
from asd.train.trained import Trained
from test_detector import finish

BANDS, FRAMES = 16, 48
SPEC = FeatureSpec(n_mels=BANDS)
CLASSES = ("pump/00/slow", "pump/00/fast", "pump/02")
SECTIONS = ("00", "02")
EACH = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small wait for threads longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network_of(name: str = "small", head: str | None = "arcface", norm: str = "batch", **facts: Any) -> Network:
    """A network of random weights, whose running statistics are not those of an untouched one."""
    about = NetworkFacts(
        encoder=name,  # type: ignore[arg-type]
        bands=BANDS,
        norm=norm,  # type: ignore[arg-type]
        mean=-3.0,
        std=2.0,
        head=HeadFacts(kind=head, classes=CLASSES) if head else None,  # type: ignore[arg-type]
        **{
            "frames": FRAMES,
            "embedding_size": 128,
            "summary_size": build_encoder(name, BANDS, FRAMES).summary_size,
            **facts,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder(name, BANDS, about.frames, width=about.width, norm=norm)
        classifier = build_head(head, about.embedding_size, len(CLASSES)) if head else None
        encoder.train()
        for _ in range(20):
            encoder(torch.randn(8, BANDS, about.frames))
    return Network(about, encoder, classifier)


def hum(seed: int, section: str, windows: int = 1, shift: float = 0.0) -> np.ndarray:
    """Log-mels (W, F, T) of a machine: a spectrum of its own, noise, and a level that differs by recording."""
    rng = np.random.default_rng(seed)
    spectrum_F = np.sin(np.arange(BANDS) * (1 + int(section) / 5)) - 3 + shift * (np.arange(BANDS) > 11)
    x_WFT = spectrum_F[:, None] + 0.3 * rng.normal() + rng.normal(scale=0.5, size=(windows, BANDS, FRAMES))
    return x_WFT.astype(np.float32)


@pytest.fixture(scope="module")
def pump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root of ready log-mels of two sections; anomalies are louder in the highest bands."""
    root = tmp_path_factory.mktemp("data")
    recipe = {"unit": "ln", **SPEC.model_dump(include={"sample_rate", "n_fft", "hop_length", "n_mels", "mel_scale"})}
    (root / "features.json").write_text(json.dumps(recipe))
    for split in ("train", "test"):
        (root / "pump" / split).mkdir(parents=True)
    for section in SECTIONS:
        for i in range(EACH):
            np.save(root / "pump" / "train" / f"normal_id_{section}_{i:08}.npy", hum(i, section)[0])
        for i in range(5):
            np.save(root / "pump" / "test" / f"normal_id_{section}_{i:08}.npy", hum(100 + i, section)[0])
            np.save(root / "pump" / "test" / f"anomaly_id_{section}_{i:08}.npy", hum(200 + i, section, 1, 1.5)[0])
    return root


def config_of(root: Path, scorer: str = "auto") -> Config:
    return Config(
        method="contrastive", scorer=scorer, features=SPEC, data=DataConfig(root=str(root), machine="pump"), threads=1
    )


@pytest.fixture(scope="module")
def table(pump: Path) -> Table:
    return finish(read_normals(open_catalog(pump).select("pump", None, "train"), config_of(pump)))[0]  # type: ignore[return-value]


def held_of(table: Table) -> np.ndarray:
    """Every third normal of a section stands for those that a training leaves alone."""
    ranks_N = np.concatenate([np.arange((table.rows.sections_N == s).sum()) for s in SECTIONS])
    return ranks_N % 3 == 1


def embedded_by(network: Network, table: Table) -> dict[str, np.ndarray]:
    read = features.read_recordings([r.clip.path for r in table.read], SPEC)
    each = [network.embed(r.logmel_WFT) for r in read if isinstance(r, features.Recording)]
    return {name: np.concatenate([e[name] for e in each]) for name in each[0]}


def assemble(table: Table, root: Path, scorer: str = "auto", beside: tuple[str, ...] = ()) -> Trained:
    network = network_of()
    embedded = embedded_by(network, table)
    work = network_detector(
        table, config_of(root, scorer), SECTIONS, network, embedded, held_of(table), beside=beside, notes={"epochs": 3}
    )
    return finish(work)[0]


@pytest.fixture(scope="module")
def trained(table: Table, pump: Path) -> Trained:
    return assemble(table, pump, beside=("knn", "classifier", "fused-min:classifier"))


@pytest.fixture(scope="module")
def run(trained: Trained, pump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "pump-all"
    with new_run(path, overwrite=False) as folder:
        trained.write(folder, config_of(pump))
    return path


def test_the_embedding_is_that_of_the_encoder_on_normalised_log_mels() -> None:
    network = network_of()
    x_WFT = hum(0, "00", 3)
    with torch.inference_mode():
        expected_WD = network.encoder(torch.from_numpy((x_WFT + 3) / 2))
        logits_WC = network.head(expected_WD)  # type: ignore[misc]
    embedded = network.embed(x_WFT)
    np.testing.assert_allclose(embedded["network"], expected_WD, rtol=1e-4, atol=1e-5)
    p_WC = torch.softmax(logits_WC.double(), 1).numpy()
    p_WP = np.stack([p_WC[:, 0] + p_WC[:, 1], p_WC[:, 2]], 1)
    np.testing.assert_allclose(embedded["classes"], np.log(1 - p_WP) - np.log(p_WP), rtol=1e-3, atol=1e-4)
    assert {x.dtype for x in embedded.values()} == {np.dtype(np.float64)}


@pytest.fixture
def tf32() -> Iterator[Callable[[], tuple[bool, bool]]]:
    """Allows TF32, as a training on a GPU does; tells whether matrix products and convolutions may use it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    yield lambda: (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32, cudnn.allow_tf32 = before


def test_embeddings_are_made_without_tf32(
    tf32: Callable[[], tuple[bool, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, seen = network_of(), []
    network.encoder.register_forward_pre_hook(lambda *_: seen.append(tf32()))
    x_WFT = np.zeros((1, BANDS, FRAMES), np.float32)
    network.embed(x_WFT)
    monkeypatch.setattr(Network, "_pass", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        network.embed(x_WFT)
    assert seen == [(False, False)]
    assert tf32() == (True, True), "as it was, after an error too"


def test_a_variant_of_the_own_section_is_not_its_own() -> None:
    """A window that sounds like its section with a bent spectrum is as strange as one of another section."""
    classes = ("pump/00", "pump/00/~1", "pump/00/~2", "pump/02", "pump/02/~1", "pump/02/~2")
    about = network_of().about.model_copy(update={"head": HeadFacts(kind="softmax", classes=classes)})
    assert about.places == ("pump/00", "pump/02")
    head = build_head("softmax", 128, len(classes))
    network = Network(about, network_of().encoder, head)
    x_WFT = hum(0, "00", 3)
    with torch.inference_mode():
        logits_WC = head(network.encoder(torch.from_numpy((x_WFT + 3) / 2)))
    p_WC = torch.softmax(logits_WC.double(), 1).numpy()
    own_WP = p_WC[:, [0, 3]]
    expected_WP = np.log(1 - own_WP) - np.log(own_WP)
    np.testing.assert_allclose(network.embed(x_WFT)["classes"], expected_WP, rtol=1e-3, atol=1e-4)


def test_stretches_are_averaged() -> None:
    stretched = network_of(frames=16, score_hop=5)
    whole = network_of(frames=16)
    assert stretched.about.takes(BANDS, FRAMES)
    assert not whole.about.takes(BANDS, FRAMES)
    x_WFT = hum(0, "00", 2)
    embedded = stretched.embed(x_WFT)
    for w in range(2):
        cuts_SFT = np.stack([x_WFT[w, :, start : start + 16] for start in range(0, FRAMES - 15, 5)])
        for name, each_SD in whole.embed(cuts_SFT).items():
            np.testing.assert_allclose(embedded[name][w], each_SD.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(
    ("name", "size"), [("small", 128), ("mobilefacenet", 128), ("mobilenetv2", 1280), ("resnet50", 2048)]
)
def test_an_embedding_does_not_depend_on_its_company(name: str, size: int, norm: str) -> None:
    network = network_of(name, embedding_size=size, norm=norm)
    x_WFT = hum(0, "00", 70)  # more than pass at a time
    together = network.embed(x_WFT)
    for w in (0, 69):
        for key, alone in network.embed(x_WFT[w : w + 1]).items():
            np.testing.assert_allclose(alone[0], together[key][w], rtol=1e-3, atol=1e-4)


def test_threads_change_no_more_than_rounding() -> None:
    network, x_WFT = network_of(), hum(0, "00", 5)
    one = network.embed(x_WFT)
    try:
        torch.set_num_threads(2)
        two = network.embed(x_WFT)
    finally:
        torch.set_num_threads(1)
    for key in one:
        np.testing.assert_allclose(one[key], two[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [None, "softmax", "arcface", "subcentre-arcface", "adacos"])
def test_a_network_is_rebuilt_bit_for_bit_and_draws_nothing(head: str | None) -> None:
    network, x_WFT = network_of(head=head), hum(0, "00", 2)
    state = torch.get_rng_state()
    again = Network.from_arrays(network.about, load(save(network.arrays())))
    assert torch.equal(torch.get_rng_state(), state)
    assert {k: v.tobytes() for k, v in again.embed(x_WFT).items()} == {
        k: v.tobytes() for k, v in network.embed(x_WFT).items()
    }
    assert not any(p.requires_grad for p in again.encoder.parameters())


def test_one_section_gives_no_odds() -> None:
    about = network_of().about
    one = about.model_copy(update={"head": HeadFacts(kind="softmax", classes=("pump/00/slow", "pump/00/fast"))})
    network = Network(one, network_of().encoder, build_head("softmax", 128, 2))
    assert "classes" not in network.embed(hum(0, "00"))


def test_primary_then_others_then_baselines(trained: Trained) -> None:
    detector = trained.detector
    names = ["fused:ensemble", "knn", "classifier", "fused-min:classifier", SIBLINGS, ALONE]
    assert list(detector.scorers) == names
    assert detector.primary == names[0]
    assert detector.baseline is detector.scorers[SIBLINGS]
    described = detector.describe()
    assert (described["format"], described["scorer"], described["beside"]) == (2, names[0], names[1:])
    assert described["network"] == json.loads(detector.network.about.model_dump_json())  # type: ignore[union-attr]
    assert described["epochs"] == 3
    weights = {s: detector.baseline.gaussians[s].weight for s in SECTIONS}
    assert {s: described["sections"][s]["sibling_weight"] for s in SECTIONS} == weights


def test_networks_are_calibrated_by_held_out_normals_alone(trained: Trained, table: Table) -> None:
    """The scores of the network's scorers are those of fits to the other normals; the baselines' are cross-fitted."""
    detector, held_N = trained.detector, held_of(table)
    embedded = embedded_by(network_of(), table)
    for section in SECTIONS:
        own_N = held_N & (table.rows.sections_N == section)
        assert len(detector.calibrations[ALONE, section].scores) == EACH
        for name in ("knn", "classifier"):
            told_H = np.concatenate(detector.calibrations[name, section].scores)
            rows = {k: v[own_N] for k, v in embedded.items()}
            np.testing.assert_allclose(told_H, detector.scorers[name].score(rows, section), rtol=1e-6)
        units_RD = embedded["network"][~held_N & (table.rows.sections_N == section)]
        units_RD = units_RD / np.linalg.norm(units_RD, axis=1)[:, None]
        x_HD = embedded["network"][own_N] / np.linalg.norm(embedded["network"][own_N], axis=1)[:, None]
        expected_H = (1 - x_HD @ units_RD.T).min(1)
        np.testing.assert_allclose(np.concatenate(detector.calibrations["knn", section].scores), expected_H, rtol=1e-5)


def test_fusion_rests_on_held_out_normals(trained: Trained, table: Table) -> None:
    """Over them both z-scores have mean 0 and deviation 1: that of the baseline by its cross-fitted scores."""
    detector, held_N = trained.detector, held_of(table)
    fused = detector.scorers["fused:ensemble"]
    assert isinstance(fused, Fused)
    ensemble, baseline = fused.parts
    assert baseline is detector.baseline
    embedded = embedded_by(network_of(), table)
    for section in SECTIONS:
        own_N = table.rows.sections_N == section
        of_network = ensemble.score({k: v[own_N & held_N] for k, v in embedded.items()}, section)
        cross = np.concatenate(detector.calibrations[SIBLINGS, section].scores)[held_N[own_N]]
        z_2H = (np.log([of_network, cross]) - fused.scales[section][:, :1]) / fused.scales[section][:, 1:]
        np.testing.assert_allclose(z_2H.mean(1), 0, atol=1e-9)
        np.testing.assert_allclose(z_2H.std(1), 1, rtol=1e-9)
        told_H = np.concatenate(detector.calibrations[fused.name, section].scores)
        np.testing.assert_allclose(told_H, np.exp(z_2H.mean(0) * fused.scales[section][:, 1].mean()), rtol=1e-9)


def test_normals_that_a_network_was_trained_on_have_no_score(trained: Trained, run: Path) -> None:
    normals = Run.open(run).normals()
    assert len(normals) == 2 * EACH
    held = [n for n in normals if n["score"] is not None]
    assert len(held) == held_of(trained.table).sum()
    for n in held:
        told = trained.detector.calibrations[trained.detector.primary, n["section"]].scores
        assert any(n["score"] == s[0] for s in told)
    for n in normals:
        if n["score"] is None:
            assert (n["severity"], n["windows"], n["anomalous"]) == (None, [], False)
    other = [n for n in finish_normals(trained, SIBLINGS) if n["score"] is None]
    assert not other


def finish_normals(trained: Trained, scorer: str) -> list[dict[str, Any]]:
    """Records of a detector on the same table in which a baseline decides."""
    root = Path(trained.detector.notes["data_root"])
    return assemble(trained.table, root, scorer).normals()


def test_a_baseline_may_decide_beside_a_network(table: Table, pump: Path) -> None:
    detector = assemble(table, pump, SIBLINGS, ("knn:2",)).detector
    assert list(detector.scorers) == [SIBLINGS, "knn:2", ALONE]


def test_what_cannot_be_is_refused(table: Table, pump: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'knn'"):
        assemble(table, pump, "knm")
    network, held_N = network_of(), held_of(table)
    embedded = embedded_by(network, table)
    for wrong_N in (np.zeros_like(held_N), np.ones_like(held_N)):
        with pytest.raises(ValueError, match="held_N"):
            finish(network_detector(table, config_of(pump), SECTIONS, network, embedded, wrong_N))


def test_one_section_alone(pump: Path) -> None:
    clips = open_catalog(pump).select("pump", ["00"], "train")
    table: Table = finish(read_normals(clips, config_of(pump)))[0]  # type: ignore[assignment]
    network = network_of()
    embedded, held_N = embedded_by(network, table), np.arange(EACH) % 3 == 1
    detector = finish(network_detector(table, config_of(pump), ["00"], network, embedded, held_N))[0].detector
    assert list(detector.scorers) == ["fused:ensemble", ALONE]
    with pytest.raises(UsageError, match="one section only"):
        finish(network_detector(table, config_of(pump, SIBLINGS), ["00"], network, embedded, held_N))


def test_stored_and_loaded_bit_for_bit(trained: Trained, run: Path, pump: Path, tmp_path: Path) -> None:
    paths = sorted((pump / "pump" / "test").iterdir())
    loaded = Detector.load(run)
    assert loaded.describe() == trained.detector.describe()
    assert loaded.score(paths) == trained.detector.score(paths)
    for recording in features.read_recordings(paths, SPEC):
        assert isinstance(recording, features.Recording)
        section = loaded.section_for(recording.path)
        for name in loaded.scorers:
            assert loaded.judge(recording, section, name) == trained.detector.judge(recording, section, name)
    loaded.save(tmp_path / "copy")
    for file in ("weights.safetensors", "detector.json"):
        assert (tmp_path / "copy" / file).read_bytes() == (run / "detector" / file).read_bytes()
    assert loaded.score(paths)[3] == loaded.score(paths[3:4])[0]


def test_anomalies_score_higher(run: Path, pump: Path) -> None:
    scores = Detector.load(run).score(sorted((pump / "pump" / "test").glob("*_id_00_*")))
    assert min(s.score for s in scores[:5]) > max(s.score for s in scores[5:])


def test_the_command_line_scores_and_reports(run: Path, pump: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    scored = CliRunner().invoke(app, ["score", str(copy)])
    assert scored.exit_code == 0, scored.output
    rows = json.loads((copy / "metrics.json").read_text())
    assert set(rows["beside"]) == {"knn", "classifier", "fused-min:classifier", SIBLINGS, ALONE}
    nearest = [json.loads(line)["nearest"] for line in (copy / "recordings.jsonl").read_text().splitlines()]
    assert all(Path(file).is_file() for file in nearest)
    told = CliRunner().invoke(app, ["report", str(copy), "--out", str(tmp_path / "report")])
    assert told.exit_code == 0, told.output
    assert "fused:ensemble" in (tmp_path / "report" / "report.md").read_text()
    (machine,) = read_report([Run.open(copy)]).machines
    assert machine.normal_health.recordings == 2 * EACH


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def damage_weights(run: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    file = run / "detector" / "weights.safetensors"
    arrays = load(file.read_bytes())
    change(arrays)
    file.write_bytes(save(arrays))


def test_every_array_is_needed_and_has_one_shape(copy: Path) -> None:
    whole = (copy / "detector" / "weights.safetensors").read_bytes()
    keys = [k for k in load(whole) if not k.startswith("network/")]
    some = [k for k in load(whole) if k.startswith("network/")][::9]
    for key in [*keys, *some]:
        changes: list[Callable[[dict[str, np.ndarray], str], Any]] = [lambda arrays, k: arrays.pop(k)]
        if key in some:
            changes.append(lambda arrays, k: arrays.update({k: np.concatenate([np.atleast_1d(arrays[k])] * 2)}))
            changes.append(lambda arrays, k: arrays.update({k: arrays[k].astype(np.float16)}))
        for change in changes:
            damage_weights(copy, lambda arrays, c=change, k=key: c(arrays, k))  # type: ignore[misc]
            with pytest.raises(RunFolderError, match="damaged detector") as caught:
                Detector.load(copy)
            assert str(copy / "detector") in caught.value.message
            (copy / "detector" / "weights.safetensors").write_bytes(whole)


def test_weights_too_many_or_not_finite_are_refused(copy: Path) -> None:
    damage_weights(copy, lambda arrays: arrays.update({"network/encoder/more": np.zeros(3, np.float32)}))
    with pytest.raises(RunFolderError, match="more"):
        Detector.load(copy)
    damage_weights(copy, lambda arrays: arrays.pop("network/encoder/more"))
    key = "network/encoder/net.embedding.weight"
    damage_weights(copy, lambda arrays: arrays.update({key: np.full_like(arrays[key], np.nan)}))
    with pytest.raises(RunFolderError, match="finite"):
        Detector.load(copy)


@pytest.mark.parametrize(
    "key", ["knn/00/references", "summary/02/cholesky", "ensemble/02/scales", "fused:ensemble/00/scales"]
)
def test_a_scorer_that_does_not_fit_the_network_is_refused(copy: Path, key: str) -> None:
    damage_weights(copy, lambda arrays: arrays.update({key: arrays[key][:, :1]}))
    with pytest.raises(RunFolderError, match="damaged"):
        Detector.load(copy)


@pytest.mark.parametrize(
    "facts",
    [
        {"encoder": "large"},
        {"encoder": "resnet50"},
        {"bands": 32},
        {"frames": 47},
        {"std": 0},
        {"mean": "x"},
        {"embedding_size": 64},
        {"norm": "group"},
        {"head": None},
        {"head": {"kind": "softmax", "classes": ["pump/00"]}},
        {"head": {"kind": "arcface", "classes": ["pump/00", "pump/02"]}},
        {"width": 2.0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_edited_facts_of_the_network_are_refused(copy: Path, facts: dict[str, Any]) -> None:
    file = copy / "detector" / "detector.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {"network": described["network"] | facts}))
    with pytest.raises(RunFolderError, match="damaged detector"):
        Detector.load(copy)


@pytest.mark.parametrize(
    "change", [{"network": None}, {"network": 3}, {"scorer": "knm"}, {"scorer": 3}, {"beside": ["knn"]}], ids=str
)
def test_an_edited_detector_is_refused(copy: Path, change: dict[str, Any]) -> None:
    file = copy / "detector" / "detector.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(RunFolderError, match="damaged detector"):
        Detector.load(copy)


def test_a_network_that_went_missing_is_noticed(copy: Path) -> None:
    file = copy / "detector" / "detector.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "network"}))
    with pytest.raises(RunFolderError, match="damaged detector"):
        Detector.load(copy)


def test_without_torch_the_way_out_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_torch(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    monkeypatch.setattr("asd.detect.network.import_module", without_torch)
    with pytest.raises(UsageError, match="PyTorch") as caught:
        Detector.load(copy)
    assert "pip install 'machine-asd[train]'" in caught.value.hint
