"""`lineside embedded-broker`: the MQTT broker of a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drivers.extras import require
from gateway.cli.common import WITH_STDIN, serve

if TYPE_CHECKING:
    import asyncio


@click.command(hidden=True)
@click.option("--port", type=int, required=True)
@WITH_STDIN
def embedded_broker(port: int, *, with_stdin: bool) -> None:
    """Run the MQTT broker of a trial, on the loopback."""
    require("demo")

    async def main(stop: asyncio.Event) -> None:
        from gateway.trial import broker  # noqa: PLC0415 - an extra

        async with broker.embedded_broker(port):
            await stop.wait()

    serve(main, with_stdin=with_stdin)
