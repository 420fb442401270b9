"""`lineside export-points`: the points of a factory as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, OUTPUT_FILE, load
from gateway.cli.progress import Progress
from gateway.importers.own import export

if TYPE_CHECKING:
    from pathlib import Path


@click.command("export-points")
@CONFIG
@click.option("--out", type=OUTPUT_FILE, help="Write to this file, not to the terminal.")
def export_points(config: Path, out: Path | None) -> None:
    """Write the points of all machines of CONFIG as CSV, a row each; `lineside import` reads it again."""
    factory = load(config)
    with Progress("writing the points"):
        text = export(factory).encode()
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_bytes(text)
