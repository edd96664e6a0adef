"""Imports point one way, and each heavy or loud thing has its one place. Read from the sources, not by running them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asd

ROOT = Path(asd.__file__).parent
SOURCES = sorted(p for p in ROOT.rglob("*.py") if "__pycache__" not in p.parts)

BOTTOM = {"errors", "events", "config", "runs", "ready", "words", "presets"}
MAY_IMPORT = {
    "errors": set(),
    "events": set(),
    "words": set(),
    "config": {"errors", "events", "presets"},
    "presets": set(),
    "runs": {"errors", "events", "config"},
    "ready": {"errors", "events", "config"},
    "features": BOTTOM,
    "augment": BOTTOM | {"features"},
    "survey": BOTTOM | {"features"},
    "corpus": BOTTOM | {"features", "survey"},
    "data": BOTTOM | {"features", "corpus"},
    "feed": BOTTOM | {"features", "augment", "corpus", "data"},
    "bench": BOTTOM | {"features", "augment", "corpus", "feed", "data"},
    "models": set(),
    "detect": BOTTOM | {"features", "data", "corpus", "feed", "models"},
    "train": BOTTOM | {"features", "augment", "data", "corpus", "feed", "models", "detect"},
    "evaluate": BOTTOM | {"features", "data"},
    "report": BOTTOM | {"features", "data", "evaluate"},
    "reproduce": BOTTOM | {"features", "data", "evaluate", "report"},
}
"""Which of our packages each may import, itself aside. `cli` may import everything, and nothing imports it."""

TORCH = {"torch", "torchaudio", "torchvision"}
TORCH_USERS = {"feed", "models", "train", "detect", "cli"}
HEAVY = {*TORCH, "numpy", "scipy", "sklearn", "matplotlib", "pydantic", "httpx"}
TERMINAL = {"rich", "typer"}
SILENT_RICH = ("rich.markup.", "rich.table.", "rich.text.")
"""What a report may build and hand back for the command line to print."""


def layer(file: Path) -> str:
    """The part of `asd` that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names imported anywhere in `tree`; ``from asd import x`` is ``asd.x``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module) -> ast.Module:
    """`tree` without what runs only when called, or only for type checkers."""

    def runs(node: ast.stmt) -> bool:
        if isinstance(node, ast.If):
            return "TYPE_CHECKING" not in ast.unparse(node.test)
        return not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)

    return ast.Module([node for node in tree.body if runs(node)], [])


def at_run_time(tree: ast.Module) -> ast.Module:
    """`tree` without what is only for type checkers."""
    kept = [n for n in tree.body if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))]
    return ast.Module(kept, [])


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


each_source = pytest.mark.parametrize("file", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))


def test_importing_asd_loads_nothing_heavy():
    code = "import sys, asd; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = [*sorted(HEAVY), "asd._dsp", "asd.features", "asd.augment", "rich", "typer"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "name", sorted({"logmel", "read_logmel", "read_audio", "two_views", "FeatureSpec", "AsdError"})
)
def test_public_names_are_there_on_first_use(name):
    assert name in dir(asd)
    assert getattr(asd, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = asd.no_such_thing


@each_source
def test_imports_point_one_way(file):
    own = layer(file)
    if own in ("cli", "__init__", "__main__"):
        return
    assert own in MAY_IMPORT, f"{own} has no place in the order of layers"
    ours = {name.split(".")[1] for name in imports(parse(file)) if name.startswith("asd.")}
    assert ours - {own, "_dsp", "__version__"} <= MAY_IMPORT[own]


FRONT_ENDS = {ROOT / f"{name}.py" for name in ("features", "augment", "corpus", "feed")}
"""Recordings -> log-mels, and log-mels -> views."""


@each_source
def test_only_the_front_ends_import_the_extension(file):
    names = [n for n in imports(at_run_time(parse(file))) if n == "asd._dsp" or n.startswith("asd._dsp.")]
    assert not names or file in FRONT_ENDS


@each_source
def test_torch_is_imported_where_networks_are(file):
    used = {name.split(".")[0] for name in imports(parse(file))} & TORCH
    assert not used or layer(file) in TORCH_USERS


@each_source
def test_only_the_command_line_talks_to_the_terminal_or_exits(file):
    if layer(file) in ("cli", "__main__"):
        return
    tree = parse(file)
    terminal = {name for name in imports(tree) if name.split(".")[0] in TERMINAL}
    assert all(layer(file) == "report" and name.startswith(SILENT_RICH) for name in terminal)
    loud = {"print", "input", "exit", "quit", "breakpoint", "sys.exit", "os._exit", "sys.stdout", "sys.stderr"}
    used = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    used |= {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert not used & loud
    assert not any(isinstance(n, ast.Name) and n.id == "SystemExit" for n in ast.walk(tree))


@each_source
def test_models_are_functions_of_their_arguments(file):
    if layer(file) != "models":
        return
    tree = parse(file)
    assert not {name.split(".")[0] for name in imports(tree)} & {"pathlib", "os", "io", "json", "pydantic"}
    assert "open" not in {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}


@each_source
def test_the_command_line_starts_light(file):
    if layer(file) != "cli":
        return
    names = list(imports(at_module_level(parse(file))))
    assert not {name.split(".")[0] for name in names} & HEAVY
    ours = {name.split(".")[1] for name in names if name.startswith("asd.")}
    assert ours <= {"cli", "errors", "events", "words", "__version__"}
