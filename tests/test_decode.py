"""Decoding equals soundfile bit for bit; resampling keeps what is in band and nothing else."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import asd
from asd import features
from asd.config import FeatureSpec
from asd.errors import DataError

FORMATS = [
    ("WAV", "PCM_U8", "wav"),
    ("WAV", "PCM_16", "wav"),
    ("WAV", "PCM_24", "wav"),
    ("WAV", "PCM_32", "wav"),
    ("WAV", "FLOAT", "wav"),
    ("WAV", "DOUBLE", "wav"),
    ("WAVEX", "PCM_16", "wav"),
    ("WAVEX", "PCM_24", "wav"),
    ("WAVEX", "FLOAT", "wav"),
    ("RF64", "PCM_16", "wav"),
    ("RF64", "PCM_24", "wav"),
    ("RF64", "FLOAT", "wav"),
    ("FLAC", "PCM_S8", "flac"),
    ("FLAC", "PCM_16", "flac"),
    ("FLAC", "PCM_24", "flac"),
]
formats = pytest.mark.parametrize(("container", "subtype", "suffix"), FORMATS, ids=[f"{c}-{s}" for c, s, _ in FORMATS])


def samples(frames: int, channels: int, seed: int = 0) -> NDArray[np.float64]:
    """Noise that reaches full scale on both sides, (N, C)."""
    wave_NC = np.random.default_rng(seed).uniform(-1, 1, (frames, channels))
    wave_NC[: min(frames, 4), 0] = [-1.0, 1.0, 0.0, 1 - 2**-15][: min(frames, 4)]
    return wave_NC


def assert_as_soundfile(file: Path) -> None:
    expected_NC, expected_rate = soundfile.read(file, dtype="float32", always_2d=True)
    got_CN, rate = asd.read_audio(file)
    assert rate == expected_rate
    assert got_CN.dtype == np.float32
    assert got_CN.shape == expected_NC.T.shape
    assert got_CN.tobytes() == np.ascontiguousarray(expected_NC.T).tobytes()


@formats
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_equals_soundfile(tmp_path, container, subtype, suffix, channels):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(file, samples(20_011, channels), 44_100, subtype=subtype, format=container)
    assert_as_soundfile(file)


@settings(max_examples=60, deadline=None)
@given(
    which=st.sampled_from(FORMATS),
    frames=st.integers(1, 9_000),
    channels=st.integers(1, 8),
    rate=st.sampled_from([8_000, 16_000, 22_050, 48_000, 96_000]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_soundfile_at_any_length(tmp_path_factory, which, frames, channels, rate, seed):
    container, subtype, suffix = which
    file = tmp_path_factory.mktemp("any") / f"a.{suffix}"
    soundfile.write(file, samples(frames, channels, seed), rate, subtype=subtype, format=container)
    assert_as_soundfile(file)


@pytest.mark.parametrize(
    "pattern", ["dcase2020_wavs/**/*.wav", "esc50_16k/*.flac", "mimii_8ch/**/*.wav"], ids=["wav", "flac", "8ch"]
)
def test_real_recordings_equal_soundfile(data_root, pattern):
    files = sorted(data_root.glob(pattern))
    assert files
    for file in files:
        assert_as_soundfile(file)


def test_flac_of_quiet_and_constant_signals(tmp_path):
    """Constant, fixed and short predictors, and wasted bits, each have their own coding in FLAC."""
    rng = np.random.default_rng(0)
    signals = {
        "zero": np.zeros(30_000),
        "constant": np.full(30_000, 0.25),
        "ramp": np.linspace(-1, 1, 30_000),
        "faint": rng.integers(-1, 2, 30_000) / 32768,
        "wasted bits": rng.integers(-100, 100, 30_000) * 256 / 32768,
        "tone": np.sin(np.arange(30_000) / 7) * 0.9,
    }
    for name, wave_N in signals.items():
        for subtype in ("PCM_16", "PCM_24"):
            stereo_NC = np.stack([wave_N, -wave_N * 0.5], 1)
            soundfile.write(tmp_path / f"{name}.flac", stereo_NC, 16_000, subtype=subtype)
            assert_as_soundfile(tmp_path / f"{name}.flac")


def sound(kind: str, width: int, frames: int, channels: int, seed: int) -> NDArray[np.int64]:
    """Samples of `width` bits that make an encoder choose differently, (N, C)."""
    rng = np.random.default_rng(seed)
    full = 2 ** (width - 1)
    n = np.arange(frames)[:, None]
    shape = (frames, channels)
    match kind:
        case "noise":
            wave_NC = rng.integers(-full, full, shape)
        case "walk":
            wave_NC = rng.integers(-9, 10, shape).cumsum(axis=0)
        case "tone":
            wave_NC = full * np.sin(n / rng.uniform(2, 50, channels)) + rng.normal(0, full / 900, shape)
        case "clicks":
            wave_NC = rng.integers(-full, full, shape) * (rng.random(shape) < 0.01)
        case "alike":
            wave_NC = rng.integers(-9, 10, (frames, 1)).cumsum(axis=0) + rng.integers(-2, 3, shape)
        case "square":
            wave_NC = np.where(n // rng.integers(1, 99, channels) % 2, full - 1, -full)
        case "coarse":
            wave_NC = rng.integers(-9, 10, shape) * 2 ** rng.integers(0, width - 4, channels)
    return np.clip(np.rint(wave_NC), -full, full - 1).astype(np.int64)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["noise", "walk", "tone", "clicks", "alike", "square", "coarse"]),
    width=st.sampled_from([8, 16, 24]),
    channels=st.one_of(st.just(2), st.integers(1, 8)),
    frames=st.integers(1, 20_000),
    level=st.integers(0, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_flac_of_any_sound_at_any_level(tmp_path_factory, kind, width, channels, frames, level, seed):
    """What was written comes back, whatever the encoder made of it."""
    file = tmp_path_factory.mktemp("sound") / "a.flac"
    wave_NC = sound(kind, width, frames, channels, seed)
    subtype = "PCM_S8" if width == 8 else f"PCM_{width}"
    with soundfile.SoundFile(file, "w", 16_000, channels, subtype, format="FLAC", compression_level=level / 8) as out:
        out.write((wave_NC << (32 - width)).astype(np.int32))
    assert_as_soundfile(file)
    assert np.array_equal(asd.read_audio(file)[0].T, wave_NC / 2 ** (width - 1))


@pytest.mark.parametrize("level", [0, 5, 8])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_long_silence_is_sound(tmp_path, channels, level):
    """Nothing takes fewer bytes a sample; a recorder that runs on with its microphone off writes hours of it."""
    file, rate, seconds = tmp_path / "a.flac", 16_000, 600
    with soundfile.SoundFile(file, "w", rate, channels, "PCM_16", format="FLAC", compression_level=level / 8) as out:
        for _ in range(seconds):
            out.write(np.zeros((rate, channels), np.int16))
    wave_CN, _ = asd.read_audio(file)
    assert wave_CN.shape == (channels, seconds * rate)
    assert not wave_CN.any()


def test_chunks_before_and_after_the_data_are_skipped(tmp_path):
    wave_N = (samples(5_000, 1)[:, 0] * 32767).astype("<i2")
    head = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    odd = b"LIST" + struct.pack("<I", 5) + b"hello\0"  # an odd chunk is padded to even length
    chunks = odd + b"fmt " + struct.pack("<I", 16) + head + odd
    chunks += b"data" + struct.pack("<I", wave_N.nbytes) + wave_N.tobytes() + odd
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    assert_as_soundfile(file)
    assert asd.read_audio(file)[0].shape == (1, 5_000)


@pytest.mark.parametrize("claimed", [0xFFFF_FFFF, 0x7FFF_FFFF, 20_000])
def test_sizes_are_clamped_to_the_bytes_that_are_there(tmp_path, claimed):
    file = tmp_path / "a.wav"
    soundfile.write(file, samples(5_000, 1), 16_000, subtype="PCM_16")
    content = bytearray(file.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", claimed)
    file.write_bytes(content)
    assert asd.read_audio(file)[0].shape == (1, 5_000)


def test_truncated_data_is_read_and_said(tmp_path):
    file = tmp_path / "a.wav"
    soundfile.write(file, samples(32_000, 1), 16_000, subtype="PCM_16")
    file.write_bytes(file.read_bytes()[:40_001])
    ((_, health),) = features.scan([file])
    assert isinstance(health, features.Health)
    assert health.truncated
    assert health.seconds == pytest.approx((40_001 - 44) // 2 / 16_000)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_errors_or_audio_never_a_crash(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    container, subtype, suffix = data.draw(st.sampled_from(FORMATS))
    file = folder / f"a.{suffix}"
    soundfile.write(file, samples(3_000, 2), 16_000, subtype=subtype, format=container)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        wave_CN, rate = asd.read_audio(file)
    except DataError as error:
        assert error.message.startswith(f"{file}: ")
        assert error.hint
    else:
        assert wave_CN.ndim == 2
        assert rate > 0
    (result,) = features.read_recordings([file], FeatureSpec(clip_seconds=1, allow_upsampling=True))
    assert isinstance(result, features.Recording | features.Unreadable)
    if isinstance(result, features.Recording):
        assert np.isfinite(result.logmel_WFT).all()


# --- resampling


def gain_db(hz: float, rate_in: int, rate_out: int) -> float:
    """Level of a tone after resampling over its level before, edges left out."""
    n = np.arange(2 * rate_in)
    wave_N = np.sin(2 * np.pi * hz / rate_in * n).astype(np.float32)
    out_N = features.resample(wave_N, rate_in, rate_out)[rate_out // 4 : -rate_out // 4]
    return float(10 * np.log10(np.mean(np.square(out_N, dtype=np.float64)) / 0.5 + 1e-30))


RATES = [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]


@pytest.mark.parametrize("rate", RATES)
def test_pass_band_is_flat_within_a_tenth_of_a_db(rate):
    edge = 0.9 * min(rate, 16_000) / 2
    for hz in np.linspace(50, edge, 12):
        assert abs(gain_db(hz, rate, 16_000)) < 0.1, f"{hz:.0f} Hz of {rate} Hz"


@pytest.mark.parametrize("rate", [r for r in RATES if r > 16_000])
def test_stop_band_lies_below_80_db(rate):
    for hz in np.unique(np.clip([8_800, 9_500, 10_900, 15_000, 0.49 * rate], 8_800, 0.49 * rate)):
        assert gain_db(hz, rate, 16_000) < -80, f"{hz:.0f} Hz of {rate} Hz"


@pytest.mark.parametrize("rate", RATES)
def test_resampling_keeps_time_and_phase(rate):
    """A tone comes out as the same tone sampled at the new rate, from the same instant."""
    hz = 440.0
    wave_N = np.sin(2 * np.pi * hz / rate * np.arange(rate)).astype(np.float32)
    got_N = features.resample(wave_N, rate, 16_000)
    assert abs(len(got_N) - 16_000) <= 1
    expected_N = np.sin(2 * np.pi * hz / 16_000 * np.arange(len(got_N)))
    inside = slice(1_000, -1_000)
    assert np.abs(got_N[inside] - expected_N[inside]).max() < 1e-3


def test_resampling_to_the_same_rate_changes_nothing():
    wave_N = samples(5_000, 1)[:, 0].astype(np.float32)
    assert features.resample(wave_N, 16_000, 16_000).tobytes() == wave_N.tobytes()


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(100), "wave: expected float32 of shape"),
        (np.zeros((1, 100), np.float32), "wave: expected float32 of shape"),
        (np.zeros(200, np.float32)[::2], "wave: expected C-contiguous"),
        ([0.0] * 100, "wave: expected float32 .* got list"),
    ],
)
def test_resampling_refuses_what_does_not_fit(wave, message):
    with pytest.raises(ValueError, match=message):
        features.resample(wave, 44_100, 16_000)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(0, 16_000), (16_000, 0), (-1, 16_000), (2**40, 16_000)])
def test_resampling_refuses_rates_out_of_range(rate_in, rate_out):
    with pytest.raises(ValueError, match=r"rate_in|rate_out|cannot resample"):
        features.resample(np.zeros(100, np.float32), rate_in, rate_out)


def test_a_resampled_recording_equals_its_resampled_samples(tmp_path):
    wave_N = samples(44_100 * 10, 1)[:, 0].astype(np.float32) / 4
    soundfile.write(tmp_path / "a.wav", wave_N, 44_100, subtype="FLOAT")
    resampled_N = features.resample(wave_N, 44_100, 16_000)[:160_000]
    assert asd.read_logmel(tmp_path / "a.wav").tobytes() == asd.logmel(resampled_N[None])[0].tobytes()


def test_a_rate_below_the_detectors_is_refused_unless_allowed(tmp_path):
    soundfile.write(tmp_path / "a.wav", samples(80_000, 1) / 4, 8_000)
    with pytest.raises(DataError, match="8000") as caught:
        asd.read_logmel(tmp_path / "a.wav")
    assert "--allow-upsampling" in caught.value.hint
    assert asd.read_logmel(tmp_path / "a.wav", FeatureSpec(allow_upsampling=True)).shape == (128, 313)
