"""`lineside ingest`: from the broker into the stores."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from gateway.audit.apart import ApartLog
from gateway.audit.lifecycle import LAST_UNBOUNDED, recorded_life
from gateway.audit.trust_files import trust_places
from gateway.cli.common import CONFIG, REPORT, WITH_STDIN, load, log_findings, require_metrics, serve, write_report
from gateway.cli.output import echo
from gateway.common.own_files import keep_files_private
from gateway.common.setting_types import check_name
from gateway.ingest_service import IngestService
from gateway.settings.exposure import INGEST
from gateway.settings.sections import parse_endpoint
from gateway.settings.signature_memory import Service

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.common.stop_event import StopEvent


@click.command()
@CONFIG
@REPORT
@click.option("--id", "name", help="In place of ingest.id: for several that share the work with one file.")
@click.option("--metrics", "listen", metavar="HOST:PORT", help="In place of ingest.metrics.listen, likewise.")
@WITH_STDIN
def ingest(config: Path, report: Path | None, name: str | None, listen: str | None, *, with_stdin: bool) -> None:
    """Take records off the broker into the stores of CONFIG.

    To apply a changed CONFIG, restart it; nothing is lost.
    """
    keep_files_private()
    factory = load(config, service=Service.INGEST)
    if name is not None:
        try:
            factory = replace(factory, ingest=factory.ingest.model_copy(update={"id": check_name(name)}))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--id") from error
    if listen is not None:
        try:
            metrics = factory.ingest.metrics.model_copy(update={"listen": str(parse_endpoint(listen))})
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--metrics") from error
        factory = replace(factory, ingest=factory.ingest.model_copy(update={"metrics": metrics}))
    require_metrics(factory.ingest.metrics)
    if not factory.stores:
        echo(f"{config}: stores is missing: there is nowhere to write to", err=True)
        sys.exit(1)

    async def main(stop: StopEvent) -> None:
        log_findings(factory, INGEST)
        audit = ApartLog(factory.ingest.audit, "ingest", factory.ingest.id)
        trusted = trust_places(factory, Service.INGEST)
        async with recorded_life(audit, factory.digest, stop, trusted, LAST_UNBOUNDED):
            service = IngestService(factory)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.asked_to_reload)
            await service.run(stop)
        write_report(report, service.report())

    serve(main, with_stdin=with_stdin)
