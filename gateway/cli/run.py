"""`lineside run`: the gateway."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import click

from gateway.cli.common import CONFIG, REPORT, WITH_STDIN, load, serve, write_report
from gateway.gateway_service import GatewayService

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@CONFIG
@REPORT
@click.option("--trace", "-v", is_flag=True, help="Log each message between gateway and devices.")
@WITH_STDIN
def run(config: Path, report: Path | None, *, trace: bool, with_stdin: bool) -> None:
    """Read the machines of CONFIG and publish their readings.

    SIGHUP, or `lineside reload CONFIG`, lets it apply the changes in CONFIG.
    """
    factory = load(config)

    async def main(stop: asyncio.Event) -> None:
        gateway = GatewayService(factory, trace=trace)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.reload.ask)
        await gateway.run(stop)
        write_report(report, gateway.closing_report())

    serve(main, with_stdin=with_stdin, bounded=True)
