"""`lineside simulate`: valid options, refused options, and the drawn pictures."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, cast

import pytest
import yaml
from click.testing import CliRunner
from processes import Lineside
from simulated import configure

from gateway.cli import main
from gateway.settings.load import load_factory
from gateway.settings.templates import bundled_config
from simulators.faults.injector import Injector
from simulators.machines.plant import Plant
from simulators.opcua.security import Credentials
from simulators.plot import one_cycle, panels_of
from simulators.relocation import relocated_configuration, trust_options
from simulators.servers import Servers

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.opcua.settings import OpcUaConnection

METER = {"protocol": "modbus", "points": {"power": {"address": "holding 0", "unit": "kW", "range": [0, 50]}}}


def factory(folder: Path, machines: dict[str, dict[str, str]]) -> Path:
    return configure(folder, {"meter": METER}, machines)


async def test_it_serves_until_it_is_stopped(tmp_path: Path):
    """systemd sends SIGTERM."""
    config = factory(tmp_path, {"m1": {"template": "meter", "connection": "modbus+tcp://10.0.0.1"}})
    moved = tmp_path / "moved.yaml"
    process = await Lineside.simulate(config, moved)
    port = load_factory(moved).machines[0].connection.port  # type: ignore[attr-defined]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await process.stop() == 0
    writer.close()


def test_the_written_configuration_resolves_ranges(tmp_path: Path):
    """The written file has an entry and a connection for each machine."""
    machines = {"m-{1..3}": {"template": "meter", "connection": "modbus+tcp://10.0.0.1?unit={n}&backup=10.0.0.2"}}
    config = factory(tmp_path, machines)
    loaded = load_factory(config)
    servers = Servers(loaded, Plant(loaded, "1"), free_ports=True, faulty=False, history=0)

    async def start() -> str:
        await servers.start(tmp_path / "moved.yaml")
        try:
            return relocated_configuration(loaded, servers)
        finally:
            await servers.stop()

    written = yaml.safe_load(asyncio.run(start()))
    there = written["lines"]["line"]["machines"]
    assert list(there) == ["m-1", "m-2", "m-3"]
    assert len({one["connection"].partition("?")[0] for one in there.values()}) == 1, "one device, three units"
    assert all("backup" not in one["connection"] for one in there.values()), "nobody serves there"


def test_without_a_folder_there_is_nothing_to_trust(tmp_path: Path):
    """No credentials are made for the configured ports: a client there has those of the factory's gateway."""
    meter = {"protocol": "opcua", "points": {"power": {"node": "/Power", "type": "float"}}}
    connection = "opc.tcp://10.0.0.1?security=none&username=edge"
    loaded = load_factory(
        configure(
            tmp_path,
            {"opcua-meter": meter},
            {"m1": {"template": "opcua-meter", "connection": {"url": connection, "password": {"secret": "opc"}}}},
        )
    )
    opcua = cast("OpcUaConnection", loaded.machines[0].connection)
    servers = Servers(loaded, Plant(loaded, "1"), free_ports=False, faulty=False, history=0)
    servers.credentials = Credentials([opcua], None)
    assert trust_options(opcua, servers) == {}
    servers.credentials = Credentials([opcua], tmp_path / "pki")
    assert set(trust_options(opcua, servers)) == {"pki", "password"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ports", "auto"], "--ports auto needs --write"),
        (["--write", "x.yaml"], "--write needs --ports auto"),
        (["--write", "x.yaml", "--ports", "configured"], "--write needs --ports auto"),
        (
            ["--fault", "m1:silense"],
            "Invalid value for --fault: 'm1:silense': unknown fault 'silense'; did you mean 'silence'?",
        ),
        (
            ["--fault", "m2:silence"],
            "Invalid value for --fault: 'm2:silence': unknown machine 'm2'; there are: m1",
        ),
        (["--plot", "m1", "x.png", "--fault", "m1.x:stuck"], "--fault: 'm1.x:stuck': m1: unknown point 'x'"),
        (["--random-faults", "10"], "Invalid value for '--random-faults': '10' is not a duration"),
        (["--speed", "0"], "0.1<=x<=1000"),
        (["--plot", "m2", "x.png"], "unknown machine 'm2'; there are: m1"),
    ],
)
def test_an_impossible_request_is_explained(tmp_path: Path, arguments: list[str], message: str):
    """The message is one line, and the exit code is not 0."""
    config = factory(tmp_path, {"m1": {"template": "meter", "connection": "modbus+tcp://10.0.0.1"}})
    result = CliRunner().invoke(main, ["simulate", str(config), *arguments])
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output


def test_without_the_modbus_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The machines are an extra, which an edge box does not have."""
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    config = factory(tmp_path, {"m1": {"template": "meter", "connection": "modbus+tcp://10.0.0.1"}})
    result = CliRunner().invoke(main, ["simulate", str(config)])
    assert result.exit_code == 1
    assert "the extra simulators; install it with:" in result.output


def test_pictures_without_matplotlib_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    config = factory(tmp_path, {"m1": {"template": "meter", "connection": "modbus+tcp://10.0.0.1"}})
    result = CliRunner().invoke(main, ["simulate", str(config), "--plot", "m1", os.devnull])
    assert result.exit_code == 1
    assert "the extra plot; install it with:" in result.output


def test_a_picture_is_drawn(tmp_path: Path):
    """The command draws a bundled plant, as in the documentation; a blank picture would be smaller."""
    picture = tmp_path / "x.png"
    config = bundled_config() / "tire-plant.yaml"
    result = CliRunner().invoke(main, ["simulate", str(config), "--plot", "press-01", str(picture)])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size > 10_000


def test_a_picture_shows_one_whole_cycle():
    """It shows all phases, and the values that change: pressures by their size, temperatures together."""
    plant = Plant(load_factory(bundled_config() / "tire-plant.yaml"), "1")
    press = next(shown for configured, shown in plant.machines if configured.path.machine == "press-01")
    times, phases, values = one_cycle(plant, press, Injector([]))
    assert phases[0] == 1
    assert set(phases) >= {1, 2, 3, 4, 5, 6}
    assert times[-1] == pytest.approx(1.08 * 780, rel=0.01)
    together = [{point.name for point in points} for _, points in panels_of(press, values)]
    bladders = {"bladder_pressure_left", "bladder_pressure_right"}
    assert {*bladders, "steam_supply_pressure", "nitrogen_supply_pressure"} in together
    assert {"hydraulic_pressure"} in together
    assert max(values["bladder_pressure_left"]) == pytest.approx(22.0, abs=0.5)
