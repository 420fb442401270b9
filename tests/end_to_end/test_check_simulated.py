"""`lineside check --simulated`: any configuration, tried without its machines, broker, stores and secrets."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from processes import lineside, write_factory

from gateway.settings.templates import bundled_config

pytestmark = pytest.mark.timeout(300)

THIRD = Path(__file__).parents[1] / "cases" / "third_factory" / "factory.yaml"


class Ran(NamedTuple):
    """The output of a check, and the files that it left behind."""

    code: int
    text: str
    error: str
    left: list[str]

    @property
    def output(self) -> dict[str, Any]:
        """The output for programs."""
        output: dict[str, Any] = json.loads(self.text)
        return output

    @property
    def points(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Each point, by machine and name."""
        return {
            (machine["machine"].rpartition("/")[2], point["point"]): point
            for machine in self.output["machines"]
            for point in machine["points"]
        }

    def kinds(self) -> Counter[str]:
        """The kinds of the findings, each with an example, for a test that fails."""
        found = [*self.output["findings"], *(one for point in self.points.values() for one in point["findings"])]
        examples = {one["kind"]: one["text"] for one in found}
        return Counter(f"{one['kind']}: {examples[one['kind']]}" for one in found)


async def check(folder: Path, config: Path, *options: str) -> Ran:
    """Run a check in an empty folder, with a temporary folder of its own."""
    here, temporary = folder / "here", folder / "temporary"
    here.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    ours = {key: value for key, value in os.environ.items() if not key.startswith("LINESIDE")}
    environment = ours | {"TMPDIR": str(temporary), "COLUMNS": "150"}
    arguments = ("check", str(config), "--simulated", *options)
    ran = await lineside(*arguments, folder=here, environment=environment, seconds=240)
    left = [str(file) for place in (here, temporary) for file in place.iterdir() if file.suffix != ".xml"]
    return Ran(*ran, left)


@pytest.mark.parametrize(("plant", "machines", "points"), [("tire-plant", 20, 651), ("appliance-plant", 19, 543)])
async def test_the_bundled_plants_are_good(tmp_path: Path, plant: str, machines: int, points: int):
    """Every point of them, stored as it was shown, and nothing left behind."""
    junit = tmp_path / "here" / "check.xml"
    ran = await check(
        tmp_path, bundled_config() / f"{plant}.yaml", "--for", "5s", "--format", "json", "--junit", str(junit)
    )
    assert (ran.code, ran.error, ran.left) == (0, "", []), ran.kinds()
    output = ran.output
    assert (len(output["machines"]), output["points"]) == (machines, {
        "good": points, "not_seen": 0, "doubtful": 0, "wrong": 0,
    })  # fmt: skip
    assert output["balanced"]
    assert output["compared"]
    ledger = output["ledger"]
    assert output["stored"] == ledger["confirmed"] + ledger["pending"] > points
    assert {point["truth"] for point in ran.points.values()} == {"equal"}
    root = ET.fromstring(junit.read_bytes())  # noqa: S314 - our own
    suites = [suite for suite in root if suite.attrib["name"] != "factory"]  # that suite notes a busy machine
    assert (len(suites), sum(int(suite.attrib["tests"]) for suite in suites)) == (machines, points)
    assert int(root.attrib["failures"]) == 0


