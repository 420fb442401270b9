"""Many machines out of few lines: ranges, parameters, points that are different on one machine, several files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.source import ModbusSource
from gateway.settings.load import load_factory
from gateway.settings.machine_ranges import machines_of
from gateway.settings.parameters import fill
from gateway.settings.problems import ConfigurationError, Severity

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory
    from gateway.settings.point import Point

HEAD = "format: 1\nfactory: {enterprise: acme, site: one}\ngateway: {id: edge-1}\nbroker: {url: 'mqtt://localhost'}\n"

PRESS = """
format: 1
protocol: modbus
parameters: {base: 0, zones: 2}
points:
  pressure: {address: "holding {base+2}", scale: 0.01, unit: bar, range: [0, 30]}
  zone: {address: "holding {base + 10}", count: "{zones}"}
  parts: {address: input 0, unit: "{part}"}
  spare: {address: coil 0, enabled: false}
"""


def load(folder: Path, machines: str, template: str = PRESS, **files: str) -> Factory:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "press.yaml").write_text(template, encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    file = folder / "factory.yaml"
    file.write_text(f"{HEAD}lines:\n  l:\n    area: a\n    machines:\n{machines}\n", encoding="utf-8")
    return load_factory(file)


def points(factory: Factory, machine: int = 0) -> dict[str, Point]:
    return {point.name: point for point in factory.machines[machine].points}


def address(point: Point) -> str:
    assert isinstance(point.source, ModbusSource)
    return str(point.source.address)


def test_a_range_is_as_many_machines_each_with_its_number(tmp_path: Path) -> None:
    """Twenty-four presses behind gateways are one line of YAML."""
    factory = load(
        tmp_path,
        '      press-{07..10}: {template: press, parameters: {base: "{(n-7)*100}"}, '
        'connection: "modbus+tcp://10.20.1.{(n-1)//4+11}?unit={(n-1)%4+1}"}',
    )
    assert [machine.path.machine for machine in factory.machines] == ["press-07", "press-08", "press-09", "press-10"]
    expected = [("10.20.1.12", 3), ("10.20.1.12", 4), ("10.20.1.13", 1), ("10.20.1.13", 2)]
    assert [machine.connection for machine in factory.machines] == [
        ModbusConnection(host=host, unit=unit) for host, unit in expected
    ]
    assert [address(points(factory, i)["pressure"]) for i in range(4)] == [
        f"holding {base + 2}" for base in range(0, 400, 100)
    ]


def test_points_that_do_not_differ_are_shared(tmp_path: Path) -> None:
    """A thousand machines of a type have the points of one in memory."""
    factory = load(
        tmp_path,
        '      press-{1..3}: {template: press, parameters: {base: "{n%2}"}, connection: "modbus+tcp://h{n}"}',
    )
    one, two, three = factory.machines
    assert one.points is three.points
    assert points(factory, 0)["parts"] is points(factory, 1)["parts"]
    assert one.points is not two.points


def test_parameters_have_values_of_their_template_where_a_machine_says_nothing(tmp_path: Path) -> None:
    """The usual machine needs the fewest keys."""
    factory = load(tmp_path, "      press-1: {template: press, connection: 'modbus+tcp://h?unit={zones}'}")
    assert address(points(factory)["pressure"]) == "holding 2"
    assert list(points(factory)) == ["pressure", "zone_0", "zone_1", "parts"]
    assert points(factory)["parts"].unit == "{part}"
    assert factory.machines[0].connection == ModbusConnection(host="h", unit=2)


def test_an_extending_template_gives_parameters_other_values(tmp_path: Path) -> None:
    """A machine type with other register addresses takes two lines."""
    other = "format: 1\nprotocol: modbus\nextends: press\nparameters: {base: 500}\npoints: {spare: {enabled: true}}"
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "other.yaml").write_text(other, encoding="utf-8")
    factory = load(tmp_path, "      press-1: {template: other, parameters: {zones: 1}, connection: 'modbus+tcp://h'}")
    assert {name: address(point) for name, point in points(factory).items()} == {
        "pressure": "holding 502", "zone_0": "holding 510", "parts": "input 0", "spare": "coil 0"
    }  # fmt: skip


def test_one_machine_has_other_points_than_its_template(tmp_path: Path) -> None:
    """An odd machine is a few keys, not a template of its own; all others stay as they are."""
    factory = load(
        tmp_path,
        """
      press-1: {template: press, connection: "modbus+tcp://h1"}
      press-2:
        template: press
        parameters: {base: 100}
        connection: "modbus+tcp://h2"
        points:
          pressure: {scale: 0.1, range: null}
          parts: {enabled: false}
          spare: {enabled: true, description: "of {machine} on {line} in {area}"}
          zone_1: {unit: Cel}
          extra: {address: "input {base+9}", unit: "{part}"}
