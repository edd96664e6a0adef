"""Folders of recordings -> rows: which machine, section, split, domain and label each file has.

The layout is recognised from names, for each machine folder by itself, at any depth below the root:

- *dcase2020*, *dcase2021* (2021 to 2026): files named as `asd.data.names` reads them, in ``train``, ``test``,
  ``source_test`` or ``target_test`` below the machine's folder, or straight in it. ``supplemental`` recordings
  (2025 on: clean machines, mere noise) are neither training normals nor test clips; they are counted and left out.
- *mimii*: ``<machine>/id_<NN>/{normal,abnormal}/``.
- *folder*: anything else, as own recordings lie: ``normal/`` and ``abnormal/`` (or ``anomaly/``) below the machine's
  folder, or just files, which are then all taken for normal. The machine is the folder that holds ``normal/``,
  ``abnormal/``, ``train/`` or ``test/``, else the first folder below the root; its one section is "00".

Where no ``train`` and ``test`` folder tells, all known anomalies are test clips, and as many normals as there are
anomalies, at most half of them: the first in the order of a hash of their names. A normal recording that is added
therefore moves at most one other between training and test.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asd.data.labels import add_attributes, add_labels, doubts, read_labels
from asd.data.layouts import Row, keep_one_naming, rows_by_machine, rows_of_one
from asd.data.names import AUDIO_SUFFIXES, Layout, Split, parse_name, recorded_at, stem_of
from asd.data.splits import Chosen, settle_splits
from asd.data.tree import Folder, Tree, absolute, existing_folder, recordings_below
from asd.errors import DataError, UsageError, nearest
from asd.events import Caution, Note
from asd.words import count

__all__ = [
    "AUDIO_SUFFIXES",
    "Catalog",
    "Clip",
    "Layout",
    "Split",
    "machines_named",
    "open_catalog",
    "open_folder",
    "parse_name",
    "recorded_at",
    "session_of",
]


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording.

    Attributes:
        path: absolute.
        name: POSIX path relative to the catalog's root.
        machine: machine type, or the folder's name.
        section: machine ID or section, such as ``"00"``.
        split: whether it may be trained on.
        label: 0 normal, 1 anomaly, None unknown.
        domain: ``"source"``, ``"target"``, or None where the layout has no domains.
        attributes: operating conditions as the challenge writes them (``"vel_21"``); empty for none.
    """

    path: Path
    name: str
    machine: str
    section: str
    split: Split
    label: int | None
    domain: str | None = None
    attributes: str = ""


@dataclass(frozen=True)
class Catalog:
    """All recordings below one root, sorted by machine, section and name.

    Attributes:
        root: absolute.
        layout: the layout of most clips.
        clips: every recording that is trained on or tested.
        layouts: the layout of each machine.
        notes: what a user should know of how the folders were read.
    """

    root: Path
    layout: Layout
    clips: tuple[Clip, ...]
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    notes: tuple[Note | Caution, ...] = ()

    def machines(self) -> list[str]:
        """Return the names of the machines."""
        return sorted(self.layouts)

    def sections(self, machine: str) -> list[str]:
        """Return the sections (machine IDs) of a machine. Raises UsageError for an unknown machine."""
        self._know(machine)
        return sorted({clip.section for clip in self.clips if clip.machine == machine})

    def select(self, machine: str, sections: Sequence[str] | None = None, split: Split | None = None) -> list[Clip]:
        """Return the clips of a machine, in the catalog's order.

        Args:
            machine: one of `machines`.
            sections: some of its sections, or None for all.
            split: ``"train"``, ``"test"``, or None for both.

        Raises:
            UsageError: a machine or section that is not there.
            DataError: `split` is ``"train"`` and there is nothing to train on: in one of the `sections` that were
                named, or in all of them.
        """
        known = self.sections(machine)
        for section in sections or ():
            if section not in known:
                raise UsageError(
                    f"{machine} has no {_section_word(self.layouts[machine])} {section!r}: "
                    f"{self.root} has {_listed(known)}.{nearest(section, known)}",
                    f"asd data list {_quoted(self.root)} shows what is there",
                )
        of_machine = [c for c in self.clips if c.machine == machine and (not sections or c.section in sections)]
        if split == "train":
            self._must_train(machine, sections, of_machine)
        return [clip for clip in of_machine if split is None or clip.split == split]

    def place(self, machine: str, section: str) -> str:
        """Return how people call a section: ``fan id_00``, ``fan section 00``, or just ``fan`` for a plain folder."""
        match self.layouts[machine]:
            case "dcase2020" | "mimii":
                return f"{machine} id_{section}"
            case "dcase2021":
                return f"{machine} section {section}"
            case "folder":
                return machine

    def _know(self, machine: str) -> None:
        if machine not in self.layouts:
            raise UsageError(
                f"no machine {machine!r} in {self.root}: there "
                f"{'is' if len(self.layouts) == 1 else 'are'} {_listed(self.machines())}."
                f"{nearest(machine, self.layouts)}",
                f"asd data list {_quoted(self.root)} shows what is there",
            )

    def _must_train(self, machine: str, sections: Sequence[str] | None, clips: list[Clip]) -> None:
        train = Counter(clip.section for clip in clips if clip.split == "train")
        for section in sections or ([] if train else self.sections(machine)[:1]):
            if not train[section]:
                n_test = sum(clip.section == section for clip in clips)
                raise DataError(
                    f"{self.place(machine, section)} has 0 training clips and {count(n_test, 'test clip')} in "
                    f"{self.root}",
                    self._trainable() or f"asd data list {_quoted(self.root)} shows what is there",
                )

    def _trainable(self) -> str:
        """Name the section with the most training clips, or nothing."""
        train = Counter((c.machine, c.section) for c in self.clips if c.split == "train")
        if not train:
            return ""
        (machine, section), n_train = train.most_common(1)[0]
        return f"{self.place(machine, section)} has {count(n_train, 'training clip')}"


