"""Points of other programs become machines, and each line that can't be translated is reported."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from points import points_alone

from drivers.base import as_written
from gateway.cli import main
from gateway.importers.own import export
from gateway.importers.table import read_table, write_table
from gateway.model.text import clean_text
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.serialize import dump, least
from gateway.settings.templates import bundled_config

if TYPE_CHECKING:
    from pathlib import Path

PLANTS = sorted(bundled_config().glob("*.yaml"))


def imported(folder: Path, name: str, text: str, *options: str) -> Result:
    file = folder / name
    file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8", newline="")
    return CliRunner().invoke(main, ["import", str(file), "--out", str(folder / "out"), *options])


def points(folder: Path, machine: int = 0) -> dict[str, dict[str, Any]]:
    """Return the points of a machine, as they would be written."""
    return {
        point.name: least(point) for point in load_factory(folder / "out" / "factory.yaml").machines[machine].points
    }


def notes(ran: Result) -> list[str]:
    return [re.sub(r"^.*?/(?=[^/:]+:\d+: )", "", line) for line in ran.stderr.splitlines()]


# -- our own table --


@pytest.mark.slow
@pytest.mark.parametrize("file", PLANTS, ids=lambda file: file.name)
def test_points_that_are_exported_are_read_back_unchanged(file: Path, tmp_path: Path) -> None:
    """A spreadsheet is where many people like to look at points, and to change them."""
    factory = load_factory(file)
    (tmp_path / "points.csv").write_bytes(export(factory).encode())
    whose = ["--enterprise", factory.factory.enterprise, "--site", factory.factory.site]
    ran = CliRunner().invoke(main, ["import", str(tmp_path / "points.csv"), "--out", str(tmp_path / "out"), *whose])
    assert (ran.exit_code, ran.stderr) == (0, "")
    again = load_factory(tmp_path / "out" / "factory.yaml")
    assert again.machines == points_alone(factory.machines)
    assert export(again) == export(factory)


_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"), max_size=12
)
_TRAPS = st.sampled_from(
    ["1e3", "no", "012", "=1+1", "a;b", 'say "x"', " blank ", "{n}", "a: b", "# no", "~", "line\nline"]
)
_SHOWN = (_TEXT | _TRAPS).map(lambda text: clean_text(text, 100))
_NUMBER = st.floats(min_value=-1e6, max_value=1e6).filter(lambda x: abs(x) > 1e-6)
_MEANING = st.fixed_dictionaries(
    {},
    optional={
        "description": _SHOWN, "unit": st.sampled_from(["Cel", "bar", "{part}/h", "%", "10*3"]),
        "every": st.sampled_from(["500ms", "1s", "2m", "7d", "1.5s"]), "on_change": st.booleans(),
        "at_least_every": st.sampled_from(["5s", "1h"]),
    },
)  # fmt: skip
_RANGE = st.tuples(st.integers(-9, 0), st.integers(1, 9)).map(list)
_NUMERIC = st.fixed_dictionaries(
    {}, optional={"scale": _NUMBER, "offset": _NUMBER, "range": _RANGE,
                  "deadband": st.floats(0.001, 0.9)},
)  # fmt: skip
_ORDERS = st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"])
_ENTRY = st.integers(0, 60000)
_MODBUS = st.one_of(
    st.builds(lambda n, raw, order: {"address": f"holding {n}", "raw": raw, "order": order}, _ENTRY,
              st.sampled_from(["float32", "float64"]), _ORDERS).flatmap(lambda keys: _NUMERIC.map(keys.__or__)),
    st.builds(lambda n, labels: {"address": f"input {n}", "labels": labels}, _ENTRY,
              st.dictionaries(st.integers(-5, 99), _SHOWN, min_size=1, max_size=3)),
    st.builds(lambda n, bit: {"address": f"holding {n}", "bit": bit}, _ENTRY, st.integers(0, 15)),
    st.builds(lambda n, low, more: {"address": f"holding {n}", "bits": [low, low + more]}, _ENTRY,
              st.integers(0, 8), st.integers(0, 7)),
    st.builds(lambda n, size: {"address": f"input {n}", "raw": "string", "length": size, "encoding": "utf-8"}, _ENTRY,
              st.integers(4, 20)),
    st.builds(lambda n, none: {"address": f"holding {n}", "raw": "int16", "not_available": none}, _ENTRY,
              st.lists(st.integers(-9, 9), min_size=1, max_size=2, unique=True)),
    st.builds(lambda n: {"address": f"coil {n}"}, _ENTRY),
)  # fmt: skip
_OPCUA = st.builds(
    lambda name, kind, mode: {"node": name, "type": kind, "mode": mode},
    st.sampled_from(["s=a.b", "ns=2;i=17", "nsu=urn:x;s=a: b, {c}", "/Press/2:Drum"]),
    st.sampled_from(["int", "float", "string", "bool"]),
    st.sampled_from(["subscribe", "poll"]),
)  # fmt: skip


def _machines(keys: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    whole = st.builds(lambda source, meaning: source | meaning, keys, _MEANING)
    return st.dictionaries(_NAMES, whole, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("round-trip")
    (found / "machines").mkdir()
    return found


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(press=_machines(_MODBUS), drum=_machines(_OPCUA))
def test_any_point_survives_the_way_through_a_table(
    folder: Path, press: dict[str, Any], drum: dict[str, Any]
) -> None:
    """A cell may contain anything: quotes, separators, braces, or text that looks like a number."""
    for name, protocol, keys in ("press", "modbus", press), ("drum", "opcua", drum):
        template = {"format": 1, "protocol": protocol, "points": keys}
        (folder / "machines" / f"{name}.yaml").write_text(dump(template), encoding="utf-8")
    connections = {"press": {"url": "modbus+tcp://h", "unit": 7}, "drum": "opc.tcp://h?security=none"}
    machines = {name: {"template": name, "connection": connection} for name, connection in connections.items()}
    data = {
        "format": 1, "factory": {"enterprise": "e", "site": "s"}, "gateway": {"id": "g"}, "broker": {"url": "mqtt://h"},
        "lines": {"l": {"area": "a", "machines": machines}},
    }  # fmt: skip
    (folder / "factory.yaml").write_text(dump(data), encoding="utf-8")
    factory = load_factory(folder / "factory.yaml")
    (folder / "points.csv").write_bytes(export(factory).encode())
    ran = CliRunner().invoke(main, ["import", str(folder / "points.csv"), "--out", str(folder / "out"), "--force",
                                    "--enterprise", "e", "--site", "s"])  # fmt: skip
    assert (ran.exit_code, ran.stderr) == (0, "")
    again = load_factory(folder / "out" / "factory.yaml")
    assert again.machines == factory.machines


def test_a_table_that_was_written_by_hand_is_a_factory(tmp_path: Path) -> None:
    """As a spreadsheet saves it where a comma is for decimals; machines of a type share its template."""
    ran = imported(
        tmp_path, "points.csv",
        """
        \ufeffmachine;template;connection;point;address;raw;scale;unit;labels;colour
        press-01;press;modbus+tcp://10.0.0.1?unit=1;pressure;holding 2;float32;0.01;bar;;red
        press-01;press;modbus+tcp://10.0.0.1?unit=1;state;40011;;;;{0: off, 1: on};
        press-02;press;modbus+tcp://10.0.0.1?unit=2;pressure;holding 2;float32;0.01;bar;;
        press-02;press;modbus+tcp://10.0.0.1?unit=2;state;40011;;;;{0: off, 1: on};
        press-03;press;modbus+tcp://10.0.0.1?unit=3;pressure;holding 9;float32;0.01;bar;;
        press-03;press;modbus+tcp://10.0.0.1?unit=3;wrong;holding 70000;;;;;
        ;press;modbus+tcp://10.0.0.1?unit=4;pressure;holding 9;;;;;
        """, "--area", "curing", "--line", "curing-1",
    )  # fmt: skip
    assert ran.exit_code == 0
    unknown, *others = notes(ran)
    assert unknown.startswith("points.csv:1: colour: unknown column 'colour'; there are: address, area, ")
    assert others == [
        "points.csv:7: press-03/wrong: is left out: address: entry 70000 is beyond the last of a table, 65535",
        "points.csv:8: a row: its machine is missing, or unknown; it is left out",
    ]  # fmt: skip
    factory = load_factory(tmp_path / "out" / "factory.yaml")
    assert [str(machine.path) for machine in factory.machines] == [
        f"enterprise/site/curing/curing-1/press-0{i}" for i in (1, 2, 3)
    ]
    assert [machine.template for machine in factory.machines] == ["press", "press", "press-2"]
    assert points(tmp_path) == {
        "pressure": {"address": "holding 2", "raw": "float32", "scale": 0.01, "unit": "bar"},
        "state": {"address": "holding 10", "labels": {0: "off", 1: "on"}},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is nothing in it"),
        ("a,b\n1,2\n", "it is a table of an unknown format, with the columns a, b; of a list of registers say"),
        ("machine,point\n", "there is no machine with a point that could be read"),
        ('machine,point\n"a,b\n', "line 2: unexpected end of data"),
        ("machine,point,connection\nm,p,modbus+tcp://h\n", "there is no machine with a point"),
    ],
)
def test_a_file_without_a_valid_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """No file is written."""
    ran = imported(tmp_path, "points.csv", text)
    assert ran.exit_code == 1
    assert message in ran.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Somebody may have corrected the first import by hand."""
    text = "machine,point,connection,address\nm,p,modbus+tcp://h,holding 1\n"
    assert imported(tmp_path, "points.csv", text).exit_code == 0
    ran = imported(tmp_path, "points.csv", text)
    assert (ran.exit_code, "is there already; --force writes over it" in ran.stderr) == (1, True)
    assert imported(tmp_path, "points.csv", text, "--force").exit_code == 0


