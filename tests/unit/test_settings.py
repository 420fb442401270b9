"""The configuration: a valid file is understood as written, and all mistakes are reported at once, with place."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.base import ValueType
from drivers.modbus.address import Address, Table
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.source import ModbusSource, Order, Raw
from gateway.cli import main
from gateway.common.setting_types import MissingSecret, Secret
from gateway.settings.document import read_document
from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError
from gateway.settings.sections import Confirm, WhenFull
from gateway.settings.templates import bundled_config

CASES = sorted((Path(__file__).parents[1] / "cases" / "wrong_config").iterdir())
PLANTS = sorted(bundled_config().glob("*.yaml"))

every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])

RIGHT: dict[str, Any] = {
    "format": 1,
    "factory": {"enterprise": "acme", "site": "one"},
    "gateway": {
        "id": "edge-1",
        "spool": {"folder": "spool", "max_size": "1.5GiB", "when_full": "refuse_newest"},
        "confirm": "broker",
    },
    "broker": {
        "url": "mqtts://broker.example",
        "username": "edge-1",
        "password": {"secret": "broker_password"},
        "keep_alive": "1.5s",
    },
    "ingest": {"batch_records": 10, "batch_wait": "20ms"},
    "stores": [
        {"sqlite": {"path": "readings.db", "keep": "7d"}},
        {"influxdb": {"url": "http://tsdb:8086", "bucket": "telemetry", "token": {"secret": "influx_token"}}},
    ],
    "lines": {
        "curing-1": {
            "area": "curing",
            "machines": {
                "press-01": {"template": "press", "connection": "modbus+tcp://10.0.0.1:1502?unit=7&timeout=0.5"},
                "press-02": {"template": "press", "connection": {"url": "modbus+tcp://10.0.0.1", "max_gap": 0}},
                "tbm-01": {
                    "template": "drum",
                    "connection": "opc.tcp://10.0.0.2:4840/plc?security=none&namespace=urn:x",
                },
            },
        }
    },
}

PRESS = """
format: 1
protocol: modbus
defaults: {every: 500ms, raw: int16}
points:
  pressure: {address: holding 2, raw: float32, order: CDAB, unit: bar, range: [0, 30], deadband: 2%}
  temperature: {address: holding 4, scale: 0.1, unit: Cel}
  state: {address: input 9, type: string, labels: {0: off, -1: no, 7: on}, every: 2s}
  valve: {address: coil 1, raw: null, on_change: true}
"""

DRUM = """
format: 1
protocol: opcua
points:
  speed: {node: s=Drum.Speed, type: float}
"""


def write(folder: Path, data: dict[str, Any] | str, **templates: str) -> Path:
    """Write a factory's file, as JSON, which is YAML; and templates beside it."""
    (folder / "machines").mkdir(exist_ok=True)
    for name, text in templates.items():
        (folder / "machines" / f"{name}.yaml").write_text(text, encoding="utf-8")
    file = folder / "factory.yaml"
    file.write_text(data if isinstance(data, str) else json.dumps(data, indent=1), encoding="utf-8")
    return file


def changed(*path: str | int, to: object) -> dict[str, Any]:
    """Return a right configuration but for one part."""
    data = json.loads(json.dumps(RIGHT))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return data


def problems(file: Path) -> list[str]:
    """Return the problems without folders and columns, which the cases compare."""
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    return [
        re.sub(r"^([^:]*:\d+):\d+:", r"\1:", str(problem).removeprefix(f"{file.parent}/"))
        for problem in caught.value.problems
    ]


# -- mistakes --


