"""Training: what is held out and drawn, that networks learn, that a collapse is seen, and what is refused."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import pickle
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import asd
from asd.config import (
    ClassifierConfig,
    Config,
    DataConfig,
    EncoderConfig,
    FeatureSpec,
    MocoConfig,
    OptimiserConfig,
    VariantsConfig,
    ViewsConfig,
    load_config,
    read_preset,
)
from asd.corpus import Paths
from asd.data.catalog import Clip, open_catalog
from asd.data.synth import write_dataset
from asd.errors import AsdError, DataError, RunFolderError, UsageError
from asd.events import Caution, Event, Note, Progress
from asd.models.encoders import build_encoder
from asd.models.heads import build_head
from asd.models.moco import EMPTY
from asd.train import detector as train_detector_module
from asd.train import fit, state
from asd.train.contrastive import Contrastive, anchor_shares
from asd.train.detector import left_open, train_detector
from asd.train.draws import Purpose, generator
from asd.train.environment import gpu_names
from asd.train.finetune import Classifier, Finetune
from asd.train.held import Held, hold_out
from asd.train.loop import Plan, build_optimiser, learning_rate, train
from asd.train.network import Fitted, train_network
from asd.train.precision import autocast
from asd.train.probe import COLLAPSED
from asd.train.stretch import part, stretch
from asd.train.supply import Views
from asd.train.variants import kinds, vary
from asd.train.waves import Waves
from asd.train.weights import FILE, about_encoder, load_encoder, save_encoder

BANDS, FRAMES = 16, 20
SPEC = FeatureSpec(n_mels=BANDS)
PLAIN = ViewsConfig(alpha=0, crop=False, stretch=0.5)
WHOLE = ViewsConfig(alpha=0, crop=False)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_logmels(root: Path, counts: Mapping[str, int], machine: str = "fan", frames: int = FRAMES) -> list[Clip]:
    """Ready log-mels of several IDs, each with a spectrum of its own."""
    folder = root / machine / "train"
    folder.mkdir(parents=True)
    recipe = {"unit": "ln", "sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": BANDS}
    (root / "features.json").write_text(json.dumps({**recipe, "mel_scale": "slaney"}))
    for section, count in counts.items():
        rng = np.random.default_rng(int(section))
        spectrum_F = rng.normal(size=BANDS)
        for number in range(count):
            logmel_FT = spectrum_F[:, None] + rng.normal(size=(BANDS, frames))
            np.save(folder / f"normal_id_{section}_{number:08}.npy", logmel_FT.astype(np.float32))
    return open_catalog(root).select(machine, None, "train")


def config_of(**changes: Any) -> Config:
    """Settings for a training of moments; `changes` go to where they belong."""
    optimiser = {"batch_size": 8, "epochs": 1, "precision": "float32", **changes.pop("optimiser", {})}
    settings_: dict[str, Any] = {
        "method": "contrastive",
        "threads": 1,
        "device": "cpu",
        "features": SPEC,
        "views": PLAIN,
        "moco": MocoConfig(momentum=0.9, queue_size=64),
        "data": DataConfig(machine="fan"),
    }
    return Config(**{**settings_, **changes, "optimiser": OptimiserConfig(**optimiser)})


def place_in(folder: Path) -> fit.Place:
    folder.mkdir(exist_ok=True)
    return fit.Place(folder, False, lambda: nullcontext(lambda: None))


def finish(work: Generator[Event, None, Any]) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return end.value, events


def said(events: list[Event], kind: type[Note] | type[Caution]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, kind))


@dataclass
class Seen:
    """What a training would have been fed, and with what task."""

    task: Any = None
    plan: Any = None
    windows: list[np.ndarray] = field(default_factory=list)
    files: list[list[int]] = field(default_factory=list)
    shown: np.ndarray | None = None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """In place of the loop: draws two epochs of batches, does one step, and keeps what came by."""
    found = Seen()

    def look(task: Any, batches: Iterator[Views], plan: Plan, *_: object) -> Iterator[Event]:
        found.task, found.plan = task, plan
        for step, batch in enumerate(itertools.islice(batches, 2 * plan.steps_an_epoch)):
            found.windows.append(batch.windows_B.copy())
            found.files.append(batch.files_B.tolist())
            if step == 0:
                found.shown = batch.views_VBFT.numpy().copy()
                task.loss(batch, 0)
                task.after_step()
        yield from ()

    monkeypatch.setattr(fit, "train", look)
    return found


# Held-out normals


def clip_of(name: str, section: str = "00", folder: str = "/x") -> Clip:
    return Clip(Path(folder) / name, name, "fan", section, "train", 0)


names = st.lists(st.from_regex(r"s\d{1,2}_[a-z0-9]{1,6}\.wav", fullmatch=True), unique=True, max_size=150)


@given(names, st.randoms(use_true_random=False))
def test_a_tenth_is_held_out_ten_at_least_half_at_most(names: list[str], random: Any) -> None:
    clips = [clip_of(name) for name in names]
    kept, held = hold_out(clips, "")
    assert len(held) == min(max(10, math.ceil(len(clips) / 10)), len(clips) // 2)
    assert sorted([*kept, *held], key=str) == sorted(clips, key=str)
    mixed = random.sample(clips, len(clips))
    assert set(hold_out(mixed, "")[1]) == set(held)
    # The name alone decides, not where the recording lies, and each section by itself.
    moved = [clip_of(name, "02", "/y") for name in names]
    both = hold_out([*moved, *clips], "")[1]
    assert [c.name for c in both if c.section == "02"] == [c.name for c in both if c.section == "00"]
    assert {c for c in both if c.section == "00"} == set(held)


@given(names, st.from_regex(r"new_[a-z]{3}\.wav", fullmatch=True))
def test_a_recording_that_is_added_moves_few(names: list[str], new: str) -> None:
    before = set(hold_out([clip_of(name) for name in names], "")[1])
    after = set(hold_out([clip_of(name) for name in [*names, new]], "")[1])
    assert len(before ^ after) <= 2
    assert len(before - after) <= 1


@given(names)
def test_sessions_stay_together(names: list[str]) -> None:
    clips = [clip_of(name) for name in names]
    kept, held = hold_out(clips, r"(s\d+)_")
    assert {c.name.split("_")[0] for c in kept}.isdisjoint({c.name.split("_")[0] for c in held})
    assert len(held) <= len(clips) // 2
    sizes = Counter(name.split("_")[0] for name in names)
    if len(clips) >= 4 and max(sizes.values()) == 1:
        assert held


sessions = st.lists(st.tuples(st.sampled_from(["00", "02", "04"]), st.integers(0, 30)), max_size=150)


@given(sessions)
def test_sessions_stay_together_in_all_sections(places: list[tuple[str, int]]) -> None:
    clips = [clip_of(f"s{session}_{n}.wav", section) for n, (section, session) in enumerate(places)]
    kept, held = hold_out(clips, r"(s\d+)_")
    assert {c.name.split("_")[0] for c in kept}.isdisjoint({c.name.split("_")[0] for c in held})
    sizes, taken = (Counter(c.section for c in some) for some in (clips, held))
    assert all(2 * taken[section] <= size for section, size in sizes.items())
    # Each session that was left could not be taken, or no section of it wants more.
    for session in {c.name.split("_")[0] for c in kept}:
        own = Counter(c.section for c in kept if c.name.split("_")[0] == session)
        full = any(2 * (taken[section] + count) > sizes[section] - sizes[section] % 2 for section, count in own.items())
        assert full or all(taken[s] >= max(10, math.ceil(sizes[s] / 10)) for s in own)


def test_held_out_recordings_are_never_in_the_corpus(tmp_path: Path, seen: Seen) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 25, "02": 130})
    fitted, _ = finish(train_network(clips, config_of(), ["00", "02"], place_in(tmp_path / "run")))
    held = {str(c.path) for c in fitted.held}
    assert Counter(c.section for c in fitted.held) == {"00": 10, "02": 13}
    assert isinstance(seen.plan.names, Paths)  # of a set of millions no string each
    kept = set(map(str, seen.plan.names))
    assert held.isdisjoint(kept)
    assert held | kept == {str(c.path) for c in clips}
    assert {str(seen.plan.names[file]) for file in itertools.chain(*seen.files)} == kept


@pytest.mark.parametrize("method", ["contrastive", "finetune"])
def test_what_is_held_out_changes_no_weight(tmp_path: Path, method: str) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 24, "02": 24})
    config = config_of(method=method)
    first, _ = finish(train_network(clips, config, ["00", "02"], place_in(tmp_path / "a")))
    for clip in first.held:
        np.save(clip.path, np.full((BANDS, FRAMES), 7, np.float32))
    second, _ = finish(train_network(clips, config, ["00", "02"], place_in(tmp_path / "b")))
    assert (first.mean, first.std) == (second.mean, second.std)
    assert all(map(torch.equal, first.encoder.state_dict().values(), second.encoder.state_dict().values()))
    kept = next(clip for clip in clips if clip not in first.held)
    np.save(kept.path, np.ones((BANDS, FRAMES), np.float32))
    third, _ = finish(train_network(clips, config, ["00", "02"], place_in(tmp_path / "c")))
    assert third.mean != first.mean


def test_what_cannot_be_held_out_is_refused_before_training(tmp_path: Path) -> None:
    wave_N = np.random.default_rng(0).normal(scale=0.1, size=16_000 * 40)
    soundfile.write(tmp_path / "shift.wav", wave_N, 16_000)
    clip = Clip(tmp_path / "shift.wav", "shift.wav", "shift", "00", "train", 0)
    config = config_of(features=FeatureSpec(n_mels=BANDS, clip_seconds=1))
    events: list[Event] = []
    with pytest.raises(DataError, match="too few recordings to hold some out") as caught:
        events.extend(train_detector([clip], config, ["00"], place_in(tmp_path / "run")))
    assert "--method baseline" in caught.value.hint
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize("count", [10, 19])
def test_a_threshold_of_fewer_than_ten_held_out_normals_needs_force(tmp_path: Path, seen: Seen, count: int) -> None:
    clips = write_logmels(tmp_path / "data", {"00": count, "02": 20})
    with pytest.raises(DataError, match=rf"fan 00: .* {count // 2} are too few \(wanted 10, .* 20 rec") as caught:
        finish(train_detector(clips, config_of(), ["00", "02"], place_in(tmp_path / "run")))
    assert "--force" in caught.value.hint
    assert "--method baseline" in caught.value.hint
    assert seen.task is None
    for section, force, held in (("02", False, 10), ("00", True, count // 2)):
        config = config_of(force=force)
        trained, _ = finish(train_detector(clips, config, [section], place_in(tmp_path / f"run-{section}")))
        assert trained.detector.describe()["sections"][section]["n_normals"] == held


# What is drawn


def test_of_one_id_an_epoch_is_each_of_its_windows_once(tmp_path: Path, seen: Seen) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 26, "02": 31, "04": 22, "06": 41})
    finish(train_network(clips, config_of(), ["02"], place_in(tmp_path / "run")))
    section = [re.search(r"id_(\d\d)", name.name)[1] for name in seen.plan.names]  # type: ignore[index]
    own = {file for file, s in enumerate(section) if s == "02"}
    assert len(own) == 21
    assert seen.plan.steps_an_epoch == round(2 * 21 / 8)
    for files in seen.files:
        assert sum(file in own for file in files) == 4
    drawn = [file for file in itertools.chain(*seen.files) if file in own]
    assert set(drawn[:21]) == own == set(drawn[-21:] if len(drawn) == 42 else drawn[:21])
    others = Counter(section[file] for file in itertools.chain(*seen.files) if file not in own)
    assert max(others.values()) - min(others.values()) <= 1
    # All of a batch lie in the queue, by their sections; of the loss only ID 02 was an anchor (see test_moco.py).
    queue = seen.task.module.queue
    assert queue.files_K[:8].tolist() == seen.files[0]
    classes = sorted(set(section))
    assert [classes[number] for number in queue.sections_K[:8].tolist()] == [section[f] for f in seen.files[0]]
    assert (queue.files_K[8:] == EMPTY).all()


def test_of_one_id_only_its_clips_pass_the_query_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 24, "02": 24})
    asked: list[tuple[int, int]] = []
    loss = Contrastive.loss

    def counted(self: Contrastive, batch: Views, step: int) -> Any:
        hooks = [
            net.register_forward_hook(lambda _, x, __, log=log: log.append(len(x[0])))
            for net, log in ((self.module.query, queries), (self.module.key, keys))
        ]
        result = loss(self, batch, step)
        asked.append((sum(queries), sum(keys)))
        queries.clear(), keys.clear()
        for hook in hooks:
            hook.remove()
        return result

    queries: list[int] = []
    keys: list[int] = []
    monkeypatch.setattr(Contrastive, "loss", counted)
    finish(train_network(clips, config_of(), ["00"], place_in(tmp_path / "one")))
    assert set(asked) == {(4, 8)}
    asked.clear()
    finish(train_network(clips, config_of(), ["00", "02"], place_in(tmp_path / "all")))
    assert set(asked) == {(8, 8)}


def test_of_all_ids_batches_are_even(tmp_path: Path, seen: Seen) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 60})
    finish(train_network(clips, config_of(), ["00", "02"], place_in(tmp_path / "run")))
    for files in seen.files:
        assert sum("id_00" in seen.plan.names[file].name for file in files) == 4
    assert seen.plan.steps_an_epoch == round((12 + 50) / 8)


@pytest.mark.parametrize(("method", "words"), [("contrastive", "one ID only"), ("finetune", "of one class")])
def test_a_machine_of_one_id_falls_back_to_instance_discrimination(
    tmp_path: Path, seen: Seen, method: str, words: str
) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 30})
    fitted, events = finish(train_network(clips, config_of(method=method), ["00"], place_in(tmp_path / "run")))
    assert f"fan: {'all normals are ' if method == 'finetune' else ''}{words}" in said(events, Note)
    assert "each recording is told from every other" in said(events, Note)
    queue = seen.task.module.queue
    assert queue.sections_K[:8].tolist() == queue.files_K[:8].tolist() == seen.files[0]
    assert fitted.head is None


def test_of_one_id_with_variants_each_of_them_is_told_from_every_other(tmp_path: Path, seen: Seen) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 30})
    config = config_of(variants=VariantsConfig(regions=3))
    _, events = finish(train_network(clips, config, ["00"], place_in(tmp_path / "run")))
    assert "one ID only, so each recording and each variant of it is told from every other" in said(events, Note)


@pytest.mark.parametrize("preset", ["dcase2022", "mn-official"])
def test_a_classifier_of_one_class_falls_back_to_the_views_of_the_paper(
    tmp_path: Path, seen: Seen, preset: str
) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 30})
    base = load_config(base=read_preset(preset))
    config = config_of(method="finetune", views=base.views, classifier=base.classifier)
    fitted, events = finish(train_network(clips, config, ["00"], place_in(tmp_path / "run")))
    assert (fitted.config.views.alpha, fitted.config.views.crop) == (0.4, True)
    assert "by Log-mixup-exp (views.alpha=0.4) and Random Resize Crop" in said(events, Note)
    assert not np.array_equal(*seen.shown)
    # Views that do differ are left as they are.
    stretched = config_of(method="finetune")
    fitted, events = finish(train_network(clips, stretched, ["00"], place_in(tmp_path / "other")))
    assert fitted.config.views == PLAIN
    assert "Log-mixup-exp" not in said(events, Note)


def test_several_ids_are_no_instance_discrimination(tmp_path: Path, seen: Seen) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22})
    _, events = finish(train_network(clips, config_of(), ["00", "02"], place_in(tmp_path / "run")))
    assert "every other" not in said(events, Note)
    assert set(seen.task.module.queue.sections_K[:8].tolist()) == {0, 1}


def test_shares_of_an_anchor_are_half() -> None:
    for sections in (["00", "02"], ["00", "02", "04", "06"], ["a", "b", "a", "c"]):
        shares = anchor_shares(sections, sections[0])
        assert shares.pop(sections[0]) == sum(shares.values()) == len(set(sections)) - 1


@pytest.mark.parametrize(("batch", "norm"), [(3, "batch"), (3, "group"), (4, "batch")])
def test_a_batch_whose_normalisation_gives_the_key_away_is_said(
    tmp_path: Path, seen: Seen, batch: int, norm: str
) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22})
    config = config_of(
        optimiser={"batch_size": batch}, moco=MocoConfig(queue_size=12), encoder=EncoderConfig(norm=norm)
    )
    _, events = finish(train_network(clips, config, ["00", "02"], place_in(tmp_path / "run")))
    told = said(events, Caution)
    assert (told != "") == (batch == 3 and norm == "batch")
    assert not told or ("--set encoder.norm=group" in told and "--batch-size 4" in told)


def test_stretches_of_few_frames_make_more_of_an_epoch(tmp_path: Path, seen: Seen) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22}, frames=40)
    settings_ = ClassifierConfig(frames=16, hop=4)
    fitted, _ = finish(
        train_network(
            clips,
            config_of(method="finetune", views=WHOLE, classifier=settings_),
            ["00"],
            place_in(tmp_path / "run"),
        )
    )
    assert seen.plan.steps_an_epoch == 24 * 7 // 8
    assert fitted.encoder.frames == 16
    with pytest.raises(UsageError, match="log-mels have 40 frames"):
        too_many = config_of(method="finetune", views=WHOLE, classifier=ClassifierConfig(frames=41))
        finish(train_network(clips, too_many, ["00"], place_in(tmp_path / "other")))


@pytest.mark.parametrize(("method", "views", "probes"), [("contrastive", 2, 1), ("finetune", 1, 0)])
def test_a_classifier_gets_one_view_and_probes_none(
    tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch, method: str, views: int, probes: int
) -> None:
    two_views, made = asd.augment.two_views, []
    monkeypatch.setattr(asd.augment, "two_views", lambda *x, **more: (made.append(1), two_views(*x, **more)))
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22})
    finish(train_network(clips, config_of(method=method), ["00", "02"], place_in(tmp_path / "run")))
    assert seen.shown is not None
    assert seen.shown.shape == (views, 8, BANDS, FRAMES)
    assert len(made) == probes


# Classes


def with_attributes(clips: list[Clip]) -> list[Clip]:
    """The same recordings, each under one of two operating conditions."""
    return [replace(clip, attributes=f"vel_{number % 2}") for number, clip in enumerate(clips)]


def test_the_official_baseline_tells_sections_apart_whatever_their_attributes(tmp_path: Path, seen: Seen) -> None:
    clips = with_attributes(write_logmels(tmp_path / "data", {"00": 22, "02": 22}))
    official = load_config(base=read_preset("mn-official")).classifier.model_copy(update={"frames": 16})
    for name, settings_, wanted in (
        ("official", official, ("fan/00", "fan/02")),
        ("other", ClassifierConfig(), ("fan/00/vel_0", "fan/00/vel_1", "fan/02/vel_0", "fan/02/vel_1")),
    ):
        config = config_of(method="finetune", views=WHOLE, classifier=settings_)
        fitted, events = finish(train_network(clips, config, ["00", "02"], place_in(tmp_path / name)))
        assert fitted.classes == wanted
        assert ("× attributes" in said(events, Note)) == (name == "other")


@pytest.mark.parametrize("scorer", ["classifier", "fused:classifier"])
@pytest.mark.parametrize("regions", [0, 2])
def test_of_one_section_a_classifier_scorer_is_refused_before_anything_is_read(
    tmp_path: Path, scorer: str, regions: int
) -> None:
    clips = with_attributes(write_logmels(tmp_path / "data", {"00": 24}))
    config = config_of(method="finetune", scorer=scorer, variants=VariantsConfig(regions=regions))
    work = train_network(clips, config, ["00"], place_in(tmp_path / "run"))
    with pytest.raises(UsageError, match="all normals are of fan 00") as caught:
        next(work)
    assert "--scorer knn" in caught.value.hint
    assert "--set classifier.classes=root" in caught.value.hint


# Learning and collapse


@pytest.fixture(scope="module")
def fans(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Three fans in much noise, which no random network tells apart."""
    root = tmp_path_factory.mktemp("fans") / "data"
    list(write_dataset(root, machines=["fan"], ids=3, train=60, test=2, seconds=1.0, seed=0, snr_db=-8, threads=1))
    return open_catalog(root).select("fan", None, "train")


