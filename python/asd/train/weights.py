"""The weights of an encoder as a file that other trainings start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from asd.config import FeatureSpec
from asd.errors import DataError, RunFolderError, UsageError
from asd.models.encoders import OWN_POOLING, Encoder, adapt_weights
from asd.runs import write_bytes
from asd.train.environment import sha256_of

FILE = "encoder.safetensors"
FORMAT = 1
KEYS = ("name", "bands", "frames", "width", "norm")

FRONT_END = ("sample_rate", "n_fft", "hop_length", "f_min", "f_max", "mel_scale", "eps")
"""What of `FeatureSpec` tells how a sound looks to a network."""


def save_encoder(file: Path, encoder: nn.Module, about: Mapping[str, Any]) -> None:
    """Write an encoder's weights and what it takes to build it again.

    Args:
        about: the values of `KEYS`, the pooling where it is not the network's own, the front end's
            settings (``"features"``), and facts for readers.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    write_bytes(file, save(tensors, {"asd-encoder": json.dumps({"format": FORMAT, **about})}))


def about_encoder(path: Path) -> dict[str, Any]:
    """Return what is known of the weights at `path`, a run folder or a file.

    Raises:
        RunFolderError: no weights of an encoder; names the file.
    """
    return _open(path)[0]


def load_encoder(path: Path, encoder: Encoder, width: float, norm: str) -> str:
    """Give an encoder the weights at `path`; return what had to be fitted to another T, or nothing.

    Raises:
        UsageError: they are those of another encoder.
        RunFolderError: no weights of an encoder, or damaged ones; names the file.
    """
    about, tensors = _open(path)
    wanted = {
        "name": encoder.name,
        "width": width,
        "norm": norm,
        "pooling": encoder.pooling,
        "bands": encoder.bands,
    }
    for key, value in wanted.items():
        if about[key] != value:
            what = {"name": "encoder", "bands": "number of mel bands"}.get(key, key)
            raise UsageError(
                f"{path}: weights of another {what}: {about[key]}, this training has {value}",
                f"Train with that {what}: --encoder {about['name']}"
                if key == "name"
                else f"Train with that {what}: --set encoder.{key}={about[key]}"
                if key != "bands"
                else f"Train with that {what}: --set features.n_mels={about[key]}",
            )
    fitted, remark = adapt_weights(encoder, tensors, about["frames"])
    try:
        encoder.load_state_dict(fitted)
    except RuntimeError as error:
        raise RunFolderError(f"{path}: damaged weights ({error})", "Train them again.") from error
    return remark


def digest_of_weights(path: Path) -> str | None:
    """Return the SHA-256 of the weights at `path`; None where they have gone."""
    return sha256_of(_file(path))


def other_front_end(about: Mapping[str, Any], spec: FeatureSpec) -> str:
    """Return what of the front end differs from that which weights were trained with; weights may not tell.

    Args:
        about: what `about_encoder` returns.
    """
    theirs, ours = about.get("features", {}), spec.model_dump(mode="json")
    found = [key for key in FRONT_END if key in theirs and theirs[key] != ours[key]]
    return ", ".join(f"{key} {theirs[key]}, here {ours[key]}" for key in found)


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    file = _file(path)
    if not path.exists():
        raise DataError(f"{path}: no such run or file", "Make weights with: asd pretrain --data FOLDER")
    if not file.is_file():
        if (path / "checkpoint").is_dir():
            raise RunFolderError(f"{path}: its training did not end", "Go on with the same command and --resume.")
        raise RunFolderError(f"{path}: no weights of a network here", "Make some with: asd pretrain --data FOLDER")
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            if "asd-encoder" not in metadata:
                raise ValueError("no weights of a network of ours")
            about = json.loads(metadata["asd-encoder"])
            if about["format"] != FORMAT:
                raise ValueError(f"of format {about['format']}, this version reads {FORMAT}")
            if missing := [key for key in KEYS if key not in about]:
                raise ValueError(f"no {missing[0]}")
            if not isinstance(about.get("features", {}), dict):
                raise ValueError(f"features = {about['features']!r}")
            about.setdefault("pooling", OWN_POOLING.get(about["name"]))
            return about, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunFolderError(f"{file}: {error}", "Give a run folder of asd pretrain or asd train.") from error
