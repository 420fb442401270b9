"""The command `lineside`: its commands are loaded when they are called, so that each starts fast."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import click

from gateway import __version__


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
    "simulate": _Command("gateway.cli.simulate:simulate", "Serve simulated machines for a configuration."),
    "init": _Command("gateway.cli.init:init", "Write a first factory from a few answers."),
    "validate": _Command("gateway.cli.validate:validate", "Check a configuration; list each problem with its place."),
    "show": _Command("gateway.cli.show:show", "Show the machines and points that a configuration amounts to."),
    "schema": _Command("gateway.cli.schema:schema", "Print the JSON Schema of the configuration, for editors."),
    "import": _Command("gateway.cli.import_points:import_", "Write a factory from tables or other programs' files."),
    "export-points": _Command("gateway.cli.export_points:export_points", "Write all points as CSV."),
    "plan": _Command("gateway.cli.plan:plan", "Show the requests to each device, their cost and the cycle times."),
    "check": _Command("gateway.cli.check:check", "Read every point once, and list those that are not good."),
    "browse": _Command("gateway.cli.browse:browse", "Browse an OPC UA server; write a template."),
    "probe": _Command("gateway.cli.probe:probe", "Find the registers of a Modbus device; write a template."),
    "tail": _Command("gateway.cli.look:tail", "Print readings as they pass the broker."),
    "query": _Command("gateway.cli.look:query", "Print stored readings."),
    "spool": _Command("gateway.cli.spool:spool", "Look at the records that wait on this machine."),
    "ledger": _Command("gateway.cli.ledger:ledger", "Print what became of every reading that a gateway acquired."),
    "health": _Command("gateway.cli.health:health", "Check that the services on this machine are alive."),
    "status": _Command("gateway.cli.status:status", "Show the services on this machine, and what to act on."),
    "fleet": _Command("gateway.cli.fleet:fleet", "Show every gateway and ingest that the broker knows."),
    "diagnose": _Command("gateway.cli.diagnose:diagnose", "Write an archive for a ticket, without secrets."),
}
"""Each command, in the order in which they are listed."""


def _is_expected(error: Exception) -> bool:
    """Return whether a user, a file, a device or a network can cause an error, in any command.

    A closed pipe is left to click.
    """
    import sqlite3  # noqa: PLC0415 - only after an error

    from drivers.base import DriverError  # noqa: PLC0415 - only after an error
    from drivers.secret import MissingSecret  # noqa: PLC0415 - only after an error
    from gateway.stores.base import StoreError  # noqa: PLC0415 - only after an error

    expected = (OSError, sqlite3.Error, MissingSecret, DriverError, StoreError)
    return isinstance(error, expected) and not isinstance(error, BrokenPipeError)


class _LazyGroup(click.Group):
    """A group that imports a command when it is called; the list of commands needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for name, command in COMMANDS.items() if command.help]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's
        """Run a command; an error that a user can cause is a line of text, and the exit code is 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not _is_expected(error):
                raise
            raise click.ClickException(str(error)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items() if command.help])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LINESIDE"},
)
@click.version_option(__version__, prog_name="lineside")
@click.option("--log", "style", type=click.Choice(["auto", "json", "console"]), default="auto", help="How to log.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.pass_context
def main(ctx: click.Context, style: str, log_level: str) -> None:
    """Read machines, forward every reading over MQTT, and prove that nothing was lost."""
    from gateway.common.logging import configure_logging, flush_logging  # noqa: PLC0415 - the list needs no log

    configure_logging(style, log_level)
    ctx.call_on_close(flush_logging)
