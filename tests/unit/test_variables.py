"""One file for many gateways: variables of the environment, and values of the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from json_schema import errors

from gateway.cli import main
from gateway.settings.interpolation import LONGEST_VALUE, MOST_CHARACTERS, Variables, escaped
from gateway.settings.load import load_factory
from gateway.settings.overrides import parse_override
from gateway.settings.problems import ConfigurationError
from gateway.settings.schema import schemas
from gateway.settings.serialize import dump_factory, unrolled

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """
format: 1
protocol: modbus
parameters: {base: 0}
points:
  level: {address: "holding {base+1}", unit: "%"}
"""

FACTORY = """
format: 1
factory: {enterprise: acme, site: north}
gateway:
  id: edge-01
broker:
  url: mqtt://localhost:1883
lines:
  l1:
    area: a
    machines:
      tank-{1..2}:
        template: tank
        connection: modbus+tcp://10.0.0.{n}:502
"""


def write(folder: Path, text: str = FACTORY, template: str = TEMPLATE) -> Path:
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / "tank.yaml").write_text(template, encoding="utf-8")
    file = folder / "factory.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in FACTORY
    return write(folder, FACTORY.replace(old, new))


def problems(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_factory(file, [parse_override(one) for one in overrides])
    return [str(problem).removeprefix(f"{file.parent}/") for problem in caught.value.problems]


# -- variables --


def test_a_value_of_the_environment_is_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file serves every box; each box has its own environment."""
    monkeypatch.setenv("EDGE", "edge-07")
    monkeypatch.setenv("BROKER", "broker.plant")
    file = write(tmp_path, FACTORY.replace("edge-01", "${EDGE}").replace("mqtt://localhost", "mqtts://${BROKER}"))
    factory = load_factory(file)
    assert (factory.gateway.id, factory.broker.url) == ("edge-07", "mqtts://broker.plant:1883")


@pytest.mark.parametrize(("value", "expected"), [(None, 3), ("", 3), ("2", 2)])
def test_a_default_is_for_a_variable_that_is_not_set_or_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, expected: int
) -> None:
    """An environment file often has the name with nothing behind it."""
    monkeypatch.delenv("WORKERS", raising=False)
    if value is not None:
        monkeypatch.setenv("WORKERS", value)
    file = changed(tmp_path, "  id: edge-01\n", "  id: edge-01\n  workers: ${WORKERS:-3}\n")
    assert load_factory(file).gateway.workers == expected


@pytest.mark.parametrize("quotes", ["", "'", '"'])
def test_a_value_is_typed_as_if_it_was_written_without_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quotes: str
) -> None:
    """In a mapping of one line a variable needs quotes, and a number has to stay one."""
    monkeypatch.setenv("N", "4")
    monkeypatch.setenv("T", "true")
    monkeypatch.setenv("WAIT", "20s")
    text = FACTORY.replace(
        "  id: edge-01\n", f"  id: e\n  workers: {quotes}${{N}}{quotes}\n  reload_on_change: ${{T}}\n"
    )
    file = write(tmp_path, text.replace("broker:\n", f"broker:\n  keep_alive: {quotes}${{WAIT}}{quotes}\n"))
    factory = load_factory(file)
    assert (factory.gateway.workers, factory.gateway.reload_on_change, factory.broker.keep_alive) == (4, True, 20.0)


@pytest.mark.parametrize("site", ["0042", "12", "true", "null", "1e3"])
def test_a_key_that_needs_text_takes_a_number_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: str
) -> None:
    """A site with the number 0042 is called 0042."""
    monkeypatch.setenv("SITE", site)
    monkeypatch.setenv("V", "5")
    text = FACTORY.replace("site: north", 'site: "${SITE}"').replace("broker:\n", "broker:\n  version: ${V}\n")
    factory = load_factory(write(tmp_path, text))
    assert (factory.factory.site, factory.broker.version.value) == (site, "5")


