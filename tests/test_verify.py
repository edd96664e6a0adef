"""`asd.data.verify` and `asd.data.inventory`: every kind of bad file is found, none stops the rest."""

from __future__ import annotations

import struct
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asd.config import FeatureSpec
from asd.data.catalog import Clip, open_catalog, open_folder
from asd.data.inventory import read_header, take_stock
from asd.data.verify import VerifyReport, verify
from asd.events import Event, Progress

T = TypeVar("T")
RATE = 16_000


def finish(work: Generator[Event, None, T]) -> tuple[list[Event], T]:
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            return events, end.value


def noise(seed: int, seconds: float = 1.0, scale: float = 0.1, rate: int = RATE) -> NDArray[np.float32]:
    wave = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return np.clip(scale * wave, -0.9, 0.9).astype(np.float32)


def save(path: Path, wave: NDArray[np.float32], rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # soundfile rounds floats in one way for WAV and in another for FLAC; integers it writes as they are.
    samples = np.round(wave * 32_767).astype(np.int16) if subtype == "PCM_16" else wave
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def wav_bytes(rate: int = RATE, channels: int = 1, data: bytes = b"\0\1" * 20_000) -> bytes:
    block = 2 * channels
    fmt = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) % 2**32, block, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def run(root: Path, **spec: object) -> VerifyReport:
    _, report = finish(verify(open_folder(root).clips, FeatureSpec.model_validate(spec)))
    return report


BAD = {
    "empty": b"",
    "truncated-header": wav_bytes()[:30],
    "text": b"these are no samples\n" * 100,
    "no-samples": wav_bytes(data=b""),
    "no-channels": wav_bytes(channels=0),
    "three-gigahertz": wav_bytes(rate=3_000_000_000),
    "other-format": b"\0\0\0\x20ftypM4A " + bytes(1000),
}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    for i in range(3):
        save(tmp_path / f"good{i}.wav", noise(i))
    return tmp_path


def test_good_recordings(good: Path) -> None:
    save(good / "stereo.flac", np.stack([noise(3), noise(4)], axis=1))
    save(good / "fast.wav", noise(5, 2.0, rate=48_000), 48_000)
    report = run(good)
    assert not (report.broken or report.silent or report.clipped or report.truncated or report.duplicates)
    assert report.rates == {16_000: 4, 48_000: 1} and report.channels == {1: 4, 2: 1}
    assert report.seconds == [1.0, 1.0, 1.0, 1.0, 2.0]
    assert [c.findings for c in report.checked] == [[]] * 5


@pytest.mark.parametrize("kind", BAD)
def test_broken_files_are_named_with_reason_and_hint(good: Path, kind: str) -> None:
    (good / "bad.wav").write_bytes(BAD[kind])
    (broken,) = run(good).broken
    assert broken.clip.name == "bad.wav" and broken.health is None
    assert broken.reason and broken.hint and broken.findings == ["broken"]
    assert str(good) not in broken.reason, "the reason stands beside the name already"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(good: Path, value: float) -> None:
    wave = noise(9)
    wave[8000] = value
    save(good / "bad.wav", wave, subtype="FLOAT")
    assert [c.clip.name for c in run(good).broken] == ["bad.wav"]


def test_files_that_cannot_be_opened(good: Path) -> None:
    (good / "gone.wav").symlink_to(good / "nowhere.wav")
    (broken,) = run(good).broken
    assert broken.clip.name == "gone.wav" and "no such file" in broken.reason


def test_too_short_or_too_slow_for_training(good: Path) -> None:
    save(good / "blink.wav", noise(6, 0.010))
    save(good / "phone.wav", noise(7, rate=8_000), 8_000)
    reasons = {c.clip.name: c.reason for c in run(good).broken}
    assert reasons == {
        "blink.wav": "it lasts 0.010 s, and at least 0.064 s are needed",
        "phone.wav": "its rate of 8000 Hz lies below the detector's 16000 Hz",
    }
    assert [c.clip.name for c in run(good, allow_upsampling=True).broken] == ["blink.wav"]


def test_a_channel_that_is_not_there(good: Path) -> None:
    save(good / "stereo.wav", np.stack([noise(3), noise(4)], axis=1))
    assert [c.clip.name for c in run(good, channel=1).broken] == ["good0.wav", "good1.wav", "good2.wav"]
    assert not run(good, channel="mix").broken


