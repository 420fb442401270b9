"""The JSON Schema of the configuration agrees with the loader, and with the files of the project."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from json_schema import check_schema, errors

import drivers
from gateway.cli import main
from gateway.settings.document import read_document, read_text
from gateway.settings.line_sections import LineSection, MachineSection, TemplateSection
from gateway.settings.point import Point
from gateway.settings.schema import keys_of, schemas
from gateway.settings.sections import BrokerSection, FactorySection, GatewaySection, IngestSection, SpoolSection
from gateway.stores import STORES, store_kind

ROOT = Path(__file__).parents[2]
KINDS = ("factory", "lines", "template")
SECTIONS = [
    FactorySection, GatewaySection, SpoolSection, BrokerSection, IngestSection,
    MachineSection, LineSection, TemplateSection,
    *(drivers.protocol(name).connection for name in drivers.DRIVERS),
    *(drivers.protocol(name).source for name in drivers.DRIVERS), *(store_kind(name).settings for name in STORES),
]  # fmt: skip
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [
    *sorted((ROOT / "config").rglob("*.yaml")), *sorted((ROOT / "deploy").rglob("factory*.yaml")),
]  # fmt: skip

every_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind of files. To make all of them takes half a second."""
    found = schemas()
    assert tuple(found) == KINDS
    return found[kind]


def problems(kind: str, data: Any) -> list[str]:
    """Return the problems that a schema finds; keys are text, as in JSON."""
    found = errors(schema(kind), json.loads(json.dumps(data)))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def kind_of(data: dict[str, Any]) -> str:
    return "template" if "protocol" in data else "factory" if "factory" in data else "lines"


@pytest.mark.slow
@every_kind
def test_the_schema_is_valid(kind: str) -> None:
    """An editor that can't read the schema shows no problem, as if the file were valid."""
    check_schema(schema(kind))


@every_kind
def test_the_committed_schema_is_that_of_the_code(kind: str) -> None:
    """After a change of the configuration: lineside schema KIND > config/KIND.schema.json."""
    assert json.loads((ROOT / "config" / f"{kind}.schema.json").read_text(encoding="utf-8")) == schema(kind)


