"""`lineside demo`: the whole data flow on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.common import OUTPUT_FILE, serve, write_report
from gateway.common.setting_types import parse_duration

if TYPE_CHECKING:
    import asyncio


@click.command()
@click.option("--for", "duration", default=None, help="Stop after this time, such as 20s; else Ctrl-C stops.")
@click.option("--report", "out", type=OUTPUT_FILE, help="Write the report (JSON) to this file.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the store and the spools.")
def demo(duration: str | None, out: Path | None, data: Path | None) -> None:
    """Run two simulated plants, a broker, gateways, ingest and a store, and watch readings travel."""
    try:
        import amqtt  # noqa: F401, PLC0415 - an extra
        import rich  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise click.ClickException("the demo needs more than a gateway does: pip install 'lineside[demo]'") from None
    try:
        seconds = None if duration is None else float(str(parse_duration(duration)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    folder = (data or Path("lineside-data", time.strftime("demo-%Y%m%d-%H%M%S"))).resolve()
    click.echo(f"data in {folder}")
    report: dict[str, Any] = {}

    async def main(stop: asyncio.Event) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra

        from gateway.demo.demo import Demo  # noqa: PLC0415 - an extra
        from gateway.demo.screen import Screen  # noqa: PLC0415 - an extra

        console = Console()
        watch = Screen(console, folder).watch if console.is_terminal else None
        report.update(await Demo(folder).run(stop, seconds, watch))

    from gateway.trial.trial import TrialFailed  # noqa: PLC0415 - an extra

    try:
        serve(main)
    except TrialFailed as error:
        raise click.ClickException(str(error)) from None
    write_report(out, report)
    _print(report, folder)
    sys.exit(0 if report["balanced"] and not report["never_good"] else 1)


def _print(report: dict[str, Any], folder: Path) -> None:
    ledger, schedule, points, latency = (report[key] for key in ("ledger", "schedule", "points", "latency_ms"))
    dropped = ", ".join(f"{reason} {n}" for reason, n in ledger["dropped"].items()) or "0"
    balance = "balanced" if report["balanced"] else "NOT BALANCED"
    lines = f"""
ran {report["seconds"]} s, first reading stored after {report["first_stored_after"]} s
readings  acquired {ledger["acquired"]} = unchanged {ledger["unchanged"]} + dropped {dropped} \
+ pending {ledger["pending"]} + confirmed {ledger["confirmed"]}   {balance}
scans     due {schedule["due"]} = taken {schedule["taken"]} + missed {schedule["missed"]}
points    configured {points["configured"]}: good {points["good"]}, uncertain {points["uncertain"]}, \
bad {points["bad"]}
stored    {report["stored_readings"]} readings, scan to stored row p50 {latency["p50"]} ms, p99 {latency["p99"]} ms
look      sqlite3 {folder}/readings.db 'select * from readings limit 20'
          lineside query {folder}/tire-plant.yaml 'press-01/*' --last 1h"""  # noqa: S608 - a command for a person, not for a database
    click.echo(lines)
    if report["never_good"]:
        click.echo(f"never read good: {', '.join(report['never_good'][:20])}", err=True)
