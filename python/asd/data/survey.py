"""One look at every recording of a manifest, which remembers how far it came."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path

from asd import runs
from asd.config import FeatureSpec
from asd.corpus import CACHE_GB, Corpus, Survey
from asd.data.manifest import Manifest, below, text_entries
from asd.errors import DataError, RunFolderError, UsageError
from asd.events import Caution, Event, Note
from asd.words import are, count, hours

NAMED = 5
"""Recordings that cannot be read and are named one by one; a file names them all."""


def survey_manifest(
    manifest: Manifest,
    spec: FeatureSpec,
    folder: Path,
    *,
    cache_gb: float = CACHE_GB,
    half: bool = False,
    threads: int | None = None,
    skip_bad: bool = True,
) -> Generator[Event, None, Corpus]:
    """Look at every recording once, and return them ready to be fed. Yields Progress, and what is to be known.

    `folder` remembers: ``manifest.txt`` which recordings they are; ``survey.part.npz`` what was found so far, so that
    a look that is killed is gone on with; ``survey.npz`` all of it, after which nothing is looked at again;
    ``skipped.jsonl`` path and reason of each recording that cannot be read.

    Args:
        folder: of the run; there already, or made.
        cache_gb, half, threads: as of a `Corpus`.
        skip_bad: go on without recordings that cannot be read.

    Raises:
        RunFolderError: `folder` knows other recordings, or the same ones read in another way.
        DataError: recordings that cannot be read: more than half of them, or any without `skip_bad`; log-mels of
            several lengths; nothing but silence; or the folder cannot be written.
    """
    _remember(manifest, folder)
    yield from manifest.notes
    survey_file, part = folder / "survey.npz", folder / "survey.part.npz"
    corpus_with = partial(Corpus, manifest.paths, spec, cache_gb=cache_gb, half=half, threads=threads)
    corpus = corpus_with()
    if survey_file.exists():
        try:
            known = Survey.load(survey_file)
        except DataError as error:
            yield Caution(f"{error.message}; every recording is looked at again")
        else:
            try:
                return corpus_with(survey=known)
            except UsageError as error:
                way_out = "Go on with the settings that it began with, or begin another run."
                raise RunFolderError(f"{survey_file}: {error.message}", way_out) from error
    try:
        survey = yield from _cautious(corpus.look(skip_bad=skip_bad, part=part))
        _must_be_most(corpus)
    except DataError:
        if corpus.skipped:  # looked at to the end, in vain: whoever repairs them wants another look
            part.unlink(missing_ok=True)
        raise
    finally:
        _name_skipped(manifest, corpus, folder)
    survey.save(survey_file)
    part.unlink(missing_ok=True)
    if corpus.skipped:
        n = len(corpus.skipped)
        yield Caution(
            f"{n:,} of {count(len(manifest), 'recording')} cannot be read and {are(n)} left out: "
            f"{folder / 'skipped.jsonl'} says why"
        )
    n_read = len(manifest) - len(corpus.skipped)
    yield Note(f"{count(n_read, 'recording')}, {hours(survey.seconds)}" if survey.seconds else f"{n_read:,} log-mels")
    return corpus


def _remember(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.txt``; where it is there, it must name the same recordings."""
    file = folder / "manifest.txt"
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror})", "Choose another folder.") from error
        head = f"# {count(len(manifest), 'recording')} below {manifest.root}, SHA-256 {manifest.digest}\n"
        # A name that begins like a remark is written so that it is none.
        listed = (f"./{name}\n" if name.startswith("#") else f"{name}\n" for name in manifest.names)
        runs.write_text(file, head + "".join(listed))
        return
    known = {os.path.normpath(entry) for entry in text_entries(file)}
    now = set(manifest.names)
    for names, verb in ((known - now, "is gone since"), (now - known, "is new since")):
        if names:
            more = f", and {len(names) - 1:,} more" if len(names) > 1 else ""
            raise RunFolderError(
                f"{min(names)} {verb} {folder} was begun{more}",
                f"A run goes on with the recordings that it began with: {file} lists them. Or begin another run.",
            )


def _cautious(looking: Generator[Event, None, Survey]) -> Generator[Event, None, Survey]:
    """Pass events on, of Cautions only the first: a list of thousands would bury all else."""
    cautions = 0
    while True:
        try:
            event = next(looking)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        cautions += isinstance(event, Caution)
        if not isinstance(event, Caution) or cautions <= NAMED:
            yield event


def _must_be_most(corpus: Corpus) -> None:
    bad, total = corpus.skipped, len(corpus.paths)
    if 2 * len(bad) > total:
        raise DataError(
            f"{len(bad):,} of {total:,} recordings cannot be read, the first: {bad[0].path}: {bad[0].reason}",
            bad[0].hint,
        )


def _name_skipped(manifest: Manifest, corpus: Corpus, folder: Path) -> None:
    file = folder / "skipped.jsonl"
    if corpus.skipped:
        names: Iterable[str] = (below(manifest.root, str(bad.path)) for bad in corpus.skipped)
        rows = zip(names, corpus.skipped, strict=True)
        runs.write_jsonl(file, ({"path": name, "reason": bad.reason} for name, bad in rows))
    else:
        file.unlink(missing_ok=True)
