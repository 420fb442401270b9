"""The command `lineside`. Each command's own imports wait until it is called, so that all start fast."""

from __future__ import annotations

import click

from gateway import __version__
from gateway.cli.browse import browse
from gateway.cli.certs import certs
from gateway.cli.check import check
from gateway.cli.demo import demo, embedded_broker
from gateway.cli.importing import export_points, import_
from gateway.cli.init import init
from gateway.cli.ledger import ledger
from gateway.cli.look import query, tail
from gateway.cli.plan import plan
from gateway.cli.probe import probe
from gateway.cli.reload import reload
from gateway.cli.schema import schema
from gateway.cli.services import health, ingest, run
from gateway.cli.show import show
from gateway.cli.simulate import simulate
from gateway.cli.spool import spool
from gateway.cli.validate import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LINESIDE"})
@click.version_option(__version__, prog_name="lineside")
@click.option("--log", "style", type=click.Choice(["auto", "json", "console"]), default="auto", help="How to log.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def main(style: str, log_level: str) -> None:
    """Read machines, forward every reading over MQTT, and prove that nothing was lost."""
    from gateway.common.logging import configure_logging  # noqa: PLC0415 - see above

    configure_logging(style, log_level)


COMMANDS = (
    certs, demo, embedded_broker, run, reload, ingest, simulate, init, validate, show, schema, import_, export_points,
    plan, check, browse, probe, tail, query, spool, ledger, health,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
