"""Ready log-mels: ``.npy`` matrices, and the ``features.json`` above them that says how they were made.

A ``.npy`` holds one recording, (F, T), float16 or float32. ``features.json`` lies in its folder or one of the next
few above, usually beside the machine folders, and gives the recipe and the unit, ``dB`` or ``ln``. Keys that are
not part of a `FeatureSpec` are ignored.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.config import FeatureSpec
from asd.errors import DataError

RECIPE = "features.json"
LEVELS = 5
"""Folders that are searched for the recipe: the file's own and those above it."""

_LN_PER_UNIT = {"ln": 1.0, "dB": math.log(10) / 10}
_CHECKED = ("sample_rate", "n_fft", "hop_length", "n_mels", "mel_scale", "f_min", "f_max")
_REQUIRED = ("unit", *_CHECKED[:5])


def is_ready(path: Path) -> bool:
    """Return whether the file at `path` is taken for a ready log-mel."""
    return path.suffix.lower() == ".npy"


def ln_per_unit(path: Path, spec: FeatureSpec) -> float:
    """Return what the values of the log-mel at `path` are multiplied by to be natural logarithms.

    Raises:
        DataError: no recipe, or one that contradicts `spec`.
    """
    recipe_file = _find_recipe(path)
    recipe = _read_recipe(recipe_file, path)
    _agree(path, recipe_file, recipe, spec)
    return _LN_PER_UNIT[recipe["unit"]]


def read(path: Path, spec: FeatureSpec | None) -> NDArray[np.float32]:
    """Return the log-mel at `path`, float32 (F, T), natural logarithm, at its stored T.

    Args:
        path: an ``.npy`` file.
        spec: what the recipe must agree with; None reads whatever is there.

    Raises:
        DataError: no recipe, a recipe that contradicts `spec`, or a file that is no finite (F, T) matrix.
    """
    recipe_file = _find_recipe(path)
    recipe = _read_recipe(recipe_file, path)
    if spec is not None:
        _agree(path, recipe_file, recipe, spec)
    stored_FT = _load(path)
    _check_shape(path, stored_FT, recipe_file, recipe)
    logmel_FT = (stored_FT.astype(np.float64) * _LN_PER_UNIT[recipe["unit"]]).astype(np.float32)
    if not np.isfinite(logmel_FT).all():
        raise DataError(f"{path}: holds NaN or infinite values", "Make it again, or leave it out.")
    return logmel_FT


def _load(path: Path) -> NDArray[Any]:
    """Map the file: a header that promises more than the file holds then costs no memory."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: it is no file but a folder, a device or a pipe", "Leave it out.")
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", "Check the path.") from None
    except Exception as error:  # a damaged header brings out whatever numpy's parser stumbles over
        first_line = str(error).partition("\n")[0]
        raise DataError(f"{path}: no .npy matrix ({first_line})", "Write it again with numpy.save.") from None
    if not isinstance(stored, np.ndarray):
        raise DataError(f"{path}: several arrays (.npz) where one was expected", "Write it with numpy.save.")
    return stored


def _check_shape(path: Path, stored: NDArray[Any], recipe_file: Path, recipe: dict[str, Any]) -> None:
    hint = "A log-mel is a float16 or float32 matrix: bands by frames."
    if stored.ndim != 2 or stored.dtype not in (np.float16, np.float32):
        raise DataError(f"{path}: a log-mel of shape {stored.shape} and type {stored.dtype}", hint)
    if 0 in stored.shape or stored.shape[1] < 2:
        raise DataError(f"{path}: a log-mel of shape {stored.shape}, which is too short to pool over time", hint)
    if stored.shape[0] != recipe["n_mels"]:
        raise DataError(f"{path}: {stored.shape[0]} bands, but {recipe_file} says n_mels = {recipe['n_mels']}", hint)
    if "shape" in recipe and list(stored.shape) != recipe["shape"]:
        raise DataError(
            f"{path}: shape {list(stored.shape)}, but {recipe_file} says shape = {recipe['shape']}",
            "Leave the file out, or take `shape` out of features.json.",
        )


def _find_recipe(path: Path) -> Path:
    folders = list(path.absolute().parents)[:LEVELS]
    for folder in folders:
        if (folder / RECIPE).is_file():
            return folder / RECIPE
    example = {
        "unit": "dB",
        "sample_rate": 16000,
        "n_fft": 1024,
        "hop_length": 512,
        "n_mels": 128,
        "mel_scale": "slaney",
    }
    raise DataError(
        f"{path}: no {RECIPE} in its folder or the {len(folders) - 1} above it",
        f"Write {folders[0] / RECIPE} with how the log-mels were made, such as {json.dumps(example)}",
    )


def _read_recipe(file: Path, path: Path) -> dict[str, Any]:
    try:
        recipe = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}", f"{path} needs it.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: no JSON ({error})", f"{path} needs it.") from None
    if not isinstance(recipe, dict):
        raise DataError(f"{file}: expected an object with keys such as `unit`", f"{path} needs it.")
    missing = [key for key in _REQUIRED if key not in recipe]
    if missing:
        raise DataError(f"{file}: no key {missing[0]!r}", f"It must give {', '.join(_REQUIRED)}.")
    if recipe["unit"] not in tuple(_LN_PER_UNIT):
        raise DataError(f"{file}: unit = {recipe['unit']!r}", 'The unit is "dB" (10 log10) or "ln".')
    if recipe.get("power", 2) != 2:
        raise DataError(f"{file}: power = {recipe['power']!r}", "Only power spectra (2) are understood.")
    return recipe


def _agree(path: Path, file: Path, recipe: dict[str, Any], spec: FeatureSpec) -> None:
    stated = {"f_min": 0.0, "f_max": recipe["sample_rate"] / 2 if _is_number(recipe["sample_rate"]) else None}
    for key in _CHECKED:
        value, wanted = recipe.get(key, stated.get(key)), getattr(spec, key)
        if value != wanted:
            raise DataError(
                f"{path}: {file} says {key} = {json.dumps(value)}, but {json.dumps(wanted)} is set",
                f"Set it alike: --set features.{key}={value}",
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
