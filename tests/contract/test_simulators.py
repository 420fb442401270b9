"""Every point of any configuration is served, over every protocol, and read by the drivers as the truth has it."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from processes import free_port
from simulated import PATIENCE, configure, read_all, simulated

from drivers.base import Quality
from gateway.cli import main
from gateway.settings.load import load_factory
from simulators.app import Simulation
from simulators.servers import CannotServe
from simulators.truth import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from simulated import Readings

METER = {
    "protocol": "modbus",
    "points": {
        "power": {"address": "holding 0", "raw": "float32", "unit": "kW", "range": [0, 50]},
        "temperature": {"address": "input 3", "raw": "int16", "scale": 0.1, "unit": "Cel", "range": [-20, 80]},
        "count": {"address": "holding 10", "raw": "uint32"},
        "running": {"address": "coil 2"},
        "door": {"address": "discrete 0"},
        "mode": {"address": "holding 20", "labels": {0: "off", 1: "on", 7: "fault"}},
        "serial": {"address": "holding 30", "raw": "string", "length": 8},
        "bits": {"address": "holding 40", "raw": "uint16", "bits": "4..9"},
    },
}

DRUM = {
    "protocol": "opcua",
    "points": {
        "speed": {"node": "s=Drum.Speed", "type": "float", "unit": "r/min", "range": [0, 60]},
        "polled": {"node": "nsu=urn:else;i=17", "type": "int", "mode": "poll"},
        "running": {"node": "s=Drum.Running", "type": "bool"},
        "part": {"node": "s=Part", "type": "string"},
        "zone": {"node": "s=Zones", "type": "float", "count": 3, "range": [20, 90]},
        "torque": {"node": "s=Axis", "type": "float", "field": "Torque.Value", "range": [0, 9]},
        "on": {"node": "s=Axis", "type": "bool", "field": "On"},
    },
}


def all_good(readings: Readings) -> dict[str, Any]:
    """Return the readings that are not good."""
    return {
        f"{machine}.{point}": reading
        for machine, points in readings.items()
        for point, reading in points.items()
        if reading.fault is not None and reading.fault.quality is not Quality.GOOD
    }


def untrue(truth: Truth, readings: Readings) -> list[str]:
    """Return the readings that no machine has shown at their time."""
    return [
        f"{machine}.{point} is {reading.value!r}"
        for machine, points in readings.items()
        for point, reading in points.items()
        if reading.value is None or not truth.agrees(f"area/line/{machine}", point, reading.value, reading.time)
    ]


@pytest.mark.parametrize(
    "url",
    [
        "modbus+tcp://10.0.0.1:502",
        "modbus+rtutcp://10.0.0.1:4001",
        "modbus+udp://10.0.0.1",
        "modbus+tls://10.0.0.1",
        "modbus+rtu:///dev/ttyUSB7?baud=115200",
        "modbus+ascii:///dev/ttyUSB7",
        "modbus+listen://0.0.0.0:5502",
        "modbus+listen://0.0.0.0:5502?registration=DTU-0086&peer=10.20.0.0/16",
        "modbus+listen://0.0.0.0:5502?framing=rtu&registration=0xA55A01",
        "modbus+listen://0.0.0.0:5502?by_unit=true",
    ],
)
async def test_a_modbus_device_is_served_over_every_transport(tmp_path: Path, url: str):
    """Three units behind one address, as behind a gateway or on a line."""
    machines = {f"m{unit}": {"template": "meter", "connection": {"url": url, "unit": unit}} for unit in (1, 2, 9)}
    config, truth = configure(tmp_path, {"meter": METER}, machines), tmp_path / "truth.jsonl"
    async with simulated(tmp_path, config, truth=truth) as factory:
        readings = await read_all(factory)
    assert all_good(readings) == {}
    assert untrue(Truth(truth), readings) == []
    assert readings["m1"]["power"].value != readings["m2"]["power"].value, "two machines are never in step"


async def test_an_opcua_server_has_every_kind_of_node(tmp_path: Path):
    """Node ids of any namespace, arrays and structures; and two machines behind one server."""
    machines = {
        f"d{i}": {"template": "drum", "connection": f"opc.tcp://10.0.0.{i}:4840?security=none&namespace=urn:d{i}"}
        for i in (1, 2)
    }
    config, truth = configure(tmp_path, {"drum": DRUM}, machines), tmp_path / "truth.jsonl"
    async with simulated(tmp_path, config, truth=truth) as factory:
        readings = await read_all(factory)
    assert all_good(readings) == {}
    assert untrue(Truth(truth), readings) == []


async def test_a_template_of_ones_own_may_have_a_bundled_name(tmp_path: Path):
    """Its points need not be those of the model; those that the model does not have are plausible all the same."""
    own = {
        "protocol": "modbus",
        "points": {
            "bladder_pressure": {"address": "holding 0", "raw": "float32", "unit": "[psi]", "range": [500, 600]},
            "phase": {"address": "holding 2", "raw": "string", "length": 4},
            "vibration": {"address": "holding 6", "raw": "float32", "range": [0, 3]},
            "state": {"address": "holding 8"},
        },
    }
    machines = {"press-01": {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1"}}
    async with simulated(tmp_path, configure(tmp_path, {"curing-press": own}, machines)) as factory:
        assert all_good(await read_all(factory)) == {}


async def test_machines_behind_one_unit_share_its_registers(tmp_path: Path):
    """One controller, two machines: each has its own registers of the same unit."""
    other = {"protocol": "modbus", "points": {"level": {"address": "holding 100", "unit": "%", "range": [0, 100]}}}
    machines = {
        "m1": {"template": "meter", "connection": "modbus+tcp://10.0.0.1?unit=1"},
        "m2": {"template": "tank", "connection": "modbus+tcp://10.0.0.1?unit=1"},
    }
    async with simulated(tmp_path, configure(tmp_path, {"meter": METER, "tank": other}, machines)) as factory:
        assert all_good(await read_all(factory)) == {}


async def test_a_serial_line_is_made_where_it_is_configured(tmp_path: Path):
    """As `socat` would make one: the gateway's configuration need not change."""
    machines = {"m1": {"template": "meter", "connection": f"modbus+rtu://{tmp_path}/line"}}
    config = configure(tmp_path, {"meter": METER}, machines)
    async with simulated(tmp_path, config, free_ports=False) as factory:
        assert all_good(await read_all(factory)) == {}
    assert not (tmp_path / "line").is_symlink()


