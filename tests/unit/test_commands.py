"""The command line as a whole: which commands there are, what each loads, and how each fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from gateway.cli import COMMANDS, main
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_is_there_under_its_name(name: str) -> None:
    """The table says where a command is; its first user would notice a mistake there."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.name, bool(command.help), command.hidden) == (name, True, not COMMANDS[name].help)


def test_unknown_command_is_a_usage_error() -> None:
    """A script distinguishes a mistake in its call from a wrong configuration."""
    result = CliRunner().invoke(main, ["validat"])
    assert (result.exit_code, "No such command 'validat'" in result.output) == (2, True)


PLANT = str(bundled_config() / "tire-plant.yaml")


def lineside(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", PLANT, "--report"),
        ("ingest", PLANT, "--report"),
        ("demo", "--for", "1s", "--report"),
        ("check", PLANT, "--simulated", "--junit"),
        ("simulate", PLANT, "--ports", "auto", "--write"),
        ("simulate", PLANT, "--truth"),
        ("browse", "opc.tcp://127.0.0.1:1?security=none", "--template"),
        ("probe", "modbus+tcp://127.0.0.1:1", "--template"),
        ("export-points", PLANT, "--out"),
    ],
    ids=" ".join,
)
def test_file_that_can_not_be_written_is_found_before_the_work(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A report that is lost at the end of a shift helps nobody."""
    missing = lineside(*arguments, str(tmp_path / "none" / "file"))
    assert (missing.exit_code, f"the folder {tmp_path / 'none'} does not exist" in missing.output) == (2, True)
    folder = lineside(*arguments, str(tmp_path))
    assert (folder.exit_code, "is a directory" in folder.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", ["validate", "show", "plan", "check", "run", "ingest", "simulate", "reload", "ledger", "export-points"]
)
@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 1, "No such file or directory"),
        (b"", 1, "is empty"),
        (b"\x00\x01", 1, "is not YAML: control character (U+0000); remove it"),
        (b"\xff\xfe", 1, "is UTF-16 text; save it as UTF-8"),
        (b"a: " + b"9" * 5000, 1, "the number has 5,000 characters; the limit is 100"),
        (b"a: " + b"[" * 5000, 1, "is nested deeper than 64 levels"),
    ],
)
def test_each_command_reports_a_damaged_configuration_with_its_place(
    command: str, content: bytes | None, code: int, message: str, tmp_path: Path
) -> None:
    """No content of a file makes a command end in a stack trace, or start to work."""
    file = tmp_path / "factory.yaml"
    if content is not None:
        file.write_bytes(content)
    result = lineside(command, str(file))
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert f"{file}:1:" in result.output


def test_folder_in_place_of_a_configuration_is_a_usage_error(tmp_path: Path) -> None:
    """It is a mistake in the call, and not in the configuration."""
    for command in ("validate", "run", "check", "plan"):
        result = lineside(command, str(tmp_path))
        assert (result.exit_code, "is a directory" in result.output) == (2, True)


def test_missing_secret_is_named_in_a_line_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person who starts the command puts it there; a stack trace would not say where."""
    monkeypatch.delenv("LINESIDE_SECRET_NOWHERE", raising=False)
    options = ("--option", "username=a", "--option", "password=nowhere")
    result = lineside("browse", "opc.tcp://127.0.0.1:1?security=none", *options)
    assert (result.exit_code, "secret 'nowhere' is missing: put it into" in result.output) == (1, True), result.output


@pytest.mark.parametrize("command", ["browse opc.tcp://127.0.0.1:1?security=none", "probe modbus+tcp://127.0.0.1:1"])
def test_device_that_does_not_answer_has_an_exit_code_of_its_own(command: str) -> None:
    """A script tries again later, but it would report a finding."""
    result = lineside(*command.split())
    assert (result.exit_code, "127.0.0.1:1" in result.output) == (3, True)
