"""Whole structures, arrays and matrices as JSON, and enumerations by name, from real servers of three kinds.

node-opcua and asyncua describe their structures by the attribute DataTypeDefinition; an asyncua server whose types
have only a type dictionary stands for older controllers.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asyncua import ua
from asyncua.common.type_dictionary_builder import DataTypeDictionaryBuilder
from click.testing import CliRunner
from opcua_fuzz import DICTIONARY
from opcua_peer import MACHINE
from opcua_reader import SECONDS, faults, named
from processes import free_port

from drivers.base import Group, Reason, ValueType
from drivers.opcua.connection.session import Session
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.sampler import OpcUaSampler
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.cli import main
from gateway.common.clock import Clock
from simulators.opcua.standard_nodes import new_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncua import Server
    from opcua_peer import NodeOpcUa

    from drivers.base import Fault

URI = "urn:test:dictionary"

Points = dict[str, tuple[str, dict[str, Any]]]
"""The declared type and the source of points, by name."""


def group_of(url: str, namespace: str, points: Points, mode: str) -> Group:
    settings = OpcUaConnection.from_url(url, {"security": "none", "namespace": namespace, "keep_alive": 1.0})
    sources = tuple(OpcUaSource.model_validate({"mode": mode} | source) for _, source in points.values())
    types = tuple(ValueType(kind) for kind, _ in points.values())
    return Group("machine", settings, tuple(points), sources, 0.1, pushed=mode == "subscribe", types=types)


async def taken(url: str, namespace: str, points: Points, mode: str) -> tuple[dict[str, Any], dict[str, Fault]]:
    """Return value and fault of every point, as soon as each has been read once."""
    group = group_of(url, namespace, points, mode)
    values: dict[str, Any] = {}
    wrong: dict[str, Fault] = {}
    async with asyncio.timeout(SECONDS), OpcUaDriver(group.connection, [group], Clock()) as driver:
        while not set(group.names) <= values.keys():
            scan = await (driver.receive() if group.pushed else driver.read(group))
            values |= named(scan)
            wrong |= faults(scan)
    return values, wrong


# -- node-opcua --

RECIPE = '{"Name":"winter","Seconds":900,"Temperatures":[160.5,171.5],"Pressure":{"Low":14.0,"High":21.5}}'

PEER: Points = {
    "recipe": ("json", {"node": "s=Recipe"}),
    "pressure": ("json", {"node": "s=Recipe", "field": "Pressure"}),
    "temperatures": ("json", {"node": "s=Recipe", "field": "Temperatures"}),
    "seconds": ("int", {"node": "s=Recipe", "field": "Seconds"}),
    "matrix": ("json", {"node": "s=Matrix"}),
    "array": ("json", {"node": "s=Array.LocalizedText"}),
    "bytes": ("json", {"node": "s=Scalar.ByteString"}),
    "time": ("json", {"node": "s=Scalar.DateTime"}),
    "big": ("json", {"node": "s=Scalar.UInt64"}),
    "range": ("json", {"node": "/Machine/Temperature/0:EURange"}),
    "state": ("string", {"node": "s=State", "enum": "name"}),
    "mode": ("string", {"node": "s=Mode", "enum": "name"}),
    "mode_json": ("json", {"node": "s=Mode", "enum": "name"}),
    "number": ("int", {"node": "s=Mode"}),
}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_whole_values_of_node_opcua_are_json(opcua: NodeOpcUa, mode: str) -> None:
    """Subscribed or polled, beside points that are parts of the same structure."""
    values, wrong = await taken(opcua.url, MACHINE, PEER, mode)
    assert wrong == {}
    assert str(values.pop("big")) == "18446744073709551615"  # a number, of which the gateway makes the text
    assert values == {
        "recipe": RECIPE,
        "pressure": '{"Low":14.0,"High":21.5}',
        "temperatures": "[160.5,171.5]",
        "seconds": 900,
        "matrix": "[[1.0,2.0,3.0],[4.0,5.0,6.0]]",
        "array": '["open","shut"]',
        "bytes": '"AP8Q"',
        "time": '"2026-01-02T03:04:05.678000Z"',
        "range": '{"Low":0.0,"High":200.0}',
        "state": "Running",
        "mode": "Automatic",
        "mode_json": '"Automatic"',
        "number": 20,
    }


async def test_a_number_without_a_name_is_bad_and_comes_right_again(opcua: NodeOpcUa) -> None:
    """A name is never invented."""
    group = group_of(opcua.url, MACHINE, {"state": ("string", {"node": "s=State", "enum": "name"})}, "subscribe")
    async with asyncio.timeout(SECONDS), OpcUaDriver(group.connection, [group], Clock()) as driver:
        assert (await driver.receive()).values == ["Running"]
        opcua.set("State", 77)
        try:
            scan = await driver.receive()
            assert scan.values == [None]
            assert scan.faults[0].reason is Reason.OUT_OF_RANGE
            assert scan.faults[0].code == "77 has no name"
        finally:
            opcua.set("State", 1)
        assert (await driver.receive()).values == ["Running"]


async def test_check_shows_the_value_that_the_gateway_would_read(opcua: NodeOpcUa) -> None:
    """Also of points that are subscribed to."""
    group = group_of(opcua.url, MACHINE, PEER, "subscribe")
    async with asyncio.timeout(SECONDS), OpcUaSampler(group.connection, [group], Clock()) as sampler:
        sample = await sampler.sample(group)
    found = dict(zip(group.names, sample.scan.values, strict=True))
    assert found["recipe"] == RECIPE
    assert found["mode"] == "Automatic"
    assert sample.scan.faults == {}
    raw = dict(zip(group.names, sample.held, strict=True))
    assert raw["seconds"].raw.startswith("{'Name': 'winter', 'Seconds': 900")


# -- a server with type dictionaries alone --


@asynccontextmanager
async def served(document: bytes | None = None, *, backward: bool = True) -> AsyncIterator[tuple[str, Server]]:
    """Serve structures that only a dictionary describes; `backward` False leaves out the reference to it."""
    server = new_server(None)
    await server.init()
    port = free_port()
    url = f"opc.tcp://127.0.0.1:{port}"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    builder = DataTypeDictionaryBuilder(server, index, URI, "Press")
    await builder.init()
    bodies = {
        "Recipe": b"\2\0\0\0B7\2\0\0\0" + _doubles(160.5, 171.5) + b"\1\0\0\0" + _doubles(14, 21.5),
        "Optional": b"\1\0\0\0\7\0\0\0" + b"\2\3\0\0\0hot",
        "Either": b"\2\0\0\0\2\0\0\0ab",
    }
    for name, body in bodies.items():
        made = await builder.create_data_type(name)
        data_type, description, encoding = made.node_ids
        value = ua.Variant(ua.ExtensionObject(encoding, body), ua.VariantType.ExtensionObject)
        await server.nodes.objects.add_variable(ua.NodeId(name, index), f"{index}:{name}", value, datatype=data_type)
        if not backward:
            await server.get_node(description).delete_reference(
                builder.dict_id, ua.NodeId(ua.ObjectIds.HasComponent), forward=False, bidirectional=False
            )
        for kind in (ua.ObjectIds.Structure, ua.ObjectIds.BaseDataType):
            abstract = f"{name} as {kind}"
            await server.nodes.objects.add_variable(
                ua.NodeId(abstract, index), abstract, value, datatype=ua.NodeId(ua.Int32(kind))
            )
        several = ua.Variant([ua.ExtensionObject(encoding, body)] * 2, ua.VariantType.ExtensionObject)
        await server.nodes.objects.add_variable(ua.NodeId(f"{name}s", index), f"{name}s", several, datatype=data_type)
    await server.get_node(builder.dict_id).write_value(document or DICTIONARY, ua.VariantType.ByteString)
    async with server:
        yield url, server


def _doubles(*numbers: float) -> bytes:
    return b"".join(ua.ua_binary.Primitives.Double.pack(number) for number in numbers)


OLD: Points = {
    "recipe": ("json", {"node": "s=Recipe"}),
    "named": ("json", {"node": "s=Recipe", "enum": "name"}),
    "low": ("float", {"node": "s=Recipe", "field": "Limits.Low"}),
    "step": ("float", {"node": "s=Recipe", "field": "Steps", "element": 1}),
    "mode": ("int", {"node": "s=Recipe", "field": "Mode"}),
    "mode_name": ("string", {"node": "s=Recipe", "field": "Mode", "enum": "name"}),
    "optional": ("json", {"node": "s=Optional"}),
    "either": ("json", {"node": "s=Either"}),
    "recipes": ("json", {"node": "s=Recipes"}),
}

OLD_VALUES = {
    "recipe": '{"Name":"B7","Steps":[160.5,171.5],"Mode":1,"Limits":{"Low":14.0,"High":21.5}}',
    "named": '{"Name":"B7","Steps":[160.5,171.5],"Mode":"Automatic","Limits":{"Low":14.0,"High":21.5}}',
    "low": 14.0,
    "step": 171.5,
    "mode": 1,
    "mode_name": "Automatic",
    "optional": '{"Always":7,"Sometimes":"hot"}',
    "either": '{"Text":"ab"}',
}


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
@pytest.mark.parametrize("backward", [True, False])
async def test_structures_of_dictionaries_are_read(mode: str, *, backward: bool) -> None:
    """Whole, by field, and by name; also if a description does not refer back to its dictionary."""
    async with served(backward=backward) as (url, _):
        values, wrong = await taken(url, URI, OLD, mode)
    assert wrong == {}
    assert values == OLD_VALUES | {"recipes": f"[{OLD_VALUES['recipe']},{OLD_VALUES['recipe']}]"}


async def test_browse_makes_points_of_structures_in_dictionaries(tmp_path: Path) -> None:
    """A field is a point of its own; a template that wants the whole writes json."""
    file = tmp_path / "found.yaml"
    async with served() as (url, _):
        command = [
            "browse",
            f"{url}?security=none",
            "--match",
            "Recipe",
            "--match",
            "Optional",
            "--template",
            str(file),
        ]
        result = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert result.exit_code == 0, result.output
    points = yaml.safe_load(file.read_text(encoding="utf-8"))["points"]
    assert points["recipe_limits_low"] == {"node": "s=Recipe", "type": "float", "field": "Limits.Low"}
    assert points["recipe_steps"] == {"node": "s=Recipe", "type": "float", "field": "Steps", "count": 2}
    assert points["recipe_mode"]["type"] == "int"
    assert points["optional_sometimes"]["type"] == "string"


async def test_a_value_may_have_a_subtype_of_its_variables_type() -> None:
    """Its encoding says which, and refers to the data type."""
    kinds = (ua.ObjectIds.Structure, ua.ObjectIds.BaseDataType)
    points: Points = {f"recipe_{kind}": ("json", {"node": f"s=Recipe as {kind}"}) for kind in kinds}
    points["low"] = ("float", {"node": f"s=Recipe as {kinds[0]}", "field": "Limits.Low"})
    async with served() as (url, _):
        values, wrong = await taken(url, URI, points, "subscribe")
    assert wrong == {}
    assert values == {f"recipe_{kind}": OLD_VALUES["recipe"] for kind in kinds} | {"low": 14.0}


async def test_a_dictionary_that_is_too_large_for_the_server_costs_its_structures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not the connection."""
    read = Session.read

    async def refuse(self: Session, nodes: list[ua.NodeId], *attributes: Any) -> Any:
        found = await read(self, nodes, *attributes)
        if any(isinstance(value, bytes) and value.startswith(b"<?xml") for value in found.values):
            raise ua.UaStatusCodeError(ua.StatusCodes.BadEncodingLimitsExceeded)
        return found

    monkeypatch.setattr(Session, "read", refuse)
    async with served() as (url, _):
        values, wrong = await taken(url, URI, {"recipe": OLD["recipe"]}, "poll")
    assert values == {"recipe": None}
    assert "a structure that can't be read (ns=" in wrong["recipe"].code