@every_case
def test_all_mistakes_are_reported_with_file_line_and_path(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person corrects a file in one go, not with one run for each mistake."""
    monkeypatch.chdir(case)
    with pytest.raises(ConfigurationError) as caught:
        load_factory(Path("factory.yaml"))
    assert str(caught.value) + "\n" == (case / "expected.txt").read_text(encoding="utf-8")


@every_case
def test_the_command_reports_the_same_and_exits_with_1(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CI of a factory's configuration depends on the exit code."""
    monkeypatch.chdir(case)
    ran = CliRunner().invoke(main, ["validate", "factory.yaml"])
    assert (without_lines(ran.stderr), ran.stdout, ran.exit_code) == (output_of_the_command(case), "", 1)


def test_the_command_of_a_shell_does_so_too() -> None:
    """Other programs see its exit code and its standard error."""
    case = next(case for case in CASES if case.name == "many_mistakes")
    command = [sys.executable, "-m", "gateway", "validate", "factory.yaml"]
    ran = subprocess.run(command, cwd=case, capture_output=True, text=True, check=False)
    assert (without_lines(ran.stderr), ran.stdout, ran.returncode) == (output_of_the_command(case), "", 1)


def without_lines(shown: str) -> str:
    """Return the problems without the lines of the files, each of which has a mark below it."""
    lines = shown.splitlines(keepends=True)
    excerpts = [line for line in lines if re.match(r" +\d* \| ", line)]
    assert all(set(mark.partition(" | ")[2]) <= set(" ^\n") for mark in excerpts[1::2])
    return "".join(line for line in lines if line not in excerpts)


def output_of_the_command(case: Path) -> str:
    expected = (case / "expected.txt").read_text(encoding="utf-8")
    count = len(expected.splitlines())
    return f"{expected}factory.yaml: {count} problem{'s' if count > 1 else ''}\n"


@every_case
def test_every_reported_place_exists_in_the_named_file(case: Path) -> None:
    """The expected texts are written by hand: none of them may point beyond its file."""
    for problem in (case / "expected.txt").read_text(encoding="utf-8").splitlines():
        file, line, column, _ = problem.split(":", 3)
        lines = (case / file).read_text(encoding="utf-8").splitlines()
        assert 1 <= int(line) <= len(lines)
        assert 1 <= int(column) <= max(1, len(lines[int(line) - 1]))


def test_a_file_that_is_not_there_is_a_problem_like_any_other(tmp_path: Path) -> None:
    """A typing error on the command line is answered in the same form."""
    assert problems(tmp_path / "factory.yaml") == ["factory.yaml:1: No such file or directory"]


def test_a_file_in_another_encoding_is_reported(tmp_path: Path) -> None:
    """An old editor may save a file as Latin-1; the message says so."""
    (tmp_path / "factory.yaml").write_bytes("site: Zürich".encode("latin-1"))
    assert problems(tmp_path / "factory.yaml") == [
        "factory.yaml:1: is not UTF-8: there is a byte 0xFC (ü in Windows-1252 and Latin-1); save the file as UTF-8"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("format: true", "1: format: this is format True, and this version"),
        ("a: 1", "1: format is missing; write format: 1 at the top"),
        ("- format: 1", "1: is not a mapping of keys to values"),
        ("format: 1\nid: {{ edge_id }}", "2: id: a key is a word, not a mapping or list; put text that holds"),
        ("format: 1\ngateway: &a\n  id: *a", "3: gateway.id: contains itself, by the alias *a"),
        ("format: 1\ngateway: {id: !env EDGE}", "2: gateway.id: the tag !env means nothing here"),
        ("format: 1\nlines: {a: *nothing}", "2: is not YAML: the alias *nothing has no anchor"),
        ("format: 1\n---\nformat: 1", "2: has a second document"),
        ("format: 1\nsite: \x07", "2: is not YAML: control character (U+0007); remove it"),
        (
            "format: 1\nlines: [a, b]",
            "2: lines: is not a mapping of keys to values; write NAME: {area: ..., machines: ...}",
        ),
        (
            "format: 1\nstores: {sqlite: {}}",
            "2: stores: is not a list; write - before each store, as in '- sqlite: {path: readings.db}'",
        ),
    ],
)
def test_a_file_that_is_not_a_configuration_is_reported(tmp_path: Path, text: str, expected: str) -> None:
    """Template syntax, tags of other programs and broken YAML are reported without a stack trace."""
    assert any(problem.startswith(f"factory.yaml:{expected}") for problem in problems(write(tmp_path, text)))


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["9" * 400 + "B", "5s", "x y", "mqtt://h:1", "modbus+tcp://h?unit=1", "opc.tcp://h?security=none"]),
)  # fmt: skip
_ANYTHING = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