@given(st.lists(st.fixed_dictionaries({"a": _TEXT | _TRAPS | st.just("\r\n"), "b": st.just("x")})))
def test_tables_are_read_as_they_were_written(rows: list[dict[str, str]]) -> None:
    """Line ends and separators in cells do not count, and every row knows its line."""
    text = write_table(["a", "b"], rows)
    table = read_table(text)
    assert [line.cells for line in table.lines] == [{key: cell for key, cell in row.items() if cell} for row in rows]


# -- Kepware --

KEPWARE = """
Tag Name,Address,Data Type,Respect Data Type,Client Access,Scan Rate,Scaling,Raw Low,Raw High,Scaled Low,Scaled High,\
Scaled Data Type,Clamp Low,Clamp High,Eng. Units,Eng Units,Description,Negate Value
"Bladder.Pressure","400003","Word",1,"R/W",500,"Linear",0,4000,0,40,"Double",1,1,,"bar","Inside the bladder",
"Bladder.Temperature","400004","Short",1,"RO",1000,,,,,,,,,,"°C","",
"Clamp Force","400009","Float",1,"RO",1000,,,,,,,,,,"kN","",
"Counter","300011","DWord",1,"RO",100,,,,,,,,,,"pcs","",1
"Door","000001","Boolean",1,"RO",100,,,,,,,,,,,"",
"Ready","400020.03","Boolean",1,"RO",100,,,,,,,,,,,"",
"Recipe","400030.16H","String",1,"RO",5000,,,,,,,,,,,"",
"Zones","400040 [3]","Short Array",1,"RO",1000,,,,,,,,,,,"",
"Zones_0","400050","Short",1,"RO",1000,,,,,,,,,,,"",
"Level","400060","Word",1,"RO",1000,"Square Root",0,100,0,10,"Double",0,0,,"m","",
"Start","000007","Boolean",1,"WO",100,,,,,,,,,,,"",
"Internal","K0001","Long",1,"R/W",100,,,,,,,,,,,"",
"""


