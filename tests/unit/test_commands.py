"""The command line as a whole: which commands there are, what each loads, and how each fails."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from gateway.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_is_there_under_its_name(name: str) -> None:
    """The table says where a command is; a slip there would be noticed by its first user."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.name, bool(command.help), command.hidden) == (name, True, not COMMANDS[name].help)


def test_list_of_commands_loads_no_command() -> None:
    """Help comes at once, on an edge box, too."""
    code = "from gateway.cli import main; import sys\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "export-points" in ran.stdout
    assert loaded & {"pydantic", "yaml", "structlog", "drivers", "gateway.settings", "gateway.cli.common"} == set()


def test_unknown_command_is_a_usage_error() -> None:
    """A script tells a slip in its own call from a configuration that is wrong."""
    result = CliRunner().invoke(main, ["validat"])
    assert (result.exit_code, "No such command 'validat'" in result.output) == (2, True)
