"""`asd data fetch` against a server that misbehaves in every way, archives that mean harm, disks that are full."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import zenodo
from asd.cli import app
from asd.data.catalog import open_catalog
from asd.data.fetch import archive as archives
from asd.data.fetch import client
from asd.data.fetch.client import Patience, Server
from asd.data.fetch.ledger import Ledger
from asd.data.fetch.plan import Plan, make_plan, parts_of
from asd.data.fetch.records import PARTS, RECORDS, Remote, read_listing
from asd.data.fetch.work import fetch
from asd.errors import AsdError, DataError
from asd.events import Caution, Event, Note, Progress
from zenodo import DEVELOPMENT, EVALUATION, Zenodo, archive, wav

FAN = "dev_data_fan.zip"
HASTY = Patience(timeout=0.3, attempts=3, first_wait=0.01)


@pytest.fixture
def server() -> Iterator[Zenodo]:
    with Zenodo(zenodo.challenge()) as running:
        yield running


@pytest.fixture
def fan() -> Iterator[Zenodo]:
    """A server with one archive: the development set of one machine."""
    with Zenodo({DEVELOPMENT: {FAN: archive(zenodo.development("fan").items())}}) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where to fetch to; whatever lies beside it must stay as it is."""
    (tmp_path / "beside").write_text("mine")
    return tmp_path / "root"


class Fetched:
    """What a fetch did."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.errors: list[AsdError] = []
        self.plan: Plan

    @property
    def said(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Note | Caution))


def bring(
    server: Zenodo,
    root: Path,
    parts: tuple[str, ...] = ("development",),
    machines: tuple[str, ...] = (),
    patience: Patience = HASTY,
    keep_archives: bool = False,
) -> Fetched:
    """Plan and fetch in this process."""
    done = Fetched()

    def drain(work):
        while True:
            try:
                done.events.append(next(work))
            except StopIteration as end:
                return end.value

    with Server(server.url, patience, say=done.events.append) as client:
        done.plan = drain(make_plan(client, Ledger(root), "dcase2020", parts_of("dcase2020", parts), machines))
        failures = drain(fetch(done.plan, client, jobs=2, keep_archives=keep_archives))
    done.errors = [*done.plan.failures, *(failure.error for failure in failures)]
    return done


def asd(*words: object) -> tuple[int, str, str]:
    """Run `asd data fetch` in this process."""
    result = CliRunner().invoke(app, ["data", "fetch", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def visible(root: Path) -> dict[str, bytes]:
    """Every file below a root that is not hidden."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in files
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def hidden(root: Path) -> set[str]:
    return {path.name for path in (root / ".fetch").iterdir()}


def nothing_half(root: Path, part: str = "development") -> None:
    """What is visible is whole: exactly the recordings of the set."""
    assert visible(root) == {f"{part}/{name}": content for name, content in zenodo.development("fan").items()}


def nothing_at_all(root: Path) -> None:
    """No recording, and nothing beside the root."""
    assert visible(root) == {}
    assert not list(root.glob(".fetch/*.new"))
    assert {path.name for path in root.parent.iterdir()} <= {"root", "beside"}
    assert (root.parent / "beside").read_text() == "mine"


# The whole way


def test_a_challenge_is_fetched_and_ready_to_train_on(server: Zenodo, root: Path) -> None:
    code, out, err = asd("dcase2020", "--data", root, "--mirror", server.url)
    assert code == 0, err
    catalog = open_catalog(root, root / "labels" / "eval_data_list.csv")
    assert catalog.machines() == ["fan", "pump"]
    assert catalog.sections("fan") == ["00", "01"]
    assert len(catalog.clips) == 2 * (16 + 8)
    assert sum(clip.label is None for clip in catalog.clips) == 0
    assert "labels of fan, pump: --labels" in err
    assert err.rstrip().endswith(f"Next: asd train --machine fan --id 00 --data {root}")
    assert "48 recordings" in out
    assert "unknown" not in out  # with the labels that came along
    assert not [name for name in hidden(root) if name.endswith((".part", ".new"))]


def test_again_fetches_nothing(server: Zenodo, root: Path) -> None:
    assert bring(server, root, PARTS).errors == []
    before, asked = visible(root), len(server.asked)
    again = bring(server, root, PARTS)
    assert (visible(root), len(server.asked)) == (before, asked)
    assert {item.state for item in again.plan.items} == {"here"}
    assert again.plan.to_fetch == again.plan.needed(4, False) == 0


def test_machines_and_parts_are_chosen(server: Zenodo, root: Path) -> None:
    assert bring(server, root, ("evaluation", "labels"), ("pump",)).errors == []
    assert {key for key, _ in server.asked} == {"eval_data_test_pump.zip", "eval_data_list.csv"}
    assert {name.split("/")[0] for name in visible(root)} == {"evaluation", "labels"}
    assert open_catalog(root).machines() == ["pump"]


def test_what_is_missing_since_is_fetched_again(server: Zenodo, root: Path) -> None:
    bring(server, root)
    gone = root / "development" / "fan" / "train" / "normal_id_00_00000003.wav"
    gone.unlink()
    bring(server, root)
    assert gone.is_file()
    assert server.fetched(FAN) == [None, None]
    assert server.fetched("dev_data_pump.zip") == [None]


