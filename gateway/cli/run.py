"""`lineside run`: the gateway."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING

import click

from drivers.extras import require
from gateway.audit.apart import ApartLog
from gateway.audit.lifecycle import recorded_life
from gateway.audit.trust_files import trust_places
from gateway.cli.common import CONFIG, REPORT, WITH_STDIN, load, log_findings, require_metrics, serve, write_report
from gateway.common.own_files import keep_files_private
from gateway.gateway_service import GatewayService
from gateway.settings.exposure import GATEWAY
from gateway.settings.signature_memory import Service
from gateway.workers.choice import needs_supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.common.stop_event import StopEvent
    from gateway.settings.factory import Factory
    from gateway.workers.supervisor import Supervisor


@click.command()
@CONFIG
@REPORT
@click.option("--trace", "-v", is_flag=True, help="Log each message between gateway and devices.")
@WITH_STDIN
def run(config: Path, report: Path | None, *, trace: bool, with_stdin: bool) -> None:
    """Read the machines of CONFIG and publish their readings.

    SIGHUP, or `lineside reload CONFIG`, lets it apply the changes in CONFIG.
    """
    keep_files_private()
    factory = load(config, service=Service.GATEWAY)
    require_metrics(factory.gateway.metrics)
    if factory.gateway.notify.enabled:
        require("notify")
    make = _service(factory, trace=trace)

    async def main(stop: StopEvent) -> None:
        log_findings(factory, GATEWAY)
        audit = ApartLog(factory.dashboard.audit, "gateway", factory.gateway.id)
        async with recorded_life(audit, factory.digest, stop, trust_places(factory, Service.GATEWAY)):
            gateway = make()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.reload.ask)
            await gateway.run(stop)
        write_report(report, gateway.closing_report())

    serve(main, with_stdin=with_stdin, bounded=True)


def _service(factory: Factory, *, trace: bool) -> Callable[[], GatewayService | Supervisor]:
    """Return the function that makes the service: the gateway in this process, or the supervisor of workers."""
    if not needs_supervisor(factory):
        return partial(GatewayService, factory, trace=trace)
    from gateway.workers.process import Launch  # noqa: PLC0415 - for a gateway with workers
    from gateway.workers.supervisor import Supervisor  # noqa: PLC0415 - as above

    said = click.get_current_context().find_root().params
    arguments = ["--log", said["log"], "--log-level", said["log_level"], "worker"]
    return partial(Supervisor, factory, Launch([*arguments, "--trace"] if trace else arguments))
