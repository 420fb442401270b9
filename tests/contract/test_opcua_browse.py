"""`lineside browse` against servers whose address spaces are known."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result
from fakes.companion_opcua import URI, CompanionMachine, served
from opcua_peer import MACHINE, SCALARS, NodeOpcUa
from processes import LOOPBACK, write_factory
from simulated import read_all

from drivers.base import Reason, ValueType
from drivers.opcua.browse import references
from gateway.cli import main
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.factory import Machine

FAST = ("--per-second", "1000")
BULK, PER_ANSWER = 500, 200
"""Variables in a folder, more than one answer holds; and what one answer holds."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """A server with many nodes, and small limits."""
    limits = {"maxNodesPerRead": 100, "maxNodesPerBrowse": 5}
    server = NodeOpcUa(tmp_path_factory.mktemp("large"), scope="module", bulk=BULK, limits=limits)
    server.up_and_wait()
    return server


@pytest.fixture(scope="module")
def companion() -> Iterator[CompanionMachine]:
    with served() as machine:
        yield machine


def looked(url: str, *arguments: str) -> Result:
    """Run the command, without security and in no hurry to be gentle."""
    return CliRunner().invoke(main, ["browse", f"{url}?security=none", *FAST, *arguments])


def shown(result: Result) -> dict[str, str]:
    """Return the lines of a tree by the first word of each, with single blanks."""
    assert result.exit_code == 0, result.output
    lines = [re.sub(r"\s+", " ", line.strip()) for line in result.stdout.splitlines()]
    return {line.split(" ")[0]: line for line in lines}


def written(folder: Path, url: str, namespace: str, *arguments: str) -> tuple[dict[str, Any], Machine]:
    """Write a template; return its points as they are in the file, and the machine of a factory that uses it."""
    file = folder / "machines" / "found.yaml"
    file.parent.mkdir()
    result = looked(url, "--template", str(file), *arguments)
    assert result.exit_code == 0, result.output
    assert f"?namespace={namespace}" in result.stderr
    connection = f"{url}?security=none&namespace={namespace}"
    machines = {"press": {"template": "found", "connection": connection}}
    lines = {"line": {"area": "area", "machines": machines}}
    factory = write_factory(folder / "factory.yaml", broker={"url": "mqtt://localhost"}, lines=lines)
    validated = CliRunner().invoke(main, ["validate", "--strict", str(factory)])
    assert validated.exit_code == 0, validated.output
    [machine] = load_factory(factory).machines
    return yaml.safe_load(file.read_text(encoding="utf-8"))["points"], machine


def test_types_values_units_and_labels_are_shown(opcua: NodeOpcUa) -> None:
    """An engineer sees each variable at one glance, with the keys that a template needs to read it."""
    lines = shown(looked(opcua.url, "--under", "/Machine"))
    assert lines[f"namespace={MACHINE}"]
    assert lines["Temperature"] == "Temperature Double 171.5 Cel, 0 to 200 s=Temperature"
    assert lines["Mode"] == "Mode ModeType 20 = Automatic s=Mode"
    assert lines["Hidden"] == "Hidden Double bad: 0x803A0000 BadNotReadable s=Hidden"
    assert lines["Array.Double"] == "Array.Double Double[] [0.5, 1.5, 2.5, 3.5] s=Array.Double"
    assert "{Name: winter, Seconds: 900" in lines["Recipe"]
    assert lines["LevelAlarm"].endswith("[an alarm, reported by events]")


def test_a_template_of_it_reads_every_point(opcua: NodeOpcUa, tmp_path: Path) -> None:
    """From an address to values, and nothing of it written by hand."""
    points, machine = written(tmp_path, opcua.url, MACHINE, "--under", "/Machine", "--match", "[!C]*")
    assert points["temperature"] == {"node": "s=Temperature", "type": "float", "unit": "Cel", "range": [0, 200]}
    assert points["state"]["labels"] == {0: "Stopped", 1: "Running", 2: "Faulted"}
    assert points["recipe_pressure_high"] == {"node": "s=Recipe", "type": "float", "field": "Pressure.High"}
    assert points["array_double"] == {"node": "s=Array.Double", "type": "float", "count": 4}
    assert points["matrix"] == {"node": "s=Matrix", "type": "json"}
    assert "hidden" not in points
    [readings] = asyncio.run(read_all(load_factory(tmp_path / "factory.yaml"))).values()
    assert {name: one.fault for name, one in readings.items() if one.value is None} == {
        "broken": readings["broken"].fault,
        "scalar_u_int64": readings["scalar_u_int64"].fault,  # more than 64 bits with a sign can hold
    }
    assert readings["broken"].fault.reason is Reason.DEVICE_FAULT
    assert readings["scalar_u_int64"].fault.reason is Reason.OVERFLOW
    assert readings["recipe_temperatures_1"].value == 171.5
    assert readings["matrix"].value == "[[1.0,2.0,3.0],[4.0,5.0,6.0]]"
    assert readings["scalar_string"].value == SCALARS["String"]
    assert readings["scalar_xml_element"].value == "<a>1</a>"
    assert {point.name for point in machine.points} == readings.keys()


def test_nodes_that_are_left_out_are_listed(opcua: NodeOpcUa, tmp_path: Path) -> None:
    """Or it would be looked for."""
    file = tmp_path / "found.yaml"
    looked(opcua.url, "--under", "/Machine", "--template", str(file))
    text = file.read_text(encoding="utf-8")
    assert "# left out: Machine/Hidden: 0x803A0000 BadNotReadable\n" in text
    assert "  matrix: {node: s=Matrix, type: json}\n" in text


def test_all_of_a_large_folder_is_found_within_the_servers_limits(
    large: NodeOpcUa, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers in parts are followed; a running machine is only read, in requests that it takes."""
    monkeypatch.setattr(references, "PER_ANSWER", PER_ANSWER)
    result = looked(large.url, "--match", "*/bulk.*")
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"Bulk\.\d+ +UInt32 +\d+ +s=Bulk", result.stdout)) == BULK
    assert large.times("BrowseNext") >= 2
    assert large.most("Browse") <= 5
    assert large.most("Read") <= 100
    asked = set(large.control("requests"))
    session = {"CreateSession", "ActivateSession", "CloseSession", "OpenSecureChannel", "CloseSecureChannel"}
    assert asked - session <= {"Browse", "BrowseNext", "Read", "GetEndpoints"}


