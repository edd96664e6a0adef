"""Finds machines that sound wrong, from recordings of machines that sound right.

The public face; every name is loaded on first use, so that ``import asd`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asd import augment as augment
    from asd import evaluate as evaluate
    from asd.augment import two_views as two_views
    from asd.config import FeatureSpec as FeatureSpec
    from asd.corpus import Corpus as Corpus
    from asd.corpus import Survey as Survey
    from asd.detect.detector import Detector as Detector
    from asd.detect.detector import Score as Score
    from asd.errors import AsdError as AsdError
    from asd.features import logmel as logmel
    from asd.features import read_audio as read_audio
    from asd.features import read_logmel as read_logmel
    from asd.feed import Feed as Feed

_HOME = {
    "AsdError": "asd.errors",
    "Corpus": "asd.corpus",
    "Detector": "asd.detect.detector",
    "FeatureSpec": "asd.config",
    "Feed": "asd.feed",
    "Score": "asd.detect.detector",
    "Survey": "asd.corpus",
    "logmel": "asd.features",
    "read_audio": "asd.features",
    "read_logmel": "asd.features",
    "two_views": "asd.augment",
}
_MODULES = ("augment", "evaluate")

__all__ = [*_HOME, "__version__", "augment", "evaluate"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"asd.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("machine-asd")
    else:
        raise AttributeError(f"module 'asd' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
