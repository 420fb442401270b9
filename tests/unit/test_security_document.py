"""docs/security.md is true: its tests, commands, keys, events, metrics, ports and requirements exist."""

from __future__ import annotations

import ast
import json
import re
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from drivers.modbus.connection import ModbusConnection, Transport
from drivers.opcua.settings import PORT as OPCUA_PORT
from drivers.opcua.settings import REVERSE
from gateway.cli import main
from gateway.metrics.definitions import DEFINITIONS
from gateway.settings.dashboard_section import DashboardSection
from gateway.settings.sections import BrokerSection

if TYPE_CHECKING:
    from types import ModuleType

WITH_PLANT = "with the plant"
"""The cell of a requirement that the component and a compensating measure meet together."""

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
SCHEMA = json.loads((ROOT / "config" / "factory.schema.json").read_text(encoding="utf-8"))

NONE = "\N{EN DASH}"
"""The cell of a row that has no test."""

REQUIREMENTS = {
    "CR 1.": "1 2 3 4 5 7 8 9 10 11 12 14",
    "CR 2.": "1 2 3 5 6 7 8 9 10 11 12",
    "CR 3.": "1 3 4 5 6 7 8 9",
    "CR 4.": "1 2 3",
    "CR 5.": "1",
    "CR 6.": "1 2",
    "CR 7.": "1 2 3 4 5 6 7 8",
    "SAR ": "2.4 3.2",
    "EDR ": "2.13 3.10 3.11 3.12 3.13 3.14",
    "NDR ": "1.6 1.13 5.2 5.3",
    "CCSC ": "1 2 3 4",
}
"""The requirements of IEC 62443-4-2:2019 for a software application, and those for the box that a plant asks for."""

ENHANCEMENTS = {
    "CR 1.1": 2, "CR 1.2": 1, "CR 1.5": 1, "CR 1.7": 2, "CR 1.9": 1, "CR 1.14": 1, "CR 2.1": 4, "SAR 2.4": 1,
    "CR 2.9": 1, "CR 2.11": 2, "CR 2.12": 1, "EDR 2.13": 1, "CR 3.1": 1, "CR 3.3": 1, "CR 3.4": 2, "CR 3.9": 1,
    "EDR 3.10": 1, "EDR 3.11": 1, "EDR 3.14": 1, "CR 4.2": 2, "NDR 1.6": 1, "NDR 5.2": 3, "CR 6.1": 1, "CR 7.1": 1,
    "CR 7.3": 1, "CR 7.6": 1,
}  # fmt: skip
"""How many enhancements a requirement has."""

OF_SL_2 = {
    "CR 1.1 RE 1", "CR 2.1 RE 1", "CR 2.1 RE 2", "SAR 2.4 RE 1", "CR 2.11 RE 1", "CR 3.1 RE 1", "CR 3.4 RE 1",
    "EDR 3.10 RE 1", "EDR 3.14 RE 1", "NDR 1.6 RE 1", "NDR 5.2 RE 1", "CR 7.1 RE 1", "CR 7.3 RE 1",
}  # fmt: skip
"""The enhancements that security level 2 asks for."""

ESSENTIAL = ["I.1", *(f"I.2 ({letter})" for letter in "abcdefghijklm"), "II.1", "II.2 to II.8"]
"""The requirements of Annex I of Regulation (EU) 2024/2847, as the page groups them."""

LISTENING = {"start_server", "start_unix_server", "create_server", "bind", "bind_in_thread"}
"""Calls that open a socket to others."""

OF_METRICS = ("gateway.metrics.listen", "ingest.metrics.listen")

LISTENERS = {
    "gateway/common/listening.py": ("dashboard.listen", *OF_METRICS),
    "gateway/metrics/endpoint.py": OF_METRICS,
    "gateway/metrics/http_server.py": OF_METRICS,
    "gateway/dashboard/service.py": ("dashboard.listen",),
    "gateway/common/control_socket.py": ("gateway.spool.folder",),
    "drivers/modbus/listener.py": (str(Transport.LISTEN),),
    "drivers/opcua/connection/reverse.py": (REVERSE,),
}
"""The files that open a socket, and the rows of the firewall list that are about it."""


def tool(name: str) -> ModuleType:
    """Return a script of tools/ as a module."""
    spec = spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def section(title: str, end: str = "\n## ") -> str:
    """Return the text below a heading, up to the next of its level."""
    _, found, rest = PAGE.partition(f"\n## {title}\n")
    assert found, title
    return rest.partition(end)[0]


