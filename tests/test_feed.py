"""The feed: what it gives is a function of (seed, draw), whatever the threads, the cache and the way there."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import asd
from asd import features
from asd.corpus import Survey
from asd.errors import DataError, UsageError
from asd.events import Caution, Progress
from asd.feed import Batch, Feed, round_of

SPEC = asd.FeatureSpec(clip_seconds=1.0, n_mels=32)
CLIPS = 24
LEFT_OUT = [{"crop": False}, {"alpha": 0}, {"alpha": 0, "crop": False}]


def write(path: Path, seconds: float, seed: int, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    rng = np.random.default_rng(seed)
    time_N = np.arange(int(seconds * rate)) / rate
    wave_N = 0.1 * rng.standard_normal(len(time_N)) + 0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000) * time_N)
    soundfile.write(path, wave_N, rate, subtype=subtype)
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    """Short recordings of several kinds: a window each."""
    folder = tmp_path_factory.mktemp("clips")
    kinds = [("wav", 16_000, "PCM_16"), ("flac", 16_000, "PCM_16"), ("wav", 48_000, "PCM_24"), ("wav", 16_000, "FLOAT")]
    return [
        write(folder / f"{i:02}.{kinds[i % 4][0]}", 0.7 + 0.05 * i % 0.7, i, kinds[i % 4][1], kinds[i % 4][2])
        for i in range(CLIPS)
    ]


@pytest.fixture(scope="module")
def long_paths(tmp_path_factory) -> list[Path]:
    """Three recordings of many windows."""
    folder = tmp_path_factory.mktemp("long")
    return [
        write(folder / "a.wav", 7.3, 1),
        write(folder / "b.flac", 5.0, 2),
        write(folder / "c.wav", 6.1, 3, rate=32_000),
    ]


def corpus_of(paths: Sequence[Path], **options: object) -> asd.Corpus:
    corpus = asd.Corpus(paths, SPEC, **options)  # type: ignore[arg-type]
    list(corpus.look())
    return corpus


def run(corpus: asd.Corpus, batches: int, batch_size: int = 6, **options: object) -> list[tuple[int, bytes, bytes]]:
    """Position, windows and views of the first batches."""
    with Feed(corpus, batch_size, **options) as feed:  # type: ignore[arg-type]
        return [(b.position, b.windows_B.tobytes(), b.views_VBFT.tobytes()) for b in itertools.islice(feed, batches)]


def windows(corpus: asd.Corpus, draws: int, **options: object) -> list[int]:
    batches = run(corpus, -(-draws // 4), 4, **options)
    return np.concatenate([np.frombuffer(w, np.int64) for _, w, _ in batches])[:draws].tolist()


def normalised(corpus: asd.Corpus) -> np.ndarray:
    """Every window's log-mel as two_views takes it."""
    logmels = [r.logmel_WFT for r in features.read_recordings(corpus.paths, SPEC)]  # type: ignore[union-attr]
    survey = corpus.survey
    assert survey is not None
    return features.pre_normalise(np.concatenate(logmels), survey.mean, survey.std)


