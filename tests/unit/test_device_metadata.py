"""What a device says of its points fills what the configuration leaves open, and no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drivers.base import Connection, Group, PointMetadata, Source, ValueType
from gateway.acquisition.device_metadata import DeviceMetadata, filled
from gateway.model.path import MachinePath
from gateway.mqtt.messages import parse_meta
from gateway.mqtt.topics import Topics
from gateway.settings.factory import Machine
from gateway.settings.point import Point

if TYPE_CHECKING:
    from pathlib import Path

PATH = MachinePath("acme", "north", "area", "line", "press-01")
META = f"lineside/v1/{PATH}/meta"
SAYS = PointMetadata(unit="Cel", range=(0.0, 200.0), labels={0: "off", 1: "on"}, description="Mould")
SECONDS = 30.0


class Protocol:
    name = "opcua"


def machine(**points: dict[str, Any]) -> Machine:
    made = tuple(
        Point.model_validate({"name": name, "source": Source(), "type": "float"} | keys)
        for name, keys in points.items()
    )
    return Machine(PATH, "press", Protocol(), Connection(), made)  # type: ignore[arg-type] # of which only the name counts


def group(*names: str) -> Group:
    return Group(str(PATH), Connection(), names, tuple(Source() for _ in names), 1.0)


def descriptions(folder: Path, **points: dict[str, Any]) -> DeviceMetadata:
    made = DeviceMetadata([machine(**points)], Topics("lineside/v1"), folder, "edge")
    made.begin()
    return made


def told(made: DeviceMetadata, name: str) -> dict[str, Any]:
    point: dict[str, Any] = orjson.loads(made.payloads[META])["points"][name]
    return point


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"unit": "Cel", "range": (0.0, 200.0), "labels": {}, "description": "Mould"}),
        ({"type": "int"}, {"unit": "Cel", "range": (0.0, 200.0), "labels": {0: "off", 1: "on"}}),
        (
            {"unit": "K", "range": [1, 2], "description": "mine"},
            {"unit": "K", "range": (1.0, 2.0), "description": "mine"},
        ),
        ({"type": "int", "labels": {7: "mine"}}, {"labels": {7: "mine"}}),
        ({"scale": 0.1, "offset": 5.0}, {"unit": "", "range": (5.0, 25.0)}),
        ({"scale": -1.0}, {"unit": "", "range": (-200.0, 0.0)}),
        ({"type": "string"}, {"unit": "", "range": None, "labels": {}, "description": "Mould"}),
        ({"type": "bool"}, {"unit": "", "range": None, "labels": {}}),
    ],
)
def test_what_the_configuration_says_comes_first(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    """A unit is that of the value as the device holds it: not of one that is scaled."""
    [point] = filled(machine(p=keys), {"p": SAYS}).points
    assert {name: getattr(point, name) for name in expected} == expected


def test_what_the_device_does_not_say_stays_open() -> None:
    """And points that it says nothing of are as they were."""
    before = machine(p={}, q={"type": ValueType.INT})
    assert filled(before, {"p": PointMetadata()}).points == before.points
    assert filled(before, {}).points == before.points


async def test_what_is_learned_is_published_once(tmp_path: Path) -> None:
    """A device that says the same after each connect is no news."""
    made = descriptions(tmp_path, p={}, q={"unit": "bar"})
    made.take_changed()
    first = made.id_of(PATH)
    made.learn(group("p", "q"), [SAYS, PointMetadata()])
    async with asyncio.timeout(SECONDS):
        await made.change.wait()
    assert list(made.take_changed()) == [META]
    assert told(made, "p")["unit"] == "Cel"
    assert told(made, "p")["range"] == [0.0, 200.0]
    assert told(made, "q")["unit"] == "bar"
    assert made.id_of(PATH) != first
    assert [meta.id for meta in parse_meta(made.payloads[META]).metas] == [made.id_of(PATH), first]
    made.learn(group("p", "q"), [SAYS, PointMetadata()])
    assert not made._pending


async def test_the_next_run_knows_it_from_the_start(tmp_path: Path) -> None:
    """Its first readings are taken before the device was asked, and have their units all the same."""
    made = descriptions(tmp_path, p={})
    made.learn(group("p"), [SAYS])
    async with asyncio.timeout(SECONDS):
        await made.change.wait()
    again = descriptions(tmp_path, p={"type": "int"})
    assert told(again, "p")["unit"] == "Cel"
    assert told(again, "p")["labels"] == {"0": "off", "1": "on"}
    assert descriptions(tmp_path, p={"unit": "K"}).id_of(PATH) != again.id_of(PATH)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"x": 5}', b'{"x": {"p": {}}}', b'{"x": {"p": {"unit": "", "range": [1]}}}']
)
def test_a_damaged_file_is_learned_anew(tmp_path: Path, content: bytes) -> None:
    """The device is there to be asked."""
    (tmp_path / "edge.told.json").write_bytes(content)
    assert told(descriptions(tmp_path, p={}), "p")["unit"] == ""


def test_a_device_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    """Most can't say anything of their points."""
    made = descriptions(tmp_path, p={})
    made.learn(group("p"), [])
    made.learn(group("p"), [PointMetadata()])
    assert not made._pending
