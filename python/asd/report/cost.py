"""What a run cost, as far as its folder tells: parameters, operations, minutes, the machine."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asd.report.machine import Machine
from asd.runs import read_jsonl
from asd.words import hours

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What batch normalisation keeps beside its weights."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one run; None where its folder does not tell.

    Attributes:
        network: name of the encoder, empty without one.
        parameters: of the encoder; without a network, of mean and covariance of all sections.
        flops: floating-point operations of a clip, forward; a multiplication and an addition are two.
        seconds: of training, over all epochs.
        hardware: processor, or graphics processors.
    """

    network: str
    parameters: int | None
    flops: int | None
    seconds: float | None
    hardware: str

    def words(self) -> str:
        """Return the cost as a sentence without its stop."""
        parts = [self.network or "no network"]
        if self.parameters:
            parts.append(f"{self.parameters:,} parameters")
        if self.flops:
            parts.append(f"{self.flops / 1e9:.3g} GFLOP a clip")
        if self.seconds:
            parts.append(f"{hours(self.seconds)} of training")
        if self.hardware:
            parts.append(self.hardware)
        return ", ".join(parts)

    def json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "network": self.network or None,
            "parameters": self.parameters,
            "gflop": None if self.flops is None else self.flops / 1e9,
            "training_seconds": self.seconds,
            "hardware": self.hardware or None,
        }


def cost_of(machine: Machine) -> Cost:
    """Return what the folder of a run tells of its cost."""
    about = environment(machine)
    noted = about.get("cost") or {}
    gpus = [gpu for gpu in about.get("gpus") or [] if gpu]
    cpu = f"{about['cpu']}, {about.get('cpus', '?')} cores" if about.get("cpu") else ""
    used_gpu = (about.get("resolved") or {}).get("device", "cpu") != "cpu"
    hardware = " and ".join(gpus) if gpus and used_gpu else cpu
    network = machine.detector.get("network")
    if not network:
        size = 3 * machine.spec.n_mels
        return Cost("", len(machine.sections) * (size * (size + 3) // 2), None, None, hardware)
    parameters = noted.get("parameters") or _parameters(machine.run.path / "encoder.safetensors")
    return Cost(str(network.get("encoder", "network")), parameters, noted.get("flops"), _seconds(machine), hardware)


def environment(machine: Machine) -> Mapping[str, Any]:
    """Return ``env.json``, empty where it is not there or is damaged: a report does not hang on it."""
    try:
        value = json.loads((machine.run.path / "env.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(machine: Machine) -> float | None:
    file = machine.run.path / "metrics.jsonl"
    if not file.is_file():
        return None
    seconds = [row.get("seconds") for row in read_jsonl(file)]
    return math.fsum(s for s in seconds if isinstance(s, int | float)) or None


def _parameters(file: Path) -> int | None:
    """Count the weights in a safetensors file by its header: runs of older versions did not note them."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
        tensors = {name: about["shape"] for name, about in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return None
    return sum(math.prod(shape) for name, shape in tensors.items() if not name.endswith(_STATISTICS)) or None
