"""What is pre-trained on: found or listed, named, and looked at once, however often that is interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import asd
from asd import corpus as corpus_module
from asd.corpus import Corpus, Survey
from asd.data.manifest import Manifest, build_manifest, open_manifest, read_manifest
from asd.data.survey import survey_manifest
from asd.errors import AsdError, DataError, RunFolderError
from asd.events import Caution, Event, Note, Progress

SPEC = asd.FeatureSpec(clip_seconds=0.25, n_mels=8)
CLIPS = 200
BAD = (3, 77, 130)


def write(path: Path, seed: int, seconds: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 16_000)), 16_000)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Three chunks of recordings and a part of one, of one window or several, in folders; three are none."""
    root = tmp_path_factory.mktemp("audio")
    for i in range(CLIPS):
        path = root / f"{i % 3}" / f"{i:03}.{('wav', 'flac')[i % 2]}"
        write(path, i, 0.3 if i % 5 else 0.9)
        if i in BAD:
            path.write_text("no sound at all")
    return root


def look(
    manifest: Manifest, folder: Path, spec: asd.FeatureSpec = SPEC, **options: object
) -> tuple[Corpus, list[Event]]:
    """What a look gives, and what it says meanwhile."""
    looking = survey_manifest(manifest, spec, folder, threads=1, **options)  # type: ignore[arg-type]
    events = []
    while True:
        try:
            events.append(next(looking))
        except StopIteration as end:
            return end.value, events


def bits(survey: Survey | None) -> list[bytes]:
    """Every bit of a survey."""
    assert survey is not None
    return [np.asarray(getattr(survey, field.name)).tobytes() for field in dataclasses.fields(survey)]