def test_archives_may_be_kept(fan: Zenodo, root: Path) -> None:
    bring(fan, root, keep_archives=True)
    kept = root / "development" / FAN
    assert kept.read_bytes() == fan.records[DEVELOPMENT][FAN]
    kept.unlink()
    nothing_half(root)


def test_a_plan_writes_nothing(server: Zenodo, root: Path) -> None:
    code, out, err = asd("dcase2020", "--data", root, "--mirror", server.url, "--dry-run")
    assert code == 0
    assert FAN in out
    assert "to fetch" in err and "needed" in err and "free" in err
    assert err.rstrip().endswith(f"Next: asd data fetch dcase2020 --data {root} --mirror {server.url}")
    assert not root.exists()
    assert server.asked == []


def test_as_json(server: Zenodo, root: Path) -> None:
    words = ("dcase2020", "--data", root, "--mirror", server.url, "--part", "development", "--json")
    code, out, _ = asd(*words, "--dry-run")
    planned = json.loads(out)
    assert code == 0
    assert [(f["key"], f["machine"], f["state"]) for f in planned["files"]] == [
        (FAN, "fan", "absent"),
        ("dev_data_pump.zip", "pump", "absent"),
    ]
    assert planned["bytes"]["to_fetch"] == sum(map(len, server.records[DEVELOPMENT].values()))
    server.always["dev_data_pump.zip"] = zenodo.status(404)
    code, out, _ = asd(*words)
    done = json.loads(out)
    assert code == 3
    assert [f["state"] for f in done["files"]] == ["here", "absent"]
    assert "dev_data_pump.zip" in done["errors"][0]["message"]


def test_progress_counts_bytes(fan: Zenodo, root: Path) -> None:
    steps = [e for e in bring(fan, root).events if isinstance(e, Progress) and e.unit == "bytes"]
    for stage, total in (
        ("fetching", len(fan.records[DEVELOPMENT][FAN])),
        ("extracting", sum(map(len, visible(root).values()))),
    ):
        done = [e.done for e in steps if e.stage == stage]
        assert done == sorted(done)
        assert (done[-1], {e.total for e in steps if e.stage == stage}) == (total, {total})


def test_the_default_folder_is_named_after_the_challenge(
    fan: Zenodo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASD_DATA", str(tmp_path / "sets"))
    assert asd("dcase2020", "--part", "development", "--mirror", fan.url)[0] == 0
    nothing_half(tmp_path / "sets" / "dcase2020")


# What servers do


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([zenodo.broken_off(20_000), zenodo.broken_off(10_000)], id="connection breaks"),
        pytest.param([zenodo.drop, zenodo.drop], id="no answer"),
        pytest.param([zenodo.status(500), zenodo.status(503)], id="server errors"),
        pytest.param([zenodo.status(429), zenodo.status(429, Retry_After="0")], id="too many requests"),
        pytest.param([zenodo.silent(30_000, 0.6)], id="silence"),
        pytest.param([zenodo.silent(0, 0.6)], id="silence from the start"),
        pytest.param([zenodo.truncated(30_000)], id="less than promised, once"),
        pytest.param([zenodo.broken_off(20_000), zenodo.without_ranges], id="no ranges"),
        pytest.param([zenodo.broken_off(20_000), zenodo.wrong_range], id="another range"),
        pytest.param([zenodo.broken_off(20_000), zenodo.status(416)], id="range refused"),
        pytest.param([zenodo.other(bytes(60_000)[:1])], id="a byte"),
    ],
)
def test_what_passes_is_survived(fan: Zenodo, root: Path, faults: list[zenodo.Fault]) -> None:
    fan.faults[FAN] = faults
    done = bring(fan, root)
    assert done.errors == []
    assert "again in" in done.said
    nothing_half(root)


def test_a_broken_download_goes_on_where_it_was(fan: Zenodo, root: Path) -> None:
    fan.faults[FAN] = [zenodo.broken_off(20_000), zenodo.broken_off(10_000)]
    assert bring(fan, root).errors == []
    assert fan.fetched(FAN) == [None, "bytes=20000-", "bytes=30000-"]


def test_moved_files_are_followed(fan: Zenodo, root: Path) -> None:
    fan.faults[FAN] = [zenodo.moved, zenodo.moved]
    fan.faults[str(DEVELOPMENT)] = [zenodo.moved]
    done = bring(fan, root)
    assert (done.errors, "again in" in done.said) == ([], False)
    nothing_half(root)


def test_names_that_addresses_have_to_write_otherwise(root: Path) -> None:
    keys = ["a b.csv", "100%25.csv", "ü#1?x=y&z;.csv", "+.csv", ".csv", "e\u0301.md"]
    with Zenodo({DEVELOPMENT: dict(zip(keys, (b"1", b"22", b"", b"4", b"5", b"6"), strict=True))}) as server:
        assert bring(server, root).errors == []
        assert {path.name: path.read_bytes() for path in (root / "development").iterdir()} == server.records[
            DEVELOPMENT
        ]