def test_a_tag_list_of_kepware_is_a_machine(tmp_path: Path) -> None:
    """Read addresses of six digits, scaling, bits, strings and arrays; report tags without an equivalent."""
    ran = imported(
        tmp_path, "tags.csv", KEPWARE, "--connection", "modbus+tcp://10.0.0.1?unit=3", "--machine", "press-01"
    )
    assert ran.exit_code == 0, ran.output
    assert points(tmp_path) == {
        "Bladder.Pressure": {"address": "holding 2", "scale": 0.01, "range": [0, 40], "unit": "bar", "every": "500ms",
                             "description": "Inside the bladder"},
        "Bladder.Temperature": {"address": "holding 3", "raw": "int16", "unit": "Cel"},
        "Clamp_Force": {"address": "holding 8", "raw": "float32", "order": "CDAB", "unit": "kN"},
        "Counter": {"address": "input 10", "raw": "uint32", "order": "CDAB", "unit": "{piece}", "scale": -1,
                    "every": "100ms"},
        "Door": {"address": "coil 0", "every": "100ms"},
        "Ready": {"address": "holding 19", "bit": 3, "every": "100ms"},
        "Recipe": {"address": "holding 29", "raw": "string", "length": 8, "every": "5s"},
        "Zones_0": {"address": "holding 39", "raw": "int16"},
        "Zones_1": {"address": "holding 40", "raw": "int16"},
        "Zones_2": {"address": "holding 41", "raw": "int16"},
    }  # fmt: skip
    kinds = "a holding or input register, a coil or a discrete input"
    noted = notes(ran)
    assert [line.split(":")[1] for line in noted] == ["1", "2", "4", "10", "11", "12", "13"]
    assert noted[0] == "tags.csv:1: order: values of 32 and 64 bits are read as CDAB; say --order where it is another"
    assert noted[-3:] == [
        "tags.csv:11: Level: is left out: Square Root scaling is not linear",
        "tags.csv:12: Start: is left out: it is only written to",
        f"tags.csv:13: Internal: is left out: the address 'K0001' is not {kinds}",
    ]
    [machine] = load_factory(tmp_path / "out" / "factory.yaml").machines
    assert machine.path.machine == "press-01"
    assert machine.written["connection"] == "modbus+tcp://10.0.0.1?unit=3"