def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save what was found after every chunk."""
    monkeypatch.setattr(corpus_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(corpus_module, "SAVE_SHARE", float("inf"))


def said(events: Sequence[Event], kind: type[Note | Caution]) -> list[str]:
    return [event.message for event in events if isinstance(event, kind)]


# --- which recordings


def test_a_folder_is_all_recordings_below_it(root, tmp_path):
    manifest = build_manifest(root)
    below = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.*"))
    assert list(manifest.names) == below and len(manifest) == CLIPS
    assert list(manifest.paths) == [root / name for name in below]
    assert manifest.digest == hashlib.sha256("\n".join(below).encode()).hexdigest()
    assert open_manifest(root) == manifest
    (tmp_path / "moved").symlink_to(root)
    assert build_manifest(tmp_path / "moved").digest == manifest.digest


def test_one_recording_is_a_set_too(root, tmp_path):
    manifest = open_manifest(root / "0" / "000.wav")
    assert (manifest.root, manifest.names) == (root / "0", ("000.wav",))
    corpus, _ = look(manifest, tmp_path)
    assert corpus.survey is not None and set(corpus.survey.files_N) == {0}


def test_links_that_lead_back_and_other_formats_do_no_harm(tmp_path):
    write(tmp_path / "a" / "1.wav", 1)
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a" / "itself")
    (tmp_path / "2.mp3").write_bytes(b"ID3")
    (tmp_path / ".hidden.wav").write_bytes(b"")
    manifest = build_manifest(tmp_path)
    assert manifest.names == ("a/1.wav",)
    assert ["1 .mp3 not read" in note.message for note in manifest.notes] == [True]


@pytest.mark.parametrize("files", [[], ["notes.txt", "b/table.csv"]])
def test_a_folder_without_recordings_is_refused(tmp_path, files):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1,2,3")
    with pytest.raises(DataError, match="no recordings in it"):
        open_manifest(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_manifest(tmp_path / "absent")


@pytest.mark.parametrize(("name", "message"), [(b"\xff.wav", "not valid UTF-8"), (b"a\nb.wav", "line break")])
def test_names_that_no_list_can_hold_are_refused(tmp_path, name, message):
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"")  # noqa: PTH118 (of bytes)
    with pytest.raises(DataError, match=message):
        build_manifest(tmp_path)


def test_a_text_file_lists_paths(root, tmp_path):
    elsewhere = root / "1" / "001.flac"
    write(tmp_path / "b" / "x y.wav", 1)
    write(tmp_path / "#a.wav", 1)
    lines = ["\ufeff# mine", "", "b/x y.wav", f"{elsewhere}\r", f"{tmp_path}/b/../b/z.wav", "./#a.wav", "  "]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    manifest = open_manifest(tmp_path / "list.txt")
    assert manifest.names == ("#a.wav", str(elsewhere), "b/x y.wav", "b/z.wav")
    assert list(manifest.paths)[1:3] == [elsewhere, tmp_path / "b" / "x y.wav"]
    corpus, _ = look(manifest, tmp_path / "run")
    assert [bad.path.name for bad in corpus.skipped] == ["z.wav"]
    assert look(manifest, tmp_path / "run")[1] == []  # what was remembered are the same names


@pytest.mark.parametrize("header", ["path,fold", " Filename ,fold", "fold,filename,path"])
def test_a_csv_file_lists_paths_in_a_column(tmp_path, header):
    write(tmp_path / "a, b.wav", 1)
    row = '7,other.wav,"a, b.wav"' if header.startswith("fold") else '"a, b.wav",7'
    (tmp_path / "list.csv").write_text(f"{header}\n{row}\n\n")
    assert read_manifest(tmp_path / "list.csv").names == ("a, b.wav",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"# nothing\n\n", "no recording is listed"),
        ("a.txt", b"1.wav\n2.wav\n./1.wav\n", "1.wav is listed twice"),
        ("a.txt", b"x/1.wav\nx/2.wav\n", "what it lists is not there: .*x/1.wav"),
        ("a.txt", b"1.wav\n\xff.wav\n", "not UTF-8"),
        ("a.csv", b"", "no column path or filename: it has none"),
        ("a.csv", b"name,fold\n1.wav,1\n", "no column path or filename: it has name, fold"),
        ("a.csv", b"path\n", "no recording is listed"),
        ("a.csv", b"fold,path\n1,1.wav\n2\n", r"a\.csv:3: no path"),
        ("a.csv", b"fold,path\n1,1.wav\n2, \n", r"a\.csv:3: no path"),
        ("a.csv", b'path\n"1\n.wav"\n1.wav\n', "line break"),
        ("a.csv", b"path\n" + b"1" * 200_000, "no CSV"),
    ],
)
def test_lists_that_do_not_hold_are_refused(tmp_path, name, content, message):
    write(tmp_path / "1.wav", 1)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_manifest(tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        read_manifest(tmp_path / "absent.txt")


@given(st.binary(max_size=200))
def test_whatever_a_list_holds_is_a_manifest_or_an_error(content):
    folder = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"asd-lists-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    for name, head in (("a.txt", b""), ("a.csv", b"path\n")):
        (folder / name).write_bytes(head + content)
        try:
            read_manifest(folder / name)
        except AsdError as error:
            assert name in str(error) or str(folder) in str(error)
        (folder / name).unlink()
    folder.rmdir()


# --- the look


def test_a_look_is_that_of_a_corpus_and_is_remembered(root, tmp_path):
    manifest = build_manifest(root)
    corpus, events = look(manifest, tmp_path)
    plain = Corpus(list(manifest.paths), SPEC)
    list(plain.look(skip_bad=True))
    assert bits(corpus.survey) == bits(plain.survey)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.txt", "skipped.jsonl", "survey.npz"]
    assert [event for event in events if isinstance(event, Progress)][-1] == Progress("reading", CLIPS, CLIPS)
    *each, last = said(events, Caution)
    assert [message.startswith("skipped ") for message in each] == [True] * len(BAD)
    assert last == f"3 of 200 recordings cannot be read and are left out: {tmp_path / 'skipped.jsonl'} says why"
    seconds = sum(health.seconds for health in corpus.health if health)
    assert corpus.survey.seconds == pytest.approx(seconds) == pytest.approx(0.3 * 158 + 0.9 * 39)
    assert said(events, Note) == ["197 recordings, 82 seconds"]
    skipped = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert {row["path"] for row in skipped} == {f"{i % 3}/{i:03}.{('wav', 'flac')[i % 2]}" for i in BAD}
    assert all("text" in row["reason"] for row in skipped)
    again, events = look(manifest, tmp_path)
    assert events == [] and bits(again.survey) == bits(corpus.survey)
    with asd.Feed(again, 8) as one, asd.Feed(corpus, 8) as other:
        assert next(one).views_VBFT.tobytes() == next(other).views_VBFT.tobytes()


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_a_look_that_ended_early_is_gone_on_with(root, tmp_path, monkeypatch, chunks):
    manifest = build_manifest(root)
    whole, _ = look(manifest, tmp_path / "whole")
    save_always(monkeypatch)
    folder = tmp_path / "run"
    looking = survey_manifest(manifest, SPEC, folder)
    while next(looking) != Progress("reading", 64 * chunks, CLIPS):
        pass
    looking.close()
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.txt", "survey.part.npz"]
    corpus, events = look(manifest, folder)
    assert events[0] == Progress("reading", 64 * chunks, CLIPS)
    assert len([event for event in events if isinstance(event, Progress)]) == 1 + 4 - chunks
    assert bits(corpus.survey) == bits(whole.survey)
    assert corpus.health == whole.health
    assert corpus.skipped == whole.skipped
    assert (folder / "skipped.jsonl").read_bytes() == (tmp_path / "whole" / "skipped.jsonl").read_bytes()
    assert not (folder / "survey.part.npz").exists()


CHILD = """
import sys, time
from pathlib import Path
import asd
from asd import corpus
from asd.data.manifest import build_manifest
from asd.data.survey import survey_manifest
corpus.SAVE_SECONDS, corpus.SAVE_SHARE = 0.0, float("inf")
spec = asd.FeatureSpec(clip_seconds=0.25, n_mels=8)
for event in survey_manifest(build_manifest(sys.argv[1]), spec, Path(sys.argv[2]), threads=1):
    print(event, flush=True)
    time.sleep(0.05)