def test_it_gives_what_two_views_gives(paths):
    corpus = corpus_of(paths)
    x_NFT = normalised(corpus)
    drawn: list[int] = []
    with Feed(corpus, 6, seed=5) as feed:
        for batch in itertools.islice(feed, CLIPS // 6):
            bank_KFT = np.ascontiguousarray(x_NFT[drawn])
            first, second = asd.two_views(x_NFT[batch.windows_B], bank_KFT, seed=5, position=batch.position)
            np.testing.assert_array_equal(batch.views_VBFT[0], first)
            np.testing.assert_array_equal(batch.views_VBFT[1], second)
            assert abs(batch.views_VBFT.mean(dtype=np.float64)) < 1e-5
            assert abs(batch.views_VBFT.std(ddof=1, dtype=np.float64) - 1) < 1e-5
            drawn += batch.windows_B.tolist()
    assert sorted(drawn) == list(range(CLIPS))


@pytest.mark.parametrize(
    "options", [{"mix_domain": "raw"}, {"mix_band": "high"}, {"alpha": 1.0, "bank_size": 3}, *LEFT_OUT]
)
def test_it_takes_the_options_of_two_views(paths, options):
    corpus = corpus_of(paths)
    x_NFT = normalised(corpus)
    with Feed(corpus, CLIPS, seed=1, post_normalise=False, **options) as feed:
        batch = next(feed)
    given_options = (
        dict(options, mean=corpus.survey.mean, std=corpus.survey.std) if "mix_domain" in options else options
    )
    views = asd.two_views(x_NFT[batch.windows_B], None, seed=1, post_normalise=False, spec=SPEC, **given_options)
    np.testing.assert_array_equal(batch.views_VBFT, np.stack(views))


@pytest.mark.parametrize("options", LEFT_OUT)
def test_views_with_something_left_out_are_those_of_two_views_all_along(paths, options):
    corpus = corpus_of(paths, cache_gb=0)
    x_NFT = normalised(corpus)
    plain = windows(corpus, 4 * CLIPS, seed=5)
    drawn: list[int] = []
    with Feed(corpus, 4, seed=5, post_normalise=False, bank_size=9, **options) as feed:
        for batch in itertools.islice(feed, CLIPS):
            if batch.position < CLIPS:  # a later partner may be the clip itself, which a feed draws again
                bank_KFT = np.ascontiguousarray(x_NFT[drawn])
                views = asd.two_views(
                    x_NFT[batch.windows_B], bank_KFT, 5, batch.position, post_normalise=False, bank_size=9, **options
                )
                assert batch.views_VBFT.tobytes() == np.stack(views).tobytes()
            if options == {"alpha": 0, "crop": False}:
                assert batch.views_VBFT.tobytes() == x_NFT[[*batch.windows_B, *batch.windows_B]].tobytes()
            drawn += batch.windows_B.tolist()
    assert drawn == plain  # the same clips as with everything


def test_mean_and_deviation_are_those_of_all_log_mels(paths, long_paths):
    corpus = corpus_of(paths + long_paths)
    logmels = np.concatenate([r.logmel_WFT for r in features.read_recordings(corpus.paths, SPEC)]).astype(np.float64)
    assert corpus.survey.mean == pytest.approx(logmels.mean(), rel=1e-12)
    assert corpus.survey.std == pytest.approx(logmels.std(), rel=1e-9)
    assert len(corpus.survey.files_N) == len(logmels)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_threads_cache_and_their_past_change_no_byte(paths, long_paths, half, tmp_path):
    everything = paths + long_paths
    warm = corpus_of(everything, half=half)
    expected = run(warm, 30)
    assert run(warm, 30) == expected
    for threads in (1, 2, 16):
        assert run(warm, 30, threads=threads) == expected
    cold = corpus_of(everything, half=half, cache_gb=0)
    assert cold.room == 0
    assert run(cold, 30, threads=2) == expected
    # Room for some of it; and a corpus that was looked at by another, whose cache fills as it is read.
    some = corpus_of(everything, half=half, cache_gb=1e-4)
    assert run(some, 30) == expected
    warm.survey.save(tmp_path / "survey.npz")
    told = asd.Corpus(everything, SPEC, half=half, survey=Survey.load(tmp_path / "survey.npz"))
    empty = told.room
    assert run(told, 30, threads=2) == expected
    assert told.room < empty
    assert run(told, 30, prefetch=5) == expected


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_ready_log_mels_are_fed_as_they_are_read(tmp_path, half):
    rng = np.random.default_rng(0)
    recipe = {"unit": "dB", "sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": 32, "mel_scale": "slaney"}
    (tmp_path / "features.json").write_text(json.dumps(recipe))
    files = [tmp_path / f"{i}.npy" for i in range(10)]
    for i, file in enumerate(files):
        logmel_FT = rng.normal(-40, 10, (32, 20)).astype((np.float16, np.float32)[i % 2])
        np.save(file, np.asfortranarray(logmel_FT) if i % 3 == 0 else logmel_FT)
    corpus = corpus_of(files, half=half)
    assert corpus.survey.frames == 20
    logmels = np.stack([asd.read_logmel(file, SPEC) for file in files])
    if half:
        logmels = logmels.astype(np.float16).astype(np.float32)
    assert corpus.survey.mean == pytest.approx(logmels.mean(dtype=np.float64), rel=1e-12)
    x_NFT = features.pre_normalise(logmels, corpus.survey.mean, corpus.survey.std)
    with Feed(corpus, 10) as feed:
        batch = next(feed)
    np.testing.assert_array_equal(batch.views_VBFT, np.stack(asd.two_views(x_NFT[batch.windows_B], None)))
    assert run(corpus_of(files, half=half, cache_gb=0), 8) == run(corpus, 8)
    np.save(files[4], np.zeros((32, 21), np.float32))
    with pytest.raises(DataError, match=r"4\.npy: its log-mel has 21 frames, that of .*0\.npy has 20"):
        corpus_of(files)
    np.save(files[4], np.zeros((31, 20), np.float32))
    with pytest.raises(DataError, match=r"4\.npy: its log-mel has 31 bands, where 32 are expected"):
        corpus_of(files)


def test_float16_rounds(paths):
    whole, half = run(corpus_of(paths), 1)[0][2], run(corpus_of(paths, half=True), 1)[0][2]
    x, y = np.frombuffer(whole, np.float32), np.frombuffer(half, np.float32)
    assert 0 < np.abs(x - y).max() < 0.05


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 300), batch_size=st.integers(1, 9), bank_size=st.sampled_from([1, 7, 40, 2048]))
def test_seek_leads_to_the_same_batches(paths, long_paths, start, batch_size, bank_size):
    corpus = corpus_of(paths[:7] + long_paths)
    first = start // batch_size
    straight = run(corpus, first + 4, batch_size, seed=9, bank_size=bank_size)[first:]
    assert run(corpus, 4, batch_size, seed=9, bank_size=bank_size, position=first * batch_size) == straight
    with Feed(corpus, batch_size, seed=9, bank_size=bank_size) as feed:
        next(feed)
        for _ in range(2):
            feed.seek(first * batch_size)
            found = [(b.position, b.windows_B.tobytes(), b.views_VBFT.tobytes()) for b in itertools.islice(feed, 4)]
            assert found == straight


