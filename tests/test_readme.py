"""The README's file list and the tree agree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("rust/dsp/src", "rust/binding/src", "python/asd", "benches")


def listed() -> set[str]:
    """Paths of the files in the README's tree."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("## The files")[1].split("```")[1]
    files, folders = set(), []
    for line in block.strip().splitlines():
        match = re.match(r"( *)(\S+)", line)
        assert match is not None
        depth, name = len(match[1]) // 2, match[2]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        else:
            files.add("/".join([*folders, name]))
    return files


def there() -> set[str]:
    """Paths of the source files; a package's __init__ and __main__ are its folder."""
    found = {
        p.relative_to(ROOT).as_posix()
        for f in FOLDERS
        for p in (ROOT / f).rglob("*")
        if p.suffix in (".py", ".rs", ".j2", ".md")
    }
    return {f for f in found if not re.search(r"__(init|main)__\.py$", f)}


def test_the_file_list_is_true() -> None:
    assert listed() == there()


def test_the_title_of_every_module_is_a_sentence() -> None:
    for file in (ROOT / "python").rglob("*.py"):
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert re.match(r'"""\S.*[.:?]("""|$)', first), f"{file}: {first}"
