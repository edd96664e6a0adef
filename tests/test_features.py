"""Log-mels: against float64 oracles, for odd input, over threads, forks and interrupts; files, ready log-mels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import asd
from asd import features
from asd.config import LOG_EPS, FeatureSpec
from asd.errors import DataError

pytestmark = pytest.mark.filterwarnings(  # librosa's remarks on short waves and narrow bands
    "ignore:Empty filters detected", "ignore:n_fft=.* is too large"
)

SLANEY = FeatureSpec()
HTK = FeatureSpec(mel_scale="htk")
FRAME_HEAD = SLANEY.n_fft // 2 + 1
"""Fewest samples that reflect padding can do with."""


def librosa_mel(wave_N: NDArray[np.floating], spec: FeatureSpec) -> NDArray[np.float64]:
    """Mel energies (F, T) of librosa in float64."""
    import librosa

    return librosa.feature.melspectrogram(
        y=wave_N.astype(np.float64),
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        n_mels=spec.n_mels,
        fmin=spec.f_min,
        fmax=spec.f_max,
        htk=spec.mel_scale == "htk",
        norm="slaney" if spec.mel_scale == "slaney" else None,
        pad_mode="reflect",
        power=2.0,
        dtype=np.float64,
    )


def torchaudio_mel(wave_N: NDArray[np.floating], spec: FeatureSpec) -> NDArray[np.float64]:
    """Mel energies (F, T) of torchaudio, filters included, in float64."""
    torch = pytest.importorskip("torch", reason="torchaudio is the oracle of the HTK filters")
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is the oracle of the HTK filters")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=spec.sample_rate,
            n_fft=spec.n_fft,
            hop_length=spec.hop_length,
            n_mels=spec.n_mels,
            f_min=spec.f_min,
            f_max=spec.f_max,
            norm="slaney" if spec.mel_scale == "slaney" else None,
            mel_scale=spec.mel_scale,
        )
        return mel(torch.from_numpy(wave_N.astype(np.float64))).numpy()
    finally:
        torch.set_default_dtype(default)


ORACLES: dict[str, tuple[FeatureSpec, Callable[..., NDArray[np.float64]]]] = {
    "slaney, librosa": (SLANEY, librosa_mel),
    "htk, torchaudio": (HTK, torchaudio_mel),
}
both = pytest.mark.parametrize(("spec", "oracle"), ORACLES.values(), ids=ORACLES.keys())


def assert_within_tolerance(got_FT: NDArray[np.float32], mel_FT: NDArray[np.float64], eps: float = LOG_EPS) -> None:
    """|Δ| <= 1e-4 + 3e-7 sqrt(M / (mel + eps)), M the frame's largest mel energy."""
    tolerance_FT = 1e-4 + 3e-7 * np.sqrt(mel_FT.max(0) / (mel_FT + eps))
    error_FT = np.abs(got_FT - np.log(mel_FT + eps))
    assert got_FT.shape == mel_FT.shape
    assert (error_FT <= tolerance_FT).all(), f"{(error_FT / tolerance_FT).max():.3g} times the tolerance"


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def tone(hz: float, samples: int = 160_000) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hz / 16_000 * np.arange(samples)).astype(np.float32)


# --- against the oracles