def _paths(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [*([path] if path else []), *(found for key, inner in below for found in _paths(inner, (*path, key)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@given(st.sampled_from(_paths(RIGHT)), _ANYTHING)
@example(("gateway", "spool", "max_size"), "9" * 400 + "GiB")
@example(("broker", "url"), "mqtt://[")
@example(("lines", "curing-1"), None)
def test_every_value_is_understood_or_reported(folder: Path, path: tuple[str | int, ...], to: object) -> None:
    """No mistake in a file may end in a stack trace."""
    file = write(folder, changed(*path, to=to), press=PRESS, drum=DRUM)
    lines = len(file.read_text(encoding="utf-8").splitlines())
    found = []
    try:
        load_factory(file)
    except ConfigurationError as error:
        found = error.problems or ["no problem is reported"]
    assert all(1 <= problem.line <= lines and problem.message for problem in found)


# -- valid files --


def test_a_valid_file_is_understood_as_it_is_written(tmp_path: Path) -> None:
    """Durations become seconds, sizes bytes, and a URL its parts."""
    factory = load_factory(write(tmp_path, RIGHT, press=PRESS, drum=DRUM))
    assert factory.gateway.spool.max_size == 1536 * 2**20
    assert factory.gateway.spool.when_full is WhenFull.REFUSE_NEWEST
    assert factory.gateway.confirm is Confirm.BROKER
    [broker] = factory.broker.addresses
    assert (broker.host, broker.port, factory.broker.tls) == ("broker.example", 8883, True)
    assert factory.broker.keep_alive == 1.5
    assert factory.ingest.batch_wait == 0.02
    assert [entry.kind.name for entry in factory.stores] == ["sqlite", "influxdb"]
    press, other, drum = factory.machines
    assert str(press.path) == "acme/one/curing/curing-1/press-01"
    assert press.connection == ModbusConnection(host="10.0.0.1", port=1502, unit=7, timeout=0.5)
    assert other.connection == ModbusConnection(host="10.0.0.1", max_gap=0)
    assert drum.connection.model_dump()["url"] == "opc.tcp://10.0.0.2:4840/plc"
    assert press.points is other.points


def test_a_point_is_understood_as_it_is_written(tmp_path: Path) -> None:
    """Defaults apply to every point, null removes a default, and a type follows from its source."""
    points = {p.name: p for p in load_factory(write(tmp_path, RIGHT, press=PRESS, drum=DRUM)).machines[0].points}
    pressure, temperature, state, valve = points.values()
    expected = ModbusSource(address=Address(Table.HOLDING, 2), raw=Raw.FLOAT32, order=Order.CDAB)
    assert pressure.source == expected
    assert (pressure.every, pressure.range, pressure.dead) == (0.5, (0, 30), 0.6)
    assert temperature.source == ModbusSource(address=Address(Table.HOLDING, 4), raw=Raw.INT16)
    assert temperature.type is ValueType.FLOAT
    assert (state.every, state.type) == (2.0, ValueType.STRING)
    assert state.labels == {0: "off", -1: "no", 7: "on"}
    assert valve.source == ModbusSource(address=Address(Table.COIL, 1), raw=Raw.BOOL)
    assert valve.type is ValueType.BOOL


@pytest.mark.parametrize("file", PLANTS, ids=[file.name for file in PLANTS])
def test_bundled_plants_are_valid(file: Path) -> None:
    """The demo depends on them, and users copy them as a start."""
    factory = load_factory(file)
    assert all(machine.points for machine in factory.machines)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("no", "no"), ("off", "off"), ("Yes", "Yes"), ("y", "y"), ("true", True), ("FALSE", False), ("True", True),
        ("012", 12), ("0o14", 12), ("0x1F", 31), ("+12", 12), ("-7", -7), ("0b11", "0b11"), ("1_000", "1_000"),
        ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("-1.5E-3", -0.0015), ("1.2.3", "1.2.3"), (".inf", math.inf),
        ("-.INF", -math.inf), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("~", None), ("", None),
        ("null", None), ("NULL", None), ("nul", "nul"), ("'12'", "12"), ('"no"', "no"), ("|\n  12", "12"), ("=", "="),
    ],
)  # fmt: skip
def test_a_plain_word_means_what_yaml_1_2_says(tmp_path: Path, written: str, expected: object) -> None:
    """A label `off` is text and an order number `012` is 12, not false and 10."""
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {written}", encoding="utf-8")
    found = read_document(file).data["a"]
    assert found == expected
    assert isinstance(found, type(expected))


@pytest.mark.parametrize("written", ["012", "0x1F", "0X", "+12", "0o14"])
def test_a_number_keeps_how_it_was_written(tmp_path: Path, written: str) -> None:
    """Some keys depend on the written form: 00011 is a coil, and 11 is not."""
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {written}", encoding="utf-8")
    assert str(read_document(file).data["a"]) == written


def test_not_a_number_is_a_float(tmp_path: Path) -> None:
    """It is not a text, and it is refused where a number is required."""
    file = tmp_path / "a.yaml"
    file.write_text("a: .nan", encoding="utf-8")
    assert math.isnan(read_document(file).data["a"])


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1e400"])
@pytest.mark.parametrize("key", ["scale", "offset", "deadband", "range"])
def test_numbers_without_an_end_are_refused(tmp_path: Path, key: str, number: str) -> None:
    """They would pass every comparison and poison every value."""
    written = f"[0, {number}]" if key == "range" else number
    template = f"format: 1\nprotocol: opcua\npoints:\n  a: {{node: s=A, type: float, {key}: {written}}}"
    found = problems(write(tmp_path, RIGHT, press=PRESS, drum=template))
    assert [problem.split(": ")[0] for problem in found] == ["machines/drum.yaml:4"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("type: string", "the device has type int here, which can't be converted to string"),
        ("raw: string, length: 4, type: int", "the device has type string here, which can't be converted to int"),
        ("raw: string, length: 4, labels: {0: off}", "labels are for whole numbers, and this point has type string"),
        ("raw: float32, type: int, labels: {0: off}", "labels are for whole numbers, and this point has type float"),
        ("bit: 1, labels: {0: off, 2: on}", "a bit has labels for 0 and 1, not for 2"),
        ("bit: 1, type: float, labels: {0: off}", "labels are for whole numbers, and this point has type bool"),
        ("invert: true", "invert is for bits, and this point is uint16"),
        ("labels: {0x: off}", "a label belongs to a whole number, not to '0x'; write {0: stopped, 1: running}"),
        ("labels: {0x10: off, 16: on}", "two labels belong to the same number"),
        ("type: float, labels: {0: off}", "labels are for whole numbers, and this point has type int"),
        (
            "type: bool, range: [0, 1]",
            "scale, offset, range and deadband are for numbers, and this point has type bool",
        ),
    ],
)
def test_types_that_can_never_meet_are_refused(tmp_path: Path, keys: str, message: str) -> None:
    """Every reading of such a point would be bad: the mistake is reported before the first reading."""
    template = f"format: 1\nprotocol: modbus\npoints:\n  a: {{address: holding 1, {keys}}}"
    found = problems(write(tmp_path, RIGHT, press=template, drum=DRUM))
    assert any(re.fullmatch(rf"machines/press.yaml:4: points.a(\.\w+)?: {re.escape(message)}", one) for one in found)


@pytest.mark.parametrize("keys", ["scale: 1e101", "scale: -1e-101", "offset: -1e101"])
def test_scales_beyond_all_reason_are_refused(tmp_path: Path, keys: str) -> None:
    """A slip in the exponent is reported here, and no value can overflow a float later."""
    template = f"format: 1\nprotocol: opcua\npoints:\n  a: {{node: s=A, type: float, {keys}}}"
    [problem] = problems(write(tmp_path, RIGHT, press=PRESS, drum=template))
    assert re.search(r"points\.a\.(scale|offset): this \1 makes values larger", problem)


def test_windows_files_are_read(tmp_path: Path) -> None:
    """A byte order mark and CR LF are how Notepad saves."""
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfformat: 1\r\na: b\r\n")
    document = read_document(file)
    assert document.data == {"format": 1, "a": "b"}
    assert document.line(("a",)) == 2


@pytest.mark.parametrize(
    ("written", "seconds"), [("1us", 1e-6), ("500ms", 0.5), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("7d", 604800)]
)
def test_durations_have_a_unit(tmp_path: Path, written: str, seconds: float) -> None:
    """`10` is seconds to one reader and milliseconds to the next."""
    factory = load_factory(write(tmp_path, changed("ingest", "batch_wait", to=written), press=PRESS, drum=DRUM))
    assert factory.ingest.batch_wait == pytest.approx(seconds)


@pytest.mark.parametrize(
    "url",
    [
        "modbus+tcp://h?unit=256", "modbus+tcp://h?unit=-1", "modbus+tcp://h?unit=", "modbus+tcp://h?unit=1&unit=2",
        "modbus+tcp://h:0", "modbus+tcp://h:65536", "modbus+tcp://h:x", "modbus+tcp://", "modbus+tcp://h?timeout=0",
        "modbus+tcp://h?timeout=nan", "modbus+tcp://h?timeout=61", "modbus+tcp://h?max_registers=126", "h:502", "",
        "modbus+tcp://h?max_registers=0", "modbus+tcp://h?speed=9600", "modbus+tcp://[::1", "tcp://h:502",
    ],
)  # fmt: skip
def test_an_invalid_connection_is_reported_at_its_line(tmp_path: Path, url: str) -> None:
    """It is the first mistake that is made on site."""
    path = ("lines", "curing-1", "machines", "press-01", "connection")
    file = write(tmp_path, changed(*path, to=url), press=PRESS, drum=DRUM)
    line = next(
        n for n, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1) if json.dumps(url) in text
    )
    found = problems(file)
    assert len(found) == 1
    assert found[0].startswith(f"factory.yaml:{line}: {'.'.join(path)}: ")