def test_archives_that_fill_one_folder(root: Path) -> None:
    files = list(zenodo.development("fan").items())
    several = {f"dev_data_fan_{i}.zip": archive(files[i::5]) for i in range(5)}
    with Zenodo({DEVELOPMENT: several}) as server:
        assert bring(server, root).errors == []
        assert len(server.asked) == 5
        assert bring(server, root).plan.todo == []
    nothing_half(root)


def test_a_slow_server_is_waited_for(fan: Zenodo, root: Path) -> None:
    fan.faults[FAN] = [zenodo.slow(6_000, 0.08)]  # in all longer than a silence may last
    assert bring(fan, root).errors == []
    assert fan.fetched(FAN) == [None]
    nothing_half(root)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (zenodo.status(404), r"record 3678171: dev_data_fan\.zip: not there \(404\)"),
        (zenodo.status(410), r"not there \(410\)"),
        (zenodo.status(403), r"not open to all \(403\)"),
        (zenodo.status(418), r"answers 418"),
        (zenodo.status(500), r"answers 500, 3 times in a row"),
        (zenodo.status(429, Retry_After="86400"), r"asks to wait for 1440 minutes"),
        (zenodo.drop, r"the connection broke .*, 3 times in a row"),
        (zenodo.silent(0, 0.5), r"nothing came for 0\.3 s, 3 times in a row"),
        (zenodo.truncated(30_000), r"3 times in a row"),
        (zenodo.moved, r"3 times in a row"),
        (zenodo.endless, r"longer than the .* of its record"),
        (zenodo.other(bytes(10)), r"3 times in a row"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_stays_is_said_and_others_come(server: Zenodo, root: Path, fault: zenodo.Fault, said: str) -> None:
    server.always[FAN] = fault
    done = bring(server, root)
    assert len(done.errors) == 1
    assert isinstance(done.errors[0], DataError)
    assert re.search(said, done.errors[0].message), done.errors[0].message
    assert FAN in done.errors[0].message
    assert done.errors[0].hint
    assert open_catalog(root).machines() == ["pump"]


def test_no_ranges_and_a_connection_that_always_breaks_ends(fan: Zenodo, root: Path) -> None:
    def fault(answer: zenodo.Answer, content: bytes) -> None:
        answer.begin(200, {"Content-Length": str(len(content))})
        answer.wfile.write(content[: 2 * len(content) // 3])
        answer.hang_up()

    fan.records[DEVELOPMENT][FAN] = archive(zenodo.development("fan", 40, 8000).items())
    fan.always[FAN] = fault
    done = bring(fan, root)
    assert "3 times in a row" in done.errors[0].message
    assert len(fan.asked) == 3
    nothing_at_all(root)


def test_a_wrong_checksum_is_fetched_once_more(fan: Zenodo, root: Path) -> None:
    size = len(fan.records[DEVELOPMENT][FAN])
    fan.faults[FAN] = [zenodo.other(bytes(size))]
    done = bring(fan, root)
    assert done.errors == []
    assert "wrong checksum; fetched once more" in done.said
    nothing_half(root)


def test_a_checksum_that_stays_wrong_leaves_nothing(fan: Zenodo, root: Path) -> None:
    size = len(fan.records[DEVELOPMENT][FAN])
    fan.always[FAN] = zenodo.other(bytes(size))
    code, _, err = asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert "md5 is" in err and "its record says" in err and FAN in err
    assert len(fan.asked) == 2
    nothing_at_all(root)
    assert not [name for name in hidden(root) if name.endswith(".part")]


def test_the_wait_that_a_server_asks_for_is_kept(fan: Zenodo, root: Path) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    fan.faults[FAN] = [zenodo.status(429, Retry_After="1"), zenodo.status(503, Retry_After=soon)]
    began = time.monotonic()
    assert bring(fan, root).errors == []
    assert time.monotonic() - began > 1.9  # a date has whole seconds


@pytest.mark.parametrize("asked", ["soon", "-5", "1e9", "Mon, 99 Foo 2020", "\u0665"])
def test_a_wait_that_is_none_is_not_kept(fan: Zenodo, root: Path, asked: str) -> None:
    fan.faults[FAN] = [zenodo.status(429, Retry_After=asked.encode("utf-8").decode("latin-1"))]
    assert bring(fan, root).errors == []


def test_no_server(root: Path) -> None:
    with Zenodo({}) as gone:
        url = gone.url
    with pytest.raises(client.UnreachableError, match=r"no connection to http://127\.0\.0\.1"):
        bring_from = Server(url, HASTY)
        list(make_plan(bring_from, Ledger(root), "dcase2020", ["development", "labels"]))
    assert not root.exists()


@pytest.mark.parametrize(
    "url",
    [
        "zenodo.org",
        "ftp://zenodo.org",
        "http://",
        "http://[",
        "http://[::g]",
        "http://a:99999",
        "http://me:secret@a",
        "http://a?b",
        "http://a b/",
        "file:///etc",
        "",
    ],
)
def test_no_address(root: Path, url: str) -> None:
    code, _, err = asd("dcase2020", "--data", root, "--mirror", url)
    assert code == 2
    assert f"--mirror {url}" in err
    assert not root.exists()


# What records say


def test_a_record_that_is_not_there_does_not_keep_others_away(server: Zenodo, root: Path) -> None:
    del server.records[EVALUATION]
    code, _, err = asd("dcase2020", "--data", root, "--mirror", server.url)
    assert code == 3
    assert f"record {EVALUATION} (evaluation): not there (404)" in err
    assert f"https://zenodo.org/records/{EVALUATION}" in err
    assert open_catalog(root).sections("fan") == ["00", "01"]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"files": [], "metadata": {"access_right": "restricted"}}, r"shows no files \(access: restricted\)"),
        ({"files": []}, "shows no files"),
        ({"files": "many"}, "not a listing of files"),
        ({"files": [{"key": FAN, "size": -1, "checksum": "md5:" + 32 * "0"}]}, r"files\.0\.size"),
        ({"files": [{"key": FAN, "size": 1, "checksum": "crc32:00000000"}]}, r"files\.0\.checksum"),
        ({"files": [{"key": FAN, "size": 1}]}, r"files\.0\.checksum"),
        *(
            ({"files": [{"key": key, "size": 1, "checksum": "md5:" + 32 * "0"}]}, "file name")
            for key in (
                "../evil.zip",
                "/etc/evil.zip",
                "..",
                "",
                "a\\b.zip",
                "a\0.zip",
                "a\n.zip",
                "C:evil.zip",
                300 * "a",
            )
        ),
        ({"files": 2 * [{"key": FAN, "size": 1, "checksum": "md5:" + 32 * "0"}]}, "two files of one name"),
    ],
)
def test_a_listing_that_cannot_be_used(fan: Zenodo, root: Path, metadata: dict[str, object], said: str) -> None:
    fan.metadata[DEVELOPMENT] = metadata
    done = bring(fan, root)
    assert re.search(said, done.errors[0].message), done.errors[0].message
    nothing_at_all(root) if root.exists() else None


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"<html>", b"null", b"\xff\xfe", b'{"files": [' * 5000])
def test_no_listing(fan: Zenodo, root: Path, answer: bytes) -> None:
    fan.always[str(DEVELOPMENT)] = zenodo.other(answer)
    assert "not a listing of files" in bring(fan, root).errors[0].message


