"""`lineside plan`, and its estimate of the cost of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from processes import write_factory

from drivers.base import Group, PointMetadata
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.cost import cost_of
from drivers.modbus.source import ModbusSource
from gateway.acquisition.device_metadata import DeviceMetadata
from gateway.acquisition.groups import groups_of
from gateway.cli import main
from gateway.mqtt.topics import Topics
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def cost(url: str, registers: int, **options: object) -> tuple[int, int, float]:
    scheme, _, rest = url.partition("://")
    connection = ModbusConnection.from_url(f"{scheme}://{rest}", dict(options))
    sources = tuple(ModbusSource(address=Address(Table.HOLDING, i)) for i in range(registers))
    costs = cost_of(Group("m", connection, tuple(map(str, range(registers))), sources, 1.0))
    return costs.requests, costs.bytes, costs.seconds


def test_a_request_on_a_serial_line_takes_its_characters_at_the_baud_rate():
    """10 registers: 8 bytes out, 25 back, 3.5 characters of silence twice, at 11 bits each, and the turnaround."""
    requests, bytes_, seconds = cost("modbus+rtu:///dev/ttyS0", 10, baud=9600)
    assert (requests, bytes_) == (1, 33)
    assert seconds == pytest.approx((33 + 7) * 11 / 9600 + 0.005)


def test_requests_in_flight_together_share_their_round_trips():
    """Pipelining saves their time."""
    one = cost("modbus+tcp://h:502", 1000)
    four = cost("modbus+tcp://h:502", 1000, in_flight=4)
    assert one[:2] == four[:2] == (8, 8 * (12 + 9) + 2000)
    assert one[2] == pytest.approx(4 * four[2])


def test_a_serial_line_behind_a_gateway_is_counted():
    """Four units at 9600 baud can't be read every second, whatever the network in front of the line does."""
    line = cost("modbus+rtu:///dev/ttyS0", 100, baud=9600)[2]
    for scheme in ("modbus+rtutcp", "modbus+tcp", "modbus+tls", "modbus+udp"):
        assert cost(f"{scheme}://h:502", 100, baud=9600)[2] == pytest.approx(line + 0.002)
    assert cost("modbus+tcp://h:502", 100, baud=9600, in_flight=4)[2] == pytest.approx(line + 0.002)
    assert cost("modbus+tcp://h:502", 100)[2] < line / 10
    assert cost("modbus+rtutcp://h:502", 100)[2] == pytest.approx(cost("modbus+rtu:///dev/ttyS0", 100)[2] + 0.002)


def factory(folder: Path, connection: str, every: str = "1s", template: str = "big") -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    points = "\n".join(f"  p{i:03d}: {{address: holding {i}}}" for i in range(500))
    text = f"format: 1\nprotocol: modbus\ndefaults: {{every: {every}}}\npoints:\n{points}\n"
    (folder / "machines" / "big.yaml").write_text(text)
    machines = {"m-01": {"template": template, "connection": connection}}
    broker = {"url": "mqtt://localhost:1883"}
    return write_factory(folder / "f.yaml", broker=broker, lines={"line": {"area": "a", "machines": machines}})


def test_the_plan_shows_requests_load_and_every_request(tmp_path: Path):
    """A person sees the requests before the gateway sends them."""
    file = factory(tmp_path, "modbus+tcp://h:502")
    result = CliRunner().invoke(main, ["plan", str(file), "--requests"])
    assert result.exit_code == 0, result.output
    assert "500 points every 1 s: 4 requests, 1084 bytes, 20 ms expected" in result.output
    assert "holding 125..249: 125 registers for 125 points" in result.output
    assert "load 2%" in result.output


@pytest.mark.slow
async def test_the_plan_shows_what_a_device_granted_in_the_last_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The plan explains a flat line before anybody looks at the log."""
    monkeypatch.chdir(tmp_path)
    file = factory(tmp_path, "modbus+tcp://h:502")
    known = load_factory(file)
    [machine] = known.machines
    [(group, _)] = groups_of(machine)
    folder = known.gateway.spool.folder
    folder.mkdir(parents=True)
    metadata = DeviceMetadata(known.machines, Topics("root"), folder, known.gateway.id)
    await metadata.begin()
    slow, plain = PointMetadata(revised={"sampling": 0.5, "queue": 1.0}), PointMetadata(unit="bar")
    metadata.learn(group, [slow] * 22 + [plain] * (len(group.names) - 22))
    await metadata.prepare(known.machines)
    result = CliRunner().invoke(main, ["plan", str(file)])
    granted = ", ".join(f"p{i:03d}" for i in range(20))
    assert f"the device grants only sampling 0.5 s, queue 1: {granted} and 2 more" in result.output
    (folder / f"{known.gateway.id}.told.json").write_text("[damaged")
    assert "grants only" not in CliRunner().invoke(main, ["plan", str(file)]).output


def test_a_period_that_can_not_be_kept_fails_with_a_message(tmp_path: Path):
    """500 registers ten times a second do not go over 9,600 baud."""
    file = factory(tmp_path, "modbus+rtu:///dev/ttyS0?baud=9600", every="100ms")
    result = CliRunner().invoke(main, ["plan", str(file)])
    assert result.exit_code == 1
    assert "the periods can't be kept" in result.output


def test_the_bundled_plants_can_hold_their_periods():
    """They are examples."""
    from gateway.settings.templates import bundled_config

    for file in bundled_config().glob("*.yaml"):
        assert CliRunner().invoke(main, ["plan", str(file)]).exit_code == 0


def test_a_point_that_a_device_can_not_give_is_an_error_of_the_configuration(tmp_path: Path):
    """The check of the file reports it, before the line runs."""
    file = factory(tmp_path, "modbus+tcp://h:502?forbidden=holding 10..12&max_registers=1")
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    assert [problem.message for problem in caught.value.problems] == [
        f"point p{number:03d}: holding {number} is in a range that the connection forbids to read"
        for number in (10, 11, 12)
    ]
