"""The metadata that a device gives fills the gaps of the configuration, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import structlog
from processes import until, write_factory

from drivers.base import Connection, Group, PointMetadata, Source, ValueType
from gateway.acquisition import device_metadata
from gateway.acquisition.device_metadata import EARLIER, DeviceMetadata, encode_meta, filled
from gateway.common.tasks import cancel_and_wait
from gateway.model.metadata import read_meta
from gateway.model.path import MachinePath
from gateway.mqtt.messages import parse_meta
from gateway.mqtt.topics import Topics
from gateway.settings.factory import Machine
from gateway.settings.load import load_factory
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


class Gateway:
    """The metadata of one gateway, with a spool whose oldest and next record a test sets."""

    def __init__(self, folder: Path, **points: dict[str, Any]) -> None:
        self.oldest, self.following = 1, 1
        self.machines = [machine(**points)]
        self.metadata = DeviceMetadata(
            self.machines, Topics("lineside/v1"), folder, "edge", lambda: (self.oldest, self.following)
        )
        self._running: asyncio.Task[None]

    async def __aenter__(self) -> DeviceMetadata:
        await self.metadata.begin()
        self._running = asyncio.create_task(self.metadata.run())
        return self.metadata

    async def __aexit__(self, *_: object) -> None:
        await cancel_and_wait(self._running)


def published(made: DeviceMetadata, name: str) -> dict[str, Any]:
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
def test_the_configuration_comes_before_the_device(keys: dict[str, Any], expected: dict[str, Any]) -> None:
    """The unit of the device is that of the raw value, and not of a scaled value."""
    [point] = filled(machine(p=keys), {"p": SAYS}).points
    assert {name: getattr(point, name) for name in expected} == expected


def test_metadata_that_the_device_does_not_give_stays_open() -> None:
    """Points without metadata from the device stay unchanged."""
    before = machine(p={}, q={"type": ValueType.INT})
    assert filled(before, {"p": PointMetadata()}).points == before.points
    assert filled(before, {}).points == before.points


async def changed(made: DeviceMetadata) -> list[str]:
    async with asyncio.timeout(SECONDS):
        await made.change.wait()
    return list(made.take_changed())


async def test_learned_metadata_is_published_once(tmp_path: Path) -> None:
    """A device that gives the same metadata after each connect causes no new message."""
    async with Gateway(tmp_path, p={}, q={"unit": "bar"}) as made:
        made.take_changed()
        first = made.id_of(PATH)
        assert made.learn(group("p", "q"), [SAYS, PointMetadata()])
        assert await changed(made) == [META]
        assert published(made, "p")["unit"] == "Cel"
        assert published(made, "p")["range"] == [0.0, 200.0]
        assert published(made, "q")["unit"] == "bar"
        assert made.id_of(PATH) != first
        assert [meta.id for meta in parse_meta(made.payloads[META]).metas] == [made.id_of(PATH), first]
        assert not made.learn(group("p", "q"), [SAYS, PointMetadata()])


async def test_the_next_run_knows_it_from_the_start(tmp_path: Path) -> None:
    """Its first readings are acquired before the device is asked, and have their units nevertheless."""
    async with Gateway(tmp_path, p={}) as made:
        made.learn(group("p"), [SAYS])
        await changed(made)
    async with Gateway(tmp_path, p={"type": "int"}) as again:
        assert published(again, "p")["unit"] == "Cel"
        assert published(again, "p")["labels"] == {"0": "off", "1": "on"}
    async with Gateway(tmp_path, p={"unit": "K"}) as other:
        assert other.id_of(PATH) != again.id_of(PATH)


@pytest.mark.parametrize("name", ["told", "metas"])
@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b'{"x": 5}', b'{"x": {"p": {}}}', b'{"x": {"p": {"unit": "", "range": [1]}}}', b'{"x": [5]}',
        b"[" * 3000, b'{"x": [{"template": "t", "points": {"p": {"type": "double"}}}]}',
    ],
)  # fmt: skip
async def test_the_metadata_of_a_damaged_file_is_learned_again(tmp_path: Path, name: str, content: bytes) -> None:
    """The device can be asked again."""
    (tmp_path / f"edge.{name}.json").write_bytes(content)
    async with Gateway(tmp_path, p={}) as made:
        assert published(made, "p")["unit"] == ""
        assert parse_meta(made.payloads[META]).metas


async def test_a_device_without_metadata_changes_nothing(tmp_path: Path) -> None:
    """Most devices can't give metadata of their points."""
    async with Gateway(tmp_path, p={}) as made:
        assert not made.learn(group("p"), [])
        assert not made.learn(group("p"), [PointMetadata()])


# -- earlier descriptions --

UNITS = ["bar", "mbar", "Pa", "hPa", "kPa", "MPa", "K", "Cel"]


async def changed_over(gateway: Gateway, unit: str) -> str:
    """Change the configured unit of the machine's point; returns the new id."""
    machines = [machine(p={"unit": unit})]
    gateway.metadata.switch(await gateway.metadata.prepare(machines), machines)
    return gateway.metadata.id_of(PATH)


def earlier(made: DeviceMetadata) -> list[str]:
    return [meta.id for meta in parse_meta(made.payloads[META]).metas[1:]]