def test_a_listing_without_end(fan: Zenodo, root: Path) -> None:
    fan.always[str(DEVELOPMENT)] = lambda answer, _: zenodo.endless(answer, bytes(1 << 15))
    assert "does not end" in bring(fan, root).errors[0].message


def test_a_machine_named_to_lead_out(fan: Zenodo, root: Path) -> None:
    fan.records[DEVELOPMENT] = {"dev_...zip": archive([("train/normal_id_00_00000000.wav", wav(0))])}
    assert "machine '..'" in bring(fan, root).errors[0].message
    nothing_at_all(root)


@pytest.mark.parametrize(
    ("key", "machine"),
    [
        ("dev_data_fan.zip", "fan"),
        ("eval_data_train_ToyConveyor.zip", "ToyConveyor"),
        ("eval_data_ToyTrain_test.zip", "ToyTrain"),
        ("dev_bearing.zip", "bearing"),
        ("eval_data_3DPrinter_train_r2.zip", "3DPrinter"),
        ("dev_ToyCar_r2.zip", "ToyCar"),
        ("eval_data.zip", None),
        ("eval_data_list.csv", None),
        ("README.md", None),
    ],
)
def test_the_machine_in_an_archives_name(key: str, machine: str | None) -> None:
    assert Remote("development", 1, key, 1, "").machine == machine


def test_of_two_revisions_the_last_counts() -> None:
    keys = ["dev_ToyCar_r2.zip", "dev_ToyCar.zip", "dev_ToyCar_r10.zip", "dev_ToyCarEmu.zip", "README.md"]
    files = [{"key": key, "size": 1, "checksum": "md5:" + 32 * "0"} for key in keys]
    listed = read_listing(json.dumps({"files": files}).encode(), "development", 1)
    assert [file.key for file in listed] == ["README.md", "dev_ToyCarEmu.zip", "dev_ToyCar_r10.zip"]


def test_every_challenge_has_its_records() -> None:
    assert list(RECORDS) == [f"dcase{year}" for year in range(2020, 2027)]
    numbers = [record for records in RECORDS.values() for record in records.values()]
    assert len(numbers) == len(set(numbers)) == 7 * 3 + 1


# What is asked for


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dcase2019"], "Did you mean 'dcase20"),
        (["dcase2020", "--part", "evaluations"], "Did you mean 'evaluation'"),
        (["dcase2022", "--part", "labels"], "asd data list --labels FILE"),
        (["dcase2020", "--jobs", "0"], "jobs"),
        (["dcase2020", "--machine", "fann"], "Did you mean 'fan'"),
    ],
)
def test_what_there_is_not(server: Zenodo, root: Path, words: list[str], said: str) -> None:
    code, _, err = asd(*words, "--data", root, "--mirror", server.url)
    assert code == 2
    assert said in err
    assert not root.exists()


