"""`lineside check`: read every point, from the real machines or from simulated machines."""

from __future__ import annotations

import pathlib
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
    Unreachable,
    load,
    machines_of,
    print_json,
    serve,
)
from gateway.cli.output import echo
from gateway.cli.progress import Progress
from gateway.common.heartbeat import heartbeats
from gateway.common.tasks import unless
from gateway.common.wire_trace import trace_line
from gateway.workers.locks import gateway_runs

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from drivers.trace import WireEvent
    from gateway.check.broker import Attempt
    from gateway.check.results import Report
    from gateway.settings.factory import Factory
    from gateway.settings.sections import BrokerSection

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
@click.option("--broker", is_flag=True, help="Try the rights of the user at the broker, in place of the points.")
@click.option("--as", "part", type=click.Choice(["gateway", "ingest", "reader"]), default="gateway",
              show_default=True, help="With --broker: the part whose rights the user should have.")  # fmt: skip
@click.option("--other", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path), metavar="CONFIG",
              help="With --broker: a file with another user, to try whether its client can be disconnected.",
)  # fmt: skip
@click.option("--while-running", is_flag=True, help="With --broker: although the service runs on this machine.")
@FORMAT
@click.option("--junit", type=OUTPUT_FILE, help="Write JUnit XML, too.")
def check(
    config: Path,
    pattern: str,
    seconds: float | None,
    timeout: float,
    at_once: int,
    seed: str,
    part: str,
    other: Path | None,
    style: str,
    junit: Path | None,
    *,
    broker: bool,
    while_running: bool,
    simulated: bool,
    every_point: bool,
    trace: bool,
    strict: bool,
) -> None:
    """Read every point of CONFIG and say which are not good; exit 1 where one is not. Nothing is ever written.

    With --broker, try the rights of the user of CONFIG at the broker: all that its part needs, and no others. Exit 1
    if the broker allows or refuses something unexpected, and 3 if it does not answer.
    """
    factory = load(config)
    if broker:
        if simulated or trace or junit is not None:
            raise click.UsageError("--broker reads no machine: leave out --simulated, --trace and --junit")
        _check_broker(
            factory,
            part,
            None if other is None else load(other, as_written=True).broker,
            style,
            while_running=while_running,
        )
        return
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


def _check_broker(
    factory: Factory, part: str, other: BrokerSection | None, style: str, *, while_running: bool
) -> None:
    """Try the rights of the user at the broker, print them, and exit."""
    from aiomqtt import MqttError  # noqa: PLC0415 - see gateway.cli

    from gateway.check.broker import try_rights  # noqa: PLC0415 - see gateway.cli
    from gateway.check.broker_text import broker_lines  # noqa: PLC0415 - see gateway.cli
    from gateway.mqtt.topics import Party  # noqa: PLC0415 - see gateway.cli

    if not while_running and (service := _running(factory, part)):
        raise click.ClickException(
            f"{service} runs here, and a broker that binds client ids to users would disconnect it: stop it, or add "
            "--while-running"
        )
    found: list[Attempt] = []
    failed: list[MqttError] = []

    async def main(stop: asyncio.Event) -> None:
        try:
            for attempts in await unless(stop, try_rights(factory, Party(part), other)):
                found.extend(attempts)
        except MqttError as error:
            failed.append(error)

    with Progress("trying the rights at the broker"):
        serve(main)
    if failed:
        raise Unreachable(str(failed[0]))
    if not found:
        raise click.Abort
    passed = not any(one.unexpected for one in found)
    if style == "json":
        user = factory.broker.username
        print_json({
            "broker": factory.broker.url, "user": user, "part": part, "passed": passed,
            "attempts": [one.as_dict() for one in found],
        })  # fmt: skip
    else:
        for line in broker_lines(found):
            echo(line)
    sys.exit(0 if passed else 1)


def _running(factory: Factory, part: str) -> str:
    """Return the name of the service of this part that runs on this machine, empty if none does."""
    if part == "gateway" and gateway_runs(factory.gateway.spool.folder, factory.gateway.id):
        return f"gateway {factory.gateway.id}"
    alive = {one.service for one in heartbeats(factory.ingest.folder) if one.alive}
    return f"ingest {factory.ingest.id}" if part == "ingest" and factory.ingest.id in alive else ""


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