def open_catalog(root: Path | str, labels: Path | str | None = None) -> Catalog:
    """Read the folders below `root`. Nothing is decoded; a machine's own folder is a root too.

    Args:
        root: folder with recordings in one of the layouts, or in several.
        labels: the evaluation files' labels, as the challenges publish them: a list, or a folder (`asd.data.labels`).

    Raises:
        DataError: `root` is absent, unreadable or has no recordings; two files are one clip; or the labels do not
            fit the evaluation files.
    """
    tree = recordings_below(existing_folder(Path(root)))
    catalog = _build(tree, rows_by_machine(tree))
    if labels is None:
        return catalog
    listed = read_labels(Path(labels))
    notes = *catalog.notes, *doubts(listed, catalog.machines())
    return replace(catalog, clips=add_labels(catalog.clips, listed), notes=notes)


def open_folder(path: Path | str, *, for_scoring: bool = False) -> Catalog:
    """Read own recordings: one machine, named like the folder, with one section "00".

    Challenge names and the folders ``normal/``, ``abnormal/``, ``train/`` and ``test/`` at any depth give labels and
    splits; recordings without any such mark are normal and for training. A single file is a catalog too.

    Args:
        path: a folder, or one recording.
        for_scoring: the recordings are to be scored, not trained on: every clip has the split ``"test"``, and a clip
            without a mark has no label.

    Raises:
        DataError: `path` is absent, unreadable or has no recordings; or two files are one clip.
    """
    path = absolute(Path(path))
    if path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES:
        tree = Tree(path.parent, (Folder((), (path.name,)),), Counter(), "")
        rows = [replace(row, machine=path.with_suffix("")) for row in rows_of_one(tree)]
    elif path.suffix.lower() in AUDIO_SUFFIXES and not path.exists():
        raise DataError(f"{path}: no such file", f"See what is there: ls {_quoted(path.parent)}")
    else:
        tree = recordings_below(existing_folder(path))
        rows = rows_of_one(tree)
    if for_scoring:
        rows = [replace(row, split="test") for row in rows]
    catalog = _build(tree, rows)
    return replace(catalog, notes=(*_say_merged(catalog), *catalog.notes))


def machines_named(path: Path) -> list[str]:
    """Return the machines below a folder that lie in a layout of the challenges or of MIMII, which tells them apart.

    Whoever takes such a folder for the recordings of one machine may want to know.
    """
    if not path.is_dir():
        return []
    catalog = open_catalog(path)
    return [machine for machine in catalog.machines() if catalog.layouts[machine] != "folder"]


def session_of(clip: Clip, pattern: re.Pattern[str] | str | None) -> str:
    """Return the session that a clip belongs to; folds and splits go by sessions.

    Args:
        clip: a recording.
        pattern: regular expression, searched in the clip's name. The session is its group ``session``, else its first
            group, else all that it matches. None makes every recording its own session.

    Raises:
        UsageError: no valid expression, or one that does not match.
    """
    if pattern is None:
        return clip.name
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--session-regex {pattern!r}: {error}", r"For example: '(\d{8})_'") from error
    match = expression.search(clip.name)
    if match is None:
        raise UsageError(
            f"{clip.name}: --session-regex {expression.pattern!r} does not match",
            "It must match the path of every recording, counted from the data root.",
        )
    if "session" in expression.groupindex:
        return match["session"] or ""
    return (match[1] if expression.groups else match[0]) or ""


