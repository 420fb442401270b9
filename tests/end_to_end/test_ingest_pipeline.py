"""`lineside ingest` decodes records while it writes others."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from fakes.gateway import FakeGateway
from processes import Lineside, side_by_side, write_factory
from servers import Mosquitto
from stored import rows

if TYPE_CHECKING:
    from pathlib import Path

BAR = {"pressure": ("float", "bar")}


async def ingest(folder: Path, mosquitto: Mosquitto) -> Lineside:
    machine = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}
    file = write_factory(
        folder / "ingest.yaml",
        gateway={"id": "edge-09"},
        broker={"url": mosquitto.url, "version": "5"},
        ingest={"folder": str(folder / "ingest")},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"other": {"area": "other", "machines": {"other-01": machine}}},
    )
    process = await Lineside.start("ingest", file)
    await process.logged("ingest.subscribed")
    return process


async def the_next_batch_is_decoded_while_a_batch_waits_for_its_store(folder: Path) -> None:
    """Decoding and writing each need a core; a store that is slow for a moment gets the next batch at once."""
    mosquitto = await Mosquitto.start(folder)
    process = await ingest(folder, mosquitto)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.send("m-01", pressure=1.0)
        await gateway.confirmed()
        lock = sqlite3.connect(folder / "readings.db", isolation_level=None)
        lock.execute("begin immediate")
        await gateway.send("m-01", pressure=2.0)
        await process.logged("store.unavailable")
        meta = await gateway.describe("m-02", publish=False, level=("float", "mm"))
        await gateway.send("m-02", level=3.0)
        await process.logged("meta.unknown")
        assert gateway.unconfirmed == [2, 3]
        lock.execute("rollback")
        lock.close()
        await gateway.answer(meta.id)
        await gateway.confirmed()
    assert [(row.machine, row.value) for row in rows(folder / "readings.db")] == [
        ("m-01", 1.0), ("m-01", 2.0), ("m-02", 3.0),
    ]  # fmt: skip
    assert await process.stop() == 0


async def a_connection_that_is_lost_while_a_batch_is_written_repeats_nothing(folder: Path) -> None:
    """The write is finished, and confirmed over the next connection."""
    mosquitto = await Mosquitto.start(folder, persistence=True)
    process = await ingest(folder, mosquitto)
    async with FakeGateway(mosquitto.port) as gateway:
        await gateway.describe("m-01", **BAR)
        await gateway.send("m-01", pressure=1.0)
        await gateway.confirmed()
        lock = sqlite3.connect(folder / "readings.db", isolation_level=None)
        lock.execute("begin immediate")
        await gateway.send("m-01", pressure=2.0)
        await process.logged("store.unavailable")
    await mosquitto.stop()
    lock.execute("rollback")
    lock.close()
    await process.logged("mqtt.not_connected")
    await mosquitto.restart()
    await process.logged("ingest.subscribed", times=2)
    async with FakeGateway(mosquitto.port, "edge-01") as again:
        again.sent, again.scans = gateway.sent, gateway.scans
        await again.publish(*gateway.unconfirmed)
        again.ranges = gateway.ranges
        await again.confirmed()
    assert [row.value for row in rows(folder / "readings.db")] == [1.0, 2.0]


async def test_a_batch_that_waits_for_its_store_holds_up_nothing(tmp_path: Path):
    """Both parts wait for five seconds, until SQLite gives up once, so they run side by side."""
    parts = [
        the_next_batch_is_decoded_while_a_batch_waits_for_its_store(tmp_path / "1"),
        a_connection_that_is_lost_while_a_batch_is_written_repeats_nothing(tmp_path / "2"),
    ]
    await side_by_side(parts)