def trained_on(fans: list[Clip], folder: Path, **changes: Any) -> tuple[Fitted, list[Event], list[dict[str, Any]]]:
    config = config_of(features=FeatureSpec(n_mels=32, clip_seconds=1), **changes)
    fitted, events = finish(train_network(fans, config, ["00", "02", "04"], place_in(folder)))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return fitted, events, rows


@pytest.mark.parametrize("method", ["contrastive", "finetune"])
@pytest.mark.parametrize("seed", [0, 1])
def test_networks_learn(fans: list[Clip], tmp_path: Path, method: str, seed: int) -> None:
    """On recordings that were held out the nearest neighbours come to be of the same machine."""
    optimiser = {"batch_size": 16, "epochs": 6, "learning_rate": 2e-3}
    _, events, rows = trained_on(fans, tmp_path / "run", method=method, seed=seed, optimiser=optimiser)
    assert [row["epoch"] for row in rows] == list(range(7))
    assert rows[0]["step"] == 0
    assert rows[-1]["knn"] > rows[0]["knn"] + 0.3
    assert rows[-1]["knn"] > 0.75
    assert rows[-1]["uniformity"] < 3 * COLLAPSED
    assert said(events, Caution) == ""


COLLAPSE = "the network has collapsed: its {} of different recordings are one point"


