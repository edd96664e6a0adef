"""Where figures come from, as far as run folders tell: recordings and their checksums, who chose what, deviations."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from asd.config import NO_MATTER, Config, differences, parse_config, presets, read_preset
from asd.errors import UsageError
from asd.report.cost import environment
from asd.report.split import Test, test_of
from asd.report.systems import System, setting_words, value_words
from asd.words import count

CHOSEN_ON = "ToyCar", ("01", "02")
"""Machine and IDs of DCASE 2020 whose test clips helped to choose the presets of ours."""

OWN_PRESETS = ("contrastive", "finetune", "pretrain", "baseline")
"""Presets whose settings were chosen; the others are as their papers print them."""

PAPERS = {"contrastive": "dcase2020", "finetune": "dcase2022"}
"""Method to the preset that is the paper's setting."""

TOLD = ("encoder.", "views.", "optimiser.", "moco.", "classifier.head", "variants.regions", "scorer")
"""Settings, or groups of them, that a paper's method is made of."""


class Origin:
    """Where the figures of a system come from."""

    def __init__(self, system: System) -> None:
        """Keep the system; its files are read when asked for."""
        self._system = system
        self._machines = system.first

    @cached_property
    def test(self) -> Test:
        """What was scored."""
        return test_of(self._machines)

    def data(self) -> str:
        """Return the data root's name, machines, IDs and numbers of recordings."""
        roots = {str(m.detector.get("data_root") or "") for m in self._machines}
        name = Path(roots.pop()).name if len(roots) == 1 else "several data roots"
        types = sorted({m.machine for m in self._machines})
        ids = sorted({s.name for m in self._machines for s in m.sections})
        what = ", ".join(types) if len(types) <= 7 else count(len(types), "machine")
        which = f"ID {', '.join(ids)}" if len(ids) <= 8 else count(len(ids), "machine ID")
        tests = [c for m in self._machines for c in m.clips]
        labels = [c.label for c in tests]
        known = f"{labels.count(0):,} normal, {labels.count(1):,} anomalous"
        unknown = f", {labels.count(None):,} unknown" if None in labels else ""
        normals = sum(m.normal_health.recordings for m in self._machines)
        return (
            f"{name or 'own recordings'}: {what} {which}; {count(len(tests), 'recording')} scored ({known}{unknown}), "
            f"{count(normals, 'training normal')}."
        )

    def checksums(self) -> tuple[str | None, str]:
        """Return SHA-256 of the training recordings (names and contents), and of the test list (names and labels).

        Each is over lines of ``name<TAB>content or label``, in the order of the names. The first is None where the
        run folders do not tell the contents.
        """
        heard = {(f["path"], f.get("sha256")) for m in self._machines for f in environment(m).get("files") or []}
        training = _digest(heard) if heard and all(digest for _, digest in heard) else None
        return training, _digest(
            (c.name, "" if c.label is None else str(c.label)) for m in self._machines for c in m.clips
        )

    def selection(self) -> str:
        """Return the rule by which settings and epoch were chosen, and what of the test clips had a part in it."""
        config = self._machines[0].run.config()
        preset = str(config.get("preset") or "")
        sentences = []
        if preset:
            changed = self._changed(preset)
            how = f"with {', '.join(changed)}" if changed else "as it comes"
            sentences.append(f"Preset {preset}, {how}.")
        elif "network" not in self._machines[0].detector:
            sentences.append("Training-free, without settings that were chosen by scores.")
        if "network" in self._machines[0].detector:
            sentences.append("The epoch is the last one, never chosen by scores.")
            if preset in OWN_PRESETS:
                machine, ids = CHOSEN_ON
                sentences.append(
                    f"The preset was chosen on {machine} {' and '.join(ids)} of DCASE 2020, on synthetic machines and "
                    "on normals; benches/networks.md counts what was tried."
                )
        return " ".join(sentences) or "The run folder does not tell how its settings were chosen."

    def touched(self) -> frozenset[tuple[str, str]]:
        """Return the machines and IDs scored here that helped to choose the preset: their figures are flattered."""
        config = self._machines[0].run.config()
        if "network" not in self._machines[0].detector or config.get("preset") not in OWN_PRESETS:
            return frozenset()
        machine, ids = CHOSEN_ON
        own = {(m.machine, s.name) for m in self._machines for s in m.sections}
        return frozenset((machine, i) for i in ids if self.test.challenge == 2020) & own

    def tried(self) -> str:
        """Return how many settings were scored on this machine in the folder of the runs, this one included."""
        here = {m.run.path.resolve().parent for m in self._system.runs}
        machines = {m.machine for m in self._machines}
        data = {_data(m.run.config()) for m in self._machines}
        found = [config for folder in here for config in _scored(folder) if _data(config) in data]
        if not found:
            return ""
        settings = {_settings(config) for config in found}
        return (
            f"{count(len(settings), 'setting')} in {count(len(found), 'run')} of {', '.join(sorted(machines))} "
            f"{'was' if len(found) == 1 else 'were'} scored in {', '.join(sorted(p.name for p in here))}, "
            f"{'this one alone' if len(found) == 1 else 'this one included'}."
        )

    def deviations(self) -> str:
        """Return what differs from the paper's setting, and what the paper leaves open."""
        told = self._machines[0].detector.get("left_open")
        if told:
            text = str(told)
            return text[0].upper() + text[1:]
        config = self._config()
        paper = PAPERS.get(str(config.method)) if config else None
        if config is None or paper is None:
            return "Not the method of arXiv 2509.15570: no network is trained."
        found = list(differences(parse_config(read_preset(paper)), config))
        words = [f"{setting_words(key, now)} for {value_words(was)}" for key, was, now in found if key.startswith(TOLD)]
        return f"Not the setting of arXiv 2509.15570 (preset {paper}): {', '.join(words) or 'it is, but by name'}."

    def json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        training, tests = self.checksums()
        return {
            "data": self.data(),
            "challenge": self.test.challenge,
            "split": self.test.split,
            "synthetic": self.test.synthetic,
            "sha256_training": training,
            "sha256_test_list": tests,
            "selection": self.selection(),
            "variants": self.tried(),
            "chosen_on": [list(place) for place in sorted(self.touched())],
            "deviations": self.deviations(),
        }

    def _config(self) -> Config | None:
        try:
            return parse_config(self._machines[0].run.config())
        except UsageError:  # of another version
            return None

    def _changed(self, preset: str) -> list[str]:
        config = self._config()
        if config is None or preset not in presets():
            return ["settings of another version"]
        found = differences(parse_config(read_preset(preset)), config)
        return [
            f"{setting_words(key, now)} for {value_words(was)}"
            for key, was, now in found
            if not key.startswith(NO_MATTER)
        ]


def _digest(lines: Iterable[tuple[str, str | None]]) -> str:
    text = "".join(f"{name}\t{content}\n" for name, content in sorted(lines))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _data(config: dict[str, Any]) -> tuple[Any, ...]:
    """Return which recordings a run is of: data root, or own folder, and machine."""
    data = config.get("data") or {}
    return data.get("root"), data.get("normal"), data.get("machine")


def _scored(folder: Path) -> list[dict[str, Any]]:
    """Return the settings of all runs of a folder that were scored; those that cannot be read do not count."""
    found = []
    for file in sorted(folder.glob("*/config.toml")):
        if not (file.parent / "scores.csv").is_file():
            continue
        try:
            config = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if config.get("data") and isinstance(config["data"], dict):
            found.append(config)
    return found


def _settings(config: dict[str, Any]) -> str:
    own = {key: value for key, value in config.items() if not f"{key}.".startswith(NO_MATTER)}
    return repr(sorted(own.items(), key=lambda item: item[0]))


def short(digest: str) -> str:
    """Return the head of a checksum, enough to compare by eye."""
    return digest[:16]