async def test_a_few_earlier_descriptions_are_published(tmp_path: Path) -> None:
    """The retained message must not grow for years."""
    gateway = Gateway(tmp_path, p={"unit": UNITS[0]})
    async with gateway as made:
        ids = [made.id_of(PATH)] + [await changed_over(gateway, unit) for unit in UNITS[1:]]
        assert earlier(made) == ids[-2 : -2 - EARLIER : -1]
        assert await changed_over(gateway, UNITS[5]) == ids[5]
        assert earlier(made) == [ids[7], ids[6], ids[4], ids[3]]


def stored_in(folder: Path) -> list[Any]:
    """Return the stored descriptions of the machine."""
    [stored] = orjson.loads((folder / "edge.metas.json").read_bytes()).values()
    return list(stored)


async def test_every_description_that_a_spooled_record_names_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box that is commissioned for weeks before its server exists has more configurations than the limit."""
    monkeypatch.setattr(device_metadata, "PRUNE_EVERY", 0.01)
    gateway = Gateway(tmp_path, p={"unit": UNITS[0]})
    async with gateway as made:
        ids = [made.id_of(PATH)]
        for unit in UNITS[1:]:
            gateway.following += 10
            ids.append(await changed_over(gateway, unit))
        assert list(made.describe([*ids, "0123456789ab"])) == ids[::-1]
        assert made.find(ids[0]) == (PATH, machine(p={"unit": UNITS[0]}).meta)
    again = Gateway(tmp_path, p={"unit": UNITS[-1]})
    again.following = gateway.following
    async with again as made:
        assert set(made.describe(ids)) == set(ids)
        again.oldest = again.following
        await until(lambda: set(made.describe(ids)) == set(ids[-1 - EARLIER :]), "they are removed", SECONDS)
        await until(lambda: len(stored_in(tmp_path)) == 1 + EARLIER, "the removal is saved", SECONDS)
    async with Gateway(tmp_path, p={"unit": UNITS[-1]}) as made:
        assert set(made.describe(ids)) == set(ids[-1 - EARLIER :])


async def test_a_machine_that_is_gone_is_still_described(tmp_path: Path) -> None:
    """Its records may be in the spool for days."""
    gateway = Gateway(tmp_path, p={"unit": "bar"})
    async with gateway as made:
        known = made.id_of(PATH)
        made.switch(await made.prepare([]), [])
        assert made.payloads == {}
        assert made.find(known) == (PATH, gateway.machines[0].meta)


async def test_a_description_is_on_disk_before_a_record_names_it(tmp_path: Path) -> None:
    """A crash in between would leave records that nobody can read."""
    gateway = Gateway(tmp_path, p={"unit": "bar"})
    async with gateway as made:
        [described] = await made.prepare([machine(p={"unit": "kPa"})])
        [stored] = orjson.loads((tmp_path / "edge.metas.json").read_bytes()).values()
        assert [read_meta(one).id for one in stored] == [described.meta.id, made.id_of(PATH)]


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOSPC, errno.ENOENT])
async def test_a_disk_that_refuses_writes_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Metadata is known as long as the gateway runs, and written when the disk works again."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    gateway = Gateway(tmp_path, p={"unit": "bar"})
    with monkeypatch.context() as broken, structlog.testing.capture_logs() as logs:
        broken.setattr("gateway.common.atomic_file.replace_file", fail)
        async with gateway as made:
            first = made.id_of(PATH)
            second = await changed_over(gateway, "kPa")
            assert list(made.describe([first, second])) == [second, first]
        assert [log["event"] for log in logs] == ["helper.failed"]
    async with gateway as made:
        assert (tmp_path / "edge.metas.json").exists()


DERIVED = """
format: 1
protocol: opcua
points:
  pushed: {node: "ns=1;s=a", type: float, every: 500ms}
  polled: {node: "ns=1;s=b", type: float, every: 2s, mode: poll}
derive:
  of_pushed: {expression: "pushed * 2.0"}
  of_both: {expression: "pushed + polled"}
  of_polled: {expression: "polled * 2.0"}
  of_derived: {expression: "of_pushed + 1.0"}
  seldom: {expression: "polled + 1.0", every: 10s}
  changes: {expression: "polled + 2.0", on_change: true, at_least_every: 60s}
"""


def test_a_derived_point_is_as_periodic_as_its_inputs(tmp_path: Path) -> None:
    """A reader that waits for a reading of pushed inputs each half second would call a quiet machine silent."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "own.yaml").write_text(DERIVED, encoding="utf-8")
    machines = {"m": {"template": "own", "connection": "opc.tcp://10.0.0.1:4840"}}
    file = write_factory(
        tmp_path / "factory.yaml", broker={"url": "mqtt://localhost"},
        lines={"line": {"area": "area", "machines": machines}},
    )  # fmt: skip
    points = orjson.loads(encode_meta(load_factory(file).machines[0]))["points"]
    assert {name: point.get("at_least_every") for name, point in points.items()} == {
        "pushed": None, "polled": 2.0, "of_pushed": None, "of_both": 2.0, "of_polled": 2.0, "of_derived": None,
        "seldom": 10.0, "changes": 60.0,
    }  # fmt: skip