@pytest.mark.slow
@every_kind
def test_the_command_prints_it(kind: str) -> None:
    """It needs only the installed package."""
    ran = CliRunner().invoke(main, ["schema", kind])
    assert (ran.exit_code, json.loads(ran.stdout)) == (0, schema(kind))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_of_the_project_match_the_schema_and_name_it(file: Path) -> None:
    """People copy them as a start, with the line that gives the schema to their editor."""
    data = read_document(file).data
    assert problems(kind_of(data), data) == []
    if "debian" in file.parts:  # it is installed in /etc, away from the schema
        return
    match = re.search(r"^# yaml-language-server: \$schema=(\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert match, "the line with $schema is missing"
    assert (file.parent / match[1]).resolve() == ROOT / "config" / f"{kind_of(data)}.schema.json"


def blocks() -> list[Any]:
    texts = [(document.name, document.read_text(encoding="utf-8")) for document in DOCUMENTS]
    return [
        pytest.param(match[1], id=f"{name}:{text[: match.start()].count(chr(10)) + 2}")
        for name, text in texts
        for match in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("text", blocks())
def test_yaml_in_the_documents_matches_the_schema(text: str) -> None:
    """An editor must not underline text that is pasted from a page. A part of a factory is checked on its own."""
    data = read_text(text)
    kind = kind_of(data)
    if kind == "lines":
        least = {"format": 1, "factory": {"enterprise": "e", "site": "s"}, "gateway": {"id": "g"}, "include": ["a"]}
        kind, data = "factory", least | {"broker": {"url": "mqtt://h"}} | data
    assert problems(kind, data) == []


@pytest.mark.parametrize("model", [*SECTIONS, Point], ids=lambda model: model.__name__)
def test_every_key_has_a_description_and_an_example(model: Any) -> None:
    """It is the manual of a person who types."""
    for name, key in keys_of(model, without=("name", "source")).items():
        assert key["description"], name
        assert key["examples"], name
        for example in key["examples"]:
            assert errors(key, as_json(example)) == [], name


def as_json(data: Any) -> Any:
    return json.loads(json.dumps(data))


LEAST: dict[str, Any] = {
    "format": 1,
    "factory": {"enterprise": "acme", "site": "one"},
    "gateway": {"id": "edge-1"},
    "broker": {"url": "mqtt://localhost"},
    "lines": {"l": {"area": "a", "machines": {"m": {"template": "t", "connection": "modbus+tcp://h"}}}},
}


def machine(name: str = "m", /, **keys: Any) -> dict[str, Any]:
    machines = {name: {"template": "t", "connection": "modbus+tcp://h"} | keys}
    return LEAST | {"lines": {"l": {"area": "a", "machines": machines}}}


def point(**keys: Any) -> dict[str, Any]:
    return {"format": 1, "protocol": "modbus", "points": {"a": keys}}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("factory", LEAST | {"gatway": {}}),
        ("factory", LEAST | {"format": 2}),
        ("factory", LEAST | {"gateway": {"id": "edge 1"}}),
        ("factory", LEAST | {"gateway": {"id": "e", "codec": "jsno"}}),
        ("factory", LEAST | {"gateway": {"id": "e", "spool": {"max_sise": "2GiB"}}}),
        ("factory", LEAST | {"gateway": {"id": "e", "spool": {"max_size": "2 gigs"}}}),
        ("factory", LEAST | {"broker": {"url": "mqtt://h", "keep_alive": 30}}),
        ("factory", LEAST | {"broker": {"url": "mqtt://h", "username": "u", "password": "hunter2"}}),
        ("factory", LEAST | {"stores": [{"influx": {}}]}),
        ("factory", LEAST | {"stores": [{"sqlite": {"path": "a"}, "influxdb": {"url": "http://h"}}]}),
        ("factory", {key: value for key, value in LEAST.items() if key != "lines"}),
        ("factory", machine(templat="x")),
        ("factory", machine(connection="modbus+usb://h")),
        ("factory", machine(connection={"url": "modbus+tcp://h", "max_regs": 3})),
        ("factory", machine(connection={"url": "modbus+tcp://h", "unit": 300})),
        ("factory", machine(connection={"url": "opc.tcp://h", "unit": 3})),
        ("factory", machine(points={"a": {"scael": 3}})),
        ("template", {"format": 1, "protocol": "canbus", "points": {"a": {"address": 1}}}),
        ("template", {"format": 1, "protocol": "modbus", "points": {"a": {"adress": "holding 1"}}}),
        ("template", {"format": 1, "protocol": "modbus", "points": {"a": {"node": "s=A"}}}),
        ("template", {"format": 1, "protocol": "modbus", "points": {"a b": {"address": "holding 1"}}}),
        ("template", {"format": 1, "protocol": "opcua", "points": {"a": {"node": "s=A", "type": "boolean"}}}),
        ("template", {"format": 1, "protocol": "opcua", "points": {"a": {"node": "s=A", "every": 5}}}),
    ],
)
def test_simple_mistakes_are_seen_while_somebody_types(kind: str, data: dict[str, Any]) -> None:
    """Misspelt keys, wrong words and missing units are the most frequent mistakes."""
    assert problems("factory", LEAST) == []
    assert problems(kind, data)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("factory", machine(connection={"url": "modbus+tcp://h", "unit": "{n}", "timeout": "500ms"})),
        ("factory", machine(connection={"url": "opc.tcp://h", "password": {"secret": "a"}, "username": "u"})),
        ("factory", machine(parameters={"base": 1, "tag": "{machine}"})),
        ("factory", machine(points={"a": {"enabled": False, "scale": None}})),
        ("factory", machine("m-{1..3,5}")),
        ("template", {"format": 1, "protocol": "modbus", "extends": "b", "parameters": {"base": None}}),
        ("template", point(address="holding {base}", count="{n}", length="{l}")),
        ("template", point(address=40001, deadband="1%", not_available=[1, 2.5], range=None)),
    ],
)
def test_parameters_of_machines_can_be_used_anywhere(kind: str, data: dict[str, Any]) -> None:
    """Names in braces replace numbers, and null removes a key."""
    assert problems(kind, data) == []