# -- templates --


def test_an_extending_template_lays_its_keys_over_those_of_the_other(tmp_path: Path) -> None:
    """A machine type that differs in a register is one line, not a copy."""
    templates = {
        "press": "format: 1\nprotocol: modbus\nextends: base\ndefaults: {unit: bar}\npoints:\n"
        "  a: {address: holding 7, scale: null}\n  c: {address: holding 3}",
        "base": "format: 1\nprotocol: modbus\ndefaults: {every: 2s}\npoints:\n"
        "  a: {address: holding 1, scale: 0.1, unit: Cel}\n  b: {address: holding 2}",
        "drum": DRUM,
    }
    a, b, c = load_factory(write(tmp_path, RIGHT, **templates)).machines[0].points
    assert (a.source, a.scale, a.unit, a.every) == (ModbusSource(address=Address(Table.HOLDING, 7)), 1.0, "Cel", 2.0)
    assert (b.name, b.unit, b.every) == ("b", "", 2.0)
    assert (c.name, c.unit, c.every) == ("c", "bar", 1.0)


def test_own_templates_are_found_before_bundled_templates(tmp_path: Path) -> None:
    """A plant can correct a template without waiting for a release."""
    own = "format: 1\nprotocol: modbus\npoints:\n  own: {address: holding 0}"
    to = {"template": "curing-press", "connection": "modbus+tcp://h"}
    data = changed("lines", "curing-1", "machines", "press-01", to=to)
    assert len(load_factory(write(tmp_path, data, press=PRESS, drum=DRUM)).machines[0].points) > 10
    factory = load_factory(write(tmp_path, data, press=PRESS, drum=DRUM, **{"curing-press": own}))
    assert [point.name for point in factory.machines[0].points] == ["own"]