def test_a_learning_rate_far_too_high_throws_all_recordings_to_one_point(fans: list[Clip], tmp_path: Path) -> None:
    optimiser = {"batch_size": 16, "epochs": 2, "learning_rate": 10.0}
    _, events, rows = trained_on(fans, tmp_path / "run", optimiser=optimiser)
    assert rows[-1]["uniformity"] > COLLAPSED
    assert COLLAPSE.format("projections") in said(events, Caution)


def test_a_dead_layer_gives_all_recordings_one_embedding(fans: list[Clip], tmp_path: Path) -> None:
    about = {"name": "small", "bands": 32, "frames": 32, "width": 1.0, "norm": "batch"}
    encoder = build_encoder("small", 32, 32)
    nn.init.zeros_(encoder.net.embedding.weight)
    save_encoder(tmp_path / FILE, encoder, about)
    weights, optimiser = EncoderConfig(weights=str(tmp_path)), {"learning_rate": 1e-6}
    _, events, rows = trained_on(fans, tmp_path / "run", method="finetune", encoder=weights, optimiser=optimiser)
    assert rows[-1]["uniformity"] > COLLAPSED
    assert COLLAPSE.format("embeddings") in said(events, Caution)


def test_the_probe_has_views_as_training_has_them(fans: list[Clip], tmp_path: Path) -> None:
    """Stretches are drawn for it: of whole windows without mixing and cropping both views would be the same."""
    *_, (row,) = trained_on(fans, tmp_path / "stretched", optimiser={"epochs": 0})
    assert row["alignment"] > 1e-4
    level = VariantsConfig(gain=0.1)  # which a probe's views do without
    *_, (row,) = trained_on(fans, tmp_path / "whole", views=WHOLE, variants=level, optimiser={"epochs": 0})
    assert row["alignment"] < 1e-9
    # Other mel bands than the default's need the spec.
    high = ViewsConfig(mix_band="high", mix_domain="raw")
    *_, (row,) = trained_on(fans, tmp_path / "high", views=high, optimiser={"epochs": 0})
    assert row["alignment"] > 1e-4


