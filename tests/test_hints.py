"""Every command and every flag that the program or the README tells the user to type does exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import asd
from asd.cli import app

SOURCE = Path(asd.__file__).parent
README = SOURCE.parents[1] / "README.md"

COMMAND = re.compile(r"(?:^|[\s`(:])asd ([a-z]+)(?: ([a-z]+))?")
FLAG = re.compile(r"(?<![\w-])(?<!var\()--[a-z][a-z-]*+(?!:)")  # `var(--ink)` and `--ink:` are style sheets

NOT_OURS = {"--upgrade", "--group", "--editable", "--nproc-per-node"}


def options() -> dict[str, set[str]]:
    """The flags of every command, by its name: ``"data list"``."""
    found: dict[str, set[str]] = {}

    def walk(command: object, name: str) -> None:
        flags = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}  # type: ignore[attr-defined]
        found[name] = flags | {"--help"}
        for child, sub in getattr(command, "commands", {}).items():
            walk(sub, f"{name} {child}".strip())

    walk(typer.main.get_command(app), "")
    return found


OPTIONS = options()


def strings(file: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module that may reach a user: no docstrings; f-strings with a word for each value."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
            parts = [v.value if isinstance(v, ast.Constant) else "X" for v in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.lineno, node.value


def wrong(text: str) -> list[str]:
    """Commands and flags in `text` that there are not."""
    errors = []
    for first, second in COMMAND.findall(text):
        if first == "X":
            continue
        if first not in OPTIONS:
            errors.append(f"asd {first}")
        elif first == "data" and second and f"data {second}" not in OPTIONS:
            errors.append(f"asd data {second}")
    everything = set().union(*OPTIONS.values()) | NOT_OURS
    errors += [flag for flag in FLAG.findall(text) if flag not in everything]
    return errors


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda f: str(f.relative_to(SOURCE)))
def test_what_the_program_says(file: Path) -> None:
    errors = [f"line {line}: {e} in {text!r}" for line, text in strings(file) for e in wrong(text)]
    assert errors == []


def test_what_the_readme_says() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    errors = []
    for number, line in enumerate(lines, 1):
        if match := re.match(r"\s*(?:\$ )?asd ((?:data )?[a-z]+)", line):
            flags = set(FLAG.findall(line.split("#")[0]))
            known = OPTIONS.get(match[1])
            errors += [f"{number}: asd {match[1]}"] if known is None else []
            errors += [f"{number}: {flag}" for flag in flags - (known or set())]
        else:
            errors += [
                f"{number}: {e}"
                for e in wrong(line)
                if not line.lstrip().startswith(("pip", "make", "cargo", "torchrun"))
            ]
    assert errors == []


def test_a_wrong_hint_would_be_found() -> None:
    assert wrong("Look at them with: asd data verfiy") == ["asd data verfiy"]
    assert wrong("asd tarin --machine fan") == ["asd tarin"]
    assert wrong("go on with --skip-bat") == ["--skip-bat"]
    assert wrong("asd train --machine fan --id 00") == []
