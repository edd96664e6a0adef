"""The command line: parse, call, print. One command a file; heavy imports inside the commands only."""

from __future__ import annotations

from typing import Annotated

import typer

from asd.cli import bench, data, demo, doctor, evaluate, fetch, pretrain, report, reproduce, score, train
from asd.cli._errors import GuardedGroup

app = typer.Typer(
    name="asd",
    cls=GuardedGroup,
    help="Finds machines that sound wrong, from recordings of machines that sound right.",
    epilog="Start with: asd demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from asd import __version__

        typer.echo(f"asd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
data.app.command("fetch")(fetch.fetch)
app.add_typer(data.app, name="data")
app.command("pretrain")(pretrain.pretrain)
app.command("train")(train.train)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("evaluate")(evaluate.evaluate)
app.command("reproduce")(reproduce.reproduce)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
