"""Connections without authentication are visible: in validate, self-test and status, and on the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from processes import write_factory

from gateway.cli import main
from gateway.dashboard.feeds.machine import described
from gateway.dashboard.live.journal import Journal
from gateway.dashboard.live.plant import Plant
from gateway.self_test.checks import run_checks
from gateway.self_test.outcome import Result
from gateway.settings.load import load_factory
from gateway.settings.unauthenticated import unauthenticated
from gateway.status.box import read_box

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Four machines by plain protocols, one with TLS, one with OPC UA, one on this box."""
    connections = [
        "modbus+tcp://10.20.1.11", "modbus+tcp://10.20.1.12", "modbus+rtu:///dev/ttyS0?unit=1",
        "modbus+tls://10.20.1.13", "modbus+tcp://127.0.0.1:502",
    ]  # fmt: skip
    machines = {
        f"m-{number}": {"template": "curing-press", "connection": one} for number, one in enumerate(connections)
    }
    tbm = {"template": "tire-building-machine"}
    machines["tbm-0"] = tbm | {"connection": "opc.tcp://10.20.2.21:4840"}
    machines["tbm-1"] = tbm | {
        "connection": {"url": "opc.tcp://10.20.2.22:4840", "security": "none", "insecure": True}
    }
    return write_factory(
        tmp_path / "factory.yaml",
        broker={"url": "mqtt://localhost:1"},
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "state")}},
        lines={"line": {"area": "area", "machines": machines}},
    )


FOUND = {"modbus+rtu": ["m-2"], "modbus+tcp": ["m-0", "m-1"], "opc.tcp without security": ["tbm-1"]}


def test_machines_are_listed_by_protocol(file: Path) -> None:
    """TLS and OPC UA prove an identity; a device on this box is reached over no network."""
    found = unauthenticated(load_factory(file).machines)
    assert {one.protocol: [machine.path.machine for machine in one.machines] for one in found} == FOUND


def test_validate_says_it_in_one_line_for_each_protocol(file: Path) -> None:
    """A plant with a thousand Modbus devices needs the fact once, and strict validation still passes."""
    done = CliRunner().invoke(main, ["validate", "--strict", str(file)])
    assert done.exit_code == 0, done.output
    notes = [line for line in done.stdout.splitlines() if " note: " in line]
    assert len(notes) == len(FOUND)
    assert "2 machines are read by modbus+tcp" in notes[1]
    assert "m-0, m-1; keep them in a network that only the gateway reaches" in notes[1]
    data = json.loads(CliRunner().invoke(main, ["validate", "--format", "json", str(file)]).stdout)
    assert [f"{file}: note: {note}" for note in data["notes"]] == notes


def test_the_self_test_notes_it_and_finds_nothing(file: Path) -> None:
    """The plant compensates for the protocol: the box has nothing to act on."""
    (outcome,) = (one for one in run_checks(load_factory(file)).outcomes if one.check == "connections")
    assert (outcome.result, outcome.problems, len(outcome.notes)) == (Result.PASSED, (), len(FOUND))
    done = CliRunner().invoke(main, ["self-test", str(file)])
    assert all(f"  note: {note}\n" in done.output for note in outcome.notes)


def test_the_status_lists_the_machines(file: Path) -> None:
    """An asset inventory takes them from there."""
    found = read_box(load_factory(file)).report["unauthenticated"]
    assert {one["protocol"]: [path.rpartition("/")[2] for path in one["machines"]] for one in found} == FOUND
    assert [one["count"] for one in found] == [len(names) for names in FOUND.values()]


def test_the_page_shows_it_at_the_machine(file: Path) -> None:
    """An engineer who looks at a machine sees whether its values can be forged on the way."""
    factory = load_factory(file)
    plant = Plant(factory.broker, Journal(), [factory])
    shown = {
        machine.path.machine: described(machine)["machine"]["unauthenticated"] for machine in plant.machines.values()
    }
    names = {name: protocol for protocol, machines in FOUND.items() for name in machines}
    assert {name: text for name, text in shown.items() if text} == names
