"""`asd pretrain`: any folder of audio -> weights that other trainings start from."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asd.cli._output import data_root, next_step, out, print_json, say, shell
from asd.cli._training import Device, EncoderName, flags_of, need_torch, settings_of, stored_settings, train_in

if TYPE_CHECKING:
    from asd.config import Config
    from asd.train.pretrain import Pretrained


def pretrain(
    data: Annotated[
        Path | None, typer.Option(help="A folder of recordings, or a list of them. Default: $ASD_DATA, else ./data.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the run.")] = "pretrain",
    runs: Annotated[Path, typer.Option(help="Where run folders lie.")] = Path("runs"),
    preset: Annotated[str | None, typer.Option(help="Named settings: audioset. [pretrain]")] = None,
    encoder: Annotated[EncoderName | None, typer.Option(help="The network. [small]")] = None,
    weights: Annotated[Path | None, typer.Option("--from", help="Start from the weights of this run.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the recordings. [20]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step. [64]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and views. [0]")] = None,
    device: Annotated[Device | None, typer.Option(help="[auto: a GPU where there is one]")] = None,
    cache_gb: Annotated[float | None, typer.Option(help="Memory for log-mels, in GB. [4]")] = None,
    channel: Annotated[str | None, typer.Option(help="Channel from 0, or mix. [0]")] = None,
    allow_upsampling: Annotated[bool, typer.Option(help="Accept recordings below 16 kHz.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on with a training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a run of the same name.")] = False,
    threads: Annotated[
        int | None, typer.Option(help="Threads of front end and network. Default: all there are.")
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Settings as TOML.")] = None,
    assign: Annotated[list[str] | None, typer.Option("--set", help="A setting, as key=value.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Show settings and the network's size, and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Teach a network to tell recordings apart, on any audio: AudioSet, or a folder of your own.

    [bold]asd pretrain --data recordings[/bold]                            a small network, in minutes
    [bold]asd pretrain --data audioset --preset audioset[/bold]            ResNet-50, on GPUs
    """
    flags = {
        **flags_of(locals(), {}),
        "method": "pretrain",
        "data.root": str(data.resolve()) if data else None,
    }
    need_torch()
    folder = runs / name
    if resume:
        settings = stored_settings(folder, preset, config, assign or [], flags)
    else:
        settings = _located(settings_of(preset, config, assign or [], flags, lambda _: "pretrain", weights), data)
    if dry_run:
        _show_plan(settings, folder)
        next_step(shell("asd", *(word for word in sys.argv[1:] if word != "--dry-run")))
        return
    from asd.train.pretrain import pretrain as train

    said = f"pre-training {settings.encoder.name} on {settings.data.root}"
    made = train_in(folder, partial(train, settings), settings, said, overwrite=overwrite, resume=resume)
    if made is None:
        return  # a process of torchrun that is not the first
    if json:
        print_json({"run": str(folder), **_facts(made)})
    else:
        out.print(f"{made.recordings:,} recordings, {made.windows:,} windows; {made.skipped:,} could not be read")
        say(f"Weights: {folder / 'encoder.safetensors'}")
    next_step(shell("asd", "train", "--machine", "MACHINE", "--from", folder))


def _located(settings: Config, data: Path | None) -> Config:
    """Return the settings with the recordings' place spelled out."""
    place = data if data is not None else Path(settings.data.root) if settings.data.root else None
    root = place if place is not None and place.is_file() else data_root(place)
    return settings.model_copy(update={"data": settings.data.model_copy(update={"root": str(root.resolve())})})


def _facts(made: Pretrained) -> dict[str, object]:
    return {
        "recordings": made.recordings,
        "recordings_sha256": made.digest,
        "skipped": made.skipped,
        "windows": made.windows,
    }


def _show_plan(settings: Config, folder: Path) -> None:
    from asd.cli._training import show_network
    from asd.data.manifest import open_manifest

    manifest = open_manifest(Path(settings.data.root))
    out.print(settings.to_toml(), markup=False, soft_wrap=True)
    out.print(f"run folder: {folder}", markup=False, soft_wrap=True)
    out.print(f"{len(manifest):,} recordings below {manifest.root}", markup=False, soft_wrap=True)
    show_network(settings)
