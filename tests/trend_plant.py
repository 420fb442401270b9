"""A press with stored readings of every type, for tests of the page's trends; and a client without a network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import orjson
import yaml
from processes import write_factory
from starlette.applications import Starlette

from gateway.model.metadata import MachineMeta
from gateway.model.path import MachinePath
from gateway.model.reading import NamedScan
from gateway.settings.load import load_factory
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

    from gateway.dashboard.trends.routes import Trends
    from gateway.dashboard.trends.selection import Selection
    from gateway.settings.factory import Factory

PRESS = MachinePath("acme", "north", "curing", "curing-1", "press-01")
SECOND = 1_000_000
START = 1_764_000_000 * SECOND
"""2025-11-24T16:00:00Z."""

POINTS = {
    "pressure": {"address": "holding 0", "raw": "float32", "unit": "bar", "range": [0, 25], "description": "Bladder"},
    "phase": {"address": "holding 2", "on_change": True, "labels": {0: "none", 1: "load", 2: "steam", 3: "open"}},
    "state": {
        "address": "holding 3", "on_change": True,
        "labels": {2: "stopped", 4: "idle", 6: "execute", 9: "aborted", 11: "held"},
    },
    "closed": {"address": "coil 0", "on_change": True},
    "recipe": {"address": "holding 10", "raw": "string", "length": 8, "on_change": True},
    "alarm_word": {"address": "holding 4", "on_change": True},
}  # fmt: skip

META = MachineMeta(
    "test-press",
    {"pressure": "float", "phase": "int", "state": "int", "closed": "bool", "recipe": "string", "alarm_word": "int"},
    {"pressure": "bar"},
)


def write_plant(folder: Path, stores: list[dict[str, Any]] | None = None, enterprise: str = "acme") -> Factory:
    """Write a factory with one press and return it; its store is not there yet."""
    (folder / "machines").mkdir()
    (folder / "machines" / "test-press.yaml").write_text(
        yaml.safe_dump({"format": 1, "protocol": "modbus", "points": POINTS})
    )
    machine = {"template": "test-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    file = write_factory(
        folder / "factory.yaml",
        factory={"enterprise": enterprise, "site": "north"},
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        stores=[{"sqlite": {"path": str(folder / "readings.db"), "keep": "3650d"}}] if stores is None else stores,
        lines={"curing-1": {"area": "curing", "machines": {"press-01": machine}}},
    )
    return load_factory(file)


def scan(
    at: float, *, bad: dict[str, str] | None = None, uncertain: dict[str, str] | None = None, **values: Any
) -> MachineScan:
    """Return a scan at a number of seconds after `START`."""
    named = NamedScan(START + round(at * SECOND), values, bad, uncertain)
    return MachineScan(PRESS, META, named, 0)


def fill(folder: Path, *batch: MachineScan) -> None:
    """Write scans into the store of the plant."""
    settings = SqliteSettings.model_validate({"path": str(folder / "readings.db"), "keep": "3650d"})
    with SqliteStore(settings) as store:
        store.write(batch)


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(
    trends: Trends, path: str, gone: asyncio.Event | None = None,
    on_export: Callable[[Request, Selection], None] = lambda *_: None, **query: Any,
) -> Answer:  # fmt: skip
    """Request a path. The browser goes when `gone` is set."""
    app = Starlette(routes=trends.routes(on_export))
    sent: list[dict[str, Any]] = []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": [],
        "query_string": urlencode(query, doseq=True).encode(), "http_version": "1.1", "scheme": "http",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    head = sent[0]
    headers = {name.decode(): value.decode() for name, value in head["headers"]}
    return Answer(head["status"], headers, b"".join(one.get("body", b"") for one in sent[1:]))