async def test_a_port_that_is_in_use_is_reported_with_file_and_line(tmp_path: Path):
    """A factory has hundreds of addresses."""
    url = f"modbus+tcp://127.0.0.1:{free_port()}"
    config = configure(tmp_path, {"meter": METER}, {"m1": {"template": "meter", "connection": url}})
    (tmp_path / "second").mkdir()
    async with simulated(tmp_path, config, free_ports=False):
        with pytest.raises(OSError, match=r"factory\.yaml:\d+: lines\.line\.machines\.m1\.connection: port \d+ of"):
            async with simulated(tmp_path / "second", config, free_ports=False):
                pass


async def test_an_opcua_port_that_is_in_use_is_reported_in_the_same_words(tmp_path: Path):
    """Its server listens in a thread of its own, after a while; the simulation ends all the same."""
    port = free_port()
    url = f"opc.tcp://127.0.0.1:{port}?security=none&namespace=urn:d1"
    config = configure(tmp_path, {"drum": DRUM}, {"d1": {"template": "drum", "connection": url}})
    simulation = Simulation(load_factory(config), "1")
    where = r"factory\.yaml:\d+: lines\.line\.machines\.d1\.connection"
    in_use = rf"{where}: port {port} of 127\.0\.0\.1 is in use; --ports auto finds free ports"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match=in_use):
        async with asyncio.timeout(PATIENCE):
            await simulation.run(asyncio.Event())


