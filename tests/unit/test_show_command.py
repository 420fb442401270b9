"""`lineside show`, `lineside validate`: a configuration as the gateway understands it, for people and programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from gateway.common.setting_types import parse_duration
from gateway.settings.document import read_document
from gateway.settings.load import load_factory
from gateway.settings.serialize import dump, duration, least, unrolled
from gateway.settings.templates import bundled_config

CASES = Path(__file__).parents[1] / "cases"
PLANTS = sorted(bundled_config().glob("*.yaml"))

FACTORY = """
format: 1
factory: {enterprise: acme, site: one}
gateway: {id: edge-1}
broker: {url: "mqtts://localhost", username: edge-1, password: {secret: broker_password}}
include: [more.yaml]
lines:
  curing-1:
    area: curing
    machines:
      press-{01..03}: {template: press, parameters: {base: "{n*100}"}, connection: "modbus+tcp://10.0.0.{n}?timeout=2"}
      press-04:
        template: press
        phase: 250ms
        connection: {url: "modbus+tcp://10.0.0.4", unit: 4}
        points:
          pressure: {enabled: false}
          odd: {address: input 7, unit: "{part}", description: "{{braces}}, 1e3"}
"""
MORE = """
format: 1
lines:
  building-1:
    area: building
    machines:
      tbm: {template: tire-building-machine, connection: "opc.tcp://127.0.0.1?security=none&namespace=urn:{machine}"}
"""
PRESS = """
format: 1
protocol: modbus
parameters: {base: 0}
points:
  pressure: {address: "holding {base}", scale: 0.01, unit: bar, range: [0, 30], deadband: 0.5%, every: 500ms}
  phase: {address: input 0, labels: {0: off, 1: "1e3", -1: "0o14"}, type: string}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "press.yaml").write_text(PRESS, encoding="utf-8")
    (tmp_path / "more.yaml").write_text(MORE, encoding="utf-8")
    (tmp_path / "factory.yaml").write_text(FACTORY, encoding="utf-8")
    return tmp_path / "factory.yaml"


