"""Files with wrong values at any place: notes and clear errors, never a traceback, and what is written is valid."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, fromstring, tostring

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.importers import (
    edgex,
    homeassistant,
    nodered,
    nodeset,
    sunspec,
    telegraf,
    thingsboard,
)
from gateway.importers import found as found_module
from gateway.importers.build import files_of
from gateway.importers.content import Content
from gateway.importers.environment import unset
from gateway.importers.formats import read
from gateway.importers.found import Options
from gateway.settings.document import parse_document
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from gateway.importers.base import Format

CASES = Path(__file__).parents[1] / "cases" / "import"
HEAD = {"factory": {"enterprise": "e", "site": "s"}, "gateway": {"id": "g"}, "broker": {"url": "mqtt://h"}}
OPTIONS = Options(connection="modbus+tcp://10.0.0.1:502", machine="")

FOREIGN = [
    (thingsboard.FORMAT, "thingsboard-modbus/modbus.json"),
    (thingsboard.FORMAT, "thingsboard-modbus-old/connector.json"),
    (thingsboard.FORMAT, "thingsboard-opcua/opcua.json"),
    (nodered.FORMAT, "nodered-modbus/flows.json"),
    (nodered.FORMAT, "nodered-opcua/flows.json"),
    (edgex.FORMAT, "edgex-1/profile.json"),
    (sunspec.FORMAT, "sunspec/inverter.json"),
]
"""Formats in JSON, and a file of each."""

WRONG = st.sampled_from([
    None, True, False, 0, 1, -1, 2**31, 2**64, -(2**63), 10**30, 1e300, 0.5, "", " ", "7", "-1", "0x10", "nan",
    "1e999", "a b/c;d", "${X}", "{x}", "\u00e4\u4e2d", "x" * 5000, "${", "=1+1", "ns=2;i=1", "::", [], [1], [[]],
    [None], {},
    {"a": 1}, {"": None}, [{}], {"x": {"y": []}},
])  # fmt: skip


def places(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in below for place in places(value, (*path, key)))]


def changed(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    step, *rest = path
    inner: Any = changed(data[step], tuple(rest), value)
    if isinstance(data, dict):
        return data | {step: inner}
    return [inner if place == step else one for place, one in enumerate(data)]


def import_(kind: Format, content: Content, folder: Path, options: Options = OPTIONS) -> None:
    """Import a file as the command does; errors are of the kind that it prints."""
    try:
        kind.recognise(content)
        found = kind.read(content, options)
        files = files_of(found, HEAD)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - any error that the command prints
        return
    assert all(isinstance(note.message, str) and len(note.message) < 6000 for note in found.notes)
    if unset([machine.connection for machine in found.machines]):
        return
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text, encoding="utf-8")
    load_factory(folder / "factory.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "file"), FOREIGN, ids=lambda one: one if isinstance(one, str) else "")
@_SETTINGS
@given(data=st.data())
def test_wrong_values_in_json_are_left_out_with_a_note(
    kind: Format, file: str, folder: Path, data: st.DataObject
) -> None:
    """Any value, also the whole file, is replaced by a value of another type or size."""
    whole = json.loads((CASES / file).read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        whole = changed(whole, data.draw(st.sampled_from(places(whole))), data.draw(WRONG))
    import_(kind, Content("x.json", json.dumps(whole).encode()), folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (homeassistant.FORMAT, "homeassistant/configuration.yaml"),
        (homeassistant.FORMAT, "homeassistant-sensors/modbus_sensors.yaml"),
        (edgex.FORMAT, "edgex/pump.yaml"),
    ],
)
@_SETTINGS
@given(data=st.data())
def test_wrong_values_in_yaml_are_left_out_with_a_note(
    kind: Format, file: str, folder: Path, data: st.DataObject
) -> None:
    """As of JSON; several documents stay several."""
    texts = []
    for text in (CASES / file).read_text(encoding="utf-8").split("\n---\n"):
        whole = parse_document(text).data
        for _ in range(data.draw(st.integers(0, 2))):
            whole = changed(whole, data.draw(st.sampled_from(places(whole))), data.draw(WRONG))
        texts.append(yaml.safe_dump(json.loads(json.dumps(whole)), allow_unicode=True))
    import_(kind, Content("x.yaml", "\n---\n".join(texts).encode()), folder)


def toml(data: Any) -> str:
    """Return data as a value of TOML, in one line."""
    if isinstance(data, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(value)}" for key, value in data.items()) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(toml, data)) + "]"
    return json.dumps(data if data is not None else "")


@pytest.mark.slow
@_SETTINGS
@given(data=st.data())
def test_wrong_values_in_toml_are_left_out_with_a_note(folder: Path, data: st.DataObject) -> None:
    """Every table is written in one line."""
    import tomllib

    whole: Any = tomllib.loads((CASES / "telegraf" / "telegraf.conf").read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([place for place in places(whole) if place]))
        whole = changed(whole, path, data.draw(WRONG))
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in whole.items())
    import_(telegraf.FORMAT, Content("telegraf.conf", text.encode()), folder)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["nodeset/press.xml", "nodeset-types/types.xml"])
@_SETTINGS
@given(data=st.data())
def test_wrong_values_in_xml_are_left_out_with_a_note(file: str, folder: Path, data: st.DataObject) -> None:
    """Attributes and texts are replaced, and elements removed or doubled."""
    root = fromstring((CASES / file).read_bytes())  # noqa: S314 - a file of this project
    for _ in range(data.draw(st.integers(1, 4))):
        elements: list[Element] = list(root.iter())
        chosen = data.draw(st.sampled_from(elements))
        value = data.draw(
            st.sampled_from(["", "i=85", "ns=1;i=1001", "ns=9;s=x", "-1", "1e400", "x" * 300, "{a}", "<b>"])
        )
        match data.draw(st.integers(0, 3)):
            case 0 if chosen.attrib:
                chosen.set(data.draw(st.sampled_from(sorted(chosen.attrib))), value)
            case 1:
                chosen.text = value
            case 2 if len(chosen):
                chosen.remove(data.draw(st.sampled_from(list(chosen))))
            case _ if len(chosen):
                chosen.append(data.draw(st.sampled_from(list(chosen))))
    options = Options(connection="opc.tcp://10.0.0.1:4840", nodes=data.draw(st.sampled_from(["auto", "id", "path"])))
    import_(nodeset.FORMAT, Content("x.xml", tostring(root)), folder, options)


DEEP = 100_000


@pytest.mark.parametrize(
    ("kind", "name", "text", "message"),
    [
        (thingsboard.FORMAT, "x.json", '{"master": ' * 100, "it is not JSON"),
        (thingsboard.FORMAT, "x.json", "[" * DEEP + "]" * DEEP, "it is n"),
        (nodered.FORMAT, "x.json", "[" * 200 + "]" * 200, "deeper"),
        (homeassistant.FORMAT, "x.yaml", "modbus: " + "[" * DEEP, "deeper than 64 levels"),
        (homeassistant.FORMAT, "x.yaml", "a: &a [" + "x," * 999 + "]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 99)}]\n" for i in range(5)
        ) + "modbus: *f\n", "stand for more than"),
        (homeassistant.FORMAT, "x.yaml", "modbus: " + "9" * 5000, "the number has 5,000 characters"),
        (edgex.FORMAT, "x.yaml", "deviceResources: {{", "is not YAML"),
        (telegraf.FORMAT, "x.conf", "a = " + "[" * DEEP, "nested too deep"),
        (nodeset.FORMAT, "x.xml", '<!DOCTYPE a [<!ENTITY b "c">]><UANodeSet>&b;</UANodeSet>', "declares an entity"),
        (nodeset.FORMAT, "x.xml", "<UANodeSet>" * 100, "more than 64 levels"),
    ],
    ids=range(10),
)  # fmt: skip
def test_bombs_are_refused_at_a_limit(kind: Format, name: str, text: str, message: str) -> None:
    """Neither the memory nor the stack of a process is at the mercy of a file."""
    with pytest.raises(ValueError, match=message):
        kind.read(Content(name, text.encode()), OPTIONS)


@pytest.mark.parametrize("kind", [homeassistant.FORMAT, edgex.FORMAT, telegraf.FORMAT])
def test_a_megabyte_of_empty_lines_is_no_work(kind: Format) -> None:
    """A pattern with `\\s*` at the start of each line would look at each as often as there are lines."""
    began = time.monotonic()
    with suppress(ValueError):
        kind.recognise(Content("x", b"\n \t" * 400_000))
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_points_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few characters ask Home Assistant for a thousand values."""
    text = "- name: hub\n  type: tcp\n  host: h\n  port: 502\n  sensors:\n" + "".join(
        f"    - {{name: s{number}, address: 1, slave: 1, slave_count: 999}}\n" for number in range(5)
    )
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    assert sum(len(machine.points) for machine in read(file, Options()).machines) == 5000
    monkeypatch.setattr(found_module, "MOST_POINTS", 4999)
    with pytest.raises(ValueError, match="it has more than 4,999 points"):
        read(file, Options())


def test_a_long_configuration_of_telegraf_is_refused() -> None:
    with pytest.raises(ValueError, match="4,194,304 characters; import it in parts"):
        telegraf.read(Content("x.conf", b"#\n" * 2_200_000), OPTIONS)


def test_a_flow_in_a_circle_ends() -> None:
    """Wires of Node-RED may lead back to where they begin."""
    nodes = [
        {"id": "c", "type": "modbus-client", "tcpHost": "h"},
        {"id": "r", "type": "modbus-read", "name": "r", "adr": 1, "quantity": 1, "rate": 1, "server": "c",
         "wires": [["j"]]},
        {"id": "j", "type": "junction", "wires": [["k", "j"]]},
        {"id": "k", "type": "junction", "wires": [["j", "r"]]},
    ]  # fmt: skip
    found = nodered.read(Content("flows.json", json.dumps(nodes).encode()), Options())
    assert list(found.machines[0].points) == ["r"]