# Variants


@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.sampled_from([16, 64, 128]))
@settings(max_examples=40, deadline=None)
def test_a_bump_lies_in_its_region(seed: int, regions: int, bands: int) -> None:
    config = VariantsConfig(regions=regions, strength=0.4, width=2.0)
    x_VBFT = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 30, bands, 3)).astype(np.float32))
    varied_VBFT, kinds_B = vary(x_VBFT, config, np.random.default_rng(seed))
    change_VBFT = (varied_VBFT - x_VBFT).numpy()
    np.testing.assert_allclose(change_VBFT, np.broadcast_to(change_VBFT[:1, :, :, :1], change_VBFT.shape), atol=1e-6)
    for kind, bump_F in zip(kinds_B.tolist(), change_VBFT[0, :, :, 0], strict=True):
        if kind == 0:
            assert (bump_F == 0).all()
            continue
        low, high = (kind - 1) * bands / regions, kind * bands / regions
        top = int(np.abs(bump_F).argmax())
        assert low - 0.51 <= top <= high + 0.51
        # Its centre is one band away at most, where a bump of deviation 1 keeps e^(-1/2) of its height.
        assert 0.5 * 0.4 * math.exp(-1 / 2) - 1e-6 <= abs(bump_F[top]) <= 1.5 * 0.4 + 1e-6
        away = np.abs(np.arange(bands) - (low + high) / 2) > (high - low) / 2 + 4 * 3.0
        assert np.abs(bump_F[away]).max(initial=0) < 1e-3
    assert torch.equal(varied_VBFT[:, kinds_B == 0], x_VBFT[:, kinds_B == 0])


def test_variants_follow_from_seed_and_step() -> None:
    x_VBFT, config = torch.zeros(2, 9, 16, 4), VariantsConfig(regions=4, gain=0.2)
    assert kinds(config) == 5

    def of(seed: int, step: int) -> Tensor:
        return vary(x_VBFT, config, generator(seed, step, Purpose.VARIANTS))[0]

    assert torch.equal(of(3, 5), of(3, 5))
    assert not torch.equal(of(3, 5), of(3, 6))
    assert not torch.equal(of(3, 5), of(4, 5))
    _, kinds_B = vary(torch.zeros(1, 5000, 4, 1), config, np.random.default_rng(0))
    assert np.bincount(kinds_B.numpy(), minlength=5) == pytest.approx(1000, abs=150)


@pytest.mark.parametrize("regions", [0, 2])
@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_a_level_needs_no_regions(regions: int, gain: float) -> None:
    """Clips are raised and lowered where there are no bumps, too."""
    x_VBFT = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, BANDS, FRAMES)).astype(np.float32))
    variants = VariantsConfig(regions=regions, gain=gain)
    expected_VBFT, _ = vary(x_VBFT[:1], variants, generator(3, 4, Purpose.VARIANTS))
    task, echo = finetune_of("none", head=Linear(3, 3 * kinds(variants)), variants=variants)
    task.loss(Views(x_VBFT, torch.arange(6), np.arange(6), np.arange(6), 0), 4)
    assert torch.equal(echo.shown[0], expected_VBFT[0])
    assert torch.equal(echo.shown[0], x_VBFT[0]) == (regions == 0 and gain == 0)


def test_a_level_is_of_one_view_and_of_all_bands() -> None:
    config = VariantsConfig(regions=3, gain=0.5)
    draw = np.random.default_rng(0)
    varied_VBFT, kinds_B = vary(torch.zeros(2, 400, 8, 2), config, draw)
    plain_VBF = varied_VBFT[:, kinds_B == 0, :, 0].numpy()
    assert np.ptp(plain_VBF, axis=2).max() == 0
    level_VB = plain_VBF[:, :, 0]
    assert level_VB.std() == pytest.approx(0.5, rel=0.15)
    assert abs(np.corrcoef(level_VB)[0, 1]) < 0.3


# Stretches


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1), st.data())
def test_stretches_are_parts_from_multiples_of_the_hop(frames: int, hop: int, seed: int, data: Any) -> None:
    there = data.draw(st.integers(frames, 60))
    x_BFT = torch.arange(there).expand(64, 2, there) + 100 * torch.arange(2)[None, :, None]
    cut_BFT = stretch(x_BFT, frames, np.random.default_rng(seed), hop)
    first_B = cut_BFT[:, 0, 0]
    assert cut_BFT.shape == (64, 2, frames)
    assert torch.equal(cut_BFT[:, 0], first_B[:, None] + torch.arange(frames))
    assert torch.equal(cut_BFT[:, 1], cut_BFT[:, 0] + 100)
    assert set(first_B.tolist()) <= set(range(0, there - frames + 1, hop))


def test_stretches_come_from_everywhere() -> None:
    x_BFT = torch.arange(20).expand(1000, 1, 20)
    assert set(stretch(x_BFT, 16, np.random.default_rng(0), 2)[:, 0, 0].tolist()) == {0, 2, 4}
    assert set(part(x_BFT, 0.5, np.random.default_rng(0))[:, 0, 0].tolist()) == set(range(11))
    assert part(x_BFT, 0.001, np.random.default_rng(0)).shape == (1000, 1, 1)
    assert part(x_BFT, 1.0, np.random.default_rng(0)) is x_BFT


# Mixup


class Echo(nn.Module):
    """An encoder that keeps what it is shown."""

    embedding_size = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(BANDS, 3)
        self.shown: list[Tensor] = []

    def forward(self, x_BFT: Tensor) -> Tensor:
        self.shown.append(x_BFT.detach().clone())
        return self.linear(x_BFT.mean(2))


class Linear(nn.Linear):
    """A head without a margin."""

    def forward(self, embedding_BD: Tensor, labels_B: Tensor | None = None) -> Tensor:
        return super().forward(embedding_BD)

    def follow(self, embedding_BD: Tensor, labels_B: Tensor) -> None: ...