def test_a_tag_list_without_a_device_needs_the_connection(tmp_path: Path) -> None:
    """It would be a machine at no address."""
    ran = imported(tmp_path, "tags.csv", KEPWARE)
    assert (ran.exit_code, "a tag list names no device; say --connection" in ran.stderr) == (1, True)


def test_a_tag_list_of_an_opcua_client_keeps_its_nodes(tmp_path: Path) -> None:
    """Its addresses are node ids."""
    text = 'Tag Name,Address,Data Type\nSpeed,ns=2;s=Drum.Speed,Double\nCount,"nsu=urn:x;i=7",DWord\n'
    assert imported(tmp_path, "tags.csv", text, "--connection", "opc.tcp://h?security=none").exit_code == 0
    assert points(tmp_path) == {
        "Speed": {"node": "ns=2;s=Drum.Speed", "type": "float"}, "Count": {"node": "nsu=urn:x;i=7", "type": "int"}
    }  # fmt: skip


# -- Ignition --

IGNITION = """
Path,Name,TagType,DataType,Enabled,OPCServer,OPCItemPath,ScaleMode,RawLow,RawHigh,ScaledLow,ScaledHigh,Deadband,\
EngUnit,EngLow,EngHigh,EngLimitMode,Tooltip
,Bladder,6,,,,,,,,,,,,,,,
Bladder,Pressure,0,4,true,Ignition OPC-UA Server,[Press1]HRUS3,1,0,4000,0,40,0.5,bar,0,40,3,Inside
Bladder,Force,0,4,true,Ignition OPC-UA Server,ns=1;s=[Press1]HRF9,,,,,,,kN,0,100,0,
,Count,0,Int4,false,Ignition OPC-UA Server,[Press1]2.IRUI11,,,,,,,,,,,
,Door,0,6,true,Ignition OPC-UA Server,[Press1]C1,,,,,,,,,,,
,Total,0,Int4,true,Ignition OPC-UA Server,[Press1]2.IRI_6411,,,,,,,,,,,
,Ready,0,6,true,Ignition OPC-UA Server,[Press1]HR20.3,,,,,,,,,,,
,Recipe,0,7,true,Ignition OPC-UA Server,[Press1]HRS30:16,,,,,,,,,,,
,Speed,0,Float8,true,Drum server,ns=2;s=Drum.Speed,,,,,,,r/min,,,,
,Level,0,4,true,Ignition OPC-UA Server,[PLC7]DB1.DBW4,,,,,,,,,,,
,Root,0,4,true,Ignition OPC-UA Server,[Press1]HR60,2,0,1,0,1,,,,,,
"""