async def test_a_factory_of_every_type_over_every_transport_is_good(tmp_path: Path):
    """50 machines: TCP, TLS, UDP, RTU over TCP, serial lines, machines that dial in, and OPC UA."""
    ran = await check(tmp_path, THIRD, "--for", "6s", "--format", "json")
    output = ran.output
    assert len(output["machines"]) == 50
    schemes = {machine["connection"].partition(":")[0] for machine in output["machines"]}
    assert schemes == {
        "modbus+tcp", "modbus+tls", "modbus+udp", "modbus+rtutcp", "modbus+rtu", "modbus+ascii", "modbus+listen",
        "opc.tcp",
    }  # fmt: skip
    # a busy computer suspends the gateway for longer than a reading may wait: it says so, and is right
    excused = {"stale", "rate"} if output["schedule"]["missed"] else set()
    wrong = [name for name, point in ran.points.items() if {one["kind"] for one in point["findings"]} - excused]
    assert [name for name in wrong if ran.points[name]["verdict"] == "not good"] == [], ran.kinds()
    doubtful = {name for (_, name), point in ran.points.items() if point["verdict"] == "doubtful"}
    assert doubtful <= {"alarms"}, "events are of real machines"
    compared = {point["truth"] for (_, name), point in ran.points.items() if name != "alarms"}
    assert compared == {"equal"}
    assert "read sooner here" in ran.points["rinser-01", "whole_signed"]["rate"], "an own period of 10 m"
    assert ran.points["palletizer-06", "seldom"]["stored"] >= 3
    assert ran.points["rinser-01", "extra"]["verdict"] == "good"
    found = {name for _, name in ran.points if name.startswith(("motors", "covers"))}
    assert found == {
        *(f"motors_part{n}_temperature" for n in (1, 2, 3)),
        *(f"covers_cover{n}" for n in (1, 2, 3)),
    }, "points that a pattern finds are served, read and compared like any other"
    not_good = any(point["verdict"] == "not good" for point in ran.points.values())
    assert (ran.code, ran.error, ran.left) == (int(not_good), "", [])


WRONG = {
    "press": """\
format: 1
protocol: modbus
points:
  pressure: {address: holding 2, scale: 0.01, unit: bar, range: [0, 30], every: 500ms}
  force: {address: holding 8, raw: float32, unit: kN, range: [0, 2500], every: 500ms}
""",
    "drum": """\
format: 1
protocol: opcua
points:
  speed: {node: s=Drum.Speed, type: float, unit: r/min, range: [10, 100]}
  running: {node: s=Drum.Speed, type: bool}
""",
}


async def test_points_that_would_not_read_fail_with_the_reason(tmp_path: Path):
    """A node that was copied with its line, and two machines with one unit id: both are right by themselves."""
    (tmp_path / "machines").mkdir()
    for name, template in WRONG.items():
        (tmp_path / "machines" / f"{name}.yaml").write_text(template, encoding="utf-8")
    press = {"template": "press", "connection": "modbus+tcp://10.20.1.11:502?unit=1"}
    machines = {
        "press-01": press,
        "press-02": press | {"points": {"force": {"scale": 2}}},
        "press-03": {"template": "press", "connection": "modbus+tcp://10.20.1.11:502?unit=3"},
        "drum-01": {"template": "drum", "connection": "opc.tcp://10.20.2.21:4840?namespace=urn:drum"},
    }
    config = write_factory(
        tmp_path / "factory.yaml",
        broker={"url": "mqtt://10.0.0.1"},
        lines={"line": {"area": "area", "machines": machines}},
    )
    junit = tmp_path / "here" / "check.xml"
    ran = await check(tmp_path, config, "--for", "4s", "--format", "json", "--junit", str(junit))
    assert ran.code == 1
    kinds = {name: [one["kind"] for one in point["findings"]] for name, point in ran.points.items()}
    assert kinds["drum-01", "running"] == ["type_mismatch"]
    assert kinds["drum-01", "speed"] == []
    assert kinds["press-03", "force"] == kinds["press-03", "pressure"] == []
    assert "differs" in kinds["press-01", "force"] + kinds["press-02", "force"]
    [mismatch] = ran.points["drum-01", "running"]["findings"]
    assert "where true or false belongs" in mismatch["text"]
    root = ET.fromstring(junit.read_bytes())  # noqa: S314 - our own
    failures = {case.attrib["name"] for case in root.iter("testcase") if case.find("failure") is not None}
    assert {"running", "force"} <= failures


async def test_machines_that_can_t_be_simulated_are_reported_as_a_failure(tmp_path: Path):
    """In JUnit as well: a pipeline that reads nothing else would take it for a success."""
    (tmp_path / "machines").mkdir()
    template = """\
format: 1
protocol: modbus
points:
  one: {address: holding 2, raw: float32}
  other: {address: holding 3, raw: int32}
"""
    (tmp_path / "machines" / "press.yaml").write_text(template, encoding="utf-8")
    lines = {"line": {"area": "a", "machines": {"m": {"template": "press", "connection": "modbus+tcp://10.0.0.1"}}}}
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://10.0.0.1"}, lines=lines)
    junit = tmp_path / "here" / "check.xml"
    ran = await check(tmp_path, config, "--junit", str(junit))
    assert ran.code == 1
    assert "overlaps registers of one" in ran.text
    assert "Traceback" not in ran.text + ran.error
    assert ran.left == []
    assert ET.fromstring(junit.read_bytes()).attrib["failures"] == "1"  # noqa: S314 - our own