def test_an_option_of_a_connection_takes_a_number_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of a mapping are validated by the driver."""
    monkeypatch.setenv("NAME", "7")
    connection = "{url: 'modbus+tls://10.0.0.1', server_name: '${NAME}', unit: '${NAME}'}"
    file = changed(tmp_path, "modbus+tcp://10.0.0.{n}:502", connection)
    machine = load_factory(file).machines[0]
    assert machine.connection.model_dump()["server_name"] == "7"
    assert machine.connection.model_dump()["unit"] == 7
    again = write(tmp_path, dump_factory(unrolled(load_factory(file))))
    assert load_factory(again).machines == load_factory(file).machines


def test_braces_of_a_value_are_text_and_braces_of_the_file_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value of a variable is never searched for names or other variables."""
    monkeypatch.setenv("NET", "10.7.0")
    monkeypatch.setenv("NAME", "{n} ${NET} {{")
    text = FACTORY.replace("modbus+tcp://10.0.0.{n}:502", "{url: 'modbus+tls://${NET}.{n}', server_name: '${NAME}'}")
    first, second = load_factory(write(tmp_path, text)).machines
    assert [one.connection.model_dump()["host"] for one in (first, second)] == ["10.7.0.1", "10.7.0.2"]
    assert first.connection.model_dump()["server_name"] == "{n} ${NET} {{"


def test_a_unit_that_a_machine_changes_keeps_its_braces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In units braces are not names, so they are not doubled either."""
    monkeypatch.setenv("UNIT", "{part}")
    file = changed(tmp_path, "template: tank\n", "template: tank\n        points: {level: {unit: '${UNIT}'}}\n")
    assert load_factory(file).machines[0].points[0].unit == "{part}"


def test_a_parameter_can_be_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how a variable gets into a template."""
    monkeypatch.setenv("BASE", "100")
    file = changed(tmp_path, "template: tank\n", "template: tank\n        parameters: {base: '${BASE}'}\n")
    assert str(load_factory(file).machines[0].points[0].source.written()["address"]) == "holding 101"


def test_variables_of_a_template_are_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template means the same on every box; a mistake is answered with the way that works."""
    monkeypatch.setenv("X", "1")
    template = "format: 1\nprotocol: modbus\npoints:\n  level: {address: holding 1, scale: '${X}'}\n"
    [problem] = problems(write(tmp_path, template=template))
    assert problem.startswith("machines/tank.yaml:4:")
    assert problem.endswith("'${X}' is not a number; variables are for the files of a factory: in a template write a "
                            "parameter, as in {base}")  # fmt: skip
    right = template.replace("scale: '${X}'", "description: 'costs ${X} $$'")
    assert load_factory(write(tmp_path, template=right)).machines[0].points[0].description == "costs ${X} $$"


def test_included_files_have_variables_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are a part of the factory."""
    monkeypatch.setenv("AREA", "curing")
    head, _, lines = FACTORY.partition("lines:")
    file = write(tmp_path, f"{head}include: [more.yaml]\n")
    (tmp_path / "more.yaml").write_text(f"format: 1\nlines:{lines}".replace("area: a", "area: ${AREA}"), "utf-8")
    assert {machine.path.area for machine in load_factory(file).machines} == {"curing"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [("a$$b", "a$b"), ("$$$$", "$$"), ("$${EDGE}", "${EDGE}"), ("$5 $", "$5 $"), ("${E:-$x}", "$x"), ("${E:-}", "")],
)
def test_dollars_are_escaped_by_doubling(written: str, expected: str) -> None:
    """A dollar that begins no variable is itself."""
    assert Variables({}).put_into(written, ("broker", "username")) == expected


@given(st.recursive(st.text("a${}:-b"), lambda inner: st.lists(inner, max_size=3)))
def test_escaped_data_means_itself(data: Any) -> None:
    """A configuration that Lineside writes for its own processes has no variables."""

    def put_in(written: Any) -> Any:
        return [put_in(one) for one in written] if isinstance(written, list) else Variables({}).put_into(written, ())

    assert put_in(escaped(data)) == data


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${EDGE}", "the environment variable EDGE is not set; set it, or write a default, as in ${EDGE:-VALUE}"),
        ("x-${EDGE:-${OTHER}}", "'${EDGE:-${OTHER}' has a variable inside another; write ${NAME:-default} with a"),
        ("${EDGE", "'${EDGE' has no end; write ${NAME}, or $${ for the characters"),
        ("'${}'", "'${}' is not a variable; write ${NAME} or ${NAME:-default}"),
        ("'${EDGE-7}'", "'${EDGE-7}' is not a variable"),
        ("'${EDGE:?needed}'", "'${EDGE:?needed}' is not a variable"),
        ("${LONG}", f"${{LONG}} has 5,000 characters; the limit is {LONGEST_VALUE:,}"),
        ("${LINES}", "${LINES} has a line end or another control character; write its value in one line"),
    ],
)
def test_a_wrong_variable_is_one_error_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, expected: str
) -> None:
    """The value that it would have been is not reported a second time."""
    monkeypatch.delenv("EDGE", raising=False)
    monkeypatch.setenv("LONG", "x" * 5000)
    monkeypatch.setenv("LINES", "a\nb")
    [problem] = problems(changed(tmp_path, "id: edge-01", f"id: {written}"))
    assert problem.startswith(f"factory.yaml:5:3: gateway.id: {expected}")