def test_templates_can_be_in_another_folder(tmp_path: Path) -> None:
    """Several factories' files can share one folder of machine types."""
    shared = tmp_path / "types"
    shared.mkdir()
    for name, text in {"press": PRESS, "drum": DRUM}.items():
        (shared / f"{name}.yaml").write_text(text, encoding="utf-8")
    file = write(tmp_path, RIGHT | {"templates": "types"})
    assert len(load_factory(file).machines) == 3
    assert problems(write(tmp_path, RIGHT | {"templates": "nowhere"}))[-1].endswith(
        f"templates: the folder {tmp_path / 'nowhere'} does not exist, or can't be read"
    )


@pytest.mark.parametrize("name", ["template", "connection", "area", "machines"])
def test_a_machine_may_be_named_like_a_key(tmp_path: Path, name: str) -> None:
    """The valid keys follow from the position of a machine, not from its name."""
    machine = {"template": "press", "connection": "modbus+tcp://h", "templat": "x"}
    [problem] = problems(
        write(tmp_path, changed("lines", "curing-1", "machines", name, to=machine), press=PRESS, drum=DRUM)
    )
    assert problem.endswith("unknown key 'templat'; did you mean 'template'?")


# -- secrets --

PLAIN = "hunter2-S3cr3t!"


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (("broker", "password"), PLAIN),
        (("broker", "password"), 20041889),
        (("broker", "password"), [PLAIN]),
        (("broker", "password"), {"secret": PLAIN}),
        (("broker", "password"), {"secret": 20041889}),
        (("broker", "password"), {"value": PLAIN}),
        (("broker", "password"), {PLAIN: None}),
        (("broker", "password"), {"secret": "broker_password", PLAIN: None}),
        (("broker", "url"), f"mqtt://edge:{PLAIN}@broker"),
        (("broker", "url"), f"mqtt://broker:{PLAIN}"),
        (("broker",), f"mqtt://edge:{PLAIN}@broker"),
        (("stores", 1, "influxdb", "token"), PLAIN),
        (("stores", 1, "influxdb", "token"), 20041889),
        (("stores", 1, "influxdb", "url"), f"http://edge:{PLAIN}@tsdb:8086"),
        (("stores", 1, "influxdb"), PLAIN),
        (("stores", 1), f"influxdb://edge:{PLAIN}@tsdb"),
        (("lines", "curing-1", "machines", "tbm-01", "connection"), f"opc.tcp://edge:{PLAIN}@h?security=none"),
        (("lines", "curing-1", "machines", "tbm-01", "connection"), f"opc.tcp://edge:{PLAIN}@?security=none"),
        (("lines", "curing-1", "machines", "tbm-01", "connection"), f"opc.tcp://h?security=none&password={PLAIN}"),
    ],
)
def test_a_secret_written_in_plain_is_refused_and_not_repeated(
    tmp_path: Path, path: tuple[str | int, ...], written: object
) -> None:
    """The message ends up in the log of a build server."""
    file = write(tmp_path, changed(*path, to=written), press=PRESS, drum=DRUM)
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file)
    assert not re.search("hunter2|20041889", str(caught.value))