async def test_some_machines_alone_can_be_tried(tmp_path: Path):
    """Where only they were changed."""
    ran = await check(tmp_path, THIRD, "--machine", "meter-0[12]", "--for", "3s", "--format", "json")
    assert ran.code == 0
    assert [machine["machine"].rpartition("/")[2] for machine in ran.output["machines"]] == ["meter-01", "meter-02"]
    assert ran.output["ledger"]["acquired"] > 0


async def test_machines_that_derived_points_use_are_tried_too(tmp_path: Path):
    """Without them the derived points would have no readings, and the report says which were read."""
    (tmp_path / "machines").mkdir()
    points = {"x": {"address": "holding 0", "raw": "float32", "unit": "bar", "range": [1, 9], "every": "500ms"}}
    template = {"format": 1, "protocol": "modbus", "points": points}
    (tmp_path / "machines" / "plain.yaml").write_text(json.dumps(template), encoding="utf-8")
    machines: dict[str, Any] = {
        name: {"template": "plain", "connection": f"modbus+tcp://10.0.0.{number}"}
        for number, name in enumerate("abc")
    }
    machines["a"]["derive"] = {"sum": {"expression": 'x + line["b"].x'}}
    lines = {"line": {"area": "area", "machines": machines}}
    config = write_factory(tmp_path / "factory.yaml", broker={"url": "mqtt://10.0.0.1"}, lines=lines)
    (tmp_path / "json").mkdir()
    arguments = (config, "--machine", "a", "--for", "2s")
    as_text, ran = await asyncio.gather(
        check(tmp_path, *arguments, "--all"), check(tmp_path / "json", *arguments, "--format", "json")
    )
    assert as_text.code == 0, as_text.text
    assert "read for derived points of others, and not judged: b" in as_text.text
    assert ran.points.keys() == {("a", "x"), ("a", "sum")}
    assert ran.points["a", "sum"]["verdict"] == "good"


async def test_whole_structures_are_stored_as_the_machine_has_them(tmp_path: Path):
    """As JSON through every step, beside points that are their parts; also of a server that will dial in."""
    points = {
        "recipe": {"node": "s=Recipe", "type": "json"},
        "limits": {"node": "s=Recipe", "field": "Limits", "type": "json"},
        "low": {"node": "s=Recipe", "field": "Limits.Low", "type": "float", "scale": 2, "range": [0, 50]},
        "name": {"node": "s=Recipe", "field": "Name", "type": "string"},
        "step": {"node": "s=Recipe", "field": "Steps", "element": 1, "type": "float", "range": [0, 10]},
        "zones": {"node": "s=Zones", "type": "json", "mode": "poll"},
        "zone": {"node": "s=Zones", "count": 3, "type": "int", "range": [0, 100]},
        "alone": {"node": "s=Alone", "type": "json"},
        "mode": {"node": "s=Mode", "enum": "name", "type": "string"},
    }
    template = {"format": 1, "protocol": "opcua", "defaults": {"every": "500ms"}, "points": points}
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "press.yaml").write_text(json.dumps(template), encoding="utf-8")
    config = write_factory(
        tmp_path / "factory.yaml",
        broker={"url": "mqtt://localhost"},
        lines={"line": {"area": "area", "machines": {
            "press": {"template": "press", "connection": "opc.tcp://10.0.0.1:4840?namespace=urn:press&security=none"},
            "dials-in": {
                "template": "press",
                "connection": "opc.tcp+reverse://0.0.0.0:4841?server_uri=urn:dials&namespace=urn:dials&security=none",
            },
        }}},
    )  # fmt: skip
    ran = await check(tmp_path, config, "--for", "5s", "--format", "json")
    assert (ran.code, ran.error) == (0, "")
    assert {point["truth"] for point in ran.points.values()} == {"equal"}
    value = json.loads(ran.points["press", "recipe"]["value"])
    assert list(value) == ["Limits", "Name", "Steps"]
    assert len(json.loads(ran.points["press", "zones"]["value"])) == 3
