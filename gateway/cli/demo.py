"""`lineside demo`: the whole data flow on this machine."""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drivers.extras import require
from gateway.cli.common import DURATION, FORMAT, OUTPUT_FILE, OUTPUT_FOLDER, print_json, serve, write_report
from gateway.cli.output import echo
from gateway.cli.progress import Progress

if TYPE_CHECKING:
    import asyncio

    from gateway.settings.factory import Factory


PORT = 8080
"""The port of the page, where it is free."""


@click.command()
@click.option("--for", "seconds", type=DURATION, help="Stop after this time, such as 20s; else Ctrl-C stops.")
@click.option("--report", "out", type=OUTPUT_FILE, help="Write the report (JSON) to this file.")
@click.option("--data", type=OUTPUT_FOLDER, help="Folder of the store and the spools.")
@FORMAT
def demo(seconds: float | None, out: Path | None, data: Path | None, style: str) -> None:
    """Run two simulated plants, a broker, gateways, ingest and a store, and watch readings travel.

    Exits with 1 if a ledger does not balance, if the store has other readings than the ledgers count, or if a point
    was never good.
    """
    require("demo", "the demo")
    from gateway.dashboard.security.link import make_link  # noqa: PLC0415 - an extra
    from simulators.ports import LOOPBACK, reserved_port  # noqa: PLC0415 - an extra

    folder = data.resolve() if data is not None else _new_folder().resolve()
    echo(f"data in {folder}", err=style == "json")
    report: dict[str, Any] = {}

    async def main(stop: asyncio.Event) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra

        from gateway.demo.demo import Demo  # noqa: PLC0415 - an extra
        from gateway.demo.screen import Screen  # noqa: PLC0415 - an extra

        console = Console()

        async def watch(factories: list[Factory]) -> None:
            progress.show("")
            try:
                await Screen(console, folder, page).watch(factories)
            finally:
                progress.show("stopping")

        report.update(await Demo(folder, port).run(stop, seconds, watch if console.is_terminal else None) or {})

    from gateway.trial.trial import TrialFailed  # noqa: PLC0415 - an extra

    try:
        with (
            reserved_port(PORT) as port,
            Progress("starting the machines of two plants, a broker, gateways, ingest and a store") as progress,
        ):
            page = f"http://{LOOPBACK}:{port}/"
            if sys.stdout.isatty():  # the output may be a log, which must not get the link
                page = make_link(folder / "spool", page)
            echo(f"page at {page}", err=style == "json")
            serve(main)
    except TrialFailed as error:
        raise click.ClickException(str(error)) from None
    if not report:
        echo("stopped before everything had started", err=True)
        raise click.Abort
    write_report(out, report)
    if style == "json":
        print_json(report)
    else:
        _print(report, folder)
    sys.exit(_exit_code(report))


def _exit_code(report: dict[str, Any]) -> int:
    return 0 if report["balanced"] and report["stored_as_counted"] and not report["never_good"] else 1


def _new_folder() -> Path:
    """Make a folder that no other demo has, not even one that begins in the same second."""
    first = Path("lineside-data", time.strftime("demo-%Y%m%d-%H%M%S"))
    for number in count(2):
        try:
            first.mkdir(parents=True)
        except FileExistsError:
            first = first.with_name(f"{first.name.partition('_')[0]}_{number}")
        else:
            break
    return first


def _print(report: dict[str, Any], folder: Path) -> None:
    ledger, schedule, points, latency = (report[key] for key in ("ledger", "schedule", "points", "latency_ms"))
    parts = report["parts"]
    dropped = ", ".join(f"{reason} {n}" for reason, n in ledger["dropped"].items()) or "0"
    balance = "balanced" if report["balanced"] else "NOT BALANCED"
    stored = f"{report['stored_readings']} readings" + ("" if report["stored_as_counted"] else ", NOT AS COUNTED")
    lines = f"""
ran {report["seconds"]} s, first reading stored after {report["first_stored_after"]} s
readings  acquired {ledger["acquired"]} = unchanged {ledger["unchanged"]} + dropped {dropped} \
+ pending {ledger["pending"]} + confirmed {ledger["confirmed"]}   {balance}
scans     due {schedule["due"]} = taken {schedule["taken"]} + missed {schedule["missed"]}
points    configured {points["configured"]}: good {points["good"]}, uncertain {points["uncertain"]}, \
bad {points["bad"]}
stored    {stored}, scan to stored row p50 {latency["p50"]} ms, p99 {latency["p99"]} ms
parts     {parts["made"]} operations on {parts["serials"]} parts, {parts["traced"]} traced by serial number
look      sqlite3 {folder}/readings.db 'select * from readings limit 20'
          lineside query {folder}/tire-plant.yaml 'press-01/*' --last 1h"""  # noqa: S608 - a command for a person, not for a database
    echo(lines)
    if report["never_good"]:
        echo(f"never read good: {', '.join(report['never_good'][:20])}", err=True)
