"""Which worker reads which machine: the same always, few move, and no worker has much more to do than another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from processes import write_factory

from drivers.opcua.settings import OpcUaConnection
from gateway.settings.load import load_factory
from gateway.workers.assignment import (
    LEAST_COST,
    TOLERANCE,
    Bundle,
    assign,
    assignment_file,
    bundles,
    read_assignment,
    running_in,
    save_assignment,
    worker_count,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory

costs = st.lists(st.floats(LEAST_COST, 0.01), min_size=1, max_size=60)
workers = st.integers(1, 8)


def bundles_of(numbers: list[float], first: int = 0) -> list[Bundle]:
    """Return one bundle of one machine for each cost."""
    return [
        Bundle(cost, (f"m-{first + i:03d}",), frozenset([f"connection {first + i}"]))
        for i, cost in enumerate(numbers)
    ]


def loads(found: list[Bundle], assignment: dict[str, int], count: int) -> list[float]:
    """Return the load of each worker."""
    return [
        sum(bundle.cost for bundle in found if assignment[bundle.machines[0]] == number)
        for number in range(1, count + 1)
    ]


@given(costs, workers)
def test_every_machine_has_one_of_the_workers_and_always_the_same(numbers: list[float], count: int):
    """A restart must not move machines."""
    found = bundles_of(numbers)
    assignment = assign(found, count, {})
    assert assignment.keys() == {bundle.machines[0] for bundle in found}
    assert set(assignment.values()) <= set(range(1, count + 1))
    assert assign(list(reversed(found)), count, {}) == assignment
    assert assign(found, count, assignment) == assignment


@given(costs, workers)
def test_loads_differ_by_less_than_the_tolerance_or_by_one_bundle(numbers: list[float], count: int):
    """A bundle can't be divided: one that costs more than the rest is alone."""
    found = bundles_of(numbers)
    sums = loads(found, assign(found, count, {}), count)
    assert max(sums) - min(sums) <= max(TOLERANCE * sum(sums) / count, *numbers) * 1.001


@given(costs, costs, workers)
def test_no_machine_moves_while_the_gateway_runs(numbers: list[float], more: list[float], count: int):
    """Its connection would be closed, and its totals would go to another process."""
    before = bundles_of(numbers)
    assignment = assign(before, count, {})
    running = running_in(before, assignment)
    after = assign([*bundles_of(more, len(before)), *before[::2]], count, assignment, running)
    assert {machine: after[machine] for bundle in before[::2] for machine in bundle.machines} == {
        machine: assignment[machine] for bundle in before[::2] for machine in bundle.machines
    }


@given(costs, workers)
def test_one_more_worker_moves_no_more_than_it_gets(numbers: list[float], count: int):
    """Machines move to the new worker alone, as long as the others were balanced."""
    found = bundles_of([0.001] * len(numbers))
    before = assign(found, count, {})
    after = assign(found, count + 1, before)
    moved = [machine for machine in before if after[machine] != before[machine]]
    assert all(after[machine] == count + 1 for machine in moved)
    assert len(moved) <= len(found) // (count + 1) + 1


@given(costs, workers)
def test_fewer_workers_leave_the_machines_of_the_others_where_they_are(numbers: list[float], count: int):
    """Those of the workers that are gone are divided."""
    found = bundles_of(numbers)
    before = assign(found, count + 1, {})
    after = assign(found, count, before, running={})
    assert all(after[machine] == number for machine, number in before.items() if number <= count)


def test_a_machine_that_joins_a_connection_goes_to_the_worker_of_that_connection():
    """The other machines behind it must not be interrupted, whichever worker has the lower number."""
    joined = Bundle(0.001, ("m-01", "m-02"), frozenset(["connection of m-02"]))
    assert assign([joined], 2, {"m-01": 1, "m-02": 2}, {"connection of m-02": 2}) == {"m-01": 2, "m-02": 2}


