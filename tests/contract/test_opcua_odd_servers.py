"""`lineside browse` of a server that describes itself badly: unknown types, bad values, ranges in the wrong place."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import yaml
from asyncua import ua
from click.testing import CliRunner
from opcua_reader import SECONDS
from processes import free_port

from drivers.base import Group, ValueType
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.cli import main
from gateway.common.clock import Clock
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URI = "urn:test:odd"
UNKNOWN = {"Float": 1.5, "Integer": 7, "Truth": True, "Text": "abc", "Localized": ua.LocalizedText("auf"),
           "Floats": [1.5, 2.5]}  # fmt: skip
"""Values of variables whose data type is not on the server."""


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    server = new_server(None)
    await server.init()
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    nowhere = ua.NodeId(9999, index)
    press = await server.nodes.objects.add_object(ua.NodeId("Press", index), f"{index}:Press")
    for name, value in UNKNOWN.items():
        node = await press.add_variable(ua.NodeId(name, index), f"{index}:{name}", value)
        await node.write_attribute(ua.AttributeIds.DataType, ua.DataValue(ua.Variant(nowhere, ua.VariantType.NodeId)))
    statuses = {"Broken": ua.StatusCodes.BadSensorFailure, "Old": ua.StatusCodes.UncertainLastUsableValue}
    for name, status in statuses.items():
        node = await press.add_variable(ua.NodeId(name, index), f"{index}:{name}", 7.0)
        await node.write_value(ua.DataValue(ua.Variant(7.0), StatusCode=ua.StatusCode(ua.UInt32(status))))
    ranged = await press.add_variable(ua.NodeId("Ranged", index), f"{index}:Ranged", 3.5)
    # a component with a name of the vendor's namespace, not a property of the standard's
    await ranged.add_variable(ua.NodeId("Ranged.EURange", index), f"{index}:EURange", ua.Range(0, 25))
    async with server:
        yield url


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with served() as found:
        yield found


async def browsed(url: str, *arguments: str) -> str:
    command = ["browse", f"{url}?security=none", "--under", "/Press", *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_values_that_are_not_good_are_marked(url: str) -> None:
    """The value that a server sends beside a bad status is not a value."""
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in (await browsed(url)).splitlines()}
    assert lines["Broken"] == "Double bad: 0x808C0000 BadSensorFailure s=Broken"
    assert lines["Old"] == "Double 7 (uncertain: 0x40900000 UncertainLastUsableValue) s=Old"
    assert lines["Ranged"] == "Double 3.5, 0 to 25 s=Ranged"


async def test_types_that_the_server_does_not_describe_are_those_of_the_present_values(
    url: str, tmp_path: Path
) -> None:
    """And the points of the template read."""
    file = tmp_path / "found.yaml"
    await browsed(url, "--template", str(file))
    points = yaml.safe_load(file.read_text(encoding="utf-8"))["points"]
    assert {name: (one["type"], one.get("count")) for name, one in points.items()} == {
        "float": ("float", None),
        "integer": ("int", None),
        "truth": ("bool", None),
        "text": ("string", None),
        "localized": ("string", None),
        "floats": ("float", 2),
        "broken": ("float", None),
        "old": ("float", None),
        "ranged": ("float", None),
    }
    assert points["ranged"]["range"] == [0, 25]


async def test_a_range_is_found_wherever_it_is_while_the_gateway_runs(url: str) -> None:
    """It is part of the machine's metadata."""
    settings = OpcUaConnection.from_url(url, {"security": "none", "namespace": URI})
    group = Group("press", settings, ("ranged",), (OpcUaSource.model_validate({"node": "s=Ranged"}),), 1.0)
    async with asyncio.timeout(SECONDS), OpcUaDriver(settings, [group], Clock()) as driver:
        [metadata] = await driver.describe(group)
    assert metadata.range == (0, 25)


async def test_structures_and_arrays_are_found_by_a_search_for_json(url: str) -> None:
    """The others belong to searches for their own types."""
    settings = OpcUaConnection.from_url(url, {"security": "none", "namespace": URI})
    source = OpcUaSource.model_validate({"node": "/Press", "match": "*"})
    found = {}
    for kind in (ValueType.JSON, ValueType.FLOAT):
        types = (kind,) if kind is ValueType.JSON else ()
        group = Group("press", settings, ("all",), (source,), 1.0, types=types, search=True)
        async with asyncio.timeout(SECONDS), OpcUaDriver(settings, [group], Clock()) as driver:
            found[kind] = {one.name: one.type for one in await driver.search(group, 0)}
    assert found[ValueType.JSON] == {"floats": ValueType.JSON}
    assert found[ValueType.FLOAT]["ranged"] is ValueType.FLOAT
    assert "floats" not in found[ValueType.FLOAT]
