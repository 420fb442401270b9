"""Nodes that appear late on an OPC UA server, or come back as others, are found and read as they are then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from asyncua.common.structures104 import new_struct, new_struct_field
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_reader import SECONDS, named
from processes import LOOPBACK

from drivers.base import Group
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from drivers.base import Driver


def driver_of(fickle: Fickle, mode: str, **nodes: dict[str, Any]) -> OpcUaDriver:
    """Return a driver of one group, on nodes of a fickle server, by the names of its points."""
    options = {"security": "none", "namespace": URI, "keep_alive": 1.0, "retry_missing": 1.0}
    connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{fickle.port}", options)
    sources = tuple(OpcUaSource.model_validate(keys | {"mode": mode}) for keys in nodes.values())
    group = Group("machine", connection, tuple(nodes), sources, 0.1, pushed=mode == "subscribe")
    return OpcUaDriver(connection, [group], Clock())


async def until_values(driver: Driver, **wanted: object) -> None:
    """Receive, or poll, until points have values."""
    [group] = driver.groups
    values: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS):
        while not wanted.items() <= values.items():
            if group.pushed:
                values |= named(await driver.receive())
            else:
                values |= named(await driver.read(group))
                await asyncio.sleep(group.every)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_a_structure_that_appears_late_is_read_by_its_field(mode: str) -> None:
    """The fields of its type can be asked for only when it is there."""
    async with fickle_server(Steady=1.5) as fickle:
        points = {"steady": {"node": "s=Steady"}, "low": {"node": "/2:Late", "field": "Low"}}
        async with driver_of(fickle, mode, **points) as driver:
            await until_values(driver, steady=1.5, low=None)
            name = f"Limits{mode.title()}"  # asyncua knows types by their names in the whole process
            kind, _ = await new_struct(fickle.server, 2, name, [new_struct_field("Low", ua.VariantType.Double)])
            made = await fickle.server.load_data_type_definitions()
            for known in [one for one, kept in ua.extension_objects_by_typeid.items() if kept is made[name]]:
                del ua.extension_objects_by_typeid[known]  # else asyncua would read it for the driver
            limits = ua.Variant(made[name](2.5), ua.VariantType.ExtensionObject)
            await fickle.server.nodes.objects.add_variable(
                fickle.node("Late"), ua.QualifiedName("Late", 2), limits, datatype=kind.nodeid
            )
            await until_values(driver, low=2.5)


@pytest.mark.parametrize(("mode", "items"), [("poll", 10), ("subscribe", 1)])
async def test_a_node_that_comes_back_under_another_id_is_found_by_its_path(mode: str, items: int) -> None:
    """A program that is loaded into a PLC gives its variables new ids. Also where there is no room for an item."""
    async with fickle_server(Steady=1.5, Moving=2.5) as fickle:
        fickle.items = items
        points = {"steady": {"node": "/2:Steady"}, "moving": {"node": "/2:Moving"}}
        async with driver_of(fickle, mode, **points) as driver:
            await until_values(driver, steady=1.5, moving=2.5)
            await fickle.server.delete_nodes([fickle.server.get_node(fickle.node("Moving"))])
            await until_values(driver, moving=None)
            objects = fickle.server.nodes.objects
            await objects.add_variable(fickle.node("Other"), ua.QualifiedName("Moving", 2), 3.5)
            await until_values(driver, moving=3.5)
            assert driver.counts()["polled_instead"] == (1 if items == 1 else 0), "each point is counted once"
            await fickle.write("Steady", 4.5)
            await until_values(driver, steady=4.5)