def test_batches_run_on_across_the_ends_of_epochs(paths):
    drawn = windows(corpus_of(paths), 5 * CLIPS)
    for epoch in range(5):
        assert sorted(drawn[epoch * CLIPS : (epoch + 1) * CLIPS]) == list(range(CLIPS))
    assert drawn[:CLIPS] != drawn[CLIPS : 2 * CLIPS]
    assert windows(corpus_of(paths), CLIPS, seed=1) != drawn[:CLIPS]


def test_ranks_share_one_stream(paths):
    corpus = corpus_of(paths)
    options = {"post_normalise": False, "seed": 4}
    whole = run(corpus, 12, 6, **options)
    parts = [run(corpus, 12, 3, rank=rank, world_size=2, **options) for rank in range(2)]
    for (position, drawn, views), *ranks in zip(whole, *parts, strict=True):
        assert [r[0] for r in ranks] == [position, position + 3]
        assert b"".join(r[1] for r in ranks) == drawn
        as_rows = [np.frombuffer(r[2], np.float32).reshape(2, 3, -1) for r in ranks]
        np.testing.assert_array_equal(np.concatenate(as_rows, 1), np.frombuffer(views, np.float32).reshape(2, 6, -1))


def test_windows_of_a_long_recording_are_drawn_one_by_one(long_paths):
    corpus = corpus_of(long_paths)
    survey = corpus.survey
    counts = Counter(survey.files_N.tolist())
    assert counts == {0: 14, 1: 9, 2: 12}
    drawn = windows(corpus, len(survey.files_N))
    assert sorted(drawn) == list(range(len(survey.files_N)))
    seconds = survey.starts_N[survey.files_N == 0] / 16_000
    np.testing.assert_allclose(seconds, [*np.arange(0, 6.3, 0.5), 6.3])


def test_one_recording_is_not_mixed(long_paths):
    corpus = corpus_of(long_paths[:1], cache_gb=0)
    x_NFT = normalised(corpus)
    with Feed(corpus, 3, seed=2, post_normalise=False) as feed:
        for batch in itertools.islice(feed, 10):
            for row, window in enumerate(batch.windows_B):
                x_1FT = x_NFT[window][None]
                alone = asd.two_views(x_1FT, None, seed=2, position=batch.position + row, post_normalise=False)
                np.testing.assert_array_equal(batch.views_VBFT[:, row], np.concatenate(alone))


def test_classes_take_turns(paths):
    labels = ["fan" if i < 5 else "pump" for i in range(CLIPS)]
    corpus = corpus_of(paths)
    drawn = windows(corpus, 10 * CLIPS, labels=labels)
    assert all((first < 5) != (second < 5) for first, second in zip(drawn[::2], drawn[1::2], strict=True))
    fans = [w for w in drawn if w < 5]
    assert len(fans) == 5 * CLIPS
    assert all(sorted(fans[i : i + 5]) == list(range(5)) for i in range(0, len(fans) - 4, 5))


