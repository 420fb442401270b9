"""Stores and servers that several files of tests share."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from opcua_peer import NodeOpcUa
from read_back import InfluxTarget, SqliteTarget, Target, VictoriaMetricsTarget

from gateway.model.path import MachinePath

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "influxdb", "victoria_metrics"])
def target(request: pytest.FixtureRequest, tmp_path: Path, enterprise: str) -> Target:
    """Each kind of store, with a place of its own to write to."""
    if request.param == "sqlite":
        return SqliteTarget(tmp_path / "folder" / "readings.db")
    if request.param == "influxdb":
        return InfluxTarget(request.getfixturevalue("influxd"), request.getfixturevalue("influx_database"))
    return VictoriaMetricsTarget(request.getfixturevalue("victoria_metrics"), enterprise, "curing-press")


@pytest.fixture
def press(enterprise: str) -> MachinePath:
    """A machine that no other test has."""
    return MachinePath(enterprise, "site", "curing", "curing-1", "press-01")


@pytest.fixture(scope="session")
def opcua(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """One OPC UA server for the tests that do not break it; see `opcua_node` and `opcua_alone` for more."""
    server = NodeOpcUa(tmp_path_factory.mktemp("opcua"), scope="session")
    server.up_and_wait()
    return server


@pytest.fixture
def opcua_node(opcua: NodeOpcUa) -> Iterator[str]:
    """A variable that no other test has, a Double of 50."""
    name = f"Node.{uuid.uuid4().hex}"
    opcua.add(name, 50, "Double")
    yield name
    opcua.delete(name)


@pytest.fixture
async def opcua_alone(opcua: NodeOpcUa) -> AsyncIterator[NodeOpcUa]:
    """The same server with nobody else on it: it may hang and forget, and gets its first values back."""
    await opcua.has(60, sessions=0, subscriptions=0, items=0, channels=0)
    yield opcua
    opcua.thaw()
    for node, value in {"Setpoint": 50, "Level": 50, "Recorded": 1}.items():
        opcua.set(node, value)