def test_tags_of_ignition_are_machines_by_their_devices(tmp_path: Path) -> None:
    """Units behind one device are machines of their own; nodes of OPC UA servers keep their ids."""
    ran = imported(tmp_path, "tags.csv", IGNITION, "--order", "ABCD")
    assert ran.exit_code == 0, ran.output
    factory = load_factory(tmp_path / "out" / "factory.yaml")
    assert [machine.path.machine for machine in factory.machines] == ["Press1", "Press1-2", "Drum_server"]
    assert points(tmp_path, 0) == {
        "Bladder.Pressure": {"address": "holding 2", "scale": 0.01, "unit": "bar", "deadband": 0.5, "range": [0, 40],
                             "description": "Inside"},
        "Bladder.Force": {"address": "holding 8", "raw": "float32", "unit": "kN"},
        "Door": {"address": "coil 0"},
        "Ready": {"address": "holding 19", "bit": 3},
        "Recipe": {"address": "holding 29", "raw": "string", "length": 8},
    }  # fmt: skip
    assert points(tmp_path, 1) == {"Total": {"address": "input 10", "raw": "int64"}}
    assert points(tmp_path, 2) == {"Speed": {"node": "ns=2;s=Drum.Speed", "type": "float", "unit": "r/min"}}
    noted = notes(ran)
    assert [line.split(":")[1] for line in noted] == ["3", "5", "10", "11", "12"]
    assert "not an item of a Modbus device or a node" in noted[3]


# -- Telegraf --

MODBUS = """
[agent]
  interval = "5s"

[[outputs.file]]
  files = ["stdout"]

[[inputs.cpu]]
  percpu = true

# by registers
[[inputs.modbus]]
  name = "meter"
  slave_id = 4
  timeout = "500ms"
  controller = "tcp://10.0.0.9:1502"
  busy_retries = 3
  configuration_type = "register"
  name_override = "energy"
  discrete_inputs = [
    { name = "stop", address = [7] },
  ]
  holding_registers = [
    { name = "factor",  byte_order = "AB",   data_type = "FIXED",   scale = 0.01, address = [8] },
    { name = "energy",  byte_order = "CDAB", data_type = "UFIXED",  scale = 0.001, address = [5, 6] },
    { name = "mode",    byte_order = "AB",   data_type = "UINT16",  scale = 1.0,  address = [0] },
    { name = "power",   byte_order = "DCBA", data_type = "FLOAT32-IEEE", scale = 1, address = [10, 11], unit = "W" },
    { name = "legacy",  byte_order = "ABCD", data_type = "FLOAT32", scale = 0.1,  address = [12, 13] },
    { name = "odd",     byte_order = "ABCD", data_type = "FIXED",   scale = 0.1,  address = [14, 15, 16] },
  ]

# by requests
[[inputs.modbus]]
  name = "line 1"
  interval = "1m30s"
  controller = "file:///dev/ttyUSB0"
  baud_rate = 9600
  data_bits = 8
  parity = "N"
  stop_bits = 1
  transmission_mode = "RTU"
  configuration_type = "request"

  [[inputs.modbus.request]]
    slave_id = 1
    byte_order = "DCBA"
    register = "holding"
    fields = [
      { address = 0, name = "voltage", type = "INT16", scale = 0.1 },
      { address = 1, name = "unused", type = "INT32", omit = true },
      { address = 3, name = "hours", type = "UINT32", output = "FLOAT64" },
      { address = 5, name = "serial", type = "STRING", length = 8 },
      { address = 20, name = "alarm", type = "BIT", bit = 3 },
      { address = 21, name = "high", type = "UINT8H" },
    ]
    [inputs.modbus.request.tags]
      machine = "impresser"

  [[inputs.modbus.request]]
    slave_id = 2
    register = "coil"
    fields = [
      { address = 3, name = "motor run" },
      { address = 4, name = "jog", measurement = "motor" },
    ]

  [inputs.modbus.workarounds]
    pause_between_requests = "20ms"
    close_connection_after_gather = true
    string_register_location = "lower"

[[inputs.modbus]]
  name = "hidden"
  controller = "tcp://10.0.0.10:502"
  transmission_mode = "ASCIIoverTCP"
  coils = [ { name = "a", address = [0] } ]
"""