""",
    )
    assert list(points(factory, 0)) == ["pressure", "zone_0", "zone_1", "parts"]
    usual, other = points(factory, 0), points(factory, 1)
    assert list(other) == ["pressure", "zone_0", "zone_1", "spare", "extra"]
    assert (usual["pressure"].scale, usual["pressure"].range) == (0.01, (0, 30))
    assert (other["pressure"].scale, other["pressure"].range, other["pressure"].unit) == (0.1, None, "bar")
    assert other["spare"].description == "of press-2 on l in a"
    assert (other["zone_0"].unit, other["zone_1"].unit, usual["zone_1"].unit) == ("", "Cel", "")
    assert (address(other["zone_1"]), address(other["extra"])) == ("holding 111", "input 109")


def test_lines_can_be_in_files_of_their_own(tmp_path: Path) -> None:
    """The person who maintains a line edits only the file of that line."""
    line = (
        "format: 1\nlines: {{{}: {{area: a, machines: {{m: {{template: press, connection: 'modbus+tcp://{}'}}}}}}}}"
    )
    factory = load(
        tmp_path, "      m: {template: press, connection: 'modbus+tcp://h0'}\ninclude: [line-*.yaml, line-1.yaml]",
        **{f"line-{i}": line.format(f"l{i}", f"h{i}") for i in (2, 1)},
    )  # fmt: skip
    assert [str(machine.path) for machine in factory.machines] == [
        f"acme/one/a/{line}/m" for line in ("l", "l1", "l2")
    ]


def test_a_factory_may_consist_of_included_lines_alone(tmp_path: Path) -> None:
    """The IT department of the plant then maintains the main file."""
    (tmp_path / "line.yaml").write_text(
        "format: 1\nlines: {l: {area: a, machines: {m: {template: packml-modbus, connection: 'modbus+tcp://h'}}}}",
        encoding="utf-8",
    )
    (tmp_path / "factory.yaml").write_text(f"{HEAD}include: [line.yaml]\n", encoding="utf-8")
    assert len(load_factory(tmp_path / "factory.yaml").machines) == 1


def test_a_configuration_that_is_rarely_intended_is_a_warning(tmp_path: Path) -> None:
    """The gateway runs; `lineside validate` shows the warning."""
    template = PRESS + "  raw: {address: 'holding 2', raw: float32}\n"
    factory = load(tmp_path, "      m: {template: press, connection: 'modbus+tcp://h'}", template)
    [warning] = factory.warnings
    assert (warning.severity, warning.line, warning.path) == (Severity.WARNING, 10, "points.raw")
    assert warning.message == "float32 at holding 2 overlaps uint16 at holding 2 of pressure"


def test_parts_of_a_register_do_not_overlap_the_whole(tmp_path: Path) -> None:
    """Status words are read like this, and one register may be two points of one type."""
    template = """
format: 1
protocol: modbus
points:
  word: {address: holding 0}
  same: {address: holding 0, scale: 0.1}
  door: {address: holding 0, bit: 3}
  mode: {address: holding 0, bits: 4..7}
  high: {address: holding 0, raw: uint8, byte: high}
  coil: {address: coil 0}
  input: {address: input 0, raw: float32}
