"""The services: `run` and `ingest`; and `health`, which asks whether they live."""

from __future__ import annotations

import asyncio
import pathlib
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, REPORT, WITH_STDIN, load, serve, write_report
from gateway.common.setting_types import check_name

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@CONFIG
@REPORT
@WITH_STDIN
def run(config: Path, report: Path | None, *, with_stdin: bool) -> None:
    """Read the machines of CONFIG and publish their readings.

    SIGHUP, or `lineside reload CONFIG`, lets it take up what has changed in CONFIG.
    """
    factory = load(config)

    async def main(stop: asyncio.Event) -> None:
        from gateway.gateway_service import GatewayService  # noqa: PLC0415 - see gateway.cli

        gateway = GatewayService(factory)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.reload.ask)
        await gateway.run(stop)
        write_report(report, gateway.closing_report())

    serve(main, with_stdin=with_stdin)


@click.command()
@CONFIG
@REPORT
@click.option("--id", "name", help="In place of ingest.id: for several that share the work with one file.")
@WITH_STDIN
def ingest(config: Path, report: Path | None, name: str | None, *, with_stdin: bool) -> None:
    """Take records off the broker into the stores of CONFIG.

    A changed CONFIG is taken up by a restart, during which nothing is lost.
    """
    factory = load(config)
    if name is not None:
        try:
            factory = replace(factory, ingest=factory.ingest.model_copy(update={"id": check_name(name)}))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--id") from error
    if not factory.stores:
        click.echo(f"{config}: stores is missing: there is nowhere to write to", err=True)
        sys.exit(1)

    async def main(stop: asyncio.Event) -> None:
        from gateway.ingest_service import IngestService  # noqa: PLC0415 - see gateway.cli

        service = IngestService(factory)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.asked_to_reload)
        await service.run(stop)
        write_report(report, service.report())

    serve(main, with_stdin=with_stdin)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=pathlib.Path))
def health(folder: Path) -> None:
    """Say whether the services that work in FOLDER are alive; exit 1 where one is not."""
    from gateway.common.heartbeat import check_heartbeats  # noqa: PLC0415 - see gateway.cli

    fine, told = check_heartbeats(folder)
    click.echo(told, err=not fine)
    sys.exit(0 if fine else 1)