def test_modbus_of_telegraf_is_a_machine_for_each_slave(tmp_path: Path) -> None:
    """Both of its styles are read, with types, orders, scales and the workarounds that Lineside has, too."""
    ran = imported(tmp_path, "telegraf.conf", MODBUS)
    assert ran.exit_code == 0, ran.output
    factory = load_factory(tmp_path / "out" / "factory.yaml")
    assert [machine.path.machine for machine in factory.machines] == ["meter", "line_1", "line_1-2"]
    assert points(tmp_path, 0) == {
        "stop": {"address": "discrete 7", "every": "5s"},
        "factor": {"address": "holding 8", "raw": "int16", "scale": 0.01, "every": "5s"},
        "energy": {"address": "holding 5", "raw": "uint32", "order": "CDAB", "scale": 0.001, "every": "5s"},
        "mode": {"address": "holding 0", "every": "5s"},
        "power": {"address": "holding 10", "raw": "float32", "order": "DCBA", "every": "5s"},
        "legacy": {"address": "holding 12", "raw": "uint32", "scale": 0.1, "every": "5s"},
    }
    assert points(tmp_path, 1) == {
        "voltage": {"address": "holding 0", "raw": "int16", "order": "BADC", "scale": 0.1, "every": "90s"},
        "hours": {"address": "holding 3", "raw": "uint32", "order": "DCBA", "type": "float", "every": "90s"},
        "serial": {
            "address": "holding 5",
            "raw": "string",
            "order": "BADC",
            "length": 8,
            "packing": "byte_per_register",
            "every": "90s",
        },
        "alarm": {"address": "holding 20", "bit": 3, "order": "BADC", "every": "90s"},
        "high": {"address": "holding 21", "raw": "uint8", "byte": "high", "order": "BADC", "every": "90s"},
    }
    assert points(tmp_path, 2) == {
        "motor_run": {"address": "coil 3", "every": "90s"},
        "jog": {"address": "coil 4", "every": "90s"},
    }
    connections = [as_written(machine.connection) for machine in factory.machines]
    assert [(c["host"], c["port"], c["unit"], c["timeout"]) for c in connections[:1]] == [("10.0.0.9", 1502, 4, 0.5)]
    assert [
        (c["device"], c["baud"], c["parity"], c["unit"], c["pause"], c["close_after_scan"]) for c in connections[1:]
    ] == [("/dev/ttyUSB0", 9600, "none", unit, 0.02, True) for unit in (1, 2)]


def test_telegraf_options_without_an_equivalent_are_reported_with_their_lines(tmp_path: Path) -> None:
    """Nobody has to compare two files to know what is missing."""
    noted = notes(imported(tmp_path, "telegraf.conf", MODBUS))
    lines = MODBUS.lstrip("\n").splitlines()
    expected = {
        "inputs.cpu": "[[inputs.cpu]]", "name_override": "name_override", "unit is not": 'name = "power"',
        "meter/odd": 'name = "odd"', "tags is not": "tags", "measurement is not": 'name = "jog"',
        "hidden": "tcp://10.0.0.10",
        "motor_run": 'name = "motor run"',
    }  # fmt: skip
    for what, where in expected.items():
        [line] = [one for one in noted if what in one.partition(": ")[2]]
        assert where in lines[int(line.split(":")[1]) - 1], line


