"""Writes the seeds: one small valid file of every kind, by the writers that the world uses (soundfile, numpy)."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import soundfile

SEEDS = Path(__file__).parent / "seeds"
RATE = 16000


def main() -> None:
    """Write all of them. Float WAV files carry the time of writing, so they differ each time."""
    for target in ("wav", "flac", "npy"):
        (SEEDS / target).mkdir(parents=True, exist_ok=True)
    audio()
    matrices()


def audio() -> None:
    """Two channels of a chirp and a tone in every encoding, silence, noise."""
    n = np.arange(300)
    wave_NC = np.stack([np.sin(n * n / 900), 0.25 * np.cos(n / 9)], axis=1)
    for channels, subtype in itertools.product((1, 2), ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")):
        file = SEEDS / "wav" / f"{subtype.lower()}_{channels}.wav"
        soundfile.write(file, wave_NC[:, :channels], RATE, subtype, format="WAV")
    for form in ("WAVEX", "RF64"):
        soundfile.write(SEEDS / "wav" / f"{form.lower()}.wav", wave_NC, 44100, "PCM_16", format=form)
    with soundfile.SoundFile(SEEDS / "wav" / "titled.wav", "w", RATE, 1, "PCM_16", format="WAV") as out:
        out.write(wave_NC[:, 0])
        out.title = "a chunk behind the samples"
    short_rf64(SEEDS / "wav" / "ds64.wav")
    for channels, subtype in itertools.product((1, 2), ("PCM_S8", "PCM_16", "PCM_24")):
        file = SEEDS / "flac" / f"{subtype.lower()}_{channels}.flac"
        soundfile.write(file, wave_NC[:, :channels], RATE, subtype, format="FLAC")
    noise_N = np.random.default_rng(0).integers(-30000, 30000, 100).astype(np.int16)
    for name, sound in {"silence": np.zeros(5000, np.int16), "noise": noise_N}.items():
        soundfile.write(SEEDS / "flac" / f"{name}.flac", sound, 48000, "PCM_16", format="FLAC")


def short_rf64(file: Path) -> None:
    """Four samples whose number stands in the ``ds64`` chunk alone, as in files above 4 GiB."""
    data = np.array([1, -1, 30000, -30000], "<i2").tobytes()
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, len(data), 4, 0)
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + sizes + form + b"data" + struct.pack("<I", 0xFFFFFFFF) + data
    file.write_bytes(b"RF64" + struct.pack("<I", 0xFFFFFFFF) + body)


def matrices() -> None:
    """Matrices (4, 6) that count up from -3 in quarters."""
    counted_FT = (np.arange(24) / 4 - 3).reshape(4, 6)
    for kind, order, version in itertools.product(("f2", "f4"), "CF", (1, 2, 3)):
        with (SEEDS / "npy" / f"{kind}_{order}_{version}.npy").open("wb") as file:
            np.lib.format.write_array(file, np.asarray(counted_FT, f"<{kind}", order=order), (version, 0))


if __name__ == "__main__":
    main()
