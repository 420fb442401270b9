"""`lineside fleet`: every gateway and ingest that the broker knows."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import click

from gateway.cli.common import DURATION, FORMAT, SET, Unreachable, load, print_json, serve
from gateway.cli.output import echo, echo_json

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from gateway.mqtt.session import LinkStatus
    from gateway.status.fleet import Fleet

_FILE = click.Path(dir_okay=False, path_type=pathlib.Path)


@click.command()
@click.argument("config", type=_FILE, required=False)
@click.option(
    "--config", "-c", "option", type=_FILE, envvar="LINESIDE_CONFIG", help="In place of CONFIG; or LINESIDE_CONFIG."
)
@SET
@FORMAT
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C.")
@click.option("--every", type=DURATION, default="2s", show_default=True, help="The time between two pictures.")
def fleet(config: Path | None, option: Path | None, style: str, *, watch: bool, every: float) -> None:
    """Show every gateway and ingest that the broker of CONFIG knows.

    Exits with 1 if there is something to act on, and with 3 if the broker does not answer.
    """
    file = config or option
    if file is None:
        raise click.UsageError("Missing argument 'CONFIG': name a factory's YAML, such as factory.yaml")
    from gateway.mqtt.verifier import verifier_of  # noqa: PLC0415 - see gateway.cli
    from gateway.status.fleet import NotReachable, fleet_report, follow_fleet  # noqa: PLC0415 - see gateway.cli

    factory = load(file)
    found = 0
    unreachable: list[NotReachable] = []

    def show(seen: Fleet, link: LinkStatus) -> bool:
        nonlocal found
        report = fleet_report(seen, link)
        found = len(report["findings"])
        _print(report, style, watch=watch)
        return not watch

    async def main(stop: asyncio.Event) -> None:
        try:
            await follow_fleet(factory.broker, stop, show, every, verifier_of(factory))
        except NotReachable as error:
            unreachable.append(error)

    serve(main)
    if unreachable:
        raise Unreachable(str(unreachable[0]))
    sys.exit(1 if found else 0)


def _print(report: dict[str, object], style: str, *, watch: bool) -> None:
    if style == "json" and not watch:
        print_json(report)
        return
    if style == "json":  # a line for each picture
        import orjson  # noqa: PLC0415 - see gateway.cli

        echo_json(orjson.dumps(report))
        return
    from gateway.status.fleet_text import fleet_text  # noqa: PLC0415 - see gateway.cli

    if watch and sys.stdout.isatty():
        click.clear()
    echo(fleet_text(report) + ("\n" if watch else ""))