@pytest.mark.parametrize(
    ("workaround", "note"),
    [
        ("max_word_registers_per_request = 1", "meter/energy: is left out: holding 5 takes 2 registers at once"),
        ("max_word_registers_per_request = true", ""),
        ("string_register_location = []", "string_register_location is not known"),
    ],
)
def test_workarounds_of_telegraf_that_can_not_be_right_give_a_factory_that_loads(
    tmp_path: Path, workaround: str, note: str
) -> None:
    """A point that does not fit the limit of a request would make the whole factory invalid."""
    text = f"""
[[inputs.modbus]]
  name = "meter"
  controller = "tcp://10.0.0.9:502"
  holding_registers = [
    {{ name = "mode", address = [0], data_type = "UINT16" }},
    {{ name = "energy", address = [5, 6], data_type = "UINT32" }},
  ]
  [inputs.modbus.workarounds]
    {workaround}
"""
    ran = imported(tmp_path, "telegraf.conf", text)
    assert ran.exit_code == 0, ran.output
    assert note in ran.stderr
    [machine] = load_factory(tmp_path / "out" / "factory.yaml").machines
    assert ("energy" in {point.name for point in machine.points}) == ("energy" not in note)


def test_metrics_of_telegraf_are_read_as_requests_are(tmp_path: Path) -> None:
    """In its third style each field names its own table."""
    text = """
        [[inputs.modbus]]
          name = "pump"
          controller = "tcp://10.0.0.11:502"
          configuration_type = "metric"
          [[inputs.modbus.metric]]
            slave_id = 6
            byte_order = "BADC"
            fields = [
              { register = "input", address = 4, name = "flow", type = "FLOAT32" },
              { register = "discrete", address = 2, name = "fault" },
            ]
    """
    assert imported(tmp_path, "telegraf.conf", text).exit_code == 0
    assert points(tmp_path) == {
        "flow": {"address": "input 4", "raw": "float32", "order": "BADC", "every": "10s"},
        "fault": {"address": "discrete 2", "every": "10s"},
    }
    [machine] = load_factory(tmp_path / "out" / "factory.yaml").machines
    assert as_written(machine.connection)["unit"] == 6


OPCUA = """
[[inputs.opcua]]
  name = "drum"
  endpoint = "opc.tcp://10.0.0.2:4840"
  interval = "2s"
  request_timeout = "5s"
  security_policy = "Basic256Sha256"
  security_mode = "Sign"
  auth_method = "UserName"
  username = "edge"
  password = "hunter2"
  timestamp = "source"
  optional_fields = ["DataType"]
  nodes = [
    {name="temp", namespace="3", identifier_type="s", identifier="Temperature"},
    {name="bad", namespace="3", identifier_type="x", identifier="Temperature"},
  ]
  [[inputs.opcua.group]]
    name = "group1"
    namespace = "4"
    identifier_type = "i"
    [[inputs.opcua.group.nodes]]
      name = "speed"
      identifier = "1001"
      default_tags = { node1_tag = "val2" }

[[inputs.opcua_listener]]
  endpoint = "opc.tcp://10.0.0.3:4840"
  subscription_interval = "100ms"
  security_policy = "None"
  [[inputs.opcua_listener.nodes]]
    name = "flow"
    id = "ns=2;s=Flow"
    [inputs.opcua_listener.nodes.monitoring_params]
      sampling_interval = "10ms"
      queue_size = 20
      discard_oldest = false
      [inputs.opcua_listener.nodes.monitoring_params.data_change_filter]
        trigger = "Status"
        deadband_type = "Absolute"
        deadband_value = 0.1
  [[inputs.opcua_listener.nodes]]
    name = "level"
    id = "ns=2;s=Level"
    [inputs.opcua_listener.nodes.monitoring_params.data_change_filter]
      trigger = "StatusValue"
      deadband_type = "Percent"
      deadband_value = 2.5
"""