def shown(*arguments: str) -> str:
    ran = CliRunner().invoke(main, ["show", *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.output


@pytest.mark.parametrize("style", ["yaml", "json"])
def test_every_machine_is_shown_with_its_points(file: Path, tmp_path: Path, style: str) -> None:
    """A person sees the effect of a range, a parameter and a template before the gateway runs."""
    output = tmp_path / f"shown.{style}"
    output.write_text(shown(str(file), "--format", style), encoding="utf-8")
    document: dict[str, Any] = read_document(output).data  # JSON is YAML
    machines = {machine["machine"]: machine for machine in document["machines"]}
    assert [name.rpartition("/")[2] for name in machines] == ["press-01", "press-02", "press-03", "press-04", "tbm"]
    assert machines["acme/one/curing/curing-1/press-02"]["connection"] == "modbus+tcp://10.0.0.2?timeout=2"
    assert machines["acme/one/curing/curing-1/press-02"]["points"]["pressure"] == {
        "address": "holding 200", "type": "float", "every": "500ms", "unit": "bar", "scale": 0.01, "range": [0, 30],
        "deadband": "0.5%",
    }  # fmt: skip
    assert machines["acme/one/curing/curing-1/press-04"]["points"]["phase"]["labels"] == {
        "0": "off",
        "1": "1e3",
        "-1": "0o14",
    }
    assert list(machines["acme/one/curing/curing-1/press-04"]["points"]) == ["phase", "odd"]
    assert document["broker"]["password"] == {"secret": "broker_password"}


def test_lines_of_text_show_machine_point_rate_and_source(file: Path) -> None:
    """It is read on a terminal beside the machine."""
    text = shown(str(file), "--machine", "press-01")
    assert text.splitlines()[0].endswith("curing-1/press-01   press, 2 points over modbus+tcp://10.0.0.1?timeout=2")
    assert "pressure" in text
    assert "500ms   address: holding 100, scale: 0.01, range: [0, 30], deadband: 0.5%" in text
    assert "press-02" not in text


def test_a_pattern_that_matches_no_machine_is_reported(file: Path) -> None:
    """An empty answer would look like an empty factory."""
    ran = CliRunner().invoke(main, ["show", str(file), "--machine", "pres-01"])
    assert (ran.exit_code, ran.stderr) == (1, f"{file}: no machine matches 'pres-01'\n")


def test_secrets_are_shown_by_name_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output ends up in a ticket."""
    monkeypatch.setenv("LINESIDE_SECRET_BROKER_PASSWORD", "hunter2")
    for style in ("text", "yaml", "json"):
        assert "hunter2" not in shown(str(file), "--format", style)


@pytest.mark.parametrize("file_", [*PLANTS, None], ids=lambda file: file.name if file else "ranges")
def test_an_unrolled_factory_is_the_same(file: Path, file_: Path | None) -> None:
    """Simulators, and people who move a configuration, depend on it."""
    factory = load_factory(file_ or file)
    plain = file.parent / "plain.yaml"
    plain.write_text(dump(unrolled(factory)), encoding="utf-8")
    assert load_factory(plain).machines == factory.machines


@pytest.mark.slow
@pytest.mark.parametrize("file_", PLANTS, ids=lambda file: file.name)
def test_points_as_they_are_shown_make_the_same_points(file_: Path, tmp_path: Path) -> None:
    """The shown points can be pasted into a template."""
    factory = load_factory(file_)
    machines = {machine.template: machine for machine in factory.machines}
    (tmp_path / "machines").mkdir()
    for name, machine in machines.items():
        template = {
            "format": 1,
            "protocol": machine.protocol.name,
            "points": {p.name: least(p) for p in machine.points},
        }
        (tmp_path / "machines" / f"{name}.yaml").write_text(dump(template), encoding="utf-8")
    (tmp_path / "factory.yaml").write_text(dump(unrolled(factory)), encoding="utf-8")
    assert load_factory(tmp_path / "factory.yaml").machines == factory.machines


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    """Nothing may be rounded on the way through a table."""
    assert parse_duration(duration(seconds)) == seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"))
_TRAPS = ["no", "1e3", "0o14", "012", "~", "", "null", ".5", "+1", "0x1F", "2024-01-01", ".inf", "=", "y"]
_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_SCALARS = st.none() | st.booleans() | _NUMBERS | _TEXT | st.sampled_from(_TRAPS)


@pytest.mark.parametrize("flow", [True, False])
@given(data=st.lists(_SCALARS))
def test_written_yaml_is_read_as_the_same_data(folder: Path, data: list[Any], *, flow: bool) -> None:
    """The label '1e3' is text to us, and a number to a reader of YAML 1.2 where it is not quoted."""
    file = folder / "written.yaml"
    file.write_text(dump(data, flow=flow), encoding="utf-8", newline="")
    found = read_document(file).data or []
    assert [(type(one).__mro__[-2], one) for one in found] == [(type(one).__mro__[-2], one) for one in data]


# -- validate --


def test_validate_prints_the_numbers_of_machines_and_points(file: Path) -> None:
    """The numbers say whether ranges and templates have the intended effect."""
    ran = CliRunner().invoke(main, ["validate", str(file)])
    assert (ran.exit_code, ran.stderr) == (0, "")
    digest = load_factory(file).digest
    first, note = ran.stdout.splitlines()
    assert first == f"{file}: valid: 5 machines, 37 points; configuration {digest}"
    assert note.startswith(f"{file}: note: 4 machines are read by modbus+tcp")


def test_validate_reports_the_same_to_programs_as_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Editors mark the place, CI annotates the change."""
    case = CASES / "wrong_config" / "cross_checks"
    monkeypatch.chdir(case)
    ran = CliRunner().invoke(main, ["validate", "factory.yaml", "--format", "json"])
    report = json.loads(ran.stdout)
    assert (ran.exit_code, ran.stderr, report["right"]) == (1, "", False)
    lines = []
    for problem in report["problems"]:
        severity = "" if problem["severity"] == "error" else f"{problem['severity']}: "
        lines.append("{file}:{line}:{column}: {0}{path}: {message}\n".format(severity, **problem))
    assert "".join(lines) == (case / "expected.txt").read_text(encoding="utf-8")


def test_a_serial_line_that_can_not_keep_its_periods_is_a_warning(tmp_path: Path) -> None:
    """The overload is reported before the first scan is missed; it is an estimate, so it is not an error."""
    (tmp_path / "factory.yaml").write_text(
        'format: 1\nfactory: {enterprise: acme, site: one}\ngateway: {id: edge-1}\nbroker: {url: "mqtt://localhost"}\n'
        "lines: {l: {area: a, machines: {'m{1..40}': {template: curing-press,\n"
        "  connection: 'modbus+rtu:///dev/ttyUSB0?baud=9600&unit={n}'}}}}",
        encoding="utf-8",
    )
    path = "lines.l.machines.m{1..40}.connection"
    warning = f"{tmp_path / 'factory.yaml'}:6:3: warning: {path}: the load of 40 machines is "
    for options, code in ([], 0), (["--strict"], 1):
        ran = CliRunner().invoke(main, ["validate", str(tmp_path / "factory.yaml"), *options])
        assert (ran.exit_code, ran.stderr.startswith(warning)) == (code, True), ran.output
        assert "the periods can't be kept: read less often" in ran.stderr
        assert "1,560 points, 1 warning; configuration " in ran.stdout