def test_a_secret_comes_from_a_file_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Container secrets and systemd credentials are files; other processes can read an environment."""
    secret = Secret(secret="broker.pass-word")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("LINESIDE_SECRETS", str(tmp_path / "secrets"))
    monkeypatch.setenv("LINESIDE_SECRET_BROKER_PASS_WORD", "from the environment")
    assert secret.reveal() == "from the environment"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "broker.pass-word").write_text(" from a file \n", encoding="utf-8")
    assert secret.reveal() == " from a file "
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "broker.pass-word").write_text("from systemd\r\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert secret.reveal() == "from systemd"


def test_a_secret_can_be_a_credential_that_systemd_loaded_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One unit serves every factory with LoadCredential=lineside:FOLDER; systemd.exec(5) names the files so."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "lineside_broker_password").write_text("from the folder\n", encoding="utf-8")
    assert Secret(secret="broker_password").reveal() == "from the folder"
    (tmp_path / "broker_password").write_text("alone\n", encoding="utf-8")
    assert Secret(secret="broker_password").reveal() == "alone"


def test_a_secret_can_be_in_a_file_of_any_name(tmp_path: Path) -> None:
    """Other tools put a secret there; a message about the file does not contain the secret."""
    (tmp_path / "password").write_text("from here\n", encoding="utf-8")
    assert Secret.model_validate({"file": str(tmp_path / "password")}).reveal() == "from here"
    with pytest.raises(MissingSecret, match=r"the secret in /nowhere can't be read: No such file"):
        Secret(file="/nowhere").reveal()
    with pytest.raises(ValueError, match="write the path of the secret's file"):
        Secret.model_validate({"file": ""})
    with pytest.raises(ValueError, match="a secret is named, never written"):
        Secret.model_validate({"secret": "name", "file": "/run/password"})


def test_a_secret_is_read_without_waiting_and_within_bounds(tmp_path: Path) -> None:
    """A FIFO would stop the service until somebody writes to it."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(MissingSecret, match="fifo can't be read: is not a regular file"):
        Secret(file=str(tmp_path / "fifo")).reveal()
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    with pytest.raises(MissingSecret, match="large can't be read: it has more than 65,536 bytes"):
        Secret(file=str(tmp_path / "large")).reveal()