"""
    assert load(tmp_path, "      m: {template: press, connection: 'modbus+tcp://h'}", template).warnings == ()


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="{}n+b:1.,- ", max_size=8) | st.just("{base}"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["base", "pressure", "zone_1", "address", "enabled", "unit", "count", "x"]), inner
        )
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@example(section="connection", written="{base}", key="m")  # a number where a URL belongs
@given(
    section=st.sampled_from(["parameters", "points", "connection", "template"]),
    written=_ANYTHING,
    key=st.sampled_from(["m", "m-{1..3}"]) | st.text(alphabet="m{}.,12 ", min_size=1, max_size=8),
)
def test_any_machine_entry_is_accepted_or_reported(folder: Path, section: str, written: object, key: str) -> None:
    """No mistake in a file may end in a stack trace, or in a machine that is silently not there."""
    machine = {"template": "press", "connection": "modbus+tcp://h"} | {section: written}
    text = json.dumps({key: machine})
    try:
        factory = load(folder, f"      {text[1:-1]}")
    except ConfigurationError as error:
        right = any(problem.severity is Severity.ERROR for problem in error.problems)
    else:
        right = [one.path.machine for one in factory.machines] == [one.name for one in machines_of(key)]
    assert right


# -- names in braces --

NAMES = {"n": 7, "base": 100, "tag": "Drum", "half": 0.5, "on": True}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("plain", "plain"), ("{n}", 7), ("{ n }", 7), ("{n+1}", 8), ("{base+2*n}", 114), ("{(n-1)//4}", 1),
        ("{(n-1)%4+1}", 3), ("{-n}", -7), ("{tag}", "Drum"), ("{half}", 0.5), ("{on}", True), ("{n:02}", "07"),
        ("{n:3}", "007"), ("{base+n:05}", "00107"), ("holding {base+2}", "holding 102"), ("s={tag}.{n}", "s=Drum.7"),
        ("{{n}}", "{n}"), ("{{{n}}}", "{7}"), ("x={on}", "x=true"), (5, 5), (None, None),
        ({"a": ["{n}", {"b": "{tag}"}]}, {"a": [7, {"b": "Drum"}]}),
    ],
)  # fmt: skip
def test_names_in_braces_become_their_values(written: object, expected: object) -> None:
    """A number stays a number if it is the whole value, and becomes text within text."""
    found = fill(written, NAMES)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "written",
    [
        "{m}", "{tag+1}", "{half*2}", "{on+1}", "{n/2}", "{n**9}", "{n if n else 1}", "{n.real}",
        "{n()}", "{}", "{ }",
        "{n", "n}", "{n//0}", "{n%0}", "{tag:02}", "{n:x}", "{n:99}", "{1.5}", "{'a'}", "{True}", "{n+}", "{n;n}",
        "{__import__('os')}", "{" + "-" * 5000 + "1}", "{" + "(" * 99 + "}", "{\0}", "{n,n}", "{n:02:03}",
    ],
)  # fmt: skip
def test_an_invalid_expression_is_refused(written: str) -> None:
    """A configuration is not a program, and no text in it ends in a stack trace."""
    with pytest.raises(ValueError, match=r"[{}]|characters"):
        fill(written, NAMES)


@given(st.text(alphabet="{}n+-*/%() 0:b\n"))
def test_any_text_in_braces_is_accepted_or_refused(written: str) -> None:
    """Errors of Python's own parser are reported like all others."""
    try:
        fill(written, NAMES)
    except ValueError as error:
        result = str(error)
    else:
        result = "understood"
    assert result


@given(st.text())
def test_doubled_braces_are_braces(text: str) -> None:
    """Whatever a node's name is, it can be written."""
    assert fill(text.replace("{", "{{").replace("}", "}}"), NAMES) == text


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("press", [("press", None)]),
        ("p{1..3}", [("p1", 1), ("p2", 2), ("p3", 3)]),
        ("{08..11}-left", [("08-left", 8), ("09-left", 9), ("10-left", 10), ("11-left", 11)]),
        ("p{01..02, 05}", [("p01", 1), ("p02", 2), ("p05", 5)]),
        ("p{007}", [("p007", 7)]),
    ],
)
def test_a_key_with_a_range_names_its_machines(key: str, expected: list[tuple[str, int | None]]) -> None:
    """Digits are kept, so that names sort as their numbers do."""
    assert [tuple(one) for one in machines_of(key)] == expected


@pytest.mark.parametrize(
    "key", ["p{1..99999999}", "p{}", "p{1..}", "p{2..1}", "p{1", "p}", "p{1..2}{3..4}", "p{1,1}", "{a}", "-{1..2}"]
)
def test_a_key_with_an_invalid_range_is_refused(key: str) -> None:
    """So is a range that would fill the memory."""
    with pytest.raises(ValueError, match=r"brace|number|name|range|down|more|twice"):
        machines_of(key)


def test_addresses_are_calculated_from_the_parameters(tmp_path: Path) -> None:
    """They are the registers of the template, moved by the base of the machine."""
    factory = load(tmp_path, "      m: {template: press, parameters: {base: 40}, connection: 'modbus+tcp://h'}")
    source = points(factory)["pressure"].source
    assert isinstance(source, ModbusSource)
    assert source.address == Address(Table.HOLDING, 42)
