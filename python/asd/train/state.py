"""Checkpoints: everything that a training needs to go on as if it had never stopped.

A checkpoint is one ``.safetensors`` file: tensors, and a header of JSON. Nothing in it is code. It is written beside,
fsynced and renamed; the last two are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asd.errors import RunFolderError
from asd.runs import append_text, read_jsonl, write_bytes, write_text

FORMAT = 1
KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state of a training.

    Attributes:
        step: steps done.
        tensors: by name, of the network, the optimiser, and what the loop counts.
        facts: what else belongs to it, as JSON values.
    """

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors below `name`, under the rest of their names."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, then drop all but the last two.

    Raises:
        DataError: the folder cannot be written, or the disk is full; those that were there stay.
    """
    from safetensors.torch import save as to_bytes

    folder.mkdir(exist_ok=True)
    file = folder / f"{checkpoint.step:012d}.safetensors"
    header = {"asd": json.dumps({"format": FORMAT, "step": checkpoint.step, **checkpoint.facts})}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    write_bytes(file, to_bytes(tensors, header))
    for old in _files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    for part in folder.glob(".*.part"):  # of a process that was killed while it wrote
        with suppress(OSError):
            part.unlink()
    return file


def load(folder: Path) -> Checkpoint | None:
    """Return the latest checkpoint; None where there is none yet.

    Raises:
        RunFolderError: it is damaged, of another version, or not ours; names the file.
    """
    files = _files(folder) if folder.is_dir() else []
    return read(files[-1]) if files else None


def read(file: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        RunFolderError: it is damaged, of another version, or not ours; names the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            header = json.loads((stored.metadata() or {})["asd"])
            if header["format"] != FORMAT:
                raise ValueError(f"of format {header['format']}, this version reads {FORMAT}")
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        return Checkpoint(int(header.pop("step")), tensors, header)
    except KeyError as error:
        raise RunFolderError(f"{file}: no checkpoint of asd", _another(file)) from error
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise RunFolderError(f"{file}: a damaged checkpoint ({error})", _another(file)) from error


def _another(file: Path) -> str:
    others = [other for other in _files(file.parent) if other != file]
    if others:
        return f"{others[-1]} is the one before: remove the damaged file and try again."
    return "Train the run again with --overwrite."


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def named_optimiser_state(optimiser: torch.optim.Optimizer, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the optimiser's tensors, each named after its parameter."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            yield f"{names[id(parameter)]}/{key}", torch.as_tensor(value)


def load_optimiser_state(optimiser: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimiser back what `named_optimiser_state` told."""
    for name, parameter in module.named_parameters():
        own = {key.rpartition("/")[2]: value for key, value in tensors.items() if key.rpartition("/")[0] == name}
        for key, value in own.items():
            if value.ndim:
                # In the memory order of the parameter, which fused optimisers insist on.
                optimiser.state[parameter][key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                continue
            # Counts of steps stay where torch keeps them: on the CPU, but for fused optimisers.
            where = parameter.device if any(g.get("fused") for g in optimiser.param_groups) else "cpu"
            optimiser.state[parameter][key] = value.to(where)


def append_metrics(file: Path, row: Mapping[str, Any]) -> None:
    """Add a line to ``metrics.jsonl``."""
    append_text(file, json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def cut_metrics(file: Path, step: int) -> None:
    """Drop the lines behind a checkpoint, and a last one that a kill cut short."""
    if not file.is_file():
        return
    text = file.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(file, whole)
    kept = [row for row in read_jsonl(file) if row["step"] <= step]
    write_text(file, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in kept))