def test_a_missing_secret_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fix is to put it there."""
    for name in ("CREDENTIALS_DIRECTORY", "LINESIDE_SECRETS", "LINESIDE_SECRET_NOWHERE_TO_BE_FOUND"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingSecret) as caught:
        Secret(secret="nowhere-to.be_found").reveal()
    assert str(caught.value) == (
        "secret 'nowhere-to.be_found' is missing: put it into a file of that name in /run/secrets (or the folder "
        "that LINESIDE_SECRETS names), or into the environment variable LINESIDE_SECRET_NOWHERE_TO_BE_FOUND"
    )


def test_a_secret_that_is_not_text_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the message nor its cause may contain a part of the secret."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("LINESIDE_SECRETS", str(tmp_path))
    (tmp_path / "key").write_bytes(b"hunter\xff")
    with pytest.raises(MissingSecret, match="is not UTF-8") as caught:
        Secret(secret="key").reveal()
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_loaded_factory_shows_names_of_secrets_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are printed when something is debugged."""
    monkeypatch.setenv("LINESIDE_SECRET_BROKER_PASSWORD", PLAIN)
    factory = load_factory(write(tmp_path, RIGHT, press=PRESS, drum=DRUM))
    assert factory.broker.password is not None
    assert factory.broker.password.reveal() == PLAIN
    assert PLAIN not in repr(factory)
    assert "broker_password" in repr(factory)


def test_a_digest_distinguishes_configurations_in_any_folder(tmp_path: Path) -> None:
    """Two boxes with the same files report the same digest; a template counts like the file that names it."""
    digests = []
    for place, unit in (("one", "bar"), ("two", "bar"), ("three", "kPa")):
        folder = tmp_path / place
        (folder / "machines").mkdir(parents=True)
        (folder / "machines" / "press.yaml").write_text(
            f"format: 1\nprotocol: modbus\npoints: {{pressure: {{address: holding 1, unit: {unit}}}}}\n"
        )
        (folder / "factory.yaml").write_text(
            "format: 1\nfactory: {enterprise: a, site: b}\ngateway: {id: edge}\nbroker: {url: 'mqtt://localhost'}\n"
            "lines: {l: {area: a, machines: {m: {template: press, connection: 'modbus+tcp://10.0.0.1'}}}}\n"
        )
        digests.append(load_factory(folder / "factory.yaml").digest)
    one, two, three = digests
    assert one == two != three
    assert len(one) == 64