@pytest.mark.parametrize(
    ("connection", "key"),
    [("modbus+tcp://${EDGE}:502", "connection"), ("{url: 'modbus+tcp://${EDGE}:502'}", "connection.url")],
)
def test_a_missing_variable_of_a_connection_is_no_unknown_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: str, key: str
) -> None:
    """Braces are parameters there, too: the second message sent people to the template."""
    monkeypatch.delenv("EDGE", raising=False)
    [problem] = problems(changed(tmp_path, "modbus+tcp://10.0.0.{n}:502", connection))
    assert f"lines.l1.machines.tank-{{1..2}}.{key}: the environment variable EDGE is not set" in problem


def test_a_wrong_value_is_reported_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is right, and the environment of the box is not."""
    monkeypatch.setenv("EDGE", "edge 7")
    [problem] = problems(changed(tmp_path, "id: edge-01", "id: ${EDGE}"))
    assert problem.startswith("factory.yaml:5:3: gateway.id: 'edge 7' is not a name; ")
    assert problem.endswith("(from ${EDGE})")


def test_the_characters_that_are_put_in_are_limited() -> None:
    """A file of a million short variables must not become gigabytes."""
    variables = Variables({"A": "x" * LONGEST_VALUE})
    with pytest.raises(ValueError, match="more than 8,388,608 characters"):
        variables.put_into("${A}" * (MOST_CHARACTERS // LONGEST_VALUE + 1), ())


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("url: mqtt://localhost:1883", "url: mqtts://h\n  username: u\n  password: ${PW}", "broker.password"),
        ("url: mqtt://localhost:1883", "url: mqtts://h\n  username: u\n  password: '${PW:-x}'", "broker.password"),
        (
            "url: mqtt://localhost:1883", "url: mqtts://h\n  username: u\n  password: {secret: '${PW}'}",
            "broker.password.secret",
        ),
        ("url: mqtt://localhost:1883", "url: mqtts://u:${PW}@h", "broker.url"),
        ("url: mqtt://localhost:1883", "url: mqtts://h\n  username: ${LINESIDE_SECRET_PW}", "broker.username"),
        ("modbus+tcp://10.0.0.{n}:502", "modbus+tcp://u:${PW}@10.0.0.1", "lines.l1.machines.tank-{1..2}.connection"),
    ],
)  # fmt: skip
def test_a_secret_is_never_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, path: str
) -> None:
    """A value that is put in is in digests and in what `show` prints. The message names the right way."""
    monkeypatch.setenv("PW", "hunter2")
    monkeypatch.setenv("LINESIDE_SECRET_PW", "hunter2")
    [problem] = problems(changed(tmp_path, old, new))
    assert f": {path}: " in problem
    assert "{secret: NAME}" in problem
    assert "hunter2" not in problem


def test_the_file_of_a_secret_can_have_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a path like any other."""
    monkeypatch.setenv("EDGE", "edge-07")
    secret = "url: mqtts://h\n  username: u\n  password: {file: '/etc/${EDGE}.password'}"
    broker = load_factory(changed(tmp_path, "url: mqtt://localhost:1883", secret)).broker
    assert broker.password is not None
    assert broker.password.file == "/etc/edge-07.password"