def factory(
    folder: Path, machines: dict[str, str], derive: dict[str, dict[str, str]] | None = None, **gateway: object
) -> Factory:
    """Return a factory with these machines at these connections, and their derived points as expressions."""
    (folder / "machines").mkdir(exist_ok=True)
    template = {"format": 1, "protocol": "modbus", "points": {"count": {"address": "holding 0"}}}
    (folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
    lines = {"line": {"area": "area", "machines": {}}}
    for name, url in machines.items():
        derived = {point: {"expression": text} for point, text in (derive or {}).get(name, {}).items()}
        lines["line"]["machines"][name] = {"template": "counter", "connection": url, "derive": derived}  # type: ignore[index]
    config = write_factory(
        folder / "factory.yaml", gateway={"id": "edge-01"} | gateway, broker={"url": "mqtt://localhost"}, lines=lines
    )
    return load_factory(config)


def test_machines_behind_one_connection_or_listening_port_stay_together(tmp_path: Path):
    """Two processes can't share a serial line, or listen on one port."""
    machines = {
        "a": "modbus+tcp://10.0.0.1:502?unit=1",
        "b": "modbus+tcp://10.0.0.1:502?unit=2",
        "c": "modbus+tcp://10.0.0.2:502",
        "d": "modbus+listen://0.0.0.0:5020?registration=d",
        "e": "modbus+listen://0.0.0.0:5020?registration=e",
        "f": "modbus+listen://0.0.0.0:5021?registration=f",
    }
    found = bundles(factory(tmp_path, machines).machines)
    names = {tuple(path.rpartition("/")[2] for path in bundle.machines) for bundle in found}
    assert names == {("a", "b"), ("c",), ("d", "e"), ("f",)}
    costs_of = {bundle.machines[0].rpartition("/")[2]: bundle.cost for bundle in found}
    assert costs_of["a"] == pytest.approx(2 * costs_of["c"])


def test_machines_that_derive_points_from_one_another_stay_together(tmp_path: Path):
    """One process has the readings of all inputs; the others behind a connection of such a machine come with them."""
    machines = {name: f"modbus+tcp://10.0.0.{number}:502" for number, name in enumerate("abcdef", 1)}
    machines["b2"] = f"{machines['b']}?unit=2"
    derive = {"a": {"sum": 'count + line["b"].count'}, "c": {"more": 'line["a"].sum + 1'}, "d": {"own": "count * 2"}}
    found = bundles(factory(tmp_path, machines, derive=derive).machines)
    names = {tuple(sorted(path.rpartition("/")[2] for path in bundle.machines)) for bundle in found}
    assert names == {("a", "b", "b2", "c"), ("d",), ("e",), ("f",)}
    tied, *_ = sorted(found, key=lambda one: -len(one.machines))
    assert len(tied.shared) == 3
    assert tied.cost == pytest.approx(sum(one.cost for one in found if one is not tied) * 4 / 3)


def test_machines_that_are_tied_while_the_gateway_runs_go_to_the_worker_of_most():
    """The fewest machines are interrupted."""
    before = [Bundle(0.001, (name,), frozenset([name])) for name in ("a", "b", "c")]
    running = running_in(before, {"a": 1, "b": 2, "c": 2})
    tied = Bundle(0.003, ("a", "b", "c"), frozenset("abc"))
    assert set(assign([tied], 2, {"a": 1, "b": 2, "c": 2}, running).values()) == {2}


def test_servers_that_dial_in_to_one_port_have_one_listening_port():
    """Whichever address of this machine they are configured with."""
    dials_in = {"server_uri": "urn:acme:drum", "security": "none"}
    first, second, other = (
        OpcUaConnection.from_url(f"opc.tcp+reverse://{address}", dials_in)
        for address in ("0.0.0.0:4841", "10.0.0.1:4841", "0.0.0.0:4842")
    )
    usual = OpcUaConnection.from_url("opc.tcp://10.0.0.1:4841", {"security": "none"})
    assert first.listening() == second.listening() != other.listening()
    assert usual.listening() is None


def test_automatic_workers_follow_processors_and_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A worker without a connection would only cost memory."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)))
    machines = {f"m-{n}": f"modbus+tcp://10.0.0.{n}:502" for n in range(1, 6)}
    assert worker_count(factory(tmp_path, machines, workers="auto")) == 3
    assert worker_count(factory(tmp_path, dict(list(machines.items())[:2]), workers="auto")) == 2
    assert worker_count(factory(tmp_path, machines, workers=5)) == 5
    assert worker_count(factory(tmp_path, machines)) == 1


def test_an_assignment_survives_a_restart_and_damage_is_logged(tmp_path: Path):
    """Without the file all machines are in one process."""
    file = assignment_file(tmp_path, "edge-01")
    assert read_assignment(file) is None
    save_assignment(file, {"a": 1, "b": 2})
    assert read_assignment(file) == {"a": 1, "b": 2}
    save_assignment(file, {"a": 1, "b": 1})
    assert read_assignment(file) is None
    for damaged in (b"{", b'{"machines": {"a": 0}}', b'{"machines": {"a": "1"}}', b"[]", b'{"machines": {"a": 65}}'):
        file.write_bytes(damaged)
        assert read_assignment(file) == {}