@pytest.mark.parametrize(
    "document", [b"<!DOCTYPE a><a/>", b"not XML", b"\0", DICTIONARY.replace(b"Recipe", b"Other")]
)
async def test_without_a_usable_dictionary_the_points_are_bad(document: bytes) -> None:
    """And say which structure it is; all others are read."""
    async with served(document) as (url, _):
        points: Points = {
            "recipe": OLD["recipe"],
            "low": OLD["low"],
            "server": ("json", {"node": "/0:Server/0:ServerStatus"}),
        }
        values, wrong = await taken(url, URI, points, "poll")
    assert values["recipe"] is values["low"] is None
    assert wrong["recipe"].reason is Reason.TYPE_MISMATCH
    assert "a structure that can't be read (ns=" in wrong["recipe"].code
    assert wrong["recipe"].code.endswith(": no type dictionary that can be read describes it")
    assert json.loads(values["server"])["BuildInfo"]["ProductName"]


async def test_a_structure_that_is_not_understood_says_why() -> None:
    """An engineer can change the type, and not guess."""
    odd = DICTIONARY.replace(b'Name="Name" TypeName="opc:CharArray"', b'Name="Name" TypeName="opc:WideString"')
    async with served(odd) as (url, _):
        values, wrong = await taken(url, URI, {"recipe": OLD["recipe"], "either": OLD["either"]}, "poll")
    assert values == {"recipe": None, "either": OLD_VALUES["either"]}
    assert wrong["recipe"].reason is Reason.TYPE_MISMATCH
    assert wrong["recipe"].code.endswith("): its field Name has the type WideString")


async def test_a_body_that_does_not_match_its_dictionary_is_bad() -> None:
    """A field that was read at the wrong place would be a wrong value of good quality."""
    changed = DICTIONARY.replace(b'Name="High" TypeName="opc:Double"', b'Name="High" TypeName="opc:Float"')
    async with served(changed) as (url, _):
        values, wrong = await taken(url, URI, {"recipe": OLD["recipe"]}, "poll")
    assert values == {"recipe": None}
    assert wrong["recipe"].reason is Reason.BAD_ANSWER