def test_the_digest_is_of_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two boxes with one file and different values run different configurations."""
    file = changed(tmp_path, "id: edge-01", "id: ${EDGE:-edge-01}")
    digests = []
    for value in (None, "edge-01", "edge-02"):
        monkeypatch.delenv("EDGE", raising=False)
        if value:
            monkeypatch.setenv("EDGE", value)
        digests.append(load_factory(file).digest)
    assert digests[0] == digests[1] != digests[2]


def test_show_prints_the_result(tmp_path: Path) -> None:
    """A person asks what a file amounts to on this box."""
    file = changed(tmp_path, "id: edge-01", "id: ${EDGE}")
    ran = CliRunner().invoke(main, ["show", str(file), "--format", "yaml"], env={"EDGE": "edge-07"})
    assert yaml.safe_load(ran.stdout)["gateway"]["id"] == "edge-07"


def test_editors_accept_variables_wherever_the_loader_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in place of numbers, names and enumerations; never in place of secrets."""
    data = yaml.safe_load(FACTORY)
    data["gateway"] = {
        "id": "${A}", "workers": "${W}", "reload_on_change": "${T}", "confirm": "${C:-broker}",
        "spool": {"max_size": "${S}", "when_full": "${F:-drop_oldest}"},
    }  # fmt: skip
    data["broker"] |= {"keep_alive": "${K}", "version": "${V}"}
    data["ingest"] = {"batch_records": "${W}"}
    data["lines"]["l1"]["area"] = "${A}"
    machine = data["lines"]["l1"]["machines"]["tank-{1..2}"]
    machine["connection"] = {"url": "modbus+tcp://${A}", "unit": "${W}"}
    machine["points"] = {"level": {"scale": "${W}", "every": "${K}", "enabled": "${T}"}}
    values = {"A": "edge", "W": "4", "T": "true", "S": "1GiB", "K": "20s", "V": "5"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert load_factory(write(tmp_path, yaml.safe_dump(data))).gateway.workers == 4
    schema = schemas()["factory"]
    assert [error.message for error in errors(schema, data)] == []
    data["broker"]["password"] = "${PW}"
    assert [list(error.absolute_path) for error in errors(schema, data)] == [["broker", "password"]]


def test_a_configuration_that_is_written_again_means_the_same(tmp_path: Path) -> None:
    """Numbers keep their form, and dollars and braces stay text."""
    text = FACTORY.replace("id: edge-01", "id: edge-01\n  max_record: 0x10000")
    points = "{level: {description: 'x $${{y}} {{z}} $$', every: 010s}}"
    text = text.replace(
        "template: tank\n", f"template: tank\n        parameters: {{base: 0x10}}\n        points: {points}\n"
    )
    factory = load_factory(write(tmp_path, text))
    assert factory.machines[0].points[0].description == "x ${y} {z} $"
    again = load_factory(write(tmp_path, dump_factory(unrolled(factory))))
    assert (again.machines, again.gateway) == (factory.machines, factory.gateway)


# -- values of the command line --


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("gateway.id=edge-07", lambda factory: factory.gateway.id == "edge-07"),
        ("gateway.id=42", lambda factory: factory.gateway.id == "42"),
        ("gateway.workers=2", lambda factory: factory.gateway.workers == 2),
        ("gateway.spool.max_size=8GiB", lambda factory: factory.gateway.spool.max_size == 8 * 2**30),
        ("gateway.spool={max_size: 8GiB}", lambda factory: factory.gateway.spool.max_size == 8 * 2**30),
        ("broker.url=mqtts://other:8884", lambda factory: factory.broker.url == "mqtts://other:8884"),
        ("broker.version='3.1.1'", lambda factory: factory.broker.version.value == "3.1.1"),
        ("broker.root=a=b", lambda factory: factory.broker.root == "a=b"),
        ("broker.backup=[mqtt://b1, mqtt://b2]", lambda factory: len(factory.broker.addresses) == 3),
        ("ingest.confirms=false", lambda factory: not factory.ingest.confirms),
        ("lines.l1.area=x", lambda factory: factory.machines[0].path.area == "x"),
        ("lines.l1.machines.tank-{1..2}.parameters.base=7",
         lambda factory: factory.machines[1].points[0].source.written()["address"] == "holding 8"),
    ],
)  # fmt: skip
def test_set_replaces_a_value(tmp_path: Path, override: str, found: Any) -> None:
    """It is typed as in the file, and may be a new key."""
    assert found(load_factory(write(tmp_path), [parse_override(override)]))


