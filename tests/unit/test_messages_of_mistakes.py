"""Mistakes that people make in configurations, each with one message that says what would be right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

FACTORY = """\
format: 1
factory: {enterprise: acme, site: north}
gateway:
  id: edge-01
  spool: {max_size: 64MiB}
broker:
  url: mqtt://localhost
stores:
  - sqlite: {path: readings.db}
lines:
  l1:
    area: hall
    machines:
      m-1: {template: pump, connection: "modbus+tcp://10.0.0.1:502?unit=1"}
"""

TEMPLATE = """\
format: 1
protocol: modbus
points:
  flow: {address: holding 2, raw: uint16, scale: 0.01, unit: l/min}
  state: {address: input 0, labels: {2: stopped, 4: running}, on_change: true, every: 1s}
"""


def write(folder: Path, factory: str | bytes = FACTORY, template: str = TEMPLATE) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "pump.yaml").write_text(template, encoding="utf-8")
    file = folder / "factory.yaml"
    file.write_bytes(factory if isinstance(factory, bytes) else factory.encode())
    return file


def problems(file: Path) -> list[str]:
    """Return the problems, or the warnings of a valid file, without the folder."""
    try:
        found = load_factory(file).warnings
    except ConfigurationError as error:
        found = tuple(error.problems)
    return [str(problem).removeprefix(f"{file.parent}/") for problem in found]


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


NOT_OURS = re.compile(
    r"Input should|valid (string|integer|dictionary|number)|NoneType|Traceback|pydantic|<class|\bTrue\b|\bNone\b"
)
"""Words of Python and of its libraries, which no message has."""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # places of brokers and devices
        (
            "mqtt://localhost",
            "tcp://box:1883",
            "7:3: broker.url: tcp:// is not a scheme of brokers; write mqtt://box:1883",
        ),
        (
            "mqtt://localhost",
            "ssl://box:8883",
            "7:3: broker.url: ssl:// is not a scheme of brokers; write mqtts://box:8883",
        ),
        ("mqtt://localhost", "10.0.0.2:1883", "7:3: broker.url: the URL has no scheme; write mqtt://10.0.0.2:1883"),
        ("mqtt://localhost", "localhost:1883", "7:3: broker.url: the URL has no scheme; write mqtt://localhost:1883"),
        (
            "mqtt://localhost",
            "ws://box:9001",
            "7:3: broker.url: MQTT over WebSockets is not supported; write mqtts://",
        ),
        (
            "mqtt://localhost",
            "mqtt://box:mqtt",
            "7:3: broker.url: the URL's port is not a number from 1 to 65535; write",
        ),
        ("mqtt://localhost", "mqtt://u:geheim@box", "7:3: broker.url: write username, and password: {secret: NAME}"),
        (
            "mqtt://localhost",
            "mqtt://10.0.1.300",
            "7:3: broker.url: 10.0.1.300 is not an IPv4 address: 300 is larger",
        ),
        (
            "//10.0.0.1:502",
            "//10.20.1.256:502",
            "connection: 10.20.1.256 is not an IPv4 address: 256 is larger than 255",
        ),
        (
            "//10.0.0.1:502",
            "//010.020.001.011",
            "some systems read as octal; write 10.20.1.11",
        ),
        ("//10.0.0.1:502", "//10.0.0:502", "connection: 10.0.0 is not an IPv4 address; write four numbers"),
        (
            "modbus+tcp://10.0.0.1:502",
            "modbus://10.0.0.1:502",
            "connection: modbus:// is not a modbus connection; write modbus+tcp://10.0.0.1:502?unit=1",
        ),
        (
            "modbus+tcp://10.0.0.1:502",
            "modbus-tcp://10.0.0.1:502",
            "connection; write modbus+tcp://10.0.0.1:502?unit=1",
        ),
        ("modbus+tcp://10.0.0.1:502", "tcp://10.0.0.1:502", "connection; write modbus+tcp://10.0.0.1:502?unit=1"),
        ("modbus+tcp://10.0.0.1:502", "rtu:///dev/ttyS0", "connection; write modbus+rtu:///dev/ttyS0?unit=1"),
        (
            "modbus+tcp://10.0.0.1:502",
            "10.0.0.1:502",
            "connection: the connection has no scheme; write modbus+tcp://10.0.0.1:502?unit=1",
        ),
        (
            "modbus+tcp://10.0.0.1:502?unit=1",
            "opc.tcp://10.0.0.1",
            "connection: opc.tcp:// is for templates of protocol opcua, and this template is of protocol",
        ),
        ("?unit=1", "?slave=1", "connection: unknown key 'slave'; did you mean 'unit'?"),
        ("?unit=1", "?unit=300", "connection: unit: '300' is out of range; write at most 255"),
        (":502?", ":70000?", "connection: '70000' is not a port; write a number from 1 to 65535"),
        # keys, names, sections
        (
            "enterprise",
            "enterprize",
            "2:11: factory.enterprize: unknown key 'enterprize'; did you mean 'enterprise'?",
        ),
        ("gateway:\n", "gatway:\n", "3:1: gatway: unknown key 'gatway'; did you mean 'gateway'?"),
        ("  id: edge-01\n", "  name: edge-01\n", "4:3: gateway.name: unknown key 'name'; did you mean 'id'?"),
        (
            "  id: edge-01\n",
            "  spare: 1\n  id: edge-01\n",
            "4:3: gateway.spare: unknown key 'spare'; there are: clock, ",
        ),
        ("    area: hall\n", "", "11:3: lines.l1.area: is missing; write it, as in area: curing"),
        (
            "area: hall",
            "area: Hall 4",
            "with a letter or digit first, as in 'Hall-4'",
        ),
        ("area: hall", "area: west/hall", "as in 'west-hall'"),
        (
            "m-1:",
            "Presse-Süd:",
            "with a letter or digit first, as in 'Presse-Sued'",
        ),
        (
            "area: hall",
            "area: 硫化",
            "12:5: lines.l1.area: '硫化' is not a name; write letters, digits, '-', '_' and '.', with a",
        ),
        (
            "id: edge-01",
            "id: $HOSTNAME",
            "with a letter or digit first; a variable is ${HOSTNAME}",
        ),
        (
            "lines:\n",
            "lines:\n  l1: {area: b, machines: {m: {template: pump, connection: 'modbus+tcp://h'}}}\n",
            "12:3: lines.l1: is written twice; the first is in line 11",
        ),
        ("pump,", "pump.yaml,", "template: unknown template 'pump.yaml'; did you mean 'pump'?"),
        ("stores:\n  - sqlite", "stores:\n  sqlite", "8:1: stores: is not a list; write - before each store, as in"),
        (
            "{path: readings.db}",
            "readings.db",
            "9:5: stores.0.sqlite: is not a mapping of keys to values; write {path: ...}",
        ),
        ("sqlite:", "influx:", "9:5: stores.0.influx: unknown store 'influx'; did you mean 'influxdb'?"),
        (
            '      m-1: {template: pump, connection: "modbus+tcp://10.0.0.1:502?unit=1"}\n',
            "      - name: m-1\n        template: pump\n",
            "13:5: lines.l1.machines: is not a mapping of keys to values; write NAME: {...} for each, in",
        ),
        ("lines:\n", "include: [factory.yaml]\nlines:\n", "10:11: include.0: this is the file itself; remove it"),
        ("lines:\n", "include: [lines/x.yaml]\nlines:\n", "does not exist"),
        ("format: 1\n", "", "1:1: format is missing; write format: 1 at the top"),
        # values
        (
            "64MiB",
            "64M",
            "'64M' is not a size; write a number and B, kB, MB, GB, KiB, MiB, GiB, as in 64MiB",
        ),
        (
            "  url:",
            "  keep_alive: 30\n  url:",
            "7:3: broker.keep_alive: 30 is not a duration; write its unit, as in 30s or 30ms",
        ),
        ("  url:", "  keep_alive: 20 sec\n  url:", "as in 20s"),
        (
            "  id:",
            "  reload_on_change: on\n  id:",
            "4:3: gateway.reload_on_change: 'on' is not true or false; write true",
        ),
        (
            "  id:",
            "  reload_on_change: 0\n  id:",
            "4:3: gateway.reload_on_change: 0 is not true or false; write false",
        ),
        ("id: edge-01", "id: true", "4:3: gateway.id: true is not text; put it in quotes"),
        ("id: edge-01", "id: 7", "4:3: gateway.id: 7 is not text; put it in quotes"),
        ("  url:", "  username: 12\n  url:", "7:3: broker.username: 12 is not text; put it in quotes"),
        (
            "  id:",
            "  confirm: borker\n  id:",
            "4:3: gateway.confirm: 'borker' is not a valid value; did you mean 'broker'?",
        ),
        (
            "  id:",
            "  confirm: [store]\n  id:",
            "4:3: gateway.confirm: is a list or mapping; write one of 'store' or 'broker'",
        ),
        # secrets
        (
            "  url:",
            "  username: u\n  password: geheim\n  url:",
            "8:3: broker.password: a secret is named, never written; write {secret: NAME}, with a name",
        ),
        (
            "  url:",
            "  username: u\n  password: !secret broker\n  url:",
            "8:13: broker.password: the tag !secret means nothing here; write {secret: NAME}",
        ),
        ("id: edge-01", "id: !env EDGE", "4:7: gateway.id: the tag !env means nothing here; write ${EDGE}"),
    ],
)
def test_a_mistake_in_a_factory_is_one_problem(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """It is at its line and column, in the words of the field, with the value that would be right."""
    [problem] = problems(write(tmp_path, changed(FACTORY, old, new)))
    assert expected in problem
    assert problem.startswith("factory.yaml:")
    assert not NOT_OURS.search(problem)
    assert "geheim" not in problem


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # addresses
        (
            "holding 2",
            "hr 2",
            "4:10: points.flow.address: 'hr 2' is not a Modbus address; did you mean 'holding 2', counted",
        ),
        ("holding 2", "HR2", "did you mean 'holding 2', counted from 0?"),
        ("holding 2", "input register 2", "did you mean 'input 2', counted from 0?"),
        ("holding 2", "'%MW2'", "did you mean 'holding 2', counted from 0?"),
        (
            "holding 2",
            "holding two",
            "'holding two' is not a Modbus address; write a table and an entry counted from 0",
        ),
        ("holding 2", "2", "points.flow.address: 2 names no table; write it as in 'holding 2'"),
        ("holding 2", "holding 70000", "points.flow.address: entry 70000 is beyond the last of a table, 65535"),
        ("holding 2", '"holding {base+2}"', "names in braces need parameters in the template, as in {base: 0}"),
        (
            "holding 2, raw: uint16, scale: 0.01, unit: l/min",
            "coil 3, raw: int16",
            "points.flow: an entry of table coil is one bit: leave raw and bit out",
        ),
        # types of values
        ("uint16", "REAL", "4:30: points.flow.raw: 'REAL' is not a raw type; write float32"),
        ("uint16", "float", "points.flow.raw: 'float' is not a raw type; write float32"),
        ("uint16", "DINT", "points.flow.raw: 'DINT' is not a raw type; write int32"),
        ("uint16", "UINT16", "points.flow.raw: 'UINT16' is not a valid value; did you mean 'uint16'?"),
        (
            "uint16",
            "float32, order: little",
            "'little' is not a byte order; write CDAB where the two registers are swapped",
        ),
        ("uint16", "float32, order: word_swap", "'word_swap' is not a byte order; write CDAB"),
        ("uint16", "float32, order: 3412", "3412 is not a byte order; write CDAB"),
        # numbers
        (
            "scale: 0.01",
            "scale: 0,01",
            "4:52: points.flow.01: a comma ends a value; write a decimal point, as in 0.01",
        ),
        (
            "scale: 0.01",
            "scale: '0,01'",
            "points.flow.scale: '0,01' is not a number; write 0.01, with a decimal point",
        ),
        ("scale: 0.01", "scale: '0.01'", "points.flow.scale: '0.01' is not a number; write 0.01, without quotes"),
        ("scale: 0.01", "factor: 0.01", "points.flow.factor: unknown key 'factor'; did you mean 'scale'?"),
        ("scale: 0.01", "range: 0..30", "points.flow.range: '0..30' is not a range; write [0, 30]"),
        ("scale: 0.01", "range: [30, 0]", "the range [30, 0] is empty; write the lowest first: [0, 30]"),
        ("scale: 0.01", "range: [0,5, 30,0]", "[0, 5, 30, 0] is not a range; write [0.5, 30.0], with decimal points"),
        # durations and truth, beside labels
        (
            "every: 1s",
            "every: 500",
            "5:80: points.state.every: 500 is not a duration; write its unit, as in 500ms or 500s",
        ),
        ("every: 1s", "every: 1sec", "'1sec' is not a duration; write a number and us, ms, s, m, h or d, as in 1s"),
        ("every: 1s", "every: 0,5s", "points.state.5s: a comma ends a value; write a decimal point, as in 0.01"),
        ("every: 1s", "interval: 1s", "points.state.interval: unknown key 'interval'; did you mean 'every'?"),
        ("on_change: true", "on_change: yes", "points.state.on_change: 'yes' is not true or false; write true"),
        # names of points
        (
            "  flow:",
            "  Flow Rate:",
            "with a letter or digit first, as in 'Flow-Rate'",
        ),
        ("  flow:", "  Öldruck:", "as in 'Oeldruck'"),
        # units
        ("unit: l/min", 'unit: "°C"', "points.flow.unit: '°C' is not a UCUM unit; write 'Cel'"),
        (
            "unit: l/min",
            "unit: C",
            "warning: points.flow.unit: 'C' is coulomb in UCUM; for degrees Celsius write 'Cel'",
        ),
        (
            "unit: l/min",
            "unit: F",
            "warning: points.flow.unit: 'F' is farad in UCUM; for degrees Fahrenheit write '[degF]'",
        ),
        ("unit: l/min", "unit: U/min", "warning: points.flow.unit: 'U/min' is enzyme units per minute in UCUM; for"),
        ("unit: l/min", "unit: pcs", "'pcs' is not a UCUM unit; write \"{piece}\""),
        ("unit: l/min", "unit: Stk", "'Stk' is not a UCUM unit; write \"{piece}\""),
        ("unit: l/min", "unit: ea", "'ea' is not a UCUM unit; write \"{piece}\""),
        ("unit: l/min", "unit: pcs/min", "'pcs/min' is not a UCUM unit; write \"{piece}/min\""),
        ("unit: l/min", "unit: kwh", "'kwh' is not a UCUM unit; write 'kW.h'"),
        ("unit: l/min", "unit: Nm³/h", "'Nm³/h' is not a UCUM unit; write 'm3{norm}/h'"),
        ("unit: l/min", "unit: psig", "'psig' is not a UCUM unit; write \"[psi]{gauge}\""),
        (
            "address: holding 2",
            "register: holding 2",
            "points.flow.register: unknown key 'register'; did you mean 'address'?",
        ),
        (
            "address: holding 2",
            "adress: holding 2",
            "points.flow.adress: unknown key 'adress'; did you mean 'address'?",
        ),
        ("unit: l/min", "unit: Bar", "'Bar' is not a UCUM unit; write 'bar'"),
        ("unit: l/min", "unit: '-'", "'-' is not a unit; leave unit out for a value that has none"),
        # YAML
        ("unit: l/min", "unit: %", "4:62: is not YAML: plain text can't begin with %; put it in quotes, as in '%'"),
        ("holding 2", "holding {base}", "4:27: is not YAML: "),
        ("protocol: modbus\n", "protocol: modbus\nextends: pump\n", "3:1: extends: extends itself: pump -> pump"),
        (
            "protocol: modbus\n",
            "protocol: canbus\n",
            "2:1: protocol: unknown protocol 'canbus'; there are: modbus, opcua",
        ),
    ],
)
def test_a_mistake_in_a_template_is_one_problem(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """A wrong value of one key causes no second problem, for example of its labels."""
    [problem] = problems(write(tmp_path, template=changed(TEMPLATE, old, new)))
    assert expected in problem
    assert problem.startswith("machines/pump.yaml:")
    assert not NOT_OURS.search(problem)


OPCUA = "format: 1\nprotocol: opcua\npoints:\n  speed: {node: %s, type: float}\n"


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Drum.Speed", "'Drum.Speed' is not a node id; did you mean 's=Drum.Speed'?"),
        ("Objects/Drum/Speed", "did you mean the path '/Drum/Speed'?"),
        ("2:Drum/2:Speed", "did you mean the path '/2:Drum/2:Speed'?"),
        ("ns=two;s=A", "ns= has the number of a namespace; with its URI write nsu=URI"),
        ("ns=2;i=17;x", "i= has a number, as in 'ns=2;i=17'; write s= for a name"),
    ],
)
def test_a_wrong_node_is_one_problem(tmp_path: Path, node: str, expected: str) -> None:
    factory = changed(FACTORY, "modbus+tcp://10.0.0.1:502?unit=1", "opc.tcp://10.0.0.1")
    [problem] = problems(write(tmp_path, factory, OPCUA % f"'{node}'"))
    assert problem.startswith("machines/pump.yaml:4:11: points.speed.node: ")
    assert problem.endswith(expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "    area: hall\n",
            "   area: hall\n",
            "13:5: is not YAML: this line is indented by 4 and line 12 by 3, which has a value behind",
        ),
        ("    area: hall\n", "\tarea: hall\n", "12:1: is not YAML: a tab is not indentation; indent with spaces"),
        (
            "lines:\n",
            "lines: []\n",
            "11:3: is not YAML: this line is indented by 2 and line 10 by 0, which has a value behind",
        ),
        ('unit=1"}', 'unit=1"', "14:12: is not YAML: this { has no }; close it"),
        ('?unit=1"}', "?unit=1}", "14:41: is not YAML: this quote has no end"),
        (
            '"modbus+tcp://10.0.0.1:502?unit=1"',
            "modbus+tcp://10.0.0.1:502, note: left: rear",
            "is not YAML: a value can't have a colon and a blank; put it in quotes",
        ),
        (
            "id: edge-01",
            "id: edge: 01",
            "4:11: is not YAML: a value can't have a colon and a blank; put it in quotes, as in id: 'edge: 01'",
        ),
        ("site: north", "site: ${SITE}", '2:35: is not YAML: inside {} a variable is in quotes, as in "${SITE}"'),
        (
            "id: edge-01",
            'id: "C:\\data"',
            "4:10: is not YAML: \\ begins an escape in double quotes; write single quotes",
        ),
        ("id: edge-01", "id", "4:3: is not YAML: this line has no colon behind its key; write KEY: VALUE"),
    ],
)
def test_a_text_that_is_not_yaml_is_reported_where_the_mistake_is(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    """A parser gives up lines behind the mistake, or in the words of its own grammar."""
    [problem] = problems(write(tmp_path, changed(FACTORY, old, new)))
    assert problem.startswith(f"factory.yaml:{expected}" if expected[0].isdigit() else "factory.yaml:14:")
    assert expected in problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (FACTORY.encode("utf-16"), "1:1: is UTF-16 text; save it as UTF-8"),
        (FACTORY.encode("utf-16-le"), "1:1: is UTF-16 text; save it as UTF-8"),
        (
            FACTORY.replace("hall", "Süd").encode("latin-1"),
            "12:12: is not UTF-8: there is a byte 0xFC (ü in Windows-1252 and Latin-1); save the file as UTF-8",
        ),
        (
            b"\xef\xbb\xbf" + FACTORY.replace("hall", "Süd").encode("latin-1"),
            "12:12: is not UTF-8: there is a byte 0xFC",
        ),
        (
            FACTORY.replace("hall", "Süd").replace("\n", "\r\n").encode("latin-1"),
            "12:12: is not UTF-8: there is a byte 0xFC",
        ),
        (
            FACTORY.replace("hall", "Süd").replace("\n", "\r").encode("latin-1"),
            "12:12: is not UTF-8: there is a byte 0xFC",
        ),
        (FACTORY.replace("hall", "a\0b").encode(), "12:12: is not YAML: control character (U+0000); remove it"),
        (b"", "1:1: is empty"),
        (b"# nothing\n", "1:1: is empty"),
        (b"- a\n", "1:1: is not a mapping of keys to values"),
    ],
)
def test_a_file_of_another_encoding_or_form_is_reported_at_its_place(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    """Editors of Windows save text in other encodings, and say so nowhere."""
    [problem] = problems(write(tmp_path, content))
    assert problem.startswith(f"factory.yaml:{expected}")


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + FACTORY.encode(), FACTORY.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_line_ends_of_windows_are_fine(tmp_path: Path, content: bytes) -> None:
    assert problems(write(tmp_path, content)) == []


MERGES = """\
      m-2: &m {template: pump, connection: "modbus+tcp://10.0.0.2"}
      m-3:
        <<: %s
        connection: "modbus+tcp://10.0.0.3"
