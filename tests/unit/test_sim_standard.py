"""The standard address space of simulated OPC UA servers: as asyncua makes it, and separate for each server."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from asyncua import Server, ua
from asyncua.server.address_space import NodeData

from simulators.opcua import standard_nodes as standard
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER_STATE = ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)


def content(data: NodeData) -> dict[str, object]:
    return {
        "id": data.nodeid,
        "attributes": {key: attribute.value for key, attribute in data.attributes.items()},
        "references": data.references,
        "call": data.call,
    }


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a cache file of this test, with an empty cache in memory."""
    file = tmp_path / "cache" / "standard"
    monkeypatch.setattr(standard, "cache_file", lambda: file)
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    standard.standard_nodes.cache_clear()
    yield file
    standard.standard_nodes.cache_clear()


@pytest.fixture
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard of one node, which is made at once."""
    number = ua.ObjectIds.Server_ServerStatus_State
    monkeypatch.setattr(standard, "create_nodes", lambda: {number: NodeData(ua.NodeId(number))})


@pytest.mark.slow
async def test_every_node_is_as_asyncua_makes_it(kept: Path):
    """All six thousand, as a process finds them that an earlier one has kept them for."""
    plain = Server()
    await plain.iserver.load_standard_address_space()
    await new_server().iserver.load_standard_address_space()
    assert kept.exists()
    standard.standard_nodes.cache_clear()
    shared = new_server()
    await shared.iserver.load_standard_address_space()
    nodes = list(plain.iserver.aspace.keys())
    assert len(nodes) > 5000
    for node in nodes:
        assert content(shared.iserver.aspace[node]) == content(plain.iserver.aspace[node])


async def test_a_change_of_one_server_is_not_visible_in_another():
    """Servers share only their initial nodes."""
    one, other = new_server(), new_server()
    await one.init()
    await other.init()
    before = await other.get_node(SERVER_STATE).read_value()
    await one.get_node(SERVER_STATE).write_value(ua.ServerState.Failed, ua.VariantType.Int32)
    added = await one.nodes.objects.add_variable(ua.NodeId("Speed", ua.Int16(1)), "Speed", 1.0)
    assert await other.get_node(SERVER_STATE).read_value() == before
    assert added.nodeid in one.iserver.aspace
    assert added.nodeid not in other.iserver.aspace
    assert added in await one.nodes.objects.get_children()
    assert added not in await other.nodes.objects.get_children()


@pytest.mark.parametrize("asked", [True, False], ids=["asked for before", "never asked for"])
async def test_a_standard_node_that_is_deleted_stays_so(asked: bool):  # noqa: FBT001 - a table's column
    """The node is deleted in this server only, and does not come back when it is requested."""
    one, other = new_server(), new_server()
    await one.init()
    await other.init()
    if asked:
        assert SERVER_STATE in one.iserver.aspace
    del one.iserver.aspace[SERVER_STATE]
    assert SERVER_STATE not in one.iserver.aspace
    assert one.iserver.aspace.get(SERVER_STATE) is None
    assert SERVER_STATE in other.iserver.aspace


async def test_a_node_outside_of_the_standard_is_absent():
    """Ids of other kinds, other namespaces, and numbers that the standard does not have."""
    server = new_server()
    await server.init()
    assert ua.NodeId(ua.Int32(2253)) in server.iserver.aspace
    for node in (ua.NodeId("2253"), ua.NodeId(ua.Int32(2253), ua.Int16(3)), ua.NodeId(ua.Int32(999_999))):
        assert node not in server.iserver.aspace
        with pytest.raises(KeyError):
            server.iserver.aspace[node]


@pytest.mark.usefixtures("one_node")
async def test_a_damaged_file_is_written_again(kept: Path):
    """The file is a cache, and must not stop a server."""
    kept.parent.mkdir()
    kept.write_bytes(b"\x78\x9c" + bytes(100))
    for _ in range(2):
        server = new_server()
        await server.iserver.load_standard_address_space()
        assert SERVER_STATE in server.iserver.aspace
        assert zlib.decompress(kept.read_bytes())
        standard.standard_nodes.cache_clear()


@pytest.mark.usefixtures("one_node")
async def test_nothing_is_kept_where_nothing_may_be_written(kept: Path, monkeypatch: pytest.MonkeyPatch):
    """The folder is not ours, or Python is configured to write no byte code."""
    kept.parent.write_text("this is not a folder")
    server = new_server()
    await server.iserver.load_standard_address_space()
    assert SERVER_STATE in server.iserver.aspace
    kept.parent.unlink()
    standard.standard_nodes.cache_clear()
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    await server.iserver.load_standard_address_space()
    assert not kept.exists()