async def test_registers_that_overlap_are_reported_with_file_and_line(tmp_path: Path):
    """A device can't hold two values in one register, so one of the two points is wrong."""
    points = {"a": {"address": "holding 0", "raw": "float32"}, "b": {"address": "holding 1"}}
    machines = {"m1": {"template": "bad", "connection": "modbus+tcp://10.0.0.1"}}
    config = configure(tmp_path, {"bad": {"protocol": "modbus", "points": points}}, machines)
    with pytest.raises(CannotServe) as caught:
        async with simulated(tmp_path, config):
            pass
    lines = (tmp_path / "machines/bad.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.strip() == "b:")
    assert str(caught.value) == (
        f"{tmp_path}/machines/bad.yaml:{line}: points.b: overlaps registers of a; give each point its own"
    )


@pytest.mark.parametrize(
    ("point", "key"),
    [
        ({"address": "holding 65535", "raw": "float32"}, "65535"),
        ({"address": "holding 0", "raw": "string", "length": 200}, "length"),
        ({"address": "holding 0", "raw": "uint16", "bit": 16}, "bit"),
        ({"address": "coil 0", "raw": "float32"}, "raw"),
    ],
)
def test_a_type_without_room_is_reported_with_file_and_line(tmp_path: Path, point: dict[str, Any], key: str):
    """Before anything is served: the configuration says so itself."""
    machines = {"m1": {"template": "bad", "connection": "modbus+tcp://10.0.0.1"}}
    config = configure(tmp_path, {"bad": {"protocol": "modbus", "points": {"a": point}}}, machines)
    result = CliRunner().invoke(main, ["simulate", str(config)])
    assert result.exit_code == 1
    assert re.search(rf"bad\.yaml:\d+:\d+: points\.a.*{key}", result.output), result.output
    assert "Traceback" not in result.output


async def test_tls_without_free_ports_is_refused(tmp_path: Path):
    """Nobody would trust the simulator's certificate."""
    machines = {"m1": {"template": "meter", "connection": "modbus+tls://127.0.0.1"}}
    config = configure(tmp_path, {"meter": METER}, machines)
    with pytest.raises(CannotServe, match="use --ports auto, which creates one"):
        async with simulated(tmp_path, config, free_ports=False):
            pass


NAMEPLATE = {
    "protocol": "modbus",
    "points": {
        "level": {"address": "holding 0", "raw": "int16", "scale_register": "holding 1", "range": [0, 100]},
        "power": {
            "address": "holding 2", "raw": "int16", "scale_register": {"address": "input 90", "kind": "divisor"},
            "range": [-50, 50],
        },
        "setting": {"address": "file 4 record 7", "raw": "float32", "unit": "Cel", "range": [0, 90]},
        "far_setting": {"address": "file 9 record 9000", "raw": "uint32"},
        "queued": {"address": "fifo 1246", "raw": "int16"},
        "queued_later": {"address": "fifo 1246 item 29", "raw": "uint32"},
        "id_number": {"address": "server_id", "raw": "uint8"},
        "running": {"address": "server_id 1", "raw": "bool"},
        "id_text": {"address": "server_id 2", "length": 8},
        "vendor": {"address": "identification vendor_name"},
        "model": {"address": "identification model_name"},
        "own_object": {"address": "identification 0x80"},
        "batch": {"address": "holding 10", "raw": "string", "length": 8, "length_prefix": "s7"},
        "started": {"address": "holding 20", "raw": "datetime", "bcd": True, "zone": "Asia/Shanghai",
                    "layout": ["year/month", "day/hour", "minute/second"]},
        "stopped": {"address": "holding 30", "raw": "s7_date_and_time", "zone": "America/New_York"},
        "energy": {"address": "holding 40", "raw": "mod10k48", "unit": "kW.h"},
        "wide": {"address": "holding 43", "raw": "int48"},
        "narrow": {"address": "holding 46", "raw": "uint24"},
        "digits": {"address": "holding 48", "raw": "bcd64"},
        "signed": {"address": "holding 52", "raw": "int16", "bits": "4..7"},
        "high_bit": {"address": "holding 53", "raw": "uint32", "bit": 17, "invert": True},
        "guard": {"address": "coil 3", "type": "string", "labels": {0: "closed", 1: "open"}, "invert": True},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "url", ["modbus+tcp://10.0.0.1:502", "modbus+rtutcp://10.0.0.1:4001", "modbus+ascii:///dev/tty"]
)
async def test_scaled_registers_calendar_times_and_function_data_are_served(tmp_path: Path, url: str):
    """Files, queues and names have functions of their own, whose lengths are in their data."""
    machines = {"m1": {"template": "nameplate", "connection": {"url": url, "unit": 1}}}
    config, truth = configure(tmp_path, {"nameplate": NAMEPLATE}, machines), tmp_path / "truth.jsonl"
    async with simulated(tmp_path, config, truth=truth) as factory:
        readings = await read_all(factory)
    assert all_good(readings) == {}
    assert untrue(Truth(truth), readings) == []
