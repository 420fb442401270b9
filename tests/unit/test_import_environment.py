"""Variables of the environment in files of other programs stay variables, or get the values of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.importers.environment import read_values, substituted, unset, with_assumed

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
# the port is in $PORT
[agent]
  interval = "${INTERVAL:-2s}"
[[inputs.modbus]]
  name = "meter"
  slave_id = ${UNIT:-7}
  controller = "tcp://$PLC:${PORT:-1502}"
  holding_registers = [ { name = "p", data_type = "INT16", byte_order = "AB", address = [1] } ]
"""


def imported(folder: Path, text: str, *options: str, name: str = "telegraf.conf") -> Result:
    (folder / name).write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["import", str(folder / name), "--out", str(folder / "out"), *options])


def test_variables_of_an_address_stay_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file serves many edge boxes. A default is filled in where its value is needed to read the file."""
    monkeypatch.delenv("PLC", raising=False)
    ran = imported(tmp_path, CONFIG)
    assert ran.exit_code == 0, ran.output
    factory = (tmp_path / "out" / "factory.yaml").read_text()
    assert "{url: 'modbus+tcp://${PLC}:${PORT:-1502}', unit: 7}" in factory
    assert "every: 2s" in (tmp_path / "out" / "machines" / "meter.yaml").read_text()
    assert "set PLC, then lineside validate" in ran.stdout
    assert "meter: the environment variable PLC stays a variable; set it for the gateway" in ran.stderr
    assert "meter: the environment variable PORT stays a variable; its default is used" in ran.stderr


def test_a_file_of_values_fills_variables_in(tmp_path: Path) -> None:
    """As Telegraf would start with them; an empty value counts as none for a default."""
    (tmp_path / "env").write_text("# edge 7\nexport PLC='10.0.0.7'\nUNIT=9\nPORT=\nINTERVAL=500ms\n")
    ran = imported(tmp_path, CONFIG, "--env-file", str(tmp_path / "env"))
    assert ran.exit_code == 0, ran.output
    assert "{url: 'modbus+tcp://10.0.0.7:1502', unit: 9}" in (tmp_path / "out" / "factory.yaml").read_text()
    assert "every: 0.5s" in (tmp_path / "out" / "machines" / "meter.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[inputs.modbus]]\nslave_id = $UNIT\n", "line 2: ${UNIT} is not in quotes; say --env-file with its value"),
        ("[[inputs.modbus]]\nslave_id = ${UNIT:?no}\n", "line 2: ${UNIT} is not in quotes"),
        (
            '[agent]\ninterval = "$EVERY"\n[[inputs.modbus]]\ncontroller = "tcp://h:1"\n',
            "say --env-file with its value",
        ),
    ],
)
def test_a_value_that_is_needed_is_asked_for(tmp_path: Path, text: str, message: str) -> None:
    """The error names the option."""
    ran = imported(tmp_path, text)
    assert (ran.exit_code, message in ran.stderr) == (1, True), ran.stderr


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"A=1\nB\n", "env:2: is not a line NAME=value"), (b"\xff\xfe\x00", "env: is not UTF-8"),
     (b"A=" + b"x" * 2**21, "env: is larger than 1 MiB")],
)  # fmt: skip
def test_a_wrong_file_of_values_is_an_error_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "env").write_bytes(data)
    ran = imported(tmp_path, CONFIG, "--env-file", str(tmp_path / "env"))
    assert (ran.exit_code, message in ran.stderr) == (1, True), ran.stderr


def test_a_value_does_not_end_its_quotes(tmp_path: Path) -> None:
    """A value is text: it adds no line and no key to the file."""
    (tmp_path / "env").write_text('PLC=h" # \\\n')
    values = read_values(tmp_path / "env")
    assert substituted('a = "$PLC" # $PLC', values) == 'a = "h\\" # \\\\" # h\\" # \\\\'
    with pytest.raises(ValueError, match="control character"):
        substituted('a = "$PLC"', {"PLC": "a\nb"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a = '$A'", "a = '${A}'"), ('a = "x\\"$A"', 'a = "x\\"${A}"'), ("a = ${A:-1} # $B", "a = 1 # ${B}"),
        ('a = "$$A"', 'a = "$$A"'), ('a = "${A-b}${C:+d}"', 'a = "${A:-b}${C}"'),
        ('a = "$1 ${1} $"', 'a = "$1 ${1} $"'),
        ("# ${A}", "# ${A}"),
    ],
)  # fmt: skip
def test_variables_get_the_form_that_they_have_here(line: str, expected: str) -> None:
    """All forms of the shell that Telegraf knows; others are text."""
    assert substituted(line, None) == expected


def test_addresses_are_checked_with_a_value_in_place_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of an address is checked at once."""
    monkeypatch.setenv("SET", "1")
    data = {"url": "modbus+tcp://${A}:${B:-502}", "list": ["${SET}"]}
    assert with_assumed(data) == {"url": "modbus+tcp://host:502", "list": ["1"]}
    assert unset(data) == ["A"]


def test_secrets_of_home_assistant_become_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file of secrets is not read."""
    monkeypatch.delenv("PLC_HOST", raising=False)
    text = """
modbus:
  - name: hub
    type: tcp
    host: !secret plc_host
    sensors: [{name: a, address: 1, slave: !secret unit}]
    message_wait_milliseconds: !secret wait
    lights: !include x.yaml
"""
    ran = imported(tmp_path, text, name="configuration.yaml")
    assert ran.exit_code == 0, ran.output
    assert "modbus+tcp://${PLC_HOST}:502" in (tmp_path / "out" / "factory.yaml").read_text()
    assert "!secret plc_host: is not read; set the environment variable PLC_HOST" in ran.stderr
    assert "!secret wait: is not read, its key is left out; say --env-file secrets.yaml" in ran.stderr
    assert "unit: '${UNIT}'" in (tmp_path / "out" / "factory.yaml").read_text()
    (tmp_path / "secrets.yaml").write_text("plc_host: 10.0.0.9\nwait: 30\nunit: 7\n")
    ran = imported(tmp_path, text, "--force", "--env-file", str(tmp_path / "secrets.yaml"), name="configuration.yaml")
    assert "modbus+tcp://10.0.0.9:502', pause: 30ms, unit: 7" in (tmp_path / "out" / "factory.yaml").read_text()
    assert "!secret" not in ran.stderr
    assert "!include x.yaml: is not read; import that file, too, with --connection" in ran.stderr
