"""Services under a service manager: their reports to the socket of systemd at start, reload and stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from notified import Notified
from processes import Lineside, lineside, until, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[Notified]:
    with Notified(tmp_path) as socket_of_systemd:
        yield socket_of_systemd


def factory(folder: Path, broker: Mosquitto, **gateway: Any) -> Path:
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}} | gateway,
        broker={"url": broker.url},
        ingest={"folder": str(folder / "ingest")},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )


def names(notified: Notified) -> list[str]:
    """Return the kinds of messages so far, in order, without those that repeat."""
    return [name for message in notified.messages for name in message if name in {"READY", "RELOADING", "STOPPING"}]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_reports_its_start_reload_and_stop(tmp_path: Path, notified: Notified, workers: int):
    """With workers too the process that systemd has started is the service; workers report nothing."""
    broker = await Mosquitto.start(tmp_path)
    config = factory(tmp_path, broker, workers=workers)
    gateway = await Lineside.start("run", config, environment=notified.environment(1.0))
    await until(lambda: notified.count("WATCHDOG") >= 2, "the watchdog is fed")
    assert next(iter(notified.messages[0])) == "READY"
    fed = next(message for message in notified.messages if "WATCHDOG" in message)
    assert fed["STATUS"].startswith("0 of ")
    config.write_text(config.read_text(encoding="utf-8").replace("unit=1", "unit=2"), encoding="utf-8")
    ran = await lineside("reload", str(config))
    assert ran.code == 0, ran.error
    await until(lambda: notified.count("READY") == 2, "the reload is reported")
    assert await gateway.stop() == 0
    assert names(notified) == ["READY", "RELOADING", "READY", "STOPPING"]


async def test_ingest_reports_its_start_and_stop(tmp_path: Path, notified: Notified):
    broker = await Mosquitto.start(tmp_path)
    ingest = await Lineside.start("ingest", factory(tmp_path, broker), environment=notified.environment(1.0))
    await until(lambda: notified.count("WATCHDOG") >= 2, "the watchdog is fed")
    assert notified.messages[-1]["STATUS"] == "0 readings stored, 0 set aside"
    assert await ingest.stop() == 0
    assert names(notified) == ["READY", "STOPPING"]
