"""The benches of quality: what a run is known by, and how its figures are printed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asd.data.catalog import open_catalog
from asd.evaluate.scored import Scored

BENCHES = Path(__file__).parents[1] / "benches"


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHES))
    import networks

    return networks


@pytest.mark.parametrize(
    "other",
    [
        {"data": Path("/b")},
        {"machine": "pump"},
        {"method": "finetune"},
        {"settings": ["moco.momentum=0.5"]},
        {"seed": 1},
    ],
)
def test_a_run_of_anything_else_is_another_run(networks: Any, other: dict[str, Any]) -> None:
    facts = {"data": Path("/a"), "machine": "fan", "method": "contrastive", "settings": [], "seed": 0}
    assert networks.run_name(**facts) == networks.run_name(**facts)
    assert networks.run_name(**facts) != networks.run_name(**facts | other)


def test_a_changed_preset_is_another_run(networks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Path("/a"), "fan", "contrastive", [], 0
    before = networks.run_name(*facts)
    monkeypatch.setattr(networks, "read_preset", lambda name: {"method": name})
    assert networks.run_name(*facts) != before


def test_a_choice_of_few_normals_has_no_links_of_another(networks: Any, tmp_path: Path) -> None:
    """Of two data roots, and of one that changed."""
    roots = []
    for number, names in enumerate([range(6), range(6), range(3, 9)]):
        data = tmp_path / f"data{number % 2}"
        for split, label in (("train", "normal"), ("test", "anomaly")):
            (data / "fan" / split).mkdir(parents=True, exist_ok=True)
            for file in (data / "fan" / split).iterdir():
                file.unlink()
            for n in names:
                (data / "fan" / split / f"{label}_id_00_{n:08}.wav").touch()
        words = {"data": data, "machine": "fan", "runs": tmp_path / "runs", "only": None, "seeds": 1}
        table = networks.Table(argparse.Namespace(**words, threads=1, there=True, pretrained=None))
        roots.append(table._few(2, 0))
        linked = {clip.path.resolve() for clip in open_catalog(roots[-1]).clips}
        assert len(linked) == 2 + 6
        assert all(path.is_relative_to(data) and path.exists() for path in linked)
    assert len(set(roots)) == 3


def test_figures_over_seeds(networks: Any) -> None:
    labels_B = np.array([0, 0, 0, 1])
    runs = [
        [Scored("fan", section, np.array([0.0, 1.0, 2.0, score]), labels_B) for section in ("00", "02")]
        for score in (3.0, 1.5)
    ]
    assert networks.spread(runs[:1], ["00", "02"]) == "1.000 / 1.000"
    deviation = np.sqrt(2 * (1 / 6) ** 2)  # of 1 and 2/3, one degree of freedom
    assert networks.spread(runs, ["00"]).startswith(f"0.833 ± {deviation:.3f} / ")
    assert networks.difference(runs, runs, ["02"], "auc") == "+0.000 (+0.000 to +0.000)"