def test_shares_say_how_often_a_class_is_drawn(paths):
    labels = [("00", "02", "04")[i % 3] for i in range(CLIPS)]
    drawn = windows(corpus_of(paths), 400, labels=labels, shares={"00": 2, "02": 1, "04": 1})
    assert Counter(labels[w] for w in drawn) == {"00": 200, "02": 100, "04": 100}
    assert [labels[w] for w in drawn[:4]] == ["00", "02", "04", "00"]
    only = windows(corpus_of(paths), 40, labels=labels, shares={"02": 1})
    assert {labels[w] for w in only} == {"02"}


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 9), min_size=1, max_size=6))
def test_a_round_is_even(shares):
    taken = round_of(shares)
    assert Counter(taken) == shares
    total = sum(shares.values())
    for at in range(total):
        so_far = Counter(taken[: at + 1])
        assert all(abs(so_far[key] - share * (at + 1) / total) < len(shares) for key, share in shares.items())


def test_a_buffer_is_filled_in_place(paths):
    torch = pytest.importorskip("torch")
    corpus = corpus_of(paths)
    expected = run(corpus, 5)
    buffers = [torch.zeros(2, 6, 32, corpus.survey.frames) for _ in range(3)]
    with Feed(corpus, 6, buffers=buffers) as feed:
        for batch, (_, _, views) in zip(feed, expected, strict=False):
            (holder,) = [b for b in buffers if b.data_ptr() == batch.views_VBFT.ctypes.data]
            assert holder.numpy().tobytes() == views


def test_buffers_that_do_not_fit_are_refused(paths):
    corpus = corpus_of(paths)
    good = np.zeros((2, 6, 32, corpus.survey.frames), np.float32)
    owner = bytearray(good.nbytes)

    class Copies:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return good.copy()

    for buffers, message in [
        ([good], "two or more"),
        ([good, good], r"buffers\[1\]: shares memory"),
        ([good, good.astype(np.float64)], r"buffers\[1\]: expected float32"),
        ([good, good[:, :5]], r"buffers\[1\]: expected float32 of shape"),
        ([good, np.asfortranarray(good)], "C-contiguous"),
        ([good[None][0], good[::1]], r"buffers\[1\]: shares memory"),
        ([np.frombuffer(owner, np.float32).reshape(good.shape) for _ in range(2)], r"buffers\[1\]: shares memory"),
        ([good, Copies()], "gives a copy of its memory"),
        ([good, None], r"buffers\[1\]: NoneType"),
        ([good, np.frombuffer(good.tobytes(), np.float32).reshape(good.shape)], "read-only"),
    ]:
        with pytest.raises(ValueError, match=message):
            Feed(corpus, 6, buffers=buffers)
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(good.shape)
    with pytest.raises(ValueError, match=r"buffers\[1\]: shares memory"):
        Feed(corpus, 6, buffers=[tensor, tensor.view_as(tensor)])
    with pytest.raises(ValueError, match=r"buffers\[1\]: cannot be written to as an array"):
        Feed(corpus, 6, buffers=[tensor, torch.zeros(good.shape, requires_grad=True)])
    for prefetch in (0, 65, 10**12):
        with pytest.raises(ValueError, match="prefetch: expected 1 to 64"):
            Feed(corpus, 6, prefetch=prefetch)


