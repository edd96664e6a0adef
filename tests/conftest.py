"""Where the real recordings are, and what of them a test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA_ROOT = Path(os.environ.get("ASD_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real recordings: $ASD_TEST_DATA."""
    if not DATA_ROOT.is_dir():
        pytest.skip(f"no real recordings at {DATA_ROOT}; set ASD_TEST_DATA")
    return DATA_ROOT


@pytest.fixture(scope="session")
def golden(data_root: Path) -> Path:
    """Folder of published scores, labels and results, beside the recordings."""
    folder = data_root.parent / "golden"
    if not folder.is_dir():
        pytest.skip(f"no published results at {folder}")
    return folder