def test_labels_without_a_record_are_said(root: Path) -> None:
    _, _, evaluation = RECORDS["dcase2022"].values()
    files = zenodo.recordings("fan", "test", (f"section_03_{i:04}" for i in range(3)))
    with Zenodo({evaluation: {"eval_data_fan_test.zip": archive(files.items())}}) as server:
        words = ("dcase2022", "--part", "evaluation", "--data", root, "--mirror", server.url)
        code, out, err = asd(*words)
    assert code == 0
    assert "dcase2022: no record has the labels of its evaluation set" in err and "--labels" in err
    assert "layout dcase2021" in out
    assert err.rstrip().endswith(f"Next: asd data list {root}")


def test_two_challenges_do_not_share_a_folder(fan: Zenodo, root: Path) -> None:
    bring(fan, root)
    code, _, err = asd("dcase2022", "--data", root, "--mirror", fan.url)
    assert code == 2
    assert "has dcase2020; dcase2022 needs a folder of its own" in err


# What changed since


def changed(fan: Zenodo) -> dict[str, bytes]:
    """Put another archive of the same name into the record."""
    files = zenodo.development("fan", clips=14) | {"fan/train/normal_id_00_00000000.wav": wav("another")}
    fan.records[DEVELOPMENT][FAN] = archive(files.items())
    return {f"development/{name}": content for name, content in files.items()}


def test_a_file_that_changed_while_half_there_begins_anew(fan: Zenodo, root: Path) -> None:
    fan.always[FAN] = zenodo.broken_off(20_000)
    bring(fan, root, patience=Patience(0.3, 1))
    assert (root / ".fetch" / f"{DEVELOPMENT}-{FAN}.part").stat().st_size == 20_000
    del fan.always[FAN]
    fan.asked.clear()
    now = changed(fan)
    done = bring(fan, root)
    assert "changed since" in done.said and "what was half there is dropped" in done.said
    assert fan.fetched(FAN) == [None]
    assert visible(root) == now


def test_a_file_that_changed_after_it_came_stays_and_is_said(fan: Zenodo, root: Path) -> None:
    bring(fan, root)
    now = changed(fan)
    done = bring(fan, root)
    assert "changed since" in done.said and "what was fetched stays" in done.said
    nothing_half(root)
    found = re.search(r"Move (\S+) aside", done.said)
    assert found is not None
    Path(found[1]).rename(root.parent / "aside")
    assert bring(fan, root).errors == []
    assert visible(root) == now


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"files": {"../../beside": 4}}'])
def test_a_damaged_note_of_what_is_there_is_no_trust(fan: Zenodo, root: Path, state: bytes) -> None:
    fan.always[FAN] = zenodo.broken_off(20_000)
    bring(fan, root, patience=Patience(0.3, 1))
    (root / ".fetch" / f"{DEVELOPMENT}-{FAN}.json").write_bytes(state)
    del fan.always[FAN]
    assert bring(fan, root).errors == []
    assert fan.fetched(FAN) == [None, None]
    nothing_half(root)


def test_a_part_longer_than_the_file_begins_anew(fan: Zenodo, root: Path) -> None:
    fan.always[FAN] = zenodo.broken_off(20_000)
    bring(fan, root, patience=Patience(0.3, 1))
    with (root / ".fetch" / f"{DEVELOPMENT}-{FAN}.part").open("ab") as part:
        part.write(bytes(100_000))
    del fan.always[FAN]
    assert bring(fan, root).errors == []
    nothing_half(root)


# What is in the way


def test_another_fetch_at_work_is_left_alone(fan: Zenodo, root: Path) -> None:
    with Ledger(root).at_work("dcase2020"):
        code, _, err = asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert "another fetch is at work" in err


def test_a_file_in_the_way_is_not_overwritten(fan: Zenodo, root: Path) -> None:
    mine = root / "development" / "fan" / "train" / "normal_id_00_00000003.wav"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    done = bring(fan, root)
    assert f"{mine}: is in the way" in done.errors[0].message
    assert visible(root) == {"development/fan/train/normal_id_00_00000003.wav": b"mine"}
    mine.unlink()
    asked = len(fan.asked)
    assert bring(fan, root).errors == []
    assert len(fan.asked) == asked  # what was fetched was kept
    nothing_half(root)


def test_the_same_files_are_no_hindrance(fan: Zenodo, root: Path) -> None:
    for name, content in list(zenodo.development("fan").items())[::2]:
        (root / "development" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "development" / name).write_bytes(content)
    assert bring(fan, root).errors == []
    nothing_half(root)


@pytest.mark.parametrize("place", [".fetch", "development", "development/fan", "development/fan/train"])
def test_a_link_is_not_followed_out_of_the_target(fan: Zenodo, root: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    code, _, err = asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert str(link) in err
    assert list(outside.iterdir()) == []
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["lock", *(f"{DEVELOPMENT}-{FAN}.{kind}" for kind in ("json", "part", "new"))])
def test_a_link_in_the_notes_is_not_followed(fan: Zenodo, root: Path, tmp_path: Path, name: str) -> None:
    (root / ".fetch").mkdir(parents=True)
    (root / ".fetch" / name).symlink_to(tmp_path / "beside")
    assert asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")[0] in (0, 3)
    assert (tmp_path / "beside").read_text() == "mine"