"""


@pytest.mark.parametrize("merged", ["*m", "[*m]", "[{parameters: {}}, *m]"])
def test_a_merge_key_is_one_problem_that_lists_the_keys(tmp_path: Path, merged: str) -> None:
    """The merged keys count as written, so nothing is reported as missing."""
    [problem] = problems(write(tmp_path, FACTORY + MERGES % merged))
    assert problem.startswith(
        "factory.yaml:17:9: lines.l1.machines.m-3: merge keys (<<) are not part of YAML 1.2; write"
    )
    assert "write the merged keys here: " in problem
    assert "template" in problem


def test_a_range_that_repeats_machines_is_one_problem(tmp_path: Path) -> None:
    """Machines of the range that are there already are not compared with themselves as well."""
    again = '      m-{1..3}: {template: pump, connection: "modbus+tcp://10.0.0.1:502?unit={n}"}\n'
    [problem] = problems(write(tmp_path, FACTORY + again))
    assert problem.endswith("there is another m-1; leave it out of m-{1..3}, as in press-{01..06,08..24}")


def test_an_include_in_an_included_file_is_one_problem(tmp_path: Path) -> None:
    file = write(tmp_path, changed(FACTORY, "lines:\n", "include: [more.yaml]\nlines:\n"))
    (tmp_path / "more.yaml").write_text("format: 1\ninclude: [factory.yaml]\n", encoding="utf-8")
    [problem] = problems(file)
    assert problem.startswith(
        "more.yaml:2:1: include: unknown key 'include'; there are: format, lines (all other keys"
    )
