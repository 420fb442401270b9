"""`lineside export`: stored readings as Parquet files, by machine and day."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from drivers.extras import require
from gateway.cli.arguments import ARGUMENTS, CONFIG_OPTION, MOMENT, span_of, split_config
from gateway.cli.common import DURATION, FORMAT, OUTPUT_FOLDER, load, print_json
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.cli.selection import opened_store, select
from gateway.common.text import counted
from gateway.stores.base import END_OF_TIME

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.export.folder import Progress as ExportProgress
    from gateway.settings.factory import Factory

DEFAULT_LAST = 7 * 86400.0
"""Seconds back from now without --last and --from."""


@click.command()
@ARGUMENTS
@CONFIG_OPTION
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="The folder for the files.")
@click.option("--last", type=DURATION, help="How far back from now, as 24h, 7d; whole days.  [default: 7d]")
@click.option("--from", "since", type=MOMENT, help="From the day of this time, as 2026-11-24; days are those of UTC.")
@click.option("--to", "until", type=MOMENT, help="To before this time; the day in which it is, is whole.")
@click.option("--force", is_flag=True, help="Write files again that are complete.")
@click.option(
    "--everywhere", is_flag=True, help="Points of all sites in the store, not of this factory's site alone."
)
@click.option("--store", "name", help="The store to read, such as sqlite.  [default: the first that can be read]")
@FORMAT
@click.pass_context
def export(
    ctx: click.Context, arguments: tuple[str, ...], config: str | None, out: Path, last: float | None, since: int |
    None, until: int | None, force: bool, everywhere: bool, name: str | None, style: str,  # noqa: FBT001 - flags
) -> None:  # fmt: skip
    """Write stored readings to Parquet files below a folder, one for each machine and day.

    CONFIG is the factory's YAML. A PATTERN matches the end of enterprise/site/area/line/machine/point, such as
    'press-01/*' or 'bladder_*'; without one, all points are exported. Files that are complete are left as they are.
    """
    file, patterns = split_config(ctx, arguments, config)
    span = span_of(last, since, until, DEFAULT_LAST)
    require("parquet")
    from gateway.export.folder import FolderExport, OtherPoints  # noqa: PLC0415 - an extra

    factory = load(file)
    with opened_store(factory, name) as (_, store):
        series, warnings = select(factory, store, patterns, everywhere=everywhere)
        for warning in warnings:
            echo(f"lineside: {warning}", err=True)
        if not series:
            sys.exit(1)
        now = time.time_ns() // 1000
        work = FolderExport(
            store, series, out, chosen=patterns, descriptions=_descriptions(factory), force=force
        )  # fmt: skip
        with Progress("looking for the first day") as line:

            def show(at: ExportProgress) -> None:
                line.show(f"day {at.done + 1} of {at.days}, {counted(at.readings, 'reading')}")

            try:
                done = work.run(span.since, now if span.until == END_OF_TIME else span.until, show)
            except OtherPoints as error:
                raise click.ClickException(str(error)) from None
    if style == "json":
        print_json({"folder": str(out), "files": done.files, "readings": done.readings, "kept": done.kept})
        return
    kept = f", {counted(done.kept, 'file')} complete before" if done.kept else ""
    echo(f"{out}: {counted(done.files, 'file')}, {counted(done.readings, 'reading')}{kept}")


def _descriptions(factory: Factory) -> dict[str, str]:
    return {
        f"{machine.path}/{point.name}": point.description
        for machine in factory.machines
        for point in machine.all_points
    }  # fmt: skip