@both
@pytest.mark.parametrize(
    "pattern", ["dcase2020_wavs/**/*.wav", "esc50_16k/*.flac", "mimii_8ch/**/*.wav"], ids=["wav", "flac", "8ch"]
)
def test_real_recordings_are_within_tolerance(data_root, pattern, spec, oracle):
    files = sorted(data_root.glob(pattern))
    assert files
    for file in files[:: max(1, len(files) // 25)]:
        wave_CN, rate = soundfile.read(file, dtype="float32", always_2d=True)
        assert rate == spec.sample_rate
        wave_N = np.ascontiguousarray(wave_CN[:, 0])
        assert_within_tolerance(asd.logmel(wave_N[None], spec)[0], oracle(wave_N, spec))


@both
@pytest.mark.parametrize(
    "wave_N",
    [
        noise(160_000),
        noise(160_000) * 30,
        np.clip(noise(160_000) * 20, -1, 1),
        tone(1000.0),
        tone(997.3) / 2,
        tone(4000.0) * np.float32(1e-4),
        np.zeros(160_000, np.float32),
        np.ones(160_000, np.float32),
        np.eye(1, 160_000, 5_000, dtype=np.float32)[0],
    ],
    ids=["noise", "loud", "clipped", "tone on a bin", "tone", "faint tone", "silence", "constant", "impulse"],
)
def test_synthetic_signals_are_within_tolerance(wave_N, spec, oracle):
    assert_within_tolerance(asd.logmel(wave_N[None], spec)[0], oracle(wave_N, spec))


@settings(max_examples=60, deadline=None)
@given(
    n_fft=st.sampled_from([256, 512, 1024, 2048, 4096]),
    hop_share=st.sampled_from([0.1, 0.25, 0.5, 0.77, 1.0]),
    n_mels=st.integers(1, 160),
    band=st.sampled_from([(0.0, 8000.0), (50.0, 7800.0), (2000.0, 4000.0)]),
    mel_scale=st.sampled_from(["slaney", "htk"]),
    extra=st.integers(0, 20_000),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_spec_and_length_is_within_tolerance(n_fft, hop_share, n_mels, band, mel_scale, extra, seed):
    spec = FeatureSpec(
        n_fft=n_fft,
        hop_length=max(1, int(n_fft * hop_share)),
        n_mels=n_mels,
        f_min=band[0],
        f_max=band[1],
        mel_scale=mel_scale,
    )
    wave_N = noise(n_fft // 2 + 1 + extra, seed=seed)
    got_FT = asd.logmel(wave_N[None], spec)[0]
    assert got_FT.shape == (n_mels, 1 + len(wave_N) // spec.hop_length)
    assert_within_tolerance(got_FT, librosa_mel(wave_N, spec))


@both
def test_int16_equals_the_same_samples_as_float32(spec, oracle):
    waves_BN = np.random.default_rng(1).integers(-32768, 32768, (3, 20_000)).astype(np.int16)
    as_float_BN = (waves_BN / np.float32(32768)).astype(np.float32)
    got_BFT = asd.logmel(waves_BN, spec)
    assert got_BFT.tobytes() == asd.logmel(as_float_BN, spec).tobytes()
    assert_within_tolerance(got_BFT[0], oracle(as_float_BN[0], spec))


@pytest.mark.parametrize("spec", [SLANEY, HTK, FeatureSpec(n_mels=40, f_min=100, f_max=6000)])
def test_filterbank_and_centres(spec):
    import librosa

    kernel = features.kernel(spec)
    norm = "slaney" if spec.mel_scale == "slaney" else None
    htk = spec.mel_scale == "htk"
    expected = librosa.filters.mel(
        sr=16000,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.f_min,
        fmax=spec.f_max,
        htk=htk,
        norm=norm,
        dtype=np.float64,
    )
    np.testing.assert_allclose(kernel.filterbank(), expected, rtol=0, atol=1e-12 * expected.max())
    points = librosa.mel_frequencies(spec.n_mels + 2, fmin=spec.f_min, fmax=spec.f_max, htk=htk)
    np.testing.assert_allclose(features.mel_centres(spec), points[1:-1], rtol=1e-12)


# --- threads, buffers


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_bytes_do_not_depend_on_threads(dtype):
    waves_BN = noise(37, 16_000) if dtype == np.float32 else (noise(37, 16_000) * 32767).astype(np.int16)
    one = asd.logmel(waves_BN, threads=1).tobytes()
    assert all(asd.logmel(waves_BN, threads=n).tobytes() == one for n in (2, 3, 16))
    rows = [asd.logmel(waves_BN[i : i + 1], threads=1)[0] for i in range(len(waves_BN))]
    assert np.stack(rows).tobytes() == one


def test_writes_into_out():
    waves_BN = noise(2, 16_000)
    out_BFT = np.full((2, 128, 32), np.nan, np.float32)
    assert asd.logmel(waves_BN, out=out_BFT) is out_BFT
    assert out_BFT.tobytes() == asd.logmel(waves_BN).tobytes()


def test_an_empty_batch_is_an_empty_batch():
    assert asd.logmel(np.empty((0, 16_000), np.float32)).shape == (0, 128, 32)


# --- instruction sets


def with_simd(name: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own with ASD_SIMD set: it is read once a process."""
    environment = {**os.environ, "ASD_SIMD": name}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("simd", ["auto", "avx512", "avx2", "neon", "scalar"])
def test_every_instruction_set_is_within_tolerance_and_independent_of_threads(tmp_path, simd):
    code = """
        import sys
        import numpy as np
        import asd
        from asd import _dsp
        folder = sys.argv[1]
        waves_BN = np.load(f"{folder}/waves.npy")
        x_BFT = asd.logmel(waves_BN, threads=1)
        assert all(asd.logmel(waves_BN, threads=n).tobytes() == x_BFT.tobytes() for n in (2, 3, 16))
        ints_BN = (waves_BN * 32767).astype(np.int16)
        assert asd.logmel(ints_BN).tobytes() == asd.logmel(ints_BN / np.float32(32768)).tobytes()
        np.save(f"{folder}/logmel.npy", x_BFT)
        print(_dsp.simd())
    """
    waves_BN = np.concatenate([noise(20, 20_000), tone(997.3, 20_000)[None]])
    np.save(tmp_path / "waves.npy", waves_BN)
    done = with_simd(simd, code, str(tmp_path))
    if "one of this CPU's" in done.stderr:
        pytest.skip(f"this CPU has no {simd}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == simd or simd == "auto"
    for wave_N, got_FT in zip(waves_BN, np.load(tmp_path / "logmel.npy"), strict=True):
        assert_within_tolerance(got_FT, librosa_mel(wave_N, SLANEY))


@pytest.mark.parametrize("name", ["sse9", "AVX2", ""])
def test_an_instruction_set_that_cannot_be_is_refused_with_the_choices(name):
    code = """
        import numpy as np
        import asd
        from asd import _dsp
        for use in (_dsp.simd, lambda: asd.logmel(np.zeros((1, 16_000), np.float32))):
            try:
                use()
            except ValueError as error:
                print(error)
    """
    done = with_simd(name, code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3, lines
    assert lines[0] == lines[1]
    assert lines[0].startswith("ASD_SIMD: expected auto or one of this CPU's ")
    assert lines[0].endswith(f'scalar, got "{name}"')
    assert lines[2] == "unset ASD_SIMD, and the best one is taken"


# --- odd input


@pytest.mark.parametrize(
    ("waves", "message"),
    [
        (noise(2, 16_000).astype(np.float64), "waves: expected float32 or int16 .* got float64"),
        (noise(2, 16_000).astype(np.float16), "waves: expected float32 or int16 .* got float16"),
        (noise(2, 16_000).astype(">f4"), "waves: expected float32 or int16 .* got >f4"),
        (np.zeros((2, 16_000), np.uint16), "waves: expected float32 or int16 .* got uint16"),
        (noise(16_000), r"waves: expected .* shape \(B, N\), got shape \(16000,\)"),
        (noise(1, 2, 16_000), r"waves: expected .* shape \(B, N\)"),
        ([[0.0] * 16_000], "waves: expected .* got list"),
        (None, "waves: expected .* got NoneType"),
        (noise(2, 32_000)[:, ::2], "waves: expected C-contiguous .*numpy.ascontiguousarray"),
        (noise(16_000, 2).T, "waves: expected C-contiguous"),
        (noise(2, 16_000)[::-1], "waves: expected C-contiguous"),
        (np.empty((2, 0), np.float32), "0 samples are too few"),
        (np.zeros((2, FRAME_HEAD - 1), np.float32), "512 samples are too few"),
    ],
)
def test_refuses_waves_that_do_not_fit(waves, message):
    with pytest.raises(ValueError, match=message):
        asd.logmel(waves)


def test_takes_the_fewest_samples_that_can_be_reflected():
    wave_N = noise(FRAME_HEAD)
    assert_within_tolerance(asd.logmel(wave_N[None])[0], librosa_mel(wave_N, SLANEY))


def test_refuses_misaligned_memory():
    raw = np.zeros(2 * 16_000 * 4 + 1, np.uint8)
    waves_BN = raw[1:].view(np.float32).reshape(2, 16_000)
    with pytest.raises(ValueError, match="waves: expected C-contiguous"):
        asd.logmel(waves_BN)


def read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((2, 128, 31), np.float32), r"out: expected float32 of shape \[2, 128, 32\], got float32"),
        (np.empty((1, 128, 32), np.float32), "out: expected"),
        (np.empty((2, 128 * 32), np.float32), "out: expected"),
        (np.empty((2, 128, 32), np.float64), "out: expected float32 .* got float64"),
        (np.empty((2, 32, 128), np.float32).transpose(0, 2, 1), "out: expected C-contiguous"),
        (np.empty((2, 128, 64), np.float32)[:, :, ::2], "out: expected C-contiguous"),
        (read_only(np.empty((2, 128, 32), np.float32)), "out: read-only"),
        ("here", "out: expected .* got str"),
    ],
)
def test_refuses_out_that_does_not_fit(out, message):
    with pytest.raises(ValueError, match=message):
        asd.logmel(noise(2, 16_000), out=out)


def test_refuses_out_that_overlaps_the_waves():
    buffer = np.zeros(128 * 32 + 16_000, np.float32)
    waves_BN, out_BFT = buffer[:16_000].reshape(1, -1), buffer[8_000 : 8_000 + 128 * 32].reshape(1, 128, 32)
    with pytest.raises(ValueError, match="out: shares memory"):
        asd.logmel(waves_BN, out=out_BFT)


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_refuses_thread_counts_out_of_range(threads):
    with pytest.raises(ValueError, match="threads: expected 1 to 1024"):
        asd.logmel(noise(2, 16_000), threads=threads)


@settings(max_examples=100, deadline=None)
@given(
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    row=st.integers(0, 4),
    position=st.integers(0, 19_999),
    hop=st.sampled_from([128, 512, 1024]),
    f_min=st.sampled_from([0.0, 3000.0]),
    threads=st.sampled_from([1, 2]),
)
def test_finds_non_finite_samples_wherever_they_are(value, row, position, hop, f_min, threads):
    waves_BN = noise(5, 20_000)
    waves_BN[row, position] = value
    with pytest.raises(ValueError, match=f"waves: row {row} holds NaN or infinite samples"):
        asd.logmel(waves_BN, FeatureSpec(hop_length=hop, f_min=f_min), threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_names_the_first_of_several_bad_rows(threads):
    waves_BN = noise(40, 16_000)
    waves_BN[[7, 8, 30]] = np.nan
    for _ in range(20):
        with pytest.raises(ValueError, match="row 7 holds"):
            asd.logmel(waves_BN, threads=threads)


def test_samples_whose_power_overflows_are_an_error():
    waves_BN = noise(2, 16_000)
    waves_BN[1] *= np.float32(1e22)
    with pytest.raises(ValueError, match="row 1 has samples so large"):
        asd.logmel(waves_BN)


# --- processes


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_forked_child_gets_threads_of_its_own():
    child = run_python(
        """
        import os, signal, numpy as np, asd
        waves = np.random.default_rng(0).standard_normal((8, 16000)).astype(np.float32)
        expected = asd.logmel(waves, threads=2).tobytes()
        pid = os.fork()
        signal.alarm(30)
        if pid == 0:
            os._exit(0 if asd.logmel(waves, threads=2).tobytes() == expected else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert asd.logmel(waves, threads=2).tobytes() == expected
        """
    )
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stderr


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("what", ["batch", "files"])
def test_ctrl_c_ends_a_long_call(what, threads, tmp_path):
    file = tmp_path / "clip.wav"
    soundfile.write(file, noise(160_000), 16_000)
    child = run_python(
        """
        import sys, numpy as np, asd
        from asd import features
        what, threads, file = sys.argv[1:]
        asd.logmel(np.zeros((2, 16000), np.int16), threads=int(threads))
        print("go", flush=True)
        if what == "batch":  # a minute of work that needs little memory
            spec = asd.FeatureSpec(hop_length=1, n_mels=1)
            asd.logmel(np.zeros((2500, 16000), np.int16), spec, threads=int(threads))
        else:
            features.CHUNK_FILES = features.CHUNK_BYTES = 10**12
            list(features.read_recordings([file] * 50_000, asd.FeatureSpec(n_mels=1), threads=int(threads)))
        print("done")
        """,
        what,
        threads,
        str(file),
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    sent = time.monotonic()
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT, stderr
    assert "KeyboardInterrupt" in stderr
    assert "done" not in stdout
    assert time.monotonic() - sent < 5


# --- files


def test_reads_recordings_in_order_whatever_the_threads(data_root):
    files = [
        *sorted((data_root / "esc50_16k").glob("*.flac"))[:5],
        data_root / "absent.wav",
        *sorted(data_root.glob("dcase2020_wavs/*/test/*.wav"))[:5],
        *sorted(data_root.glob("mimii_8ch/**/*.wav"))[:1],
        *sorted(data_root.glob("toycar_logmel/ToyCar/test/*.npy"))[:2],
        *sorted(data_root.glob("dcase2020_wavs/slider/train/*.wav"))[:70],
    ]
    reads = [list(features.read_recordings(files, SLANEY, threads)) for threads in (1, 2, 16)]
    for read in reads:
        assert [r.path for r in read] == files
        assert [r.path for r in read if isinstance(r, features.Unreadable)] == [data_root / "absent.wav"]
    first, *others = [[r.logmel_WFT.tobytes() for r in read if isinstance(r, features.Recording)] for read in reads]
    assert all(other == first for other in others)


def test_a_recording_equals_its_samples(data_root):
    file = sorted(data_root.glob("mimii_8ch/**/*.wav"))[0]
    wave_CN, rate = asd.read_audio(file)
    assert (rate, wave_CN.shape) == (16_000, (8, 160_000))
    for channel, wave_N in ((0, wave_CN[0]), (5, wave_CN[5]), ("mix", wave_CN.astype(np.float64).mean(0))):
        spec = FeatureSpec(channel=channel)
        expected = asd.logmel(np.ascontiguousarray(wave_N, np.float32)[None], spec)[0]
        np.testing.assert_allclose(asd.read_logmel(file, spec), expected, atol=2e-3)
    assert asd.read_logmel(file).tobytes() == asd.logmel(wave_CN[:1].copy())[0].tobytes()


def test_windows_of_long_and_short_recordings(tmp_path):
    wave_N = noise(16_000 * 32)
    soundfile.write(tmp_path / "long.wav", wave_N, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", wave_N[: 16_000 * 4], 16_000, subtype="FLOAT")
    long, short = features.read_recordings([tmp_path / "long.wav", tmp_path / "short.wav"], SLANEY)
    assert isinstance(long, features.Recording)
    assert isinstance(short, features.Recording)
    assert long.starts_W.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 22.0]
    windows_WN = np.stack([wave_N[int(s * 16_000) :][:160_000] for s in long.starts_W])
    assert long.logmel_WFT.tobytes() == asd.logmel(windows_WN).tobytes()
    repeated_N = np.tile(wave_N[: 16_000 * 4], 3)[:160_000]
    assert short.starts_W.tolist() == [0.0]
    assert short.logmel_WFT.tobytes() == asd.logmel(repeated_N[None]).tobytes()


def test_memory_handed_over_is_an_ordinary_array(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(160_000), 16_000)
    (recording,) = features.read_recordings([tmp_path / "a.wav"], SLANEY)
    assert isinstance(recording, features.Recording)
    x = recording.logmel_WFT
    assert x.flags.c_contiguous
    assert x.flags.writeable
    x += 1  # ours to change


def test_an_unreadable_file_is_named_with_a_way_out(tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("this is no recording\n")
    for read in (asd.read_logmel, asd.read_audio):
        for file in (text, tmp_path / "absent.wav", tmp_path):
            with pytest.raises(DataError) as caught:
                read(file)
            assert caught.value.message.startswith(f"{file}: ")
            assert caught.value.hint
            assert "\n" not in caught.value.message


def test_a_file_of_nan_is_unreadable(tmp_path):
    wave_N = noise(160_000)
    wave_N[99] = np.nan
    soundfile.write(tmp_path / "nan.wav", wave_N, 16_000, subtype="FLOAT")
    with pytest.raises(DataError, match="NaN"):
        asd.read_logmel(tmp_path / "nan.wav")


def test_health(tmp_path):
    silent, loud = np.zeros(16_000, np.int16), np.full(16_000, 16384, np.int16)
    loud[::100] = 32767
    for name, wave in (("silent", silent), ("loud", loud), ("again", loud)):
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000, subtype="PCM_16")
    files = [tmp_path / f"{name}.wav" for name in ("silent", "loud", "again", "absent")]
    (_, silence), (_, shout), (_, again), (path, absent) = features.scan(files)
    assert isinstance(silence, features.Health)
    assert isinstance(shout, features.Health)
    assert isinstance(again, features.Health)
    assert silence.is_silent
    assert not silence.is_clipped
    assert silence.rms_dbfs == silence.peak_dbfs == features.DBFS_FLOOR
    assert shout.is_clipped
    assert not shout.is_silent
    assert (shout.rate, shout.channels, shout.seconds, shout.truncated) == (16_000, 1, 1.0, False)
    assert shout.clipped == pytest.approx(0.01)
    assert shout.peak_dbfs == pytest.approx(0, abs=1e-3)
    assert shout.rms_dbfs == pytest.approx(10 * np.log10(0.25 * 0.99 + 0.01), abs=1e-3)
    assert again.digest == shout.digest != silence.digest
    assert isinstance(absent, features.Unreadable)
    assert path == absent.path == files[3]
    assert str(absent.error()).startswith(f"{files[3]}: ")


def test_many_files_are_read_in_bounded_chunks(tmp_path, monkeypatch):
    sizes = [400, 400, 400, 1500, 100, 100, 100, 100]
    files = []
    for i, size in enumerate(sizes):
        files.append(tmp_path / f"{i}.wav")
        files[-1].write_bytes(bytes(size))
    monkeypatch.setattr(features, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(features, "CHUNK_FILES", 3)
    assert [[p.name[0] for p in chunk] for chunk in features._chunks(files)] == [
        ["0", "1"],
        ["2"],
        ["3"],
        ["4", "5", "6"],
        ["7"],
    ]


# --- ready log-mels


RECIPE = {
    "unit": "dB",
    "sample_rate": 16000,
    "n_fft": 1024,
    "hop_length": 512,
    "n_mels": 128,
    "mel_scale": "slaney",
}


@pytest.fixture
def ready_clip(tmp_path: Path) -> Path:
    """A ready log-mel in dB, two folders below its features.json."""
    folder = tmp_path / "pump" / "train"
    folder.mkdir(parents=True)
    (tmp_path / "features.json").write_text(json.dumps(RECIPE))
    x_FT = np.random.default_rng(0).normal(-30, 5, (128, 200))
    np.save(folder / "normal_id_00_00000000.npy", x_FT.astype(np.float16))
    return folder / "normal_id_00_00000000.npy"


def test_real_ready_log_mels(data_root):
    file = sorted(data_root.glob("toycar_logmel/ToyCar/train/*.npy"))[0]
    got_FT = asd.read_logmel(file)
    assert (got_FT.shape, got_FT.dtype) == ((128, 200), np.float32)
    np.testing.assert_allclose(got_FT, np.load(file).astype(np.float64) * np.log(10) / 10, rtol=1e-6)
    (recording,) = features.read_recordings([file], SLANEY)
    assert isinstance(recording, features.Recording)
    assert recording.logmel_WFT.shape == (1, 128, 200)
    health = recording.health
    assert (health.rate, health.seconds, health.rms_dbfs, health.peak_dbfs) == (None, None, None, None)
    assert not health.is_silent
    assert not health.is_clipped
    assert [h for _, h in features.scan([file])] == [health]


def test_a_ready_log_mel_in_ln_is_taken_as_it_is(ready_clip):
    (ready_clip.parents[2] / "features.json").write_text(json.dumps(RECIPE | {"unit": "ln"}))
    x_FT = np.load(ready_clip).astype(np.float32)
    np.save(ready_clip, x_FT)
    assert asd.read_logmel(ready_clip).tobytes() == x_FT.tobytes()


@pytest.mark.parametrize(
    ("change", "spec", "message"),
    [
        ({"sample_rate": 48000}, SLANEY, "sample_rate = 48000, but 16000 is set"),
        ({}, FeatureSpec(n_fft=2048), "n_fft = 1024, but 2048 is set"),
        ({}, FeatureSpec(hop_length=256), "hop_length = 512, but 256 is set"),
        ({}, FeatureSpec(n_mels=64), "n_mels = 128, but 64 is set"),
        ({}, HTK, 'mel_scale = "slaney", but "htk" is set'),
        ({}, FeatureSpec(f_min=50), r"f_min = 0\.0, but 50\.0 is set"),
        ({}, FeatureSpec(f_max=7600), r"f_max = 8000\.0, but 7600\.0 is set"),
        ({"f_max": 7600}, SLANEY, "f_max = 7600, but 8000"),
        ({"unit": "dBFS"}, SLANEY, "unit = 'dBFS'"),
        ({"power": 1.0}, SLANEY, "power = 1.0"),
        ({"shape": [128, 313]}, SLANEY, r"shape \[128, 200\], but .* shape = \[128, 313\]"),
    ],
)
def test_a_recipe_that_contradicts_the_spec_is_an_error(ready_clip, change, spec, message):
    recipe = ready_clip.parents[2] / "features.json"
    recipe.write_text(json.dumps(RECIPE | change))
    with pytest.raises(DataError, match=message) as caught:
        asd.read_logmel(ready_clip, spec)
    assert caught.value.message.startswith(f"{ready_clip}: ")
    assert str(recipe) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("key", RECIPE)
def test_a_recipe_must_be_whole(ready_clip, key):
    recipe = {k: v for k, v in RECIPE.items() if k != key}
    (ready_clip.parents[2] / "features.json").write_text(json.dumps(recipe))
    with pytest.raises(DataError, match=f"no key '{key}'"):
        asd.read_logmel(ready_clip)


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", "\xff"])
def test_a_broken_recipe_is_an_error(ready_clip, content):
    recipe = ready_clip.parents[2] / "features.json"
    recipe.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        asd.read_logmel(ready_clip)
    assert str(recipe) in caught.value.message


def test_a_missing_recipe_is_an_error_that_shows_one(ready_clip):
    (ready_clip.parents[2] / "features.json").unlink()
    with pytest.raises(DataError, match=r"no features\.json") as caught:
        asd.read_logmel(ready_clip)
    example = caught.value.hint[caught.value.hint.index("{") :]
    (ready_clip.parent / "features.json").write_text(example)
    assert asd.read_logmel(ready_clip).shape == (128, 200)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((128, 200)), "type float64"),
        (np.zeros((128, 200), np.int16), "type int16"),
        (np.zeros(128, np.float32), r"shape \(128,\)"),
        (np.zeros((1, 128, 200), np.float32), r"shape \(1, 128, 200\)"),
        (np.zeros((200, 128), np.float32), "200 bands"),
        (np.full((128, 200), np.nan, np.float32), "NaN or infinite"),
        (np.full((128, 200), np.inf, np.float16), "NaN or infinite"),
        (np.array([{"a": 1}], dtype=object), "no .npy matrix"),
        (np.zeros((128, 0), np.float32), "too short|no .npy matrix"),
    ],
)
def test_a_matrix_that_is_no_log_mel_is_an_error(ready_clip, array, message):
    np.save(ready_clip, array, allow_pickle=True)
    with pytest.raises(DataError, match=message) as caught:
        asd.read_logmel(ready_clip)
    assert caught.value.message.startswith(f"{ready_clip}: ")


@pytest.mark.parametrize("keep", [0, 5, 60, 130, 1000, -1])
def test_a_cut_off_npy_is_an_error(ready_clip, keep):
    ready_clip.write_bytes(ready_clip.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"no \.npy matrix"):
        asd.read_logmel(ready_clip)


def test_a_zip_named_npy_is_an_error(ready_clip):
    with ready_clip.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(DataError, match="several arrays"):
        asd.read_logmel(ready_clip)


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 127), byte=st.integers(0, 255))
def test_no_damage_to_a_header_gets_past_the_checks(tmp_path_factory, position, byte):
    folder = tmp_path_factory.mktemp("npy")
    (folder / "features.json").write_text(json.dumps(RECIPE))
    np.save(folder / "x.npy", np.zeros((128, 200), np.float16))
    content = bytearray((folder / "x.npy").read_bytes())
    content[position] = byte
    (folder / "x.npy").write_bytes(content)
    (result,) = features.read_recordings([folder / "x.npy"], SLANEY)
    if isinstance(result, features.Recording):
        assert result.logmel_WFT.shape[:2] == (1, 128)


def test_unreadable_by_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    file = tmp_path / "a.wav"
    soundfile.write(file, noise(16_000), 16_000)
    file.chmod(0)
    with pytest.raises(DataError, match=str(file)):
        asd.read_logmel(file)