@pytest.mark.parametrize("name", ["lock", *(f"{DEVELOPMENT}-{FAN}.{kind}" for kind in ("json", "part"))])
def test_a_folder_where_a_note_should_be_is_said(fan: Zenodo, root: Path, name: str) -> None:
    (root / ".fetch" / name / "mine").mkdir(parents=True)
    code, _, err = asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert name in err or str(root) in err
    nothing_at_all(root)


@pytest.mark.parametrize("name", [".fetch", "development", "development/fan"])
def test_a_file_where_a_folder_should_be_is_said(fan: Zenodo, root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text("mine")
    code, _, err = asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert str(root / name) in err or str(root) in err
    assert (root / name).read_text() == "mine"


def test_a_folder_that_cannot_be_made(fan: Zenodo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = asd("dcase2020", "--data", tmp_path / "file" / "root", "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert "cannot be written" in err


# Disks


def test_too_little_room_is_said_first(fan: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "free", lambda _: 100_000)
    code, _, err = asd("dcase2020", "--data", root, "--mirror", fan.url, "--part", "development")
    assert code == 3
    assert "100 kB free, about 136 kB needed" in err
    assert fan.asked == []
    assert not root.exists()


def test_room_counts_what_is_there_and_how_many_archives_there_are_at_a_time(server: Zenodo, root: Path) -> None:
    sizes = [len(server.records[DEVELOPMENT][key]) for key in sorted(server.records[DEVELOPMENT])]
    server.always = {FAN: zenodo.broken_off(20_000), "dev_data_pump.zip": zenodo.status(404)}
    bring(server, root, patience=Patience(0.3, 1))
    plan = bring(server, root, patience=Patience(0.3, 1)).plan
    extracted = sum(round(1.5 * size) for size in sizes)
    assert plan.to_fetch == sum(sizes) - 40_000 + 20_000
    assert plan.needed(1, False) == sizes[1] + extracted
    assert plan.needed(4, False) == plan.needed(1, True) == sum(sizes) - 20_000 + extracted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mounted], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def test_a_disk_too_small(small_disk: Path) -> None:
    content = archive(zenodo.development("fan", 40, 10_000).items())
    with Zenodo({DEVELOPMENT: {FAN: content}}) as big:
        code, _, err = asd("dcase2020", "--data", small_disk, "--mirror", big.url, "--part", "development")
    assert code == 3
    assert "free, about 2" in err
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_while_a_file_comes(small_disk: Path, fan: Zenodo) -> None:
    filler, root = small_disk / "filler", small_disk / "root"

    def fault(answer: zenodo.Answer, content: bytes) -> None:
        fill(filler)
        zenodo.right(answer, content)

    fan.faults[FAN] = [fault]
    done = bring(fan, root)
    assert "the disk is full" in done.errors[0].message
    assert visible(root) == {}
    filler.unlink()
    assert bring(fan, root).errors == []
    nothing_half(root)


def test_a_disk_that_fills_up_while_an_archive_is_extracted(
    small_disk: Path, fan: Zenodo, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler, root, extract = small_disk / "filler", small_disk / "root", archives.extract

    def late(*args: object) -> dict[str, int]:
        fill(filler, but=20_000)
        return extract(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("asd.data.fetch.work.extract", late)
    done = bring(fan, root)
    assert "the disk is full" in done.errors[0].message
    assert visible(root) == {}
    assert not list(root.glob(".fetch/*.new"))
    filler.unlink()
    monkeypatch.undo()
    asked = len(fan.asked)
    assert bring(fan, root).errors == []
    assert len(fan.asked) == asked
    nothing_half(root)


def test_an_archive_larger_than_it_seemed(small_disk: Path) -> None:
    members = [(f"fan/train/normal_id_00_{i:08}.wav", bytes(60_000)) for i in range(20)]
    content = archive([*members, ("fan/noise", os.urandom(100_000))])
    with Zenodo({DEVELOPMENT: {FAN: content}}) as big:
        done = bring(big, small_disk / "root")
    assert re.search(r"1\.3 MB come out of it, \d+ kB are free", done.errors[0].message)
    assert visible(small_disk / "root") == {}


def fill(file: Path, but: int = 0) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            stream.truncate(max(0, stream.tell() - but))


# Archives that mean harm


def member(name: str, mode: int = 0, content: bytes = b"x") -> bytes:
    """An archive with one member of a kind."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = 3
    return archive([*zenodo.development("fan").items(), (info, content)])


def renamed(before: bytes, after: bytes) -> bytes:
    """An archive in which a name was replaced by another of the same length."""
    assert len(before) == len(after)
    content = member(before.decode())
    assert content.count(before) == 2
    return content.replace(before, after)


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return archive([("fan/train/normal_id_00_00000000.wav", b"a"), ("fan/train/normal_id_00_00000000.wav", b"b")])


def declared(size: int) -> bytes:
    """An archive whose member says it has another size than it has."""
    content = bytearray(archive([("fan/train/normal_id_00_00000000.wav", bytes(3000))]))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.index(signature) + at
        content[place : place + 4] = size.to_bytes(4, "little")
    return bytes(content)


def wrong_crc() -> bytes:
    content = bytearray(archive([("fan/train/normal_id_00_00000000.wav", bytes(3000))]))
    for signature, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        content[content.index(signature) + at] ^= 1
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(archive([("fan/train/normal_id_00_00000000.wav", wav(0))]))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + at] |= 1
    return bytes(content)


def packed(method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        file.writestr("fan/train/normal_id_00_00000000.wav", wav(0))
    return stream.getvalue()


HARM: dict[str, tuple[Callable[[], bytes], str]] = {
    "a path that leads out": (lambda: member("../evil"), "leads out"),
    "a path that leads out, deeper": (lambda: member("fan/../../../evil"), "leads out"),
    "a path that leads out and in": (lambda: member("fan/../fan/evil"), "leads out"),
    "an absolute path": (lambda: member("/tmp/evil"), "absolute"),
    "two slashes": (lambda: member("fan//evil"), "is no name"),
    "a dot": (lambda: member("./fan/evil"), "is no name"),
    "a backslash": (lambda: member("fan\\..\\..\\evil"), "slash"),
    "a drive": (lambda: member("C:/evil"), "drive"),
    "a NUL": (lambda: renamed(b"fan/evil", b"fan/ev\0l"), "NUL"),
    "a line break": (lambda: member("fan/ev\nil"), "control"),
    "a name of the length of a book": (lambda: member("fan/" + 300 * "a"), "too long"),
    "a hundred folders": (lambda: member(100 * "a/" + "b"), "too many folders"),
    "a link": (lambda: member("fan/link", stat.S_IFLNK | 0o777, b"/etc/passwd"), "a link"),
    "a device": (lambda: member("fan/device", stat.S_IFCHR | 0o666), "neither a file nor a folder"),
    "a pipe": (lambda: member("fan/pipe", stat.S_IFIFO | 0o666), "neither a file nor a folder"),
    "a folder that is a link": (lambda: member("fan/link/", stat.S_IFLNK | 0o777), "a link"),
    "a member that is there twice": (twice, "twice"),
    "twice but for case": (lambda: member("FAN/TEST/normal_id_00_00000000.wav"), "twice"),
    "a file that is a folder too": (lambda: member("fan/train"), "twice"),
    "a bomb": (lambda: archive([("fan/bomb.wav", bytes(20_000_000))]), "bomb"),
    "a bomb of many": (lambda: archive((f"fan/{i}.wav", bytes(100_000)) for i in range(200)), "bomb"),
    "more than it says": (lambda: declared(1000), "damaged"),
    "less than it says": (lambda: declared(4000), "not the 4,000 bytes"),
    "a wrong CRC": (wrong_crc, "damaged"),
    "encrypted": (encrypted, "encrypted"),
    "bzip2, which can expand without bound": (lambda: packed(zipfile.ZIP_BZIP2), "compressed in a way"),
    "LZMA, likewise": (lambda: packed(zipfile.ZIP_LZMA), "compressed in a way"),
    "no archive": (lambda: b"no archive", "damaged"),
    "nothing": (lambda: b"", "damaged"),
    "half an archive": (lambda: archive(zenodo.development("fan").items())[:20_000], "damaged"),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_is_refused(root: Path, harm: str) -> None:
    make, said = HARM[harm]
    with Zenodo(
        {DEVELOPMENT: {FAN: make(), "dev_data_pump.zip": archive(zenodo.development("pump").items())}}
    ) as server:
        done = bring(server, root)
    assert [FAN in error.message for error in done.errors] == [True]
    assert said in done.errors[0].message
    pump = zenodo.development("pump")
    assert visible(root) == {f"development/{name}": content for name, content in pump.items()}
    assert not list(root.glob(".fetch/*.new"))
    assert {path.name for path in root.parent.iterdir()} == {"root", "beside"}


def test_more_members_than_any_set_has_are_refused(fan: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 15)
    assert "16 members" in bring(fan, root).errors[0].message
    nothing_at_all(root)


def test_what_is_hidden_stays_out(root: Path) -> None:
    extra = {"__MACOSX/fan/._a.wav": b"x", "fan/.DS_Store": b"x", ".fetch/lock": b"x", "fan/train/.hidden/a.wav": b"x"}
    with Zenodo({DEVELOPMENT: {FAN: archive((zenodo.development("fan") | extra).items())}}) as server:
        assert bring(server, root).errors == []
    nothing_half(root)


def test_an_archive_without_the_machines_folder_gets_it(root: Path) -> None:
    files = {name.removeprefix("fan/"): content for name, content in zenodo.development("fan").items()}
    with Zenodo({DEVELOPMENT: {FAN: archive((files | {"attributes_00.csv": b"file_name\n"}).items())}}) as server:
        assert bring(server, root).errors == []
    assert open_catalog(root).machines() == ["fan"]
    assert (root / "development" / "fan" / "attributes_00.csv").is_file()


def named(name: str) -> zipfile.ZipInfo:
    """A member of any name, which `zipfile` would mend by itself."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    return info


PIECES = st.one_of(
    st.sampled_from(
        ["..", ".", "", "fan", "FAN", "train", "test", "a.wav", "C:", "\\", "~", "é", "e\u0301", " ", "con"]
    ),
    st.text(max_size=8),
)


@given(st.lists(st.lists(PIECES, min_size=1, max_size=6).map("/".join), min_size=1, max_size=6), st.integers(0, 0xFFFF))
def test_whatever_members_are_called_they_stay_inside(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], mode: int
) -> None:
    infos = []
    for name in names:
        info = named(name)
        info.external_attr = mode << 16
        infos.append(info)
    try:
        members = archives.checked(infos, 1000, "fan")
    except DataError as error:
        assert error.message
        return
    folder = PurePosixPath("/target")
    paths = [folder / path for _, path in members]
    assert all(
        Path(os.path.normpath(path)) == Path(path) and path.is_relative_to(folder) and path != folder for path in paths
    )
    assert len({unicodedata.normalize("NFC", str(path)).casefold() for path in paths}) == len(paths)
    assert not {parent for path in paths for parent in path.parents} & set(paths)
    assert stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)


@given(
    st.dictionaries(
        st.lists(PIECES, min_size=1, max_size=4).map("/".join).filter(bool), st.binary(max_size=50), max_size=4
    )
)
def test_an_archive_of_any_names_fills_its_folder_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "beside").write_text("mine")
    file = folder / "a.zip"
    try:
        file.write_bytes(archive((named(name), content) for name, content in files.items()))
    except UnicodeEncodeError:
        return
    try:
        sizes = archives.extract(file, folder / "out", "fan", lambda *_: None)
    except DataError:
        assert not (folder / "out").exists()
    else:
        out = folder / "out"
        assert {p.relative_to(out).as_posix(): p.stat().st_size for p in out.rglob("*") if p.is_file()} == sizes
    assert {path.name for path in folder.iterdir()} <= {"a.zip", "beside", "out"}


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_refused_or_whole(tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes) -> None:
    files = {f"fan/train/{i}.wav": wav(i, 100) for i in range(4)}
    content = bytearray(archive(files.items()))
    content[at : at + len(noise)] = noise
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.zip").write_bytes(content)
    try:
        archives.expanded(folder / "a.zip")
        sizes = archives.extract(folder / "a.zip", folder / "out", "fan", lambda *_: None)
    except DataError:
        assert not (folder / "out").exists()
    else:
        for name in sizes:
            assert (folder / "out" / name).read_bytes() in files.values()


# Ends at any moment


def start(root: Path, url: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "asd", "data", "fetch", "dcase2020", "--data", str(root), "--mirror", url, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_and_gone_on_with(fan: Zenodo, root: Path) -> None:
    part = root / ".fetch" / f"{DEVELOPMENT}-{FAN}.part"
    fan.always[FAN] = zenodo.slow(2_000, 0.05)
    process = start(root, fan.url, "--part", "development")
    wait_for(lambda: part.exists() and part.stat().st_size >= 10_000)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert visible(root) == {}
    have = part.stat().st_size
    fan.always.clear()
    fan.asked.clear()
    assert bring(fan, root).errors == []
    assert fan.fetched(FAN) == [f"bytes={have}-"]
    nothing_half(root)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(fan: Zenodo, root: Path, number: signal.Signals, code: int) -> None:
    part = root / ".fetch" / f"{DEVELOPMENT}-{FAN}.part"
    fan.always[FAN] = zenodo.silent(20_000, 30.0)
    process = start(root, fan.url, "--part", "development", "--jobs", "2")
    wait_for(lambda: part.exists() and part.stat().st_size >= 20_000)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    command = f"asd data fetch dcase2020 --part development --data {root} --mirror {fan.url} --jobs 2"
    assert err.rstrip().endswith(f"Go on with: {command}")
    assert visible(root) == {}
    fan.always.clear()
    fan.asked.clear()
    assert asd(*command.split()[3:])[0] == 0
    assert fan.fetched(FAN) == ["bytes=20000-"]
    nothing_half(root)


def test_killed_again_and_again_no_half_file_is_ever_seen(root: Path) -> None:
    files = {f"fan/train/normal_id_00_{i:08}.wav": wav(i, 400) for i in range(1500)}
    with Zenodo({DEVELOPMENT: {FAN: archive(files.items())}}) as server:
        server.always[FAN] = zenodo.slow(200_000, 0.02)
        right = {f"development/{name}": content for name, content in files.items()}
        ends = []
        for pause in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4):
            process = start(root, server.url, "--part", "development")
            wait_for((root / ".fetch" / "lock").exists)
            time.sleep(pause)
            process.kill()
            process.communicate()
            seen = visible(root)
            assert all(right[name] == content for name, content in seen.items())
            assert len(seen) in (0, len(right))
            ends.append(process.returncode)
        assert -signal.SIGKILL in ends
        assert bring(server, root).errors == []
        assert visible(root) == right


def test_whoever_stops_listening_stops_the_work(fan: Zenodo, root: Path) -> None:
    fan.always[FAN] = zenodo.slow(500, 0.05)
    with Server(fan.url, HASTY) as client:
        plan = None
        planning = make_plan(client, Ledger(root), "dcase2020", ["development"])
        while plan is None:
            try:
                next(planning)
            except StopIteration as end:
                plan = end.value
        before = threading.active_count()
        work = fetch(plan, client)
        next(work)
        work.close()
        wait_for(lambda: threading.active_count() <= before)
    fan.always.clear()
    assert bring(fan, root).errors == []
    nothing_half(root)
