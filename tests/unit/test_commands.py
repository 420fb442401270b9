"""The table of commands, and failures that only some commands have."""

from __future__ import annotations

import click
import pytest
from command_line import lineside

from gateway.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_is_there_under_its_name(name: str) -> None:
    """The table says where a command is; its first user would notice a mistake there."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.name, bool(command.help), command.hidden) == (name, True, not COMMANDS[name].help)


def test_missing_secret_is_named_in_a_line_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person who starts the command puts it there; a stack trace would not say where."""
    monkeypatch.delenv("LINESIDE_SECRET_NOWHERE", raising=False)
    options = ("--option", "username=a", "--option", "password=nowhere")
    result = lineside("browse", "opc.tcp://127.0.0.1:1?security=none", *options)
    assert (result.exit_code, "secret 'nowhere' is missing: put it into" in result.output) == (1, True), result.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("browse 10.20.2.21", "write opc.tcp://"),
        ("browse opc.tcp://10.20.2.21 --option security", "write KEY=VALUE"),
        ("probe 10.20.1.11", "write modbus+tcp://"),
        ("probe modbus+tcp://10.20.1.11?unti=1", "unti"),
    ],
)
def test_wrong_address_is_a_mistake_in_the_call(command: str, message: str) -> None:
    """Nothing is asked."""
    result = lineside(*command.split())
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("command", ["browse opc.tcp://127.0.0.1:1?security=none", "probe modbus+tcp://127.0.0.1:1"])
def test_device_that_does_not_answer_has_an_exit_code_of_its_own(command: str) -> None:
    """A script tries again later, but it would report a finding."""
    result = lineside(*command.split())
    assert (result.exit_code, "127.0.0.1:1" in result.output) == (3, True)
