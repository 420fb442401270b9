"""A small plant with stored readings, for tests of the commands that read them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import yaml
from processes import write_factory

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from drivers.base import Value

PRESS = MachinePath("doublestar", "huangdao", "curing", "curing-1", "press-01")
SECOND = 1_000_000
NOW = time.time_ns() // 1000

META = MachineMeta(
    "test-press",
    {"pressure": "float", "temperature": "float", "count": "int", "on": "bool", "recipe": "string", "note": "string"},
    {"pressure": "bar", "temperature": "Cel"},
)


def write_plant(folder: Path) -> Path:
    """Write a factory with two presses of two points, whose store is not there yet; return its file."""
    template = {
        "format": 1,
        "protocol": "modbus",
        "points": {
            "pressure": {"address": "holding 0", "raw": "float32", "unit": "bar", "description": "Bladder"},
            "temperature": {"address": "holding 2", "raw": "float32", "unit": "Cel"},
        },
    }
    (folder / "machines").mkdir()
    (folder / "machines" / "test-press.yaml").write_text(yaml.safe_dump(template))
    machine = {"template": "test-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    return write_factory(
        folder / "factory.yaml",
        factory={"enterprise": "doublestar", "site": "huangdao"},
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        stores=[{"sqlite": {"path": str(folder / "folder" / "readings.db"), "keep": "3650d"}}],
        lines={"curing-1": {"area": "curing", "machines": {"press-01": machine, "press-02": machine}}},
    )


def scan(at: int, path: MachinePath = PRESS, **values: Value) -> MachineScan:
    """Return a scan of a press."""
    return MachineScan(path, META, NamedScan(at, values), 0)


def fill(config: Path, *batch: MachineScan) -> None:
    """Write scans into the store of the plant."""
    path = config.parent / "folder" / "readings.db"
    with SqliteStore(SqliteSettings.model_validate({"path": str(path), "keep": "3650d"})) as store:
        store.write(batch)
