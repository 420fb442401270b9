"""`lineside check`: read every point, from the real machines or from simulated machines."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from drivers.extras import require
from gateway.check.devices import Patience
from gateway.check.junit import junit as as_junit
from gateway.check.machines import check_machines
from gateway.check.text import lines
from gateway.cli.common import (
    CONFIG,
    DURATION,
    FORMAT,
    MACHINE,
    NOT_REPORTED,
    OUTPUT_FILE,
    load,
    machines_of,
    print_json,
    serve,
)
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.tasks import unless
from gateway.common.wire_trace import trace_line

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from drivers.trace import WireEvent
    from gateway.check.results import Report

USUAL_SECONDS = 10.0
"""So long simulated machines are read where nothing else is said."""


@click.command()
@CONFIG
@click.option("--simulated", is_flag=True, help="Simulate the machines, broker and store, and try the whole way.")
@MACHINE
@click.option("--for", "seconds", type=DURATION, help="Read for this long, to find constant values; 10s.")
@click.option("--timeout", type=DURATION, default="10s", show_default=True, help="Time for an answer of a device.")
@click.option("--at-once", type=click.IntRange(1, 1000), default=64, show_default=True, help="Devices read at once.")
@click.option("--seed", default="1", show_default=True, help="With --simulated: other values.")
@click.option("--all", "-v", "every_point", is_flag=True, help="Show what is good, too.")
@click.option("--trace", is_flag=True, help="Print each message on the wire to standard error.")
@click.option("--strict", is_flag=True, help="Exit 1 for doubtful points, too.")
@FORMAT
@click.option("--junit", type=OUTPUT_FILE, help="Write JUnit XML, too.")
def check(
    config: Path,
    pattern: str,
    seconds: float | None,
    timeout: float,
    at_once: int,
    seed: str,
    style: str,
    junit: Path | None,
    *,
    simulated: bool,
    every_point: bool,
    trace: bool,
    strict: bool,
) -> None:
    """Read every point of CONFIG and say which are not good; exit 1 where one is not. Nothing is ever written."""
    factory = load(config)
    machines = machines_of(factory, pattern)
    if simulated:
        require("demo", "a check with simulated machines")
        if trace:
            raise click.UsageError("--trace is for real machines: leave out --simulated")
    reports: list[Report] = []
    with Progress() as progress:

        def trace_event(event: WireEvent) -> None:
            progress.print(trace_line(event))

        async def main(stop: asyncio.Event) -> None:
            if simulated:
                from gateway.check.simulated import check_simulated  # noqa: PLC0415 - an extra

                checking = check_simulated(factory, machines, seconds or USUAL_SECONDS, seed, progress.show)
            else:
                patience = Patience(timeout, seconds or 0.0, at_once)
                count = partial(progress.count, things="devices read")
                checking = check_machines(str(config), machines, patience, count, trace_event if trace else None)
            reports.extend(await unless(stop, checking))

        serve(main)
    if not reports:
        raise click.Abort
    [report] = reports
    written = junit is None or _write_junit(junit, report, strict=strict)
    _print(report, style, every_point=every_point)
    if not written:
        sys.exit(NOT_REPORTED)
    sys.exit(0 if report.passed(strict=strict) else 1)


def _write_junit(file: Path, report: Report, *, strict: bool) -> bool:
    """Write the report as JUnit XML; return whether that was possible, and print why not."""
    try:
        file.write_bytes(as_junit(report, strict=strict))
    except OSError as error:
        echo(f"lineside: the report {file} can't be written: {error.strerror}", err=True)
        return False
    return True


def _print(report: Report, style: str, *, every_point: bool) -> None:
    if style == "json":
        print_json(report.as_dict())
        return
    for line in lines(report, shutil.get_terminal_size((118, 24)).columns, every_point=every_point):
        echo(line, styled=True)