def test_a_look_ends_at_the_most_nodes_and_says_so(large: NodeOpcUa) -> None:
    """Whatever the size of the address space."""
    result = looked(large.url, "--max", "300")
    assert result.exit_code == 0, result.output
    assert "there are more than 300 nodes: choose with --under, or raise --max" in result.stderr
    assert len(result.stdout.splitlines()) == 302, "the namespace, and the start"


def test_requests_are_spread_over_time(large: NodeOpcUa) -> None:
    """A machine that runs must not notice."""
    names = ("Browse", "BrowseNext", "Read")
    before = sum(map(large.times, names))
    began = time.monotonic()
    result = looked(large.url, "--match", "Bulk.1*", "--max", "450", "--per-second", "50")
    took = time.monotonic() - began
    requests = sum(map(large.times, names)) - before
    assert result.exit_code == 0, result.output
    assert requests > 30
    assert took >= (requests - 5) / 50 * 0.9, "some come before the look begins"


def test_companion_specifications_get_our_names(companion: CompanionMachine, tmp_path: Path) -> None:
    """A single dashboard then serves machines of all makes."""
    points, _ = written(tmp_path, companion.url, URI)
    assert points["good_count"]["type"] == "int"
    assert points["state"]["labels"][6] == "execute"
    assert points["cushion_volume"]["unit"] == "cm3"
    assert points["order"]["type"] == "string"
    assert points["speed"]["node"].endswith("CurMachSpeed")
    assert points["machine_serial_number"]["type"] == "string"
    assert points["part_count_acc_count"].items() >= {"field": "AccCount", "count": 2}.items()
    duration = {"type": "float", "scale": 0.001, "unit": "s", "range": [0, 120]}
    assert points["cycle_time_last"].items() >= duration.items(), "a Duration counts milliseconds"
    readings = asyncio.run(read_all(load_factory(tmp_path / "factory.yaml")))["press"]
    assert {name for name, one in readings.items() if one.value is None} == set()
    assert readings["cycle_time_last"].value == pytest.approx(45.02)
    assert readings["part_count_acc_count_1"].value == 1008