"""


def test_a_look_that_is_killed_is_gone_on_with(root, tmp_path):
    manifest = build_manifest(root)
    whole, _ = look(manifest, tmp_path / "whole")
    folder, part = tmp_path / "run", tmp_path / "run" / "survey.part.npz"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(root), str(folder)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not part.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (folder / "survey.npz").exists()
    corpus, events = look(manifest, folder)
    assert isinstance(events[0], Progress) and events[0].done >= 64
    assert bits(corpus.survey) == bits(whole.survey)


def test_a_part_that_is_damaged_or_of_something_else_is_started_again(root, tmp_path, monkeypatch):
    manifest = build_manifest(root)
    whole, _ = look(manifest, tmp_path / "whole")
    save_always(monkeypatch)
    for i, spec in enumerate((SPEC, SPEC.model_copy(update={"n_mels": 16}))):
        looking = survey_manifest(manifest, spec, tmp_path / f"{i}")
        while next(looking) != Progress("reading", 128, CLIPS):
            pass
        looking.close()
    good = (tmp_path / "0" / "survey.part.npz").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    np.save(tmp_path / "array.npy", np.zeros(3))
    contents = [b"", b"notes", good[:1000], good[:-1], bytes(flipped), (tmp_path / "array.npy").read_bytes()]
    for content in [*contents, (tmp_path / "1" / "survey.part.npz").read_bytes()]:
        (tmp_path / "0" / "survey.part.npz").write_bytes(content)
        corpus, events = look(manifest, tmp_path / "0")
        assert "survey.part.npz: no part of a survey" in events[0].message  # type: ignore[union-attr]
        assert bits(corpus.survey) == bits(whole.survey)
        (tmp_path / "0" / "survey.npz").unlink()


def test_a_damaged_survey_is_made_again(root, tmp_path):
    manifest = build_manifest(root)
    whole, _ = look(manifest, tmp_path)
    (tmp_path / "survey.npz").write_bytes(b"notes")
    corpus, events = look(manifest, tmp_path)
    assert "no survey of recordings" in said(events, Caution)[0]
    assert bits(corpus.survey) == bits(whole.survey)


@pytest.mark.parametrize("finished", [False, True])
def test_recordings_that_came_or_went_are_named(tmp_path, monkeypatch, finished):
    root, folder = tmp_path / "audio", tmp_path / "run"
    for i in range(70):
        write(root / f"{i:02}.wav", i)
    save_always(monkeypatch)
    looking = survey_manifest(build_manifest(root), SPEC, folder)
    while next(looking) != Progress("reading", 70 if finished else 64, 70):
        pass
    list(looking) if finished else looking.close()
    kept = (root / "05.wav").read_bytes()
    for name in ("new.wav", "newer.wav"):
        (root / name).write_bytes(kept)
    with pytest.raises(RunFolderError, match=r"^new\.wav is new since .*run was begun, and 1 more"):
        look(build_manifest(root), folder)
    (root / "05.wav").unlink()
    with pytest.raises(RunFolderError, match=r"^05\.wav is gone since .*run was begun\n.*manifest\.txt"):
        look(build_manifest(root), folder)
    (root / "05.wav").write_bytes(kept)
    for name in ("new.wav", "newer.wav"):
        (root / name).unlink()
    assert look(build_manifest(root), folder)[0].survey is not None


def test_another_recipe_is_refused_once_all_was_looked_at(root, tmp_path):
    manifest = build_manifest(root)
    look(manifest, tmp_path)
    for spec, half in ((SPEC.model_copy(update={"n_mels": 16}), False), (SPEC, True)):
        with pytest.raises(RunFolderError, match=r"survey\.npz: a survey of other recordings, or of these read in"):
            look(manifest, tmp_path, spec, half=half)


@pytest.mark.parametrize("bad", [5, 6, 10])
def test_more_than_half_must_be_readable(tmp_path, bad):
    root, folder = tmp_path / "audio", tmp_path / "run"
    for i in range(10):
        write(root / f"{i}.wav", i)
    kept = (root / "0.wav").read_bytes()
    for i in range(bad):
        (root / f"{i}.wav").write_text("no sound at all")
    manifest = build_manifest(root)
    if bad == 5:
        _, events = look(manifest, folder)
        assert len(said(events, Caution)) == 6
        return
    message = "none of the 10 recordings can be read" if bad == 10 else "6 of 10 recordings cannot be read"
    with pytest.raises(DataError, match=rf"{message}, the first: .*0\.wav: .*text"):
        look(manifest, folder)
    assert len((folder / "skipped.jsonl").read_text().splitlines()) == bad
    for i in range(bad):
        (root / f"{i}.wav").write_bytes(kept)
    corpus, events = look(manifest, folder)
    assert corpus.skipped == [] and said(events, Caution) == []
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.txt", "survey.npz"]


def test_many_that_cannot_be_read_are_not_all_said(tmp_path):
    for i in range(20):
        path = write(tmp_path / "audio" / f"{i}.wav", i)
        if i < 8:
            path.write_text("no sound at all")
    _, events = look(build_manifest(tmp_path / "audio"), tmp_path / "run")
    assert len(said(events, Caution)) == 5 + 1


def test_without_skipping_the_first_bad_one_ends_it_and_can_be_repaired(root, tmp_path, monkeypatch):
    save_always(monkeypatch)
    manifest = build_manifest(root)
    with pytest.raises(DataError, match=r"0/003\.flac"):
        look(manifest, tmp_path, skip_bad=False)
    looking = survey_manifest(manifest, SPEC, tmp_path)
    while not isinstance(event := next(looking), Progress) or event.done < 128:
        pass
    looking.close()
    with pytest.raises(DataError, match=r"0/003\.flac"):  # that another look skipped it changes nothing
        look(manifest, tmp_path, skip_bad=False)


def test_ready_log_mels_are_recordings_too(tmp_path):
    recipe = {"unit": "ln", "sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": 8, "mel_scale": "slaney"}
    rng = np.random.default_rng(0)
    for i in range(6):
        file = tmp_path / "audio" / ("known" if i < 4 else "unknown") / f"{i}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, rng.standard_normal((8, 20)).astype(np.float32))
    (tmp_path / "audio" / "known" / "features.json").write_text(json.dumps(recipe))
    corpus, events = look(build_manifest(tmp_path / "audio"), tmp_path / "run")
    assert corpus.survey is not None and corpus.survey.frames == 20
    assert corpus.survey.unreadable.tolist() == [4, 5]
    assert said(events, Note) == ["4 log-mels"]
    assert corpus.health == [None] * 6


def test_a_folder_that_cannot_be_written_is_named(root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        look(build_manifest(root), tmp_path / "file" / "run")


def test_environmental_sounds_are_found_and_listed(data_root, tmp_path):
    folder = data_root / "esc50_16k"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}")
    listed, found = open_manifest(folder / "meta.csv"), open_manifest(folder)
    assert listed.names == found.names and listed.digest == found.digest and len(found) == 250
    corpus, events = look(found, tmp_path, asd.FeatureSpec(clip_seconds=5.0))
    assert corpus.survey is not None and len(corpus.survey.files_N) == 250
    assert said(events, Note) == ["250 recordings, 21 minutes"] and said(events, Caution) == []