def test_wrong_arguments_are_refused(paths):
    corpus = corpus_of(paths)
    with pytest.raises(UsageError, match="larger than the training set, which has 24 windows"):
        Feed(corpus, CLIPS + 1)
    with pytest.raises(UsageError, match="larger than the training set"):
        Feed(corpus, CLIPS, rank=1, world_size=2)
    with pytest.raises(UsageError, match="expected 1 or more"):
        Feed(corpus, 0)
    with pytest.raises(UsageError, match="a sequence of 24, one a recording, got 3"):
        Feed(corpus, 4, labels=["a", "b", "c"])
    with pytest.raises(UsageError, match="no recording has the label 'x'"):
        Feed(corpus, 4, labels=["a"] * CLIPS, shares={"x": 1})
    with pytest.raises(UsageError, match="expected 1 or more"):
        Feed(corpus, 4, labels=["a"] * CLIPS, shares={"a": 0})
    with pytest.raises(UsageError, match="shares without labels"):
        Feed(corpus, 4, shares={"a": 1})
    with pytest.raises(UsageError, match="not a number"):
        Feed(corpus, 4, labels=np.full(CLIPS, np.nan).tolist())
    with pytest.raises(UsageError, match="no class is to be drawn"):
        Feed(corpus, 4, labels=["a"] * CLIPS, shares={})
    for labels in ("ab" * (CLIPS // 2), dict.fromkeys(range(CLIPS), "a")):
        with pytest.raises(UsageError, match="labels: expected a sequence"):
            Feed(corpus, 4, labels=labels)  # type: ignore[arg-type]
    for options, name in [
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"rank": -1}, "rank"),
        ({"world_size": 0}, "world_size"),
        ({"batch_size": 4.0}, "batch_size"),
        ({"batch_size": None}, "batch_size"),
        ({"prefetch": "2"}, "prefetch"),
        ({"seed": -1}, "seed"),
        ({"position": 2**64}, "position"),
        ({"threads": 0}, "threads"),
        ({"std": 0.0}, "std"),
        ({"mean": float("nan")}, "mean"),
        ({"alpha": 2.0}, "alpha"),
        ({"bank_size": 2**21}, "bank_size"),
        ({"mix_domain": "x"}, "mix_domain"),
        ({"labels": ["a"] * CLIPS, "shares": {"a": 1.5}}, "shares"),
    ]:
        with pytest.raises(ValueError, match=name):
            Feed(corpus, **{"batch_size": 4, **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nobody has looked"):
        Feed(asd.Corpus(paths, SPEC), 4)
    with pytest.raises(UsageError, match="no recordings"):
        asd.Corpus([], SPEC)
    with pytest.raises(UsageError, match="cache_gb"):
        asd.Corpus(paths, SPEC, cache_gb=-1)
    with pytest.raises(UsageError, match="expected several"):
        asd.Corpus(str(paths[0]), SPEC)


def test_a_recording_that_cannot_be_read_is_named(paths, tmp_path):
    bad = tmp_path / "notes.wav"
    bad.write_text("no sound at all")
    with pytest.raises(DataError, match=r"notes\.wav: .*text"):
        corpus_of([*paths, bad])
    corpus = asd.Corpus([bad, *paths], SPEC)
    events = list(corpus.look(skip_bad=True))
    assert [type(e) for e in events] == [Caution, Progress]
    assert corpus.survey.unreadable.tolist() == [0]
    with Feed(corpus, CLIPS) as feed:
        batch = next(feed)
    assert sorted(batch.files_B) == list(range(1, CLIPS + 1))
    with pytest.raises(DataError, match="none of the 1 recordings"):
        list(asd.Corpus([bad], SPEC).look(skip_bad=True))


def test_silence_everywhere_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    with pytest.raises(DataError, match="sound alike"):
        corpus_of([tmp_path / "a.wav"])


def test_the_order_of_shares_changes_nothing(paths):
    labels = [("00", "02", "04")[i % 3] for i in range(CLIPS)]
    corpus = corpus_of(paths)
    one, other = {"00": 2, "02": 1, "04": 1}, {"04": 1, "00": 2, "02": 1}
    assert run(corpus, 20, labels=labels, shares=one) == run(corpus, 20, labels=labels, shares=other)


def test_a_survey_of_something_else_is_refused(paths):
    survey = corpus_of(paths).survey
    for other in (
        {"paths": paths[::-1]},
        {"paths": paths[1:]},
        {"paths": [*paths, paths[0]]},
        {"spec": SPEC.model_copy(update={"n_mels": 64})},
        {"spec": SPEC.model_copy(update={"clip_seconds": 2.0})},
        {"half": True},
    ):
        with pytest.raises(UsageError, match="a survey of other recordings"):
            asd.Corpus(**{"paths": paths, "spec": SPEC, **other}, survey=survey)  # type: ignore[arg-type]
    for change in (
        {"files_N": survey.files_N.astype(np.float64)},
        {"starts_N": survey.starts_N[:-1]},
        {"indices_N": survey.counts_N.copy()},
        {"mean": float("inf")},
        {"frames": 0},
        {"unreadable": np.array([-1])},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(survey, **change)
    with pytest.raises(ValueError, match="read-only"):
        survey.files_N[0] = 1


def test_a_damaged_survey_is_named(paths, tmp_path):
    corpus_of(paths).survey.save(tmp_path / "good.npz")
    good = (tmp_path / "good.npz").read_bytes()
    file = tmp_path / "survey.npz"
    np.save(tmp_path / "array.npy", np.zeros(3))
    for content in (b"", b"notes", good[:1000], good[:-1], (tmp_path / "array.npy").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"survey\.npz: no survey of recordings"):
            Survey.load(file)
    rng = np.random.default_rng(0)
    for _ in range(200):
        flipped = bytearray(good)
        flipped[rng.integers(len(good))] ^= 1 << rng.integers(8)
        file.write_bytes(flipped)
        with contextlib.suppress(DataError):
            Survey.load(file)
    with pytest.raises(DataError, match=r"absent\.npz"):
        Survey.load(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="cannot be written"):
        corpus_of(paths).survey.save(tmp_path / "no folder" / "survey.npz")


def test_a_second_look_forgets_the_first(tmp_path):
    files = [write(tmp_path / f"{i}.wav", 1.0, i) for i in range(6)]
    corpus = corpus_of(files)
    before = run(corpus, 3)
    write(files[2], 7.0, 99)
    list(corpus.look())
    assert run(corpus, 3) == run(corpus_of(files), 3) != before


def test_health_comes_with_the_look(paths, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    corpus = corpus_of([*paths, tmp_path / "silent.wav"])
    assert [health.is_silent for health in corpus.health if health] == [False] * CLIPS + [True]


def test_log_mels_that_no_energy_gives_are_refused(tmp_path):
    recipe = {"unit": "ln", "sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": 32, "mel_scale": "slaney"}
    (tmp_path / "features.json").write_text(json.dumps(recipe))
    logmel_FT = np.random.default_rng(0).standard_normal((32, 20)).astype(np.float32)
    np.save(tmp_path / "good.npy", logmel_FT)
    logmel_FT[3, 4] = 4e5
    np.save(tmp_path / "huge.npy", logmel_FT)
    for half in (False, True):
        with pytest.raises(DataError, match=r"huge\.npy: its log-mel has values beyond 10000"):
            corpus_of([tmp_path / "good.npy", tmp_path / "huge.npy"], half=half)


def test_a_log_mel_without_a_recipe_can_be_skipped(paths, tmp_path):
    np.save(tmp_path / "alone.npy", np.zeros((32, 20), np.float32))
    corpus = asd.Corpus([*paths, tmp_path / "alone.npy"], SPEC)
    events = list(corpus.look(skip_bad=True))
    assert [e.message for e in events if isinstance(e, Caution)] == [
        f"skipped {tmp_path / 'alone.npy'}: no features.json in its folder or the 4 above it"
    ]
    assert corpus.survey.unreadable.tolist() == [CLIPS]
    with pytest.raises(DataError, match=r"features\.json"):
        list(corpus.look())


def test_a_feed_is_not_copied(paths):
    feed = Feed(corpus_of(paths), 4)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="make it where it is used"):
            attempt(feed)


def test_another_thread_may_seek_and_close(paths):
    corpus = corpus_of(paths, cache_gb=0)
    for _ in range(30):
        feed = Feed(corpus, 8)
        stop = threading.Event()

        def seek(feed: Feed = feed, stop: threading.Event = stop) -> None:
            for turn in itertools.count():
                if stop.is_set():
                    return
                feed.seek(turn % 9 * 8)

        other = threading.Thread(target=seek)
        other.start()
        for _ in range(5):
            assert next(feed).position % 8 == 0
        closer = threading.Thread(target=feed.close)
        closer.start()
        closer.join(30)
        assert not closer.is_alive()
        stop.set()
        other.join(30)
        assert not other.is_alive()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_recording_that_vanishes_or_changes_is_named_and_the_batch_is_tried_again(tmp_path, threads):
    files = [write(tmp_path / f"{i}.wav", 1.0, i) for i in range(8)]
    corpus = corpus_of(files, cache_gb=0)
    expected = run(corpus, 4, 8)
    kept = files[3].read_bytes()
    with Feed(corpus, 8, threads=threads) as feed:
        files[3].unlink()
        # Batches that were made before are still good.
        with pytest.raises(DataError, match=r"3\.wav: there is no such file") as caught:
            for _ in range(40):
                next(feed)
        assert "ls" in caught.value.hint
        files[3].write_bytes(kept)
        batch = until_it_works(feed)
        straight = run(corpus, batch.position // 8 + 1, 8)[-1]
        assert (batch.position, batch.windows_B.tobytes(), batch.views_VBFT.tobytes()) == straight
        write(files[3], 9.0, 3)
        feed.seek(0)
        with pytest.raises(DataError, match=r"3\.wav: it has changed since it was looked at"):
            next(feed)
        files[3].write_bytes(kept)
        assert until_it_works(feed).views_VBFT.tobytes() == expected[0][2]


def until_it_works(feed: Feed) -> Batch:
    """The next batch; it may have been tried once more while the file was still bad."""
    for _ in range(3):
        with contextlib.suppress(DataError):
            return next(feed)
    return next(feed)


def test_after_the_end_it_says_so(paths):
    feed = Feed(corpus_of(paths), 4)
    next(feed)
    feed.close()
    feed.close()
    with pytest.raises(ValueError, match="closed"):
        next(feed)


def own_threads() -> list[str]:
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_a_thousand_feeds_leave_nothing_behind(paths):
    corpus = corpus_of(paths, cache_gb=0)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for turn in range(1000):
        feed = Feed(corpus, 4, seed=turn)
        if turn % 3 == 0:
            next(feed)
        if turn % 3 == 1:
            feed.close()
        del feed  # in the middle of its work
        if turn == 200:
            gc.collect()
            before, files = resident(), len(list(Path("/proc/self/fd").iterdir()))
    assert "asd-feed" not in own_threads()
    assert len(list(Path("/proc/self/fd").iterdir())) <= files
    assert resident() < before * 1.1 + 2**24


def test_memory_is_flat_once_the_ring_is_full(tmp_path):
    files = [write(tmp_path / f"{i}.wav", 1.0, i) for i in range(300)]
    corpus = corpus_of(files, cache_gb=0)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with Feed(corpus, 10, bank_size=100) as feed:
        for _ in itertools.islice(feed, 60):
            pass
        full = resident()
        for _ in itertools.islice(feed, 240):
            pass
        assert resident() < 1.05 * full


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    head = "import sys, time, os, signal, asd, numpy as np\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


LOOK = """
corpus = asd.Corpus(sys.argv[1:], asd.FeatureSpec(clip_seconds=1.0, n_mels=32), cache_gb=0)
list(corpus.look())
"""


def test_ctrl_c_ends_the_wait_and_loses_nothing(long_paths, tmp_path):
    # A recording long enough that a batch of its windows, decoded whole for each, takes many seconds.
    soundfile.write(tmp_path / "long.flac", np.random.default_rng(0).standard_normal(16_000 * 400) * 0.1, 16_000)
    process = python(
        LOOK
        + """
feed = asd.Feed(corpus, 64)
print("ready", flush=True)
try:
    next(feed)
except KeyboardInterrupt:
    began = time.perf_counter()
    feed.close()
    print("stopped", time.perf_counter() - began, flush=True)
""",
        str(tmp_path / "long.flac"),
        *map(str, long_paths),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    began = time.perf_counter()
    out, err = process.communicate(timeout=60)
    assert "stopped" in out, err
    assert process.returncode == 0
    assert time.perf_counter() - began < 10  # hundreds of decodings would take far longer


def test_the_interpreter_ends_with_a_feed_at_work(paths):
    process = python(LOOK + "feed = asd.Feed(corpus, 8, prefetch=50)\nnext(feed)\n", *map(str, paths))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gets_a_clear_error_and_can_make_its_own(paths):
    process = python(
        LOOK
        + """
feed = asd.Feed(corpus, 8)
first = next(feed).views_VBFT.copy()
child = os.fork()
if child == 0:
    try:
        next(feed)
    except ValueError as error:
        print(error, flush=True)
    feed.seek(0)
    feed.close()
    with asd.Feed(corpus, 8, threads=2) as own:
        print(np.array_equal(next(own).views_VBFT, first), flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
next(feed)
""",
        *map(str, paths),
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "made before a fork" in out
    assert "True" in out


def test_two_threads_may_share_a_corpus(paths):
    corpus = corpus_of(paths, cache_gb=0)
    expected = run(corpus, 10)
    results: list[object] = []
    workers = [threading.Thread(target=lambda: results.append(run(corpus, 10, threads=2))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [expected] * 4
