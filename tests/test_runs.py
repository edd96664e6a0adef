"""The run folder's files: whole or not at all, and readable again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.errors import DataError, RunFolderError
from asd.runs import Run, ScoreRow, new_run, read_jsonl, read_scores, write_jsonl, write_scores, write_text

names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1)


@given(
    st.lists(
        st.builds(
            ScoreRow,
            path=names,
            machine=names,
            section=names,
            domain=st.none() | st.sampled_from(["source", "target"]),
            label=st.none() | st.integers(0, 1),
            score=st.floats(allow_nan=False, allow_infinity=False),
            threshold=st.floats(allow_nan=False, allow_infinity=False),
            anomalous=st.booleans(),
        )
    )
)
def test_scores_and_back(tmp_path_factory: pytest.TempPathFactory, rows: list[ScoreRow]) -> None:
    file = tmp_path_factory.mktemp("scores") / "scores.csv"
    write_scores(file, rows)
    assert read_scores(file) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,score\na,1\n", "its columns are not"),
        ("path,machine,section,domain,label,score,threshold,anomalous\na,fan,00,,0,high,1,0\n", "scores.csv:2"),
        ("path,machine,section,domain,label,score,threshold,anomalous\na,fan\n", "scores.csv:2"),
    ],
)
def test_damaged_scores_are_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "scores.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_scores(file)


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x1c", "\n"])
def test_jsonl_takes_every_name(tmp_path: Path, odd: str) -> None:
    rows = [{"path": f"a{odd}b.wav"}, {"path": "c.wav"}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    assert read_jsonl(tmp_path / "x.jsonl") == rows


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[]\n", b"[" * 100_000])
def test_damaged_jsonl_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.jsonl"):
        read_jsonl(tmp_path / "x.jsonl")


def test_two_runs_of_one_name_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "fan-00"
    with pytest.raises(RunFolderError, match="another run took this name"), new_run(path, overwrite=False) as slow:
        with new_run(path, overwrite=False) as fast:
            write_text(fast / "config.toml", "fast")
        write_text(slow / "config.toml", "slow")
    assert (path / "config.toml").read_text() == "fast"
    assert list(path.parent.iterdir()) == [path]


def test_an_older_run_stays_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fan-00"
    with new_run(path, overwrite=False) as staging:
        write_text(staging / "config.toml", "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), new_run(path, overwrite=True) as staging:
        write_text(staging / "config.toml", "new")
    assert (path / "config.toml").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_jsonl_and_back(tmp_path: Path) -> None:
    rows = [{"path": "ä b.wav", "score": 1.5, "nearest": None}, {}]
    write_jsonl(tmp_path / "x.jsonl", rows)
    assert read_jsonl(tmp_path / "x.jsonl") == rows
    write_text(tmp_path / "x.jsonl", "{}\n{")
    with pytest.raises(DataError, match=r"x\.jsonl:2"):
        read_jsonl(tmp_path / "x.jsonl")


def test_a_run_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "fan-00"
    with pytest.raises(KeyboardInterrupt), new_run(path, overwrite=False) as folder:
        write_text(folder / "config.toml", "")
        raise KeyboardInterrupt
    assert not path.exists()
    assert list(path.parent.iterdir()) == []
    with new_run(path, overwrite=False) as folder:
        write_text(folder / "config.toml", 'method = "baseline"')
    assert Run.open(path).config() == {"method": "baseline"}


def test_a_failed_overwrite_keeps_the_older_run(tmp_path: Path) -> None:
    path = tmp_path / "fan-00"
    with new_run(path, overwrite=False) as folder:
        write_text(folder / "config.toml", "old = 1")
    with pytest.raises(DataError), new_run(path, overwrite=True) as folder:
        write_text(folder / "config.toml", "old = 2")
        raise DataError("x")
    assert Run.open(path).config() == {"old": 1}
    with new_run(path, overwrite=True) as folder:
        write_text(folder / "config.toml", "old = 3")
    assert Run.open(path).config() == {"old": 3}


def test_what_is_in_the_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fan-00"
    with new_run(path, overwrite=False) as folder:
        write_text(folder / "config.toml", "")
    with pytest.raises(RunFolderError) as caught, new_run(path, overwrite=False):
        pass
    assert "--overwrite" in caught.value.hint
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter1.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="no run folder"), new_run(precious, overwrite=True):
        pass
    assert (precious / "chapter1.txt").read_text() == "years of work"


def test_an_empty_folder_is_not_in_the_way(tmp_path: Path) -> None:
    with new_run(tmp_path / "new", overwrite=False) as folder:
        write_text(folder / "config.toml", "")
    (tmp_path / "empty").mkdir()
    with new_run(tmp_path / "empty", overwrite=False) as folder:
        write_text(folder / "config.toml", "")
    assert Run.open(tmp_path / "empty").name == "empty"


def test_no_run_names_those_there_are(tmp_path: Path) -> None:
    with new_run(tmp_path / "pump7", overwrite=False) as folder:
        write_text(folder / "config.toml", "")
    with pytest.raises(RunFolderError) as caught:
        Run.open(tmp_path / "pump8")
    assert "pump7" in caught.value.hint


def test_a_run_without_scores_says_how_to_get_them(tmp_path: Path) -> None:
    with new_run(tmp_path / "r", overwrite=False) as folder:
        write_text(folder / "config.toml", "")
    with pytest.raises(RunFolderError) as caught:
        Run.open(tmp_path / "r").scores()
    assert caught.value.hint == f"asd score {tmp_path / 'r'}"


def test_what_a_killed_training_left_is_tidied(tmp_path: Path) -> None:
    dead = 2**22 + 1  # above the largest process number of Linux
    (tmp_path / f".fan-00.{dead}.abc.new").mkdir()
    aside = tmp_path / f".fan-00.{dead}.abc.old"
    aside.mkdir()
    (aside / "config.toml").write_text("old = 1")
    living = tmp_path / f".fan-00.{os.getpid()}.abc.new"
    living.mkdir()
    other = tmp_path / f".fan-00.b.{dead}.abc.new"
    other.mkdir()
    with pytest.raises(RunFolderError, match="in the way"), new_run(tmp_path / "fan-00", overwrite=False):
        pass
    assert (tmp_path / "fan-00" / "config.toml").read_text() == "old = 1"  # the older run came back
    assert {p.name for p in tmp_path.iterdir()} == {"fan-00", living.name, other.name}
