"""The default synthetic set is neither trivial nor hopeless, and harder faults are easier to hear."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asd.data.synth import DEFAULT_MACHINES
from synth_calibration import DEFAULT, Hardness, hardness, write

SEED = 0


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Hardness]]:
    """The default set, written, read and scored."""
    root: Path = tmp_path_factory.mktemp("synth") / "data"
    write(root, DEFAULT_MACHINES, SEED)
    try:
        yield {m: hardness(root, m, SEED, **DEFAULT) for m in DEFAULT_MACHINES}
    finally:
        shutil.rmtree(root)  # half a gigabyte


@pytest.mark.parametrize("machine", DEFAULT_MACHINES)
def test_the_baseline_finds_some_faults_and_misses_some(table: dict[str, Hardness], machine: str) -> None:
    assert 0.65 < table[machine].baseline < 0.88


@pytest.mark.parametrize("machine", DEFAULT_MACHINES)
def test_an_oracle_finds_nearly_all(table: dict[str, Hardness], machine: str) -> None:
    assert table[machine].oracle >= 0.97


def test_the_baseline_rises_with_severity(table: dict[str, Hardness]) -> None:
    means = [np.mean([h.by_severity[s] for h in table.values()]) for s in (0.4, 0.7, 1.0)]
    assert means[0] + 0.05 < means[1] < means[2] - 0.05
    for machine, h in table.items():
        slight, plain, severe = h.by_severity.values()
        assert slight < plain + 0.05 and plain < severe + 0.05 and slight + 0.1 < severe, machine