def test_numbered_nodes_are_found_by_their_path(companion: CompanionMachine, tmp_path: Path) -> None:
    """Numbers that a server gave by itself may be others after its next start."""
    points, _ = written(tmp_path, companion.url, URI)
    assert points["valve"]["node"] == "/Press/Valve"
    assert points["zone_1_temperature"]["node"] == "/Press/Zones/Zone 1/Temperature"
    assert points["good_count"]["node"].startswith(
        "/Press/{http://opcfoundation.org/UA/PlasticsRubber/IMM2MES/}Jobs/"
    )


def test_units_without_a_code_are_found_by_name_with_a_remark(companion: CompanionMachine, tmp_path: Path) -> None:
    """A unit that is less than sure is for a person to look at."""
    points, _ = written(tmp_path, companion.url, URI, "--under", "/Press")
    text = (tmp_path / "machines" / "found.yaml").read_text(encoding="utf-8")
    assert points["press_speed"] == {"node": "/Press/Speed", "type": "float", "unit": "r/min"}
    assert "# the server writes its unit 'rpm' without a UN/CEFACT code" in text
    assert "unit" not in points["stroke"]
    assert "# the server writes its unit 'Hübe' without a UN/CEFACT code" in text


def test_loops_are_gone_round_once(companion: CompanionMachine) -> None:
    """An address space is a net, not a tree."""
    result = looked(companion.url, "--depth", "50")
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^ *Press$", result.stdout, re.MULTILINE)) == 1
    assert len(re.findall(r"^ *Temperature ", result.stdout, re.MULTILINE)) == 2


@pytest.mark.parametrize("under", ["/Press/Zones/Zone 1", "path of another", "id"])
def test_a_look_can_begin_anywhere(companion: CompanionMachine, under: str) -> None:
    """At a path, with its namespace or without, or at a node."""
    if under == "path of another":
        under = f"/{{{URI}}}Press/Zones/Zone 1"
    elif under == "id":
        under = f"nsu={URI};i={zone_of(companion)}"
    lines = shown(looked(companion.url, "--under", under))
    assert lines["Temperature"].startswith("Temperature Double 171.5")
    assert "Zones" not in lines


def zone_of(companion: CompanionMachine) -> str:
    """Return the number of the first zone's temperature's object, as the tree shows it."""
    line = shown(looked(companion.url, "--match", "*Zone 1/Temperature"))["Temperature"]
    return str(int(line.rpartition("i=")[2]) - 1)


def test_depth_is_limited_and_deeper_nodes_are_marked(companion: CompanionMachine) -> None:
    """Units and ranges of the shown nodes are there all the same."""
    lines = shown(looked(companion.url, "--under", "/Press", "--depth", "1"))
    assert lines["Zones"] == "Zones [deeper than --depth]"
    assert lines["Speed"].startswith("Speed Double 12 rpm ")
    assert "Temperature" not in lines


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--under", "/Press/Zonse"], "/Press has no Zonse; it has "),
        (["--under", "s=Drum"], "the server has no node s=Drum; write its namespace, as in 'nsu=URI;s=Drum'"),
        (["--under", "Drum"], "is not a node id"),
        (["--option", "security"], "--option security: write KEY=VALUE"),
        (["--option", "timeot=3"], "timeot"),
        (["--option", "username=a", "--option", "password=no such name"], "a secret is named"),
    ],
)
def test_mistakes_are_reported_in_one_line(companion: CompanionMachine, arguments: list[str], text: str) -> None:
    result = looked(companion.url, *arguments)
    assert result.exit_code == (2 if "--option" in arguments else 1), "2: a mistake in the call"
    assert text in result.stderr
    assert "Traceback" not in result.output
    assert "no such name" not in result.output, "it may be the password itself"


