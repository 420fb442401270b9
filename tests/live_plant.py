"""A configured plant without processes, and messages as a broker delivers them, for tests of the page's feeds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml
from processes import write_factory

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.mqtt.packets import ReceivedMessage
from gateway.settings.load import load_factory
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.model.reading import NamedScan
    from gateway.settings.factory import Factory

CONNECTIONS = {"modbus": "modbus+tcp://127.0.0.1:1?unit=1", "opcua": "opc.tcp://127.0.0.1:1?security=none"}


def machine_path(place: str) -> MachinePath:
    """Return the path of a machine of the plant, given as area/line/machine."""
    return MachinePath("acme", "north", *place.split("/"))


def write_live_plant(folder: Path, machines: Mapping[str, tuple[str, dict[str, Any]]]) -> Factory:
    """Write a factory; `machines` are protocol and points by area/line/machine. Its store is not there yet."""
    (folder / "machines").mkdir()
    lines: dict[str, dict[str, Any]] = {}
    for place, (protocol, points) in machines.items():
        area, line, machine = place.split("/")
        template = folder / "machines" / f"{machine}.yaml"
        template.write_text(yaml.safe_dump({"format": 1, "protocol": protocol, "points": points}), encoding="utf-8")
        own = lines.setdefault(line, {"area": area, "machines": {}})["machines"]
        own[machine] = {"template": machine, "connection": CONNECTIONS[protocol]}
    file = write_factory(
        folder / "factory.yaml",
        factory={"enterprise": "acme", "site": "north"},
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        templates=str(folder / "machines"),
        lines=lines,
    )
    return load_factory(file)


def store_scans(folder: Path, scans: Iterable[tuple[MachinePath, NamedScan]], types: Mapping[str, str]) -> None:
    """Write scans into the store of the plant; `types` are those of all points."""
    meta = MachineMeta("machine", dict(types), {})
    with SqliteStore(SqliteSettings(path=folder / "readings.db")) as store:
        store.write([MachineScan(path, meta, scan, 0) for path, scan in scans])


def message(path: MachinePath, at: int, leaf: str, **values: object) -> ReceivedMessage:
    """Return a message with values of a machine, acquired at a time in microseconds."""
    record = {"v": 1, "gateway": "edge-01", "spool": "9f2c", "seq": 1, "scans": [{"t": at, "values": values}]}
    return ReceivedMessage(f"lineside/v1/{path}/{leaf}", json.dumps(record).encode())