def test_silent_clipped_and_truncated_are_not_broken(good: Path) -> None:
    save(good / "silent.wav", np.zeros(RATE, np.float32))
    save(good / "clipped.wav", np.clip(20 * noise(8), -1, 1))
    whole = save(good / "cut.wav", noise(9)).read_bytes()
    (good / "cut.wav").write_bytes(whole[: len(whole) // 2])
    report = run(good)
    assert {c.clip.name: c.findings for c in report.checked if c.findings} == {
        "silent.wav": ["silent"],
        "clipped.wav": ["clipped"],
        "cut.wav": ["truncated"],
    }
    assert report.broken == []
    assert report.silent[0].clip.name == "silent.wav" and report.clipped[0].clip.name == "clipped.wav"
    assert report.truncated[0].clip.name == "cut.wav"


def test_copies_are_found_across_folders_and_formats(good: Path) -> None:
    save(good / "normal/a.wav", noise(0))
    save(good / "normal/b.flac", noise(1))
    save(good / "abnormal/b.wav", noise(1))
    for name in ("s1.wav", "s2.wav"):
        save(good / name, np.zeros(RATE, np.float32))
    report = run(good)
    groups = [{c.clip.name for c in group} for group in report.duplicates]
    assert sorted(map(sorted, groups)) == [
        ["abnormal/b.wav", "good1.wav", "normal/b.flac"],
        ["good0.wav", "normal/a.wav"],
    ], "digital silence repeats without being a copy"


def test_copies_in_training_and_test_are_leaks(tmp_path: Path) -> None:
    save(tmp_path / "fan/train/normal_id_00_00000000.wav", noise(0))
    save(tmp_path / "fan/train/normal_id_00_00000001.wav", noise(0))
    save(tmp_path / "fan/train/normal_id_00_00000002.wav", noise(1))
    save(tmp_path / "fan/test/normal_id_00_00000000.wav", noise(1))
    _, report = finish(verify(open_catalog(tmp_path).clips))
    assert len(report.duplicates) == 2
    assert [[c.clip.split for c in group] for group in report.leaks] == [["test", "train"]]


RECIPE = '{"unit": "dB", "sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": 128, "mel_scale": "slaney"}'


def test_ready_logmels(tmp_path: Path) -> None:
    (tmp_path / "features.json").write_text(RECIPE)
    for i, frames in enumerate((200, 200, 190)):
        np.save(tmp_path / f"m{i}.npy", np.full((128, frames), i, np.float16))
    np.save(tmp_path / "shape.npy", np.zeros((64, 200), np.float16))
    np.save(tmp_path / "nan.npy", np.full((128, 200), np.nan, np.float16))
    (tmp_path / "text.npy").write_text("no matrix")
    reasons = {c.clip.name: c.reason for c in run(tmp_path).broken}
    assert set(reasons) == {"m2.npy", "shape.npy", "nan.npy", "text.npy"}
    assert reasons["m2.npy"].startswith("T = 190 frames, and most log-mels of") and "have 200" in reasons["m2.npy"]


def test_ready_logmels_without_a_recipe(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((128, 200), np.float16))
    (broken,) = run(tmp_path).broken
    assert "features.json" in broken.reason


def test_progress_ends_at_all_and_threads_do_not_matter(good: Path) -> None:
    (good / "bad.wav").write_bytes(BAD["text"])
    clips = open_folder(good).clips
    events, one = finish(verify(clips, threads=1))
    _, many = finish(verify(clips, threads=4))
    assert one == many
    assert events[-1] == Progress("decoding", 4, 4)
    assert [e.done for e in events if isinstance(e, Progress)] == [1, 2, 3, 4]


def test_nothing_to_verify() -> None:
    assert finish(verify([])) == ([], VerifyReport(()))


def test_headers(tmp_path: Path) -> None:
    header = read_header(save(tmp_path / "a.flac", np.stack([noise(0, 2.5)] * 3, axis=1)))
    assert header is not None and (header.rate, header.channels, header.seconds) == (RATE, 3, 2.5)
    whole = save(tmp_path / "cut.wav", noise(1)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:16_044])
    cut = read_header(tmp_path / "cut.wav")
    assert cut is not None and cut.seconds == 0.5, "what is there counts, not what the header promises"
    (tmp_path / "text.wav").write_text("text")
    assert read_header(tmp_path / "text.wav") is None and read_header(tmp_path / "absent.wav") is None


def test_stock(tmp_path: Path) -> None:
    for domain, n in (("source", 3), ("target", 1)):
        for i in range(n):
            save(tmp_path / f"fan/train/section_00_{domain}_train_normal_{i:04d}_a.wav", noise(i))
    save(tmp_path / "fan/test/section_00_0000.wav", noise(1, 3.0, rate=48_000), 48_000)
    (tmp_path / "fan/test/section_00_0001.wav").write_text("text")
    np.save(tmp_path / "fan/test/section_01_0000.npy", np.zeros((128, 10), np.float16))
    events, (first, second) = finish(take_stock(open_catalog(tmp_path)))
    assert (first.machine, first.section, first.train) == ("fan", "00", {"source": 3, "target": 1})
    assert (first.test_unknown, first.unreadable, first.rates, first.seconds) == (2, 1, {16_000: 4, 48_000: 1}, 7.0)
    assert first.domains == {"source", "target", None}
    assert (second.section, second.logmels, second.unreadable, second.rates) == ("01", 1, 0, {})
    assert events[-1] == Progress("reading headers", 7, 7)


def test_real_recordings(data_root: Path) -> None:
    clips: list[Clip] = []
    for folder in ("dcase2020_wavs", "mimii_8ch"):
        clips += open_catalog(data_root / folder).clips
    _, report = finish(verify(clips))
    assert not (report.broken or report.silent or report.truncated or report.duplicates)
    assert report.channels == {1: 137, 8: 4} and report.rates == {16_000: 141}
    assert report.seconds[0] == pytest.approx(10.0, abs=0.1) and report.seconds[-1] == pytest.approx(11.0, abs=0.1)


def test_real_logmels(data_root: Path) -> None:
    _, report = finish(verify(open_catalog(data_root / "toycar_logmel").clips))
    assert len(report.checked) == 1628 and not report.broken
