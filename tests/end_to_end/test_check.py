"""`lineside check` against machines that are wrong in every way: its output, and that it only reads."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
import yaml
from fakes.modbus_server import FakeModbusServer
from processes import free_port, lineside, until, write_factory
from simulated import configure, simulated

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Ran

    from gateway.settings.factory import Factory

PRESS = """\
format: 1
protocol: modbus
defaults: {every: 500ms}
points:
  pressure: {address: holding 2, scale: 0.01, unit: bar, range: [0, 30]}
  temperature: {address: holding 4, raw: float32, unit: Cel, range: [0, 250]}
  force: {address: holding 8, raw: float32, unit: kN, range: [0, 2500]}
  cycles: {address: input 4, raw: uint32}
  state: {address: input 0, labels: {2: stopped, 4: idle, 6: execute}}
  order: {address: input 20, raw: string, length: 8}
"""

DRUM = """\
format: 1
protocol: opcua
points:
  speed: {node: s=Drum.Speed, type: float, unit: r/min, range: [0, 100]}
  vibration: {node: s=Drum.Vibration, type: float, unit: mm/s, range: [0, 5]}
  tension: {node: s=Ply.Tension, type: float, unit: N, range: [0, 300], mode: poll}
"""

BEHIND_ONE = "modbus+tcp://10.20.1.11:502?timeout=0.5&unit="


async def check(config: Path, *options: str, columns: int = 160) -> Ran:
    return await lineside("check", str(config), *options, environment=os.environ | {"COLUMNS": str(columns)})


def plant(folder: Path) -> Path:
    """Write a plant of four presses behind one gateway, one by itself, one that is away, and a drum."""
    machines = {f"press-0{n}": {"template": "press", "connection": f"{BEHIND_ONE}{n}"} for n in range(1, 5)}
    machines["press-05"] = {"template": "press", "connection": "modbus+tcp://10.20.1.12:502?timeout=0.5"}
    machines["press-06"] = {"template": "press", "connection": "modbus+tcp://10.20.1.13:502?timeout=0.5"}
    url = "opc.tcp://10.20.2.21:4840?security=none&namespace=urn:test:drum"
    machines["drum"] = {"template": "drum", "connection": url}
    return configure(folder, {"press": PRESS, "drum": DRUM}, machines)


FAULTS = (
    "press-02:silence@0s",
    "press-03.temperature:sensor_break@0s",
    "press-03.force:illegal_register@0s",
    "press-04.temperature:stuck@0s",  # swapped words of a value that moves are plausible by chance, now and then
    "press-04.force:stuck@0s",
    "press-05:silence@0s",
    "press-06:refused@0s",
)


def read_wrongly(file: Path) -> Path:
    """Write a configuration whose fourth press has its words in another order than the machine."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    wrong = {"temperature": {"order": "CDAB"}, "force": {"order": "BADC"}, "cycles": {"order": "CDAB"}}
    data["lines"]["line"]["machines"]["press-04"]["points"] = wrong
    other = file.with_name("wrong.yaml")
    other.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return other


async def served(factory: Factory) -> None:
    """Wait until the OPC UA server listens: it loads for seconds."""
    [url] = {urlsplit(str(one.connection)) for one in factory.machines if one.path.machine == "drum"}

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex((str(url.hostname), int(url.port or 0))) == 0

    await until(listens, "the OPC UA server listens", 60)


async def test_a_check_names_each_fault_and_its_remedy(tmp_path: Path):
    """Every machine and point with its own fault, and the machine that is right in a single line."""
    control = tmp_path / "control"
    control.touch()
    async with simulated(tmp_path, plant(tmp_path), faults=FAULTS, control=control) as factory:
        await served(factory)
        control.write_text("drum.vibration:sensor_break\n")
        while (await check(factory.file, "--machine", "drum")).code == 0:
            pass  # a check takes a while
        file = read_wrongly(factory.file)
        junit = tmp_path / "check.xml"
        ran, narrow = await asyncio.gather(check(file, "--junit", str(junit)), check(file, columns=60))
        in_json, one = await asyncio.gather(check(file, "--format", "json"), check(file, "--machine", "press-01"))
        checked = json.loads(in_json.text)
    assert (ran.code, ran.error) == (1, "")
    assert (one.code, one.text.splitlines()[0]) == (0, f"{file}: 1 machine, 6 points: 6 good")
    says = by_machine(checked)
    says_of_press(says)
    assert says["drum"]["points"]["vibration"]["code"] == "0x808C0000 BadSensorFailure"
    assert [point["verdict"] for point in says["drum"]["points"].values()] == ["good", "not good", "good"]
    whole = " ".join(ran.text.split())
    assert "3 machines not there" in whole
    assert "press-01" not in whole
    assert re.search(r"temperature \S+ Cel holding 4\.\.5 [0-9A-F]{4} [0-9A-F]{4} (uncertain|bad)", whole)
    assert "write order: ABCD, which gives" in whole
    assert all(len(line) <= 60 for line in narrow.text.splitlines()[1:])
    root = ET.fromstring(junit.read_bytes())  # noqa: S314 - our own
    failed = {(case.attrib["classname"].rpartition(".")[2], case.attrib["name"])
              for case in root.iter("testcase") if case.find("failure") is not None}  # fmt: skip
    assert failed == {
        (machine, name)
        for machine, found in says.items()
        for name, point in found["points"].items()
        if point["verdict"] == "not good"
    }
    assert (int(root.attrib["tests"]), int(root.attrib["failures"])) == (39, len(failed))