def finetune_of(
    mixup: str, waves: Waves | None = None, seed: int = 3, head: nn.Module | None = None, **changes: Any
) -> tuple[Finetune, Echo]:
    torch.manual_seed(0)
    echo = Echo()
    config = config_of(
        seed=seed, views=WHOLE, classifier=ClassifierConfig(mixup=mixup, mixup_alpha=1.0), method="finetune", **changes
    )
    held = Held(np.empty((0, BANDS, FRAMES), np.float32), np.empty((2, 0, BANDS, FRAMES), np.float32), np.empty(0))
    return Finetune(Classifier(echo, head or Linear(3, 3)), config, [0, 1, 2, 0, 1, 2], held, waves), echo


def test_log_mels_are_mixed_with_their_labels() -> None:
    task, echo = finetune_of("logmel")
    x_VBFT = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, BANDS, FRAMES)).astype(np.float32))
    batch = Views(x_VBFT, torch.arange(6), np.arange(6), np.arange(6), 0)
    loss, _ = task.loss(batch, 4)
    draw = generator(3, 4, Purpose.MIXUP)
    share, partner_B = draw.beta(1.0, 1.0), draw.permutation(6)
    x_BFT = x_VBFT[0].double().numpy()
    mixed_BFT = share * x_BFT + (1 - share) * x_BFT[partner_B]
    np.testing.assert_allclose(echo.shown[0].numpy(), mixed_BFT, atol=1e-6)
    classifier = copy.deepcopy(task.module).double()
    logits_BC = classifier(torch.from_numpy(mixed_BFT), torch.zeros(6))[0].double().detach().numpy()
    log_p_BC = logits_BC - np.log(np.exp(logits_BC).sum(1, keepdims=True))
    labels_B, rows_B = np.array([0, 1, 2, 0, 1, 2]), np.arange(6)
    own, other = log_p_BC[rows_B, labels_B].mean(), log_p_BC[rows_B, labels_B[partner_B]].mean()
    assert loss.item() == pytest.approx(-(share * own + (1 - share) * other), abs=1e-5)
    again, echo_again = finetune_of("logmel")
    again.loss(batch, 4)
    again.loss(batch, 5)
    assert torch.equal(echo_again.shown[0], echo.shown[0])
    assert not torch.equal(echo_again.shown[1], echo.shown[0])
    plain, echo_plain = finetune_of("none")
    plain.loss(batch, 4)
    assert torch.equal(echo_plain.shown[0], x_VBFT[0])


@pytest.mark.parametrize("step", range(4))
def test_adacos_follows_the_larger_share_of_mixed_clips_once(step: int) -> None:
    torch.manual_seed(0)
    head = build_head("adacos", 3, 30)
    task, echo = finetune_of("logmel", head=head)
    before = copy.deepcopy(head)
    x_VBFT = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 6, BANDS, FRAMES)).astype(np.float32))
    task.loss(Views(x_VBFT, torch.arange(6), np.arange(6), np.arange(6), 0), step)
    draw = generator(3, step, Purpose.MIXUP)
    share, partner_B = draw.beta(1.0, 1.0), draw.permutation(6)
    labels_B = torch.tensor([0, 1, 2, 0, 1, 2])
    embedding_BD, sets = echo(echo.shown[0]).detach(), (labels_B, labels_B[partner_B])
    wrong = copy.deepcopy(before)
    before.follow(embedding_BD, sets[share < 0.5])
    wrong.follow(embedding_BD, sets[share > 0.5])
    assert float(head.scale) == float(before.scale) != float(wrong.scale)


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> tuple[asd.Corpus, list[np.ndarray]]:
    """A long recording of several windows, a short one, and one of two channels; with the samples of each window."""
    folder, rng = tmp_path_factory.mktemp("waves"), np.random.default_rng(0)
    spec = FeatureSpec(n_mels=BANDS, clip_seconds=0.5, channel="mix")
    lengths = {"long": (20_001, 1), "short": (5_000, 1), "stereo": (8_000, 2)}
    paths = []
    for name, shape in lengths.items():
        paths.append(folder / f"{name}.wav")
        soundfile.write(paths[-1], 0.1 * rng.normal(size=shape), 16_000, subtype="FLOAT")
    corpus = asd.Corpus(paths, spec, threads=1)
    list(corpus.look())
    survey = corpus.survey
    assert survey is not None
    assert len(survey.files_N) > 4
    samples = []
    for file, start in zip(survey.files_N.tolist(), survey.starts_N.tolist(), strict=True):
        wave_N = soundfile.read(paths[file], dtype="float64", always_2d=True)[0].mean(1)[start:]
        samples.append(np.tile(wave_N, 2)[:8_000])
    return corpus, samples


def test_waves_are_mixed_as_samples(waves: tuple[asd.Corpus, list[np.ndarray]]) -> None:
    """The log-mel of the mixed samples, not the mixture of log-mels."""
    corpus, samples = waves
    survey = corpus.survey
    assert survey is not None
    count = len(samples)
    windows_B, partners_B = np.arange(count), np.roll(np.arange(count), 1)
    mixer = Waves(corpus.paths, survey, corpus.spec, 1)
    for share in (0.0, 0.3, 1.0):
        mixed_BN = [share * samples[a] + (1 - share) * samples[b] for a, b in zip(windows_B, partners_B, strict=True)]
        logmel_BFT = asd.logmel(np.stack(mixed_BN).astype(np.float32), corpus.spec).astype(np.float64)
        wanted_BFT = (logmel_BFT - survey.mean) / survey.std
        np.testing.assert_allclose(mixer.mixed(windows_B, partners_B, share), wanted_BFT, atol=2e-4)
    # Unmixed they are what the feed gives.
    task, echo = finetune_of("wave", mixer)
    frames = wanted_BFT.shape[2]
    with asd.Feed(corpus, count, alpha=0, crop=False, post_normalise=False, threads=1) as feed:
        batch = next(feed)
        np.testing.assert_allclose(
            mixer.mixed(batch.windows_B, batch.windows_B, 0.5), batch.views_VBFT[0], rtol=0, atol=1e-3
        )
        views = Views(
            torch.from_numpy(batch.views_VBFT.copy()),
            torch.from_numpy(batch.files_B),
            batch.files_B,
            batch.windows_B.copy(),
            batch.position,
        )
    task.loss(views, 0)
    draw = generator(3, 0, Purpose.MIXUP)
    share, partner_B = draw.beta(1.0, 1.0), draw.permutation(count)
    shown = mixer.mixed(views.windows_B, views.windows_B[partner_B], share)
    assert torch.equal(echo.shown[0], torch.from_numpy(shown))
    assert echo.shown[0].shape == (count, BANDS, frames)


def test_ready_log_mels_have_no_samples_to_mix(tmp_path: Path) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22})
    config = config_of(method="finetune", classifier=ClassifierConfig(mixup="wave"))
    with pytest.raises(UsageError, match="no samples") as caught:
        finish(train_network(clips, config, ["00"], place_in(tmp_path / "run")))
    repaired = load_config(None, re.findall(r"--set (\S+?)\.?$", caught.value.hint))
    assert repaired.classifier.mixup == "logmel"