def _build(tree: Tree, rows: Iterable[Row]) -> Catalog:
    """Decide what the paths leave open, refuse clips that are there twice, and sort."""
    kept, supplemental, left_out = keep_one_naming(rows)
    if not kept:
        raise DataError(
            f"{tree.root}: only supplemental recordings in it", f"asd data list {_quoted(tree.root.parent)}"
        )
    settled, chosen = settle_splits(kept)
    settled, cautions = add_attributes(settled)
    machine_of = _machine_names(settled)
    clips = tuple(
        Clip(
            tree.root / row.name,
            row.name,
            machine_of[row.machine],
            row.section,
            row.split or "test",
            row.label,
            row.domain,
            row.attributes,
        )
        for row in sorted(settled, key=lambda row: (machine_of[row.machine], row.section, row.name))
    )
    layouts = {machine_of[row.machine]: row.layout for row in settled}
    _refuse_duplicates(tree.root, clips, layouts)
    most = Counter(row.layout for row in settled).most_common(1)[0][0]
    notes = *_say(chosen), *_say_left_out(supplemental, left_out), *cautions, tree.unread()
    return Catalog(tree.root, most, clips, layouts, tuple(note for note in notes if note is not None))


def _machine_names(rows: Iterable[Row]) -> dict[Path, str]:
    """Name each machine after its folder.

    Two folders of one name are one machine only where a challenge named the files: its development and evaluation
    sets share machines, and never a file. Elsewhere two pumps are two pumps.
    """
    layouts = {row.machine: row.layout for row in rows}
    folders: dict[str, Path] = {}
    for machine, layout in layouts.items():
        other = folders.setdefault(machine.name, machine)
        if other != machine and not (layout == layouts[other] and layout in ("dcase2020", "dcase2021")):
            raise DataError(
                f"two folders hold a machine called {machine.name!r}: {other} and {machine}",
                f"Rename one of them, or take them one at a time: asd data list {_quoted(other.parent)}",
            )
    return {machine: machine.name or "recordings" for machine in layouts}


def _refuse_duplicates(root: Path, clips: Iterable[Clip], layouts: Mapping[str, Layout]) -> None:
    """Raise DataError when two files are one clip: the same name in two formats, or a challenge's name twice."""
    seen: dict[tuple[str, ...], Clip] = {}
    for clip in clips:
        challenge = layouts[clip.machine] in ("dcase2020", "dcase2021")
        stem = stem_of(clip.path.name if challenge else clip.name)
        key = (clip.machine, clip.section, clip.split, stem)
        other = seen.setdefault(key, clip)
        if other is not clip:
            raise DataError(
                f"duplicate names in {root}: {other.name} and {clip.name} are one clip",
                f"Keep one of them: mv {_quoted(clip.path)} {_quoted(clip.path.with_name(clip.path.name + '.aside'))}",
            )


def _say(chosen: Chosen) -> Iterable[Note | Caution]:
    if chosen.anomalies:
        yield Note(
            "no train and test folders: for the test are "
            f"{count(chosen.anomalies, 'known anomaly', 'known anomalies')} and "
            f"{chosen.test_normals} of {count(chosen.normals, 'normal')}, chosen by a hash of the name"
        )
    if chosen.assumed_normal:
        yield Note(
            f"{count(chosen.assumed_normal, 'recording')} in no normal/ or abnormal/ folder: taken for normal, "
            "for training"
        )
    if chosen.train_anomalies:
        yield Caution(
            f"{count(chosen.train_anomalies, 'recording')} in train folders named anomaly: used for the test only"
        )


def _say_merged(catalog: Catalog) -> Iterable[Note]:
    names = (parse_name(clip.path.name) for clip in catalog.clips)
    sections = sorted({fields.section for fields in names if fields})
    if len(sections) > 1:
        machine = catalog.clips[0].machine
        yield Note(f"{machine}: recordings of IDs {_listed(sections)} read as one machine; --machine keeps them apart")


def _say_left_out(supplemental: Sequence[Row], left_out: Sequence[Row]) -> Iterable[Note | Caution]:
    for machine, n in Counter(row.machine for row in supplemental).items():
        yield Note(f"{machine.name}: {count(n, 'supplemental recording')} left out (not normals of the machine)")
    for machine, n in Counter(row.machine for row in left_out).items():
        example = next(row.name for row in left_out if row.machine == machine)
        yield Caution(f"{machine.name}: {count(n, 'file')} left out, named unlike the others ({example})")


def _section_word(layout: Layout) -> str:
    return "section" if layout in ("dcase2021", "folder") else "ID"


def _listed(names: Sequence[str], at_most: int = 12) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
