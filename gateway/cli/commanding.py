"""Send a command to the gateway of a configuration: its options, the signature, and the answer on the terminal."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING, Any

import click

from drivers.private_key import load_signing_key
from gateway.cli.audited import operator
from gateway.cli.common import DURATION, FORMAT, Unreachable, print_json, serve
from gateway.cli.output import echo
from gateway.model.path import matches

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.model.command import Command, Order
    from gateway.settings.factory import Factory, Machine
    from gateway.status.alarms import Answer

VALID = 30.0
"""Seconds for which a command is valid."""


def sending_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all commands to a gateway have."""
    parts = (
        click.option("--user", default=None, help="Who.  [default: the user of the system]"),
        click.option("--key", "key_name", help="The name of the key in gateway.commands.keys."),
        click.option(
            "--key-file", type=click.Path(dir_okay=False, exists=True, path_type=pathlib.Path),
            help="The private key of Ed25519, in PEM.",
        ),
        click.option("--wait", type=DURATION, default="10s", show_default=True, help="The time for an answer."),
        FORMAT,
    )  # fmt: skip
    for part in reversed(parts):
        function = part(function)
    return function


def machine_of(factory: Factory, name: str) -> Machine:
    """Return the machine that a person names. Raises `click.UsageError` unless it is one."""
    found = [one for one in factory.machines if matches(name, one.path)]
    if len(found) != 1:
        shown = f"matches {', '.join(str(one.path) for one in found[:5])}" if found else "matches no machine"
        raise click.UsageError(f"{name!r} {shown}; name one machine, such as curing-1/press-01")
    return found[0]


def send(factory: Factory, order: Order, options: dict[str, Any], shown: dict[str, Any]) -> None:
    """Send a command with `sending_options`; exit with 1 if it is refused, and with 3 without an answer.

    `shown` are further keys of the document that says what became of it.
    """
    from gateway.model.command import new_command  # noqa: PLC0415 - see gateway.cli
    from gateway.status.alarms import NotReachable, send_command  # noqa: PLC0415 - see gateway.cli

    command = new_command(factory.gateway.id, options["user"] or operator(), order, VALID)
    if options["key_file"] is not None:
        command = _signed(command, options)
    answers: list[Answer | None] = []
    problems: list[str] = []

    async def main(stop: asyncio.Event) -> None:
        try:
            answers.append(await send_command(factory, stop, command, options["wait"]))
        except NotReachable as error:
            problems.append(str(error))

    serve(main)
    if problems:
        raise Unreachable(problems[0])
    answer = answers[0]
    if answer is None:
        return
    if options["style"] == "json":
        said = {"action": order.action, "outcome": answer.outcome, "text": answer.text}
        print_json({"machine": order.target.machine} | shown | said)
    else:
        echo(f"{answer.outcome}" + (f": {answer.text}" if answer.text else ""))
    sys.exit(0 if answer.outcome == "done" else 1)


def _signed(command: Command, options: dict[str, Any]) -> Command:
    from gateway.model.command import signed  # noqa: PLC0415 - see gateway.cli

    if not options["key_name"]:
        raise click.UsageError("--key-file needs --key, the name of the key in gateway.commands.keys")
    try:
        private = load_signing_key(options["key_file"].read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{options['key_file']}: {error}") from None
    return signed(command, options["key_name"], private)
