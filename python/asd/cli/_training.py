"""What `asd train` and `asd pretrain` share: settings laid over a preset, resuming, signals, processes of torchrun."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from asd.cli._output import drive, out, say
from asd.errors import UsageError
from asd.events import Event

if TYPE_CHECKING:
    from asd.config import Config
    from asd.train.fit import Place

T = TypeVar("T")


class EncoderName(StrEnum):
    """The networks there are."""

    small = "small"
    mobilenetv2 = "mobilenetv2"
    mobilefacenet = "mobilefacenet"
    resnet50 = "resnet50"


class Device(StrEnum):
    """Where a network is trained."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


INSTALL = "pip install 'machine-asd[train]'"


def settings_of(
    preset: str | None,
    file: Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    method_of: Callable[[dict[str, Any]], str],
) -> Config:
    """Return the settings: preset < file < ``--set`` < flags.

    The preset is that of ``--preset``, or of the file, else the one that is named after the method.

    Args:
        method_of: tells the method from the settings where nothing names one.
    """
    from asd.config import load_config, merge_config, read_preset

    given = merge_config(file, assignments, flags, None)
    name = preset or given.get("preset")
    if not name:
        name = given.get("method") or method_of(given)
        if name not in ("baseline", "contrastive", "finetune", "pretrain"):
            name = "baseline"  # the config's own check names what is wrong
    base = read_preset(str(name))
    if preset and given.get("method") not in (None, base["method"]):
        raise UsageError(
            f"--preset {preset} is {base['method']}, --method says {given['method']}", "Leave one of them out."
        )
    return load_config(file, assignments, flags, base)


def stored_settings(folder: Path, assignments: Sequence[str], flags: Mapping[str, Any]) -> Config:
    """Return the settings of the run to be gone on with; whatever is given beside must agree with them.

    Raises:
        UsageError: a flag says something else; names it.
        RunFolderError: there is no such run.
    """
    from asd.config import load_config
    from asd.errors import RunFolderError

    file = folder / "config.toml"
    if not file.is_file():
        raise RunFolderError(f"{folder}: no training to go on with", "Start it without --resume.")
    stored = load_config(file)
    given = load_config(file, assignments, flags)
    if given != stored:
        key = _difference(stored.model_dump(), given.model_dump())
        raise UsageError(
            f"{folder}: --resume goes on with the run's own settings, and {key} is given otherwise",
            "Leave it out, or start a new run with another --name.",
        )
    return stored


def _difference(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    for key, value in stored.items():
        if isinstance(value, dict) and value != given[key]:
            return f"{key}.{_difference(value, given[key])}"
        if value != given[key]:
            return f"{key} ({value!r} in the run, {given[key]!r} now)"
    return ""


def need_torch() -> None:
    """Make sure that networks can be trained.

    Raises:
        UsageError: torch is not installed; names the command.
    """
    try:
        import torch  # noqa: F401
        import torchvision  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"training a network needs PyTorch ({error})", f"{INSTALL}; or take --method baseline"
        ) from None


def encoder_flags(weights: Path | None, encoder: str | None) -> dict[str, Any]:
    """Return the settings that follow from ``--from``: its encoder, where none is named.

    Raises:
        DataError, RunFolderError: no weights there.
    """
    if weights is None:
        return {"encoder.name": encoder}
    need_torch()
    from asd.train.weights import about_encoder

    about = about_encoder(weights)
    flags: dict[str, Any] = {"encoder.weights": str(weights.resolve()), "encoder.name": encoder}
    if encoder in (None, about["name"]):
        flags |= {f"encoder.{key}": about[key] for key in ("name", "width", "norm")}
    return flags


def show_network(settings: Config) -> None:
    """Print what the network costs: parameters, operations, memory."""
    import torch

    from asd.models.cost import cost
    from asd.models.encoders import build_encoder

    shape = settings.features.n_mels, settings.classifier.frames or settings.features.frames
    with torch.device("meta"):  # no memory, and no random numbers
        encoder = build_encoder(settings.encoder.name, *shape, width=settings.encoder.width, norm=settings.encoder.norm)
    found = cost(encoder)
    size = settings.optimiser.batch_size or 64
    clips = 2 * shape[0] * shape[1] * 4 * size
    # Weights, gradients and both moments of Adam; MoCo keeps a second set of weights.
    weights = (5 if settings.method != "finetune" else 4) * 4 * found.parameters
    out.print(f"network: {settings.encoder.name}, {found.parameters:,} parameters", markup=False)
    out.print(f"operations: {found.flops / 1e9:.3g} GFLOP a clip of {shape[0]} × {shape[1]}, forward")
    out.print(f"memory: {weights / 2**20:,.0f} MB of weights and moments, {clips / 2**20:,.0f} MB a batch of {size}")


@contextmanager
def listening() -> Iterator[Callable[[], int | None]]:
    """Yield a function that tells which signal asked for an end; the second one ends at once."""
    heard: list[int] = []

    def listen(number: int, _frame: FrameType | None) -> None:
        if heard:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        heard.append(number)

    previous: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # a thread other than the main one may not set handlers
        for kind in (signal.SIGINT, signal.SIGTERM):
            previous[kind] = signal.signal(kind, listen)
    try:
        yield lambda: heard[0] if heard else None
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)


def train_in(
    folder: Path,
    work: Callable[[Place], Generator[Event, None, T]],
    settings: Config,
    said: str,
    *,
    overwrite: bool,
    resume: bool,
) -> T | None:
    """Run a training in its folder, alone or as one of ``torchrun``'s processes.

    Args:
        work: a generator of events, given the place; it writes the run's files.
        said: a line to begin with.

    Returns:
        What `work` returns; None in all processes but the first.
    """
    from asd.runs import training_run, write_text
    from asd.train.fit import Place
    from asd.train.ranks import local_device, together, wait_for_all

    own = training_run(folder, overwrite=overwrite, resume=resume) if is_first() else nullcontext(folder)
    with listening() as stop, together(local_device(settings.device)), own:
        if is_first() and not resume:
            write_text(folder / "config.toml", settings.to_toml())
        wait_for_all()
        place = Place(folder, resume, stop)
        if not is_first():
            for _ in work(place):
                pass
            return None
        with (folder / "train.log").open("a", encoding="utf-8", buffering=1) as log:
            say(said)
            return drive(work(place), lambda line: print(line, file=log))


def is_first() -> bool:
    """Return whether this process writes: alone, or the first of ``torchrun``'s."""
    return os.environ.get("RANK", "0") == "0"
