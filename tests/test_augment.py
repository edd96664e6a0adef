"""Two views: the kernels against torch, what is drawn against the law, and batches against their parts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

import asd
from asd import augment, features
from asd.augment import ALPHA, EPS

F, T = 128, 313
DRAWS = 1_000


def noise(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def torch_mixup(x, z, lam):
    torch = pytest.importorskip("torch")
    x, z, lam = torch.from_numpy(x), torch.from_numpy(z), torch.as_tensor(lam, dtype=torch.float32)
    return torch.log((1 - lam) * torch.exp(x) + lam * torch.exp(z) + EPS).numpy()


def torch_crop(x, top, left, height, width):
    torch = pytest.importorskip("torch")
    bands, frames = x.shape
    wide = int(1.5 * frames)
    canvas = torch.zeros(1, 1, bands, wide)
    begin = (wide - frames) // 2
    canvas[0, 0, :, begin : begin + frames] = torch.from_numpy(x)
    part = canvas[:, :, top : top + height, left : left + width]
    resized = torch.nn.functional.interpolate(part, (bands, frames), mode="bicubic", align_corners=True)
    return resized[0, 0].numpy()


@st.composite
def crops(draw):
    """Shape of a log-mel and a legal crop of its canvas, the edges more often than chance would have them."""
    bands, frames = draw(st.tuples(st.integers(1, 40), st.integers(1, 90)) | st.just((F, T)))
    wide = frames + frames // 2
    height = draw(st.integers(1, bands) | st.just(bands))
    width = draw(st.integers(1, wide) | st.just(wide))
    top = draw(st.integers(0, bands - height) | st.just(bands - height))
    left = draw(st.integers(0, wide - width) | st.just(wide - width))
    return (bands, frames), (top, left, height, width)


# --- the kernels against torch


@settings(max_examples=DRAWS, deadline=None)
@given(crops(), st.integers(0, 2**32))
def test_random_resize_crop_is_torchs(crop, seed):
    shape, (top, left, height, width) = crop
    x_FT = noise(seed, *shape)
    got_FT = augment.random_resize_crop(x_FT, top, left, height, width, threads=1)
    np.testing.assert_allclose(got_FT, torch_crop(x_FT, top, left, height, width), rtol=0, atol=1e-4)


@settings(max_examples=DRAWS, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 70)),
    st.floats(0, 1, width=32),
    st.floats(0.1, 20),
    st.integers(0, 2**32),
)
def test_log_mixup_exp_is_torchs(shape, lam, scale, seed):
    x_FT, z_FT = np.clip(noise(seed, 2, *shape) * np.float32(scale), -80, 80)
    got_FT = augment.log_mixup_exp(x_FT, z_FT, lam, threads=1)
    np.testing.assert_allclose(got_FT, torch_mixup(x_FT, z_FT, lam), rtol=2e-7, atol=1e-5)


def test_a_weight_may_be_one_a_band_or_one_a_clip():
    x_BFT, z_BFT = noise(0, 2, 5, 6, 33)
    lam_F, lam_B = np.linspace(0, 1, 6), np.linspace(0, 0.4, 5)
    by_band = augment.log_mixup_exp(x_BFT, z_BFT, lam_F)
    np.testing.assert_allclose(by_band, torch_mixup(x_BFT, z_BFT, lam_F[:, None]), atol=1e-5)
    by_clip = augment.log_mixup_exp(x_BFT, z_BFT, lam_B[:, None])
    np.testing.assert_allclose(by_clip, torch_mixup(x_BFT, z_BFT, lam_B[:, None, None]), atol=1e-5)


def test_raw_mixes_energies():
    mean, std = -6.5, 3.25
    logmel_2FT = np.log(np.random.default_rng(0).exponential(1e-3, (2, F, T)) + 1e-7)
    x_FT, z_FT = ((logmel_2FT - mean) / std).astype(np.float32)
    got_FT = augment.log_mixup_exp(x_FT, z_FT, 0.3, mix_domain="raw", mean=mean, std=std)
    mixed_FT = np.log(0.7 * np.exp(logmel_2FT[0]) + 0.3 * np.exp(logmel_2FT[1]) + EPS)
    np.testing.assert_allclose(got_FT, (mixed_FT - mean) / std, atol=1e-5)


def test_silence_below_the_least_exponent_is_the_floor():
    x_FT = np.full((3, 20), -1e30, np.float32)
    np.testing.assert_allclose(augment.log_mixup_exp(x_FT, x_FT, 0.2), np.log(EPS), rtol=1e-6)


# --- what a batch is made of


def by_hand(x_BFT, bank_KFT, seed, position, lam_scale=1.0, **options):
    """The views of a batch from the two kernels and the draws, one clip after the other."""
    history = [*bank_KFT]
    views = ([], [])
    for b, x_FT in enumerate(x_BFT):
        d = augment.draws(seed, position + b, 1, x_FT.shape, len(history))
        for v in range(2):
            back, lam = d.back_BV[0, v], d.lam_BV[0, v]
            mixed_FT = (
                augment.log_mixup_exp(x_FT, history[-1 - back], lam * lam_scale, **options) if back >= 0 else x_FT
            )
            part = d.top_BV[0, v], d.left_BV[0, v], d.height_BV[0, v], d.width_BV[0, v]
            views[v].append(augment.random_resize_crop(mixed_FT, *part))
        history.append(x_FT)
    return np.stack(views[0]), np.stack(views[1])


@pytest.mark.parametrize(("banked", "position"), [(0, 0), (0, 7), (1, 1), (5, 2**40)])
@pytest.mark.parametrize("shape", [(F, T), (7, 30), (1, 1), (5, 2), (3, 17)])
def test_a_batch_is_its_kernels_bit_for_bit(banked, position, shape):
    x_BFT, bank_KFT = noise(1, 6, *shape), noise(2, banked, *shape)
    views = asd.two_views(x_BFT, bank_KFT, 3, position, post_normalise=False)
    for got, expected in zip(views, by_hand(x_BFT, bank_KFT, 3, position), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_raw_and_high_reach_the_kernel():
    spec = asd.FeatureSpec()
    x_BFT, bank_KFT = noise(1, 3, F, T), noise(2, 4, F, T)
    ramp_F = np.clip((features.mel_centres(spec) - 2000) / 2000, 0, 1).astype(np.float32)
    raw = {"mix_domain": "raw", "mean": -6.0, "std": 3.0}
    views = asd.two_views(x_BFT, bank_KFT, 3, mix_band="high", post_normalise=False, **raw)
    for got, expected in zip(views, by_hand(x_BFT, bank_KFT, 3, 0, ramp_F, **raw), strict=True):
        np.testing.assert_array_equal(got, expected)
    low_F = features.mel_centres(spec) < 2000
    assert 0 < low_F.sum() < F
    np.testing.assert_array_equal(ramp_F[low_F], 0)


@pytest.mark.parametrize("mix", [{}, {"mix_domain": "raw", "mean": -6.0, "std": 3.0}], ids=["normalised", "raw"])
@pytest.mark.parametrize("shape", [(F, T), (7, 30), (1, 1), (5, 2), (3, 17)])
def test_without_the_crop_a_view_is_the_mix_bit_for_bit(mix, shape):
    x_BFT, bank_KFT = noise(1, 6, *shape), noise(2, 5, *shape)
    history = np.concatenate([bank_KFT, x_BFT])
    d = augment.draws(3, 7, 6, shape, 5)
    views = asd.two_views(x_BFT, bank_KFT, 3, 7, crop=False, post_normalise=False, **mix)
    for v, view_BFT in enumerate(views):
        partners_BFT = history[np.arange(5, 11) - 1 - d.back_BV[:, v]]
        mixed_BFT = augment.log_mixup_exp(x_BFT, partners_BFT, d.lam_BV[:, v, None], **mix)
        assert view_BFT.tobytes() == mixed_BFT.tobytes()


@pytest.mark.parametrize("shape", [(F, T), (7, 30), (1, 1), (5, 2), (3, 17)])
def test_without_mixing_a_view_is_the_crop_bit_for_bit(shape):
    x_BFT, bank_KFT = noise(1, 6, *shape), noise(2, 5, *shape)
    d = augment.draws(3, 7, 6, shape, 5)  # of the stream with mixing: what is left out changes no draw
    views = asd.two_views(x_BFT, bank_KFT, 3, 7, alpha=0, post_normalise=False)
    for v, view_BFT in enumerate(views):
        part = (getattr(d, name)[:, v] for name in ("top_BV", "left_BV", "height_BV", "width_BV"))
        assert view_BFT.tobytes() == augment.random_resize_crop(x_BFT, *part).tobytes()


@pytest.mark.parametrize("mix", [{}, {"mix_domain": "raw", "mean": -6.0, "std": 3.0}], ids=["normalised", "raw"])
def test_without_both_a_view_is_the_clip_bit_for_bit(mix):
    x_BFT, bank_KFT = noise(1, 6, 9, 37), noise(2, 5, 9, 37)
    x_BFT[0, 0, :4] = 0.0, -0.0, -1e30, 1e30  # as energies they would be lost, or overflow
    views = asd.two_views(x_BFT, bank_KFT, 3, 7, alpha=0, crop=False, post_normalise=False, **mix)
    assert [view_BFT.tobytes() for view_BFT in views] == [x_BFT.tobytes()] * 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_mixed_must_be_finite_too(bad):
    x_BFT = noise(1, 4, 8, 40)
    x_BFT[2, 5, 17] = bad
    with pytest.raises(ValueError, match="x: row 2 holds NaN or infinite"):
        asd.two_views(x_BFT, None, alpha=0, crop=False)


def test_what_is_left_out_changes_no_draw():
    full, unmixed = (augment.draws(3, 7, 50, (9, 37), alpha=alpha) for alpha in (ALPHA, 0.0))
    for name in ("top_BV", "left_BV", "height_BV", "width_BV"):
        np.testing.assert_array_equal(getattr(full, name), getattr(unmixed, name))
    assert (unmixed.back_BV == -1).all() and (unmixed.lam_BV == 0).all()


@pytest.mark.parametrize("options", [{"crop": False}, {"alpha": 0}, {"crop": False, "alpha": 0}])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_what_is_left_out_leaves_mean_0_and_std_1(scale, options):
    x_BFT, bank_KFT = noise(1, 9, F, T) * np.float32(scale) - np.float32(scale), noise(2, 20, F, T)
    both = np.stack(asd.two_views(x_BFT, bank_KFT, 5, **options)).astype(np.float64)
    assert abs(both.mean()) < 1e-5
    assert abs(both.std(ddof=1) - 1) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_normalised_batches_have_mean_0_and_std_1(scale):
    x_BFT, bank_KFT = noise(1, 9, F, T) * np.float32(scale) - np.float32(scale), noise(2, 20, F, T)
    for seed in range(5):
        both = np.stack(asd.two_views(x_BFT, bank_KFT, seed)).astype(np.float64)
        assert abs(both.mean()) < 1e-5
        assert abs(both.std(ddof=1) - 1) < 1e-5


def test_normalising_is_of_both_views_together():
    x_BFT, bank_KFT = noise(1, 4, F, T), noise(2, 4, F, T)
    plain = np.stack(asd.two_views(x_BFT, bank_KFT, post_normalise=False)).astype(np.float64)
    both = np.stack(asd.two_views(x_BFT, bank_KFT))
    np.testing.assert_allclose(both, (plain - plain.mean()) / plain.std(ddof=1), atol=1e-5)


def test_a_batch_without_contrast_becomes_zeros():
    x_BFT = np.zeros((2, 8, 40), np.float32)
    np.testing.assert_array_equal(np.stack(asd.two_views(x_BFT[:1], None)), 0)


def test_the_number_of_threads_changes_no_byte():
    x_BFT, bank_KFT = noise(1, 70, F, T), noise(2, 33, F, T)
    one, two, sixteen = (np.stack(asd.two_views(x_BFT, bank_KFT, 5, 11, threads=n)) for n in (1, 2, 16))
    assert one.tobytes() == two.tobytes() == sixteen.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 12), st.integers(1, 8))
def test_a_batch_cut_in_two_gives_the_same_views(first, second, banked, bank_size):
    x_BFT, bank_KFT = noise(1, first + second, 16, 50), noise(2, banked, 16, 50)
    options = {"post_normalise": False, "bank_size": bank_size}
    whole = np.stack(asd.two_views(x_BFT, bank_KFT, 9, 100, **options))
    part1 = np.stack(asd.two_views(x_BFT[:first], bank_KFT, 9, 100, **options))
    bank2_KFT = np.concatenate([bank_KFT, x_BFT[:first]])[-bank_size:]
    if first + banked >= bank_size or banked == 0:  # the second bank holds all that can be drawn
        part2 = np.stack(asd.two_views(x_BFT[first:], bank2_KFT, 9, 100 + first, **options))
        assert whole.tobytes() == np.concatenate([part1, part2], axis=1).tobytes()


def test_out_is_written_and_returned():
    x_BFT, bank_KFT = noise(1, 3, 8, 40), noise(2, 3, 8, 40)
    expected = asd.two_views(x_BFT, bank_KFT)
    out = np.full((2, 3, 8, 40), np.nan, np.float32)
    first, second = asd.two_views(x_BFT, bank_KFT, out=out)
    assert np.shares_memory(first, out[0]) and np.shares_memory(second, out[1])
    np.testing.assert_array_equal(out, np.stack(expected))
    pair = np.empty((3, 8, 40), np.float32), np.empty((3, 8, 40), np.float32)
    first, second = asd.two_views(x_BFT, bank_KFT, out=pair)
    assert first is pair[0] and second is pair[1]


def test_inputs_are_only_read():
    x_BFT, bank_KFT = noise(1, 3, 8, 40), noise(2, 3, 8, 40)
    x_BFT.flags.writeable = bank_KFT.flags.writeable = False
    before = x_BFT.tobytes(), bank_KFT.tobytes()
    asd.two_views(x_BFT, bank_KFT)
    assert before == (x_BFT.tobytes(), bank_KFT.tobytes())


# --- what is drawn


def test_draws_are_a_function_of_seed_position_and_view():
    whole = augment.draws(4, 1000, 50, (F, T))
    for p in (0, 17, 49):
        one = augment.draws(4, 1000 + p, 1, (F, T))
        for name in ("back_BV", "lam_BV", "top_BV", "left_BV", "height_BV", "width_BV"):
            np.testing.assert_array_equal(getattr(whole, name)[p], getattr(one, name)[0])
    other = augment.draws(5, 1000, 50, (F, T))
    assert (whole.lam_BV != other.lam_BV).all()
    assert (whole.lam_BV[:, 0] != whole.lam_BV[:, 1]).all()


def test_the_first_clip_of_a_stream_is_not_mixed():
    d = augment.draws(0, 0, 3, (F, T))
    assert (d.back_BV[0] == -1).all() and (d.lam_BV[0] == 0).all()
    assert (d.back_BV[1] == 0).all()
    assert set(d.back_BV[2]) <= {0, 1}


def test_partners_are_those_of_a_fifo():
    """A FIFO of 8, drawn from before each push, against the stream: partners of clips 0 to 19 over many seeds."""
    size, clips, seeds = 8, 20, 3_000
    rng = np.random.default_rng(0)
    fifo_counts = np.zeros((clips, clips))
    for _ in range(seeds * 2):
        fifo: deque[int] = deque(maxlen=size)
        for clip in range(clips):
            if fifo:
                fifo_counts[clip, fifo[rng.integers(len(fifo))]] += 1
            fifo.append(clip)
    stream_counts = np.zeros((clips, clips))
    for seed in range(seeds):
        back_BV = augment.draws(seed, 0, clips, (F, T), bank_size=size).back_BV
        for clip in range(1, clips):
            np.add.at(stream_counts[clip], clip - 1 - back_BV[clip], 1)
    assert ((fifo_counts > 0) == (stream_counts > 0)).all()
    for clip in range(2, clips):
        table = np.stack([fifo_counts[clip], stream_counts[clip]])
        assert stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-4
        seen = stream_counts[clip][stream_counts[clip] > 0]
        assert len(seen) == min(clip, size)
        assert stats.chisquare(seen).pvalue > 1e-4


def test_views_draw_independently():
    d = augment.draws(1, 100_000, 40_000, (F, T), bank_size=8)
    table = np.zeros((8, 8))
    np.add.at(table, (d.back_BV[:, 0], d.back_BV[:, 1]), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-4
    assert abs(np.corrcoef(d.lam_BV.T)[0, 1]) < 0.02


@pytest.mark.parametrize(("bands", "frames"), [(F, T), (10, 21)])
def test_crops_follow_the_law(bands, frames):
    d = augment.draws(2, 0, 40_000, (bands, frames))
    wide = int(1.5 * frames)
    for drawn, of, limit in ((d.height_BV, bands, bands), (d.width_BV, frames, wide)):
        # P(size = s) for s = clip(floor(u · of), 1, limit), u uniform in [0.6, 1.5).
        edges = np.clip(np.arange(limit + 2) / of, 0.6, 1.5)
        edges[-1] = 1.5
        share = np.diff(edges) / 0.9
        counts = np.bincount(drawn.ravel(), minlength=limit + 1)
        assert (counts[share == 0] == 0).all()
        assert stats.chisquare(counts[share > 0], share[share > 0] * counts.sum()).pvalue > 1e-4
    # Given the size, offsets are uniform: (offset + u) / (room + 1) is uniform for an own uniform u.
    u = np.random.default_rng(0).random((2, *d.top_BV.shape))
    assert stats.kstest(((d.top_BV + u[0]) / (bands - d.height_BV + 1)).ravel(), "uniform").pvalue > 1e-4
    assert stats.kstest(((d.left_BV + u[1]) / (wide - d.width_BV + 1)).ravel(), "uniform").pvalue > 1e-4
    assert stats.kstest(d.lam_BV[1:].ravel() / ALPHA, "uniform").pvalue > 1e-4
    assert d.lam_BV.max() <= np.float32(ALPHA)


# --- instruction sets

PRINT_VIEWS = """
import sys, numpy as np, asd
rng = np.random.default_rng(0)
x, bank = (rng.standard_normal((n, 128, 313), np.float32) for n in (5, 9))
views = np.stack(asd.two_views(x, bank, 3, 9, threads=1))
narrow = np.stack(asd.two_views(x[:, :9, :21].copy(), bank[:, :9, :21].copy(), threads=1))
mixed = np.stack(asd.two_views(x, bank, 3, 9, threads=1, crop=False))
sys.stdout.buffer.write(views.tobytes() + narrow.tobytes() + mixed.tobytes())
"""


def views_with(simd: str) -> NDArray[np.float32]:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_VIEWS], capture_output=True, check=False, env={**os.environ, "ASD_SIMD": simd}
    )
    if b"expected auto or one of this CPU's" in done.stderr:
        pytest.skip(f"this CPU has no {simd}")
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, np.float32)


@pytest.mark.parametrize("simd", ["avx512", "avx2", "neon"])
def test_instruction_sets_agree(simd):
    np.testing.assert_allclose(views_with(simd), views_with("scalar"), rtol=0, atol=1e-5)


def test_an_instruction_set_that_is_not_there_is_an_error():
    code = "import numpy as np, asd; asd.two_views(np.zeros((1, 4, 9), np.float32), None)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "ASD_SIMD": "mmx"}
    )
    assert "UsageError: ASD_SIMD: expected auto or one of this CPU's" in done.stderr


# --- at the door

X = noise(1, 4, 8, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_BFT": X.astype(np.float64)}, "x: expected float32"),
        ({"x_BFT": X[0, 0]}, "x: expected"),
        ({"x_BFT": [[1.0]]}, "x: expected"),
        ({"x_BFT": X[:, :, ::2]}, "x: expected C-contiguous"),
        ({"x_BFT": np.zeros((1, 0, 40), np.float32)}, "x: expected 1 to 4096 bands"),
        ({"bank_KFT": X[:, :4]}, "bank: expected float32 of shape"),
        ({"bank_KFT": X.astype(np.float64)}, "bank: expected float32"),
        ({"bank_KFT": X[::-1]}, "bank: expected C-contiguous"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"seed": 2**64}, "seed: expected a whole number"),
        ({"position": 1.5}, "position: expected a whole number"),
        ({"threads": 0}, "threads: expected 1 to 1024"),
        ({"out": np.empty((3, 4, 8, 40), np.float32)}, "out: expected two arrays"),
        ({"out": np.empty((2, 4, 8, 41), np.float32)}, r"out\[0\]: expected float32 of shape"),
        ({"out": (np.empty_like(X), np.empty((4, 8, 40)))}, r"out\[1\]: expected float32"),
        ({"out": (np.empty_like(X), X)}, r"out\[1\]: shares memory"),
        ({"out": (X[:0], X)}, r"out\[0\]: expected"),
        ({"alpha": 1.5}, "alpha: expected 0 to 1"),
        ({"alpha": float("nan")}, "alpha: expected 0 to 1"),
        ({"bank_size": 0}, "bank_size"),
        ({"bank_size": -1}, "bank_size"),
        ({"eps": 0.0}, "eps: expected"),
        ({"mix_domain": "dB"}, "mix_domain"),
        ({"mix_domain": "raw"}, "mean, std"),
        ({"mix_domain": "raw", "mean": 0.0, "std": 0.0}, "mean, std"),
        ({"mix_domain": "raw", "mean": float("inf"), "std": 1.0}, "mean, std"),
        ({"mix_band": "low"}, "mix_band"),
        ({"mix_band": "high"}, "spec: has 128 bands, and x has 8"),
    ],
)
def test_what_does_not_fit_is_a_value_error_that_names_it(change, message):
    good = {"x_BFT": X, "bank_KFT": X}
    asd.two_views(**good)
    with pytest.raises(ValueError, match=message):
        asd.two_views(**(good | change))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 89.0])
@pytest.mark.parametrize("at", [(0, 0, 0), (2, 5, 17), (3, 7, 39)])
def test_values_that_do_not_fit_are_found(bad, at):
    x_BFT = X.copy()
    x_BFT[at] = bad
    problem = "NaN or infinite" if not np.isfinite(bad) else "exponential overflows"
    with pytest.raises(ValueError, match=f"x: row {at[0]} holds .*{problem}"):
        asd.two_views(x_BFT, X)
    with pytest.raises(ValueError, match=f"x: row {at[0]} holds"):
        augment.log_mixup_exp(x_BFT, X, 0.1)
    with pytest.raises(ValueError, match=f"z: row {at[0]} holds"):
        augment.log_mixup_exp(X, x_BFT, 0.1)
    if not np.isfinite(bad):
        with pytest.raises(ValueError, match=f"x: row {at[0]} holds"):
            augment.random_resize_crop(x_BFT, 0, 0, 8, 10)


def test_values_of_a_partner_that_do_not_fit_are_found():
    bank_KFT = np.full_like(X, np.nan)
    with pytest.raises(ValueError, match=r"bank: row \d holds NaN"):
        asd.two_views(X, bank_KFT)


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ((0, 0, 0, 10), "height: expected 1 to 8"),
        ((0, 0, 9, 10), "height: expected 1 to 8"),
        ((0, 0, 8, 61), "width: expected 1 to 60"),
        ((1, 0, 8, 10), "top: expected 0 to 0"),
        ((0, 51, 8, 10), "left: expected 0 to 50"),
        ((-1, 0, 8, 10), "top: out of range"),
        ((0, [1, 2], 8, 10), "left: expected a whole number, or 4 of them"),
        ((0, 0.5, 8, 10), "left: expected a whole number"),
    ],
)
def test_a_crop_outside_the_canvas_is_refused(crop, message):
    augment.random_resize_crop(X, 0, 0, 8, 60)
    with pytest.raises(ValueError, match=message):
        augment.random_resize_crop(X, *crop)


@pytest.mark.parametrize("lam", [-0.1, 1.1, np.nan, "much", np.zeros(7)])
def test_a_weight_that_cannot_be_is_refused(lam):
    with pytest.raises(ValueError, match="lam"):
        augment.log_mixup_exp(X, X, lam)


def test_empty_batches_are_legal():
    first, second = asd.two_views(X[:0], X)
    assert first.shape == second.shape == (0, 8, 40)
    assert augment.draws(0, 0, 0, (8, 40)).lam_BV.shape == (0, 2)
