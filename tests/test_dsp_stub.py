"""``_dsp.pyi`` says what the extension offers: nothing more, nothing less, with the same parameters."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asd
from asd import _dsp

STUB = ast.parse((Path(asd.__file__).parent / "_dsp.pyi").read_text(encoding="utf-8"))
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def members(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {child.name: child for child in node.body if isinstance(child, ast.FunctionDef)}


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def parameters(node: ast.FunctionDef) -> list[str]:
    assert not (node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.defaults)
    return [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]


def runtime_parameters(callable_: object) -> list[str]:
    signature = inspect.signature(callable_)  # type: ignore[arg-type]
    assert all(p.default is p.empty for p in signature.parameters.values())
    return [name for name in signature.parameters if name != "self"]


def test_stub_and_module_offer_the_same_names():
    offered = {name for name in vars(_dsp) if not name.startswith("__")}
    assert offered == FUNCTIONS.keys() | CLASSES.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_same_parameters(name):
    assert runtime_parameters(getattr(_dsp, name)) == parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_members(name):
    declared = members(CLASSES[name])
    real = getattr(_dsp, name)
    assert {m for m in vars(real) if not m.startswith("__")} == declared.keys() - {"__new__"}
    for member, node in declared.items():
        if member == "__new__":
            assert runtime_parameters(real) == parameters(node)
        elif is_property(node):
            assert inspect.isdatadescriptor(vars(real)[member])
        else:
            assert runtime_parameters(vars(real)[member]) == parameters(node)


@pytest.mark.parametrize("name", ["Recording", "Health", "Failure"])
def test_results_are_frozen_and_not_made_by_callers(name, tmp_path):
    with pytest.raises(TypeError):
        getattr(_dsp, name)()
    kernel = _dsp.LogMel(16_000, 1024, 512, 8, 0.0, 8000.0, "htk", 1e-7)
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    recording, failure = kernel.read([str(tmp_path / "a.wav"), "absent.wav"], 16_000, 0, False, 1)
    assert isinstance(recording, _dsp.Recording)
    assert isinstance(failure, _dsp.Failure)
    result = {"Recording": recording, "Health": recording.health, "Failure": failure}[name]
    for member in members(CLASSES[name]):
        with pytest.raises(AttributeError):
            setattr(result, member, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 999}, "sample_rate"),
        ({"sample_rate": -1}, "sample_rate"),
        ({"n_fft": 1000}, "n_fft"),
        ({"n_fft": 128}, "n_fft"),
        ({"hop_length": 0}, "hop_length"),
        ({"hop_length": 1025}, "hop_length"),
        ({"n_mels": 0}, "n_mels"),
        ({"f_min": -1.0}, "f_min"),
        ({"f_min": float("nan")}, "f_min"),
        ({"f_max": 8001.0}, "f_max"),
        ({"f_max": 0.0}, "f_max"),
        ({"mel_scale": "bark"}, "mel_scale"),
        ({"eps": 0.0}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": 1e-40}, "eps"),
    ],
)
def test_a_front_end_that_cannot_be_is_a_value_error(change, message):
    good = {
        "sample_rate": 16_000,
        "n_fft": 1024,
        "hop_length": 512,
        "n_mels": 128,
        "f_min": 0.0,
        "f_max": 8000.0,
        "mel_scale": "slaney",
        "eps": 1e-7,
    }
    _dsp.LogMel(**good)
    with pytest.raises(ValueError, match=message):
        _dsp.LogMel(**(good | change))


def test_available_threads_is_this_process_share():
    import os

    assert 1 <= _dsp.available_threads() <= len(os.sched_getaffinity(0))
