"""Servers that several files of tests share."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from opcua_peer import NodeOpcUa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def opcua(tmp_path_factory: pytest.TempPathFactory) -> NodeOpcUa:
    """One OPC UA server for the tests that do not break it; see `opcua_node` and `opcua_alone` for more."""
    server = NodeOpcUa(tmp_path_factory.mktemp("opcua"), shared=True)
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
