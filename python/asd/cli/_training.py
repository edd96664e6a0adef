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

from asd.cli._errors import Terminated, enough_memory
from asd.cli._output import channel_of, drive, is_first, out, say, shell
from asd.errors import Stopped, UsageError
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


PATHS = ("data.root", "data.normal", "encoder.weights")
"""Settings that are paths: a run keeps them absolute."""

FLAGS = {"encoder.name": "--encoder", "encoder.weights": "--from", "data.ids": "--id", "data.root": "--data"}
"""Flags that are not called like their settings."""

OF_NETWORKS = ("encoder", "views", "variants", "optimiser", "moco", "classifier")
"""Tables of settings that nothing but the training of a network looks at."""

SETTINGS = {
    "encoder": "encoder.name",
    "weights": "encoder.weights",
    "epochs": "optimiser.epochs",
    "batch_size": "optimiser.batch_size",
    "seed": "seed",
    "device": "device",
    "cache_gb": "cache_gb",
    "threads": "threads",
    "channel": "features.channel",
    "allow_upsampling": "features.allow_upsampling",
}
"""Parameters of every training, with the settings that they stand for."""

INSTALL = "pip install 'machine-asd[train]'"


def flags_of(given: Mapping[str, Any], more: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that a command's parameters stand for; None where one was not given.

    Args:
        given: the parameters, by name.
        more: those that are settings beside `SETTINGS`, with the settings' names.
    """
    found = {setting: given[name] for name, setting in {**SETTINGS, **more}.items()}
    if found["encoder.weights"] is not None:
        found["encoder.weights"] = str(found["encoder.weights"].resolve())
    if found["features.channel"] is not None:
        found["features.channel"] = channel_of(found["features.channel"])
    plain = {key: value.value if isinstance(value, StrEnum) else value for key, value in found.items()}
    # A switch that is off, or a list of nothing, was not given; a 0 was.
    return {key: None if value is False or value == [] else value for key, value in plain.items()}


def settings_of(
    preset: str | None,
    file: Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    method_of: Callable[[dict[str, Any]], str],
    weights: Path | None,
) -> Config:
    """Return the settings: preset < encoder of the weights < file < ``--set`` < flags.

    The preset is that of ``--preset``, or of the file, else the one that is named after the method.

    Args:
        method_of: tells the method from the settings where nothing names one.
        weights: that training starts from; where nothing names an encoder, it is theirs.
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
            f"--preset {preset} is for the method {base['method']}, not {given['method']}", "Leave one of them out."
        )
    encoder = encoder_of(weights)
    if encoder and given.get("encoder", {}).get("name", encoder["name"]) == encoder["name"]:
        base["encoder"] = {**base.get("encoder", {}), **encoder}
    return load_config(file, assignments, flags, base)


def stored_settings(
    folder: Path, preset: str | None, file: Path | None, assignments: Sequence[str], flags: Mapping[str, Any]
) -> Config:
    """Return the settings of the run to be gone on with; whatever is given beside must agree with them.

    Raises:
        UsageError: a flag says something else; names it.
        RunFolderError: there is no such run, or it has ended.
    """
    from asd.config import differences, load_config
    from asd.runs import require_unfinished

    require_unfinished(folder)
    stored = load_config(folder / "config.toml")
    base = stored.model_dump(mode="json", exclude_none=True)
    flags = {**flags, "preset": preset}
    given = load_config(file, assignments, flags, base)
    for key, before, now in differences(stored, given):
        if key in PATHS and Path(before).resolve() == Path(now).resolve():
            continue
        raise UsageError(
            f"{folder}: --resume goes on with the run's own settings, and {_named(key, flags)} is given otherwise: "
            f"{now!r}, in the run {before!r}",
            "Leave it out, or start a new run with another --name.",
        )
    return stored


def refuse_idle(
    settings: Config, file: Path | None, assignments: Sequence[str], flags: Mapping[str, Any], asked: bool
) -> None:
    """Refuse settings of a network where the method trains none.

    A file may be that of a run, which holds all settings: of it counts what differs from the defaults, and nothing if
    it is for another method.

    Args:
        asked: the method was named, and not told by the layout.

    Raises:
        UsageError: names them.
    """
    from asd.config import Config, merge_config

    if settings.method != "baseline":
        return
    given = dict(_leaves(merge_config(None, assignments, flags, None)))
    stored = merge_config(file, (), None, None)
    if stored.get("method", "baseline") == "baseline":
        usual = dict(_leaves(Config().model_dump(mode="json")))
        given |= {key: value for key, value in _leaves(stored) if value != usual.get(key)}
    idle = [key for key in given if key.partition(".")[0] in OF_NETWORKS or (key, given[key]) == ("device", "cuda")]
    if not idle:
        return
    why = "the method baseline trains none" if asked else "plain recordings get the method baseline, which trains none"
    raise UsageError(
        f"{', '.join(_named(key, flags) for key in idle)}: for a network, and {why}",
        "Take --method contrastive, or leave it out."
        if len(idle) == 1
        else "Take --method contrastive, or leave them out.",
    )


