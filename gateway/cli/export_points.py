"""`lineside export-points`: the points of a factory as a table."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.common import CONFIG, load
from gateway.importers.own import export


@click.command("export-points")
@CONFIG
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, not to the terminal."
)
def export_points(config: Path, out: Path | None) -> None:
    """Write the points of all machines of CONFIG as CSV, a row each; `lineside import` reads it again."""
    text = export(load(config)).encode()
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_bytes(text)