def test_the_last_of_two_values_counts_and_an_earlier_error_of_the_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that is replaced can't be wrong."""
    monkeypatch.delenv("EDGE", raising=False)
    file = changed(tmp_path, "id: edge-01", "id: ${EDGE}")
    assert load_factory(file, [parse_override("gateway.id=a"), parse_override("gateway.id=b")]).gateway.id == "b"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("gateway.id=edge 7", "gateway.id: 'edge 7' is not a name; write letters"),
        ("gatway.id=x", "gatway: unknown key 'gatway'; did you mean 'gateway'?"),
        ("gateway.idd=x", "gateway.idd: unknown key 'idd'; did you mean 'id'?"),
        ("gateway.id.x=1", "gateway.id: is a single value and has no keys"),
        ("stores.3.sqlite.path=x", "stores: "),
        ("gateway=5", "gateway: is not a mapping of keys to values; write {id: ...}"),
    ],
)
def test_a_wrong_value_of_the_command_line_is_named(tmp_path: Path, override: str, expected: str) -> None:
    """The file is right, so its line alone would mislead."""
    found = problems(write(tmp_path), override)
    assert any(f": {expected}" in problem for problem in found)
    assert (
        any(problem.endswith(f"(from --set {override.partition('=')[0]})") for problem in found)
        or "stores" in override
    )


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """The list of processes shows every argument to everybody."""
    file = write(tmp_path)
    ran = CliRunner().invoke(
        main, ["validate", str(file), "--set", "broker.username=u", "--set", "broker.password=hunter2"]
    )
    assert ran.exit_code == 1
    assert "broker.password: a secret is named, never written; write {secret: NAME}" in ran.stderr
    assert "hunter2" not in ran.output


@pytest.mark.parametrize("argument", ["gateway.id", "=x", "gateway..id=x", "a={", 'a="'])
def test_an_argument_that_is_not_a_key_and_a_value_is_a_usage_error(tmp_path: Path, argument: str) -> None:
    """Exit code 2, as for any other wrong option."""
    ran = CliRunner().invoke(main, ["show", str(write(tmp_path)), "--set", argument])
    assert ran.exit_code == 2
    assert "--set" in ran.stderr


def test_every_command_that_takes_a_configuration_takes_values() -> None:
    """A box that runs with --set is looked at with the same --set."""
    named = [
        "run", "ingest", "simulate", "validate", "show", "plan", "check", "reload", "ledger", "export-points", "tail",
        "query",
    ]  # fmt: skip
    for command in named:
        assert "--set KEY=VALUE" in CliRunner().invoke(main, [command, "--help"]).stdout, command
    for group, command in (("spool", "status"), ("spool", "export"), ("certs", "list")):
        assert "--set KEY=VALUE" in CliRunner().invoke(main, [group, command, "--help"]).stdout, command


def test_the_digest_knows_values_of_the_command_line(tmp_path: Path) -> None:
    """Equal files with different values are different configurations."""
    file = write(tmp_path)
    digests = {load_factory(file, [parse_override(one)]).digest for one in ("gateway.id=a", "gateway.id=b")}
    assert len(digests | {load_factory(file).digest}) == 3


def test_the_environment_of_the_process_is_read(tmp_path: Path) -> None:
    """Not a copy from its start."""
    os.environ["LINESIDE_TEST_EDGE"] = "edge-09"
    try:
        assert load_factory(changed(tmp_path, "id: edge-01", "id: ${LINESIDE_TEST_EDGE}")).gateway.id == "edge-09"
    finally:
        del os.environ["LINESIDE_TEST_EDGE"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("anything")


_KEYS = st.lists(
    st.sampled_from(["gateway", "id", "spool", "lines", "l1", "machines", "tank-{1..2}", "stores", "0", "x"])
)


@given(_KEYS, st.text("ab1.:-{}[]'\" ,$\\", max_size=12))
def test_any_value_of_the_command_line_is_used_or_reported(folder: Path, keys: list[str], value: str) -> None:
    """No argument may end in a stack trace."""
    file = write(folder)
    message = "valid"
    try:
        load_factory(file, [parse_override(f"{'.'.join(keys)}={value}")])
    except (ConfigurationError, ValueError) as error:
        message = str(error)
    assert message


@given(st.text("${}:-AB x", max_size=14), st.text("ab1.:-{}[]'\" ,$\\&*!%", max_size=8))
def test_any_text_with_variables_is_used_or_reported(folder: Path, written: str, value: str) -> None:
    """Whatever a person writes, and whatever the environment has."""
    text = yaml.safe_dump(
        yaml.safe_load(FACTORY) | {"broker": {"url": "mqtt://localhost", "username": f"u{written}"}}
    )
    file = write(folder, text)
    message = "valid"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A", value)
        patch.setenv("B", value)
        try:
            load_factory(file)
        except ConfigurationError as error:
            message = str(error)
    assert message
