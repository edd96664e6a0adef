"""Where and from what a detector was made, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from asd.data.catalog import Clip

PACKAGES = ("machine-asd", "numpy", "scipy", "scikit-learn", "torch", "torchaudio", "torchvision")


def environment(clips: Sequence[Clip] | None, more: Mapping[str, Any] | None = None) -> str:
    """Return ``env.json``: versions, commit, processor, and the training files with their SHA-256.

    Args:
        clips: None where another file of the run folder names the training files.
        more: further facts, JSON values.
    """
    facts = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "gpus": gpu_names(),
        **(more or {}),
    }
    if clips is not None:
        facts["files"] = [{"path": c.name, "sha256": sha256_of(c.path)} for c in clips]
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def cpu_name() -> str:
    """Return the processor's model name as Linux tells it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def gpu_names(drivers: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Return the models of all GPUs: as torch names them if it is loaded, else as NVIDIA's driver does."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    told = [file.read_text(encoding="utf-8") for file in sorted(drivers.glob("*/information"))]
    lines = (line for text in told for line in text.splitlines())
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout that this code runs from; None for an installed package."""
    here = Path(__file__)
    try:
        # A package installed below somebody's checkout is no part of it.
        tracked = _git(here.parent, "ls-files", here.name)
        return _git(here.parent, "rev-parse", "HEAD") if tracked else None
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    told = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5, check=True)
    return told.stdout.strip()


def sha256_of(path: Path) -> str | None:
    """Return the SHA-256 of a file as hexadecimal digits; None for one that cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