def rows(text: str, columns: int) -> list[list[str]]:
    """Return the cells of all rows of tables with that many columns."""
    found = [re.split(r"(?<!\\) \| ", line.strip()[2:-2]) for line in text.splitlines() if line.startswith("| ")]
    return [row for row in found if len(row) == columns]


def requirements() -> list[list[str]]:
    return [row for row in rows(section("IEC 62443-4-2"), 5) if row[0] != "requirement"]


def essential() -> list[list[str]]:
    return [row for row in rows(section("Cyber Resilience Act"), 4) if row[0] != "requirement"]


def number(cell: str) -> str:
    """Return the number of a requirement, without its name."""
    found = re.match(r"(?:[A-Z]+ [\d.]+(?: RE \d)?|II?\.\d+(?: to II\.8| \([a-m]\))?)", cell)
    assert found, cell
    return found[0]


def spans() -> list[str]:
    """Return every text of the page between backquotes."""
    return re.findall(r"`([^`\n]+)`", PAGE)


@cache
def defined_in(file: str) -> set[str]:
    """Return the names of the tests of a file below `tests/`."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def has_key(path: list[str], schema: dict[str, Any] = SCHEMA) -> bool:
    """Return whether the schema of a configuration has a key at a path."""
    if not path:
        return True
    below = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return any(has_key(path[1:], one["properties"][path[0]]) for one in below if path[0] in one.get("properties", {}))


def listen_keys(schema: dict[str, Any] = SCHEMA, path: tuple[str, ...] = ()) -> list[str]:
    """Return the paths of all keys named `listen`."""
    found = []
    for key, below in schema.get("properties", {}).items():
        found += [".".join((*path, key))] if key == "listen" else listen_keys(below, (*path, key))
    return found


def name_of(node: ast.AST) -> str:
    """Return the last part of a name, empty for other nodes."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def modbus_port(scheme: str) -> int:
    """Return the port of an address without a port."""
    return ModbusConnection.from_url(f"{scheme}://10.20.1.11", {}).port


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed must not leave a claim without its proof."""
    named = re.findall(r"`([a-z_]+/\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 150
    assert PAGE.count("::test_") == len(named)
    assert [f"{file}::{test}" for file, test in named if test not in defined_in(file)] == []


def test_every_requirement_is_known_and_there_once() -> None:
    """An assessor looks each of them up by its number."""
    base = {f"{group}{n}" for group, numbers in REQUIREMENTS.items() for n in numbers.split()}
    enhanced = {f"{one} RE {n}" for one, most in ENHANCEMENTS.items() for n in range(1, most + 1)}
    listed = [number(row[0]) for row in requirements()]
    assert len(listed) == len(set(listed))
    assert set(listed) <= base | enhanced
    assert base | OF_SL_2 <= set(listed)
    assert {row[1] for row in requirements()} <= {"1", "2", "3"}
    assert [number(row[0]) for row in essential()] == ESSENTIAL


@pytest.mark.parametrize("row", [*requirements(), *essential()], ids=lambda row: number(row[0]))
def test_a_requirement_that_is_met_names_its_test(row: list[str]) -> None:
    """A claim without a test is a hope."""
    met, _, test = row[-3:]
    assert met in {"yes", WITH_PLANT, "partly", "no", "n/a"}
    assert ("::test_" in test) or (met in {"no", "n/a"} and test == NONE)


def test_a_requirement_that_is_not_met_says_what_the_plant_can_do() -> None:
    """The assessor needs the measure in its place: each such row has more than its gap."""
    gaps = [row for row in [*requirements(), *essential()] if row[-3] in {"no", "partly"}]
    assert len(gaps) > 5, "the table is read"
    assert [row[0] for row in gaps if ": " not in row[-2]] == []


def test_a_requirement_that_the_plant_completes_names_its_measure() -> None:
    """CCSC 2: the measure is documented, and the assessor finds the requirement in its row."""
    measures = {row[0].split()[0]: row for row in rows(section("Compensating measures"), 4) if row[0] != "measure"}
    completed = [row for row in [*requirements(), *essential()] if row[-3] == WITH_PLANT]
    assert len(completed) > 4
    used = set()
    for row in completed:
        named = set(re.findall(r"\bM\d+\b", row[-2]))
        assert named, row[0]
        assert named <= measures.keys()
        used |= named
        if row[0].startswith("CR"):
            assert any(number(row[0]) in measures[one][1] for one in named), row[0]
    assert used == measures.keys()


def opens_a_socket(code: str) -> bool:
    """Return True if code calls one of `LISTENING`; code without the word itself needs no parser."""
    named = any(word in code for word in LISTENING)
    return named and any(name_of(node) in LISTENING for node in ast.walk(ast.parse(code)))


def test_every_listener_is_listed() -> None:
    """A port that the list lacks is a hole in a firewall, or a service that nobody reaches."""
    listed = " ".join(row[-1] for row in rows(section("Firewall"), 5))
    keys = listen_keys()
    assert {"dashboard.listen", "gateway.metrics.listen", "ingest.metrics.listen"} <= set(keys)
    assert [key for key in keys if f"`{key}`" not in listed] == []
    opened = {
        str(file.relative_to(ROOT))
        for package in ("gateway", "drivers")
        for file in (ROOT / package).rglob("*.py")
        if opens_a_socket(file.read_text(encoding="utf-8"))
    }
    assert opened == set(LISTENERS)
    assert [key for keys in LISTENERS.values() for key in keys if f"`{key}`" not in listed] == []


@pytest.mark.parametrize(
    ("row", "port"),
    [
        ("`dashboard.listen`", DashboardSection().endpoint.port),
        ("`modbus+listen`", modbus_port("modbus+listen")),
        ("`opc.tcp+reverse`", OPCUA_PORT),
        ("Modbus 502/tcp", modbus_port("modbus+tcp")),
        ("over TLS 802/tcp", modbus_port("modbus+tls")),
        ("OPC UA 4840/tcp", OPCUA_PORT),
        ("`broker.url`", BrokerSection(url="mqtts://broker.example").addresses[0].port),
        ("`broker.url`", BrokerSection(url="mqtt://localhost").addresses[0].port),
    ],
)
def test_the_default_port_of_each_row_is_that_of_the_code(row: str, port: int) -> None:
    """A firewall with another port is open for nobody, or for others."""
    (found,) = [cells for cells in rows(section("Firewall"), 5) if any(row in cell for cell in cells)]
    assert re.search(rf"\b{port}\b", " ".join(found))


def test_every_command_exists_with_its_options() -> None:
    """A command that was renamed must be renamed where it is named."""
    named = [span.split() for span in spans() if span.startswith("lineside ")]
    assert len(named) > 20
    for _, *rest in named:
        words, command = rest, main
        context = click.Context(main)
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words[0])
            assert found is not None, f"lineside {' '.join(words)}"
            command, words = found, words[1:]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.slow
def test_every_key_event_and_metric_exists() -> None:
    """A key that is written as the page shows it must not be an error; an alert must have an event to wait for."""
    events = set(tool("log_events").events_in_code())
    for span in spans():
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span) and span not in {"compose.yaml", "opc.tcp"}:
            assert has_key(span.split(".")) or span in events, span
        elif re.fullmatch(r"lineside_\w+", span):
            assert span in {series for one in DEFINITIONS.values() for series in one.series}, span


def test_every_action_of_the_audit_log_exists() -> None:
    """An alarm at a SIEM for an action that nobody writes never comes."""
    texts = " ".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "gateway").rglob("*.py")))
    actions = [
        action
        for first, where, _ in rows(section("What to monitor"), 3)
        if where == "audit log"
        for action in re.findall(r"`([\w-]+)`", first)
    ]
    assert len(actions) > 10
    assert [action for action in actions if f'"{action}"' not in texts] == []


def test_the_picture_is_as_its_script_draws_it_with_the_conduits_of_the_page() -> None:
    """Picture and table are one statement."""
    zones = tool("zones")
    assert zones.PICTURE.read_text(encoding="utf-8") == zones.draw()
    drawn = [conduit.lines[0].split()[0] for conduit in zones.CONDUITS]
    listed = [row[0] for row in rows(section("Threat model"), 4) if re.fullmatch(r"C\d+", row[0])]
    assert listed == drawn


def test_each_conduit_has_a_risk() -> None:
    """A conduit that the assessment lacks is a risk that nobody has looked at; the risk follows from its row."""
    text = (ROOT / "docs" / "risk-assessment.md").read_text(encoding="utf-8")
    risks = [row for row in rows(text, 8) if row[0] != "conduit"]
    assessed = {name for row in risks for name in row[0].split(", ")}
    assert assessed == {row[0] for row in rows(section("Threat model"), 4) if re.fullmatch(r"C\d+", row[0])}
    levels = {"low": 1, "medium": 2, "high": 3}
    for _, threat, before, consequence, measures, after, left, who in risks:
        assert measures, threat
        assert levels[after] <= levels[before], threat
        assert who in {"plant", "product"}, threat
        assert levels[left] >= min(levels[after], levels[consequence]), threat


def test_the_policy_of_disclosure_is_complete() -> None:
    """The law asks for a way to report, for times, and for the end of support."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for part in ("## Report a vulnerability", "## Supported versions", "within 90 days", "within 24 hours", "CVE"):
        assert part in text