def test_nothing_to_show_is_said(companion: CompanionMachine, tmp_path: Path) -> None:
    """And no empty template is written."""
    result = looked(companion.url, "--match", "*nothing*", "--template", str(tmp_path / "found.yaml"))
    assert result.exit_code == 1
    assert "no variable matches *nothing*" in result.stderr
    assert not (tmp_path / "found.yaml").exists()


def test_the_ways_in_are_shown_to_a_stranger(opcua: NodeOpcUa, tmp_path: Path) -> None:
    """Before anybody trusts anybody: what to write as security, and whose thumbprint to compare."""
    pki = tmp_path / "pki"
    result = CliRunner().invoke(main, ["browse", "--endpoints", f"{opcua.url}?pki={pki}"])
    assert result.exit_code == 0, result.output
    assert re.search(r"security=Basic256Sha256 +security_mode=sign_and_encrypt +users: .*anonymous", result.stdout)
    assert re.search(r"security=none +users: .*username and password", result.stdout)
    assert re.search(r"certificate: Peer, thumbprint [0-9a-f]{40}", result.stdout)
    assert f"server Peer (urn:lineside:peer:server): {opcua.url}" in result.stdout
    assert not pki.exists()


def test_variables_are_printed_for_programs(companion: CompanionMachine) -> None:
    """With the keys of docs/commands.md, and the values that the tree shows."""
    result = looked(companion.url, "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found.keys() == {"url", "namespace", "complete", "variables"}
    assert (found["namespace"], found["complete"]) == (URI, True)
    keys = {"path", "node", "type", "value", "unit", "range", "labels", "quality", "code"}
    assert all(one.keys() == keys for one in found["variables"])
    tree = shown(looked(companion.url))
    assert {one["path"].rpartition("/")[2] for one in found["variables"]} <= tree.keys()
    assert [one for one in found["variables"] if isinstance(one["value"], float) and one["unit"]]
    cut = json.loads(looked(companion.url, "--format", "json", "--max", "3").stdout)
    assert cut["complete"] is False


def test_the_ways_in_are_printed_for_programs(opcua: NodeOpcUa, tmp_path: Path) -> None:
    """With the keys of docs/commands.md."""
    url = f"{opcua.url}?pki={tmp_path / 'pki'}"
    result = CliRunner().invoke(main, ["browse", "--endpoints", url, "--format", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    keys = {"url", "policy", "mode", "users", "spoken", "certificate", "legacy"}
    assert all(one.keys() == keys for one in found["endpoints"])
    assert {(one["policy"], one["mode"]) for one in found["endpoints"]} >= {("none", "none")}
    assert found["servers"] == [{"name": "Peer", "uri": "urn:lineside:peer:server", "urls": [opcua.url]}]


def test_a_missing_server_is_reported() -> None:
    """In one line, with its address."""
    for arguments in ([], ["--endpoints"]):
        result = CliRunner().invoke(main, ["browse", f"opc.tcp://{LOOPBACK}:1?security=none", *arguments])
        assert result.exit_code == 3
        assert f"{LOOPBACK}:1" in result.stderr
        assert "Traceback" not in result.output


def test_declared_types_are_those_of_the_values(opcua: NodeOpcUa, tmp_path: Path) -> None:
    """A type that is wrong at first stays wrong in the store."""
    _, machine = written(tmp_path, opcua.url, MACHINE, "--match", "Scalar.*")
    kinds = {point.name: point.type for point in machine.points}
    assert kinds["scalar_boolean"] is ValueType.BOOL
    assert kinds["scalar_byte"] is ValueType.INT
    assert kinds["scalar_float"] is ValueType.FLOAT
    assert kinds["scalar_date_time"] is ValueType.STRING