# The device


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Stands in for a GPU where a training is prepared; puts torch's own settings back."""
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = cuda.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, torch.get_num_threads()
    monkeypatch.setattr(fit, "local_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    yield torch.device("cuda", 0)
    cuda.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before[:3]
    torch.set_num_threads(before[3])


@pytest.mark.parametrize(("precision", "allowed"), [("auto", True), ("bfloat16", True), ("float32", False)])
def test_float32_is_no_tf32(tmp_path: Path, gpu: torch.device, precision: str, allowed: bool) -> None:
    _, device = fit.prepare(config_of(device="auto", optimiser={"precision": precision}), place_in(tmp_path))
    assert device == gpu
    assert torch.backends.cuda.matmul.allow_tf32 is allowed
    assert torch.backends.cudnn.allow_tf32 is allowed


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_bfloat16_on_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    """Where they only emulate it, it is slower than float32."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has)
    monkeypatch.setattr(torch, "autocast", lambda *_, dtype, enabled: enabled and dtype == torch.bfloat16)
    assert autocast(OptimiserConfig(), torch.device("cuda")) is has
    assert autocast(OptimiserConfig(), torch.device("cpu")) is False


@pytest.mark.parametrize(("processes", "asked", "wanted"), [(1, None, 9), (4, None, 2), (16, None, 1), (4, 3, 3)])
def test_processes_share_the_threads_of_a_machine(
    tmp_path: Path, gpu: torch.device, monkeypatch: pytest.MonkeyPatch, processes: int, asked: int, wanted: int
) -> None:
    monkeypatch.setattr(fit, "available_threads", lambda: 9)
    if processes > 1:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    config, _ = fit.prepare(config_of(threads=asked), place_in(tmp_path))
    assert config.threads == torch.get_num_threads() == wanted


def test_all_gpus_are_named_by_torch_or_else_by_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, model in enumerate(("H200", "H100")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t NVIDIA {model}\nIRQ:   \t\t 7\n")
    assert gpu_names(tmp_path) == ["NVIDIA H200", "NVIDIA H100"]
    assert gpu_names(tmp_path / "none") == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert gpu_names(tmp_path) == ["GPU 0", "GPU 1"]


# The loop


class Slope:
    """A task of two weights whose loss is given."""

    def __init__(self, loss: Callable[[Tensor, int], Tensor]) -> None:
        self.module: nn.Module = nn.ParameterDict({"w": nn.Parameter(torch.tensor([3.0, -4.0]))})
        self._loss = loss

    @property
    def weights(self) -> Tensor:
        return self.module["w"]  # type: ignore[index,no-any-return]

    def loss(self, batch: Views, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self._loss(self.weights, step), {}

    def after_step(self) -> None: ...

    def probe(self) -> dict[str, float]:
        return {}

    def warn(self, row: dict[str, Any]) -> str | None:
        return None


def descend(task: Slope, folder: Path, steps: int = 1, **optimiser: Any) -> list[dict[str, Any]]:
    """Train on batches of two recordings; return the lines of metrics."""
    names = [Path(f"{number}.wav") for number in range(2 * steps)]
    plan = Plan(steps, 1, folder, {"config": ""}, names, 0.0, lambda: None)
    empty = torch.empty(2, 2, 1, 1)
    pairs = (np.array([2 * k, 2 * k + 1]) for k in range(steps))
    batches = (Views(empty, torch.from_numpy(pair), pair, pair, 0) for pair in pairs)
    settings_ = OptimiserConfig(**{"batch_size": 2, "schedule": "constant", **optimiser})
    list(train(task, batches, plan, settings_, None))
    return [json.loads(line) for line in plan.metrics.read_text().splitlines()]


def test_gradients_are_clipped_by_their_norm(tmp_path: Path) -> None:
    for clip, left in ((0.0, 5.0), (2.0, 2.0), (7.0, 5.0)):
        task = Slope(lambda w, _: 0.5 * w.square().sum())
        (tmp_path / str(clip)).mkdir()
        rows = descend(task, tmp_path / str(clip), clip_norm=clip, learning_rate=1e-3)
        assert rows[1]["gradient_norm"] == pytest.approx(5)
        assert task.weights.grad is not None
        assert float(task.weights.grad.norm()) == pytest.approx(left, rel=1e-5)
        assert (task.weights.grad / task.weights.grad.norm()).tolist() == pytest.approx([0.6, -0.8])


def test_adamw_decays_weights_and_adam_their_gradient(tmp_path: Path) -> None:
    """Where the loss is flat, AdamW multiplies weights by 1 − rate · decay; Adam steps by the rate, whatever the
    size."""
    for name, wanted in (("adamw", [3 * 0.99, -4 * 0.99]), ("adam", [3 - 0.1, -4 + 0.1])):
        task = Slope(lambda w, _: 0.0 * w.sum())
        (tmp_path / name).mkdir()
        descend(task, tmp_path / name, name=name, learning_rate=0.1, weight_decay=0.1)
        assert task.weights.tolist() == pytest.approx(wanted, abs=1e-5)
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        assert type(build_optimiser(OptimiserConfig(name=name), task.module, torch.device("cpu"))) is kind


def test_learning_rates_of_a_schedule() -> None:
    cosine = OptimiserConfig(learning_rate=0.5, schedule="cosine", warmup=0.2)
    found = [learning_rate(cosine, step, 20) for step in range(20)]
    assert found[:4] == pytest.approx([0.125, 0.25, 0.375, 0.5])
    assert found[4:] == pytest.approx([0.25 * (1 + math.cos(math.pi * k / 16)) for k in range(16)])
    assert 0 < found[-1] < 0.01
    constant = OptimiserConfig(learning_rate=0.5, schedule="constant", warmup=0.1)
    assert [learning_rate(constant, step, 20) for step in range(20)] == pytest.approx([0.25, *[0.5] * 19])


@given(st.integers(1, 500), st.floats(0, 0.99), st.sampled_from(["constant", "cosine"]))
def test_a_learning_rate_rises_then_falls(steps: int, warmup: float, schedule: Any) -> None:
    config = OptimiserConfig(learning_rate=1.0, schedule=schedule, warmup=warmup)
    found = [learning_rate(config, step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in found)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)


def test_the_schedule_reaches_the_optimiser(tmp_path: Path) -> None:
    """Adam's first steps along a constant slope are as long as the rate."""
    task = Slope(lambda w, _: w.sum())
    rows = descend(task, tmp_path, steps=4, name="adam", schedule="cosine", warmup=0.5, learning_rate=0.1)
    rates = [0.05, 0.1, 0.1, 0.05]
    assert [row["learning_rate"] for row in rows[1:]] == pytest.approx(rates)
    assert task.weights.tolist() == pytest.approx([3 - sum(rates), -4 - sum(rates)], abs=1e-4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path, value: float) -> None:
    task = Slope(lambda w, step: w.sum() * (value if step == 2 else 1.0))
    with pytest.raises(DataError, match="the loss of step 3 is") as caught:
        descend(task, tmp_path, steps=9)
    assert "non-finite.json" in caught.value.message
    told = json.loads((tmp_path / "non-finite.json").read_text())
    assert told["step"] == 3
    assert told["recordings"] == ["4.wav", "5.wav"]
    kept = state.load(tmp_path / "checkpoint")
    assert kept is not None
    assert kept.step == 2
    assert all(tensor.isfinite().all() for tensor in kept.part("module").values())


def test_of_a_loss_that_is_not_finite_the_recordings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22})
    loss, shown = Contrastive.loss, []

    def poisoned(self: Contrastive, batch: Views, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        found, logs = loss(self, batch, step)
        shown.append(batch.files_B.tolist())
        return (found * math.nan if step == 1 else found), logs

    monkeypatch.setattr(Contrastive, "loss", poisoned)
    with pytest.raises(DataError, match="the loss of step 2 is nan"):
        finish(train_network(clips, config_of(), ["00", "02"], place_in(tmp_path / "run")))
    told = json.loads((tmp_path / "run" / "non-finite.json").read_text())
    kept = [str(c.path) for c in hold_out(clips, "")[0]]
    assert told["recordings"] == [kept[file] for file in shown[1]]
    assert len(shown) == 2


# Sizes


def resolved(windows: int, contrastive: bool = True, **changes: Any) -> tuple[int | None, int | None]:
    optimiser = OptimiserConfig(batch_size=changes.get("batch"))
    config = fit.resolve(
        Config(optimiser=optimiser, moco=MocoConfig(queue_size=changes.get("queue"))), windows, contrastive
    )
    return config.optimiser.batch_size, config.moco.queue_size


def test_sizes_follow_from_the_set() -> None:
    assert resolved(1000) == (64, 4096)
    assert resolved(1000, batch=48) == (48, 4080)
    assert resolved(100_000) == (64, 65_536)
    assert resolved(40) == (40, 4080)
    assert resolved(40, queue=512) == (32, 512)  # as many as divide the queue
    assert resolved(2, queue=512) == (2, 512)
    assert resolved(40, contrastive=False, queue=512)[0] == 40
    assert resolved(9000, batch=5000) == (5000, 5000)


@given(st.integers(2, 300), st.none() | st.integers(2, 64), st.none() | st.integers(1, 600))
def test_sizes_fit_or_the_hint_makes_them_fit(windows: int, batch: int | None, queue: int | None) -> None:
    """What is refused is refused with a hint; two hints at most, and it fits."""
    for _ in range(3):
        try:
            size, length = resolved(windows, batch=batch, queue=queue)
        except UsageError as error:
            assert batch is not None or queue is not None
            if found := re.search(r"--batch-size (\d+)", error.hint):
                batch = int(found[1])
            else:
                queue = int(re.search(r"moco\.queue_size=(\d+)", error.hint)[1])  # type: ignore[index]
        else:
            assert size is not None
            assert length is not None
            assert 2 <= size <= windows
            assert length % size == 0
            return
    pytest.fail("the hints lead nowhere")


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="batch size 64: larger than the training set, which has 63 windows"):
        resolved(63, batch=64)
    with pytest.raises(UsageError, match="queue size 100 is not a multiple of the batch size 64"):
        resolved(64, batch=64, queue=100)
    assert resolved(64, contrastive=False, batch=64, queue=100)[0] == 64
    for batch in (None, 2):
        with pytest.raises(UsageError, match="1 window to train on") as caught:
            resolved(1, batch=batch)
        assert "--batch-size" not in caught.value.hint


