"""`lineside check`: read every point, from the real machines or from simulated machines."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.check.devices import Patience
from gateway.check.junit import junit as as_junit
from gateway.check.machines import check_machines
from gateway.check.text import lines
from gateway.cli.common import CONFIG, DURATION, FORMAT, OUTPUT_FILE, load, machines_of, serve
from gateway.common.wire_trace import trace_line

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from drivers.trace import WireEvent
    from gateway.check.results import Report

USUAL_SECONDS = 10.0
"""So long simulated machines are read where nothing else is said."""


@click.command()
@CONFIG
@click.option("--simulated", is_flag=True, help="Simulate the machines, broker and store, and try the whole way.")
@click.option("--machine", "pattern", default="*", help="Only machines that match, such as 'press-0*'.")
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
        _need_the_extra()
        if trace:
            raise click.UsageError("--trace is for real machines: leave out --simulated")
    reports: list[Report] = []

    async def main(stop: asyncio.Event) -> None:
        if simulated:
            from gateway.check.simulated import check_simulated  # noqa: PLC0415 - an extra

            checking = check_simulated(factory, machines, seconds or USUAL_SECONDS, seed, _doing)
        else:
            patience = Patience(timeout, seconds or 0.0, at_once)
            checking = check_machines(str(config), machines, patience, _progress, _print_event if trace else None)
        reports.extend(await _unless(stop, checking))

    serve(main)
    if not reports:
        raise click.Abort
    if junit is not None:
        junit.write_bytes(as_junit(reports[0], strict=strict))
    _print(reports[0], style, every_point=every_point)
    sys.exit(0 if reports[0].passed(strict=strict) else 1)


async def _unless(stop: asyncio.Event, checking: Coroutine[Any, Any, Report]) -> list[Report]:
    """Return the report, or nothing where the check was stopped."""
    task, stopped = asyncio.create_task(checking, name="check"), asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return []
    return [task.result()]


def _need_the_extra() -> None:
    try:
        import amqtt  # noqa: F401, PLC0415 - an extra
        import pymodbus  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise click.ClickException(
            "simulated machines and their broker need more than a gateway does: pip install 'lineside[demo]'"
        ) from None


def _progress(done: int, devices: int) -> None:
    _doing(f"{done:,} of {devices:,} devices read" if done < devices else "")


def _doing(text: str) -> None:
    """Show what is being done, to who waits at a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def _print_event(event: WireEvent) -> None:
    click.echo(trace_line(event), err=True)


def _print(report: Report, style: str, *, every_point: bool) -> None:
    if style == "json":
        click.echo(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
        return
    for line in lines(report, shutil.get_terminal_size((118, 24)).columns, every_point=every_point):
        click.echo(line)
