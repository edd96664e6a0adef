"""Which methods stand in which table, and the settings of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from asd.config import Config, load_config, read_preset
from asd.data.names import Layout
from asd.errors import UsageError, nearest
from asd.evaluate.published import DCASE2020, DCASE2022, MACHINES_2020, MACHINES_2022, Published

Size = Literal["full", "quick"]
"""The paper's settings, or networks and steps so few that a whole table takes minutes and tells nothing of a method."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train, and the row that it makes.

    Attributes:
        name: as ``--method`` takes it.
        title: of the row.
        preset, settings: as `asd train` takes them.
        quick: settings laid over them for the size ``"quick"``.
        published: the paper's row of this method; empty: none.
        pretrained: starts from the weights of a pre-training of the same encoder.
        shared: one network learns from all machines, so it is trained once and taken over by each.
        chance: seeds matter.
    """

    name: str
    title: str
    preset: str
    settings: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    published: str = ""
    pretrained: bool = False
    shared: bool = False
    chance: bool = True

    def assignments(self, size: Size) -> tuple[str, ...]:
        """Return what ``--set`` is given."""
        return (*self.settings, *self.quick) if size == "quick" else self.settings

    def config(self, size: Size) -> Config:
        """Return the settings of a training, but for its machine and seed."""
        return load_config(None, self.assignments(size), None, read_preset(self.preset))


@dataclass(frozen=True, slots=True)
class Challenge:
    """A table of the paper.

    Attributes:
        layout: of its recordings.
        machines: in the order of its columns.
        figures: the two of a cell.
        published: its rows.
    """

    name: str
    year: int
    layout: Layout
    machines: tuple[str, ...]
    figures: tuple[str, str]
    methods: tuple[Method, ...]
    published: tuple[Published, ...]

    def method(self, name: str) -> Method:
        """Return a method by its name. Raises UsageError, which names the nearest."""
        for method in self.methods:
            if method.name == name:
                return method
        known = [m.name for m in self.methods]
        raise UsageError(f"no method {name!r} in {self.name}.{nearest(name, known)}", f"It has {', '.join(known)}.")


FEW_STEPS = ("optimiser.epochs=1", "optimiser.batch_size=8", "optimiser.least_steps=0")
_BASELINE = Method("baseline", "training-free baselines", "baseline", chance=False)
_ONE_STRETCH = (*FEW_STEPS, "classifier.frames=64", "classifier.hop=1024", "classifier.score_hop=1024")
_NARROW = (*_ONE_STRETCH, "encoder.width=0.1")
_MOBILEFACENET = ("encoder.name=mobilefacenet",)

PRETRAINING: Mapping[str, Method] = {
    encoder: Method(
        f"pretrain-{encoder}",
        f"pre-training of {encoder}",
        "audioset",
        (f"encoder.name={encoder}",),
        (*FEW_STEPS, "moco.queue_size=64", *(("encoder.width=0.1",) if encoder == "mobilenetv2" else ())),
    )
    for encoder in ("mobilenetv2", "mobilefacenet")
}
"""By encoder."""

CHALLENGES: Mapping[str, Challenge] = {
    "dcase2020": Challenge(
        "dcase2020",
        2020,
        "dcase2020",
        MACHINES_2020,
        ("auc", "pauc"),
        (
            _BASELINE,
            Method(
                "contrastive",
                "contrastive (the paper's)",
                "dcase2020",
                quick=("encoder.name=small", *FEW_STEPS, "moco.queue_size=64"),
                published="Contrastive learning with spectrum augmentation",
            ),
            Method("default", "our default", "contrastive", quick=(*FEW_STEPS, "moco.queue_size=64")),
        ),
        DCASE2020,
    ),
    "dcase2022": Challenge(
        "dcase2022",
        2022,
        "dcase2021",
        MACHINES_2022,
        ("auc_source", "auc_target"),
        (
            _BASELINE,
            Method("mn", "MN", "dcase2022", (), _NARROW, "MN (baseline)", shared=True),
            Method("mn+p", "MN+P", "dcase2022", (), _NARROW, "MN+P", pretrained=True, shared=True),
            Method("mfn", "MFN", "dcase2022", _MOBILEFACENET, _ONE_STRETCH, "MFN", shared=True),
            Method("mfn+p", "MFN+P", "dcase2022", _MOBILEFACENET, _ONE_STRETCH, "MFN+P", pretrained=True, shared=True),
            Method("mn-official", "MN, official", "mn-official", (), _NARROW, "MN (baseline)"),
            Method("default", "our default", "finetune", quick=FEW_STEPS),
        ),
        DCASE2022,
    ),
}
"""By name; ``paper`` is both."""