# Weights to start from


def stored(folder: Path, name: str = "small", bands: int = BANDS, frames: int = FRAMES, **about: Any) -> Path:
    encoder = build_encoder(
        name, bands, frames, **{key: value for key, value in about.items() if key in ("width", "norm", "pooling")}
    )
    facts = {"name": name, "bands": bands, "frames": frames, "width": 1.0, "norm": "batch", **about}
    folder.mkdir(exist_ok=True)
    save_encoder(folder / FILE, encoder, facts)
    return folder


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"name": "mobilenetv2"}, "another encoder: mobilenetv2, this training has small"),
        ({"norm": "group"}, "another norm: group, this training has batch"),
        ({"pooling": "mean"}, "another pooling: mean, this training has statistics"),
        ({"bands": 32}, "another number of mel bands: 32, this training has 16"),
    ],
)
def test_weights_of_another_encoder_are_refused_with_a_hint_that_works(
    tmp_path: Path, about: dict[str, Any], words: str
) -> None:
    run = stored(tmp_path / "run", **about)
    config = config_of(encoder=EncoderConfig(weights=str(run)))
    with pytest.raises(UsageError) as caught:
        fit.make_encoder(config, FRAMES, fresh=True)
    assert f"{run}: weights of {words}" in caught.value.message
    if found := re.search(r"--encoder (\w+)", caught.value.hint):
        assignments = [f"encoder.name={found[1]}"]
    else:
        assignments = re.findall(r"--set (\S+)", caught.value.hint)
    repaired = load_config(None, assignments, base=config.model_dump(mode="json", exclude_none=True))
    encoder, (note,) = fit.make_encoder(repaired, FRAMES, fresh=True)
    assert f"weights of {run}" in note.message
    from safetensors.torch import load_file

    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in load_file(run / FILE).items())


def test_another_width_is_refused_with_a_hint_that_works(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "mobilenetv2", width=0.5)
    encoder = build_encoder("mobilenetv2", BANDS, FRAMES)
    with pytest.raises(UsageError, match="another width") as caught:
        load_encoder(run, encoder, 1.0, "batch")
    repair = re.findall(r"--set (\S+)", caught.value.hint)
    width = load_config(None, ["encoder.name=mobilenetv2", *repair]).encoder.width
    assert load_encoder(run, build_encoder("mobilenetv2", BANDS, FRAMES, width=width), width, "batch") == ""


def test_mobilefacenet_takes_weights_of_another_length_and_says_so(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "mobilefacenet", frames=64)
    config = config_of(encoder=EncoderConfig(name="mobilefacenet", weights=str(run)), views=ViewsConfig())
    encoder, notes = fit.make_encoder(config, 100, fresh=True)
    assert "weights of 64 frames taken to 100" in said(notes, Note)
    assert "interpolated linearly along time" in said(notes, Note)
    assert encoder.eval()(torch.zeros(1, BANDS, 100)).isfinite().all()
    _, notes = fit.make_encoder(config, 64, fresh=True)
    assert "interpolated" not in said(notes, Note)
    assert fit.make_encoder(config, 100, fresh=False)[1] == []  # a checkpoint brings its own
    with pytest.raises(UsageError, match="whole windows only"):
        load_config(None, ["encoder.name=mobilefacenet", "views.stretch=0.5"])


def test_weights_of_another_front_end_are_taken_with_a_word(tmp_path: Path) -> None:
    told = {"features": SPEC.model_dump(mode="json")}
    run = stored(tmp_path / "run", **told)
    from_run = EncoderConfig(weights=str(run))
    same = {"features": SPEC.model_copy(update={"clip_seconds": 5.0, "channel": "mix"}), "encoder": from_run}
    assert said(fit.make_encoder(config_of(**same), FRAMES, fresh=True)[1], Caution) == ""
    other = {"features": FeatureSpec(n_mels=BANDS, mel_scale="htk", hop_length=256, f_max=7_000), "encoder": from_run}
    caution = said(fit.make_encoder(config_of(**other), FRAMES, fresh=True)[1], Caution)
    assert "hop_length 512, here 256, f_max 8000.0, here 7000.0, mel_scale slaney, here htk" in caution
    silent = stored(tmp_path / "silent")  # weights that do not tell
    config = config_of(**{**other, "encoder": EncoderConfig(weights=str(silent))})
    assert said(fit.make_encoder(config, FRAMES, fresh=True)[1], Caution) == ""


def test_training_starts_from_the_weights(tmp_path: Path) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 22, "02": 22})
    first, _ = finish(train_network(clips, config_of(), ["00"], place_in(tmp_path / "run")))
    save_encoder(tmp_path / "run" / FILE, first.encoder, fit.about_encoder(first.config, first.encoder))
    config = config_of(encoder=EncoderConfig(weights=str(tmp_path / "run")), optimiser={"epochs": 0})
    second, events = finish(train_network(clips, config, ["00"], place_in(tmp_path / "again")))
    assert f"small: weights of {tmp_path / 'run'}" in said(events, Note)
    assert all(map(torch.equal, first.encoder.state_dict().values(), second.encoder.state_dict().values()))