def test_opcua_of_telegraf_polls_or_subscribes_as_it_did(tmp_path: Path) -> None:
    """Groups hand down what their nodes do not say; the password is named, and never copied."""
    ran = imported(tmp_path, "telegraf.toml", OPCUA, "--type", "int")
    assert ran.exit_code == 0, ran.output
    assert points(tmp_path, 0) == {
        "temp": {"node": "ns=3;s=Temperature", "mode": "poll", "type": "int", "every": "2s"},
        "speed": {"node": "ns=4;i=1001", "mode": "poll", "type": "int", "every": "2s"},
    }
    assert points(tmp_path, 1) == {
        "flow": {"node": "ns=2;s=Flow", "sampling": 0.01, "queue": 20, "discard": "newest", "type": "int",
                 "every": "100ms",
                 "deadband": 0.1},
        "level": {"node": "ns=2;s=Level", "type": "int", "every": "100ms", "deadband": "2.5%"},
    }  # fmt: skip
    factory = load_factory(tmp_path / "out" / "factory.yaml")
    assert factory.machines[0].written["connection"] == {
        "url": "opc.tcp://10.0.0.2:4840", "security": "Basic256Sha256", "security_mode": "sign", "timeout": 5.0,
        "username": "edge", "password": {"secret": "drum_password"}, "time": "source",
    }  # fmt: skip
    everything = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "out").rglob("*.yaml")) + ran.output
    assert "hunter2" not in everything
    noted = "\n".join(notes(ran))
    for what in (
        "optional_fields is not translated",
        "/flow: the trigger Status sends no changes",
        "drum/bad: is left out",
        "drum_password",
        "all are int",
        "default_tags",
    ):
        assert what in noted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[inputs.cpu]]\n", "it has no input modbus, opcua, opcua_listener with"),
        ("a = \n", "Invalid value (at line 1, column 5)"),
        ("[[inputs.modbus]]\ncontroller='tcp://h:1'\n", "it has no input"),
    ],
)
def test_a_configuration_without_machines_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A wrong file is a mistake like any other."""
    ran = imported(tmp_path, "telegraf.conf", text)
    assert (ran.exit_code, message in ran.stderr) == (1, True), ran.stderr


def test_an_imported_factory_loads_without_corrections(tmp_path: Path) -> None:
    """Points that would be wrong are left out and reported, so the first run shows values."""
    for name, text in {"a.conf": MODBUS, "b.toml": OPCUA, "c.csv": IGNITION}.items():
        assert imported(tmp_path, name, text, "--force").exit_code == 0
        try:
            load_factory(tmp_path / "out" / "factory.yaml")
        except ConfigurationError as error:
            pytest.fail(str(error))
        assert re.search(r"machines, \d+ points", imported(tmp_path, name, text, "--force").stdout)


def test_notes_are_printed_although_nothing_is_left(tmp_path: Path) -> None:
    """They say why: here a tag list of another driver."""
    text = 'Tag Name,Address,Data Type,Client Access\n"Main.Temp","DB10.DBD4",Float,RO\n"Main.X","N7:0",Word,RO\n'
    ran = imported(tmp_path, "tags.csv", text, "--connection", "modbus+tcp://h")
    assert (ran.exit_code, len(notes(ran))) == (1, 3)
    assert "Main.Temp: is left out: the address 'DB10.DBD4' is not a holding or input register" in ran.stderr
    assert "there is no machine with a point that could be read" in ran.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--connection", "foo"], "--connection: unknown scheme 'foo'"),
        (["--connection", "modbus+tcp://"], "names no host; write modbus+tcp://HOST:502?unit=1"),
        (["--connection", "modbus+tcp://h?unit=999"], "--connection modbus+tcp://h?unit=999: "),
        (["--line", "a b"], "'a b' is not a name"),
        (["--order", "ABDC"], "'ABDC' is not one of 'ABCD', 'CDAB', 'BADC', 'DCBA'"),
        (["--base", "2"], "'2' is not one of '0', '1'"),
    ],
)
def test_wrong_options_are_refused_before_a_file_is_read(tmp_path: Path, options: list[str], message: str) -> None:
    """With exit code 2, and not as a note of each point."""
    ran = imported(tmp_path, "tags.csv", IGNITION, *options)
    assert (ran.exit_code, message in ran.stderr) == (2, True), ran.stderr
    assert not (tmp_path / "out").exists()