def _named(key: str, flags: Mapping[str, Any]) -> str:
    """Return what the user calls a setting: its flag, where that was given."""
    return key if flags.get(key) is None else FLAGS.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}")


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of settings, with their values."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


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


def encoder_of(weights: Path | None) -> dict[str, Any]:
    """Return what ``--from`` tells of the encoder, where it is given.

    Raises:
        DataError, RunFolderError: no weights there.
    """
    if weights is None:
        return {}
    need_torch()
    from asd.models.encoders import OWN_POOLING
    from asd.train.weights import about_encoder

    about = about_encoder(weights)
    kept = {key: about[key] for key in ("name", "width", "norm", "pooling")}
    return {key: value for key, value in kept.items() if value != OWN_POOLING.get(about["name"])}


def show_network(settings: Config) -> None:
    """Print what the network costs: parameters, operations, memory."""
    import torch

    from asd.models.cost import cost, training_bytes
    from asd.models.encoders import build_encoder

    shape = settings.features.n_mels, settings.classifier.frames or settings.features.frames
    with torch.device("meta"):  # no memory, and no random numbers
        chosen = settings.encoder
        encoder = build_encoder(chosen.name, *shape, width=chosen.width, norm=chosen.norm, pooling=chosen.pooling)
    found = cost(encoder)
    size = settings.optimiser.batch_size or 64
    frames = max(1, round(settings.views.stretch * shape[1])) if encoder.any_frames else shape[1]
    clips = size * (2 * shape[0] * shape[1] * 4 + training_bytes(encoder, frames))
    # Weights, gradients and both moments of Adam; MoCo keeps a second set of weights.
    weights = (5 if settings.method != "finetune" else 4) * 4 * found.parameters
    out.print(f"network: {settings.encoder.name}, {found.parameters:,} parameters", markup=False)
    out.print(f"operations: {found.flops / 1e9:.3g} GFLOP a clip of {shape[0]} × {shape[1]}, forward")
    out.print(
        f"memory: {weights / 2**20:,.0f} MB of weights and moments, about {clips / 2**20:,.0f} MB in training for a "
        f"batch of {size}"
    )


@contextmanager
def listening() -> Iterator[Callable[[], int | None]]:
    """Yield a function that tells which signal asked for an end; a second one ends the process at once.

    A signal that nobody acted on counts when the block ends.
    """
    heard: list[int] = []

    def listen(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        for kind in previous:
            signal.signal(kind, signal.SIG_DFL)

    previous: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # a thread other than the main one may not set handlers
        for kind in (signal.SIGINT, signal.SIGTERM):
            previous[kind] = signal.signal(kind, listen)
    try:
        yield lambda: heard[0] if heard else None
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
    if heard:
        signal.raise_signal(heard[0])


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
    from asd.runs import append_text, training_run, write_text
    from asd.train.fit import BATCH_SIZE, Place
    from asd.train.ranks import local_device, together, wait_for_all

    own = training_run(folder, overwrite=overwrite, resume=resume) if is_first() else nullcontext(folder)
    size = settings.optimiser.batch_size or BATCH_SIZE
    less = f"Lower --batch-size, to {max(2, size // 2)} for a start, or take a smaller --encoder."
    with _resumable(folder, settings), together(local_device(settings.device)), enough_memory(less), own:
        if is_first() and not resume:
            write_text(folder / "config.toml", settings.to_toml())
        wait_for_all()
        place = Place(folder, resume, listening)
        if not is_first():
            for _ in work(place):
                pass
            return None
        say(said)
        return drive(work(place), lambda line: append_text(folder / "train.log", f"{line}\n"))


@contextmanager
def _resumable(folder: Path, settings: Config) -> Iterator[None]:
    """Say how to go on when a signal ends the block."""
    try:
        yield
    except Stopped as error:
        raise _stopped(error.signal, error.message, folder, settings) from None
    except KeyboardInterrupt:
        raise _stopped(signal.SIGINT, f"{folder}: interrupted", folder, settings) from None
    except Terminated:
        raise _stopped(signal.SIGTERM, f"{folder}: terminated", folder, settings) from None


def _stopped(number: int, message: str, folder: Path, settings: Config) -> Stopped:
    if not (folder / "config.toml").is_file():  # nothing was begun
        return Stopped(number, message, "")
    command = "pretrain" if settings.method == "pretrain" else "train"
    words = "asd", command, "--runs", folder.parent, "--name", folder.name, "--resume"
    world = os.environ.get("WORLD_SIZE")
    if world is None:
        return Stopped(number, message, f"Go on with: {shell(*words)}")
    if world != os.environ.get("LOCAL_WORLD_SIZE"):  # on several machines
        return Stopped(number, message)
    return Stopped(number, message, "Go on with: " + shell("torchrun", "--nproc-per-node", world, "-m", *words))
