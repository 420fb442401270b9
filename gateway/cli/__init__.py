"""The command `lineside`: its commands are loaded when they are called, so that each starts fast."""

from __future__ import annotations

from typing import NamedTuple

import click

from gateway import __version__
from gateway.cli.group import LOG_LEVELS, LOG_STYLES, LazyGroup, start_log


class _Command(NamedTuple):
    """Where a command is, and its line in the list of commands; without a line it is not listed."""

    place: str
    help: str = ""


COMMANDS: dict[str, _Command] = {
    "certs": _Command("gateway.cli.certs:certs", "List the certificates of OPC UA connections, and trust servers."),
    "demo": _Command("gateway.cli.demo:demo", "Run two simulated plants, and watch their readings reach a store."),
    "embedded-broker": _Command("gateway.cli.embedded_broker:embedded_broker"),
    "run": _Command("gateway.cli.run:run", "Read the machines of a factory, and publish their readings."),
    "worker": _Command("gateway.cli.worker:worker"),
    "reload": _Command("gateway.cli.reload:reload", "Apply a changed configuration to the gateway that runs it."),
    "ingest": _Command("gateway.cli.ingest:ingest", "Store what gateways publish."),
    "dashboard": _Command("gateway.cli.dashboard:dashboard", "Serve a web page that shows the plants."),
    "simulate": _Command("gateway.cli.simulate:simulate", "Serve simulated machines for a configuration."),
    "init": _Command("gateway.cli.init:init", "Write a first factory from a few answers."),
    "validate": _Command("gateway.cli.validate:validate", "Check a configuration; list each problem with its place."),
    "sign": _Command("gateway.cli.sign:sign", "Sign a configuration, for machines whose policy requires it."),
    "show": _Command("gateway.cli.show:show", "Show the machines and points that a configuration amounts to."),
    "schema": _Command("gateway.cli.schema:schema", "Print the JSON Schema of the configuration, for editors."),
    "import": _Command("gateway.cli.import_points:import_", "Write a factory from tables or other programs' files."),
    "export-points": _Command("gateway.cli.export_points:export_points", "Write all points as CSV."),
    "plan": _Command("gateway.cli.plan:plan", "Show the requests to each device, their cost and the cycle times."),
    "check": _Command("gateway.cli.check:check", "Read every point once, and list those that are not good."),
    "browse": _Command("gateway.cli.browse:browse", "Browse an OPC UA server; write a template."),
    "probe": _Command("gateway.cli.probe:probe", "Find the registers of a Modbus device; write a template."),
    "acl": _Command("gateway.cli.acl:acl", "Write users and rights for the broker."),
    "tail": _Command("gateway.cli.tail:tail", "Print readings as they pass the broker."),
    "query": _Command("gateway.cli.query:query", "Print stored readings."),
    "alarms": _Command("gateway.cli.alarms:alarms", "Show the alarms of a plant, acknowledge and shelve them."),
    "notify": _Command("gateway.cli.notify:notify", "Show who is notified of alarms, and send a test message."),
    "trace": _Command("gateway.cli.trace:trace", "Print the history of a part, or where a lot was used."),
    "oee": _Command("gateway.cli.oee:oee", "Print OEE, losses and the bottleneck of a shift."),
    "export": _Command("gateway.cli.export:export", "Write stored readings to Parquet files."),
    "spool": _Command("gateway.cli.spool:spool", "Look at the records that wait on this machine."),
    "ledger": _Command("gateway.cli.ledger:ledger", "Print what became of every reading that a gateway acquired."),
    "health": _Command("gateway.cli.health:health", "Check that the services on this machine are alive."),
    "status": _Command("gateway.cli.status:status", "Show the services on this machine, and what to act on."),
    "fleet": _Command("gateway.cli.fleet:fleet", "Show every gateway and ingest that the broker knows."),
    "diagnose": _Command("gateway.cli.diagnose:diagnose", "Write an archive for a ticket, without secrets."),
    "self-test": _Command("gateway.cli.self_test:self_test", "Check rights, certificates, disk, clock and spool."),
    "update": _Command("gateway.cli.update:update", "Install a newer package, after checking its signature."),
    "backup": _Command("gateway.cli.backup:backup", "Write an archive of a gateway, to put it back elsewhere."),
    "restore": _Command("gateway.cli.restore:restore", "Put a gateway back from its archive."),
    "decommission": _Command("gateway.cli.decommission:decommission", "Remove a gateway's data and keys from a box."),
    "users": _Command("gateway.cli.users:users", "Manage those who may sign in to the dashboard."),
    "audit": _Command("gateway.cli.audit:audit", "Show and verify the log of who did what."),
    "completion": _Command("gateway.cli.completion:completion", "Print the completion script of a shell."),
}
"""Each command, in the order in which they are listed."""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LINESIDE"},
)
@click.version_option(__version__, prog_name="lineside")
@click.option("--log", type=click.Choice(LOG_STYLES), default="auto", show_default=True,
              help="How to log: JSON lines, or text for people; auto is text in a terminal.")  # fmt: skip
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True,
              help="Log this level and above.")  # fmt: skip
def main(log: str, log_level: str) -> None:
    """Read machines, forward every reading over MQTT, and prove that nothing was lost.

    The options of the log are accepted after the command, too. `lineside COMMAND --help` explains a command.
    """
    start_log(log, log_level)
