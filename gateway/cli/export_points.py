"""`lineside export-points`: the points of a factory as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, OUTPUT_FILE, load
from gateway.cli.output import echo_data
from gateway.cli.progress import Progress
from gateway.importers.own import export, points_of
from gateway.importers.workbook import write_workbook

if TYPE_CHECKING:
    from pathlib import Path


@click.command("export-points")
@CONFIG
@click.option("--out", type=OUTPUT_FILE, help="Write to this file, not to the terminal.")
def export_points(config: Path, out: Path | None) -> None:
    """Write the points of all machines of CONFIG as a table, a row each; `lineside import` reads it again.

    It is CSV, or a workbook of Excel if the file is called .xlsx.
    """
    factory = load(config)
    try:
        with Progress("writing the points"):
            is_workbook = out is not None and out.suffix.lower() == ".xlsx"
            table = write_workbook(*points_of(factory)) if is_workbook else export(factory).encode()
            if out is not None:
                out.write_bytes(table)
    except (ValueError, OSError) as error:
        raise click.ClickException(f"{out}: {error}") from None
    if out is None:
        echo_data(table, nl=False)