def by_machine(checked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        machine["machine"].rpartition("/")[2]: machine
        | {"points": {point["point"]: point for point in machine["points"]}}
        for machine in checked["machines"]
    }


def says_of_press(says: dict[str, dict[str, Any]]) -> None:
    texts = {name: " ".join(finding["text"] for finding in machine["findings"]) for name, machine in says.items()}
    assert says["press-01"]["findings"] == []
    assert says["press-02"]["absent"]
    assert "is its unit id right" in texts["press-02"]
    assert "is its unit id right" in texts["press-05"]
    assert "the port is closed" in texts["press-06"]
    third = says["press-03"]["points"]
    assert (third["temperature"]["value"], third["temperature"]["reason"]) == (None, "not_a_number")
    assert third["temperature"]["raw"] == "7FC0 0000"
    assert (third["force"]["code"], third["force"]["raw"]) == ("exception 2 illegal data address", "")
    assert third["force"]["where"] == "holding 8..9"
    assert third["pressure"]["verdict"] == "good"
    fourth = says["press-04"]["points"]
    for name, (low, high) in {"temperature": (0, 250), "force": (0, 2500), "cycles": (1, 32_768)}.items():
        [swapped] = [finding for finding in fourth[name]["findings"] if finding["kind"] == "swapped"]
        gives = re.search(r"order: ABCD, which gives ([\d.]+)", swapped["text"])
        assert gives, swapped
        assert low <= float(gives[1]) <= high
    assert fourth["pressure"]["verdict"] == "good"


async def test_reading_on_shows_stuck_values_and_how_evenly_a_device_answers(tmp_path: Path):
    """A sensor that is stuck looks right in one reading."""
    config = configure(tmp_path, {"press": PRESS}, {"m": {"template": "press", "connection": f"{BEHIND_ONE}1"}})
    async with simulated(tmp_path, config, faults=("m.temperature:stuck@0s",)) as factory:
        once, longer, strict = await asyncio.gather(
            check(factory.file),
            check(factory.file, "--for", "4s", "--all"),
            check(factory.file, "--for", "4s", "--strict"),
        )
    assert once.code == longer.code == 0
    assert strict.code == 1
    assert "doubtful" not in once.text
    whole = " ".join(longer.text.split())
    assert re.search(r"doubtful temperature .* it was \S+ Cel in all of \d+ readings", whole)
    assert re.search(r"good pressure \S+ bar holding 2 [0-9A-F]{4} good span \S+", whole)
    assert re.search(r"6 points every 0\.5 s: \d+ scans of \d+ to \d+ ms", whole)


async def test_a_check_only_reads(tmp_path: Path):
    """Whatever it finds: it is run beside people."""
    async with FakeModbusServer() as server:
        url = f"modbus+tcp://127.0.0.1:{server.port}?unit=1&writable=true"
        config = configure(tmp_path, {"press": PRESS}, {"m": {"template": "press", "connection": url}})
        ran = await check(config, "--for", "2s")
        asked = list(server.asked)
        assert server.connections == 1
    assert {one.function for one in asked} <= {1, 2, 3, 4}
    assert len(asked) > 4
    assert "1 machine, 6 points" in ran.text


async def test_a_missing_secret_is_reported_and_costs_only_its_machine(tmp_path: Path):
    """The machine can't be reached without it, and the error has to name the secret."""
    port = free_port()
    drum = {"url": f"opc.tcp://127.0.0.1:{port}", "username": "edge", "password": {"secret": "plc_password"}}
    async with FakeModbusServer() as server:
        press = f"modbus+tcp://127.0.0.1:{server.port}"
        machines = {"m": {"template": "press", "connection": press}, "d": {"template": "drum", "connection": drum}}
        config = configure(tmp_path, {"press": PRESS, "drum": DRUM}, machines)
        checked = json.loads((await check(config, "--format", "json", "--timeout", "5s")).text)
    says = by_machine(checked)
    assert says["d"]["absent"]
    assert not says["m"]["absent"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--machine", "nothing*"), "no machine matches 'nothing*'"),
        (("--for", "10"), "write a number and us, ms, s, m, h or d"),
    ],
)
async def test_a_check_that_is_not_possible_is_reported(tmp_path: Path, options: tuple[str, ...], words: str):
    """Before anything is connected."""
    config = configure(tmp_path, {"press": PRESS}, {"m": {"template": "press", "connection": f"{BEHIND_ONE}1"}})
    ran = await check(config, *options)
    assert ran.code != 0
    assert words in ran.error


async def test_a_configuration_that_is_wrong_is_not_checked(tmp_path: Path):
    """Its mistakes are reported with their lines, as `validate` does."""
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://localhost"}, lines={})
    ran = await check(config)
    assert ran.code == 1
    assert "factory.yaml:" in ran.error
