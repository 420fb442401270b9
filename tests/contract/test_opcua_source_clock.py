"""The clock of an asyncua server is set back while its nodes are subscribed, and polled by their source time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from fakes.fickle_opcua import URI, Fickle, fickle_server
from opcua_peer import MACHINE, NodeOpcUa
from opcua_reader import SECONDS
from processes import LOOPBACK, Lineside, until, write_factory
from servers import Mosquitto
from stored import report, rows

from drivers.base import Group, Quality, Reason, Scan
from drivers.opcua.driver import OpcUaDriver
from drivers.opcua.settings import OpcUaConnection, OpcUaSource
from gateway.common.clock import Clock
from gateway.pipeline.normalize import Normalizer
from gateway.settings.point import Point

if TYPE_CHECKING:
    from pathlib import Path

STEP = 400_000
"""Microseconds between two values by the clock of the machine."""


def moment(time: int) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).replace(tzinfo=None)


class Press:
    """A point whose values are written with the times of a machine's clock, read as the gateway does."""

    def __init__(self, fickle: Fickle, mode: str) -> None:
        options = {"security": "none", "namespace": URI, "keep_alive": 1.0}
        connection = OpcUaConnection.from_url(f"opc.tcp://{LOOPBACK}:{fickle.port}", options)
        source = OpcUaSource.model_validate({"node": "s=Count", "mode": mode, "time": "source"})
        point = Point.model_validate({"name": "count", "source": source, "type": "int"})
        self.group = Group("machine", connection, ("count",), (source,), 0.1, pushed=mode == "subscribe")
        self.driver = OpcUaDriver(connection, [self.group], Clock())
        self.normalizer = Normalizer([point])
        self.fickle = fickle
        self.count = 0

    async def reading_at(self, time: int) -> tuple[int, Quality]:
        """Write the next value with a time; return the time and quality of its reading."""
        self.count += 1
        await self.fickle.write("Count", self.count, SourceTimestamp=moment(time))
        async with asyncio.timeout(SECONDS):
            while True:
                scan = await self._scan()
                if scan.values == [self.count]:
                    fault = scan.faults.get(0)
                    assert fault is None or fault.reason is Reason.CLOCK
                    assert scan.times is not None
                    return scan.times[0], Quality.GOOD if fault is None else fault.quality

    async def _scan(self) -> Scan:
        scan = await (self.driver.receive() if self.group.pushed else self.driver.read(self.group))
        self.normalizer.apply(scan)
        return scan


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
@pytest.mark.parametrize("back", [4_000_000, 3_600_000_000])
async def test_a_clock_that_is_set_back_squeezes_no_readings_and_stops_none(mode: str, back: int) -> None:
    """Ten seconds of a line were stored within ten microseconds, all good; with time: source polling stopped."""
    async with fickle_server(Count=0) as fickle:
        press = Press(fickle, mode)
        async with press.driver:
            start = time.time_ns() // 1_000_000 * 1000 - 5_000_000
            before = [await press.reading_at(start + i * STEP) for i in range(11)]
            assert before == [(start + i * STEP, Quality.GOOD) for i in range(11)]
            last = before[-1][0]
            # within the times of before if these go back so far, else from an hour ago on
            after = [await press.reading_at(last - back + i * STEP) for i in range(12)]
    written = [last - back + i * STEP for i in range(12)]
    assert [quality is Quality.GOOD for _, quality in after] == [not start <= time <= last for time in written]
    assert {later - earlier for (earlier, _), (later, _) in pairwise(after)} <= {STEP, STEP - 1007}
    times = [time for time, _ in (*before, *after)]
    assert len(set(times)) == len(times)
    assert after[-1][1] is Quality.GOOD


async def test_every_reading_of_a_clock_that_is_set_back_is_stored_at_its_time(tmp_path: Path) -> None:
    """Through all services: none replaces another, those that repeat a time are marked, and it is right at once."""
    peer, mosquitto = await NodeOpcUa.start(tmp_path), await Mosquitto.start(tmp_path)
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "peer.yaml").write_text(
        "format: 1\nprotocol: opcua\npoints:\n  count: {node: s=Setpoint, type: float, every: 100ms, queue: 50}\n"
    )
    connection = f"opc.tcp://{LOOPBACK}:{peer.port}?security=none&namespace={MACHINE}"
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": mosquitto.url},
        ingest={"folder": str(tmp_path)},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": {"template": "peer", "connection": connection}}}},
    )
    ingest = await Lineside.start("ingest", config)
    gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
    await gateway.logged("machine.online")
    start = time.time_ns() // 1_000_000 * 1000
    by_clock = [start + i * STEP for i in range(10)] + [start + 5 * STEP + i * STEP for i in range(10)]
    for number, at in enumerate(by_clock, 1000):
        await asyncio.to_thread(peer.set_and_sample, "Setpoint", float(number), time=at)
    database = tmp_path / "readings.db"
    await until(lambda: rows(database)[-1:] and rows(database)[-1].value == 1019.0, "the last value is stored")
    await until(lambda: len([row for row in rows(database) if row.value >= 1000]) == 20, "all are stored")
    found = {row.value: row for row in rows(database) if row.value >= 1000}
    for number, at in enumerate(by_clock, 1000):
        row, repeats = found[float(number)], 1010 <= number < 1015
        assert (row.quality, row.reason) == (("uncertain", "clock") if repeats else ("good", None))
        assert row.time - at == (1007 if repeats else 0)
    await gateway.stop()
    await ingest.stop()
    closing = report(tmp_path / "run.json")
    assert closing["balanced"]
