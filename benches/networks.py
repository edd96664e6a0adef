"""Quality of networks on real clips: what was tried, over several seeds.

    python benches/networks.py --data FOLDER [--runs FOLDER] [--seeds 3] [--only NAME ...] [--markdown]

FOLDER is a data root with several IDs of one machine in the DCASE 2020 layout. Every variant is trained with the `asd`
command, scored, and compared with the training-free baseline of the same run by a paired bootstrap over clips.
Variants are to be chosen by the IDs of the first half alone; those of the second half are shown apart. Runs that are
there already are not made again, so the table can be made in parts. A run is known by its data root, machine, method
with its preset, settings and seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asd.config import read_preset
from asd.data.catalog import open_catalog
from asd.evaluate.bootstrap import Figure, paired
from asd.evaluate.official import aggregate
from asd.evaluate.scored import Scored, scored_of
from asd.runs import Run

PLAIN = ("variants.regions=0", "variants.gain=0")
PAPER = ("views.alpha=0.4", "views.crop=true", "views.stretch=1")
QUICK = ("optimiser.epochs=3", "optimiser.least_steps=0")

VARIANTS: dict[str, tuple[str, ...]] = {
    # name: method, then settings
    "contrastive (default)": ("contrastive",),
    "finetune": ("finetune",),
    "contrastive, the paper's views instead of variants": ("contrastive", *PLAIN, *PAPER),
    "contrastive, no views, no variants": ("contrastive", *PLAIN),
    "contrastive, variants and Log-mixup-exp": ("contrastive", "views.alpha=0.4"),
    "contrastive, variants and Log-mixup-exp in high bands": (
        "contrastive",
        "views.alpha=0.4",
        "views.mix_band=high",
    ),
    "contrastive, variants and Random Resize Crop": ("contrastive", "views.crop=true", "views.stretch=1"),
    "contrastive, variants and both": ("contrastive", *PAPER),
    "contrastive, whole windows": ("contrastive", "views.stretch=1"),
    "contrastive, no change of level": ("contrastive", "variants.gain=0"),
    "contrastive, 16 regions": ("contrastive", "variants.regions=16", "variants.width=4"),
    "contrastive, momentum 0.99, queue 4096": ("contrastive", "moco.momentum=0.99", "moco.queue_size=4096"),
    "contrastive, τ 0.2": ("contrastive", "moco.temperature=0.2"),
    "contrastive, 40 epochs": ("contrastive", "optimiser.epochs=40"),
    "contrastive, group normalisation": ("contrastive", "encoder.norm=group"),
    "contrastive, mean over time": ("contrastive", "encoder.pooling=mean"),
    "finetune, mean over time": ("finetune", "encoder.pooling=mean"),
    "finetune, no variants": ("finetune", *PLAIN),
    "finetune, no variants, the paper's views": ("finetune", *PLAIN, *PAPER),
    "finetune, softmax": ("finetune", "classifier.head=softmax"),
    "finetune, sub-centre ArcFace": ("finetune", "classifier.head=subcentre-arcface"),
    "finetune, AdaCos": ("finetune", "classifier.head=adacos"),
    "finetune, mixup": ("finetune", "classifier.mixup=logmel"),
    "contrastive, MobileNetV2, 3 epochs": ("contrastive", "encoder.name=mobilenetv2", *QUICK),
    "finetune, MobileNetV2, 3 epochs": ("finetune", "encoder.name=mobilenetv2", *QUICK),
    "finetune, MobileNetV2, 3 epochs, bands kept apart": (
        "finetune",
        "encoder.name=mobilenetv2",
        "encoder.pooling=bands",
        *QUICK,
    ),
    "finetune, MobileNetV2, 3 epochs, mean and deviation": (
        "finetune",
        "encoder.name=mobilenetv2",
        "encoder.pooling=statistics",
        *QUICK,
    ),
    "finetune, MobileFaceNet, 3 epochs": ("finetune", "encoder.name=mobilefacenet", "views.stretch=1", *QUICK),
}

SCORERS = (
    "knn",
    "knn:5",
    "whitened-knn",
    "mahalanobis",
    "mahalanobis-siblings",
    "gmm",
    "lof",
    "density-knn",
    "summary",
    "fused:knn",
    "fused:mahalanobis-siblings",
    "fused:summary",
    "fused-min:ensemble",
)
"""Tried on the networks of the default; that is fused:ensemble, and the network alone ensemble."""

FEW = (20, 50)
"""Normals of an ID, where not all are used."""

FIGURES: tuple[Figure, ...] = ("auc", "pauc")


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--machine", help="default: the first machine of the data root")
    parser.add_argument("--runs", type=Path, default=Path("runs/networks"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pretrained", type=Path, help="a run of asd pretrain; adds rows that start from it")
    parser.add_argument("--only", nargs="*", help="rows whose names hold one of these words")
    parser.add_argument("--there", action="store_true", help="print what is there, train nothing")
    table = Table(parser.parse_args())
    table.header()
    for name, (method, *settings) in VARIANTS.items():
        table.row(name, method, settings)
    if table.pretrained:
        table.row("contrastive, pre-trained", "contrastive", [f"encoder.weights={table.pretrained.resolve()}"])
        table.row("finetune, pre-trained", "finetune", [f"encoder.weights={table.pretrained.resolve()}"])
    for scorer in SCORERS:
        table.scorer_row(scorer)
    for count in FEW:
        table.few_row(count)
    table.footer()


class Table:
    """Runs and their figures, as rows of Markdown."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.data, self.folder, self.only = arguments.data.resolve(), arguments.runs, arguments.only
        self.seeds, self.threads, self.there = range(arguments.seeds), arguments.threads, arguments.there
        self.pretrained: Path | None = arguments.pretrained
        self.machine = arguments.machine or open_catalog(self.data).machines()[0]
        self.sections = open_catalog(self.data).sections(self.machine)
        self.printed = self.defined = 0

    def header(self) -> None:
        """Print the head of the table."""
        half = len(self.sections) // 2
        chosen, shown = "/".join(self.sections[:half]), "/".join(self.sections[half:])
        print(f"`python {shlex.join(sys.argv)}`\n")
        print(f"{self.machine} in {self.data.name}; baseline-siblings beside each, and its difference to the row\n")
        print(
            f"| system | seeds | fused AUC/pAUC | IDs {chosen} | IDs {shown} | AUC − baseline (95 %) | "
            f"pAUC − baseline (95 %) | IDs {shown}: AUC − baseline | IDs {shown}: pAUC − baseline | network alone |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)

    def footer(self) -> None:
        """Print how many systems there are to choose among, and how the figures are to be read."""
        print(
            f"\n{self.printed} of the {self.defined} rows that were defined; mean ± standard deviation over seeds. Of "
            "the runs, each is compared with its own baseline."
        )

    def row(self, name: str, method: str, settings: list[str]) -> None:
        """Print a variant."""
        if self._wanted(name):
            self._print(name, [self._train(method, settings, seed) for seed in self.seeds])

    def scorer_row(self, scorer: str) -> None:
        """Print another scorer on the default's networks."""
        if not self._wanted(f"scorer {scorer}"):
            return
        runs = []
        for seed in self.seeds:
            base = self._train("contrastive", [], seed)
            weights = [f"encoder.weights={base.resolve()}", "optimiser.epochs=0", f"scorer={scorer}"]
            runs.append(self._train("contrastive", weights, seed))
        self._print(f"scorer {scorer}", runs)

    def few_row(self, count: int) -> None:
        """Print the default with few normals an ID, another choice of them for each seed."""
        if self._wanted(f"{count} normals"):
            runs = [self._train("contrastive", [], seed, self._few(count, seed)) for seed in self.seeds]
            self._print(f"contrastive (default), {count} normals an ID", runs)

    def _wanted(self, name: str) -> bool:
        self.defined += 1
        return not self.only or any(word in name for word in self.only)

    def _train(self, method: str, settings: list[str], seed: int, data: Path | None = None) -> Path:
        """Train and score a variant, if its run is not there; return the run folder."""
        data = data or self.data
        words = [f"--set={setting}" for setting in settings]
        run = self.folder / run_name(data, self.machine, method, settings, seed)
        if not (run / "scores.csv").exists() and not self.there:
            again = ["--overwrite"] if run.exists() else []
            self._asd(
                "train",
                f"--data={data}",
                f"--machine={self.machine}",
                "--id=all",
                f"--method={method}",
                f"--seed={seed}",
                f"--threads={self.threads}",
                f"--runs={self.folder}",
                f"--name={run.name}",
                *words,
                *again,
            )
            self._asd("score", str(run), f"--threads={self.threads}")
        return run

    def _asd(self, *words: str) -> None:
        done = subprocess.run([sys.executable, "-m", "asd", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"asd {' '.join(words)}\n{done.stderr}")

    def _few(self, count: int, seed: int) -> Path:
        """Return a data root with links to `count` normals of each ID, and to all test clips."""
        catalog = open_catalog(self.data)
        rng = np.random.default_rng(seed)
        clips = [c for c in catalog.clips if c.machine == self.machine and c.split == "test"]
        for section in self.sections:
            normals = catalog.select(self.machine, [section], "train")
            clips += [normals[i] for i in rng.choice(len(normals), count, replace=False)]
        # A folder for each choice: links of another one do not get in between.
        root = self.folder / f"data-{count}-{seed}-{digest([str(clip.path) for clip in clips])}"
        for clip in clips:
            link = root / clip.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(clip.path)
        for recipe in self.data.glob("features.json"):
            if not (root / recipe.name).exists():
                (root / recipe.name).symlink_to(recipe)
        return root.resolve()

    def _print(self, name: str, runs: list[Path]) -> None:
        runs = [run for run in runs if (run / "scores.csv").exists()]
        if not runs:
            return
        self.printed += 1
        half = len(self.sections) // 2
        fused = [scores(run, None) for run in runs]
        base = [scores(run, "baseline-siblings") for run in runs]
        every, shown = self.sections, self.sections[half:]
        cells = [spread(fused, part) for part in (every, self.sections[:half], shown)]
        cells += [difference(fused, base, part, figure) for part in (every, shown) for figure in FIGURES]
        cells.append(spread([scores(run, "ensemble") for run in runs], every))
        print(f"| {name} | {len(runs)} | {' | '.join(cells)} |", flush=True)


def run_name(data: Path, machine: str, method: str, settings: list[str], seed: int) -> str:
    """Return the name of a run, another for everything that its figures depend on; the preset is the method's own."""
    return f"{method}-{seed}-{digest([str(data), machine, method, read_preset(method), settings, seed])}"


def digest(facts: object) -> str:
    """Return a short name for JSON values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def scores(run: Path, scorer: str | None) -> list[Scored]:
    """Return the scores of a run, of the scorer that decides or of one beside it."""
    opened = Run.open(run)
    return scored_of(
        opened.scores() if scorer is None or opened.detector()["scorer"] == scorer else opened.beside()[scorer]
    )


def of(runs: Sequence[Sequence[Scored]], sections: Sequence[str]) -> list[list[Scored]]:
    """Return of each run some IDs."""
    return [[group for group in run if group.section in sections] for run in runs]


def spread(runs: Sequence[Sequence[Scored]], sections: Sequence[str]) -> str:
    """Return mean ± standard deviation of AUC and pAUC over the seeds; of one seed the figures alone."""
    found = [aggregate(run, 2020).mean for run in of(runs, sections)]
    told = []
    for figure in FIGURES:
        values = [mean[figure] for mean in found]
        deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        told.append(f"{np.mean(values):.3f}{deviation}")
    return " / ".join(told)


def difference(
    ours: Sequence[Sequence[Scored]], theirs: Sequence[Sequence[Scored]], sections: Sequence[str], figure: Figure
) -> str:
    """Return the mean difference over seeds, and its 95 % interval: clips are drawn, the same for all."""
    found = paired(of(ours, sections), of(theirs, sections), figure)
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


if __name__ == "__main__":
    main()