class Payload:
    """Unpickling it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def bad_weights(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    whole = (stored(tmp_path / "whole") / FILE).read_bytes()
    yield "cut.safetensors", whole[: len(whole) // 2]
    yield "header.safetensors", whole[:5]
    yield "empty.safetensors", b""
    yield "noise.safetensors", np.random.default_rng(0).bytes(500)
    save_file({"w": torch.zeros(2)}, tmp_path / "foreign")
    yield "foreign.safetensors", (tmp_path / "foreign").read_bytes()
    save_file({"w": torch.zeros(2)}, tmp_path / "list", {"asd-encoder": "[]", "asd": "[]"})
    yield "list.safetensors", (tmp_path / "list").read_bytes()
    save_file({"w": torch.zeros(2)}, tmp_path / "bare", {"asd-encoder": "{}", "asd": "{}"})
    yield "bare.safetensors", (tmp_path / "bare").read_bytes()
    future = {"format": 99, "step": 1, "name": "small"}
    save_file({"w": torch.zeros(2)}, tmp_path / "future", dict.fromkeys(("asd-encoder", "asd"), json.dumps(future)))
    yield "future.safetensors", (tmp_path / "future").read_bytes()
    yield "pickle.safetensors", pickle.dumps(Payload(tmp_path / "trace"))
    torch.save({"w": Payload(tmp_path / "trace")}, tmp_path / "torch")
    yield "torch.pt", (tmp_path / "torch").read_bytes()


def test_files_that_are_no_weights_are_refused_and_never_run(tmp_path: Path) -> None:
    for name, content in bad_weights(tmp_path):
        file = tmp_path / name
        file.write_bytes(content)
        for read in (lambda f: load_encoder(f, build_encoder("small", BANDS, FRAMES), 1.0, "batch"), state.read):
            with pytest.raises(RunFolderError, match=re.escape(name)) as caught:
                read(file)
            assert caught.value.hint
            assert "format 99" in caught.value.message or name != "future.safetensors"
    assert not (tmp_path / "trace").exists()
    pickle.loads(pickle.dumps(Payload(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()  # the payload does work


def test_weights_that_lack_a_tensor_are_damaged(tmp_path: Path) -> None:
    encoder = build_encoder("small", BANDS, FRAMES)
    about = {"name": "small", "bands": BANDS, "frames": FRAMES, "width": 1.0, "norm": "batch"}
    save_encoder(tmp_path / FILE, encoder.net.first, about)
    with pytest.raises(RunFolderError, match="damaged weights"):
        load_encoder(tmp_path, encoder, 1.0, "batch")


def test_runs_without_weights_say_why(tmp_path: Path) -> None:
    encoder = build_encoder("small", BANDS, FRAMES)
    (tmp_path / "begun" / "checkpoint").mkdir(parents=True)
    (tmp_path / "baseline").mkdir()
    expected: dict[str, tuple[type[AsdError], str]] = {
        "absent": (DataError, "no such run"),
        "begun": (RunFolderError, "did not end"),
        "baseline": (RunFolderError, "no weights of a network here"),
    }
    for name, (kind, words) in expected.items():
        with pytest.raises(kind, match=words):
            load_encoder(tmp_path / name, encoder, 1.0, "batch")


# From recordings to a detector


def test_a_detector_rests_on_what_was_held_out(tmp_path: Path) -> None:
    clips = write_logmels(tmp_path / "data", {"00": 30, "02": 30})
    trained, events = finish(train_detector(clips, config_of(), ["00"], place_in(tmp_path / "run")))
    assert trained.detector.notes["held_out"] == sorted(c.name for c in hold_out(clips, "")[1])
    assert any(isinstance(event, Progress) and event.stage == "training" for event in events)
    assert load_encoder(tmp_path / "run", build_encoder("small", BANDS, FRAMES), 1.0, "batch") == ""
    assert about_encoder(tmp_path / "run")["features"] == SPEC.model_dump(mode="json")
    assert asd.Detector.load(tmp_path / "run").score([clips[0].path])[0].section == "00"


def test_the_run_folder_tells_what_a_network_was_made_of(tmp_path: Path) -> None:
    """Sizes that followed from the set, recordings of other machines, and weights."""
    clips = write_logmels(tmp_path / "data", {"00": 24, "02": 24})
    others = write_logmels(tmp_path / "more", {"00": 20}, machine="pump")
    finish(train_detector(clips, config_of(), ["00"], place_in(tmp_path / "first")))
    env = json.loads((tmp_path / "first" / "env.json").read_text())
    assert "weights" not in env
    assert env["resolved"] | {"queue_size": 64, "batch_size": 8, "steps": 4} == env["resolved"]
    config = config_of(
        method="finetune",
        encoder=EncoderConfig(weights=str(tmp_path / "first")),
        classifier=ClassifierConfig(classes="root"),
        optimiser={"batch_size": None},
    )
    finish(train_detector(clips, config, ["00"], place_in(tmp_path / "run"), others=others))
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    assert "queue_size" not in env["resolved"]
    assert env["resolved"] | {"batch_size": 38, "steps": 1} == env["resolved"]
    digests = {file["path"]: file["sha256"] for file in env["files"]}
    assert digests == {c.name: hashlib.sha256(c.path.read_bytes()).hexdigest() for c in [*clips, *others]}
    weights = tmp_path / "first" / FILE
    assert env["weights"] == {
        "path": str(tmp_path / "first"),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


def claim_of(preset: str, encoder: str, given: dict[str, Any], classes: bool = False) -> str:
    """What a run of a preset says of the paper."""
    config = load_config(flags=given, base=read_preset(preset))
    built = build_encoder(encoder, 16, 33, pooling=config.encoder.pooling)
    resolved = config.model_copy(update={"moco": config.moco.model_copy(update={"queue_size": 4096})})
    head = nn.Identity() if classes else None
    return left_open(Fitted(built, head, (), 0.0, 1.0, [], resolved, {}), config)


def test_a_run_that_claims_to_be_the_papers_says_what_was_left_open() -> None:
    same = {"seed": 3, "device": "cpu", "threads": 1, "data.machine": "fan", "data.ids": ["00"], "cache_gb": 1}
    told = claim_of("dcase2020", "resnet50", same)
    assert told.startswith("the paper leaves open, and here are: temperature 0.07, queue 4096, positives the other")
    assert told.endswith("global average pooling, scorer knn.")
    told = claim_of("dcase2022", "mobilenetv2", {**same, "encoder.weights": "/runs/pre"}, classes=True)
    assert told.endswith("head arcface, scale 30, margin 0.7, classes of the root, global average pooling, scorer knn.")


def test_a_run_that_is_not_the_papers_says_what_was_changed() -> None:
    told = claim_of("dcase2020", "resnet50", {"optimiser.epochs": 3, "seed": 1})
    assert told == "changed: optimiser.epochs 3 for 150."
    told = claim_of("dcase2020", "resnet50", {"encoder.pooling": "bands", "features.mel_scale": "htk"})
    assert told == "changed: features.mel_scale htk for slaney, encoder.pooling bands for None."


@pytest.mark.parametrize(("encoder", "pooling"), [("mobilefacenet", "places"), ("small", "statistics")])
def test_of_pooling_that_of_the_encoder_is_told(monkeypatch: pytest.MonkeyPatch, encoder: str, pooling: str) -> None:
    changed = {"encoder": {"name": encoder}, "views": {"stretch": 1.0}}
    monkeypatch.setattr(train_detector_module, "read_preset", lambda _: {**read_preset("dcase2020"), **changed})
    config = load_config(base={**read_preset("dcase2020"), **changed})
    fitted = Fitted(build_encoder(encoder, 16, 33), None, (), 0.0, 1.0, [], config, {})
    assert f", {train_detector_module.POOLING[pooling]}, scorer" in left_open(fitted, config)
